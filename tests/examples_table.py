"""One line for each public function of `ann.functions` and `ann.losses`: arguments, and the same in PyTorch as oracle.

From a line follow tests of value, gradient, second derivative, float32, tracing by jax.jit, abstract shapes and read-only
arguments, on every backend (tests/test_functions.py). Float arguments are differentiated, integers and booleans are not.
The oracle is called with torch.nn.functional and the arguments as float64 tensors; None where PyTorch has no such thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ann import functions as f
from ann import losses

rng = np.random.default_rng(7)


class Example(NamedTuple):
    name: str  # the function's, with a word for the case
    function: Callable[..., Any]
    args: tuple[Any, ...]
    oracle: Callable[..., Any] | None
    options: dict[str, Any] = {}  # noqa: RUF012

    def __call__(self, *args: Any) -> Any:
        return self.function(*args, **self.options)


def n(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def positive(*shape: int) -> np.ndarray:
    return rng.uniform(0.2, 2.0, size=shape)


def shares(*shape: int) -> np.ndarray:
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def nchw(conv: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """PyTorch's convolution of (n, c, …) and (f, c, …) for our (n, …, c) and (…, c, f)."""

    def oracle(F: Any, x: Any, w: Any, b: Any = None) -> Any:
        return getattr(F, conv)(x.movedim(-1, 1), w.movedim((-1, -2), (0, 1)), b, **options).movedim(1, -1)

    return oracle


