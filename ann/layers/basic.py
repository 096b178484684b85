"""The everyday layers: Dense, Activation, Flatten, Reshape, Dropout, Embedding. Each is configuration around one formula."""

from __future__ import annotations

from typing import Any, ClassVar

from ann import functions, regularizers
from ann.layers.layer import Context, Layer
from backends import namespace

Array = Any


def activation_of(which: Any) -> Any:
    """The function an activation= names: None, a name ("relu") or a function."""
    return functions.activation(which)


def with_penalty(y: Array, regularizer: Any, ctx: Context) -> Array:
    """y, the output of a layer; in training r(y)/n is added to the loss, the mean over the n examples."""
    if regularizer is not None and ctx.training:
        r = regularizers.get(regularizer)
        ctx.penalty(r(y) / float(max(y.shape[0], 1)))  # type: ignore[misc]
    return y


def kernel_and_bias(layer: Any, shape: tuple[int, ...], ctx: Context) -> tuple[Array, Array | None]:
    """The kernel of this shape, and a bias for its last axis: of a layer with the fields that Dense has."""
    w = ctx.param("kernel", shape, layer.kernel_initializer, layer.kernel_constraint, layer.kernel_regularizer)
    return w, ctx.param("bias", shape[-1:], layer.bias_initializer, layer.bias_constraint, layer.bias_regularizer) if layer.use_bias else None


def activated(layer: Any, y: Array, ctx: Context) -> Array:
    """f(y), the layer's activation, and in training its penalty."""
    return with_penalty(activation_of(layer.activation)(y), layer.activity_regularizer, ctx)


class Dense(Layer):
    """y = activation(x·w + b)   over the last axis.      `linear`

    x (..., d) → (..., units); kernel (d, units), bias (units,). Penalties in training: r(kernel), r(bias), and the mean of r(y).
    """

    units: int
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.units, int) or self.units < 1:
            raise ValueError(f"{type(self).__name__}: units is a positive integer, {self.units!r} came")
        activation_of(self.activation)

    def call(self, x: Array, ctx: Context) -> Array:
        if x.ndim < 2:
            raise ValueError(
                f"{ctx._who}: x has only one axis; wanted: (batch, …, features). x.reshape(-1, 1) gives each example one feature, "
                "x.reshape(1, -1) makes x one example."
            )
        w, b = kernel_and_bias(self, (x.shape[-1], self.units), ctx)
        return activated(self, functions.linear(x, w, b), ctx)


class Activation(Layer):
    """y = f(x) for a function or its name: Activation("relu")."""

    activation: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        activation_of(self.activation)

    def call(self, x: Array, ctx: Context) -> Array:
        return activation_of(self.activation)(x)


class Flatten(Layer):
    """Every example as one row: (n, …) → (n, product of the others)."""

    def call(self, x: Array, ctx: Context) -> Array:
        return functions.flatten(x)


class Reshape(Layer):
    """Every example in a new shape (without the batch axis; one size may be −1): (n, …) → (n, *target_shape)."""

    target_shape: tuple[int, ...]

    def call(self, x: Array, ctx: Context) -> Array:
        n = 1
        for size in x.shape[1:]:
            n *= size
        known = 1
        for size in self.target_shape:
            known *= size if size != -1 else 1
        shape = tuple(n // known if size == -1 else size for size in self.target_shape)
        return namespace(x).reshape(x, (-1, *shape))


class Dropout(Layer):
    """y = x·mask/(1 − rate) in training, with each mask entry 1 with probability 1 − rate; y = x in inference.

    The mask is a function of (seed, path, step): the same on every backend.      Srivastava et al. 2014.
    """

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rate <= 1:
            raise ValueError(f"Dropout: rate is the share to drop, 0 to 1; {self.rate!r} came")

    def call(self, x: Array, ctx: Context) -> Array:
        if not ctx.training or self.rate == 0:
            return x
        mask = ctx.random.bernoulli(1.0 - self.rate, tuple(x.shape), like=x)
        return functions.dropout(x, mask, rate=self.rate)


class Embedding(Layer):
    """y = w[x]: row x of a table, for integer indices x.      `embedding`

    x (...,) integers in 0 … input_dim − 1 → (..., output_dim); embeddings (input_dim, output_dim).
    """

    input_dim: int
    output_dim: int
    embeddings_initializer: Any = "random_uniform"
    embeddings_regularizer: Any = None
    embeddings_constraint: Any = None
    takes_indices: ClassVar[bool] = True

    def call(self, x: Array, ctx: Context) -> Array:
        shape = self.input_dim, self.output_dim
        w = ctx.param("embeddings", shape, self.embeddings_initializer, self.embeddings_constraint, self.embeddings_regularizer)
        return functions.embedding(w, x)
