"""Elementary functions on vectors: polynomials, selects and bit patterns, without branches or tables.

float32 and float64 share each formula: they differ in the number of terms and in the constants of their format (`FORMATS`). Errors are at
most 2 units in the last place; NaN, ±inf, subnormal numbers and signed zeros come out right. Where a formula of such quality would be long,
the C library is called for each lane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from backends.gaps.special import ERF, ERFCX
from backends.native.compile import lanes as machine_lanes
from backends.native.emit import SIZE, Value


@dataclass(frozen=True)
class Format:
    """Of a float type: its integers, the bits of the mantissa, ln 2 in two parts (the first with trailing zeros), lengths of series."""

    integer: str
    mantissa: int
    bias: int
    ln2: tuple[float, float]
    exp_terms: int  # |r| ≤ ½·ln 2
    log_terms: int  # s² ≤ 0.0295
    underflow: float  # exp(x) is 0 below
    overflow: float  # and inf above

    @property
    def magic(self) -> float:
        """x + magic rounds |x| < 2²¹ to an integer, which its last bits hold: a conversion that knows no invalid operand."""
        return 1.5 * 2.0**self.mantissa


FORMATS = {
    "float32": Format("int32", 23, 127, (0.693359375, -2.12194440054690583e-4), 7, 5, -104.0, 89.0),
    "float64": Format("int64", 52, 1023, (6.93147180369123816490e-01, 1.90821492927058770002e-10), 13, 11, -746.0, 710.0),
}


def polynomial(x: Value, coefficients: list[float]) -> Value:
    """Σ cⱼ·xʲ by Horner's rule."""
    y = x.like(coefficients[-1])
    for c in coefficients[-2::-1]:
        y = x.function.fma(y, x, c)
    return y


def monomial(table: tuple[float, ...]) -> list[float]:
    """The coefficients of Σ cⱼ·Tⱼ(u) in powers of u."""
    before, now, total = [1.0], [0.0, 1.0], [0.0] * len(table)
    for c in table:
        for j, part in enumerate(before):
            total[j] += c * part
        before, now = now, [2 * a - b for a, b in zip([0.0, *now], [*before, 0.0, 0.0], strict=True)]
    return total


def _reduced(x: Value, terms: int | None = None) -> tuple[Value, Value, Value]:
    """(n, r, t) with x = n·ln 2 + r + rest and t = eʳ⁺ʳᵉˢᵗ − 1 − r; n is whole."""
    f, form = x.function, FORMATS[x.dtype]
    x = f.select(x.lt(form.underflow), form.underflow, x)
    x = f.select(x.gt(form.overflow), form.overflow, x)  # NaN passes both
    n = f.fma(x, 1 / math.log(2), form.magic) - form.magic
    high = f.fma(n, -form.ln2[0], x)
    r = f.fma(n, -form.ln2[1], high)
    rest = f.fma(n, -form.ln2[1], high - r)
    t = r * r * polynomial(r, [1 / math.factorial(j) for j in range(2, (terms or form.exp_terms) + 1)])
    return n, r, t + f.fma(rest, r, rest)


def _scaled(x: Value, n: Value) -> Value:
    """x·2ⁿ, in two factors, so that subnormal results are rounded once; or by the one instruction for it, on whole vectors of 512 bits."""
    f, form = x.function, FORMATS[x.dtype]
    if x.lanes * SIZE[x.dtype] == 64 and machine_lanes() == 16:
        kind, mask = ("ps", "int16") if x.dtype == "float32" else ("pd", "int8")
        return f.call(f"llvm.x86.avx512.mask.scalef.{kind}.512", [x, n, x, f.constant(-1, mask), f.constant(4, "int32")], x.dtype, x.lanes)
    k = f.bits(n + form.magic, form.integer) - f.bits(x.like(form.magic), form.integer)
    half = k >> 1
    return x * _power(half, x.dtype) * _power(k - half, x.dtype)


def _power(k: Value, dtype: str) -> Value:
    """2ᵏ for an integer k that gives a normal number."""
    form = FORMATS[dtype]
    return k.function.bits((k + form.bias) << form.mantissa, dtype)


def exp(x: Value, terms: int | None = None) -> Value:
    """2ⁿ·eʳ      terms: of the series, fewer where a float32 is wanted."""
    n, r, t = _reduced(x, terms)
    return _scaled(1.0 + (r + t), n)


def _expm1(x: Value) -> tuple[Value, Value]:
    """expm1(x) for |x| < mantissa + 2 as a number and its small rest: (2ⁿ − 1) + 2ⁿ·r, and 2ⁿ·t with the rounding error of that sum."""
    f, limit = x.function, FORMATS[x.dtype].mantissa + 2.0
    x = f.select(x.gt(limit), limit, x)
    n, r, t = _reduced(f.select(x.lt(-limit), -limit, x))
    scale = _scaled(x.like(1.0), n)
    a, b = scale - 1.0, scale * r
    total = a + b
    return total, f.fma(scale, t, (a - total) + b)


def expm1(x: Value) -> Value:
    f = x.function
    total, rest = _expm1(x)
    y = f.select(x.gt(FORMATS[x.dtype].mantissa + 1.0), exp(x), total + rest)
    return f.select(x.eq(0.0), x, y)  # keeps −0


