"""Pooling: one number for each window and channel. Axis order (batch, …space…, channel)."""

from __future__ import annotations

import itertools
import math
from typing import Any

from ann.autodiff import primitive
from ann.functions.convolution import crop, pad, padding_of, per_axis
from ann.functions.linear import in_rows
from backends import namespace
from backends.gaps import device, fold, windows

Array = Any


def _settled(x: Array, size: Any, strides: Any, padding: Any, name: str) -> tuple[Any, ...]:
    rank = x.ndim - 2
    if rank < 1:
        raise ValueError(f"{name}: x has shape {tuple(x.shape)}; wanted: (n, …space…, c)")
    size = per_axis(size, rank, f"{name}: size")
    strides = size if strides is None else per_axis(strides, rank, f"{name}: strides")
    ones = (1,) * rank
    pads = padding_of(padding, tuple(x.shape[1:-1]), size, strides, ones)
    if any(max(pair) >= k for pair, k in zip(pads, size, strict=True)):
        raise ValueError(f"{name}: padding {padding!r} is not smaller than the window {size}: a window would hold nothing else")
    return size, strides, ones, pads


@primitive
def max_pool(x: Array, *, size: Any, strides: Any = None, padding: Any = "valid") -> Any:
    """y = the largest x of each window.      dx = dy at the first largest entry of the window, in reading order

    x (n, …space…, c) → (n, …windows…, c). strides: None means size. Padding never wins, and is smaller than the window.
    """
    xp = namespace(x)
    size, strides, ones, pads = _settled(x, size, strides, padding, "max_pool")
    padded = pad(x, pads, -math.inf)
    lengths = tuple(padded.shape[1:-1])
    view = windows(padded, size=size, strides=strides, dilations=ones)
    rank = len(size)
    y = xp.max(view, axis=tuple(range(1 + rank, 1 + 2 * rank)))

    def back(dy: Array) -> Array:
        xp = namespace(padded, dy)
        parts, taken = [], xp.zeros_like(y, dtype=xp.bool)
        for place in itertools.product(*map(range, size)):  # the entries of a window, in reading order
            here = (view[(slice(None),) * (1 + rank) + place + (slice(None),)] == y) & ~taken
            parts.append(dy * xp.astype(here, dy.dtype))
            taken = taken | here
        spread = in_rows(xp.stack(parts, axis=-2), tuple(view.shape[1:]))
        return crop(fold(spread, shape=lengths, strides=strides, dilations=ones), pads)

    return y, back


@primitive
def average_pool(x: Array, *, size: Any, strides: Any = None, padding: Any = "valid") -> Any:
    """y = Σ x/count over each window, padding not counted.      dx = dy/count, folded back

    x (n, …space…, c) → (n, …windows…, c). strides: None means size.
    """
    xp = namespace(x)
    size, strides, ones, pads = _settled(x, size, strides, padding, "average_pool")
    axes = tuple(range(1 + len(size), 1 + 2 * len(size)))
    padded = pad(x, pads)
    lengths = tuple(padded.shape[1:-1])
    view = windows(padded, size=size, strides=strides, dilations=ones)
    shape = tuple(view.shape)
    count: Any = float(math.prod(size))
    if padded is not x:
        inside = pad(xp.ones((1, *x.shape[1:-1], 1), dtype=x.dtype, device=device(x)), pads)
        count = xp.sum(windows(inside, size=size, strides=strides, dilations=ones), axis=axes)
    y = xp.sum(view, axis=axes) / count

    def back(dy: Array) -> Array:
        share = in_rows(dy / count, (*shape[1 : 1 + len(size)], *ones, shape[-1]))
        return crop(fold(xp.broadcast_to(share, shape), shape=lengths, strides=strides, dilations=ones), pads)

    return y, back


def global_max_pool(x: Array) -> Array:
    """y = max over all spatial axes: (n, …space…, c) → (n, c). Equal maxima share the gradient."""
    return namespace(x).max(x, axis=tuple(range(1, x.ndim - 1)))


def global_average_pool(x: Array) -> Array:
    """y = mean over all spatial axes: (n, …space…, c) → (n, c)"""
    return namespace(x).mean(x, axis=tuple(range(1, x.ndim - 1)))
