"""Sliding windows over the spatial axes, and their transpose: what convolution and pooling are made of."""

from __future__ import annotations

from typing import Any

from backends.gaps.device import device
from backends.library import gap, namespace

Array = Any
Sizes = tuple[int, ...]


def window_counts(shape: Sizes, size: Sizes, strides: Sizes, dilations: Sizes) -> Sizes:
    """o = (L − (k−1)·d − 1) // s + 1 for each spatial axis. ValueError where a window is longer than the axis."""
    if not len(shape) == len(size) == len(strides) == len(dilations):
        raise ValueError(f"windows: {len(shape)} spatial axes, size {size}, strides {strides}, dilations {dilations}")
    if min((*size, *strides, *dilations), default=1) < 1:
        raise ValueError(f"windows: size {size}, strides {strides}, dilations {dilations}; wanted numbers from 1")
    for i, (n, k, d) in enumerate(zip(shape, size, dilations, strict=True)):
        if (k - 1) * d + 1 > n:
            raise ValueError(
                f"windows: spatial axis {i} has size {n}, the window spans {(k - 1) * d + 1}; "
                "pad it, or take a smaller window"
            )
    return tuple((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(shape, size, strides, dilations, strict=True))


@gap
def windows(x: Array, *, size: Sizes, strides: Sizes, dilations: Sizes) -> Array:
    """y[n, p₁…pᵣ, q₁…qᵣ, c] = x[n, p₁·s₁ + q₁·d₁, …, c].      Its transpose is `fold`.

    x (n, L₁…Lᵣ, c) → y (n, o₁…oᵣ, k₁…kᵣ, c) with k = size, o = (L − (k−1)·d − 1) // s + 1.
    y may be a read-only view of x. ValueError where a window is longer than its axis.

    >>> windows(np.arange(5).reshape(1, 5, 1), size=(3,), strides=(2,), dilations=(1,))[0, ..., 0]
    array([[0, 1, 2], [2, 3, 4]])
    """
    xp = namespace(x)
    counts = window_counts(tuple(x.shape[1:-1]), size, strides, dilations)
    for i, (o, k, s, d) in enumerate(zip(counts, size, strides, dilations, strict=True)):
        before = (slice(None),) * (i + 1)
        x = xp.stack([x[(*before, slice(q * d, q * d + (o - 1) * s + 1, s), ...)] for q in range(k)], axis=-2)
    return x


@gap
def fold(y: Array, *, shape: Sizes, strides: Sizes, dilations: Sizes) -> Array:
    """x[n, l₁…lᵣ, c] = Σ y[n, p₁…pᵣ, q₁…qᵣ, c] over all p, q with pᵢ·sᵢ + qᵢ·dᵢ = lᵢ: the transpose of `windows`.

    y (n, o₁…oᵣ, k₁…kᵣ, c), shape = (L₁…Lᵣ) → x (n, L₁…Lᵣ, c).   ⟨windows(x), y⟩ = ⟨x, fold(y)⟩.
    """
    check_fold(tuple(y.shape), shape, strides, dilations)
    for i in range(len(shape) - 1, -1, -1):
        o, k, s, d = y.shape[1 + i], y.shape[-2], strides[i], dilations[i]
        y = _spread(y, 1 + i, s)
        placed = []
        for q in range(k):
            front, back = q * d, shape[i] - q * d - (o - 1) * s - 1
            part = y[..., q, :]
            placed.append(_concat([_zeros(part, 1 + i, front), part, _zeros(part, 1 + i, back)], 1 + i))
        y = placed[0]
        for part in placed[1:]:
            y = y + part
    return y


def check_fold(came: Sizes, shape: Sizes, strides: Sizes, dilations: Sizes) -> None:
    """ValueError unless y (n, o…, k…, c) can be the windows of an array with these spatial sizes."""
    r = len(shape)
    if len(came) != 2 * r + 2:
        raise ValueError(f"fold: y has shape {came}; for {r} spatial axes it has {2 * r + 2}: (n, o…, k…, c)")
    counts = window_counts(shape, came[1 + r : 1 + 2 * r], strides, dilations)
    if counts != came[1 : 1 + r]:
        raise ValueError(f"fold: y has {came[1 : 1 + r]} windows, the shape {shape} has {counts}")


def _spread(y: Array, axis: int, s: int) -> Array:
    """y with s − 1 zeros between its entries along the axis."""
    if s == 1:
        return y
    xp, shape = namespace(y), tuple(y.shape)
    zeros = xp.zeros((*shape[: axis + 1], s - 1, *shape[axis + 1 :]), dtype=y.dtype, device=device(y))
    y = xp.concat((xp.expand_dims(y, axis=axis + 1), zeros), axis=axis + 1)
    rest = (*shape[1:axis], shape[axis] * s, *shape[axis + 1 :])
    y = xp.reshape(y, (shape[0] if 0 in rest else -1, *rest))
    return y[(*(slice(None),) * axis, slice(0, (shape[axis] - 1) * s + 1), ...)]


def _zeros(like: Array, axis: int, n: int) -> Array | None:
    shape = tuple(like.shape)
    if n == 0:
        return None
    return namespace(like).zeros((*shape[:axis], n, *shape[axis + 1 :]), dtype=like.dtype, device=device(like))


def _concat(parts: list[Any], axis: int) -> Array:
    parts = [part for part in parts if part is not None]
    return namespace(*parts).concat(parts, axis=axis) if len(parts) > 1 else parts[0]
