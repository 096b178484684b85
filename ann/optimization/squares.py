"""`least_squares`: the parameters of a curve, with their errors, by the method of Levenberg and Marquardt."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ann.autodiff import jacobian
from ann.optimization.fit import Fit, Variables
from backends import host, library_of, namespace, tree

Array = Any
Tree = Any


def least_squares(
    residual: Callable[..., Any], params: Tree, *, args: tuple[Any, ...] = (), weights: Any = None, steps: int = 100, tol: float = 1e-8
) -> Fit:
    """params that make S = Σ w·r² small, r = residual(params, *args); with the Jacobian J = ∂r/∂params by `ann.jacobian`.

    residual: written in Array API calls, returns an array of m residuals, of any shape. params: a tree of n numbers, in
    float arrays and Python floats, of any library. weights: w ≥ 0 in the shape of r; 1/σᵢ² where residual i has the error σᵢ.
    converged: S or params change by less than tol (relative), or r is at right angles to the columns of J (|cos| ≤ tol).
    covariance = σ²·(JᵀWJ)⁻¹ with σ² = S/(m − n): the errors σᵢ are known up to a common factor, as scipy's curve_fit takes
    them. It is infinite where the residuals do not determine the params (m ≤ n, or J of lower rank); the message says so.
    FloatingPointError when r is not finite at the start, or J at a point that was reached.

    A step δ solves (JᵀWJ + λD²)·δ = −JᵀWr by QR of √W·J. D: the largest norm so far of each column; λ by Nielsen's rule.
    Marquardt 1963; Moré 1978; Madsen, Nielsen & Tingleff 2004, algorithm 3.16.
    """
    variables = Variables("least_squares", params, args)
    xp, tol = variables.xp, max(tol, variables.eps)
    if not isinstance(steps, int) or steps < 0:
        raise ValueError(f"least_squares: steps is a non-negative integer, {steps!r} came")
    root = None if weights is None else _root(weights, variables)

    def observed(p: Tree, *rest: Any) -> Any:
        r = residual(p, *rest)
        if not getattr(r, "shape", ()):
            got = "a scalar" if hasattr(r, "shape") or isinstance(r, float) else f"a {type(r).__name__}"
            raise ValueError(f"least_squares: residual must return one array of residuals, it returned {got}; ann.minimize takes a scalar")
        if root is not None and tuple(r.shape) != tuple(root.shape):
            raise ValueError(f"least_squares: weights has shape {tuple(root.shape)}, the residuals {tuple(r.shape)}; one weight a residual is wanted")
        return r, r

    slope = jacobian(observed, has_aux=True)

    def evaluate(x: Array) -> Linear:
        parts, r = slope(variables.tree(x), *args)
        columns = [xp.reshape(part, (math.prod(r.shape), size)) for part, size in zip(tree.leaves(parts), variables.sizes, strict=True)]
        j = xp.concat([xp.astype(part, variables.dtype) for part in columns], axis=1)
        e = xp.astype(xp.reshape(r, (-1,)), variables.dtype)
        return Linear(r, j, e, None if root is None else xp.reshape(root, (-1,)))

    x = variables.vector(variables.arrays)
    here = evaluate(x)
    if not math.isfinite(here.value):
        bad = host.argwhere(~host.isfinite(library_of(here.r).fetch(here.r)))
        where = f"first at {tuple(map(int, bad[0]))}" if len(bad) else f"or its square overflows {variables.dtype}"
        raise FloatingPointError(f"least_squares: the residual is not finite at the start, {where}")
    history, largest, damping, growth = [here.value], host.zeros(sum(variables.sizes)), 1e-3, 2.0
    converged, message = False, ""
    while not message:
        step = len(history) - 1
        R, b = here.triangle()
        if not host.isfinite(R).all():
            bad = [variables.where(int(i)) for i in host.argwhere(~host.isfinite(R).all(axis=0))[:, 0]]
            raise FloatingPointError(f"least_squares: at step {step} the derivative of the residual by {', '.join(dict.fromkeys(bad))} is not finite")
        norms = host.linalg.norm(R, axis=0)
        largest = host.maximum(largest, norms)
        D = host.where(largest > 0, largest, 1.0)
        cosine = float((host.abs(R.T @ b) / host.where(norms > 0, norms, 1.0)).max()) / (math.sqrt(here.value) or 1.0)
        if cosine <= tol:
            converged, message = True, _stationary(here.value, norms, cosine)
        elif step == steps:
            message = f"all {steps} steps are taken; more may go further"
        while not message:  # more damping, until S falls
            system = host.concat([R, math.sqrt(damping) * host.diag(D)])
            delta = host.linalg.lstsq(system, host.concat([-b, host.zeros(len(D))]))[0]
            promised = float(host.sum((R @ delta) ** 2) + 2.0 * damping * host.sum((D * delta) ** 2))
            there = evaluate(x + _device(delta, variables))
            fell = here.value - there.value
            if max(abs(fell), promised) <= tol * here.value:
                converged, message = True, f"Σ w·r² changes by less than {tol:.1g} of it"
            elif host.linalg.norm(D * delta) <= tol * host.linalg.norm(D * library_of(x).fetch(x)):
                converged, message = True, f"params change by less than {tol:.1g} of them"
            if fell > 0:  # not where it is NaN
                damping, growth = damping * max(1 / 3, 1.0 - (2.0 * fell / promised - 1.0) ** 3), 2.0
                x, here = x + _device(delta, variables), there
                history.append(here.value)
                break
            damping, growth = damping * growth, growth * 2.0
    covariance, determined = _covariance(here, D, variables.eps)
    errors = variables.tree(_device(host.sqrt(host.diagonal(covariance)), variables))
    return Fit(
        variables.result(variables.tree(x)), here.value, len(history) - 1, converged, message + determined, history,
        here.r, here.j, _device(covariance, variables), variables.result(errors),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Linear:
    """The residual about a point: r + J·δ, with the weights' roots (None: all are 1) and S = Σ w·r²."""

    r: Array  # as the function returned it
    j: Array  # (m, n)
    e: Array  # r as a vector
    root: Array

    @property
    def weighted(self) -> Array:
        return self.e if self.root is None else self.root * self.e

    @property
    def value(self) -> float:
        return float(namespace(self.e).sum(self.weighted * self.weighted))

    def triangle(self) -> tuple[Any, Any]:
        """(R, b) on the host in float64, with √W·J = Q·R and b = Qᵀ·√W·r: all that a step needs of m residuals."""
        xp = namespace(self.j)
        Q, R = xp.linalg.qr(self.j if self.root is None else xp.expand_dims(self.root, axis=1) * self.j)
        fetch = library_of(R).fetch
        return host.asarray(fetch(R), dtype="float64"), host.asarray(fetch(xp.matmul(xp.matrix_transpose(Q), self.weighted)), dtype="float64")


