"""What goes in and what comes out: a tree of parameters as one vector and back; `Fit`, the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import backends
from backends import library_of, namespace, tree

Array = Any
Tree = Any


@dataclass(frozen=True, eq=False)
class Fit:
    """The answer of `minimize` and `least_squares`.

    params: the best tree, like the one given. value: f there, of least_squares Σ w·r². steps: how many were taken.
    converged, message: whether it is a minimum, and how that was seen. history: f before each step and after the last.
    Of least_squares also residual r; jacobian ∂r/∂params (m, n), a column a number of the tree; covariance (n, n) of the
    parameters, in the order of ann.tree.flatten(params); errors, the tree of their standard deviations.
    """

    params: Tree
    value: float
    steps: int
    converged: bool
    message: str
    history: list[float] = field(repr=False)
    residual: Array = field(default=None, repr=False)
    jacobian: Array = field(default=None, repr=False)
    covariance: Array = field(default=None, repr=False)
    errors: Tree = field(default=None, repr=False)

    def __str__(self) -> str:
        lines = [f"{'converged' if self.converged else 'NOT converged'}: {self.message}", f"  value {self.value:.6g}, {self.steps} steps"]
        errors = tree.flatten(self.errors) if self.errors is not None else {}
        shown = {path or "params": (p, errors.get(path)) for path, p in tree.flatten(self.params).items()}
        width = max(map(len, shown))
        return "\n".join(lines + [f"  {path:<{width}}  {_show(p, error)}" for path, (p, error) in shown.items()])


def _show(p: Any, error: Any) -> str:
    """A number with its error, a short vector, or what kind of array it is."""
    size = math.prod(getattr(p, "shape", ()))
    if size > 6:
        return f"{str(p.dtype).rpartition('.')[2]} {tuple(p.shape)}"
    if error is None:
        return ", ".join(f"{value:.6g}" for value in _numbers(p))
    return ", ".join(f"{value:.6g} ± {e:.2g}" for value, e in zip(_numbers(p), _numbers(error), strict=True))


def _numbers(x: Any) -> list[float]:
    return [x] if isinstance(x, float) else [float(value) for value in library_of(x).fetch(x).reshape(-1)]


class Variables:
    """The numbers of a tree as one vector: x = vector(params), params = tree(x).

    Python floats become 0-d arrays: of the library, device and dtype of the arrays beside them (float64 where there are
    none), and `result` gives Python floats again. ValueError for an empty tree, TypeError for integers.
    """

    def __init__(self, who: str, params: Tree, args: Tree):
        if not tree.leaves(params):
            raise ValueError(f"{who}: params holds no numbers, {params!r} came")
        arrays = [x for x in tree.leaves((params, args)) if _is_array(x)]
        floating = [x for x in arrays if namespace(x).isdtype(x.dtype, "real floating")]
        self.backend = backends.of((floating or arrays)[0]) if arrays else backends.get()
        dtype = self.backend.dtype if floating else self.backend.library.dtype("float64")
        self.given = params
        leaves = []
        for path, p in tree.flatten(params).items():
            place = f"{who}: params{f', {path},' if path else ''}"
            if type(p) is float:
                p = self.backend.asarray(p, dtype=dtype)
            elif not _is_array(p):
                advice = f"write {float(p)}" if isinstance(p, int) else "wanted: floats and arrays"
                raise TypeError(f"{place} is the {type(p).__name__} {p!r}; {advice}")
            elif not namespace(p).isdtype(p.dtype, "real floating"):
                raise TypeError(f"{place} has dtype {p.dtype}; only floats can vary: xp.astype(x, xp.float64)")
            leaves.append(p)
        self.xp = namespace(*leaves)
        self.arrays: Tree = tree.fill(params, leaves)
        self.paths = tree.paths(params)
        self.leaves = leaves
        self.sizes = [math.prod(p.shape) for p in leaves]
        self.dtype = self.xp.result_type(*(p.dtype for p in leaves))
        self.eps = float(self.xp.finfo(self.dtype).eps)

    def vector(self, values: Tree) -> Array:
        """A tree like the parameters as one vector."""
        leaves = tree.leaves(values)
        xp = namespace(*leaves)  # of a trace, where one is under way
        flat = [xp.reshape(p, (-1,)) for p in leaves]
        return xp.concat([p if p.dtype == self.dtype else xp.astype(p, self.dtype) for p in flat])

    def tree(self, x: Array) -> Tree:
        """The tree of arrays whose numbers are these."""
        xp, parts, start = namespace(x), [], 0
        for p, size in zip(self.leaves, self.sizes, strict=True):
            part = xp.reshape(x[start : start + size], tuple(p.shape))
            parts.append(part if p.dtype == self.dtype else xp.astype(part, p.dtype))
            start += size
        return tree.fill(self.arrays, parts)

    def result(self, values: Tree) -> Tree:
        """The tree of arrays, with Python floats where Python floats came."""
        return tree.map(lambda given, p: float(p) if type(given) is float else p, self.given, values)

    def largest(self, g: Tree) -> float:
        """max |g|, of a tree or a vector."""
        return max((float(self.xp.max(self.xp.abs(leaf))) for leaf in tree.leaves(g) if 0 not in leaf.shape), default=0.0)

    def not_finite(self, f: float, g: Tree) -> str:
        """What is not finite, for a message: the value, or the gradient by which parameter."""
        if not math.isfinite(f):
            return f"f is {f}"
        bad = [path or "params" for path, leaf in tree.flatten(g).items() if not bool(self.xp.all(self.xp.isfinite(leaf)))]
        return f"f is {f:.6g}, but its gradient is not finite by {', '.join(bad)},"

    def verdict(self, step: int, steps: int, largest: float, tol: float) -> str:
        """Why a search ends here: by its gradient, or by the number of its steps."""
        if largest == 0 and step == 0:
            return "the gradient is zero at the start: a minimum, a maximum or a saddle, or f does not depend on params"
        if largest <= tol:
            return f"max |∂f| = {largest:.2g} ≤ tol = {tol:.2g}"
        return f"all {steps} steps are taken and max |∂f| = {largest:.2g} > tol = {tol:.2g}; more steps, or another optimizer, may go further"

    def where(self, number: int) -> str:
        """The path of the leaf that holds this entry of the vector."""
        for path, size in zip(self.paths, self.sizes, strict=True):
            if number < size:
                return path or "params"
            number -= size
        raise IndexError(number)


def _is_array(x: Any) -> bool:
    try:
        return library_of(x).rank >= 0
    except TypeError:
        return False
