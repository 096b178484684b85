"""PyTorch's own versions of gap functions, where it is faster or refuses the portable calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from backends.gaps.bits import M0, M1, W0, W1, WORD
from backends.wrapped import join_key

Array = Any


def scatter_add(u: Array, index: Array, *, length: int) -> Array:
    return torch.zeros((length, *u.shape[1:]), dtype=u.dtype, device=u.device).index_add(0, index, u)


def get_item(x: Array, arrays: list[Array], *, key: Any) -> Array:
    """x[key]; a slice with a negative step, which torch refuses, is a flip of the mirrored slice."""
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(part, slice) and (part.step or 1) < 0 for part in parts):
        return x[join_key(key, arrays)]
    places = [part for part in parts if part is not None and part is not Ellipsis]
    axis, mirrored, flips = 0, [], []
    for part in parts:
        if part is Ellipsis:
            axis += x.ndim - len(places)
        elif isinstance(part, slice) and (part.step or 1) < 0:
            run = range(*part.indices(x.shape[axis]))
            mirrored.append(slice(run[-1], run[0] + 1, -run.step) if len(run) else slice(0, 0))
            flips.append(len([p for p in mirrored if not isinstance(p, int)]) - 1 if Ellipsis not in parts else None)
            axis += 1
            continue
        elif part is not None:
            axis += 1
        mirrored.append(part)
    kept = [part for part in parts if part is not None and part is not Ellipsis and not isinstance(part, int)]
    if any(not isinstance(part, slice) for part in kept):
        raise ValueError("torch: a slice with a negative step beside an index array; flip the array first: xp.flip(x, axis=…)")
    y, out, axes = x[tuple(mirrored)], 0, []
    for part in parts:
        if part is Ellipsis:
            out += x.ndim - len(places)
        elif part is None:
            out += 1
        elif isinstance(part, slice):
            if (part.step or 1) < 0:
                axes.append(out)
            out += 1
    return torch.flip(y, axes)


def random_bits(like: Array, step: Any, *, key: tuple[int, int], draw: int, count: int) -> Array:
    """torch has no arithmetic on uint32: words are int64 in 0 … 2³² − 1, and products are put together from halves."""
    c0 = torch.arange(-(-count // 4), dtype=torch.int64, device=like.device)
    c1 = torch.zeros_like(c0)
    c2 = torch.zeros_like(c0) + (step & WORD)
    c3 = torch.zeros_like(c0) + (draw & WORD)
    k0, k1 = key

    def product(a: Array, m: int) -> tuple[Array, Array]:
        high, low = a * (m >> 16), a * (m & 0xFFFF)  # below 2⁴⁸
        low_word = low + ((high & 0xFFFF) << 16)
        return (high + (low >> 16)) >> 16, low_word & WORD

    for _ in range(10):
        high0, low0 = product(c0, M0)
        high1, low1 = product(c2, M1)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + W0) & WORD, (k1 + W1) & WORD
    return torch.stack([c0, c1, c2, c3], dim=-1).reshape(-1)[:count]


def gaps() -> dict[str, Callable[..., Any]]:
    return {
        "scatter_add": scatter_add, "get_item": get_item, "random_bits": random_bits, "erf": torch.erf, "lgamma": torch.lgamma,
    }  # fmt: skip
