"""`minimize`: the least value of a function of a tree of arrays, by L-BFGS or by an optimizer of `ann.optimizers`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ann import names, optimizers
from ann.autodiff import value_and_grad
from ann.optimization.fit import Fit, Variables
from ann.optimization.lbfgs import LBFGS
from ann.optimization.repeated import Repeated, joined
from backends import tree

Array = Any
Tree = Any

LOOK = 10  # a first-order method reads the gradient every so many steps: a GPU is not kept waiting


def minimize(
    f: Callable[..., Any], params: Tree, optimizer: Any = "lbfgs", steps: int = 1000, tol: float | None = None, args: tuple[Any, ...] = (), jit: bool = True
) -> Fit:  # fmt: skip
    """params that make f(params, *args) small, with the gradient by `ann.value_and_grad`.

    f: written in Array API calls, returns a scalar. params: any tree of float arrays and Python floats, of any library;
    what came as a float comes back as a float. optimizer: "lbfgs", another name ("adam", …) or an object (ann.Adam(0.1),
    ann.LBFGS(memory=20)). steps: the most that are taken. tol: converged when max |∂f/∂params| ≤ tol; None is √ε of the dtype,
    1.5e-8 in float64 and 3.5e-4 in float32. L-BFGS also converges where f cannot fall by more than its own rounding.
    jit: after 20 evaluations f runs as one compiled program, so it must be pure: what it does besides (printing, counting) ends
    there. A function that looks at values, or gives other values under jit (random ones), runs on as it is; so do all with False.
    FloatingPointError when f or its gradient is not finite at the start or (first-order methods) on the way.
    """
    variables = Variables("minimize", params, args)
    if not isinstance(steps, int) or steps < 0:
        raise ValueError(f"minimize: steps is a non-negative integer, {steps!r} came")
    if tol is not None and not tol >= 0:
        raise ValueError(f"minimize: tol is not negative, {tol!r} came")
    tol = math.sqrt(variables.eps) if tol is None else tol
    if isinstance(optimizer, str):
        optimizer = names.find(optimizer, {"lbfgs": LBFGS, **optimizers.OPTIMIZERS}, "optimizer", "an object will do too: ann.Adam(0.1)")()

    def objective(p: Tree, *rest: Any) -> Any:
        y = f(p, *rest)
        if isinstance(y, int | float):
            raise ValueError(f"minimize: f returned the Python number {y}, which does not depend on params")
        if getattr(y, "shape", ()) != () or isinstance(y, dict | list | tuple):
            got = f"shape {tuple(y.shape)}" if hasattr(y, "shape") else f"a {type(y).__name__}"
            raise ValueError(f"minimize: f must return a scalar, it returned {got}. xp.sum makes one; ann.least_squares takes an array of residuals.")
        return y

    value_and_slope = value_and_grad(objective)
    slope = lambda p: value_and_slope(p, *joined(args, tree.leaves(p)[0]))
    if isinstance(optimizer, LBFGS):
        return optimizer.descend(variables, slope, steps, tol, jit)
    return _first_order(variables, slope, optimizers.get(optimizer), steps, tol, jit)


def _first_order(variables: Variables, slope: Callable[[Tree], Any], optimizer: Any, steps: int, tol: float, jit: bool) -> Fit:
    def advance(p: Tree, slots: Tree) -> tuple[Array, Tree, Tree]:
        f, g = slope(p)
        return f, g, optimizer.step(p, g, slots)

    p, values = variables.arrays, []
    slots, once = optimizer.init(p), Repeated(advance, jit)
    for step in range(steps + 1):
        f, g, after = once(p, slots)
        values.append(f)
        if step % LOOK == 0 or step == steps:
            largest = variables.largest(g)
            if not math.isfinite(float(f)) or not math.isfinite(largest):
                history = [float(value) for value in values]
                bad = next((i for i, value in enumerate(history) if not math.isfinite(value)), step)
                before = f", after {history[bad - 1]:.6g}: a smaller learning rate, or global_clipnorm=1.0, usually helps" if bad else ""
                raise FloatingPointError(f"minimize: {variables.not_finite(history[bad], g)} at step {bad}{before}.")
            if largest <= tol or step == steps:
                break
        p, slots = after
    history = [float(value) for value in values]
    return Fit(variables.result(p), history[-1], step, largest <= tol, variables.verdict(step, steps, largest, tol), history)
