"""Normalization layers: by the statistics of the batch, or of each example; to length 1."""

from __future__ import annotations

from typing import Any

from ann import functions
from ann.layers.layer import Context, Layer

Array = Any


class _Affine(Layer):
    """What both end in: x̂·γ + β, each of which may be left out."""

    epsilon: float = 1e-5
    center: bool = True
    scale: bool = True
    beta_initializer: Any = "zeros"
    gamma_initializer: Any = "ones"
    beta_regularizer: Any = None
    gamma_regularizer: Any = None
    beta_constraint: Any = None
    gamma_constraint: Any = None

    def affine(self, c: int, ctx: Context) -> tuple[Array | None, Array | None]:
        """(γ, β), None for what is left out."""
        w = ctx.param("gamma", (c,), self.gamma_initializer, self.gamma_constraint, self.gamma_regularizer) if self.scale else None
        b = ctx.param("beta", (c,), self.beta_initializer, self.beta_constraint, self.beta_regularizer) if self.center else None
        return w, b


class BatchNormalization(_Affine):
    """y = (x − μ)/√(σ² + ε)·γ + β   with μ, σ² of the batch over all axes but the last; in inference, of the running values.

    running ← momentum·running + (1 − momentum)·batch, the running variance with n/(n − 1).
    x (..., c); gamma, beta, moving_mean, moving_variance (c,).      Ioffe & Szegedy 2015.
    """

    momentum: float = 0.99

    def call(self, x: Array, ctx: Context) -> Array:
        c = x.shape[-1]
        w, b = self.affine(c, ctx)
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


class LayerNormalization(_Affine):
    """y = (x − μ)/√(σ² + ε)·γ + β   with μ, σ² of each example over the last axis.      Ba, Kiros & Hinton 2016.

    x (..., d); gamma, beta (d,).
    """

    def call(self, x: Array, ctx: Context) -> Array:
        w, b = self.affine(x.shape[-1], ctx)
        return functions.layer_normalization(x, w, b, epsilon=self.epsilon)


class UnitNormalization(Layer):
    """y = x/‖x‖  along an axis, 0 where x is 0.      `unit_normalization`"""

    axis: int = -1

    def call(self, x: Array, ctx: Context) -> Array:
        return functions.unit_normalization(x, axis=self.axis)
