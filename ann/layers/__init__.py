"""Layers: frozen configuration with one method, `call(x, ctx)`."""

from ann.layers.basic import Activation, Dense, Dropout, Embedding, Flatten, Reshape
from ann.layers.convolution import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    Conv1D,
    Conv2D,
    Conv3D,
    GlobalAveragePooling,
    GlobalMaxPooling,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from ann.layers.layer import Context, Function, Input, Layer, Sequential, Training
from ann.layers.normalization import BatchNormalization, LayerNormalization

__all__ = [
    "Activation",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "BatchNormalization",
    "Context",
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Function",
    "GlobalAveragePooling",
    "GlobalMaxPooling",
    "Input",
    "Layer",
    "LayerNormalization",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Reshape",
    "Sequential",
    "Training",
]
