"""Special functions: the error function and the logarithm of Γ with its two derivatives.

The tables are Chebyshev series of smooth functions, made with mpmath in 50 digits; tests/test_gaps.py makes them again.
"""

from __future__ import annotations

import math
from typing import Any

from backends.library import gap, namespace

Array = Any

# erfcx(z) / t  for t = 3.75 / (3.75 + z) in [0, 1]
ERFCX = (
    0.4214058601090404, 0.37747444362832, 0.14160448337558904, 0.04472136419492391, 0.0117959706715608,
    0.0025349704447309527, 0.0004185659812464711, 4.4764300324499895e-05, 5.257805411800891e-07,
    -8.231924321753128e-07, -1.316512185167472e-07, 2.5425950577591977e-09, 3.6155375955980613e-09,
    2.8881129031517165e-10, -7.744049094712806e-11, -1.4154099941115766e-11, 1.541532080291853e-12,
    5.316760838441818e-13, -3.1266208417670866e-14, -1.931405980218627e-14, 7.681944620990154e-16,
    7.212640982187403e-16, -2.9234747015733566e-17, -2.800417314058823e-17,
)  # fmt: skip

# erf(√w) / √w  for w in [0, 1]
ERF = (
    0.9754769393826541, -0.14226120510371365, 0.010035582187599796, -0.0005768764699767485, 2.741993125219606e-05,
    -1.1043175507344507e-06, 3.8488755420345036e-08, -1.1808582533875466e-09, 3.2334215826050907e-11,
    -7.991015947004549e-13, 1.7990725113961456e-14, -3.718635487818693e-16, 7.103599003714253e-18,
    -1.2612455119155226e-19, 2.0916406941769294e-21,
)  # fmt: skip

# lgamma(x) / ((x−1)(x−2))  for x in [1, 3]
LGAMMA = (
    0.44148902545501423, -0.11119580321752523, 0.01951044826068884, -0.003922461463025264, 0.0008478989895953857,
    -0.00019153855341365593, 4.454470184975607e-05, -1.05728743735943e-05, 2.5474336873408417e-06,
    -6.208535880776316e-07, 1.5268677399071546e-07, -3.782637660291326e-08, 9.428100823624284e-09,
    -2.361999702184645e-09, 5.943541905817546e-10, -1.501312977072867e-10, 3.8050196458110534e-11,
    -9.672485299656325e-12, 2.465348198355661e-12, -6.298868140791711e-13, 1.6128460030283787e-13,
    -4.137949206814042e-14, 1.0635701227757898e-14, -2.7382420786652826e-15, 7.060670507214892e-16,
    -1.8232177141662118e-16, 4.714169006756272e-17, -1.2204107319639856e-17, 3.1630451661790255e-18,
    -8.206746544166728e-19,
)  # fmt: skip

# ψ(x) / (x−x₀)  for x in [1, 2]
DIGAMMA = (
    0.983570260441567, -0.2270640863346444, 0.03336889902393011, -0.005320077271596548, 0.0008788656937820505,
    -0.00014773492650606044, 2.5060543468359146e-05, -4.2721034029993324e-06, 7.302769272465923e-07,
    -1.2502886813559594e-07, 2.1425009322359472e-08, -3.673295918565179e-09, 6.299717236108931e-10,
    -1.080593028883266e-10, 1.853735192053638e-11, -3.18023536582553e-12, 5.456147570322795e-13,
    -9.360993131036438e-14, 1.606064636295075e-14, -2.7555431377438815e-15, 4.727736178601912e-16,
    -8.11148420346509e-17,
)  # fmt: skip

# B₂ₖ/(2k(2k−1)), B₂ₖ/2k, B₂ₖ, k = 1, 2, …: the asymptotic series (Abramowitz & Stegun 6.1.41, 6.3.18, 6.4.12)
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, start=1))
DIGAMMA_SERIES = tuple(b / (2 * k) for k, b in enumerate(BERNOULLI, start=1))
TRIGAMMA_SERIES = BERNOULLI

# ψ's zero on the positive axis, as a number that the type holds and the rest
ZERO_DOUBLE = (1.4616321449683622, 9.549995429965697e-17)
ZERO_SINGLE = (1.4616321325302124, 1.2438149938918909e-08)


def _double(x: Array) -> bool:
    return bool(namespace(x).finfo(x.dtype).bits > 32)


