"""Convolution: a linear map of sliding windows. Axis order (batch, …space…, channel), kernels (…space…, in, out)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ann.autodiff import primitive
from ann.functions.linear import in_rows
from backends import namespace
from backends.gaps import device, fold, windows

Array = Any
Sizes = tuple[int, ...]


def per_axis(value: Any, rank: int, name: str) -> Sizes:
    """One positive integer for each spatial axis, from a number for all or a sequence."""
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise ValueError(f"{name} is a positive integer or a tuple of {rank}, {value!r} came")
    return sizes


def padding_of(padding: Any, lengths: Sizes, size: Sizes, strides: Sizes, dilations: Sizes) -> tuple[tuple[int, int], ...]:
    """(before, after) for each spatial axis.

    "valid": none. "same": as many as give ⌈length/stride⌉ windows, the odd one after (as Keras). Else an integer, or one
    entry an axis: an integer or a pair.
    """
    rank = len(size)
    if padding == "valid":
        return ((0, 0),) * rank
    if padding == "same":
        pads = []
        for n, k, s, d in zip(lengths, size, strides, dilations, strict=True):
            total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            pads.append((total // 2, total - total // 2))
        return tuple(pads)
    entries = (padding,) * rank if isinstance(padding, int) else padding
    if isinstance(entries, str) or not isinstance(entries, Sequence) or len(entries) != rank:
        raise ValueError(f'padding is "valid", "same", an integer, or {rank} integers or pairs; {padding!r} came')
    pairs = tuple((entry, entry) if isinstance(entry, int) else tuple(entry) for entry in entries)
    if not all(len(pair) == 2 and all(isinstance(n, int) and n >= 0 for n in pair) for pair in pairs):
        raise ValueError(f"padding: {padding!r}; the numbers are non-negative integers")
    return pairs  # type: ignore[return-value]


def pad(x: Array, pads: tuple[tuple[int, int], ...], value: float = 0.0) -> Array:
    """x with `value` around its spatial axes."""
    xp = namespace(x)
    for axis, pair in enumerate(pads, 1):
        if pair == (0, 0):
            continue
        around = [
            xp.full((*x.shape[:axis], n, *x.shape[axis + 1 :]), value, dtype=x.dtype, device=device(x)) if n else None for n in pair
        ]
        x = xp.concat([part for part in (around[0], x, around[1]) if part is not None], axis=axis)
    return x


def crop(x: Array, pads: tuple[tuple[int, int], ...]) -> Array:
    """The transpose of `pad`: what was added around the spatial axes is cut off."""
    if all(pair == (0, 0) for pair in pads):
        return x
    cuts = tuple(slice(before, x.shape[axis] - after) for axis, (before, after) in enumerate(pads, 1))
    return x[(slice(None), *cuts, ...)]


@primitive(joint=True)
def conv(x: Array, w: Array, b: Array | None = None, *, strides: Any = 1, padding: Any = "valid", dilations: Any = 1, groups: int = 1) -> Any:
    """y[o] = Σₖ x[o·s + k·d]·w[k] + b   over the window k and the channels.

    With the windows of x as rows of a matrix X and w as a matrix W:  y = X·W + b
        dW = Xᵀ·dy      dX = dy·Wᵀ, folded back onto x      db = Σ dy

    x (n, L₁ … Lᵣ, c), w (k₁ … kᵣ, c/groups, f), b (f,) → y (n, o₁ … oᵣ, f). With groups, channels and filters are cut
    into as many parts that see only each other. strides s, dilations d: a number or one an axis; padding: "valid", "same"
    (⌈L/s⌉ windows, the odd zero after, as Keras), numbers or pairs. ValueError when the shapes disagree.
    """
    xp = namespace(x, w, b)
    rank = w.ndim - 2
    size, (c, f) = tuple(w.shape[:rank]), w.shape[rank:]
    if groups < 1 or rank < 1 or 0 in (c, f) or x.ndim != rank + 2 or x.shape[-1] != c * groups or f % groups or (b is not None and tuple(b.shape) != (f,)):
        bias = "" if b is None else f", b {tuple(b.shape)}"
        raise ValueError(
            f"conv: x {tuple(x.shape)}, w {tuple(w.shape)}{bias}, {groups} group{'s' * (groups > 1)}; "
            "wanted: x (n, …space…, c), w (…window…, c/groups, f), b (f,)"
        )
    strides, dilations = per_axis(strides, rank, "conv: strides"), per_axis(dilations, rank, "conv: dilations")
    pads = padding_of(padding, tuple(x.shape[1:-1]), size, strides, dilations)
    alone, g = c == 1 < groups, f // groups  # with several filters a channel, the channel is repeated
    padded = pad(xp.repeat(x, g, axis=-1) if alone and g > 1 else x, pads)
    lengths = tuple(padded.shape[1:-1])
    view = windows(padded, size=size, strides=strides, dilations=dilations)
    space = tuple(view.shape[1 : 1 + rank])
    y, pull = by_channel(view, w, f) if alone else by_matrix(view, w, groups)
    y = in_rows(y if b is None else y + b, (*space, f))

    def back(dy: Array) -> tuple[Any, ...]:
        dview, dw = pull(dy)
        dx = crop(fold(dview, shape=lengths, strides=strides, dilations=dilations), pads)
        dx = xp.sum(in_rows(dx, (*x.shape[1:], g)), axis=-1) if alone and g > 1 else dx
        return dx, dw, None if b is None else xp.sum(in_rows(dy, (f,)), axis=0)

    return y, back


def by_matrix(view: Array, w: Array, groups: int) -> tuple[Array, Any]:
    """y = X·W, the windows as rows of X, one matrix a group.      dX = dy·Wᵀ    dW = Xᵀ·dy"""
    xp = namespace(view, w)
    *size, c, f = w.shape
    k, g = math.prod(size) * c, f // groups
    matrices = [in_rows(part, (k,)) for part in parts_of(view, groups)]
    weights = [xp.reshape(part, (k, g)) for part in parts_of(w, groups)]

    def pull(dy: Array) -> tuple[Array, Array]:
        parts = parts_of(in_rows(dy, (f,)), groups)
        dw = joined([xp.reshape(xp.matmul(xp.matrix_transpose(m), r), (*size, c, g)) for m, r in zip(matrices, parts, strict=True)])
        dviews = [in_rows(xp.matmul(r, xp.matrix_transpose(u)), (*view.shape[1:-1], c)) for r, u in zip(parts, weights, strict=True)]
        return joined(dviews), dw

    return joined([xp.matmul(m, u) for m, u in zip(matrices, weights, strict=True)]), pull


def by_channel(view: Array, w: Array, channels: int) -> tuple[Array, Any]:
    """y[o, i] = Σₖ v[o, k, i]·w[k, i], each channel by itself.      dv = dy·w    dw = Σₒ v·dy"""
    xp = namespace(view, w)
    rank = w.ndim - 2
    u = xp.reshape(w, (*w.shape[:rank], channels))

    def pull(dy: Array) -> tuple[Array, Array]:
        dy = in_rows(dy, (*dy.shape[1:-1], *(1,) * rank, channels))
        return dy * u, xp.reshape(xp.sum(view * dy, axis=tuple(range(1 + rank))), w.shape)

    return xp.sum(view * u, axis=tuple(range(1 + rank, 1 + 2 * rank))), pull


def parts_of(x: Array, groups: int) -> list[Array]:
    """x cut along its last axis into so many equal parts."""
    n = x.shape[-1] // groups
    return [x] if groups == 1 else [x[..., i * n : (i + 1) * n] for i in range(groups)]


def joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else namespace(*parts).concat(parts, axis=-1)


def _ranked(rank: int) -> Any:
    def convolution(x: Array, w: Array, b: Array | None = None, *, strides: Any = 1, padding: Any = "valid", dilations: Any = 1, groups: int = 1) -> Array:
        if w.ndim != rank + 2:
            raise ValueError(f"conv{rank}d: w has shape {tuple(w.shape)}; wanted: {rank + 2} axes, (…window…, c/groups, f)")
        return conv(x, w, b, strides=strides, padding=padding, dilations=dilations, groups=groups)

    convolution.__name__ = convolution.__qualname__ = f"conv{rank}d"
    convolution.__doc__ = f"`conv` over {rank} spatial ax{'is' if rank == 1 else 'es'}."
    return convolution


conv1d, conv2d, conv3d = _ranked(1), _ranked(2), _ranked(3)
