"""Metrics: metric(y_true, y_pred) → one value an example. y_pred are predictions (probabilities), not logits."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from ann.losses import is_indices
from backends import namespace
from backends.gaps import device, scatter_add

Array = Any


def accuracy(y_true: Array, y_pred: Array) -> Array:
    """1 where the prediction is right, else 0: the largest of k outputs against the label, or one output against ½."""
    if y_pred.ndim > 1 and y_pred.shape[-1] > 1 and (is_indices(y_true, y_pred) or tuple(y_true.shape) == tuple(y_pred.shape)):
        return categorical_accuracy(y_true, y_pred)
    return binary_accuracy(y_true, y_pred)


def categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """1 where argmax y_pred is the class; y_true integers (n, …), or one-hot or probabilities (n, …, k)."""
    xp = namespace(y_true, y_pred)
    found = xp.argmax(y_pred, axis=-1)
    if is_indices(y_true, y_pred):
        wanted = xp.squeeze(y_true, axis=-1) if y_true.ndim == y_pred.ndim else y_true
    else:
        wanted = xp.argmax(y_true, axis=-1)
    return xp.astype(xp.astype(wanted, found.dtype) == found, y_pred.dtype)


def binary_accuracy(y_true: Array, y_pred: Array, *, threshold: float = 0.5) -> Array:
    """1 where y_pred > threshold agrees with y_true > ½, elementwise; of one shape."""
    xp = namespace(y_true, y_pred)
    y = _alike(y_true, y_pred, "binary_accuracy")
    return xp.astype((y_pred > threshold) == (y > 0.5), y_pred.dtype)


def sparse_categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """`categorical_accuracy` that insists on integer labels (n, …) or (n, …, 1)."""
    _insist_on_indices(y_true, y_pred, "sparse_categorical_accuracy")
    return categorical_accuracy(y_true, y_pred)


def top_k_categorical_accuracy(y_true: Array, y_pred: Array, *, k: int = 5) -> Array:
    """1 where fewer than k outputs are larger than that of the class; integer labels (n, …) or (n, …, 1)."""
    xp = namespace(y_true, y_pred)
    _insist_on_indices(y_true, y_pred, "top_k_categorical_accuracy")
    classes = xp.arange(y_pred.shape[-1], device=device(y_pred))
    index = xp.astype(y_true if y_true.ndim == y_pred.ndim else xp.expand_dims(y_true, axis=-1), classes.dtype)
    chosen = xp.sum(xp.where(index == classes, y_pred, xp.zeros_like(y_pred)), axis=-1, keepdims=True)
    return xp.astype(xp.sum(xp.astype(y_pred > chosen, xp.int32), axis=-1) < k, y_pred.dtype)


def mean_squared_error(y_true: Array, y_pred: Array) -> Array:
    """(y_pred − y_true)², elementwise; of one shape."""
    d = y_pred - _alike(y_true, y_pred, "mean_squared_error")
    return d * d


def mean_absolute_error(y_true: Array, y_pred: Array) -> Array:
    """|y_pred − y_true|, elementwise; of one shape."""
    return namespace(y_true, y_pred).abs(y_pred - _alike(y_true, y_pred, "mean_absolute_error"))


def confusion_matrix(y_true: Array, y_pred: Array, *, classes: int) -> Array:
    """c[i, j]: how many examples of class i were taken for class j; y_true, y_pred integers (n,) → (classes, classes)."""
    xp = namespace(y_true, y_pred)
    pairs = xp.astype(y_true, xp.int32) * classes + xp.astype(y_pred, xp.int32)
    counts = scatter_add(xp.ones_like(pairs), pairs, length=classes * classes)
    return xp.reshape(counts, (classes, classes))


def _insist_on_indices(y_true: Array, y_pred: Array, name: str) -> None:
    if not is_indices(y_true, y_pred):
        raise ValueError(
            f"{name}: y_true holds integer labels {tuple(y_pred.shape[:-1])}; it is {y_true.dtype} {tuple(y_true.shape)}. Is the order (y_true, y_pred)?"
        )


def _alike(y_true: Array, y_pred: Array, name: str) -> Array:
    """The targets in the dtype of the predictions; ValueError unless the shapes agree: (n,) against (n, 1) would broadcast."""
    if tuple(y_true.shape) != tuple(y_pred.shape):
        raise ValueError(f"{name}: y_true has shape {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}; they must agree")
    return y_true if y_true.dtype == y_pred.dtype else namespace(y_true).astype(y_true, y_pred.dtype)


METRICS: dict[str, Callable[..., Array]] = {
    "accuracy": accuracy,
    "acc": accuracy,
    "binary_accuracy": binary_accuracy,
    "categorical_accuracy": categorical_accuracy,
    "sparse_categorical_accuracy": sparse_categorical_accuracy,
    "top_k_categorical_accuracy": top_k_categorical_accuracy,
    "mean_squared_error": mean_squared_error,
    "mse": mean_squared_error,
    "mean_absolute_error": mean_absolute_error,
    "mae": mean_absolute_error,
}


def get(metric: Any) -> Callable[..., Array]:
    """The metric of this name; a function (y_true, y_pred) → (n,) or scalar as it is. ValueError with the nearest name."""
    if callable(metric):
        return metric  # type: ignore[no-any-return]
    if metric in METRICS:
        return METRICS[metric]
    nearest = difflib.get_close_matches(str(metric), METRICS, 1)
    hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
    raise ValueError(f"unknown metric {metric!r}.{hint} There are {', '.join(METRICS)}; a function (y_true, y_pred) will do too.")


__all__ = [
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "confusion_matrix",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_accuracy",
    "top_k_categorical_accuracy",
]
