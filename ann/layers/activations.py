"""Activations as layers: those with a setting or a parameter of their own, and the two that Keras scripts write most."""

from __future__ import annotations

from typing import Any

from ann import functions
from ann.layers.basic import Activation
from ann.layers.layer import Context, Layer

Array = Any


class ReLU(Activation):
    """y = max(x, 0)      `relu`"""

    activation: Any = "relu"


class Softmax(Activation):
    """y = exp x/Σ exp x  along the last axis.      `softmax`"""

    activation: Any = "softmax"


class LeakyReLU(Layer):
    """y = x where x > 0, else negative_slope·x.      `leaky_relu`"""

    negative_slope: float = 0.01

    def call(self, x: Array, ctx: Context) -> Array:
        return functions.leaky_relu(x, negative_slope=self.negative_slope)


class ELU(Layer):
    """y = x where x > 0, else α·(eˣ − 1).      `elu`"""

    alpha: float = 1.0

    def call(self, x: Array, ctx: Context) -> Array:
        return functions.elu(x, alpha=self.alpha)


class PReLU(Layer):
    """y = x where x > 0, else α·x, with α a parameter for each entry of an example; one along shared_axes (1 is the first after the batch).      `prelu`

    alpha starts at 0.25 (He et al. 2015, PyTorch); alpha_initializer="zeros" is Keras's start.
    """

    alpha_initializer: Any = 0.25
    alpha_regularizer: Any = None
    alpha_constraint: Any = None
    shared_axes: tuple[int, ...] = ()

    def call(self, x: Array, ctx: Context) -> Array:
        shape = tuple(1 if axis in self.shared_axes else size for axis, size in enumerate(x.shape))[1:]
        return functions.prelu(x, ctx.param("alpha", shape, self.alpha_initializer, self.alpha_constraint, self.alpha_regularizer))
