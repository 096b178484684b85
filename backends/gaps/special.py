"""Special functions that the standard lacks: erf, erfc, lgamma, digamma, trigamma."""

from __future__ import annotations

import math
from typing import Any

from backends.library import gap, namespace

Array = Any

# erfc(z) = exp(−z²)·t·P(2t − 1), t = 3.75/(3.75 + z), z ≥ 0: Chebyshev coefficients of erfcx(z)/t, computed with mpmath
# (tests/test_gaps.py computes them again). 23 terms give 1e-15 relative.
CHEBYSHEV = (
    0.421405860109040415, 0.377474443628320006, 0.141604483375589046, 0.0447213641949239075, 0.0117959706715607989,
    0.00253497044473095263, 0.000418565981246471096, 0.0000447643003244998926, 5.2578054118008905e-7,
    -8.23192432175312865e-7, -1.3165121851674721e-7, 2.54259505775919757e-9, 3.61553759559806126e-9, 2.88811290315171658e-10,
    -7.74404909471280673e-11, -1.41540999411157655e-11, 1.54153208029185306e-12, 5.31676083844181788e-13,
    -3.1266208417670865e-14, -1.93140598021862715e-14, 7.68194462099015424e-16, 7.21264098218740264e-16, -2.92347470157335649e-17,
)  # fmt: skip
# erf(x) = x·Σ cₖ x²ᵏ near 0: cₖ = 2/√π·(−1)ᵏ/(k!·(2k + 1))
SERIES = tuple(2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(22))
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)  # B₂, B₄, …


@gap
def erfc(x: Array) -> Array:
    """y = 1 − erf x = 2/√π ∫ₓ^∞ exp(−t²) dt: no digits are lost in the tail.      dx = −2/√π·exp(−x²)·dy"""
    xp = namespace(x)
    z = xp.minimum(xp.abs(x), 40.0)  # beyond it the result is 0 in every float type, and z² stays finite
    t = 3.75 / (3.75 + z)
    tail = _gauss(z) * t * _clenshaw(2.0 * t - 1.0)
    return xp.where(x >= 0, tail, xp.where(x != x, x, 2.0 - tail))


@gap
def erf(x: Array) -> Array:
    """y = 2/√π ∫₀ˣ exp(−t²) dt, with full relative accuracy near 0.      dx = 2/√π·exp(−x²)·dy"""
    xp = namespace(x)
    near = xp.minimum(xp.maximum(x, -1.0), 1.0)
    series = near * _horner(near * near, SERIES)
    far = 1.0 - erfc.portable(xp.abs(x))  # type: ignore[attr-defined]
    return xp.where(xp.abs(x) < 1.0, series, xp.where(x < 0, -far, far))


def _gauss(z: Array) -> Array:
    """exp(−z²), z split in two so that the square loses nothing: z² = h² + (z − h)(z + h) with h on a grid of 1/16."""
    xp = namespace(z)
    h = xp.floor(z * 16.0) * 0.0625
    return xp.exp(-h * h) * xp.exp(-(z - h) * (z + h))


def _clenshaw(s: Array) -> Array:
    b1, b2 = s * 0.0, s * 0.0
    for c in CHEBYSHEV[:0:-1]:
        b1, b2 = c + 2.0 * s * b1 - b2, b1
    return CHEBYSHEV[0] + s * b1 - b2


def _horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    y = x * 0.0 + coefficients[-1]
    for c in coefficients[-2::-1]:
        y = y * x + c
    return y


@gap
def lgamma(x: Array) -> Array:
    """y = log |Γ(x)|      dx = digamma(x)·dy

    Stirling's series above 8, where the recurrence Γ(x + 1) = x·Γ(x) leads; reflection below ½. Error 1e-14, absolute near
    the zeros 1 and 2. Infinity at 0, −1, −2, …
    """
    xp = namespace(x)
    mirrored = x < 0.5
    z = xp.where(mirrored, 1.0 - x, x)
    small = z < 8.0
    product = xp.ones_like(z)
    for k in range(8):
        product = product * xp.where(small, z + float(k), product * 0.0 + 1.0)
    s = xp.where(small, z + 8.0, z)
    r = 1.0 / s
    terms = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1))
    stirling = (s - 0.5) * (xp.log(s) - 1.0) - 0.5 + 0.5 * math.log(2 * math.pi) + r * _horner(r * r, terms)
    above = stirling - xp.log(product)
    above = xp.where(z > 1e300, s * (xp.log(s) - 1.0), above) if _is_double(x) else above
    sine = _sin_pi(x)
    pole = mirrored & (sine == 0)
    reflected = math.log(math.pi) - xp.log(xp.where(pole | ~mirrored, xp.ones_like(sine), xp.abs(sine))) - above
    return xp.where(pole, xp.full_like(x, math.inf), xp.where(mirrored, reflected, above))


@gap
def digamma(x: Array) -> Array:
    """y = d log Γ(x)/dx      dx = trigamma(x)·dy      NaN at 0, −1, −2, …"""
    xp = namespace(x)
    mirrored = x < 0.5
    z = xp.where(mirrored, 1.0 - x, x)
    total, small = xp.zeros_like(z), z < 8.0
    for k in range(8):
        total = total + xp.where(small, 1.0 / xp.where(small, z + float(k), xp.ones_like(z)), xp.zeros_like(z))
    s = xp.where(small, z + 8.0, z)
    r2 = 1.0 / (s * s)
    terms = tuple(b / (2 * k) for k, b in enumerate(BERNOULLI, 1))
    above = xp.log(s) - 0.5 / s - r2 * _horner(r2, terms) - total
    return xp.where(mirrored, above - math.pi * _over(_cos_pi(x), _sin_pi(x), mirrored), above)


@gap
def trigamma(x: Array) -> Array:
    """y = d² log Γ(x)/dx²      NaN at 0, −1, −2, …"""
    xp = namespace(x)
    mirrored = x < 0.5
    z = xp.where(mirrored, 1.0 - x, x)
    total, small = xp.zeros_like(z), z < 8.0
    for k in range(8):
        step = xp.where(small, z + float(k), xp.ones_like(z))
        total = total + xp.where(small, 1.0 / (step * step), xp.zeros_like(z))
    s = xp.where(small, z + 8.0, z)
    r = 1.0 / s
    above = r + 0.5 * r * r + r * r * r * _horner(r * r, BERNOULLI) + total
    sine = _sin_pi(x)
    return xp.where(mirrored, math.pi**2 * _over(xp.ones_like(x), sine * sine, mirrored) - above, above)


def _over(a: Array, b: Array, used: Array) -> Array:
    """a/b where used; NaN where b is 0."""
    xp = namespace(a, b)
    zero = b == 0
    return xp.where(zero & used, xp.full_like(b, math.nan), a / xp.where(zero, xp.ones_like(b), b))


def _sin_pi(x: Array) -> Array:
    """sin πx, exactly 0 at integers."""
    xp = namespace(x)
    r = x - 2.0 * xp.floor(x * 0.5)  # in [0, 2)
    return xp.where((r == 0) | (r == 1.0), xp.zeros_like(x), xp.sin(math.pi * r))


def _cos_pi(x: Array) -> Array:
    xp = namespace(x)
    return xp.cos(math.pi * (x - 2.0 * xp.floor(x * 0.5)))


def _is_double(x: Array) -> bool:
    return bool(x.dtype == namespace(x).float64)
