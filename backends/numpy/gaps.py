"""NumPy's own versions of the gap functions: views, sums in place on fresh memory, work in blocks that stay in the
cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from backends.gaps import bits, special, window
from backends.gaps.scatter import _check_rows

Array = Any
BLOCK = 1 << 14  # entries: a few arrays of this size fit the second cache


def in_blocks(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """An elementwise function, applied block by block."""

    def blocked(x: Array) -> Array:
        if not isinstance(x, np.ndarray) or x.size <= BLOCK:
            return f(x)
        flat = x.reshape(-1)
        y = np.empty(flat.shape, flat.dtype)
        for i in range(0, flat.size, BLOCK):
            y[i : i + BLOCK] = f(flat[i : i + BLOCK])
        return y.reshape(x.shape)

    return blocked


def scatter_add(u: Array, index: Array, *, length: int) -> Array:
    _check_rows(u, index)
    y = np.zeros((length, *u.shape[1:]), u.dtype)
    np.add.at(y, index, u)
    return y


def windows(x: Array, *, size: Any, strides: Any, dilations: Any) -> Array:
    counts = window.window_counts(x.shape[1:-1], size, strides, dilations)
    n, *spatial, c = x.strides
    steps = (
        n,
        *(a * s for a, s in zip(spatial, strides, strict=True)),
        *(a * d for a, d in zip(spatial, dilations, strict=True)),
        c,
    )
    return as_strided(x, (x.shape[0], *counts, *size, x.shape[-1]), steps, writeable=False)


def fold(y: Array, *, shape: Any, strides: Any, dilations: Any) -> Array:
    window.check_fold(y.shape, shape, strides, dilations)
    return add_windows(lambda shape: np.zeros(shape, y.dtype), y, shape, strides, dilations)


def add_windows(zeros: Callable[[Any], Array], y: Array, shape: Any, strides: Any, dilations: Any) -> Array:
    """The windows of one axis after the other added in place to fresh zeros: k₁ + k₂ passes, not k₁·k₂."""
    for i in range(len(shape) - 1, -1, -1):
        o, k, s, d = y.shape[1 + i], y.shape[-2], strides[i], dilations[i]
        x = zeros((*y.shape[: 1 + i], shape[i], *y.shape[2 + i : -2], y.shape[-1]))
        for q in range(k):
            x[(slice(None),) * (1 + i) + (slice(q * d, q * d + (o - 1) * s + 1, s),)] += y[..., q, :]
        y = x
    return y


def random_bits(step: Any, like: Array, *, key: tuple[int, int], draw: int, count: int) -> Array:
    """Products of 64 bits, in blocks that stay in the cache."""
    bits.check_address(step, key, draw, count)
    blocks = -(-count // 4)
    y = np.empty((blocks, 4), np.uint32)
    for i in range(0, blocks, BLOCK):
        n = min(BLOCK, blocks - i)
        c0 = np.arange(i, i + n, dtype=np.uint64)
        c1 = np.zeros(n, np.uint64)
        c2 = np.full(n, int(step), np.uint64)
        c3 = np.full(n, draw, np.uint64)
        k0, k1 = key
        p0, p1 = np.empty(n, np.uint64), np.empty(n, np.uint64)
        for _ in range(10):
            np.multiply(c0, np.uint64(bits.MULTIPLIERS[0]), out=p0)
            np.multiply(c2, np.uint64(bits.MULTIPLIERS[1]), out=p1)
            np.right_shift(p1, np.uint64(32), out=c0)
            c0 ^= c1
            c0 ^= np.uint64(k0)
            np.right_shift(p0, np.uint64(32), out=c2)
            c2 ^= c3
            c2 ^= np.uint64(k1)
            np.bitwise_and(p1, np.uint64(bits.MASK), out=c1)
            np.bitwise_and(p0, np.uint64(bits.MASK), out=c3)
            k0, k1 = (k0 + bits.WEYL[0]) & bits.MASK, (k1 + bits.WEYL[1]) & bits.MASK
        for j, c in enumerate((c0, c1, c2, c3)):
            y[i : i + n, j] = c
    return y.reshape(-1)[:count]


def gaps() -> dict[str, Callable[..., Any]]:
    elementwise = {
        name: in_blocks(getattr(special, name).portable) for name in ("erf", "erfc", "lgamma", "digamma", "trigamma")
    }
    return {"scatter_add": scatter_add, "windows": windows, "fold": fold, "random_bits": random_bits, **elementwise}
