"""Constraints: w ← c(w) after each step, the parameters brought back to where they may be. Given to a layer by name or as an object.

Norms are over the axes that lead into an output: axis=0 of a matrix x·w (a column a unit), axis=(0, 1, 2) of a 2-d convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ann.names import choose
from backends import namespace

Array = Any
Axis = int | tuple[int, ...]


@dataclass(frozen=True)
class NonNeg:
    """w ← max(w, 0)"""

    def __call__(self, w: Array) -> Array:
        return namespace(w).maximum(w, 0.0)


@dataclass(frozen=True)
class MaxNorm:
    """w ← w·min(1, max_value/‖w‖)"""

    max_value: float = 2.0
    axis: Axis = 0

    def __call__(self, w: Array) -> Array:
        return MinMaxNorm(0.0, self.max_value, axis=self.axis)(w)


@dataclass(frozen=True)
class MinMaxNorm:
    """w ← w·((1 − rate) + rate·n/‖w‖),  n = min(max(‖w‖, min_value), max_value); w = 0 stays 0"""

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Axis = 0

    def __call__(self, w: Array) -> Array:
        xp = namespace(w)
        m = xp.max(xp.abs(w), axis=self.axis, keepdims=True)
        m = xp.where(m > 0, m, 1.0)
        s = w / m  # no square overflows
        n = m * xp.sqrt(xp.sum(s * s, axis=self.axis, keepdims=True))
        wanted = xp.minimum(xp.maximum(n, self.min_value), self.max_value)
        return w * ((1.0 - self.rate) + self.rate * (wanted / xp.where(n > 0, n, 1.0)))


@dataclass(frozen=True)
class UnitNorm:
    """w ← w/‖w‖"""

    axis: Axis = 0

    def __call__(self, w: Array) -> Array:
        return MinMaxNorm(1.0, 1.0, axis=self.axis)(w)


CONSTRAINTS = {"non_neg": NonNeg, "max_norm": MaxNorm, "min_max_norm": MinMaxNorm, "unit_norm": UnitNorm}


def get(which: Any) -> Callable[[Array], Array] | None:
    """The constraint of this name; None and functions w → w as they are. ValueError with the nearest name."""
    return None if which is None else choose(which, CONSTRAINTS, "constraint", "a function w → w")  # type: ignore[no-any-return]


__all__ = ["MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"]
