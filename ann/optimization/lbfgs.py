"""L-BFGS: Newton's steps with a Hessian that the last few gradients describe."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ann.optimization.fit import Fit, Variables
from ann.optimization.repeated import Repeated

Array = Any
Tree = Any

Pairs = deque[tuple[Array, Array, float]]  # (s, y, 1/sᵀy), the newest last

C1, C2 = 1e-4, 0.9  # sufficient decrease and curvature, Nocedal & Wright p. 62
TRIALS = 40  # evaluations of one line search


@dataclass(frozen=True)
class LBFGS:
    """x ← x + a·p,  p = −H·g: H by the two-loop recursion over the last pairs s = Δx, y = Δg, a by the strong Wolfe conditions.

    memory: how many pairs are kept. evaluations: the most evaluations of f and its gradient; None: no bound.
    Nocedal & Wright, Numerical Optimization, 2nd ed. 2006, algorithms 7.4, 7.5, 3.5, 3.6.
    """

    memory: int = 10
    evaluations: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.memory, int) or self.memory < 1:
            raise ValueError(f"LBFGS: memory is a positive integer, {self.memory!r} came")

    def descend(self, variables: Variables, slope: Callable[[Tree], Any], steps: int, tol: float, jit: bool = True) -> Fit:
        """Minimize from variables.arrays; slope(params) → (f, ∂f)."""
        xp, count = variables.xp, 1

        def evaluate(x: Array) -> tuple[Array, Array]:
            f, g = slope(variables.tree(x))
            return f, variables.vector(g)

        once = Repeated(evaluate, jit)

        def along(x0: Array, p: Array) -> Callable[[float], Point]:
            def at(a: float) -> Point:
                nonlocal count
                count += 1
                x = x0 + a * p
                f, g = once(x)
                return Point(a, float(f), float(xp.matmul(g, p)), x, g)

            return at

        x = variables.vector(variables.arrays)
        value, g = once(x)
        f = float(value)
        if not math.isfinite(f) or not bool(xp.all(xp.isfinite(g))):
            raise FloatingPointError(f"minimize: {variables.not_finite(f, variables.tree(g))} at the start.")
        pairs: Pairs = deque(maxlen=self.memory)
        history, message, converged = [f], "", False
        while not message:
            step, largest = len(history) - 1, variables.largest(g)
            p = -two_loops(xp, pairs, g)
            d = float(xp.matmul(g, p))
            if not -math.inf < d < 0:  # rounding has spoilt the curvature
                p, d = -g, -float(xp.matmul(g, g))
                pairs.clear()
            if largest <= tol or step == steps:
                message, converged = variables.verdict(step, steps, largest, tol), largest <= tol
            elif pairs and -d <= variables.eps * abs(f):
                message, converged = f"f cannot fall by more than its rounding; max |∂f| = {largest:.2g}", True
            elif self.evaluations is not None and count >= self.evaluations:
                message = f"all {self.evaluations} evaluations are made and max |∂f| = {largest:.2g} > tol = {tol:.2g}"
            else:
                first = 1.0 if pairs else min(1.0, 1.0 / float(xp.sum(xp.abs(g))))
                found = wolfe(along(x, p), Point(0.0, f, d, x, g), first, variables.eps)
                if found is not None:
                    s, y = found.x - x, found.g - g
                    curvature = float(xp.matmul(s, y))
                    if curvature > variables.eps * float(xp.matmul(y, y)):
                        pairs.append((s, y, 1.0 / curvature))
                    f, x, g = found.f, found.x, found.g
                    history.append(f)
                elif pairs:
                    pairs.clear()  # once more, along the gradient itself
                else:
                    message = f"no lower value along −∂f, though max |∂f| = {largest:.2g} > tol = {tol:.2g}: f is rough or rounded there, or its gradient is wrong"
        return Fit(variables.result(variables.tree(x)), f, len(history) - 1, converged, message, history)


def two_loops(xp: Any, pairs: Pairs, g: Array) -> Array:
    """H·g for the inverse Hessian H that the pairs build up from γI, γ = sᵀy/yᵀy."""
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


class Point(NamedTuple):
    """A point x = x₀ + a·p of a line: f, its derivative d along p, and the gradient g."""

    a: float
    f: float
    d: float
    x: Array
    g: Array


def wolfe(at: Callable[[float], Point], start: Point, a: float, eps: float) -> Point | None:
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
            a = between(low, high)
    return low if low.f < start.f else None


def between(low: Point, high: Point) -> float:
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