def tanh(x: Value) -> Value:
    """y = −t/(t + 2) with t = expm1(−2|x|), and the remainder of that division times 1/(t + 2) = (1 + y)/2."""
    f = x.function
    total, rest = _expm1(-2.0 * abs(x))
    t = total + rest
    below = t + 2.0
    y = -t / below
    remainder = f.fma(-y, below, -total) - f.fma(y, (2.0 - below) + t, rest)
    return f.intrinsic("copysign", f.fma(remainder, 0.5 + 0.5 * y, y), x)


def _logarithm(x: Value) -> tuple[Value, Value, Value]:
    """(e, a, b) with log x = e·ln 2 + a − b, where x = 2ᵉ·(1 + a), √½ ≤ 1 + a < √2, for positive finite x."""
    f, form = x.function, FORMATS[x.dtype]
    tiny = x.lt(2.0 ** (1 - form.bias))
    x = f.select(tiny, x * 2.0**form.mantissa, x)
    one, sqrt_half = (f.bits(x.like(c), form.integer) for c in (1.0, math.sqrt(0.5)))
    whole = f.bits(x, form.integer)
    e = ((whole + (one - sqrt_half)) >> form.mantissa) - form.bias
    a = f.bits(whole - (e << form.mantissa), x.dtype) - 1.0
    s = a / (2.0 + a)
    series = polynomial(s * s, [0.0] + [2 / (2 * j + 1) for j in range(1, form.log_terms + 1)])  # log(1 + a) = 2·artanh(s)
    half = 0.5 * a * a
    return f.cast(f.select(tiny, e - form.mantissa, e), x.dtype), a, half - s * (half + series)


def _completed(x: Value, y: Value) -> Value:
    """y, the logarithm of x where x is positive and finite; log 0 = −inf, log inf = inf, else NaN."""
    f = x.function
    y = f.select(x.eq(0.0), -math.inf, y)
    y = f.select(x.eq(math.inf), math.inf, y)
    return f.select(x.ge(0.0), y, math.nan)


def log(x: Value) -> Value:
    f, (high, low) = x.function, FORMATS[x.dtype].ln2
    e, a, b = _logarithm(x)
    return _completed(x, f.fma(e, high, a - (b - e * low)))


def log2(x: Value) -> Value:
    """Exact at powers of 2."""
    e, a, b = _logarithm(x)
    return _completed(x, x.function.fma(a - b, 1 / math.log(2), e))


def log1p(x: Value) -> Value:
    """log(u) + c/u with u = 1 + x rounded and c what was lost."""
    f, (high, low) = x.function, FORMATS[x.dtype].ln2
    u = 1.0 + x
    c = f.select(x.ge(1.0), 1.0 - (u - x), x - (u - 1.0)) / u
    e, a, b = _logarithm(u)
    y = _completed(u, f.fma(e, high, a - (b - f.fma(e, low, c))))
    return f.select(x.eq(0.0), x, y)  # keeps −0


def erf(x: Value) -> Value:
    """x·P(x²) for |x| ≤ 1, else 1 − erfc|x|: float32 in the arithmetic of float64."""
    f = x.function
    if x.dtype == "float64":
        return of_lanes("erf", x)
    wide = f.cast(x, "float64")
    small = wide * polynomial(f.fma(2.0 * wide, wide, -1.0), monomial(ERF[:9]))
    large = f.intrinsic("copysign", 1.0 - _tail(abs(x)), wide)
    return f.cast(f.select(abs(wide).lt(1.0), small, large), "float32")


def erfc(x: Value) -> Value:
    f = x.function
    if x.dtype == "float64":
        return of_lanes("erfc", x)
    y = _tail(abs(x))
    return f.cast(f.select(f.cast(x, "float64").lt(0.0), 2.0 - y, y), "float32")


def _tail(x: Value) -> Value:
    """erfc(x) for x ≥ 0 in float64, to 1e-8: exp(−x²)·t·P(2t − 1), t = 3.75/(3.75 + x), a quotient of float32 improved by one step of Newton's."""
    f = x.function
    x = f.select(x.gt(12.0), 12.0, x)
    wide = f.cast(x, "float64")
    t = f.cast(1.0 / (x + 3.75), "float64")
    t = t * f.fma(t, -3.75 - wide, 2.0) * 3.75
    return exp(-(wide * wide), terms=8) * (t * polynomial(2.0 * t - 1.0, monomial(ERFCX[:13])))


def of_lanes(name: str, *arguments: Value) -> Value:
    """The C library's function, called for one lane after the other."""
    x = arguments[0]
    f, name = x.function, name + ("f" if x.dtype == "float32" else "")
    if x.lanes == 1:
        return f.call(name, arguments, x.dtype)
    slots = [f.slot(x.dtype, x.lanes) for _ in (*arguments, x)]
    for slot, argument in zip(slots, arguments, strict=False):
        f.store(slot, 0, argument)
    with f.loop(0, x.lanes) as i:
        f.store(slots[-1], i, f.call(name, [f.load(slot, i, x.dtype) for slot in slots[:-1]], x.dtype))
    return f.load(slots[-1], 0, x.dtype, x.lanes)
