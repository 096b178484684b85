"""NumPy's own versions of the gap functions: views, sums in place on fresh memory, work in blocks that stay in the
cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.polynomial.chebyshev import cheb2poly

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


SHORT = 1 << 12  # entries: what an elementwise function works on at a time, in the first cache


class _Constants(dict[Any, Any]):
    """Numbers as 0-d arrays of a dtype, which a ufunc takes faster than Python's."""

    def __init__(self, dtype: Any):
        self.dtype = dtype

    def __missing__(self, number: float) -> Array:
        self[number] = np.asarray(number, self.dtype)
        return self[number]


class _Rows(_Constants):
    """Numbers as vectors, with which minimum and maximum are several times as fast."""

    def __missing__(self, number: float) -> Array:
        self[number] = np.full(SHORT, number, self.dtype)
        return self[number]


NUMBERS = {np.dtype(name): _Constants(name) for name in ("float32", "float64")}
ROWS = {np.dtype(name): _Rows(name) for name in ("float32", "float64")}
POWERS: dict[Any, list[float]] = {
    (table, terms): cheb2poly(table[:terms]).tolist() for table, terms in ((special.ERFCX, 14), (special.ERFCX, 11), (special.ERF, 7))
}


def in_place(f: Callable[..., None]) -> Callable[[Array], Array]:
    """An elementwise f(x, y, four arrays to work in) that writes y, applied block by block."""

    def blocked(x: Array) -> Array:
        flat = np.ascontiguousarray(x).reshape(-1)
        y = np.empty(flat.shape, flat.dtype)
        room = [np.empty(min(SHORT, flat.size), flat.dtype) for _ in range(4)]
        for i in range(0, flat.size, SHORT):
            part = flat[i : i + SHORT]
            f(part, y[i : i + SHORT], *(r[: part.size] for r in room))
        return y.reshape(x.shape)

    return blocked


def chebyshev(u: Array, table: tuple[float, ...], y: Array, t: Array, later: Array, terms: int) -> None:
    """y = Σ cⱼ·Tⱼ(u): by powers in float32, whose rounding is larger than theirs; by Clenshaw's recurrence in float64."""
    k = NUMBERS[u.dtype]
    if u.dtype == np.float32:
        *lower, c = POWERS[table, terms]
        y.fill(c)
        for c in reversed(lower):
            np.multiply(y, u, y)
            np.add(y, k[c], y)
        return
    first, *middle, c = table
    now, before = y, later
    now.fill(c)
    before.fill(0)
    for c in reversed(middle):
        np.multiply(now, u, t)
        np.add(t, t, t)
        np.subtract(t, before, before)
        np.add(before, k[c], before)
        now, before = before, now
    np.multiply(now, u, t)
    np.subtract(t, before, t)
    np.add(t, k[first], y)


def erfc(x: Array, y: Array, z: Array, t: Array, u: Array, later: Array) -> None:
    """`special.erfc`, each step in place."""
    k = NUMBERS[x.dtype]
    scaled(x, y, z, t, u, later, terms=14)
    np.multiply(z, k[16.0], t)
    np.floor(t, t)
    np.multiply(t, k[0.0625], t)  # the near part of z, whose square is exact
    np.subtract(z, t, u)
    np.add(z, t, z)
    np.multiply(u, z, u)
    np.negative(u, u)
    np.exp(u, u)
    np.multiply(y, u, y)
    np.multiply(t, t, t)
    np.negative(t, t)
    np.exp(t, t)
    np.multiply(y, t, y)
    np.copysign(k[1.0], x, t)  # y where x ≥ 0, 2 − y elsewhere: s·y + (1 − s)
    np.multiply(y, t, y)
    np.subtract(k[1.0], t, t)
    np.add(y, t, y)


def scaled(x: Array, y: Array, z: Array, t: Array, u: Array, later: Array, terms: int) -> None:
    """z = min(|x|, 28)      y = exp(z²)·erfc z"""
    k, rows = NUMBERS[x.dtype], ROWS[x.dtype]
    np.absolute(x, z)
    np.minimum(z, rows[28.0][: z.size], out=z)
    np.add(z, k[3.75], u)
    np.divide(k[3.75], u, u)
    share = u.copy()
    np.add(u, u, u)
    np.subtract(u, k[1.0], u)
    chebyshev(u, special.ERFCX, y, t, later, terms)
    np.multiply(y, share, y)


def erf(x: Array, y: Array, z: Array, t: Array, u: Array, later: Array) -> None:
    """`special.erf`, each step in place. Beyond 1 the error of exp(−z²) is that of an erfc below 0.16."""
    k, rows = NUMBERS[x.dtype], ROWS[x.dtype]
    scaled(x, y, z, t, u, later, terms=11)
    np.multiply(z, z, t)
    np.negative(t, t)
    np.exp(t, t)
    np.multiply(y, t, y)
    np.subtract(k[1.0], y, y)
    np.copysign(y, x, y)
    near = z <= k[1.0]
    np.minimum(z, rows[1.0][: z.size], out=z)
    np.multiply(z, z, u)
    np.add(u, u, u)
    np.subtract(u, k[1.0], u)
    reach = np.copysign(z, x)  # finite, also where x is infinite
    chebyshev(u, special.ERF, z, t, later, terms=7)
    np.multiply(z, reach, z)
    t[...] = near
    np.multiply(z, t, z)
    np.subtract(k[1.0], t, t)
    np.multiply(y, t, y)
    np.add(y, z, y)  # one of the two is 0: no rounding


def gaps() -> dict[str, Callable[..., Any]]:
    elementwise = {
        name: in_blocks(getattr(special, name).portable) for name in ("lgamma", "digamma", "trigamma")
    }
    elementwise |= {"erf": in_place(erf), "erfc": in_place(erfc)}
    return {"scatter_add": scatter_add, "windows": windows, "fold": fold, "random_bits": random_bits, **elementwise}
