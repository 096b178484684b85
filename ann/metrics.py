"""Metrics: how good predictions are, metric(y_true, y_pred). y_pred are predictions (probabilities), not logits.

There are three kinds, told apart by what a metric has:

    a mean     metric(y_true, y_pred) → one value an example (n,), or a number: averaged over the examples, by their weights
    of sums    metric.sums(y_true, y_pred, sample_weight) → {name: array}, to be added over the batches, on the device;
               metric.value(sums) → a number                                       precision, recall, F1, RMSE, …
    of all     metric.whole is True: metric(y_true, y_pred, sample_weight) → a number, of all examples at once   AUC, R²

A label that is no class (such as one that the loss ignores) is never predicted rightly.

Those of sums and of all are plain functions of whole arrays too: ann.metrics.precision(y, p), ann.metrics.AUC()(y, p).
Counts and sums are in the dtype of y_pred; nothing is read by the host.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ann import losses
from ann.losses import LOSSES, WithOptions, alike, cast, floating, is_indices, one_hot
from ann.names import choose, snake_case
from backends import namespace
from backends.gaps import scatter_add

Array = Any

# ----------------------------------------------------------------------------------------------------------------- means


def accuracy(y_true: Array, y_pred: Array) -> Array:
    """1 where the prediction is right, else 0: the largest of k outputs against the label, or one output against ½."""
    if y_pred.ndim > 1 and y_pred.shape[-1] > 1 and (is_indices(y_true, y_pred) or tuple(y_true.shape) == tuple(y_pred.shape)):
        return categorical_accuracy(y_true, y_pred)
    return binary_accuracy(y_true, y_pred)


def categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """1 where argmax y_pred is the class; y_true integers (n, …), or one-hot or probabilities (n, …, k)."""
    xp = namespace(y_true, y_pred)
    found = xp.argmax(y_pred, axis=-1)
    return xp.astype(xp.astype(_classes(y_true, y_pred, "categorical_accuracy"), found.dtype) == found, y_pred.dtype)


def binary_accuracy(y_true: Array, y_pred: Array, *, threshold: float = 0.5) -> Array:
    """1 where y_pred > threshold agrees with y_true > ½, elementwise; of one shape."""
    xp = namespace(y_true, y_pred)
    return xp.astype((y_pred > threshold) == (alike(y_true, y_pred, "binary_accuracy") > 0.5), y_pred.dtype)


def sparse_categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """`categorical_accuracy` that insists on integer labels (n, …) or (n, …, 1)."""
    if not is_indices(y_true, y_pred):
        raise _misfit(y_true, y_pred, "sparse_categorical_accuracy", f"integer labels {tuple(y_pred.shape[:-1])}")
    return categorical_accuracy(y_true, y_pred)


def top_k_categorical_accuracy(y_true: Array, y_pred: Array, *, k: int = 5) -> Array:
    """1 where fewer than k outputs are larger than that of the class; labels as for `categorical_accuracy`."""
    xp = namespace(y_true, y_pred)
    right = one_hot(_classes(y_true, y_pred, "top_k_categorical_accuracy"), y_pred)
    chosen = xp.sum(xp.where(right > 0, y_pred, 0.0), axis=-1, keepdims=True)
    return xp.astype(xp.sum(xp.astype(y_pred > chosen, xp.int32), axis=-1) < k, y_pred.dtype)


def mean_squared_error(y_true: Array, y_pred: Array) -> Array:
    """The mean of (y_pred − y_true)² of each example; of one shape."""
    return losses.mean_squared_error(y_true, y_pred, reduction="none")  # type: ignore[no-any-return]


def mean_absolute_error(y_true: Array, y_pred: Array) -> Array:
    """The mean of |y_pred − y_true| of each example; of one shape."""
    return losses.mean_absolute_error(y_true, y_pred, reduction="none")  # type: ignore[no-any-return]


def cosine_similarity(y_true: Array, y_pred: Array) -> Array:
    """cos ∠(y_true, y_pred) over the last axis: the loss of this name is its negative, as in Keras."""
    return -losses.cosine_similarity(y_true, y_pred, reduction="none")


@typing.dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class Metric:
    """What metrics with options have in common. name: how History and Scores call it; None is the class in snake case."""

    name: str | None = field(default=None, kw_only=True)


class Mean(Metric, WithOptions):
    """A function that gives one value an example, with its options: class Near(Mean, of=near): radius: float = 1.0"""

    def __call__(self, y_true: Array, y_pred: Array) -> Array:
        return type(self).function(y_true, y_pred, **{name: value for name, value in self.options.items() if name != "name"})


class BinaryAccuracy(Mean, of=binary_accuracy):
    threshold: float = 0.5


class CategoricalAccuracy(Mean, of=categorical_accuracy):
    pass


class SparseCategoricalAccuracy(Mean, of=sparse_categorical_accuracy):
    pass


class TopKCategoricalAccuracy(Mean, of=top_k_categorical_accuracy):
    k: int = 5


class MeanSquaredError(Mean, of=mean_squared_error):
    pass


class MeanAbsoluteError(Mean, of=mean_absolute_error):
    pass


class CosineSimilarity(Mean, of=cosine_similarity):
    pass


def of_loss(loss: type[losses.Loss]) -> Callable[..., Array]:
    """A loss as a metric: one value an example, of predictions (probabilities)."""
    options = {item.name for item in fields(loss)}
    return loss(reduction="none", **({"from_logits": False} if "from_logits" in options else {}))


# --------------------------------------------------------------------------------------------------------------- of sums


@dataclass(frozen=True)
class Sums(Metric):
    """A metric that is a function of sums over the examples: subclasses define `sums` and `value`."""

    def sums(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> dict[str, Array]:
        """The sums over these examples; those of several batches are added."""
        raise NotImplementedError

    def value(self, sums: dict[str, Array]) -> Array:
        """The metric, from the sums over all examples."""
        raise NotImplementedError

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        return self.value(self.sums(y_true, y_pred, sample_weight))


@dataclass(frozen=True)
class RootMeanSquaredError(Sums):
    """√(Σ w·(y_pred − y_true)²/Σ w)"""

    def sums(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> dict[str, Array]:
        xp = namespace(y_true, y_pred)
        each = mean_squared_error(y_true, y_pred)
        w = _weights(sample_weight, each)
        return {"squares": xp.sum(w * each), "weights": xp.sum(w)}

    def value(self, sums: dict[str, Array]) -> Array:
        return namespace(sums["squares"]).sqrt(_ratio(sums["squares"], sums["weights"]))


@dataclass(frozen=True)
class _OfDecisions(Sums):
    """A share of right decisions, for each class and then on average.

    y_pred (n,) or (n, …, 1): one class, predicted where y_pred > threshold (None: ½). y_pred (n, …, k): the largest output
    is the class; with a threshold each output is a decision of its own (several labels at once, y_true of the same shape).
    average over the classes that occur: "macro", each counts the same; "weighted", by its examples; "micro": all decisions
    are counted together; None: one value a class, (k,). A share of nothing is 0. All as in scikit-learn.
    """

    average: str | None = "macro"
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.average not in ("macro", "micro", "weighted", None):
            raise ValueError(f'{type(self).__name__}: average is "macro", "micro", "weighted" or None, {self.average!r} came')

    def share(self, right: Array, predicted: Array, true: Array) -> Array:
        """The metric of each class: of counts (k,), how often it was predicted rightly, predicted, and true."""
        raise NotImplementedError

    def sums(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> dict[str, Array]:
        xp = namespace(y_true, y_pred)
        y, p, w = _columns(y_true, y_pred, sample_weight, snake_case(type(self).__name__))
        if p.shape[-1] > 1 and self.threshold is None:
            found = one_hot(xp.argmax(p, axis=-1), p)
        else:
            found = xp.astype(p > (0.5 if self.threshold is None else self.threshold), p.dtype)
        found_w, y_w = (found, y) if w is None else (found * w, y * w)
        return {"right": xp.sum(found_w * y, axis=0), "predicted": xp.sum(found_w, axis=0), "true": xp.sum(y_w, axis=0)}

    def value(self, sums: dict[str, Array]) -> Array:
        right, predicted, true = sums["right"], sums["predicted"], sums["true"]
        xp = namespace(right)
        if self.average == "micro":
            return self.share(xp.sum(right), xp.sum(predicted), xp.sum(true))
        each = self.share(right, predicted, true)
        if self.average is None:
            return each
        w = true if self.average == "weighted" else xp.astype(predicted + true > 0, each.dtype)
        return _ratio(xp.sum(w * each), xp.sum(w))


@dataclass(frozen=True)
class Precision(_OfDecisions):
    """right/predicted: the share of what was predicted as a class that is of this class."""

    def share(self, right: Array, predicted: Array, true: Array) -> Array:
        return _ratio(right, predicted)


@dataclass(frozen=True)
class Recall(_OfDecisions):
    """right/true: the share of a class that was found."""

    def share(self, right: Array, predicted: Array, true: Array) -> Array:
        return _ratio(right, true)


@dataclass(frozen=True)
class FBetaScore(_OfDecisions):
    """F = (1 + β²)·right/(predicted + β²·true): the harmonic mean of precision and recall, recall counting β² times."""

    beta: float = 1.0

    def share(self, right: Array, predicted: Array, true: Array) -> Array:
        b = self.beta * self.beta
        return _ratio((1.0 + b) * right, predicted + b * true)


@dataclass(frozen=True)
class F1Score(FBetaScore):
    """F₁ = 2·right/(predicted + true), the harmonic mean of precision and recall."""

    beta: float = field(default=1.0, init=False)


@dataclass(frozen=True)
class ConfusionMatrix(Sums):
    """c[i, j]: how many examples of class i were taken for class j, by weight; (k, k).

    Outputs as for precision (one output: the classes are 0 and 1); or classes, integers (n,), where `classes` says how many.
    normalize: "true" divides each row by its sum, "pred" each column, "all" by the sum of all.
    """

    classes: int | None = None
    threshold: float = 0.5
    normalize: str | None = None

    def __post_init__(self) -> None:
        if self.normalize not in ("true", "pred", "all", None):
            raise ValueError(f'ConfusionMatrix: normalize is "true", "pred", "all" or None, {self.normalize!r} came')

    def sums(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> dict[str, Array]:
        xp = namespace(y_true, y_pred)
        k = self.classes
        if xp.isdtype(y_pred.dtype, "real floating"):
            y, p, w = _columns(y_true, y_pred, sample_weight, "confusion_matrix")
            k = max(p.shape[-1], 2)
            if p.shape[-1] == 1:
                truth, found = xp.astype(y[:, 0], xp.int32), xp.astype(p[:, 0] > self.threshold, xp.int32)
            else:
                truth, found = xp.argmax(y, axis=-1), xp.argmax(p, axis=-1)
            weight = _weights(None if w is None else w[:, 0], p)
        else:
            if k is None:
                raise ValueError("confusion_matrix: y_pred holds integers, so classes= says how many there are")
            if tuple(y_true.shape) != tuple(y_pred.shape):
                raise _misfit(y_true, y_pred, "confusion_matrix", f"classes {tuple(y_pred.shape)}")
            truth, found = (xp.reshape(a, (-1,)) for a in (y_true, y_pred))
            weight = xp.ones_like(truth) if sample_weight is None else sample_weight
        pairs = xp.astype(truth, xp.int32) * k + xp.astype(found, xp.int32)
        return {"counts": xp.reshape(scatter_add(weight, pairs, length=k * k), (k, k))}

    def value(self, sums: dict[str, Array]) -> Array:
        counts = sums["counts"]
        if self.normalize is None:
            return counts
        return _ratio(counts, namespace(counts).sum(counts, axis={"true": 1, "pred": 0, "all": None}[self.normalize], keepdims=True))


def confusion_matrix(
    y_true: Array, y_pred: Array, *, classes: int | None = None, sample_weight: Array | None = None, normalize: str | None = None
) -> Array:  # fmt: skip
    """`ConfusionMatrix` of whole arrays: c[i, j], how many examples of class i were taken for class j."""
    return ConfusionMatrix(classes, normalize=normalize)(y_true, y_pred, sample_weight)


# ---------------------------------------------------------------------------------------------------------------- of all


@dataclass(frozen=True)
class AUC(Metric):
    """The exact area under a curve over all thresholds, by sorting; equal scores count half, weights count.

    "ROC": the probability that a positive example has a higher score than a negative one: Σ w₊·(W₋(<s) + ½·W₋(=s))/(W₊·W₋).
    "PR": average precision, Σ w₊·W₊(≥s)/W(≥s)/W₊. For k outputs the mean over the classes, each against the rest.
    NaN where a class has no examples, or (ROC) only such. As scikit-learn's roc_auc_score and average_precision_score.
    """

    curve: str = "ROC"
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.curve not in ("ROC", "PR"):
            raise ValueError(f'AUC: curve is "ROC" or "PR", {self.curve!r} came')

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        xp = namespace(y_true, y_pred)
        y, p, w = _columns(y_true, y_pred, sample_weight, "auc")
        w = _weights(None if w is None else w[:, 0], p)
        area = _under_roc if self.curve == "ROC" else _average_precision
        return xp.mean(xp.stack([area(p[:, j], y[:, j] * w, (1.0 - y[:, j]) * w) for j in range(p.shape[-1])]))


def _under_roc(s: Array, positive: Array, negative: Array) -> Array:
    """P(a positive has a higher score than a negative), from scores and weights (n,)."""
    xp = namespace(s, positive, negative)
    s, positive, negative = _ranked(s, positive, negative)
    w = xp.cumulative_sum(negative, include_initial=True)
    below, up_to = (xp.take(w, xp.searchsorted(s, s, side=side)) for side in ("left", "right"))
    return _ratio(xp.sum(positive * _ratio(0.5 * (below + up_to), xp.sum(negative), math.nan)), xp.sum(positive), math.nan)


def _average_precision(s: Array, positive: Array, negative: Array) -> Array:
    """The mean over the positives of the precision at their score."""
    xp = namespace(s, positive, negative)
    s, positive, negative = _ranked(s, positive, negative)
    first = xp.searchsorted(s, s, side="left")
    right, all_ = (xp.sum(w) - xp.take(xp.cumulative_sum(w, include_initial=True), first) for w in (positive, positive + negative))
    return _ratio(xp.sum(positive * _ratio(right, all_)), xp.sum(positive), math.nan)


def _ranked(s: Array, *weights: Array) -> list[Array]:
    """The scores and weights in the order of the scores."""
    xp = namespace(s, *weights)
    order = xp.argsort(s)
    return [xp.take(a, order) for a in (s, *weights)]


@dataclass(frozen=True)
class R2Score(Metric):
    """R² = 1 − Σ w·(y_pred − y_true)²/Σ w·(y_true − ȳ)², averaged over the outputs; 1 is perfect, 0 as good as the mean ȳ.

    In two passes: Σ y² − n·ȳ² would lose all digits of targets far from 0. A constant target gives 1 where it is met, else 0.
    """

    whole: ClassVar[bool] = True

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        xp = namespace(y_true, y_pred)
        y = alike(y_true, y_pred, "r2_score")
        y, p = (xp.reshape(a, (-1, math.prod(a.shape[1:]))) for a in (y, y_pred))
        w = xp.expand_dims(_weights(sample_weight, y), axis=-1)
        total = xp.sum(w)
        d = y - xp.sum(w * y, axis=0) / total
        d = d - xp.sum(w * d, axis=0) / total  # centred twice: the mean itself is rounded
        rest, spread = xp.sum(w * (p - y) * (p - y), axis=0), xp.sum(w * d * d, axis=0)
        met = xp.astype(rest == 0, rest.dtype)
        return xp.mean(xp.where(spread > 0, 1.0 - _ratio(rest, spread), met))


precision, recall, f1_score = Precision(), Recall(), F1Score()
root_mean_squared_error, r2_score, auc = RootMeanSquaredError(), R2Score(), AUC()

# -------------------------------------------------------------------------------------------------------------- together


def _columns(y_true: Array, y_pred: Array, sample_weight: Array | None, name: str) -> tuple[Array, Array, Array | None]:
    """(truth, outputs, weights) as (m, k), (m, k), (m, 1) or None: a column a class, k = 1 for one output; truth is 0 or 1."""
    xp = namespace(y_true, y_pred)
    floating(y_pred, name)
    lead, k = (tuple(y_pred.shape[:-1]), y_pred.shape[-1]) if y_pred.ndim > 1 else (tuple(y_pred.shape), 1)
    if k > 1 and is_indices(y_true, y_pred):
        truth = losses.shares(y_true, y_pred, name)
    elif tuple(y_true.shape) == (*lead, k) or (k == 1 and tuple(y_true.shape) == lead):
        truth = xp.astype(cast(y_true, y_pred) > 0.5, y_pred.dtype)
    else:
        raise _misfit(y_true, y_pred, name, f"labels {lead} or {(*lead, k)}")
    w = None
    if sample_weight is not None:
        w = xp.reshape(_weights(sample_weight, y_pred), (*sample_weight.shape, *(1,) * (len(lead) - sample_weight.ndim)))
        w = xp.reshape(xp.broadcast_to(w, lead), (-1, 1))
    return xp.reshape(truth, (-1, k)), xp.reshape(y_pred, (-1, k)), w


def _weights(sample_weight: Array | None, like: Array) -> Array:
    """The weights of the examples in the dtype of `like`; ones where none are given."""
    xp = namespace(like, sample_weight)
    return xp.ones_like(like[(slice(None), *(0,) * (like.ndim - 1))]) if sample_weight is None else cast(sample_weight, like)


def _classes(y_true: Array, y_pred: Array, name: str) -> Array:
    """The class indices of labels of any kind."""
    xp = namespace(y_true, y_pred)
    if is_indices(y_true, y_pred):
        return xp.squeeze(y_true, axis=-1) if y_true.ndim == y_pred.ndim else y_true
    if tuple(y_true.shape) != tuple(y_pred.shape):
        raise _misfit(y_true, y_pred, name, f"integer labels {tuple(y_pred.shape[:-1])} or one-hot rows {tuple(y_pred.shape)}")
    return xp.argmax(xp.astype(y_true, y_pred.dtype) if xp.isdtype(y_true.dtype, "bool") else y_true, axis=-1)


def _ratio(a: Array, b: Array, nothing: float = 0.0) -> Array:
    """a/b, and `nothing` where b is 0."""
    xp = namespace(a, b)
    return xp.where(b > 0, a, nothing) / xp.where(b > 0, b, xp.ones_like(b))


def _misfit(y_true: Array, y_pred: Array, name: str, wanted: str) -> ValueError:
    return ValueError(f"{name}: y_true is {y_true.dtype} {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}; wanted: {wanted}. Is the order (y_true, y_pred)?")


METRICS: dict[str, Callable[..., Array]] = {
    "accuracy": accuracy,
    "acc": accuracy,
    "binary_accuracy": binary_accuracy,
    "categorical_accuracy": categorical_accuracy,
    "sparse_categorical_accuracy": sparse_categorical_accuracy,
    "top_k_categorical_accuracy": top_k_categorical_accuracy,
    "sparse_top_k_categorical_accuracy": top_k_categorical_accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1_score,
    "f1_score": f1_score,
    "confusion_matrix": ConfusionMatrix(),
    "auc": auc,
    "average_precision": AUC("PR"),
    "rmse": root_mean_squared_error,
    "root_mean_squared_error": root_mean_squared_error,
    "r2": r2_score,
    "r2_score": r2_score,
    "mse": mean_squared_error,
    "mean_squared_error": mean_squared_error,
    "mae": mean_absolute_error,
    "mean_absolute_error": mean_absolute_error,
    "cosine_similarity": cosine_similarity,
}
METRICS |= {name: of_loss(loss) for name, loss in LOSSES.items() if name not in METRICS}


def get(metric: Any) -> Callable[..., Array]:
    """The metric of this name ("top_3": among the 3 largest); an object or function as it is. ValueError with the nearest name."""
    if match := re.fullmatch(r"top_(\d+)(_accuracy)?", metric if isinstance(metric, str) else ""):
        return TopKCategoricalAccuracy(int(match[1]))
    wanted = "a function (y_true, y_pred)"
    return choose(metric, METRICS, "metric", wanted, lambda m: callable(m) or hasattr(m, "sums"))  # type: ignore[no-any-return]


def label(metric: Any) -> str:
    """What History and Scores call a metric given to compile: a name as it is; an object's name; a function's."""
    if isinstance(metric, str):
        return metric
    return getattr(metric, "name", None) or getattr(metric, "__name__", None) or snake_case(type(metric).__name__)


def labels(listed: Iterable[Any]) -> list[str]:
    """The label of each; of equal ones the later with _1, _2, …, as in Keras."""
    found: list[str] = []
    for name in map(label, listed):
        tried, count = name, 0
        while tried in found:
            count += 1
            tried = f"{name}_{count}"
        found.append(tried)
    return found


__all__ = [
    "AUC",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "ConfusionMatrix",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "Mean",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "Sums",
    "TopKCategoricalAccuracy",
    "accuracy",
    "auc",
    "binary_accuracy",
    "categorical_accuracy",
    "confusion_matrix",
    "cosine_similarity",
    "f1_score",
    "mean_absolute_error",
    "mean_squared_error",
    "precision",
    "r2_score",
    "recall",
    "root_mean_squared_error",
    "sparse_categorical_accuracy",
    "top_k_categorical_accuracy",
]
