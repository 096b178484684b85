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


def cross_entropy(F: Any, t: Any, z: Any) -> Any:
    return -(t * F.log_softmax(z, -1)).sum(-1)


def focal(F: Any, y: Any, p: Any, gamma: float) -> Any:
    """Lin et al., eq. 4, of the probability of what is so."""
    p = y * p + (1 - y) * (1 - p)
    return -((1 - p) ** gamma) * p.log()


x35, x234 = n(3, 5), n(2, 3, 4)
image, kernel = n(2, 6, 5, 4), n(3, 2, 4, 6)
index, labels = rng.integers(0, 7, (3, 4)), rng.integers(0, 5, (6,))
mask = rng.random((3, 5)) < 0.7
logits, onehot = n(6, 5), np.eye(5, dtype=np.int64)[labels]
counts = rng.integers(0, 4, (6, 5))

EXAMPLES = [
    Example("identity", f.identity, (x35,), lambda F, x: x),
    Example("sigmoid", f.sigmoid, (x234,), lambda F, x: x.sigmoid()),
    Example("tanh", f.tanh, (x234,), lambda F, x: x.tanh()),
    Example("relu", f.relu, (x234,), lambda F, x: F.relu(x)),
    Example("leaky_relu", f.leaky_relu, (x234,), lambda F, x: F.leaky_relu(x)),
    Example("leaky_relu steep", f.leaky_relu, (x234,), lambda F, x: F.leaky_relu(x, 0.3), {"negative_slope": 0.3}),
    Example("elu", f.elu, (x234,), lambda F, x: F.elu(x, 1.5), {"alpha": 1.5}),
    Example("selu", f.selu, (x234,), lambda F, x: F.selu(x)),
    Example("relu6", f.relu6, (x234 * 5,), lambda F, x: F.relu6(x)),
    Example("celu", f.celu, (x234,), lambda F, x: F.celu(x, 0.5), {"alpha": 0.5}),
    Example("prelu", f.prelu, (x234, n(4)), lambda F, x, w: F.prelu(x.movedim(-1, 1), w).movedim(1, -1)),
    Example("prelu one", f.prelu, (x234, n()), lambda F, x, w: F.prelu(x, w[None])),
    Example("prelu shared", f.prelu, (x234, n(1, 4)), lambda F, x, w: x.clamp(min=0) + w * x.clamp(max=0)),
    Example("exponential", f.exponential, (x234,), lambda F, x: x.exp()),
    Example("softsign", f.softsign, (x234,), lambda F, x: F.softsign(x)),
    Example("hard_sigmoid", f.hard_sigmoid, (x234 * 4,), lambda F, x: (x + 3).clamp(0, 6) / 6),
    Example("hard_silu", f.hard_silu, (x234 * 4,), lambda F, x: F.hardswish(x)),
    Example("hard_tanh", f.hard_tanh, (x234,), lambda F, x: F.hardtanh(x)),
    Example("mish", f.mish, (x234,), lambda F, x: F.mish(x)),
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
    Example("bilinear", f.bilinear, (n(2, 3, 4), n(2, 3, 5), n(4, 5, 6), n(6)), lambda F, x, u, w, b: F.bilinear(x, u, w.movedim(-1, 0), b)),
    Example("bilinear vectors", f.bilinear, (n(4), n(5), n(4, 5, 6)), lambda F, x, u, w: (x[:, None, None] * w * u[:, None]).sum((0, 1))),
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
    Example("unit_normalization", f.unit_normalization, (x234,), lambda F, x: F.normalize(x, dim=-1)),
    Example("unit_normalization axis 0", f.unit_normalization, (x234,), lambda F, x: F.normalize(x, dim=0), {"axis": 0}),
    Example("batch_normalization", f.batch_normalization, (n(3, 2, 4), n(4), n(4)), batch_norm),
    Example("batch_normalization_inference", f.batch_normalization_inference, (n(3, 4), n(4), n(4), n(4), positive(4)), lambda F, x, w, b, m, v: (x - m) / (v + 1e-5).sqrt() * w + b),
    Example("mean_squared_error", losses.mean_squared_error, (n(6, 5), logits), lambda F, y, z: F.mse_loss(z, y)),
    Example("mean_absolute_error", losses.mean_absolute_error, (n(6, 5), logits), lambda F, y, z: F.l1_loss(z, y)),
    Example("mean_absolute_percentage_error", losses.mean_absolute_percentage_error, (n(6, 5), logits), lambda F, y, z: 100 * ((z - y) / y).abs().mean()),
    Example("mean_squared_logarithmic_error", losses.mean_squared_logarithmic_error, (n(6, 5), logits), lambda F, y, z: F.mse_loss(z.clamp(min=0).log1p(), y.clamp(min=0).log1p())),
    Example("huber", losses.huber, (n(6, 5), logits), lambda F, y, z: F.huber_loss(z, y, delta=0.7), {"delta": 0.7}),
    Example("log_cosh", losses.log_cosh, (n(6, 5), logits), lambda F, y, z: (z - y).cosh().log().mean()),
    Example("poisson", losses.poisson, (counts, positive(6, 5)), lambda F, y, z: F.poisson_nll_loss(z, y, log_input=False, eps=0)),
    Example("poisson of log", losses.poisson, (counts, logits), lambda F, y, z: F.poisson_nll_loss(z, y), {"log_input": True}),
    Example("cosine_similarity", losses.cosine_similarity, (n(6, 5), logits), lambda F, y, z: -F.cosine_similarity(y, z).mean()),
    Example("binary_crossentropy", losses.binary_crossentropy, (onehot, logits), lambda F, y, z: F.binary_cross_entropy_with_logits(z, y.double())),
    Example("binary_crossentropy soft", losses.binary_crossentropy, (shares(6, 5), logits), lambda F, y, z: F.binary_cross_entropy_with_logits(z, y)),
    Example("binary_crossentropy pos", losses.binary_crossentropy, (onehot, logits), lambda F, y, z: F.binary_cross_entropy_with_logits(z, y.double(), pos_weight=z.new_tensor(3.0)), {"pos_weight": 3.0}),
    Example("binary_crossentropy of p", losses.binary_crossentropy, (onehot, shares(6, 5)), lambda F, y, p: F.binary_cross_entropy(p, y.double()), {"from_logits": False}),
    Example("binary_focal_crossentropy", losses.binary_focal_crossentropy, (onehot, logits), lambda F, y, z: focal(F, y, z.sigmoid(), 2).mean()),
    Example("binary_focal_crossentropy balanced", losses.binary_focal_crossentropy, (onehot, logits), lambda F, y, z: ((0.7 - 0.4 * y.double()) * focal(F, y, z.sigmoid(), 1.5)).mean(), {"gamma": 1.5, "alpha": 0.3, "apply_class_balancing": True}),
    Example("binary_focal_crossentropy of p", losses.binary_focal_crossentropy, (onehot, shares(6, 5)), lambda F, y, p: focal(F, y, p, 2).mean(), {"from_logits": False}),
    Example("hinge", losses.hinge, (2 * onehot - 1, logits), lambda F, y, z: F.relu(1 - y * z).mean()),
    Example("squared_hinge", losses.squared_hinge, (onehot, logits), lambda F, y, z: (F.relu(1 - (2 * y - 1) * z) ** 2).mean()),
    Example("categorical_crossentropy", losses.categorical_crossentropy, (labels, logits), lambda F, y, z: F.cross_entropy(z, y)),
    Example("categorical_crossentropy smoothed", losses.categorical_crossentropy, (labels, logits), lambda F, y, z: F.cross_entropy(z, y, label_smoothing=0.1), {"label_smoothing": 0.1}),
    Example("categorical_crossentropy one-hot", losses.categorical_crossentropy, (onehot, logits), lambda F, y, z: F.cross_entropy(z, y.double())),
    Example("categorical_crossentropy soft", losses.categorical_crossentropy, (shares(6, 5), logits), lambda F, y, z: cross_entropy(F, y, z).mean()),
    Example("categorical_crossentropy of p", losses.categorical_crossentropy, (labels, shares(6, 5)), lambda F, y, p: F.nll_loss(p.log(), y), {"from_logits": False}),
    Example("sparse_categorical_crossentropy", losses.sparse_categorical_crossentropy, (labels[:, None], logits), lambda F, y, z: F.cross_entropy(z, y[:, 0])),
    Example("categorical_focal_crossentropy", losses.categorical_focal_crossentropy, (labels, logits), lambda F, y, z: 0.25 * focal(F, 1, z.softmax(-1).gather(1, y[:, None]), 2).mean()),
    Example("categorical_focal_crossentropy of p", losses.categorical_focal_crossentropy, (onehot, shares(6, 5)), lambda F, y, p: (y * focal(F, 1, p, 3)).sum(-1).mean(), {"gamma": 3.0, "alpha": 1.0, "from_logits": False}),
    Example("categorical_hinge", losses.categorical_hinge, (labels, logits), lambda F, y, z: F.relu(1 + (z * (1 - F.one_hot(y, 5))).amax(-1) - z.gather(1, y[:, None])[:, 0]).mean()),
    Example("kl_divergence", losses.kl_divergence, (shares(6, 5), logits), lambda F, y, z: F.kl_div(z.log_softmax(-1), y, reduction="batchmean")),
    Example("kl_divergence of p", losses.kl_divergence, (shares(6, 5), shares(6, 5)), lambda F, y, p: F.kl_div(p.log(), y, reduction="batchmean"), {"from_logits": False}),
]  # fmt: skip
