"""Activation functions. y = f(x) elementwise (softmax and log_softmax: along an axis), each with its derivative."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any

from ann.autodiff import primitive
from backends import namespace
from backends.gaps import erfc

Array = Any

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, in full double precision


@primitive
def identity(x: Array) -> Any:
    """y = x      dx = dy"""
    return x, lambda dy: dy


@primitive
def sigmoid(x: Array) -> Any:
    """y = 1/(1 + e⁻ˣ)      dx = dy·σ(x)·σ(−x)

    Any x; y in (0, 1). Written with e^−|x|, which cannot overflow; σ(−x) keeps its digits where 1 − y has none.
    """
    xp = namespace(x)
    right = x >= 0
    e = xp.exp(xp.where(right, -x, x))  # −|x| would do, but not for the second derivative at 0: abs′(0) = 0
    y = xp.where(right, 1.0 / (1.0 + e), e / (1.0 + e))
    return y, lambda dy: dy * sigmoid(x) * sigmoid(-x)


@primitive
def tanh(x: Array) -> Any:
    """y = (eˣ − e⁻ˣ)/(eˣ + e⁻ˣ)      dx = dy·(1 − y²)"""
    y = namespace(x).tanh(x)
    return y, lambda dy: dy * (1.0 - y * y)


@primitive
def relu(x: Array) -> Any:
    """y = max(x, 0)      dx = dy where x > 0, else 0 (0 at x = 0)"""
    xp = namespace(x)
    y = xp.maximum(x, 0.0)
    return y, lambda dy: dy * xp.astype(y > 0, y.dtype)


@primitive
def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Any:
    """y = x where x > 0, else a·x      dx = dy where x > 0, else a·dy      a: negative_slope (at x = 0 too)"""
    xp = namespace(x)
    return xp.where(x > 0, x, x * negative_slope), lambda dy: xp.where(x > 0, dy, dy * negative_slope)


@primitive
def elu(x: Array, *, alpha: float = 1.0) -> Any:
    """y = x where x > 0, else α·(eˣ − 1)      dx = dy where x > 0, else dy·α·eˣ      Clevert et al. 2016"""
    xp = namespace(x)
    low = alpha * xp.expm1(xp.minimum(x, 0.0))  # the branch not taken must not overflow
    return xp.where(x > 0, x, low), lambda dy: xp.where(x > 0, dy, dy * (low + alpha))


@primitive
def selu(x: Array) -> Any:
    """y = λ·elu(x; α)      dx = λ·dy where x > 0, else λ·α·eˣ·dy      α = 1.6733, λ = 1.0507"""
    xp = namespace(x)
    low = SELU_ALPHA * xp.expm1(xp.minimum(x, 0.0))
    return SELU_SCALE * xp.where(x > 0, x, low), lambda dy: SELU_SCALE * xp.where(x > 0, dy, dy * (low + SELU_ALPHA))


@primitive
def softplus(x: Array) -> Any:
    """y = log(1 + eˣ)      dx = dy·σ(x)"""
    xp = namespace(x)
    right = x >= 0  # max(x, 0) and |x| would do, but not for the second derivative at 0
    y = xp.where(right, x, 0.0) + xp.log1p(xp.exp(xp.where(right, -x, x)))
    return y, lambda dy: dy * sigmoid(x)


@primitive
def log_sigmoid(x: Array) -> Any:
    """y = log σ(x) = −log(1 + e⁻ˣ)      dx = dy·σ(−x)"""
    return -softplus(-x), lambda dy: dy * sigmoid(-x)


@primitive
def silu(x: Array) -> Any:
    """y = x·σ(x)      dx = dy·σ(x)·(1 + x·σ(−x))"""
    s = sigmoid(x)
    return x * s, lambda dy: dy * s * (1.0 + x * sigmoid(-x))


@primitive
def gelu(x: Array, *, approximate: str | None = None) -> Any:
    """y = x·Φ(x), Φ(x) = ½·erfc(−x/√2)      dx = dy·(Φ(x) + x·φ(x)), φ(x) = e^(−x²/2)/√(2π)

    approximate="tanh": y = ½x(1 + tanh u), u = √(2/π)·(x + 0.044715·x³), off by up to 4.7e-4.
    Hendrycks & Gimpel 2016.
    """
    xp = namespace(x)
    if approximate is None:
        cdf = 0.5 * erfc(x * -math.sqrt(0.5))
        z = xp.minimum(xp.maximum(x, -50.0), 50.0)  # beyond ±50 the density is 0, and z² must not overflow
        return x * cdf, lambda dy: dy * (cdf + x * (xp.exp(-0.5 * z * z) * (1.0 / math.sqrt(2.0 * math.pi))))
    if approximate != "tanh":
        raise ValueError(f'gelu: approximate is None or "tanh", {approximate!r} came')
    c, k = math.sqrt(2.0 / math.pi), 0.044715
    t = xp.tanh(c * (x + k * x * x * x))
    return 0.5 * x * (1.0 + t), lambda dy: dy * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * k * x * x))


@primitive
def softmax(x: Array, *, axis: int = -1) -> Any:
    """y = exp(x − max x)/Σ exp(x − max x)  along axis.      dx = y·(dy − Σ dy·y)

    x: any shape, any finite size → y: same shape, each slice sums to 1.
    """
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))  # exp cannot overflow
    y = e / xp.sum(e, axis=axis, keepdims=True)
    return y, lambda dy: y * (dy - xp.sum(dy * y, axis=axis, keepdims=True))


@primitive
def log_softmax(x: Array, *, axis: int = -1) -> Any:
    """y = x − m − log Σ exp(x − m), m = max x, along axis.      dx = dy − softmax(x)·Σ dy"""
    xp = namespace(x)
    z = x - xp.max(x, axis=axis, keepdims=True)
    y = z - xp.log(xp.sum(xp.exp(z), axis=axis, keepdims=True))
    return y, lambda dy: dy - xp.exp(y) * xp.sum(dy, axis=axis, keepdims=True)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": identity,
    **{f.__name__: f for f in (identity, sigmoid, tanh, relu, leaky_relu, elu, selu, softplus, log_sigmoid, silu, gelu, softmax, log_softmax)},  # type: ignore[attr-defined]
    "swish": silu,
}


def activation(which: Any) -> Callable[[Array], Array]:
    """The function an activation= names: None (identity), a name, or a function as it is. ValueError with the nearest name."""
    if which is None:
        return identity
    if callable(which):
        return which  # type: ignore[no-any-return]
    if which in ACTIVATIONS:
        return ACTIVATIONS[which]
    nearest = difflib.get_close_matches(str(which), ACTIVATIONS, 1)
    hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
    raise ValueError(f"unknown activation {which!r}.{hint} There are {', '.join(ACTIVATIONS)}; a function x → y will do too.")
