"""Normalization layers: by the statistics of the batch, or of each example."""

from __future__ import annotations

from typing import Any

from ann import functions
from ann.layers.layer import Context, Layer

Array = Any


class BatchNormalization(Layer):
    """y = (x − μ)/√(σ² + ε)·γ + β   with μ, σ² of the batch over all axes but the last; in inference, of the running values.

    running ← momentum·running + (1 − momentum)·batch, the running variance with n/(n − 1).
    x (..., c); gamma, beta, moving_mean, moving_variance (c,).      Ioffe & Szegedy 2015.
    """

    momentum: float = 0.99
    epsilon: float = 1e-5
    center: bool = True
    scale: bool = True

    def call(self, x: Array, ctx: Context) -> Array:
        c = x.shape[-1]
        w = ctx.param("gamma", (c,), "ones") if self.scale else None
        b = ctx.param("beta", (c,), "zeros") if self.center else None
        mean = ctx.state("moving_mean", (c,), "zeros")
        variance = ctx.state("moving_variance", (c,), "ones")
        if not ctx.training:
            return functions.batch_normalization_inference(x, w, b, mean, variance, epsilon=self.epsilon)
        n = 1
        for size in x.shape[:-1]:
            n *= size
        if n == 1:
            raise ValueError(f"{ctx._who}: one value a channel has no variance; train on batches of at least two")
        y, batch_mean, batch_variance = functions.batch_normalization(x, w, b, epsilon=self.epsilon)
        m = self.momentum
        ctx.update("moving_mean", (1.0 - m) * batch_mean + m * mean)
        ctx.update("moving_variance", (1.0 - m) * (n / max(n - 1, 1)) * batch_variance + m * variance)
        return y


class LayerNormalization(Layer):
    """y = (x − μ)/√(σ² + ε)·γ + β   with μ, σ² of each example over the last axis.      Ba, Kiros & Hinton 2016.

    x (..., d); gamma, beta (d,).
    """

    epsilon: float = 1e-5
    center: bool = True
    scale: bool = True

    def call(self, x: Array, ctx: Context) -> Array:
        d = x.shape[-1]
        w = ctx.param("gamma", (d,), "ones") if self.scale else None
        b = ctx.param("beta", (d,), "zeros") if self.center else None
        return functions.layer_normalization(x, w, b, epsilon=self.epsilon)
