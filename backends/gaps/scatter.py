"""Reading and writing at places that arrays name: sums into rows, and x[key], x[key] = value without mutation."""

from __future__ import annotations

from typing import Any

from backends.gaps.device import device
from backends.library import gap, namespace
from backends.wrapped import join_key

Array = Any


@gap
def scatter_add(u: Array, index: Array, *, length: int) -> Array:
    """y[j] = Σ_{i: index[i] = j} u[i]   along axis 0; rows that no index names are 0.

    u (m, …), index (m,) of integers in 0 … length−1 (not checked: it would wait for the device) → y (length, …).
    ValueError when the sizes disagree.

    >>> scatter_add(np.array([1.0, 2.0, 4.0]), np.array([2, 0, 2]), length=4)
    array([2., 0., 5., 0.])

    The rows are sorted by index; then log₂ m steps, each adding the row 1, 2, 4, … before it in the same segment, leave the
    sum of a segment in its last row. The order of summation is a tree of depth log₂ m: deterministic, as accurate as
    pairwise summation, in the dtype of u, and a large or infinite value stays in its own segment.
    """
    xp = namespace(u, index)
    _check_rows(u, index)
    m, rest = u.shape[0], tuple(u.shape[1:])
    if m == 0 or length == 0:
        return xp.zeros((length, *rest), dtype=u.dtype, device=device(u))
    order = xp.argsort(index, stable=True)
    rows, y = xp.take(index, order, axis=0), xp.take(u, order, axis=0)
    step = 1
    while step < m:
        same = xp.reshape(rows[step:] == rows[:-step], (m - step, *(1 for _ in rest)))
        before = xp.where(same, y[:-step, ...], xp.zeros_like(y[:-step, ...]))
        y = xp.concat((y[:step, ...], y[step:, ...] + before), axis=0)
        step *= 2
    places = xp.arange(length, dtype=rows.dtype, device=device(u))
    first, end = xp.searchsorted(rows, places, side="left"), xp.searchsorted(rows, places, side="right")
    named = xp.reshape(end > first, (length, *(1 for _ in rest)))
    last = xp.maximum(end - 1, xp.zeros_like(end))
    y = xp.take(y, last, axis=0)
    return xp.where(named, y, xp.zeros_like(y))


def _check_rows(u: Array, index: Array) -> None:
    if index.ndim != 1 or u.ndim < 1 or u.shape[0] != index.shape[0]:
        raise ValueError(f"scatter_add: u is {tuple(u.shape)}, index {tuple(index.shape)}; wanted (m, …) and (m,)")


@gap
def get_item(x: Array, arrays: list[Array], *, key: Any) -> Array:
    """y = x[key], the key put together from a template and its index arrays (`split_key` takes one apart)."""
    return x[join_key(key, arrays)]


@gap
def set_item(x: Array, value: Any, arrays: list[Array], *, key: Any) -> Array:
    """y = x, but y[key] = value: a new array; x stays as it is.

    value: an array that broadcasts to x[key], or a Python number. Integer index arrays work where the library takes
    them in
    an assignment; of equal places one wins, which one is open.
    """
    xp = namespace(x)
    y = xp.asarray(x, copy=True)
    y[join_key(key, arrays)] = value
    return y