def pooled(pool: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda F, x: getattr(F, pool)(x.movedim(-1, 1), *args, **options).movedim(1, -1)


def batch_norm(F: Any, x: Any, w: Any, b: Any) -> Any:
    axes = tuple(range(x.ndim - 1))
    return F.batch_norm(x.movedim(-1, 1), None, None, w, b, True, 0.1, 1e-5).movedim(1, -1), x.mean(axes), x.var(axes, correction=0)


x35, x234 = n(3, 5), n(2, 3, 4)
image, kernel = n(2, 6, 5, 4), n(3, 2, 4, 6)
index, labels = rng.integers(0, 7, (3, 4)), rng.integers(0, 5, (6,))
mask = rng.random((3, 5)) < 0.7
logits, onehot = n(6, 5), np.eye(5, dtype=np.int64)[labels]
weights = positive(6)

EXAMPLES = [
    Example("identity", f.identity, (x35,), lambda F, x: x),
    Example("sigmoid", f.sigmoid, (x234,), lambda F, x: x.sigmoid()),
    Example("tanh", f.tanh, (x234,), lambda F, x: x.tanh()),
    Example("relu", f.relu, (x234,), lambda F, x: F.relu(x)),
    Example("leaky_relu", f.leaky_relu, (x234,), lambda F, x: F.leaky_relu(x)),
    Example("leaky_relu steep", f.leaky_relu, (x234,), lambda F, x: F.leaky_relu(x, 0.3), {"negative_slope": 0.3}),
    Example("elu", f.elu, (x234,), lambda F, x: F.elu(x, 1.5), {"alpha": 1.5}),
    Example("selu", f.selu, (x234,), lambda F, x: F.selu(x)),
    Example("softplus", f.softplus, (x234,), lambda F, x: F.softplus(x)),
    Example("log_sigmoid", f.log_sigmoid, (x234,), lambda F, x: F.logsigmoid(x)),
    Example("silu", f.silu, (x234,), lambda F, x: F.silu(x)),
    Example("gelu", f.gelu, (x234,), lambda F, x: F.gelu(x)),
    Example("gelu tanh", f.gelu, (x234,), lambda F, x: F.gelu(x, approximate="tanh"), {"approximate": "tanh"}),
    Example("softmax", f.softmax, (x234,), lambda F, x: F.softmax(x, -1)),
    Example("softmax axis 1", f.softmax, (x234,), lambda F, x: F.softmax(x, 1), {"axis": 1}),
    Example("log_softmax", f.log_softmax, (x234,), lambda F, x: F.log_softmax(x, -1)),
    Example("linear", f.linear, (n(2, 3, 4), n(4, 5), n(5)), lambda F, x, w, b: x @ w + b),
    Example("linear no bias", f.linear, (n(3, 4), n(4, 5)), lambda F, x, w: x @ w),
    Example("linear vector", f.linear, (n(4), n(4, 5), n(5)), lambda F, x, w, b: x @ w + b),
    Example("flatten", f.flatten, (n(3, 2, 4),), lambda F, x: x.reshape(3, 8)),
    Example("embedding", f.embedding, (n(7, 2), index), lambda F, w, i: F.embedding(i, w)),
    Example("dropout", f.dropout, (x35, mask), lambda F, x, m: x * m / 0.7, {"rate": 0.3}),
    Example("conv", f.conv, (image, kernel, n(6)), nchw("conv2d", stride=(2, 1), dilation=(1, 3)), {"strides": (2, 1), "dilations": (1, 3)}),
    Example("conv1d", f.conv1d, (n(2, 7, 3), n(3, 3, 4), n(4)), nchw("conv1d", padding="same"), {"padding": "same"}),
    Example("conv2d", f.conv2d, (image, kernel), nchw("conv2d", padding=(1, 0)), {"padding": (1, 0)}),
    Example("conv2d groups", f.conv2d, (image, n(2, 2, 2, 6), n(6)), nchw("conv2d", groups=2), {"groups": 2}),
    Example("conv3d", f.conv3d, (n(1, 4, 3, 4, 2), n(2, 2, 3, 2, 3)), nchw("conv3d", stride=2), {"strides": 2}),
    Example("max_pool", f.max_pool, (image,), pooled("max_pool2d", 2), {"size": 2}),
    Example("max_pool overlapping", f.max_pool, (image,), pooled("max_pool2d", 3, 1, 1), {"size": 3, "strides": 1, "padding": 1}),
    Example("average_pool", f.average_pool, (image,), pooled("avg_pool2d", (2, 3), 1), {"size": (2, 3), "strides": 1}),
    Example("average_pool padded", f.average_pool, (image,), pooled("avg_pool2d", 3, 2, 1, count_include_pad=False), {"size": 3, "strides": 2, "padding": 1}),
    Example("global_max_pool", f.global_max_pool, (image,), lambda F, x: x.amax((1, 2))),
    Example("global_average_pool", f.global_average_pool, (image,), lambda F, x: x.mean((1, 2))),
    Example("layer_normalization", f.layer_normalization, (n(2, 3, 4), n(4), n(4)), lambda F, x, w, b: F.layer_norm(x, (4,), w, b)),
    Example("layer_normalization plain", f.layer_normalization, (n(3, 4),), lambda F, x: F.layer_norm(x, (4,), eps=1e-3), {"epsilon": 1e-3}),
    Example("batch_normalization", f.batch_normalization, (n(3, 2, 4), n(4), n(4)), batch_norm),
    Example("batch_normalization_inference", f.batch_normalization_inference, (n(3, 4), n(4), n(4), n(4), positive(4)), lambda F, x, w, b, m, v: (x - m) / (v + 1e-5).sqrt() * w + b),
    Example("categorical_crossentropy", losses.categorical_crossentropy, (labels, logits), lambda F, y, z: F.cross_entropy(z, y)),
    Example("categorical_crossentropy smoothed", losses.categorical_crossentropy, (labels, logits), lambda F, y, z: F.cross_entropy(z, y, label_smoothing=0.1), {"label_smoothing": 0.1}),
    Example("categorical_crossentropy one-hot", losses.categorical_crossentropy, (onehot, logits), lambda F, y, z: F.cross_entropy(z, y.double())),
    Example("categorical_crossentropy of p", losses.categorical_crossentropy, (labels, shares(6, 5)), lambda F, y, p: F.nll_loss(p.log(), y), {"from_logits": False}),
    Example("sparse_categorical_crossentropy", losses.sparse_categorical_crossentropy, (labels[:, None], logits), lambda F, y, z: F.cross_entropy(z, y[:, 0])),
    Example("binary_crossentropy", losses.binary_crossentropy, (onehot, logits), lambda F, y, z: F.binary_cross_entropy_with_logits(z, y.double())),
    Example("binary_crossentropy of p", losses.binary_crossentropy, (onehot, shares(6, 5)), lambda F, y, p: F.binary_cross_entropy(p, y.double()), {"from_logits": False}),
    Example("mean_squared_error", losses.mean_squared_error, (n(6, 5), logits), lambda F, y, z: F.mse_loss(z, y)),
    Example("mean_absolute_error", losses.mean_absolute_error, (n(6, 5), logits), lambda F, y, z: F.l1_loss(z, y)),
    Example("huber", losses.huber, (n(6, 5), logits), lambda F, y, z: F.huber_loss(z, y, delta=0.7), {"delta": 0.7}),
]  # fmt: skip
