"""Normalization: subtract the mean, divide by the standard deviation, scale and shift."""

from __future__ import annotations

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

    dx as of layer normalization, over these axes; dμ and dσ² add dμ/N and 2·(x − μ)·dσ²/N.
    x (..., c), w (c,), b (c,) → y like x, μ (c,), σ² (c,) (biased: divided by N).      Ioffe & Szegedy 2015, algorithm 1.
    """
    xp = namespace(x, w, b)
    _check(x, w, b, "batch_normalization")
    axes = tuple(range(x.ndim - 1))
    normal, inverse, mean, variance = _standardize(xp, x, axes, epsilon)
    n, c = 1, x.shape[-1]
    for size in x.shape[:-1]:
        n *= size

    def back(dys: tuple[Any, ...]) -> tuple[Any, ...]:
        dy, dmean, dvariance = dys
        dx = _back(xp, dy if w is None else dy * w, normal, inverse, axes)
        dx = dx + dmean / float(n) + (normal / inverse) * dvariance * (2.0 / n)
        return dx, None if w is None else xp.sum(dy * normal, axis=axes), None if b is None else xp.sum(dy, axis=axes)

    return (_affine(normal, w, b), xp.reshape(mean, (c,)), xp.reshape(variance, (c,))), back


def batch_normalization_inference(x: Array, w: Array | None, b: Array | None, mean: Array, variance: Array, *, epsilon: float = 1e-5) -> Array:
    """y = (x − μ)/√(σ² + ε)·w + b   with given μ, σ² (c,) for x (..., c)."""
    xp = namespace(x, mean, variance)
    return _affine((x - mean) / xp.sqrt(variance + epsilon), w, b)


def _affine(normal: Array, w: Array | None, b: Array | None) -> Array:
    y = normal if w is None else normal * w
    return y if b is None else y + b


def _check(x: Array, w: Array | None, b: Array | None, name: str) -> None:
    for letter, p in (("w", w), ("b", b)):
        if p is not None and tuple(p.shape) != (x.shape[-1],):
            raise ValueError(f"{name}: x {tuple(x.shape)} has {x.shape[-1]} features, {letter} has shape {tuple(p.shape)}")
