"""The linear map, and what only rearranges: linear, flatten, embedding, dropout."""

from __future__ import annotations

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
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[0] or (b is not None and tuple(b.shape) != (w.shape[1],)):
        bias = "" if b is None else f", b {tuple(b.shape)}"
        raise ValueError(f"linear: x {tuple(x.shape)}, w {tuple(w.shape)}{bias}; wanted: x (..., d), w (d, k), b (k,)")
    y = xp.matmul(x, w)
    if b is not None:
        y = y + b
    d, k = w.shape

    def rows(a: Array, width: int) -> Array:
        return a if a.ndim == 2 else xp.reshape(a, (_count(a), width))

    return (
        y,
        lambda dy: xp.matmul(dy, xp.matrix_transpose(w)),
        lambda dy: xp.matmul(xp.matrix_transpose(rows(x, d)), rows(dy, k)),
        lambda dy: xp.sum(rows(dy, k), axis=0),
    )


def _count(a: Array) -> int:
    """The batch slot of a reshape: −1, or 0 where sizes of 0 leave it open."""
    return -1 if a.shape[-1] and 0 not in a.shape[1:] else int(0 if 0 in a.shape[:-1] else _product(a.shape[:-1]))


def _product(sizes: tuple[int, ...]) -> int:
    n = 1
    for size in sizes:
        n *= size
    return n


def flatten(x: Array) -> Array:
    """y = x with every example as one row: (n, …) → (n, product of the others)"""
    size = _product(tuple(x.shape[1:]))
    return namespace(x).reshape(x, (-1 if size else x.shape[0], size))


@primitive
def embedding(w: Array, index: Array) -> Any:
    """y = w[index]      dw[j] = Σ dy[i] over all i with index[i] = j

    w (k, d), index (...,) integers in 0 … k − 1 → y (..., d). Equal indices add.
    """
    xp = namespace(w, index)
    k, d = w.shape
    flat = xp.reshape(index, (-1,))
    y = xp.reshape(xp.take(w, flat, axis=0), (*index.shape, d))
    return y, lambda dy: scatter_add(xp.reshape(dy, (flat.shape[0], d)), flat, length=k), None


@primitive
def dropout(x: Array, mask: Array, *, rate: float) -> Any:
    """y = x·mask/(1 − rate)      dx = dy·mask/(1 − rate)

    mask: booleans like x, True with probability 1 − rate: randomness is an argument. rate = 1 gives zeros.
    """
    xp = namespace(x, mask)
    kept = xp.astype(mask, x.dtype) * (1.0 / (1.0 - rate) if rate < 1 else 0.0)
    return x * kept, lambda dy: dy * kept, None
