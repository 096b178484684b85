"""Reading and writing at indices: scatter_add, get_item, set_item. No input is ever written to."""

from __future__ import annotations

from typing import Any

from backends.gaps.device import device
from backends.library import gap, namespace
from backends.wrapped import join_key

Array = Any


@gap
def scatter_add(u: Array, index: Array, *, length: int) -> Array:
    """y[j] = Σ u[i] over all i with index[i] = j   along axis 0.      du = dy[index]

    u (m, ...), index (m,) integers in 0 … length − 1 → (length, ...). Equal indices add, always in the same order: the
    rows are sorted by index and summed as differences of a running sum, which is kept in float64.
    """
    xp = namespace(u, index)
    order = xp.argsort(index, stable=True)
    key = xp.take(index, order, axis=0)
    rows = xp.take(u, order, axis=0)
    if xp.isdtype(u.dtype, "real floating"):
        rows = xp.astype(rows, xp.float64)
    running = xp.cumulative_sum(rows, axis=0, include_initial=True) if u.shape[0] else xp.zeros((1, *u.shape[1:]), dtype=rows.dtype, device=device(u))
    target = xp.arange(length, dtype=index.dtype, device=device(index))
    first = xp.searchsorted(key, target, side="left")
    last = xp.searchsorted(key, target, side="right")
    return xp.astype(xp.take(running, last, axis=0) - xp.take(running, first, axis=0), u.dtype)


@gap
def get_item(x: Array, arrays: list[Array], *, key: Any) -> Array:
    """y = x[key], where the index arrays of the key come as a list (backends.wrapped.split_key)."""
    return x[join_key(key, arrays)]


@gap
def set_item(x: Array, value: Any, arrays: list[Array], *, key: Any) -> Array:
    """y = x with y[key] = value: a new array.      dx = dy with dx[key] = 0    dvalue = dy[key]"""
    y = namespace(x).asarray(x, copy=True)
    y[join_key(key, arrays)] = value
    return y
