"""The linear and the bilinear map, and what only rearranges: flatten, embedding, dropout."""

from __future__ import annotations

import math
from typing import Any

from ann.autodiff import primitive
from backends import namespace
from backends.gaps import scatter_add

Array = Any


@primitive
def linear(x: Array, w: Array, b: Array | None = None) -> Any:
    """y = x·w + b   over the last axis.      dx = dy·wᵀ    dw = xᵀ·dy    db = Σ dy

    x (..., d), w (d, k), b (k,) → y (..., k). Sums run over all axes but the last.
    ValueError when x, w and b disagree.
    """
    xp = namespace(x, w, b)
    if w.ndim != 2 or x.ndim < 1 or (b is not None and tuple(b.shape) != (w.shape[1],)):
        bias = "" if b is None else f", b {tuple(b.shape)}"
        raise ValueError(f"linear: x {tuple(x.shape)}, w {tuple(w.shape)}{bias}; wanted: x (..., d), w (d, k), b (k,)")
    if x.shape[-1] != w.shape[0]:
        raise ValueError(f"linear: x has {x.shape[-1]} features, w {tuple(w.shape)} takes {w.shape[0]}")
    y = xp.matmul(x, w)
    if b is not None:
        y = y + b
    d, k = w.shape

    def rows(a: Array, width: int) -> Array:
        return a if a.ndim == 2 else in_rows(a, (width,))

    return (
        y,
        lambda dy: xp.matmul(dy, xp.matrix_transpose(w)),
        lambda dy: xp.matmul(xp.matrix_transpose(rows(x, d)), rows(dy, k)),
        lambda dy: xp.sum(rows(dy, k), axis=0),
    )


def bilinear(x: Array, u: Array, w: Array, b: Array | None = None) -> Array:
    """y_k = Σ_ij x_i·w_ijk·u_j + b_k   over the last axes of x and u.

    x (..., d), u (..., e), w (d, e, k), b (k,) → y (..., k): a linear map of all products x_i·u_j; its derivatives follow.
    ValueError when they disagree.
    """
    xp = namespace(x, u, w, b)
    if w.ndim != 3 or x.ndim < 1 or tuple(x.shape[:-1]) != tuple(u.shape[:-1]) or (x.shape[-1], u.shape[-1]) != tuple(w.shape[:2]):
        raise ValueError(f"bilinear: x {tuple(x.shape)}, u {tuple(u.shape)}, w {tuple(w.shape)}; wanted: x (..., d), u (..., e), w (d, e, k)")
    y = xp.tensordot(xp.expand_dims(x, axis=-1) * xp.expand_dims(u, axis=-2), w, axes=2)
    return y if b is None else y + b


def in_rows(x: Array, shape: tuple[int, ...]) -> Array:
    """x as (−1, *shape): the batch size is counted, not written down, except where a size of 0 leaves it open."""
    lead = tuple(x.shape[: x.ndim - len(shape)])
    return namespace(x).reshape(x, (-1 if math.prod(shape) else math.prod(lead), *shape))


def flatten(x: Array) -> Array:
    """y = x with every example as one row: (n, …) → (n, product of the others)"""
    if x.ndim < 1:
        raise ValueError("flatten: x has shape (); wanted: (n, …)")
    size = math.prod(x.shape[1:])
    return namespace(x).reshape(x, (-1 if size else x.shape[0], size))


@primitive
def embedding(w: Array, index: Array) -> Any:
    """y = w[index]      dw[j] = Σ dy[i] over all i with index[i] = j

    w (k, d), index (...,) integers in 0 … k − 1 (not checked: it would wait for the device) → y (..., d). Equal indices add.
    TypeError when the indices are no integers.
    """
    xp = namespace(w, index)
    if w.ndim != 2:
        raise ValueError(f"embedding: w has shape {tuple(w.shape)}; wanted: (k, d). The order is (w, index)")
    if not xp.isdtype(index.dtype, "integral"):
        raise TypeError(f"embedding: the indices are integers, {index.dtype} came; xp.astype(index, xp.int32) makes them so")
    k, d = w.shape
    flat = xp.reshape(index, (-1,))
    y = xp.take(w, flat, axis=0)
    if index.ndim != 1:
        rest = (*index.shape[1:], d)
        y = xp.reshape(y, rest if index.ndim == 0 else (-1 if math.prod(rest) else index.shape[0], *rest))
    return y, lambda dy: scatter_add(in_rows(dy, (d,)), flat, length=k), None


@primitive
def dropout(x: Array, mask: Array, *, rate: float) -> Any:
    """y = x·mask/(1 − rate)      dx = dy·mask/(1 − rate)

    mask: booleans like x, True with probability 1 − rate: randomness is an argument. rate in [0, 1]; 1 gives zeros.
    """
    xp = namespace(x, mask)
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"dropout: rate is a share from 0 to 1, {rate!r} came")
    if tuple(mask.shape) != tuple(x.shape):
        raise ValueError(f"dropout: x has shape {tuple(x.shape)}, mask {tuple(mask.shape)}; they must agree")
    kept = xp.astype(mask, x.dtype) * (1.0 / (1.0 - rate) if rate < 1 else 0.0)
    return x * kept, lambda dy: dy * kept, None
