"""CuPy's own versions of the gap functions: views, its special functions, one kernel for the random bits.

scatter_add stays the portable one: CuPy's own adds with atomics, whose order, and so the last bits, vary from run to run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cupy
from cupy.lib.stride_tricks import as_strided
from cupyx.scipy import special

from backends.gaps import bits, window
from backends.numpy.gaps import add_windows

Array = Any


def windows(x: Array, *, size: Any, strides: Any, dilations: Any) -> Array:
    """A view; it must not be written to, which CuPy cannot enforce."""
    counts = window.window_counts(x.shape[1:-1], size, strides, dilations)
    n, *spatial, c = x.strides
    steps = (
        n,
        *(a * s for a, s in zip(spatial, strides, strict=True)),
        *(a * d for a, d in zip(spatial, dilations, strict=True)),
        c,
    )
    return as_strided(x, (x.shape[0], *counts, *size, x.shape[-1]), steps)


def fold(y: Array, *, shape: Any, strides: Any, dilations: Any) -> Array:
    window.check_fold(y.shape, shape, strides, dilations)
    with y.device:
        return add_windows(lambda shape: cupy.zeros(shape, y.dtype), y, shape, strides, dilations)


@functools.cache
def _philox() -> Any:
    """One thread a word would repeat the rounds four times; one thread a block writes its four words."""
    return cupy.ElementwiseKernel(
        "raw S step, uint32 key0, uint32 key1, uint32 draw, int64 count, int64 blocks",
        "raw uint32 y",
        """
        unsigned int c0 = (unsigned int)i, c1 = (unsigned int)(i >> 32), c2 = (unsigned int)step[0], c3 = draw;
        unsigned int k0 = key0, k1 = key1;
        for (int r = 0; r < 10; ++r) {
            unsigned int h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
            unsigned int h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
            c0 = h1 ^ c1 ^ k0; c1 = l1; c2 = h0 ^ c3 ^ k1; c3 = l0;
            k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
        }
        long long at = 4ll * i;
        if (at < count) y[at] = c0;
        if (at + 1 < count) y[at + 1] = c1;
        if (at + 2 < count) y[at + 2] = c2;
        if (at + 3 < count) y[at + 3] = c3;
        """,
        "philox4x32_10",
    )


def random_bits(step: Any, like: Array, *, key: tuple[int, int], draw: int, count: int) -> Array:
    bits.check_address(step, key, draw, count)
    with like.device:
        y = cupy.empty((count,), cupy.uint32)
        if count:
            at = cupy.full((1,), step, dtype=cupy.uint32) if isinstance(step, int) else step.reshape(1)
            blocks = -(-count // 4)
            _philox()(at, *map(cupy.uint32, key), cupy.uint32(draw), count, blocks, y, size=blocks)
        return y


def gaps() -> dict[str, Callable[..., Any]]:
    elementwise = {"erf": special.erf, "erfc": special.erfc, "lgamma": special.gammaln, "digamma": special.digamma}
    return {"windows": windows, "fold": fold, "random_bits": random_bits, **elementwise}
