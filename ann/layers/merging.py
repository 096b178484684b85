"""Layers that make one array of several: Add()([a, b]) on nodes of a graph, self.add([a, b], ctx) in a layer of your own."""

from __future__ import annotations

import functools
import operator
from typing import Any

from ann import functions
from ann.layers.basic import Dense, activated, kernel_and_bias
from ann.layers.layer import Context, Layer
from backends import namespace

Array = Any


class _Merging(Layer):
    """y = x₁ ∘ x₂ ∘ …   of a list of arrays whose shapes agree, or broadcast."""

    def call(self, x: Any, ctx: Context) -> Array:
        if not isinstance(x, list | tuple) or not x:
            raise TypeError(f"{ctx._who} takes a list of arrays, [a, b]; {type(x).__name__} came")
        shapes = [tuple(part.shape) for part in x]
        if len({len(shape) for shape in shapes}) > 1 or any(len(set(sizes) - {1}) > 1 for sizes in zip(*shapes, strict=True)):
            raise ValueError(f"{ctx._who}: the shapes {', '.join(map(str, shapes))} do not agree")
        return self.merge(list(x))

    def merge(self, x: list[Array]) -> Array:
        """The one array."""
        raise NotImplementedError


class Add(_Merging):
    """y = x₁ + x₂ + …"""

    def merge(self, x: list[Array]) -> Array:
        return functools.reduce(operator.add, x)


class Subtract(_Merging):
    """y = x₁ − x₂"""

    def merge(self, x: list[Array]) -> Array:
        if len(x) != 2:
            raise ValueError(f"Subtract takes two arrays, {len(x)} came")
        return x[0] - x[1]


class Multiply(_Merging):
    """y = x₁·x₂·…, entry by entry"""

    def merge(self, x: list[Array]) -> Array:
        return functools.reduce(operator.mul, x)


class Average(_Merging):
    """y = (x₁ + … + xₘ)/m"""

    def merge(self, x: list[Array]) -> Array:
        return functools.reduce(operator.add, x) / float(len(x))


class Maximum(_Merging):
    """y = max(x₁, x₂, …), entry by entry; where two are equal each has half of the gradient."""

    def merge(self, x: list[Array]) -> Array:
        return functools.reduce(namespace(*x).maximum, x)


class Minimum(_Merging):
    """y = min(x₁, x₂, …), entry by entry; where two are equal each has half of the gradient."""

    def merge(self, x: list[Array]) -> Array:
        return functools.reduce(namespace(*x).minimum, x)


class Concatenate(Layer):
    """y = [x₁ | x₂ | …]   along an axis, the last by default; the other sizes agree."""

    axis: int = -1

    def call(self, x: Any, ctx: Context) -> Array:
        if not isinstance(x, list | tuple) or not x:
            raise TypeError(f"{ctx._who} takes a list of arrays, [a, b]; {type(x).__name__} came")
        shapes = [tuple(part.shape) for part in x]
        ndim = len(shapes[0])
        if not -ndim < self.axis < ndim or self.axis == 0:
            raise ValueError(f"{ctx._who}: axis {self.axis} of arrays with shape {shapes[0]}; wanted: an axis of each example, 1 … {ndim - 1} or −1")
        rest = {shape[: self.axis % ndim] + shape[self.axis % ndim + 1 :] for shape in shapes}
        if len(rest) > 1 or len({len(shape) for shape in shapes}) > 1:
            raise ValueError(f"{ctx._who}: the shapes {', '.join(map(str, shapes))} disagree in more than axis {self.axis}")
        return namespace(*x).concat(list(x), axis=self.axis)


class Bilinear(Dense):
    """y = activation(Σ_ij x_i·w_ij·u_j + b)   of a list of two arrays, [x, u].      `bilinear`

    x (..., d), u (..., e) → (..., units); kernel (d, e, units), bias (units,). The fields are those of Dense.
    """

    def call(self, x: Any, ctx: Context) -> Array:
        if not isinstance(x, list | tuple) or len(x) != 2:
            raise TypeError(f"{ctx._who} takes a list of two arrays, [a, b]; {type(x).__name__} came")
        w, b = kernel_and_bias(self, (x[0].shape[-1], x[1].shape[-1], self.units), ctx)
        return activated(self, functions.bilinear(x[0], x[1], w, b), ctx)
