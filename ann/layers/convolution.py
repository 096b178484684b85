"""Convolution and pooling layers over one, two or three spatial axes; axis order (batch, …space…, channel)."""

from __future__ import annotations

from typing import Any, ClassVar

from ann import functions
from ann.layers.basic import activated, activation_of, kernel_and_bias
from ann.layers.layer import Context, Layer

Array = Any


def _sizes(value: Any, rank: int, who: str, name: str) -> tuple[int, ...]:
    """One size for each spatial axis, from a number for all or a tuple."""
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise ValueError(f"{who}: {name} is a positive integer or a tuple of {rank}, {value!r} came")
    return sizes


class _Conv(Layer):
    """y = activation(Σ over the window of x·w + b).      `conv`

    x (n, …space…, c) → (n, …space…, filters); kernel (*kernel_size, c/groups, filters), bias (filters,).
    padding: "valid", "same" (Keras's: what is odd goes to the end), or numbers.
    """

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: Any = "valid"
    dilation_rate: Any = 1
    groups: int = 1
    activation: Any = None
    use_bias: bool = True
    kernel_initializer: Any = "glorot_uniform"
    bias_initializer: Any = "zeros"
    kernel_regularizer: Any = None
    bias_regularizer: Any = None
    activity_regularizer: Any = None
    kernel_constraint: Any = None
    bias_constraint: Any = None
    ends_in_activation: ClassVar[bool] = True
    rank: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        who = type(self).__name__
        for name in ("kernel_size", "strides", "dilation_rate"):
            _sizes(getattr(self, name), self.rank, who, name)
        if not isinstance(self.filters, int) or self.filters < 1:
            raise ValueError(f"{who}: filters is a positive integer, {self.filters!r} came")
        activation_of(self.activation)

    def call(self, x: Array, ctx: Context) -> Array:
        who = type(self).__name__
        if x.ndim != self.rank + 2:
            raise ValueError(f"{ctx._who}: x has shape {tuple(x.shape)}; wanted: {self.rank + 2} axes, (batch, {'space, ' * self.rank}channel)")
        size = _sizes(self.kernel_size, self.rank, who, "kernel_size")
        c = x.shape[-1]
        if c % self.groups or self.filters % self.groups:
            raise ValueError(f"{ctx._who}: {c} channels and {self.filters} filters do not divide into {self.groups} groups")
        w, b = kernel_and_bias(self, (*size, c // self.groups, self.filters), ctx)
        y = functions.conv(x, w, b, strides=self.strides, padding=self.padding, dilations=self.dilation_rate, groups=self.groups)
        return activated(self, y, ctx)


class Conv1D(_Conv):
    rank = 1


class Conv2D(_Conv):
    rank = 2


class Conv3D(_Conv):
    rank = 3


class _Pooling(Layer):
    """One number a window and channel.  strides: None means pool_size.  padding: "valid" or "same" (never counted)."""

    pool_size: Any = 2
    strides: Any = None
    padding: Any = "valid"
    rank: ClassVar[int] = 0
    pool: ClassVar[Any] = None

    def call(self, x: Array, ctx: Context) -> Array:
        if x.ndim != self.rank + 2:
            raise ValueError(f"{ctx._who}: x has shape {tuple(x.shape)}; wanted: {self.rank + 2} axes, (batch, {'space, ' * self.rank}channel)")
        size = _sizes(self.pool_size, self.rank, type(self).__name__, "pool_size")
        strides = size if self.strides is None else _sizes(self.strides, self.rank, type(self).__name__, "strides")
        return type(self).pool(x, size=size, strides=strides, padding=self.padding)


class MaxPooling1D(_Pooling):
    rank, pool = 1, functions.max_pool


class MaxPooling2D(_Pooling):
    rank, pool = 2, functions.max_pool


class MaxPooling3D(_Pooling):
    rank, pool = 3, functions.max_pool


class AveragePooling1D(_Pooling):
    rank, pool = 1, functions.average_pool


class AveragePooling2D(_Pooling):
    rank, pool = 2, functions.average_pool


class AveragePooling3D(_Pooling):
    rank, pool = 3, functions.average_pool


class GlobalMaxPooling(Layer):
    """The largest value over all spatial axes: (n, …space…, c) → (n, c)."""

    def call(self, x: Array, ctx: Context) -> Array:
        return functions.global_max_pool(x)


class GlobalAveragePooling(Layer):
    """The mean over all spatial axes: (n, …space…, c) → (n, c)."""

    def call(self, x: Array, ctx: Context) -> Array:
        return functions.global_average_pool(x)
