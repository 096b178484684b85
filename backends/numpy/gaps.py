"""NumPy's own versions of gap functions: the same results, faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backends.gaps.bits import M0, M1, W0, W1, WORD
from backends.gaps.window import window_count

Array = Any


def scatter_add(u: Array, index: Array, *, length: int) -> Array:
    y = np.zeros((length, *u.shape[1:]), dtype=u.dtype)
    np.add.at(y, index, u)
    return y


def windows(x: Array, *, size: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Array:
    r = len(size)
    counts = tuple(map(window_count, x.shape[1:-1], size, strides, dilations))
    steps = x.strides[1 : 1 + r]
    return np.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], *counts, *size, x.shape[-1]),
        (x.strides[0], *(a * s for a, s in zip(steps, strides, strict=True)), *(a * d for a, d in zip(steps, dilations, strict=True)), x.strides[-1]),
        writeable=False,
    )


def fold(y: Array, *, shape: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Array:
    r = len(shape)
    counts, size = y.shape[1 : 1 + r], y.shape[1 + r : 1 + 2 * r]
    x = np.zeros((y.shape[0], *shape, y.shape[-1]), dtype=y.dtype)
    for offset in np.ndindex(*size):
        place = tuple(
            slice(k * d, k * d + (n - 1) * s + 1 if n else k * d, s) for k, d, n, s in zip(offset, dilations, counts, strides, strict=True)
        )
        x[(slice(None), *place)] += y[(slice(None),) * (1 + r) + offset]
    return x


def random_bits(like: Array, step: Any, *, key: tuple[int, int], draw: int, count: int) -> Array:
    blocks = -(-count // 4)
    words = np.empty((blocks, 4), dtype=np.uint32)
    for start in range(0, blocks, 8192):  # in pieces that stay in the cache
        stop = min(start + 8192, blocks)
        c0 = np.arange(start, stop, dtype=np.uint64)
        c1 = np.zeros_like(c0)
        c2 = np.full_like(c0, int(step) & WORD)
        c3 = np.full_like(c0, draw & WORD)
        k0, k1 = key
        for _ in range(10):
            p0, p1 = c0 * np.uint64(M0), c2 * np.uint64(M1)
            c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ np.uint64(k0), p1 & WORD, (p0 >> 32) ^ c3 ^ np.uint64(k1), p0 & WORD
            k0, k1 = (k0 + W0) & WORD, (k1 + W1) & WORD
        for i, word in enumerate((c0, c1, c2, c3)):
            words[start:stop, i] = word
    return words.reshape(-1)[:count]


def gaps() -> dict[str, Callable[..., Any]]:
    return {"scatter_add": scatter_add, "windows": windows, "fold": fold, "random_bits": random_bits}
