"""Losses: loss(y_true, y_pred), a number to make small. Their gradients stand beside them.

Functions return the mean over the batch; reduction="none" gives one value an example. Weights: Σ w·ℓ/Σ w. An empty batch,
or one whose examples are all ignored, has loss 0 and gradient 0. Classes (`CategoricalCrossentropy`, …) hold the options.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ann.autodiff import primitive
from ann.functions import log_softmax, sigmoid, softplus
from backends import host, library_of, namespace
from backends.gaps import device

Array = Any


@primitive
def _cross_entropy(z: Array, target: Array) -> Any:
    """ℓ = −Σ t·log softmax(z)  along the last axis.      dz = dℓ·(softmax(z)·Σ t − t)"""
    xp = namespace(z, target)
    logp = log_softmax(z)
    return -xp.sum(target * logp, axis=-1), lambda dy: xp.expand_dims(dy, axis=-1) * (xp.exp(logp) * xp.sum(target, axis=-1, keepdims=True) - target), None


@primitive
def _negative_log(p: Array, target: Array) -> Any:
    """ℓ = −Σ t·max(log p, −100)  along the last axis.      dp = −dℓ·t/p, the logarithm's own gradient"""
    xp = namespace(p, target)
    safe = xp.where(p > 0, p, xp.ones_like(p))
    logp = xp.where(p > 0, xp.maximum(xp.log(safe), -100.0), xp.full_like(p, -100.0))
    floor = math.exp(-100.0) if "64" in str(p.dtype) else 1e-37  # 1/p must not overflow
    return -xp.sum(target * logp, axis=-1), lambda dy: -xp.expand_dims(dy, axis=-1) * target / xp.maximum(p, floor), None


@primitive
def _binary_from_logits(z: Array, y: Array) -> Any:
    """ℓ = log(1 + eᶻ) − z·y      dz = dℓ·(σ(z) − y)"""
    return softplus(z) - z * y, lambda dy: dy * (sigmoid(z) - y), None


@primitive
def _huber(d: Array, *, delta: float) -> Any:
    """h = c·(d − ½c), c = min(max(d, −δ), δ): ½d² where |d| ≤ δ, else δ·(|d| − ½δ)      dd = dh·c"""
    xp = namespace(d)
    c = xp.minimum(xp.maximum(d, -delta), delta)
    return c * (d - 0.5 * c), lambda dy: dy * c


def categorical_crossentropy(
    y_true: Array, y_pred: Array, *, from_logits: bool = True, label_smoothing: float = 0.0, ignore_class: int | None = None,
    sample_weight: Array | None = None, reduction: str = "mean",
) -> Array:  # fmt: skip
    """ℓ = −Σₖ tₖ·log pₖ,  p = softmax(y_pred), t = (1 − s)·y_true + s/K.      dz = p − t for each example

    y_pred (n, …, k): logits (probabilities with from_logits=False, whose logarithm is held above −100).
    y_true: integers (n, …) or (n, …, 1) are class indices; floats (n, …, k) probabilities; integers (n, …, k) one-hot.
    s: label_smoothing; ignore_class: examples with this label do not count. ValueError for other shapes.
    """
    xp = namespace(y_true, y_pred)
    _floating(y_pred, "categorical_crossentropy")
    k = y_pred.shape[-1]
    valid = None
    if is_indices(y_true, y_pred):
        index = xp.squeeze(y_true, axis=-1) if y_true.ndim == y_pred.ndim else y_true
        classes = xp.arange(k, device=device(index))
        index = index if index.dtype == classes.dtype else xp.astype(index, classes.dtype)  # 1000 classes do not fit uint8
        if ignore_class is not None:
            valid = index != ignore_class
        target = xp.astype(xp.expand_dims(index, axis=-1) == classes, y_pred.dtype)
    else:
        if tuple(y_true.shape) != tuple(y_pred.shape):
            raise ValueError(
                f"categorical_crossentropy: y_true {_show(y_true)}, y_pred {tuple(y_pred.shape)}; wanted: integer labels "
                f"{tuple(y_pred.shape[:-1])}, or probabilities or one-hot labels {tuple(y_pred.shape)}. Is the order (y_true, y_pred)?"
            )
        target = y_true if xp.isdtype(y_true.dtype, "real floating") else xp.astype(y_true, y_pred.dtype)
    if label_smoothing:
        target = (1.0 - label_smoothing) * target + label_smoothing / k
    each = _cross_entropy(y_pred, target) if from_logits else _negative_log(y_pred, target)
    return reduce(each, sample_weight, valid, reduction)


