"""CuPy's own versions of gap functions. scatter_add stays the portable one: atomics would add in any order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import cupy
import cupyx.scipy.special

from backends.gaps.window import window_count

Array = Any


def windows(x: Array, *, size: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Array:
    steps = x.strides[1:-1]
    counts = tuple(map(window_count, x.shape[1:-1], size, strides, dilations))
    return cupy.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], *counts, *size, x.shape[-1]),
        (x.strides[0], *(a * s for a, s in zip(steps, strides, strict=True)), *(a * d for a, d in zip(steps, dilations, strict=True)), x.strides[-1]),
    )


def fold(y: Array, *, shape: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Array:
    r = len(shape)
    counts, size = y.shape[1 : 1 + r], y.shape[1 + r : 1 + 2 * r]
    x = cupy.zeros((y.shape[0], *shape, y.shape[-1]), dtype=y.dtype)
    for offset in product(*map(range, size)):
        place = tuple(
            slice(k * d, k * d + (n - 1) * s + 1 if n else k * d, s) for k, d, n, s in zip(offset, dilations, counts, strides, strict=True)
        )
        x[(slice(None), *place)] += y[(slice(None),) * (1 + r) + offset]
    return x


def gaps() -> dict[str, Callable[..., Any]]:
    special = cupyx.scipy.special
    return {"windows": windows, "fold": fold, "erf": special.erf, "erfc": special.erfc}
