"""`minimize`: the least value of a function of a tree of arrays, by L-BFGS or by an optimizer of `ann.optimizers`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ann import names, optimizers
from ann.autodiff import value_and_grad
from ann.optimization.fit import Fit, Variables
from backends import tree

Array = Any
Tree = Any

MEMORY = 10  # pairs (s, y) that L-BFGS keeps
C1, C2 = 1e-4, 0.9  # sufficient decrease and curvature, Nocedal & Wright p. 62
TRIALS = 40  # evaluations of one line search
LOOK = 10  # a first-order method reads the gradient every so many steps: a GPU is not kept waiting


def minimize(f: Callable[..., Any], params: Tree, optimizer: Any = "lbfgs", steps: int = 1000, tol: float | None = None, args: tuple[Any, ...] = ()) -> Fit:
    """params that make f(params, *args) small, with the gradient by `ann.value_and_grad`.

    f: written in Array API calls, returns a scalar. params: any tree of float arrays and Python floats, of any library;
    what came as a float comes back as a float. optimizer: "lbfgs", a name ("adam", …) or an object (ann.Adam(0.1)).
    tol: converged when max |∂f/∂params| ≤ tol; None is √ε of the dtype, 1.5e-8 in float64 and 3.5e-4 in float32.
    steps: the most that are taken. L-BFGS also converges where f cannot fall by more than its own rounding.
    FloatingPointError when f or its gradient is not finite at the start or (first-order methods) on the way.

    L-BFGS: p = −H·g by the two-loop recursion over the last 10 pairs s = Δx, y = Δg, then a step along p that satisfies
    the strong Wolfe conditions. Nocedal & Wright, Numerical Optimization, 2nd ed. 2006, algorithms 7.4, 7.5, 3.5, 3.6.
    """
    variables = Variables("minimize", params, args)
    if not isinstance(steps, int) or steps < 0:
        raise ValueError(f"minimize: steps is a non-negative integer, {steps!r} came")
    if tol is not None and not tol >= 0:
        raise ValueError(f"minimize: tol is not negative, {tol!r} came")
    tol = math.sqrt(variables.eps) if tol is None else tol

    def objective(p: Tree, *rest: Any) -> Any:
        y = f(p, *rest)
        if isinstance(y, int | float):
            raise ValueError(f"minimize: f returned the Python number {y}, which does not depend on params")
        if getattr(y, "shape", ()) != () or isinstance(y, dict | list | tuple):
            got = f"shape {tuple(y.shape)}" if hasattr(y, "shape") else f"a {type(y).__name__}"
            raise ValueError(f"minimize: f must return a scalar, it returned {got}. xp.sum makes one; ann.least_squares takes an array of residuals.")
        return y

    slope = value_and_grad(objective)
    if isinstance(optimizer, str):
        kind = names.find(optimizer, {"lbfgs": None, **optimizers.OPTIMIZERS}, "optimizer", "an object will do too: ann.Adam(0.1)")
        if kind is None:
            return _lbfgs(variables, lambda p: slope(p, *args), steps, tol)
        optimizer = kind()
    return _first_order(variables, lambda p: slope(p, *args), optimizers.get(optimizer), steps, tol)


# -------------------------------------------------------------------------------------------------- first order


def _first_order(variables: Variables, slope: Callable[[Tree], Any], optimizer: Any, steps: int, tol: float) -> Fit:
    p, values = variables.arrays, []
    slots = optimizer.init(p)
    for step in range(steps + 1):
        f, g = slope(p)
        values.append(f)
        if step % LOOK == 0 or step == steps:
            largest = _largest(variables, g)
            if not math.isfinite(float(f)) or not math.isfinite(largest):
                history = [float(value) for value in values]
                bad = next((i for i, value in enumerate(history) if not math.isfinite(value)), step)
                before = f", after {history[bad - 1]:.6g}: a smaller learning rate, or global_clipnorm=1.0, usually helps" if bad else ""
                raise FloatingPointError(f"minimize: {_not_finite(variables, history[bad], g)} at step {bad}{before}.")
            if largest <= tol or step == steps:
                break
        p, slots = optimizer.step(p, g, slots)
    history = [float(value) for value in values]
    return Fit(variables.result(p), history[-1], step, largest <= tol, _message(step, steps, largest, tol), history)


def _message(step: int, steps: int, largest: float, tol: float) -> str:
    if largest == 0 and step == 0:
        return "the gradient is zero at the start: a minimum, a maximum or a saddle, or f does not depend on params"
    if largest <= tol:
        return f"max |∂f| = {largest:.2g} ≤ tol = {tol:.2g}"
    return f"all {steps} steps are taken and max |∂f| = {largest:.2g} > tol = {tol:.2g}; more steps, or another optimizer, may go further"


def _largest(variables: Variables, g: Tree) -> float:
    xp = variables.xp
    return max((float(xp.max(xp.abs(leaf))) for leaf in tree.leaves(g) if 0 not in leaf.shape), default=0.0)


def _not_finite(variables: Variables, f: float, g: Tree) -> str:
    """What is not finite, for a message: the value, or the gradient by which parameter."""
    if not math.isfinite(f):
        return f"f is {f}"
    bad = [path or "params" for path, leaf in tree.flatten(g).items() if not bool(variables.xp.all(variables.xp.isfinite(leaf)))]
    return f"f is {f:.6g}, but its gradient is not finite by {', '.join(bad)},"


# ------------------------------------------------------------------------------------------------------- L-BFGS


class Point(NamedTuple):
    """A point x = x₀ + a·p of a line: f, its derivative d along p, and the gradient g."""

    a: float
    f: float
    d: float
    x: Array
    g: Array


def _lbfgs(variables: Variables, slope: Callable[[Tree], Any], steps: int, tol: float) -> Fit:
    xp = variables.xp

    def along(x0: Array, p: Array) -> Callable[[float], Point]:
        def at(a: float) -> Point:
            x = x0 + a * p
            f, g = slope(variables.tree(x))
            g = variables.vector(g)
            return Point(a, float(f), float(xp.matmul(g, p)), x, g)

        return at

    x = variables.vector(variables.arrays)
    value, gradient = slope(variables.arrays)
    f, g = float(value), variables.vector(gradient)
    if not math.isfinite(f) or not bool(xp.all(xp.isfinite(g))):
        raise FloatingPointError(f"minimize: {_not_finite(variables, f, gradient)} at the start.")
    pairs: list[tuple[Array, Array, float]] = []  # (s, y, 1/sᵀy), the newest last
    history, message, converged = [f], "", False
    for step in range(steps + 1):
        largest = _largest(variables, g)
        converged = largest <= tol
        if converged or step == steps:
            message = _message(step, steps, largest, tol)
            break
        p = -_two_loops(variables, pairs, g)
        d = float(xp.matmul(g, p))
        if not -math.inf < d < 0:  # rounding has spoilt the curvature
            pairs, p, d = [], -g, -float(xp.matmul(g, g))
        if pairs and -d <= variables.eps * abs(f):
            message, converged = f"f cannot fall by more than its rounding; max |∂f| = {largest:.2g}", True
            break
        first = 1.0 if pairs else min(1.0, 1.0 / float(xp.sum(xp.abs(g))))
        found = _wolfe(along(x, p), Point(0.0, f, d, x, g), first, variables.eps)
        if found is None and pairs:
            pairs = []  # once more, along the gradient itself
            continue
        if found is None:
            message = f"no lower value along −∂f, though max |∂f| = {largest:.2g} > tol = {tol:.2g}: f is rough or rounded there, or its gradient is wrong"
            break
        s, y = found.x - x, found.g - g
        curvature = float(xp.matmul(s, y))
        if curvature > variables.eps * float(xp.matmul(y, y)):
            pairs = [*pairs[1 - MEMORY :], (s, y, 1.0 / curvature)]
        f, x, g = found.f, found.x, found.g
        history.append(f)
    return Fit(variables.result(variables.tree(x)), f, len(history) - 1, converged, message, history)


def _two_loops(variables: Variables, pairs: list[tuple[Array, Array, float]], g: Array) -> Array:
    """H·g for the inverse Hessian H that the pairs build up from γI, γ = sᵀy/yᵀy.      Nocedal & Wright, algorithm 7.4"""
    xp = variables.xp
    q, alphas = g, []
    for s, y, rho in reversed(pairs):
        alpha = rho * xp.matmul(s, q)
        q = q - alpha * y
        alphas.append(alpha)
    if pairs:
        s, y, rho = pairs[-1]
        q = q / (rho * xp.matmul(y, y))
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        q = q + s * (alpha - rho * xp.matmul(y, q))
    return q


def _wolfe(at: Callable[[float], Point], start: Point, a: float, eps: float) -> Point | None:
    """A point with f ≤ f₀ + c₁·a·d₀ and |d| ≤ c₂·|d₀|; failing that one with a lower f; None where there is none.

    Where f₀ + c₁·a·d₀ is lost in the rounding of f, the derivative alone decides, as in Hager & Zhang 2005.
    """
    slack = 2.0 * eps * abs(start.f)
    low, high = start, None  # low: the best so far; the minimum lies between low and high (None: further on)
    for _ in range(TRIALS):
        new = at(a)
        if not (new.f <= min(start.f + C1 * a * start.d, low.f) + slack and math.isfinite(new.d)):  # also where f is NaN
            high = new
        elif abs(new.d) <= -C2 * start.d:
            return new
        else:
            if new.d * ((high.a if high else math.inf) - low.a) >= 0:
                high = low
            low = new
        if high is None:
            a = 4.0 * low.a
        elif abs(high.a - low.a) <= eps * max(high.a, low.a):
            break
        else:
            a = _between(low, high)
    return low if low.f < start.f else None


def _between(low: Point, high: Point) -> float:
    """The minimum of the cubic through both values and derivatives, not too near an end; the middle where there is none.

    Nocedal & Wright, eq. 3.59.
    """
    width = high.a - low.a
    middle = low.a + 0.5 * width
    if not (math.isfinite(high.f) and math.isfinite(high.d)):
        return middle
    d1 = low.d + high.d - 3.0 * (high.f - low.f) / width
    square = d1 * d1 - low.d * high.d
    if not 0 <= square < math.inf:
        return middle
    d2 = math.copysign(math.sqrt(square), width)
    divisor = high.d - low.d + 2.0 * d2
    if divisor == 0:
        return middle
    share = 1.0 - (high.d + d2 - d1) / divisor
    return low.a + width * min(max(share, 0.1), 0.9)
