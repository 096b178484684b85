"""Functions that create arrays from values: where a value is traced, the array is made of it, so that its gradient comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Array = Any


def full(xp: Any, shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """y = the value, repeated    dvalue = Σ dy"""
    return xp.broadcast_to(xp.asarray(fill_value, dtype=dtype, device=device), (shape,) if isinstance(shape, int) else tuple(shape))


def full_like(xp: Any, x: Array, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """y = the value, repeated in the shape of x    dx = 0    dvalue = Σ dy"""
    return full(xp, x.shape, fill_value, dtype=x.dtype if dtype is None else dtype, device=x.device if device is None else device)


def linspace(xp: Any, start: Any, stop: Any, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True) -> Array:
    """y = start·(1 − t) + stop·t    for t from 0 to 1 in equal steps"""
    like = start if hasattr(start, "dtype") else stop
    t = xp.arange(num, dtype=like.dtype, device=like.device if device is None else device) / float(max(num - endpoint, 1))
    y = start * (1.0 - t) + stop * t
    return y if dtype is None else xp.astype(y, dtype)


BODIES: dict[str, Callable[..., Any]] = {"full": full, "full_like": full_like, "linspace": linspace}