def _series(u: Array, table: tuple[float, ...], single: int, double: bool) -> Array:
    """Σ cⱼ·Tⱼ(u), u in [−1, 1], by Clenshaw's recurrence; float32 takes the first terms."""
    *upper, c = reversed(table if double else table[:single])
    two = 2.0 * u
    later = namespace(u).zeros_like(u)
    sum_ = later + upper[0]
    for c_j in upper[1:]:
        later, sum_ = sum_, two * sum_ - later + c_j
    return u * sum_ - later + c


def _powers(w: Array, coefficients: tuple[float, ...]) -> Array:
    """Σ cⱼ·wʲ by Horner's rule."""
    y = coefficients[-1] + namespace(w).zeros_like(w)
    for c in coefficients[-2::-1]:
        y = y * w + c
    return y


@gap
def erfc(x: Array) -> Array:
    """y = erfc(x) = 2/√π · ∫ₓ^∞ exp(−t²) dt      dx = −2/√π · exp(−x²) · dy

    Any shape, real floating. Relative error 1e-15 in float64 and 4e-7 in float32, in the tail down to the smallest
    normal number.
    erfc(z) = exp(−z²)·t·P(2t−1), t = 3.75/(3.75 + z), for z ≥ 0; erfc(−z) = 2 − erfc(z).
    Shepherd & Laframboise 1981 (the form; the coefficients are our own).
    """
    return _erfc(x)


def _erfc(x: Array) -> Array:
    xp = namespace(x)
    z = xp.minimum(xp.abs(x), xp.full_like(x, 28.0))  # erfc(28) < 1e-340
    t = 3.75 / (3.75 + z)
    near = xp.floor(16.0 * z) * 0.0625  # near² is exact, so that exp keeps its digits where z² is large
    y = xp.exp(-near * near) * xp.exp(-(z - near) * (z + near))
    y = y * t * _series(2.0 * t - 1.0, ERFCX, 14, _double(x))
    return xp.where(x < 0, 2.0 - y, y)


@gap
def erf(x: Array) -> Array:
    """y = erf(x) = 2/√π · ∫₀ˣ exp(−t²) dt      dx = 2/√π · exp(−x²) · dy

    Any shape, real floating. Relative error 3e-16 in float64 and 1e-7 in float32: x·P(x²) for |x| ≤ 1, else 1 −
    erfc|x|.
    """
    xp = namespace(x)
    z = xp.minimum(xp.abs(x), xp.ones_like(x))
    small = x * _series(2.0 * z * z - 1.0, ERF, 9, _double(x))
    large = 1.0 - _erfc(xp.abs(x))
    return xp.where(xp.abs(x) <= 1.0, small, xp.where(x < 0, -large, large))


@gap
def lgamma(x: Array) -> Array:
    """y = log|Γ(x)|      dx = ψ(x)·dy  (digamma)

    Any shape, floating. inf at the poles 0, −1, −2, … and at ±inf. Relative error for x > 0: 5e-15 in float64, 2e-6
    in float32; for x < 0 relative to max(1, |y|), so near the zeros of y only the absolute error is small (a library's
    own version may be so for x > 0 too).
    x in [1, 3]: (x−1)(x−2)·P(x−2);  (0, 1): one step of Γ(x+1) = x·Γ(x);  above: Stirling's series;  x < 0: reflection.
    """
    xp = namespace(x)
    double = _double(x)
    largest = 2.5e305 if double else 4.0e36
    smallest = float(xp.finfo(x.dtype).smallest_normal)
    one = xp.ones_like(x)
    a = xp.abs(x)
    finite = (a > smallest) & (a < largest)
    a = xp.where(finite, a, one)

    low = xp.where(a < 1.0, a + 1.0, xp.where(a < 3.0, a, one))
    below = xp.where(a < 1.0, a, one)
    factor = xp.where(a < 1.0, below * (below - 1.0), (low - 1.0) * (low - 2.0))  # (x+1) − 1 is x, without rounding
    low_y = factor * _series(low - 2.0, LGAMMA, 15, double) - xp.log(below)

    middle = xp.where(a < 8.0, a, one)
    high = xp.where(a < 8.0, middle + 5.0, a)
    inverse = 1.0 / high
    high_y = (
        (high - 0.5) * (xp.log(high) - 1.0)
        + (0.5 * math.log(2.0 * math.pi) - 0.5)
        + inverse * _powers(inverse * inverse, STIRLING)
    )
    product = middle * (middle + 1.0) * (middle + 2.0) * (middle + 3.0) * (middle + 4.0)
    high_y = xp.where(a < 8.0, high_y - xp.log(product), high_y)
    y = xp.where(a < 3.0, low_y, high_y)

    r = xp.abs(a - xp.round(a))
    pole = (x < 0) & (r == 0)
    sine = xp.sin(math.pi * xp.where(r == 0, 0.5 * one, r))
    y = xp.where(x < 0, math.log(math.pi) - xp.log(a) - xp.log(sine) - y, y)
    infinite = xp.full_like(x, xp.inf)
    tiny = xp.abs(x) <= smallest
    y = xp.where(finite & ~pole, y, infinite)
    y = xp.where(tiny & (x != 0), xp.full_like(x, -math.log(smallest)), y)
    return xp.where(xp.isnan(x), x, y)