def sparse_categorical_crossentropy(y_true: Array, y_pred: Array, **options: Any) -> Array:
    """`categorical_crossentropy` that insists on integer labels (n, …) or (n, …, 1)."""
    if not is_indices(y_true, y_pred):
        raise ValueError(f"sparse_categorical_crossentropy: y_true must hold integer labels (n, …), it is {_show(y_true)}. Is the order (y_true, y_pred)?")
    return categorical_crossentropy(y_true, y_pred, **options)


def binary_crossentropy(
    y_true: Array, y_pred: Array, *, from_logits: bool = True, label_smoothing: float = 0.0, sample_weight: Array | None = None, reduction: str = "mean"
) -> Array:  # fmt: skip
    """ℓ = −y·log p − (1 − y)·log(1 − p),  p = σ(z): written softplus(z) − z·y.      dz = σ(z) − y

    y_true and y_pred (n, …): the mean over all but the first axis is one example's loss. from_logits=False takes p.
    """
    xp = namespace(y_true, y_pred)
    y = _alike(y_true, y_pred, "binary_crossentropy")
    if label_smoothing:
        y = y * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        each = _binary_from_logits(y_pred, y)
    else:
        pair = xp.stack([y_pred, 1.0 - y_pred], axis=-1)
        each = _negative_log(pair, xp.stack([y, 1.0 - y], axis=-1))
    return reduce(per_example(each), sample_weight, None, reduction)


def mean_squared_error(y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, reduction: str = "mean") -> Array:
    """ℓ = mean (y_pred − y_true)²      dy_pred = 2·(y_pred − y_true)/size"""
    d = y_pred - _alike(y_true, y_pred, "mean_squared_error")
    return reduce(per_example(d * d), sample_weight, None, reduction)


def mean_absolute_error(y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, reduction: str = "mean") -> Array:
    """ℓ = mean |y_pred − y_true|      dy_pred = ±1/size, 0 where they are equal"""
    xp = namespace(y_true, y_pred)
    return reduce(per_example(xp.abs(y_pred - _alike(y_true, y_pred, "mean_absolute_error"))), sample_weight, None, reduction)


def huber(y_true: Array, y_pred: Array, *, delta: float = 1.0, sample_weight: Array | None = None, reduction: str = "mean") -> Array:
    """ℓ = mean h(d), d = y_pred − y_true: h = ½d² where |d| ≤ δ, else δ·(|d| − ½δ)      dy_pred = min(max(d, −δ), δ)/size      Huber 1964"""
    d = y_pred - _alike(y_true, y_pred, "huber")
    return reduce(per_example(_huber(d, delta=delta)), sample_weight, None, reduction)


# ------------------------------------------------------------------------------------------------------- together


def per_example(values: Array) -> Array:
    """The mean over all axes but the first."""
    return values if values.ndim <= 1 else namespace(values).mean(values, axis=tuple(range(1, values.ndim)))


