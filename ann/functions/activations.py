"""Activation functions. y = f(x) elementwise (softmax and log_softmax: along an axis), each with its derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ann.autodiff import primitive
from ann.names import choose
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
def relu6(x: Array) -> Any:
    """y = min(max(x, 0), 6)      dx = dy where 0 < x < 6, else 0"""
    xp = namespace(x)
    y = xp.minimum(xp.maximum(x, 0.0), 6.0)
    return y, lambda dy: dy * xp.astype((y > 0.0) & (y < 6.0), y.dtype)


@primitive
def hard_sigmoid(x: Array) -> Any:
    """y = min(max(x + 3, 0), 6)/6      dx = dy/6 where |x| < 3, else 0      as Keras 3 and PyTorch"""
    xp = namespace(x)
    return xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0) / 6.0, lambda dy: dy * xp.astype(xp.abs(x) < 3.0, x.dtype) / 6.0


@primitive
def hard_silu(x: Array) -> Any:
    """y = x·hard_sigmoid(x)      dx = dy·(2x + 3)/6 where |x| < 3, dy where x ≥ 3, 0 where x ≤ −3      Howard et al. 2019"""
    s = hard_sigmoid(x)
    xp = namespace(x)
    return x * s, lambda dy: dy * xp.where(xp.abs(x) < 3.0, x / 3.0 + 0.5, s)


@primitive
def hard_tanh(x: Array) -> Any:
    """y = min(max(x, −1), 1)      dx = dy where |x| < 1, else 0"""
    xp = namespace(x)
    y = xp.minimum(xp.maximum(x, -1.0), 1.0)
    return y, lambda dy: dy * xp.astype(xp.abs(y) < 1.0, y.dtype)


@primitive
def prelu(x: Array, w: Array) -> Any:
    """y = x where x > 0, else w·x      dx = dy where x > 0, else w·dy    dw = Σ x·dy over x ≤ 0      He et al. 2015

    x (n, …, c), w broadcasting to it: (), (c,), or (…, c).
    """
    xp = namespace(x, w)
    lead = tuple(range(x.ndim - w.ndim))
    ones = tuple(i for i, size in enumerate(w.shape) if size == 1)

    def back(dy: Array) -> Array:
        dw = xp.sum(xp.where(x > 0, 0.0, x * dy), axis=lead)
        return xp.sum(dw, axis=ones, keepdims=True) if ones else dw

    return xp.where(x > 0, x, w * x), lambda dy: xp.where(x > 0, dy, w * dy), back


@primitive
def elu(x: Array, *, alpha: float = 1.0) -> Any:
    """y = x where x > 0, else α·(eˣ − 1)      dx = dy where x > 0, else dy·α·eˣ      Clevert et al. 2016"""
    xp = namespace(x)
    low = alpha * xp.expm1(xp.minimum(x, 0.0))  # the branch not taken must not overflow
    return xp.where(x > 0, x, low), lambda dy: xp.where(x > 0, dy, dy * (low + alpha))


@primitive
def celu(x: Array, *, alpha: float = 1.0) -> Any:
    """y = x where x > 0, else α·(e^(x/α) − 1)      dx = dy where x > 0, else dy·e^(x/α)      Barron 2017"""
    xp = namespace(x)
    low = xp.expm1(xp.minimum(x, 0.0) * (1.0 / alpha))
    return xp.where(x > 0, x, alpha * low), lambda dy: xp.where(x > 0, dy, dy * (low + 1.0))


@primitive
def selu(x: Array) -> Any:
    """y = λ·elu(x; α)      dx = λ·dy where x > 0, else λ·α·eˣ·dy      α = 1.6733, λ = 1.0507"""
    xp = namespace(x)
    low = SELU_ALPHA * xp.expm1(xp.minimum(x, 0.0))
    return SELU_SCALE * xp.where(x > 0, x, low), lambda dy: SELU_SCALE * xp.where(x > 0, dy, dy * (low + SELU_ALPHA))


@primitive
def exponential(x: Array) -> Any:
    """y = eˣ      dx = dy·y"""
    y = namespace(x).exp(x)
    return y, lambda dy: dy * y


@primitive
def softsign(x: Array) -> Any:
    """y = x/(1 + |x|)      dx = dy/(1 + |x|)²"""
    s = 1.0 / (1.0 + namespace(x).abs(x))
    return x * s, lambda dy: dy * s * s


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
def mish(x: Array) -> Any:
    """y = x·t, t = tanh(softplus(x))      dx = dy·(t + x·σ(x)·(1 − t²))      Misra 2019

    t and q = 1 − t are written with e^−|x|, so that neither tail loses digits.
    """
    xp = namespace(x)
    right = x >= 0
    e = xp.exp(xp.where(right, -x, x))
    a, b = 1.0 + 2.0 * e, 2.0 * e * e
    c, d = e * (2.0 + e), 2.0
    t = xp.where(right, a / (a + b), c / (c + d))
    q = xp.where(right, b / (a + b), d / (c + d))
    return x * t, lambda dy: dy * (t + x * sigmoid(x) * q * (1.0 + t))


@primitive
def gelu(x: Array, *, approximate: str | None = None) -> Any:
    """y = x·Φ(x), Φ(x) = ½·erfc(−x/√2)      dx = dy·(Φ(x) + x·φ(x)), φ(x) = e^(−x²/2)/√(2π)

    approximate="tanh": y = ½x(1 + tanh u) = x·σ(2u), u = √(2/π)·(x + 0.044715·x³), off by up to 4.7e-4.
    Hendrycks & Gimpel 2016.
    """
    xp = namespace(x)
    z = xp.minimum(xp.maximum(x, -50.0), 50.0)  # beyond ±50 Φ is 0 or 1, and z³ must not overflow
    if approximate is None:
        cdf = 0.5 * erfc(x * -math.sqrt(0.5))
        return x * cdf, lambda dy: dy * (cdf + x * (xp.exp(-0.5 * z * z) * (1.0 / math.sqrt(2.0 * math.pi))))
    if approximate != "tanh":
        raise ValueError(f'gelu: approximate is None or "tanh", {approximate!r} came')
    c, k = 2.0 * math.sqrt(2.0 / math.pi), 0.044715
    v = c * (z + k * z * z * z)
    s = sigmoid(v)
    return x * s, lambda dy: dy * s * (1.0 + x * sigmoid(-v) * (c * (1.0 + 3.0 * k * z * z)))


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
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "celu": celu,
    "selu": selu,
    "silu": silu,
    "swish": silu,
    "mish": mish,
    "gelu": gelu,
    "softplus": softplus,
    "softsign": softsign,
    "exponential": exponential,
    "log_sigmoid": log_sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "hard_tanh": hard_tanh,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "identity": identity,
}


def activation(which: Any) -> Callable[[Array], Array]:
    """The function an activation= names: None (identity), a name, or a function as it is. ValueError with the nearest name."""
    return identity if which is None else choose(which, ACTIVATIONS, "activation", "a function x → y")  # type: ignore[no-any-return]
