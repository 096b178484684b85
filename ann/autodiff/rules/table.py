"""The table of rules: a function of the standard, or a gap function, made differentiable by the decorator `rule`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ann.autodiff.primitive import Primitive
from backends import namespace

Array = Any

# {"": functions of the main namespace, "linalg": …, "fft": …, "gap": the gap functions}
RULES: dict[str, dict[str, Callable[..., Any]]] = {"": {}, "linalg": {}, "fft": {}, "gap": {}}
PLAIN: dict[str, dict[str, Callable[..., Any]]] = {"": {}, "linalg": {}, "fft": {}}  # the bodies in calls of the namespace, for what is differentiated


def rule(body: Callable[..., Any] | None = None, *, into: str = "", joint: bool = False) -> Any:
    """Enter a primitive under the name of its body: the derivative of the function of this name in the standard."""

    def enter(f: Callable[..., Any]) -> Primitive:
        made = Primitive(f, joint)
        RULES[into][f.__name__] = made
        return made

    return enter if body is None else enter(body)


def plain(into: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function that is written with other functions of the namespace, so that it needs no rule of its own.

    Of constants it is the library's own.
    """

    def enter(f: Callable[..., Any]) -> Callable[..., Any]:
        PLAIN[into][f.__name__] = f
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


def fitted(name: str, x1: Any, x2: Any) -> tuple[Any, Any]:
    """Both arguments, or TypeError where arrays of two kinds (integers and floats) meet: there libraries differ."""
    if hasattr(x1, "dtype") and hasattr(x2, "dtype") and x1.dtype != x2.dtype:
        xp = namespace(x1, x2)
        if _kind(xp, x1.dtype) != _kind(xp, x2.dtype):
            raise TypeError(f"{name}: {_short(x1)} and {_short(x2)} arrays meet, and libraries differ in the result; write xp.astype(x, y.dtype)")
    return x1, x2


def fitted_list(name: str, arrays: list[Array]) -> list[Array]:
    """The arrays, or TypeError where two kinds meet."""
    for x in arrays[1:]:
        fitted(name, arrays[0], x)
    return arrays


def _kind(xp: Any, dtype: Any) -> str:
    return next((kind for kind in ("bool", "integral") if xp.isdtype(dtype, kind)), "floating")


def _short(x: Array) -> str:
    return str(x.dtype).rpartition(".")[2]
