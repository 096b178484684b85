"""The elementwise functions of the standard on values of the IR: {name: emission}. All arguments of one call have one dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from backends.native import math as elementary
from backends.native.emit import SIZE, Value, is_float, is_signed


def maximum(a: Value, b: Value) -> Value:
    """The larger; b where they are equal (of two zeros, too); NaN where either is."""
    return _extreme(a, b, Value.gt, Value.le)


def minimum(a: Value, b: Value) -> Value:
    return _extreme(a, b, Value.lt, Value.ge)


def _extreme(a: Value, b: Value, stays: Callable[[Value, Value], Value], yields: Callable[[Value, Value], Value]) -> Value:
    f = a.function
    if is_float(a.dtype) and not b.text.startswith("%"):  # a number: whether it is NaN is known when this is compiled
        return f.select(yields(a, b) | b.ne(b), b, a)
    y = f.select(stays(a, b), a, b)
    return f.select(a.ne(a), a, y) if is_float(a.dtype) else y


def floor_divide(a: Value, b: Value) -> Value:
    """⌊a/b⌋ as Python has it; 0 where integers are divided by 0."""
    f = a.function
    if is_float(a.dtype):
        remains = a % b
        quotient = (a - remains) / b
        quotient = f.select(remains.ne(0.0) & (remains.lt(0.0) ^ b.lt(0.0)), quotient - 1.0, quotient)
        whole = f.intrinsic("floor", quotient)
        whole = f.select((quotient - whole).gt(0.5), whole + 1.0, whole)
        whole = f.select(quotient.eq(0.0), f.intrinsic("copysign", quotient.like(0.0), a / b), whole)
        return f.select(b.eq(0.0), a / b, whole)
    safe, special = _safe(a, b)
    quotient = a / safe
    if is_signed(a.dtype):
        remains = a - quotient * safe
        quotient = f.select(remains.ne(0) & (remains ^ safe).lt(0), quotient - 1, quotient)
    return f.select(special, f.select(b.eq(0), 0, -a), quotient)


def remainder(a: Value, b: Value) -> Value:
    """a − b·⌊a/b⌋, with the sign of b; 0 where integers are divided by 0."""
    f = a.function
    if is_float(a.dtype):
        y = a % b
        y = f.select(y.ne(0.0) & (y.lt(0.0) ^ b.lt(0.0)), y + b, y)
        return f.select(y.eq(0.0), f.intrinsic("copysign", y.like(0.0), b), y)
    safe, special = _safe(a, b)
    y = a % safe
    if is_signed(a.dtype):
        y = f.select(y.ne(0) & (y ^ safe).lt(0), y + safe, y)
    return f.select(special, 0, y)


def _safe(a: Value, b: Value) -> tuple[Value, Value]:
    """(a divisor that never traps, where it stands in for b): 0, and −1, by which the least integer overflows."""
    special = b.eq(0) | b.eq(-1) if is_signed(a.dtype) else b.eq(0)
    return a.function.select(special, 1, b), special


def shift(name: str, a: Value, b: Value) -> Value:
    """a shifted by b bits; by all bits or more it leaves 0, or the sign."""
    f, width = a.function, 8 * SIZE[a.dtype]
    outside = b.ge(width) | b.lt(0) if is_signed(b.dtype) else b.ge(width)
    within = f.select(outside, width - 1, b)
    y = a << within if name == "left" else a >> within
    return y if name == "right" and is_signed(a.dtype) else f.select(outside, 0, y)


def sign(x: Value) -> Value:
    """−1, 0 or 1; NaN stays."""
    f = x.function
    y = f.select(x.eq(0), 0, x)
    y = f.select(x.gt(0), 1, y)
    return f.select(x.lt(0), -1, y) if is_float(x.dtype) or is_signed(x.dtype) else y


def logaddexp(a: Value, b: Value) -> Value:
    """max + log1p(exp(−|a − b|)); log 2 more where both are equal, infinite ones too."""
    f = a.function
    y = maximum(a, b) + elementary.log1p(elementary.exp(-abs(a - b)))
    return f.select(a.eq(b), a + math.log(2), y)


def rounding(name: str, x: Value) -> Value:
    return x.function.intrinsic(name, x) if is_float(x.dtype) else x


def where(condition: Value, a: Value, b: Value) -> Value:
    return a.function.select(condition, a, b)


def signbit(x: Value) -> Value:
    return x.function.bits(x, elementary.FORMATS[x.dtype].integer).lt(0)


OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "floor_divide": floor_divide,
    "remainder": remainder,
    "negative": lambda x: -x,
    "positive": lambda x: x,
    "abs": abs,
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1.0 / x,
    "sqrt": lambda x: x.function.intrinsic("sqrt", x),
    "sign": sign,
    "maximum": maximum,
    "minimum": minimum,
    "where": where,
    "greater": Value.gt,
    "greater_equal": Value.ge,
    "less": Value.lt,
    "less_equal": Value.le,
    "equal": Value.eq,
    "not_equal": Value.ne,
    "isnan": lambda x: x.ne(x),
    "isinf": lambda x: abs(x).eq(math.inf),
    "isfinite": lambda x: abs(x).lt(math.inf),
    "signbit": signbit,
    "copysign": lambda a, b: a.function.intrinsic("copysign", a, b),
    "logical_not": lambda x: ~x,
    "bitwise_invert": lambda x: ~x,
    "bitwise_left_shift": partial(shift, "left"),
    "bitwise_right_shift": partial(shift, "right"),
    "round": partial(rounding, "rint"),
    "floor": partial(rounding, "floor"),
    "ceil": partial(rounding, "ceil"),
    "trunc": partial(rounding, "trunc"),
    "logaddexp": logaddexp,
    "pow": partial(elementary.of_lanes, "pow"),
    "atan2": partial(elementary.of_lanes, "atan2"),
    "hypot": partial(elementary.of_lanes, "hypot"),
    "nextafter": partial(elementary.of_lanes, "nextafter"),
    **{f"{kind}_{name}": f for kind in ("logical", "bitwise") for name, f in {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}.items()},
    **{name: getattr(elementary, name) for name in ("exp", "expm1", "log", "log1p", "log2", "tanh", "erf", "erfc")},
    **{name: partial(elementary.of_lanes, name) for name in ("log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh")},
}  # fmt: skip

LONG = {"exp", "expm1", "log", "log1p", "log2", "tanh", "erf", "erfc", "divide", "sqrt", "reciprocal", "remainder", "floor_divide", "logaddexp"} | {
    name for name, f in OPERATIONS.items() if isinstance(f, partial) and f.func is elementary.of_lanes
}  # what is rather kept than computed twice

# of a row, or of all that is added up: (how two are combined, what changes nothing)
REDUCTIONS: dict[str, tuple[Callable[[Value, Value], Value], Callable[[str], float]]] = {
    "sum": (lambda a, b: a + b, lambda dtype: 0),
    "prod": (lambda a, b: a * b, lambda dtype: 1),
    "max": (maximum, lambda dtype: -math.inf if is_float(dtype) else least(dtype)),
    "min": (minimum, lambda dtype: math.inf if is_float(dtype) else greatest(dtype)),
    "any": (lambda a, b: a | b, lambda dtype: 0),
    "all": (lambda a, b: a & b, lambda dtype: 1),
}


def least(dtype: str) -> int:
    return -(1 << (8 * SIZE[dtype] - 1)) if is_signed(dtype) else 0


def greatest(dtype: str) -> int:
    return (1 << (8 * SIZE[dtype] - is_signed(dtype))) - 1
