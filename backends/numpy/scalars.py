"""0-d arithmetic on Python numbers, with the results that arrays have: no exception for 1/0, log 0 or an overflow; integers go round."""

from __future__ import annotations

import math
from collections.abc import Callable

from backends.program.program import Program


def divide(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _safe(f: Callable[[float], float], overflow: float, outside: float) -> Callable[[float], float]:
    """f, with the value that it has beyond its domain and where it overflows."""

    def safe(x: float) -> float:
        try:
            return f(x)
        except OverflowError:
            return overflow
        except ValueError:
            return outside

    return safe


def log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf if x == 0 else math.nan


def maximum(a: float, b: float) -> float:
    return a if a != a or a >= b else b


def minimum(a: float, b: float) -> float:
    return a if a != a or a <= b else b


SAFE = {
    "divide": divide, "log": log, "exp": _safe(math.exp, math.inf, math.nan), "expm1": _safe(math.expm1, math.inf, math.nan),
    "sqrt": _safe(math.sqrt, math.inf, math.nan), "cos": _safe(math.cos, math.nan, math.nan), "sin": _safe(math.sin, math.nan, math.nan),
    "maximum": maximum, "minimum": minimum,
}  # fmt: skip
FUNCTIONS = {
    "add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "negative": "-{}", "divide": "divide({}, {})", "astype": "float({})",
    "maximum": "maximum({}, {})", "minimum": "minimum({}, {})", **{name: f"{name}({{}})" for name in ("exp", "expm1", "log", "sqrt", "cos", "sin")},
}  # fmt: skip
WHOLE = ("add", "subtract", "multiply", "negative")  # what integers have
WRAPPED = {f"int{bits}": f"({{}} + {1 << bits - 1} & {(1 << bits) - 1}) - {1 << bits - 1}" for bits in (32, 64)}


def first(program: Program) -> Program:
    """The program with the arithmetic of its 0-d inputs first, where it does not part what is done in one loop of blocks."""
    known = {r for r in program.inputs if program.values[r].shape == ()}
    lead, rest = [], []
    for i in program.body:
        if known.issuperset(i.reads) and i.reads and all(program.values[out].shape == () for out in i.outs):
            known.update(i.outs)
            lead.append(i)
        else:
            rest.append(i)
    return program.with_body([*lead, *rest])
