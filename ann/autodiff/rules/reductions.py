"""Sums and what is made of them along axes; products of matrices are in algebra.py."""

from __future__ import annotations

from typing import Any

from ann.autodiff.rules.table import rule
from backends import namespace

Array = Any


def axes_of(x: Array, axis: Any) -> tuple[int, ...]:
    """The axes that axis= means, counted from the front; None means all."""
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(sorted(a % x.ndim for a in (axis if isinstance(axis, tuple | list) else (axis,))))


def back_in(dy: Array, x: Array, axis: Any, keepdims: bool) -> Array:
    """dy (or y) of a reduction with its axes back, as size 1."""
    if keepdims:
        return dy
    gone = axes_of(x, axis)
    return namespace(dy).reshape(dy, tuple(1 if i in gone else n for i, n in enumerate(x.shape)))


def count(x: Array, axis: Any) -> int:
    """How many entries one result is made of."""
    n = 1
    for a in axes_of(x, axis):
        n *= x.shape[a]
    return n


def _cast(dy: Array, x: Array) -> Array:
    return dy if dy.dtype == x.dtype else namespace(dy).astype(dy, x.dtype)


@rule
def sum(x: Array, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """y = Σ x    dx = dy, repeated"""
    y = namespace(x).sum(x, axis=axis, keepdims=keepdims) if dtype is None else namespace(x).sum(x, axis=axis, dtype=dtype, keepdims=keepdims)
    return y, lambda dy: _cast(namespace(dy).broadcast_to(back_in(dy, x, axis, keepdims), tuple(x.shape)), x)


@rule
def mean(x: Array, *, axis: Any = None, keepdims: bool = False) -> Any:
    """y = Σ x/n    dx = dy/n, repeated"""
    y = namespace(x).mean(x, axis=axis, keepdims=keepdims)
    n = max(count(x, axis), 1)
    return y, lambda dy: namespace(dy).broadcast_to(back_in(dy, x, axis, keepdims) / float(n), tuple(x.shape))


@rule
def var(x: Array, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    """y = Σ (x − μ)²/(n − c)    dx = 2·(x − μ)·dy/(n − c)"""
    xp = namespace(x)
    y = xp.var(x, axis=axis, correction=correction, keepdims=keepdims)
    return y, lambda dy: _centred(x, axis) * (back_in(dy, x, axis, keepdims) * (2.0 / _degrees(x, axis, correction)))


@rule
def std(x: Array, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    """y = √(Σ (x − μ)²/(n − c))    dx = (x − μ)·dy/(y·(n − c)), 0 where y = 0"""
    xp = namespace(x)
    y = xp.std(x, axis=axis, correction=correction, keepdims=keepdims)

    def back(dy: Array) -> Array:
        xp = namespace(dy, y)
        share = dy / (xp.where(y > 0, y, xp.ones_like(y)) * _degrees(x, axis, correction))
        return _centred(x, axis) * back_in(share, x, axis, keepdims)

    return y, back


def _centred(x: Array, axis: Any) -> Array:
    xp = namespace(x)
    return x - xp.mean(x, axis=axis, keepdims=True)


def _degrees(x: Array, axis: Any, correction: float) -> float:
    """n − c, and nan where that divides by nothing, as the value does."""
    n = float(count(x, axis)) - correction
    return n if n > 0 else float("nan")


def _extreme(name: str) -> None:
    def body(x: Array, *, axis: Any = None, keepdims: bool = False) -> Any:
        y = getattr(namespace(x), name)(x, axis=axis, keepdims=keepdims)

        def back(dy: Array) -> Array:
            xp = namespace(dy, x, y)
            chosen = xp.astype(x == back_in(y, x, axis, keepdims), x.dtype)
            share = chosen / xp.sum(chosen, axis=axes_of(x, axis), keepdims=True)
            return share * back_in(dy, x, axis, keepdims)

        return y, back

    body.__name__ = body.__qualname__ = name
    body.__doc__ = f"y = {name} x    dx = dy at the entries that equal y, shared evenly"
    rule(body)


_extreme("max")
_extreme("min")


@rule
def prod(x: Array, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """y = Π x    dxᵢ = dy·Π of the others: products from the left and from the right, so that zeros are no trouble"""
    xp = namespace(x)
    y = xp.prod(x, axis=axis, keepdims=keepdims) if dtype is None else xp.prod(x, axis=axis, dtype=dtype, keepdims=keepdims)

    def back(dy: Array) -> Array:
        gone = axes_of(x, axis)
        kept = tuple(i for i in range(x.ndim) if i not in gone)
        order = (*kept, *gone)
        xp = namespace(dy, x)
        n = count(x, axis)
        lead = tuple(x.shape[i] for i in kept)
        others = _others(xp.reshape(xp.permute_dims(x, order), (*lead, n)))
        slopes = xp.permute_dims(xp.reshape(others, tuple(x.shape[i] for i in order)), tuple(order.index(i) for i in range(x.ndim)))
        return _cast(slopes * back_in(dy, x, axis, keepdims), x)

    return y, back


def _others(x: Array) -> Array:
    """For each entry along the last axis the product of all others."""
    xp = namespace(x)
    n = x.shape[-1]
    if n == 0:
        return x
    one = xp.ones_like(x[..., :1])
    left = xp.cumulative_prod(xp.concat([one, x[..., : n - 1]], axis=-1), axis=-1)
    right = xp.flip(xp.cumulative_prod(xp.concat([one, xp.flip(x[..., 1:], axis=-1)], axis=-1), axis=-1), axis=-1)
    return left * right


@rule
def cumulative_sum(x: Array, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """yᵢ = Σ xⱼ over j ≤ i    dxⱼ = Σ dyᵢ over i ≥ j"""
    xp = namespace(x)
    options = {} if dtype is None else {"dtype": dtype}
    y = xp.cumulative_sum(x, axis=axis, include_initial=include_initial, **options)
    along = 0 if axis is None else axis % x.ndim

    def back(dy: Array) -> Array:
        xp = namespace(dy)
        if include_initial:
            dy = dy[(slice(None),) * along + (slice(1, None), ...)]
        return _cast(xp.flip(xp.cumulative_sum(xp.flip(dy, axis=along), axis=along), axis=along), x)

    return y, back


@rule
def cumulative_prod(x: Array, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """yᵢ = Π xⱼ over j ≤ i    dxⱼ = Σ dyᵢ·Π of the other x up to i, over i ≥ j"""
    xp = namespace(x)
    options = {} if dtype is None else {"dtype": dtype}
    y = xp.cumulative_prod(x, axis=axis, include_initial=include_initial, **options)
    along = 0 if axis is None else axis % x.ndim

    def back(dy: Array) -> Array:
        xp = namespace(dy, x)
        if include_initial:
            dy = dy[(slice(None),) * along + (slice(1, None), ...)]
        moved, slopes = xp.moveaxis(x, along, -1), xp.moveaxis(dy, along, -1)
        n = moved.shape[-1]
        if n == 0:
            return xp.zeros_like(x)
        # dxⱼ = leftⱼ·tⱼ with leftⱼ = Π before j and tⱼ = dyⱼ + xⱼ₊₁·tⱼ₊₁: no division, so zeros are no trouble
        total = slopes[..., n - 1 : n]
        totals = [total]
        for j in range(n - 2, -1, -1):
            total = slopes[..., j : j + 1] + moved[..., j + 1 : j + 2] * total
            totals.append(total)
        one = xp.ones_like(moved[..., :1])
        left = xp.cumulative_prod(xp.concat([one, moved[..., : n - 1]], axis=-1), axis=-1)
        return _cast(xp.moveaxis(left * xp.concat(totals[::-1], axis=-1), -1, along), x)

    return y, back
