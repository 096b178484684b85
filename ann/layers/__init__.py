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
from ann.layers.graph import Graph, Item, Node, Operator
from ann.layers.layer import Context, Function, Input, Layer, Sequential, Training
from ann.layers.merging import Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract
from ann.layers.normalization import BatchNormalization, LayerNormalization

__all__ = [
    "Activation",
    "Add",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "BatchNormalization",
    "Concatenate",
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
    "Graph",
    "Input",
    "Item",
    "Layer",
    "LayerNormalization",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Maximum",
    "Minimum",
    "Multiply",
    "Node",
    "Operator",
    "Reshape",
    "Sequential",
    "Subtract",
    "Training",
]
