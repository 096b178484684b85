"""Layers that disturb in training and do nothing in inference, and the penalty for large outputs.

Randomness is a function of (seed, path, step): the same on every backend.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ann import functions, regularizers
from ann.functions.activations import SELU_ALPHA, SELU_SCALE
from ann.layers.basic import with_penalty
from ann.layers.layer import Context, Layer
from backends import namespace

Array = Any


class _OfRate(Layer):
    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rate < 1:
            raise ValueError(f"{type(self).__name__}: rate is a share, at least 0 and less than 1; {self.rate!r} came")


class GaussianNoise(Layer):
    """y = x + stddev·z in training, z Gaussian."""

    stddev: float

    def call(self, x: Array, ctx: Context) -> Array:
        return x + self.stddev * ctx.random.normal(tuple(x.shape), like=x) if ctx.training and self.stddev else x


class GaussianDropout(_OfRate):
    """y = x·(1 + √(rate/(1 − rate))·z) in training, z Gaussian: mean and variance of `Dropout`.      Srivastava et al. 2014, §10"""

    def call(self, x: Array, ctx: Context) -> Array:
        if not ctx.training or not self.rate:
            return x
        return x * (1.0 + math.sqrt(self.rate / (1.0 - self.rate)) * ctx.random.normal(tuple(x.shape), like=x))


class AlphaDropout(_OfRate):
    """y = a·(x where kept, else α′) + b in training: mean 0 and variance 1 stay, after selu.      Klambauer et al. 2017

    α′ = −λ·α of selu, a = ((1 − rate)·(1 + rate·α′²))^−½, b = −a·α′·rate.
    """

    def call(self, x: Array, ctx: Context) -> Array:
        if not ctx.training or not self.rate:
            return x
        low = -SELU_ALPHA * SELU_SCALE
        a = ((1.0 - self.rate) * (1.0 + self.rate * low * low)) ** -0.5
        kept = ctx.random.bernoulli(1.0 - self.rate, tuple(x.shape), like=x)
        return a * namespace(x, kept).where(kept, x, low) - a * low * self.rate


class _SpatialDropout(_OfRate):
    """`Dropout` of whole channels: one decision for an example and a channel.      Tompson et al. 2015"""

    rank: ClassVar[int] = 0

    def call(self, x: Array, ctx: Context) -> Array:
        if x.ndim != self.rank + 2:
            raise ValueError(f"{ctx._who}: x has shape {tuple(x.shape)}; wanted: {self.rank + 2} axes, (batch, {'space, ' * self.rank}channel)")
        if not ctx.training or not self.rate:
            return x
        mask = ctx.random.bernoulli(1.0 - self.rate, (x.shape[0], *(1,) * self.rank, x.shape[-1]), like=x)
        return functions.dropout(x, namespace(x, mask).broadcast_to(mask, tuple(x.shape)), rate=self.rate)


class SpatialDropout1D(_SpatialDropout):
    rank = 1


class SpatialDropout2D(_SpatialDropout):
    rank = 2


class SpatialDropout3D(_SpatialDropout):
    rank = 3


class ActivityRegularization(Layer):
    """y = x, with the penalty l1·Σ |x| + l2·Σ x², the mean over the examples, in training."""

    l1: float = 0.0
    l2: float = 0.0

    def call(self, x: Array, ctx: Context) -> Array:
        return with_penalty(x, regularizers.L1L2(self.l1, self.l2), ctx)