def _root(weights: Any, variables: Variables) -> Array:
    """√w on the device of the parameters."""
    w = variables.backend.asarray(weights, dtype=variables.dtype, finite=True)
    if bool(variables.xp.any(w < 0)):
        raise ValueError("least_squares: weights has negative values")
    return variables.xp.sqrt(w)


def _stationary(value: float, norms: Any, cosine: float) -> str:
    if value == 0:
        return "the residuals are zero"
    if not norms.any():
        return "the Jacobian is zero: the residuals do not depend on params here"
    return f"the residuals are at right angles to the Jacobian (cosine {cosine:.1g})"


def _covariance(at: Linear, D: Any, eps: float) -> tuple[Any, str]:
    """σ²·(JᵀWJ)⁻¹ through the singular values of R/D, and what to say where it does not exist."""
    m, n = at.j.shape
    _, s, vt = host.linalg.svd(at.triangle()[0] / D, full_matrices=False)
    rank = int((s > eps * max(m, n) * s[0]).sum())
    if m <= n or rank < n:
        why = f"{m} residuals do not determine" if m <= n else f"the Jacobian has rank {rank} for"
        return host.full((n, n), math.inf), f"; no covariance: {why} {n} parameters"
    v = vt.T / s / D[:, None]
    return (at.value / (m - n)) * (v @ v.T), ""


def _device(x: Any, variables: Variables) -> Array:
    return variables.backend.asarray(x, dtype=variables.dtype)
