"""Regularizers: a penalty r(w) for large parameters, added to the loss while training. Given to a layer by name or as an object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ann.names import choose
from backends import namespace

Array = Any


@dataclass(frozen=True)
class L1:
    """r = l₁·Σ |w|      dw = l₁·sign w, 0 where w = 0"""

    l1: float = 0.01

    def __call__(self, w: Array) -> Array:
        xp = namespace(w)
        return self.l1 * xp.sum(xp.abs(w))


@dataclass(frozen=True)
class L2:
    """r = l₂·Σ w²      dw = 2·l₂·w      as Keras, without a ½"""

    l2: float = 0.01

    def __call__(self, w: Array) -> Array:
        return self.l2 * namespace(w).sum(w * w)


@dataclass(frozen=True)
class L1L2:
    """r = l₁·Σ |w| + l₂·Σ w²"""

    l1: float = 0.0
    l2: float = 0.0

    def __call__(self, w: Array) -> Array:
        return L1(self.l1)(w) + L2(self.l2)(w)


REGULARIZERS = {"l1": L1, "l2": L2, "l1_l2": L1L2(0.01, 0.01)}


def get(which: Any) -> Callable[[Array], Array] | None:
    """The regularizer of this name; None and functions w → number as they are. ValueError with the nearest name."""
    return None if which is None else choose(which, REGULARIZERS, "regularizer", "a function w → number")  # type: ignore[no-any-return]


__all__ = ["L1", "L1L2", "L2"]
