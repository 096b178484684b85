"""Initializers: f(shape, stream) → the first values of a parameter, drawn on the host in float64.

Fans are counted with the window: a kernel (k₁ …, in, out) has fan_in = Πk·in and fan_out = Πk·out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ann.names import choose
from backends import host
from backends.stream import Stream

Array = Any
Shape = tuple[int, ...]

TRUNCATED_STD = 0.87962566103423978  # the standard deviation of N(0, 1) cut at ±2


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out): how many inputs reach an output, how many outputs an input."""
    if len(shape) < 2:
        n = shape[0] if shape else 1
        return n, n
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


@dataclass(frozen=True)
class Constant:
    """All entries are `value`."""

    value: float = 0.0

    def __call__(self, shape: Shape, stream: Stream) -> Array:
        return host.full(shape, self.value, dtype="float64")


@dataclass(frozen=True)
class Zeros(Constant):
    """All entries are 0."""


@dataclass(frozen=True)
class Ones(Constant):
    """All entries are 1."""

    value: float = 1.0


@dataclass(frozen=True)
class RandomUniform:
    """Uniform in [minval, maxval)."""

    minval: float = -0.05
    maxval: float = 0.05

    def __call__(self, shape: Shape, stream: Stream) -> Array:
        return stream.uniform(shape, self.minval, self.maxval, dtype="float64")


@dataclass(frozen=True)
class RandomNormal:
    """Gaussian."""

    mean: float = 0.0
    stddev: float = 0.05

    def __call__(self, shape: Shape, stream: Stream) -> Array:
        return stream.normal(shape, self.mean, self.stddev, dtype="float64")


@dataclass(frozen=True)
class TruncatedNormal:
    """Gaussian, with what lies more than two standard deviations off drawn again."""

    mean: float = 0.0
    stddev: float = 0.05

    def __call__(self, shape: Shape, stream: Stream) -> Array:
        z, draw = stream.normal(shape, dtype="float64"), stream.draw
        while (outside := host.abs(z) > 2.0).any():
            draw += 1
            z = host.where(outside, stream.at(stream.step, draw).normal(shape, dtype="float64"), z)
        return self.mean + self.stddev * z


@dataclass(frozen=True)
class VarianceScaling:
    """Variance scale/fan, fan = fan_in, fan_out or their mean; uniform, normal (of that variance) or truncated_normal."""

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"

    def __post_init__(self) -> None:
        if self.mode not in ("fan_in", "fan_out", "fan_avg") or self.distribution not in ("uniform", "normal", "truncated_normal"):
            raise ValueError(f"VarianceScaling: mode is fan_in, fan_out or fan_avg, distribution uniform, normal or truncated_normal; {self} came")

    def __call__(self, shape: Shape, stream: Stream) -> Array:
        fan_in, fan_out = fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(fan, 1)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return RandomUniform(-limit, limit)(shape, stream)
        if self.distribution == "normal":
            return RandomNormal(0.0, math.sqrt(variance))(shape, stream)
        return TruncatedNormal(0.0, math.sqrt(variance) / TRUNCATED_STD)(shape, stream)


@dataclass(frozen=True)
class Orthogonal:
    """gain·Q of a Gaussian matrix (all axes but the last as rows), its signs fixed by R.      Saxe et al. 2014"""

    gain: float = 1.0

    def __call__(self, shape: Shape, stream: Stream) -> Array:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: a matrix is wanted, the shape is {shape}")
        rows, cols = math.prod(shape[:-1]), shape[-1]
        q, r = host.linalg.qr(stream.normal((max(rows, cols), min(rows, cols)), dtype="float64"))
        q = q * host.where(host.diagonal(r) < 0, -1.0, 1.0)
        return self.gain * host.reshape(q if rows >= cols else q.T, shape)


@dataclass(frozen=True)
class Identity:
    """gain·I, for a matrix."""

    gain: float = 1.0

    def __call__(self, shape: Shape, stream: Stream) -> Array:
        if len(shape) != 2:
            raise ValueError(f"Identity: a matrix is wanted, the shape is {shape}")
        return self.gain * host.eye(*shape)


@dataclass(frozen=True)
class GlorotUniform(VarianceScaling):
    """Uniform of variance 2/(fan_in + fan_out).      Glorot & Bengio 2010"""

    mode: str = "fan_avg"
    distribution: str = "uniform"


@dataclass(frozen=True)
class GlorotNormal(VarianceScaling):
    """Truncated Gaussian of variance 2/(fan_in + fan_out).      Glorot & Bengio 2010"""

    mode: str = "fan_avg"


@dataclass(frozen=True)
class HeUniform(VarianceScaling):
    """Uniform of variance 2/fan_in, for relu.      He et al. 2015"""

    scale: float = 2.0
    distribution: str = "uniform"


@dataclass(frozen=True)
class HeNormal(VarianceScaling):
    """Truncated Gaussian of variance 2/fan_in, for relu.      He et al. 2015"""

    scale: float = 2.0


@dataclass(frozen=True)
class LecunUniform(VarianceScaling):
    """Uniform of variance 1/fan_in.      LeCun et al. 1998"""

    distribution: str = "uniform"


@dataclass(frozen=True)
class LecunNormal(VarianceScaling):
    """Truncated Gaussian of variance 1/fan_in, for selu.      LeCun et al. 1998"""


INITIALIZERS: dict[str, Any] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "random_uniform": RandomUniform,
    "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
    "identity": Identity,
    "xavier_uniform": GlorotUniform,
    "xavier_normal": GlorotNormal,
    "kaiming_uniform": HeUniform,
    "kaiming_normal": HeNormal,
    "uniform": RandomUniform,
    "normal": RandomNormal,
}


def get(which: Any) -> Callable[[Shape, Stream], Array]:
    """The initializer of this name; a number is a constant; a function (shape, stream) as it is. ValueError with the nearest name."""
    if isinstance(which, int | float):
        return Constant(float(which))
    return choose(which, INITIALIZERS, "initializer", "a number or a function (shape, stream)")  # type: ignore[no-any-return]


__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
]
