"""Schedules: the learning rate as a function of t, the number of updates made so far. The first update uses value(0).

Each is written in Array API code of a 0-d array t, so that it runs inside a compiled step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from backends import namespace

Array = Any


@dataclass(frozen=True)
class Constant:
    """η(t) = value"""

    value: float

    def __call__(self, t: Array) -> Array:
        return t * 0.0 + self.value


@dataclass(frozen=True)
class Warmup:
    """η(t) = target·t/steps up to `steps`, then target."""

    target: float
    steps: int

    def __call__(self, t: Array) -> Array:
        return self.target * namespace(t).minimum(t / float(self.steps), 1.0)


@dataclass(frozen=True)
class CosineDecay:
    """η(t) = η₀·((1 − α)·½(1 + cos πs) + α),  s = min(t/decay_steps, 1).      Loshchilov & Hutter 2017

    With warmup_steps: first a line from initial_learning_rate to warmup_target, which then is the η₀ that decays; without a
    warmup_target a line from 0 to initial_learning_rate (where Keras has no warm-up).
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __call__(self, t: Array) -> Array:
        xp = namespace(t)
        peak = self.initial_learning_rate if self.warmup_target is None else self.warmup_target
        s = xp.minimum(xp.maximum(t - float(self.warmup_steps), 0.0) / float(self.decay_steps), 1.0)
        decayed = peak * ((1.0 - self.alpha) * 0.5 * (1.0 + xp.cos(math.pi * s)) + self.alpha)
        if not self.warmup_steps:
            return decayed
        rising = self.initial_learning_rate if self.warmup_target is not None else 0.0
        return xp.where(t < self.warmup_steps, rising + (peak - rising) * (t / float(self.warmup_steps)), decayed)


@dataclass(frozen=True)
class CosineDecayRestarts:
    """η(t) = η₀·((1 − α)·½·m_mulⁱ·(1 + cos πs) + α), s from 0 to 1 in the i-th run: of t_mulⁱ·first_decay_steps steps.

    As Keras; with m_mul = 1 as torch's CosineAnnealingWarmRestarts.      Loshchilov & Hutter 2017
    """

    initial_learning_rate: float
    first_decay_steps: int
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0

    def __call__(self, t: Array) -> Array:
        xp = namespace(t)
        s, late = t / float(self.first_decay_steps), (t + 0.25) / float(self.first_decay_steps)  # a restart's own step is past it
        if self.t_mul == 1.0:
            i = xp.floor(late)
            s = s - i
        else:
            grown = math.log(self.t_mul)
            i = xp.floor(xp.log(1.0 + late * (self.t_mul - 1.0)) / grown)
            length = xp.exp(i * grown)
            s = (s - (length - 1.0) / (self.t_mul - 1.0)) / length
        peak = xp.exp(i * math.log(self.m_mul)) if self.m_mul != 1.0 else 1.0
        return self.initial_learning_rate * ((1.0 - self.alpha) * 0.5 * peak * (1.0 + xp.cos(math.pi * s)) + self.alpha)


@dataclass(frozen=True)
class ExponentialDecay:
    """η(t) = η₀·rate^(t/decay_steps); with staircase the exponent is rounded down."""

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def __call__(self, t: Array) -> Array:
        xp = namespace(t)
        s = t / float(self.decay_steps)
        return self.initial_learning_rate * xp.exp(math.log(self.decay_rate) * (xp.floor(s) if self.staircase else s))


@dataclass(frozen=True)
class StepDecay:
    """η(t) = η₀·γⁱ, i = ⌊t/step_size⌋      as torch's StepLR, counted in updates"""

    initial_learning_rate: float
    step_size: int
    gamma: float = 0.1

    def __call__(self, t: Array) -> Array:
        return ExponentialDecay(self.initial_learning_rate, self.step_size, self.gamma, staircase=True)(t)


@dataclass(frozen=True)
class PolynomialDecay:
    """η(t) = (η₀ − end)·(1 − s)^power + end,  s = min(t/decay_steps, 1); with cycle decay_steps grows to the next multiple ≥ t."""

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 1e-4
    power: float = 1.0
    cycle: bool = False

    def __call__(self, t: Array) -> Array:
        xp = namespace(t)
        s = t / float(self.decay_steps)
        left = 1.0 - (s / xp.maximum(xp.ceil(s), 1.0) if self.cycle else xp.minimum(s, 1.0))
        return (self.initial_learning_rate - self.end_learning_rate) * xp.pow(left, self.power) + self.end_learning_rate


@dataclass(frozen=True)
class PiecewiseConstantDecay:
    """η(t) = values[i] for boundaries[i − 1] < t ≤ boundaries[i]: one value more than boundaries."""

    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        object.__setattr__(self, "values", tuple(self.values))
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(f"PiecewiseConstantDecay: {len(self.boundaries)} boundaries need {len(self.boundaries) + 1} values, {len(self.values)} came")

    def __call__(self, t: Array) -> Array:
        xp = namespace(t)
        value = t * 0.0 + self.values[0]
        for boundary, later in zip(self.boundaries, self.values[1:], strict=True):
            value = xp.where(t > boundary, later + 0.0 * t, value)
        return value


@dataclass(frozen=True)
class InverseTimeDecay:
    """η(t) = η₀/(1 + rate·t/decay_steps); with staircase the quotient t/decay_steps is rounded down."""

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def __call__(self, t: Array) -> Array:
        s = t / float(self.decay_steps)
        return self.initial_learning_rate / (1.0 + self.decay_rate * (namespace(t).floor(s) if self.staircase else s))


__all__ = [
    "Constant",
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "StepDecay",
    "Warmup",
]