@gap
def digamma(x: Array) -> Array:
    """y = ψ(x) = Γ′(x)/Γ(x)      dx = ψ′(x)·dy  (trigamma)

    Any shape, real floating. nan at the poles 0, −1, −2, … and at −inf; inf at inf. Relative error for x > 0: 1e-15 in
    float64, 5e-7 in float32, its zero at 1.4616 included; for x < 0 relative to max(1, |y|), away from the poles.
    [1, 2]: (x − x₀)·P(2x−3);  (0, 1): ψ(x) = ψ(x+1) − 1/x;  [2, 10): eight such steps;  above: asymptotic series.
    """
    xp = namespace(x)
    double = _double(x)
    one = xp.ones_like(x)
    a = xp.abs(x)
    usable = (a > float(xp.finfo(x.dtype).smallest_normal)) & (a < xp.inf)
    a = xp.where(usable, a, one)

    low = xp.where(a < 1.0, a + 1.0, xp.where(a < 2.0, a, one))
    zero, rest = ZERO_DOUBLE if double else ZERO_SINGLE
    low_y = ((low - zero) - rest) * _series(2.0 * low - 3.0, DIGAMMA, 11, double)
    low_y = xp.where(a < 1.0, low_y - 1.0 / a, low_y)

    middle = xp.where(a < 10.0, a, 10.0 * one)
    high = xp.where(a < 10.0, middle + 8.0, a)
    inverse = 1.0 / high
    steps = 1.0 / middle
    for k in range(1, 8):
        steps = steps + 1.0 / (middle + float(k))
    high_y = xp.log(high) - 0.5 * inverse - inverse * inverse * _powers(inverse * inverse, DIGAMMA_SERIES)
    high_y = xp.where(a < 10.0, high_y - steps, high_y)
    y = xp.where(a < 2.0, low_y, high_y)

    r = a - xp.round(a)
    pole = (x < 0) & (r == 0)
    cotangent = math.pi / xp.tan(math.pi * xp.where(r == 0, 0.25 * one, r))
    y = xp.where(x < 0, y + 1.0 / a + cotangent, y)
    y = xp.where(usable & ~pole, y, xp.full_like(x, xp.nan))
    return xp.where(x == xp.inf, x, y)


@gap
def trigamma(x: Array) -> Array:
    """y = ψ′(x) = Σ 1/(x+k)², k = 0, 1, …      (its derivative is not provided)

    Any shape, real floating. inf at the poles 0, −1, −2, … and where 1/x² overflows; 0 at inf, nan at −inf. Relative
    error 4e-16 in float64, 2e-7 in float32 (x < 0: away from the poles). Ten steps up from below 10, then the
    asymptotic series; reflection for x < 0.
    """
    xp = namespace(x)
    one = xp.ones_like(x)
    a = xp.abs(x)
    smallest = 1e-153 if _double(x) else 1e-18
    usable = (a > smallest) & (a < xp.inf)
    a = xp.where(usable, a, one)

    middle = xp.where(a < 10.0, a, 10.0 * one)
    high = xp.where(a < 10.0, middle + 10.0, a)
    inverse = 1.0 / high
    steps = (1.0 / middle) ** 2
    for k in range(1, 10):
        steps = steps + (1.0 / (middle + float(k))) ** 2
    square = inverse * inverse
    y = inverse + 0.5 * square + inverse * square * _powers(square, TRIGAMMA_SERIES)
    y = xp.where(a < 10.0, y + steps, y)

    r = xp.abs(a - xp.round(a))
    pole = (x < 0) & (r == 0)
    sine = xp.sin(math.pi * xp.where(r == 0, 0.5 * one, r))
    y = xp.where(x < 0, (math.pi / sine) ** 2 + (1.0 / a) ** 2 - y, y)
    y = xp.where(usable & ~pole, y, xp.full_like(x, xp.inf))
    y = xp.where(x == xp.inf, xp.zeros_like(x), y)
    return xp.where(xp.isnan(x) | (x == -xp.inf), xp.full_like(x, xp.nan), y)
