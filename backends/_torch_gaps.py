"""PyTorch's own versions of the gap functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from backends.gaps import bits, window
from backends.gaps.scatter import _check_rows
from backends.numpy.gaps import add_windows
from backends.wrapped import Index, join_key

Array = Any


def scatter_add(u: Array, index: Array, *, length: int) -> Array:
    _check_rows(u, index)
    return torch.zeros((length, *u.shape[1:]), dtype=u.dtype, device=u.device).index_add(0, index, u)


def windows(x: Array, *, size: Any, strides: Any, dilations: Any) -> Array:
    window.window_counts(tuple(x.shape[1:-1]), size, strides, dilations)
    for i, (k, s, d) in enumerate(zip(size, strides, dilations, strict=True)):
        x = x.unfold(1 + i, (k - 1) * d + 1, s)[..., ::d]
    return x.movedim(1 + len(size), -1)


def fold(y: Array, *, shape: Any, strides: Any, dilations: Any) -> Array:
    window.check_fold(tuple(y.shape), shape, strides, dilations)
    return add_windows(lambda shape: torch.zeros(shape, dtype=y.dtype, device=y.device), y, shape, strides, dilations)


def random_bits(step: Any, like: Array, *, key: tuple[int, int], draw: int, count: int) -> Array:
    """In int64, which holds words of 32 bits: torch lacks most functions of uint32."""
    return bits.philox_words(torch.int64, step, like, key=key, draw=draw, count=count)


def get_item(x: Array, arrays: list[Array], *, key: Any) -> Array:
    """x[key]; a negative step, which torch refuses, becomes a flip of the axis."""
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(part, slice) and part.step is not None and part.step < 0 for part in parts):
        return x[join_key(key, arrays)]

    def axes(part: Any) -> int:
        if part is None or part is Ellipsis or isinstance(part, bool):
            return 0
        array = arrays[part.place] if isinstance(part, Index) else part
        return int(array.ndim) if getattr(array, "dtype", None) == torch.bool else 1

    axis, made, flips = 0, [], []
    for part in parts:
        if part is Ellipsis:
            axis += x.ndim - sum(map(axes, parts))
        elif isinstance(part, slice) and part.step is not None and part.step < 0:
            places = range(*part.indices(x.shape[axis]))
            last = x.shape[axis] - 1  # of the flipped axis: place p is last − p
            part = slice(last - places[0], last - places[-1] + 1, -part.step) if len(places) else slice(0, 0)
            flips.append(axis)
        axis += axes(part)
        made.append(part)
    return torch.flip(x, flips)[join_key(tuple(made), arrays)]


def set_item(x: Array, value: Any, arrays: list[Array], *, key: Any) -> Array:
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(part, slice) and part.step is not None and part.step < 0 for part in parts):
        y = x.clone()
        y[join_key(key, arrays)] = value
        return y
    places = get_item(torch.arange(math.prod(x.shape), device=x.device).reshape(x.shape), arrays, key=key)
    y = x.clone().reshape(-1)
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    y[places.reshape(-1)] = value.expand(places.shape).reshape(-1)
    return y.reshape(x.shape)


def gaps() -> dict[str, Callable[..., Any]]:
    return {
        "scatter_add": scatter_add,
        "windows": windows,
        "fold": fold,
        "random_bits": random_bits,
        "get_item": get_item,
        "set_item": set_item,
        "erf": torch.erf,
        "lgamma": torch.lgamma,
    }