def reduce(each: Array, weight: Array | None, valid: Array | None, reduction: str) -> Array:
    """Σ w·ℓ/Σ w over the examples that count; "none": w·ℓ; "sum": Σ w·ℓ; "sums": (Σ w·ℓ, Σ w); "sum_over_batch_size": Σ w·ℓ/n (Keras)."""
    xp = namespace(each)
    w = None if valid is None else xp.astype(valid, each.dtype)
    if weight is not None:
        weight = weight if weight.dtype == each.dtype else xp.astype(weight, each.dtype)
        weight = xp.reshape(weight, (*weight.shape, *(1,) * (each.ndim - weight.ndim)))
        w = weight if w is None else w * weight
    weighted = each if w is None else each * w
    if reduction == "none":
        return weighted
    total = xp.sum(weighted)
    if reduction == "sum":
        return total
    size = 1
    for n in each.shape:
        size *= n
    if reduction == "sum_over_batch_size" or (reduction == "mean" and w is None):
        return total / float(max(size, 1))
    if reduction not in ("mean", "sums"):
        raise ValueError(f'reduction is "mean", "sum", "sums", "sum_over_batch_size" or "none"; {reduction!r} came')
    count = xp.full((), float(size), dtype=each.dtype, device=device(each)) if w is None else xp.sum(xp.broadcast_to(w, tuple(each.shape)))
    return (total, count) if reduction == "sums" else total / xp.where(count > 0, count, xp.ones_like(count))


