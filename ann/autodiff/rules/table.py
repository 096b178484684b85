"""The table of rules: a function of the standard, or a gap function, made differentiable by the decorator `rule`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ann.autodiff.primitive import Primitive
from backends import namespace

Array = Any

# {"": functions of the main namespace, "linalg": …, "fft": …, "gap": the gap functions}
RULES: dict[str, dict[str, Callable[..., Any]]] = {"": {}, "linalg": {}, "fft": {}, "gap": {}}


def rule(body: Callable[..., Any] | None = None, *, into: str = "", joint: bool = False) -> Any:
    """Enter a primitive under the name of its body: the derivative of the function of this name in the standard."""

    def enter(f: Callable[..., Any]) -> Primitive:
        made = Primitive(f, joint)
        RULES[into][f.__name__] = made
        return made

    return enter if body is None else enter(body)


def plain(into: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function that is written with other functions of the namespace, so that it needs no rule of its own."""

    def enter(f: Callable[..., Any]) -> Callable[..., Any]:
        RULES[into][f.__name__] = f
        return f

    return enter


def fit(dy: Array, x: Any) -> Array:
    """The gradient by x from that by a broadcast of x: summed over the axes that were broadcast, in the dtype of x."""
    xp = namespace(dy)
    shape = tuple(getattr(x, "shape", ()))
    if tuple(dy.shape) != shape:
        lead = dy.ndim - len(shape)
        axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and dy.shape[lead + i] != 1)
        dy = xp.reshape(xp.sum(dy, axis=axes), shape)
    dtype = getattr(x, "dtype", dy.dtype)
    return dy if dy.dtype == dtype else xp.astype(dy, dtype)
