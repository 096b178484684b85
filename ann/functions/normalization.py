"""Normalization: subtract the mean, divide by the standard deviation, scale and shift."""

from __future__ import annotations

import math
from typing import Any

from ann.autodiff import primitive
from backends import namespace

Array = Any


def _standardize(xp: Any, x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, ...]:
    """(x̂, 1/√(σ² + ε), μ, σ²): two passes, and centred twice, so that a large mean costs no digits."""
    mean = xp.mean(x, axis=axes, keepdims=True)
    d = x - mean
    rest = xp.mean(d, axis=axes, keepdims=True)
    d = d - rest
    variance = xp.mean(d * d, axis=axes, keepdims=True)
    inverse = 1.0 / xp.sqrt(variance + epsilon)
    return d * inverse, inverse, mean + rest, variance


def _back(xp: Any, dn: Array, normal: Array, inverse: Array, axes: tuple[int, ...]) -> Array:
    """dx of x̂ = (x − μ)/√(σ² + ε):  dx = (dx̂ − mean dx̂ − x̂·mean(dx̂·x̂))/√(σ² + ε)"""
    return inverse * (dn - xp.mean(dn, axis=axes, keepdims=True) - normal * xp.mean(dn * normal, axis=axes, keepdims=True))


@primitive
def unit_normalization(x: Array, *, axis: int = -1) -> Any:
    """y = x/‖x‖  along axis, 0 where x is 0.      dx = (dy − y·Σ dy·y)/‖x‖, 0 where x is 0"""
    xp = namespace(x)
    m = xp.max(xp.abs(x), axis=axis, keepdims=True)
    some = m > 0
    m = xp.where(some, m, 1.0)
    s = x / m  # no square overflows
    n = xp.where(some, xp.sqrt(xp.sum(s * s, axis=axis, keepdims=True)), 1.0)
    y = s / n
    return y, lambda dy: xp.where(some, (dy - y * xp.sum(dy * y, axis=axis, keepdims=True)) / n / m, 0.0)


@primitive(joint=True)
def layer_normalization(x: Array, w: Array | None = None, b: Array | None = None, *, epsilon: float = 1e-5) -> Any:
    """y = x̂·w + b,  x̂ = (x − μ)/√(σ² + ε)   over the last axis.

    dx = (dx̂ − mean dx̂ − x̂·mean(dx̂·x̂))/√(σ² + ε) with dx̂ = dy·w      dw = Σ dy·x̂      db = Σ dy
    x (..., d), w (d,), b (d,) → y like x. ε: variance floor, in units of x².      Ba, Kiros & Hinton 2016, eq. 4.
    """
    xp = namespace(x, w, b)
    _check(x, w, b, "layer_normalization")
    normal, inverse, _, _ = _standardize(xp, x, (-1,), epsilon)
    lead = tuple(range(x.ndim - 1))

    def back(dy: Array) -> tuple[Any, ...]:
        dx = _back(xp, dy if w is None else dy * w, normal, inverse, (-1,))
        return dx, None if w is None else xp.sum(dy * normal, axis=lead), None if b is None else xp.sum(dy, axis=lead)

    return _affine(normal, w, b), back


@primitive(joint=True)
def batch_normalization(x: Array, w: Array | None = None, b: Array | None = None, *, epsilon: float = 1e-5) -> Any:
    """(y, μ, σ²):  y = x̂·w + b,  x̂ = (x − μ)/√(σ² + ε)   with μ, σ² over all axes but the last.

    dx as of layer normalization, over these axes, plus dμ/N + 2·(x − μ)·dσ²/N      dw = Σ dy·x̂      db = Σ dy
    x (..., c), w (c,), b (c,) → y like x, μ (c,), σ² (c,) (biased: divided by N).      Ioffe & Szegedy 2015, algorithm 1.
    """
    xp = namespace(x, w, b)
    _check(x, w, b, "batch_normalization")
    if 0 in x.shape[:-1]:
        raise ValueError(f"batch_normalization: x {tuple(x.shape)} has no examples, so it has no mean")
    axes = tuple(range(x.ndim - 1))
    normal, inverse, mean, variance = _standardize(xp, x, axes, epsilon)
    n, c = float(math.prod(x.shape[:-1])), x.shape[-1]

    def back(dys: tuple[Any, ...]) -> tuple[Any, ...]:
        dy, dmean, dvariance = dys
        dn = dy if w is None else dy * w
        level = xp.mean(dn, axis=axes, keepdims=True) - dmean / (n * inverse)
        slope = xp.mean(dn * normal, axis=axes, keepdims=True) - dvariance * 2.0 / (n * inverse * inverse)
        dx = inverse * (dn - level - normal * slope)
        return dx, None if w is None else xp.sum(dy * normal, axis=axes), None if b is None else xp.sum(dy, axis=axes)

    return (_affine(normal, w, b), xp.reshape(mean, (c,)), xp.reshape(variance, (c,))), back


@primitive(joint=True)
def batch_normalization_inference(x: Array, w: Array | None, b: Array | None, mean: Array, variance: Array, *, epsilon: float = 1e-5) -> Any:
    """y = x̂·w + b,  x̂ = (x − μ)/√(σ² + ε)   with given μ, σ².

    dx = dy·w/√(σ² + ε)      dμ = −Σ dx      dσ² = −½·Σ dx·x̂/√(σ² + ε)      dw = Σ dy·x̂      db = Σ dy
    x (..., c), w, b, μ, σ² (c,) → y like x.
    """
    xp = namespace(x, w, b, mean, variance)
    _check(x, w, b, "batch_normalization_inference")
    inverse = 1.0 / xp.sqrt(variance + epsilon)
    normal = (x - mean) * inverse
    lead = tuple(range(x.ndim - 1))

    def back(dy: Array) -> tuple[Any, ...]:
        dx = (dy if w is None else dy * w) * inverse
        return (
            dx,
            None if w is None else xp.sum(dy * normal, axis=lead),
            None if b is None else xp.sum(dy, axis=lead),
            -xp.sum(dx, axis=lead),
            -0.5 * inverse * xp.sum(dx * normal, axis=lead),
        )

    return _affine(normal, w, b), back


def _affine(normal: Array, w: Array | None, b: Array | None) -> Array:
    y = normal if w is None else normal * w
    return y if b is None else y + b


def _check(x: Array, w: Array | None, b: Array | None, name: str) -> None:
    if x.ndim < 1:
        raise ValueError(f"{name}: x has shape (); wanted: (..., features)")
    for letter, p in (("w", w), ("b", b)):
        if p is not None and tuple(p.shape) != (x.shape[-1],):
            raise ValueError(f"{name}: x {tuple(x.shape)} has {x.shape[-1]} features, {letter} has shape {tuple(p.shape)}")