def sums(loss: Any, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> tuple[Array, Array]:
    """(Σ w·ℓ, Σ w) of a loss over a batch, which add up over batches. One that is no weighted mean counts once an example."""
    if dataclasses.is_dataclass(loss) and getattr(loss, "reduction", None) == "mean":
        summed: Any = dataclasses.replace(loss, reduction="sums")  # type: ignore[type-var]
        return summed(y_true, y_pred, sample_weight=sample_weight)  # type: ignore[no-any-return]
    value = loss(y_true, y_pred, sample_weight=sample_weight)
    n = float(y_pred.shape[0])
    return value * n, namespace(value).full((), n, dtype=value.dtype, device=device(value))


def is_indices(y_true: Array, y_pred: Array) -> bool:
    """Whether labels are class indices: integers without the class axis, or with a 1 there."""
    xp = namespace(y_true)
    if not xp.isdtype(y_true.dtype, "integral"):
        return False
    lead = tuple(y_pred.shape[:-1])
    return tuple(y_true.shape) == lead or (tuple(y_true.shape) == (*lead, 1) and y_pred.shape[-1] != 1)


def _alike(y_true: Array, y_pred: Array, name: str) -> Array:
    """The targets in the dtype of the predictions; ValueError unless the shapes agree: (n,) against (n, 1) would broadcast."""
    _floating(y_pred, name)
    if tuple(y_true.shape) != tuple(y_pred.shape):
        raise ValueError(f"{name}: y_true has shape {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}; they must agree")
    return y_true if y_true.dtype == y_pred.dtype else namespace(y_true).astype(y_true, y_pred.dtype)


def _floating(y_pred: Array, name: str) -> None:
    if not namespace(y_pred).isdtype(y_pred.dtype, "real floating"):
        raise TypeError(f"{name}: y_pred holds floats, it is {_show(y_pred)}. Is the order (y_true, y_pred)?")


def check_labels(y: Array, k: int, loss: str, name: str) -> None:
    """Integer labels must be 0 … k − 1; the first that is not is named. On the host, once a data set."""
    labels = library_of(y).fetch(y)
    bad = (labels < 0) | (labels >= k)
    if labels.size and bad.any():
        row = int(host.argwhere(bad)[0][0])
        worst = int(labels[row].reshape(-1)[0])
        low, high = int(labels.min()), int(labels.max())
        advice = "Labels count from 0."
        if low >= 0:
            advice = f"Labels count from 0; make the last layer Dense({high + 1}){', or subtract 1' if high == k else ''}."
        raise ValueError(f"{loss}: {name} has labels {low}…{high} for {k} outputs (first at row {row}: {worst}). {advice}")


def _show(x: Array) -> str:
    return f"{str(x.dtype).rpartition('.')[2]} {tuple(x.shape)}"


@dataclass(frozen=True)
class CategoricalCrossentropy:
    """`categorical_crossentropy` with its options."""

    from_logits: bool = True
    label_smoothing: float = 0.0
    ignore_class: int | None = None
    reduction: str = "mean"
    link: ClassVar[str] = "softmax"
    labels: ClassVar[str] = "classes"
    function: ClassVar[Callable[..., Any]] = staticmethod(categorical_crossentropy)

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        return type(self).function(
            y_true, y_pred, from_logits=self.from_logits, label_smoothing=self.label_smoothing, ignore_class=self.ignore_class,
            sample_weight=sample_weight, reduction=self.reduction,
        )  # fmt: skip


@dataclass(frozen=True)
class SparseCategoricalCrossentropy(CategoricalCrossentropy):
    """`sparse_categorical_crossentropy` with its options."""

    function: ClassVar[Callable[..., Any]] = staticmethod(sparse_categorical_crossentropy)


@dataclass(frozen=True)
class BinaryCrossentropy:
    """`binary_crossentropy` with its options."""

    from_logits: bool = True
    label_smoothing: float = 0.0
    reduction: str = "mean"
    link: ClassVar[str] = "sigmoid"
    labels: ClassVar[str] = "values"

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        return binary_crossentropy(
            y_true, y_pred, from_logits=self.from_logits, label_smoothing=self.label_smoothing, sample_weight=sample_weight, reduction=self.reduction
        )  # fmt: skip


@dataclass(frozen=True)
class MeanSquaredError:
    """`mean_squared_error` with its options."""

    reduction: str = "mean"
    labels: ClassVar[str] = "values"

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        return mean_squared_error(y_true, y_pred, sample_weight=sample_weight, reduction=self.reduction)


@dataclass(frozen=True)
class MeanAbsoluteError:
    """`mean_absolute_error` with its options."""

    reduction: str = "mean"
    labels: ClassVar[str] = "values"

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        return mean_absolute_error(y_true, y_pred, sample_weight=sample_weight, reduction=self.reduction)


@dataclass(frozen=True)
class Huber:
    """`huber` with its options."""

    delta: float = 1.0
    reduction: str = "mean"
    labels: ClassVar[str] = "values"

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        return huber(y_true, y_pred, delta=self.delta, sample_weight=sample_weight, reduction=self.reduction)


@dataclass(frozen=True)
class Custom:
    """A user's f(y_true, y_pred) → (n,) or scalar as a loss."""

    function: Callable[[Array, Array], Array]
    reduction: str = "mean"

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Any:
        each = self.function(y_true, y_pred)
        if each.ndim == 0:
            if sample_weight is not None:
                raise ValueError(f"the loss {self.function!r} returns a scalar, so examples cannot be weighted; return one value an example, (n,)")
            each = namespace(each).broadcast_to(each, (y_pred.shape[0],)) if self.reduction == "sums" else each
        return reduce(per_example(each), sample_weight, None, self.reduction)


LOSSES: dict[str, Callable[[], Any]] = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "huber": Huber,
}
_BY_FUNCTION = {f: name for name, f in (
    ("categorical_crossentropy", categorical_crossentropy), ("sparse_categorical_crossentropy", sparse_categorical_crossentropy),
    ("binary_crossentropy", binary_crossentropy), ("mse", mean_squared_error), ("mae", mean_absolute_error), ("huber", huber),
)}  # fmt: skip


def get(loss: Any) -> Any:
    """The loss of this name; an object or function (y_true, y_pred) → (n,) or scalar as it is. ValueError with the nearest name."""
    if isinstance(loss, str):
        if loss in LOSSES:
            return LOSSES[loss]()
        nearest = difflib.get_close_matches(loss, LOSSES, 1)
        hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
        raise ValueError(f'unknown loss "{loss}".{hint} There are {", ".join(LOSSES)}.')
    if isinstance(loss, type):
        raise TypeError(f"{loss.__name__} is a class; write {loss.__name__}()")
    if not callable(loss):
        raise TypeError(f"a loss is a name, an object or a function (y_true, y_pred); {loss!r} came")
    if hasattr(loss, "labels"):
        return loss
    return LOSSES[_BY_FUNCTION[loss]]() if loss in _BY_FUNCTION else Custom(loss)


__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
]
