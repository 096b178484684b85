"""Elementwise functions. y = f(x)    dx = f′(x)·dy; two arguments broadcast, and their gradients are summed back.

Where f′ is infinite or undefined, a zero cotangent stays zero: what divides is made safe first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ann.autodiff.rules.table import fit, fitted, rule
from backends import namespace

Array = Any


def _safe_divide(dy: Array, by: Array) -> Array:
    """dy/by, and 0 where dy is 0 and by is 0 or NaN: a branch not taken never makes NaN. Elsewhere linear in dy, even at dy = 0."""
    xp = namespace(dy, by)
    dead = (dy == 0) & ~(xp.abs(by) > 0)
    return dy / xp.where(dead, 1.0, by)


# ----------------------------------------------------------------------------------- one argument: y from x, f′ from x, y


def _smooth(name: str, derivative: str, back: Callable[[Any, Array, Array, Array], Array]) -> None:
    """A function of one argument by back(xp, dy, x, y)."""

    def body(x: Array) -> Any:
        xp = namespace(x)
        y = getattr(xp, name)(x)
        return y, lambda dy: back(namespace(dy, x), dy, x, y)

    body.__name__ = body.__qualname__ = name
    body.__doc__ = f"y = {name}(x)    dx = {derivative}"
    rule(body)


_smooth("exp", "dy·y", lambda xp, dy, x, y: dy * y)
_smooth("expm1", "dy·(y + 1)", lambda xp, dy, x, y: dy * (y + 1.0))
_smooth("log", "dy/x", lambda xp, dy, x, y: _safe_divide(dy, x))
_smooth("log1p", "dy/(1 + x)", lambda xp, dy, x, y: _safe_divide(dy, 1.0 + x))
_smooth("log2", "dy/(x·ln 2)", lambda xp, dy, x, y: _safe_divide(dy, x * math.log(2.0)))
_smooth("log10", "dy/(x·ln 10)", lambda xp, dy, x, y: _safe_divide(dy, x * math.log(10.0)))
_smooth("sqrt", "dy/(2y)", lambda xp, dy, x, y: _safe_divide(dy, 2.0 * y))
_smooth("square", "2·x·dy", lambda xp, dy, x, y: 2.0 * x * dy)
_smooth("reciprocal", "−dy·y²", lambda xp, dy, x, y: -_safe_divide(dy, x * x))
_smooth("negative", "−dy", lambda xp, dy, x, y: -dy)
_smooth("positive", "dy", lambda xp, dy, x, y: dy)
_smooth("conj", "dy (for real x)", lambda xp, dy, x, y: dy)
_smooth("real", "dy (for real x)", lambda xp, dy, x, y: dy)
_smooth("abs", "dy·sign x, 0 at x = 0", lambda xp, dy, x, y: dy * _sign(x))
_smooth("sin", "dy·cos x", lambda xp, dy, x, y: dy * xp.cos(x))
_smooth("cos", "−dy·sin x", lambda xp, dy, x, y: -dy * xp.sin(x))
_smooth("tan", "dy·(1 + y²)", lambda xp, dy, x, y: dy * (1.0 + y * y))
_smooth("sinh", "dy·cosh x", lambda xp, dy, x, y: dy * xp.cosh(x))
_smooth("cosh", "dy·sinh x", lambda xp, dy, x, y: dy * xp.sinh(x))
_smooth("tanh", "dy·(1 − y²)", lambda xp, dy, x, y: dy * (1.0 - y * y))
_smooth("asin", "dy/√(1 − x²)", lambda xp, dy, x, y: _safe_divide(dy, xp.sqrt((1.0 - x) * (1.0 + x))))
_smooth("acos", "−dy/√(1 − x²)", lambda xp, dy, x, y: -_safe_divide(dy, xp.sqrt((1.0 - x) * (1.0 + x))))
_smooth("atan", "dy/(1 + x²)", lambda xp, dy, x, y: dy / (1.0 + x * x))
_smooth("asinh", "dy/√(x² + 1)", lambda xp, dy, x, y: dy / xp.hypot(x, xp.ones_like(x)))
_smooth("acosh", "dy/√(x² − 1)", lambda xp, dy, x, y: _safe_divide(dy, xp.sqrt((x - 1.0) * (x + 1.0))))
_smooth("atanh", "dy/(1 − x²)", lambda xp, dy, x, y: _safe_divide(dy, (1.0 - x) * (1.0 + x)))


def _sign(x: Array) -> Array:
    """−1, 0 or 1 in the dtype of x."""
    xp = namespace(x)
    return xp.astype(x > 0, x.dtype) - xp.astype(x < 0, x.dtype)


# --------------------------------------------------------------------------------------------------------- two arguments


@rule
def add(x1: Array, x2: Array) -> Any:
    """y = x₁ + x₂    dx₁ = dy    dx₂ = dy"""
    y = namespace(x1, x2).add(*fitted("add", x1, x2))
    return y, lambda dy: fit(dy, x1), lambda dy: fit(dy, x2)


@rule
def subtract(x1: Array, x2: Array) -> Any:
    """y = x₁ − x₂    dx₁ = dy    dx₂ = −dy"""
    y = namespace(x1, x2).subtract(*fitted("subtract", x1, x2))
    return y, lambda dy: fit(dy, x1), lambda dy: fit(-dy, x2)


@rule
def multiply(x1: Array, x2: Array) -> Any:
    """y = x₁·x₂    dx₁ = dy·x₂    dx₂ = dy·x₁"""
    y = namespace(x1, x2).multiply(*fitted("multiply", x1, x2))
    return y, lambda dy: fit(dy * x2, x1), lambda dy: fit(dy * x1, x2)


@rule
def divide(x1: Array, x2: Array) -> Any:
    """y = x₁/x₂    dx₁ = dy/x₂    dx₂ = −dy·x₁/x₂²"""
    xp = namespace(x1, x2)
    y = xp.divide(*fitted("divide", x1, x2))

    def by(dy: Array) -> Array:
        return dy / x2 if isinstance(x2, int | float) else _safe_divide(dy, x2)

    return y, lambda dy: fit(by(dy), x1), lambda dy: fit(-_safe_divide(by(dy) * x1, x2), x2)


def _spread(x: Any, dy: Array) -> Array:
    """x in the shape and dtype of dy."""
    return namespace(dy).zeros_like(dy) + x


@rule
def pow(x1: Array, x2: Array) -> Any:
    """y = x₁^x₂    dx₁ = dy·x₂·x₁^(x₂ − 1), 0 where x₂ = 0    dx₂ = dy·y·log x₁, 0 where x₁ ≤ 0"""
    xp = namespace(x1, x2)
    y = xp.pow(*fitted("pow", x1, x2))

    def by_base(dy: Array) -> Array:
        if isinstance(x2, int | float):
            if x2 == 0:
                return dy * 0.0
            if x2 == 1:
                return dy
            if x2 == 2:
                return dy * 2.0 * x1
            if x2 > 1:
                return dy * (float(x2) * namespace(dy, x1).pow(x1, float(x2) - 1.0))
        xp = namespace(dy, x1, x2)
        exponent, base = _spread(x2, dy), _spread(x1, dy)
        singular = ((base == 0) & (exponent < 1)) | ((base < 0) & (exponent != xp.floor(exponent)))
        dead = singular & ((dy == 0) | (exponent == 0))
        return dy * (exponent * xp.pow(xp.where(dead, 1.0, base), xp.where(dead, 1.0, exponent - 1.0)))

    def by_exponent(dy: Array) -> Array:
        xp = namespace(dy, x1, x2)
        base = _spread(x1, dy)
        used = ((dy != 0) | xp.isfinite(y)) & (base > 0)
        return xp.where(used, dy * y * xp.log(xp.where(used, base, xp.ones_like(base))), xp.zeros_like(dy))

    return y, lambda dy: fit(by_base(dy), x1), lambda dy: fit(by_exponent(dy), x2)


@rule
def atan2(x1: Array, x2: Array) -> Any:
    """y = atan2(x₁, x₂)    dx₁ = dy·x₂/(x₁² + x₂²)    dx₂ = −dy·x₁/(x₁² + x₂²)"""
    y = namespace(x1, x2).atan2(*fitted("atan2", x1, x2))

    def scaled(dy: Array) -> Array:
        return _safe_divide(dy, x1 * x1 + x2 * x2)

    return y, lambda dy: fit(scaled(dy) * x2, x1), lambda dy: fit(-scaled(dy) * x1, x2)


@rule
def hypot(x1: Array, x2: Array) -> Any:
    """y = √(x₁² + x₂²)    dx₁ = dy·x₁/y    dx₂ = dy·x₂/y    (0 where y = 0)"""
    xp = namespace(x1, x2)
    y = xp.hypot(*fitted("hypot", x1, x2))

    def scaled(dy: Array) -> Array:
        xp = namespace(dy, y)
        return dy / xp.where(y > 0, y, xp.ones_like(y))

    return y, lambda dy: fit(scaled(dy) * x1, x1), lambda dy: fit(scaled(dy) * x2, x2)


@rule
def logaddexp(x1: Array, x2: Array) -> Any:
    """y = log(e^x₁ + e^x₂)    dx₁ = dy·σ(x₁ − x₂)    dx₂ = dy·σ(x₂ − x₁)"""
    y = namespace(x1, x2).logaddexp(*fitted("logaddexp", x1, x2))

    def sigmoid(d: Array) -> Array:
        xp = namespace(d)
        right = d >= 0
        e = xp.exp(xp.where(right, -d, d))  # −|d| would do, but not for the second derivative at 0: abs′(0) = 0
        return xp.where(right, 1.0 / (1.0 + e), e / (1.0 + e))

    return y, lambda dy: fit(dy * sigmoid(x1 - x2), x1), lambda dy: fit(dy * sigmoid(x2 - x1), x2)


@rule
def maximum(x1: Array, x2: Array) -> Any:
    """y = max(x₁, x₂)    dx goes to the larger, half to each where they are equal"""
    y = namespace(x1, x2).maximum(*fitted("maximum", x1, x2))
    return y, lambda dy: fit(dy * _share(dy, x1, x2), x1), lambda dy: fit(dy * _share(dy, x2, x1), x2)


@rule
def minimum(x1: Array, x2: Array) -> Any:
    """y = min(x₁, x₂)    dx goes to the smaller, half to each where they are equal"""
    y = namespace(x1, x2).minimum(*fitted("minimum", x1, x2))
    return y, lambda dy: fit(dy * _share(dy, x2, x1), x1), lambda dy: fit(dy * _share(dy, x1, x2), x2)


def _share(dy: Array, a: Any, b: Any) -> Array:
    """1 where a > b, ½ where a = b, else 0."""
    xp = namespace(dy, a, b)
    return xp.astype(a > b, dy.dtype) + 0.5 * xp.astype(a == b, dy.dtype)


@rule
def copysign(x1: Array, x2: Array) -> Any:
    """y = |x₁| with the sign of x₂    dx₁ = dy·sign x₁·sign y"""
    xp = namespace(x1, x2)
    y = xp.copysign(*fitted("copysign", x1, x2))
    return y, lambda dy: fit(dy * _sign(_spread(x1, dy)) * _sign(y), x1), None


@rule
def nextafter(x1: Array, x2: Array) -> Any:
    """y = the number after x₁ towards x₂    dx₁ = dy"""
    return namespace(x1, x2).nextafter(*fitted("nextafter", x1, x2)), lambda dy: fit(dy, x1), None


@rule
def remainder(x1: Array, x2: Array) -> Any:
    """y = x₁ − x₂·⌊x₁/x₂⌋    dx₁ = dy    dx₂ = −dy·⌊x₁/x₂⌋"""
    y = namespace(x1, x2).remainder(*fitted("remainder", x1, x2))
    return y, lambda dy: fit(dy, x1), lambda dy: fit(-dy * namespace(x1, x2).floor_divide(x1, x2), x2)


@rule
def clip(x: Array, min: Any = None, max: Any = None) -> Any:
    """y = min(max(x, lo), hi)    dx = dy inside and on the bounds, else 0; a bound gets what lies beyond it"""
    xp = namespace(x)
    y = xp.clip(x, min, max)

    def inside(dy: Array) -> Array:
        keep = xp.ones_like(x) == 1.0
        keep = keep if min is None else keep & (x >= min)
        return keep if max is None else keep & (x <= max)

    def below(dy: Array) -> Array:
        return fit(dy * namespace(dy).astype(x < min, dy.dtype), min)

    def above(dy: Array) -> Array:
        return fit(dy * namespace(dy).astype(x > max, dy.dtype), max)

    return y, lambda dy: fit(dy * namespace(dy).astype(inside(dy), dy.dtype), x), below, above


@rule
def where(condition: Array, x1: Array, x2: Array) -> Any:
    """y = x₁ where condition, else x₂    dx₁ = dy there, 0 elsewhere    dx₂ the other way round"""
    xp = namespace(condition, x1, x2)
    y = xp.where(condition, *fitted("where", x1, x2))
    return (
        y,
        None,
        lambda dy: fit(namespace(dy, condition).where(condition, dy, namespace(dy).zeros_like(dy)), x1),
        lambda dy: fit(namespace(dy, condition).where(condition, namespace(dy).zeros_like(dy), dy), x2),
    )


@rule
def astype(x: Array, *, dtype: Any, copy: bool = True, device: Any = None) -> Any:
    """y = x in another dtype    dx = dy in the dtype of x; integers and booleans stop the gradient"""
    xp = namespace(x)
    y = xp.astype(x, dtype, copy=copy) if device is None else xp.astype(x, dtype, copy=copy, device=device)
    return y, lambda dy: namespace(dy).astype(dy, x.dtype)
