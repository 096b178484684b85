"""Sliding windows, and their transpose: all of convolution and pooling is one of these and a product."""

from __future__ import annotations

from typing import Any

from backends.gaps.device import device
from backends.library import gap, namespace

Array = Any
Sizes = tuple[int, ...]


def window_count(length: int, size: int, stride: int, dilation: int) -> int:
    """How many windows fit: ⌊(length − (size − 1)·dilation − 1)/stride⌋ + 1, not less than 0."""
    return max((length - (size - 1) * dilation - 1) // stride + 1, 0)


@gap
def windows(x: Array, *, size: Sizes, strides: Sizes, dilations: Sizes) -> Array:
    """y[n, o…, k…, c] = x[n, o·s + k·d …, c]   over the spatial axes 1 … r.      dx = fold(dy)

    x (n, L₁ … Lᵣ, c) → (n, o₁ … oᵣ, k₁ … kᵣ, c).
    """
    xp = namespace(x)
    r = len(size)
    for i in range(r):  # axis i + 1 + i of lengths becomes two: place and offset
        axis = 1 + 2 * i
        count = window_count(x.shape[axis], size[i], strides[i], dilations[i])
        parts = []
        for k in range(size[i]):
            start = k * dilations[i]
            cut = slice(start, start + (count - 1) * strides[i] + 1 if count else start, strides[i])
            parts.append(x[(slice(None),) * axis + (cut, ...)])
        x = xp.stack(parts, axis=axis + 1)
    return xp.permute_dims(x, (0, *range(1, 2 * r + 1, 2), *range(2, 2 * r + 1, 2), 2 * r + 1))


@gap
def fold(y: Array, *, shape: Sizes, strides: Sizes, dilations: Sizes) -> Array:
    """x[n, l…, c] = Σ y[n, o…, k…, c] over all places with o·s + k·d = l: overlapping windows add.      dy = windows(dx)

    y (n, o₁ … oᵣ, k₁ … kᵣ, c), shape = (L₁ … Lᵣ) → (n, L₁ … Lᵣ, c).
    """
    xp = namespace(y)
    r = len(shape)
    x = xp.permute_dims(y, (0, *(axis for i in range(r) for axis in (1 + i, 1 + r + i)), 2 * r + 1))
    for i in reversed(range(r)):
        axis = 1 + 2 * i
        x = _fold_axis(xp, x, axis, shape[i], strides[i], dilations[i])
    return x


def _fold_axis(xp: Any, x: Array, axis: int, length: int, stride: int, dilation: int) -> Array:
    """Axes (axis, axis + 1) = (place, offset) become one of this length: each offset is spread out and shifted, then added."""
    count, size = x.shape[axis], x.shape[axis + 1]
    lead, tail = x.shape[:axis], x.shape[axis + 2 :]

    def zeros(n: int) -> Array:
        return xp.zeros((*lead, n, *tail), dtype=x.dtype, device=device(x))

    total = None
    for k in range(size):
        part = x[(slice(None),) * (axis + 1) + (k, ...)]
        if stride > 1 and count:
            apart = xp.stack([part, *[xp.zeros_like(part)] * (stride - 1)], axis=axis + 1)
            part = xp.reshape(apart, (*lead, count * stride, *tail))[(slice(None),) * axis + (slice(0, (count - 1) * stride + 1), ...)]
        start = k * dilation
        filled = part.shape[axis]
        part = xp.concat([zeros(start), part, zeros(length - start - filled)], axis=axis) if filled else zeros(length)
        total = part if total is None else total + part
    return total
