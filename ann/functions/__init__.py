"""Formulas: each function with its derivative, written once in Array API code."""

from ann.functions.activations import (
    activation,
    elu,
    gelu,
    identity,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from ann.functions.convolution import conv, conv1d, conv2d, conv3d
from ann.functions.linear import dropout, embedding, flatten, linear
from ann.functions.normalization import batch_normalization, batch_normalization_inference, layer_normalization
from ann.functions.pooling import average_pool, global_average_pool, global_max_pool, max_pool

__all__ = [
    "activation",
    "average_pool",
    "batch_normalization",
    "batch_normalization_inference",
    "conv",
    "conv1d",
    "conv2d",
    "conv3d",
    "dropout",
    "elu",
    "embedding",
    "flatten",
    "gelu",
    "global_average_pool",
    "global_max_pool",
    "identity",
    "layer_normalization",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "max_pool",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
