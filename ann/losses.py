"""Losses: loss(y_true, y_pred), a number to make small. Their gradients stand beside them.

A function marked @loss is the formula alone, of the targets y and the outputs z (or p, where they are probabilities). What
all losses share is added to it: shapes are checked, an example's values averaged, examples weighted. Each takes besides

    sample_weight   one weight an example: Σ w·ℓ/Σ w
    reduction       "mean"; "none": one value an example; "sum"; "sum_over_batch_size": Σ w·ℓ/n, as Keras

An empty batch, or one whose examples are all ignored, has loss 0 and gradient 0. The logarithm of a probability is held
above −100 and keeps its gradient. A class (`Huber`, …) is a function with its options, to be given to compile.
"""

from __future__ import annotations

import functools
import inspect
import math
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar

from ann.autodiff import primitive
from ann.autodiff.tape import raw
from ann.functions import log_sigmoid, log_softmax, relu, sigmoid, softplus, unit_normalization
from ann.names import choose
from backends import host, library_of, namespace
from backends.gaps import device

Array = Any


def loss(formula: Any = None, *, classes: bool = False) -> Any:
    """Make a loss of a formula (y, z, *, options) → ℓ like z, or one value an example; or (ℓ, c), where c counts in the mean.

    classes: the formula takes, as y, the share of each class, (n, …, k), whatever kind of labels comes. Integers are checked.
    """
    if formula is None:
        return functools.partial(loss, classes=classes)

    @functools.wraps(formula)
    def public(y_true: Array, y_pred: Array, *, sample_weight: Array | None = None, reduction: str = "mean", **options: Any) -> Array:
        y = (shares if classes else alike)(y_true, y_pred, formula.__name__)
        each = formula(namespace(y, y_pred).asarray(y), y_pred, **options)  # targets that a traced function closes over join the trace
        each, count = each if isinstance(each, tuple) else (each, None)
        if classes:
            check_classes(y_true, y_pred, formula.__name__, options.get("ignore_class"))
        return reduce(each if classes else per_example(each), sample_weight, count, reduction)

    own = [p for p in inspect.signature(formula).parameters.values() if p.kind is p.KEYWORD_ONLY]
    shared = [p for p in inspect.signature(public, follow_wrapped=False).parameters.values() if p.kind is not p.VAR_KEYWORD]
    public.__signature__ = inspect.Signature([*shared[:2], *own, *shared[2:]])  # type: ignore[attr-defined]
    return public


# ------------------------------------------------------------------------------------------------------------ regression


@loss
def mean_squared_error(y: Array, z: Array) -> Array:
    """ℓ = mean (z − y)²      dz = 2·(z − y)/size"""
    d = z - y
    return d * d


@loss
def mean_absolute_error(y: Array, z: Array) -> Array:
    """ℓ = mean |z − y|      dz = ±1/size, 0 where they are equal"""
    return namespace(y, z).abs(z - y)


@loss
def mean_absolute_percentage_error(y: Array, z: Array) -> Array:
    """ℓ = mean 100·|z − y|/max(|y|, 1e-7)      dz = ±100/max(|y|, 1e-7)/size      as Keras"""
    xp = namespace(y, z)
    return 100.0 * xp.abs(z - y) / xp.maximum(xp.abs(y), 1e-7)


@loss
def mean_squared_logarithmic_error(y: Array, z: Array) -> Array:
    """ℓ = mean d², d = log(1 + max(z, 0)) − log(1 + max(y, 0))      dz = 2·d/(1 + z)/size, 0 where z ≤ 0"""
    xp = namespace(y, z)
    d = xp.log1p(relu(z)) - xp.log1p(relu(y))
    return d * d


@loss
def huber(y: Array, z: Array, *, delta: float = 1.0) -> Array:
    """ℓ = mean h(d), d = z − y: h = ½d² where |d| ≤ δ, else δ·(|d| − ½δ)      dz = min(max(d, −δ), δ)/size      Huber 1964"""
    return _huber(z - y, delta=delta)


@primitive
def _huber(d: Array, *, delta: float) -> Any:
    """h = c·(d − ½c), c = min(max(d, −δ), δ)      dd = dh·c"""
    xp = namespace(d)
    c = xp.minimum(xp.maximum(d, -delta), delta)
    return c * (d - 0.5 * c), lambda dy: dy * c


@loss
def log_cosh(y: Array, z: Array) -> Array:
    """ℓ = mean log cosh(z − y)      dz = tanh(z − y)/size"""
    return _log_cosh(z - y)


@primitive
def _log_cosh(d: Array) -> Any:
    """y = |d| + log(1 + e^−2|d|) − log 2      dd = dy·tanh d

    Where |d| < 1 that form is a difference of near equals; there y = log(1 + 2·sinh²(d/2)).
    """
    xp = namespace(d)
    a = xp.abs(d)
    s = xp.sinh(0.5 * xp.minimum(a, 1.0))
    y = xp.where(a < 1.0, xp.log1p(2.0 * s * s), a + xp.log1p(xp.exp(-2.0 * a)) - math.log(2.0))
    return y, lambda dy: dy * xp.tanh(d)


@loss
def poisson(y: Array, z: Array, *, log_input: bool = False) -> Array:
    """ℓ = mean (z − y·log z): z is a rate, y a count.      dz = (1 − y/z)/size

    log_input: z is the logarithm of the rate, ℓ = mean (eᶻ − y·z), dz = (eᶻ − y)/size, as PyTorch's default.
    """
    return namespace(y, z).exp(z) - y * z if log_input else z - y * _log(z)


@loss
def cosine_similarity(y: Array, z: Array) -> Array:
    """ℓ = −cos ∠(y, z) over the last axis, as Keras (PyTorch: 1 − cos); 0 where one of them is 0."""
    return -namespace(y, z).sum(unit_normalization(y) * unit_normalization(z), axis=-1)


# -------------------------------------------------------------------------------------------------------------- two kinds


@loss
def binary_crossentropy(y: Array, z: Array, *, from_logits: bool = True, label_smoothing: float = 0.0, pos_weight: float = 1.0) -> Array:
    """ℓ = −w·y·log p − (1 − y)·log(1 − p),  p = σ(z): written softplus(z) − z·y.      dz = σ(z) − y

    The mean over an example's values. from_logits=False takes p. label_smoothing: y ← (1 − s)·y + s/2. w: pos_weight.
    """
    y = _smoothed(y, label_smoothing, 2)
    if not from_logits:
        return -(pos_weight * y * _log(z) + (1.0 - y) * _log(1.0 - z))
    each = _binary_from_logits(z, y)
    return each if pos_weight == 1.0 else each + (pos_weight - 1.0) * y * softplus(-z)


@primitive
def _binary_from_logits(z: Array, y: Array) -> Any:
    """ℓ = log(1 + eᶻ) − z·y      dz = dℓ·(σ(z) − y)    dy = −dℓ·z"""
    return softplus(z) - z * y, lambda dy: dy * (sigmoid(z) - y), lambda dy: -dy * z


@loss
def binary_focal_crossentropy(
    y: Array, z: Array, *, from_logits: bool = True, label_smoothing: float = 0.0, gamma: float = 2.0, alpha: float = 0.25, apply_class_balancing: bool = False
) -> Array:  # fmt: skip
    """ℓ = −y·(1 − p)^γ·log p − (1 − y)·p^γ·log(1 − p),  p = σ(z): what is predicted well counts little.      Lin et al. 2017

    apply_class_balancing: the first term times α, the second times 1 − α. Defaults as Keras.
    """
    y = _smoothed(y, label_smoothing, 2)
    yes, no = (log_sigmoid(z), log_sigmoid(-z)) if from_logits else (_log(z), _log(1.0 - z))
    a, b = (alpha, 1.0 - alpha) if apply_class_balancing else (1.0, 1.0)
    return a * y * _focal(yes, gamma=gamma) + b * (1.0 - y) * _focal(no, gamma=gamma)


@primitive
def _focal(logp: Array, *, gamma: float) -> Any:
    """ℓ = −(1 − p)^γ·log p      d log p = dℓ·(1 − p)^γ·(γ·p·log p/(1 − p) − 1)      the quotient is −1 at p = 1"""
    xp = namespace(logp)
    q = -xp.expm1(logp)
    share = xp.pow(q, gamma)

    def back(dy: Array) -> Array:
        quotient = xp.where(q > 0, logp, -1.0) / xp.where(q > 0, q, 1.0)
        return dy * share * (gamma * xp.exp(logp) * quotient - 1.0)

    return -share * logp, back


def _smoothed(y: Array, s: float, k: int) -> Array:
    """(1 − s)·y + s/k"""
    return (1.0 - s) * y + s / k if s else y


@loss
def hinge(y: Array, z: Array) -> Array:
    """ℓ = mean max(1 − y·z, 0), y = ±1 (0 is taken as −1)      dz = −y/size where y·z < 1, else 0"""
    return relu(1.0 - _signs(y) * z)


@loss
def squared_hinge(y: Array, z: Array) -> Array:
    """ℓ = mean max(1 − y·z, 0)², y = ±1 (0 is taken as −1)      dz = −2·y·max(1 − y·z, 0)/size"""
    d = relu(1.0 - _signs(y) * z)
    return d * d


def _signs(y: Array) -> Array:
    xp = namespace(y)
    return xp.where(y == 0, -xp.ones_like(y), y)


# --------------------------------------------------------------------------------------------------------------- classes


@loss(classes=True)
def categorical_crossentropy(
    y: Array, z: Array, *, from_logits: bool = True, label_smoothing: float = 0.0, ignore_class: int | None = None,
    class_weight: Sequence[float] | None = None,
) -> Any:  # fmt: skip
    """ℓ = −Σₖ wₖ·tₖ·log pₖ,  p = softmax(z), t = (1 − s)·y + s/K; divided by Σ w_y.      dz = p − t for each example (w = 1)

    y_pred (n, …, k): logits z (probabilities with from_logits=False).
    y_true: integers (n, …) or (n, …, 1) are class indices; floats (n, …, k) probabilities; integers (n, …, k) one-hot.
    A label out of range is a ValueError (see `check_classes`); ignore_class: examples with this label, say −1, do not count. (Of a model's
    metrics, crossentropies given by name leave them out, too; in others they count, unless their sample_weight is 0.)
    s: label_smoothing; w: class_weight, one for each class.
    Weights, smoothing and ignored labels work together as in torch.nn.functional.cross_entropy.
    """
    xp = namespace(y, z)
    k = z.shape[-1]
    t = _smoothed(y, label_smoothing, k)
    count = None
    if class_weight is not None:
        if len(class_weight) != k:
            raise ValueError(f"categorical_crossentropy: class_weight has {len(class_weight)} entries for {k} classes")
        w = xp.asarray([float(value) for value in class_weight], dtype=z.dtype, device=device(z))
        t, count = t * w, xp.sum(y * w, axis=-1)
    each = _cross_entropy(z, t) if from_logits else -xp.sum(t * _log(z), axis=-1)
    if ignore_class is None:
        return each, count
    valid = 1.0 - y[..., ignore_class] if 0 <= ignore_class < k else xp.sum(y, axis=-1)  # a label out of range is no class
    return each * valid, valid if count is None else count * valid


@primitive
def _cross_entropy(z: Array, t: Array) -> Any:
    """ℓ = −Σ t·log softmax(z)  along the last axis.      dz = dℓ·(softmax(z)·Σ t − t)    dt = −dℓ·log softmax(z)"""
    xp = namespace(z, t)
    logp = xp.maximum(log_softmax(z), -float(xp.finfo(z.dtype).max))  # of a class at −∞, 0·log p is 0
    return (
        -xp.sum(t * logp, axis=-1),
        lambda dy: xp.expand_dims(dy, axis=-1) * (xp.exp(logp) * xp.sum(t, axis=-1, keepdims=True) - t),
        lambda dy: -xp.expand_dims(dy, axis=-1) * logp,
    )


def sparse_categorical_crossentropy(y_true: Array, y_pred: Array, **options: Any) -> Array:
    """`categorical_crossentropy` that insists on integer labels (n, …) or (n, …, 1)."""
    if not is_indices(y_true, y_pred):
        raise ValueError(f"sparse_categorical_crossentropy: y_true must hold integer labels (n, …), it is {_show(y_true)}. Is the order (y_true, y_pred)?")
    return categorical_crossentropy(y_true, y_pred, **options)  # type: ignore[no-any-return]


@loss(classes=True)
def categorical_focal_crossentropy(
    y: Array, z: Array, *, from_logits: bool = True, label_smoothing: float = 0.0, gamma: float = 2.0, alpha: float = 0.25
) -> Array:  # fmt: skip
    """ℓ = −α·Σₖ tₖ·(1 − pₖ)^γ·log pₖ,  p = softmax(z), t as for `categorical_crossentropy`.      Lin et al. 2017, defaults as Keras"""
    xp = namespace(y, z)
    t = _smoothed(y, label_smoothing, z.shape[-1])
    return alpha * xp.sum(t * _focal(log_softmax(z) if from_logits else _log(z), gamma=gamma), axis=-1)


@loss(classes=True)
def categorical_hinge(y: Array, z: Array) -> Array:
    """ℓ = max(1 + max (1 − t)·z − Σ t·z, 0) for each example: the right class leads the others, and 0, by 1.      as Keras"""
    xp = namespace(y, z)
    return relu(1.0 + xp.max((1.0 - y) * z, axis=-1) - xp.sum(y * z, axis=-1))


@loss
def kl_divergence(y: Array, z: Array, *, from_logits: bool = True) -> Array:
    """ℓ = Σₖ yₖ·log(yₖ/pₖ),  p = softmax(z), along the last axis; the mean over examples.      dz = p·Σ y − y

    from_logits=False takes p. 0·log 0 = 0. Keras's mean; PyTorch's "mean" divides by the number of all elements.
    """
    xp = namespace(y, z)
    entropy = -xp.sum(y * _log(y), axis=-1)
    return (_cross_entropy(z, y) if from_logits else -xp.sum(y * _log(z), axis=-1)) - entropy


@primitive
def _log(p: Array) -> Any:
    """y = max(log p, −100)      dp = dy/p, the logarithm's own gradient"""
    xp = namespace(p)
    y = xp.where(p > 0, xp.maximum(xp.log(xp.where(p > 0, p, 1.0)), -100.0), -100.0)
    floor = max(math.exp(-100.0), 4.0 * float(xp.finfo(p.dtype).smallest_normal))  # 1/p must not overflow
    return y, lambda dy: dy / xp.maximum(p, floor)


# ------------------------------------------------------------------------------------------------------- labels, weights


def alike(y_true: Array, y_pred: Array, name: str) -> Array:
    """The targets in the dtype of the predictions; ValueError unless the shapes agree: (n,) against (n, 1) would broadcast."""
    floating(y_pred, name)
    if tuple(y_true.shape) != tuple(y_pred.shape):
        raise ValueError(f"{name}: y_true has shape {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}; they must agree")
    return cast(y_true, y_pred)


def shares(y_true: Array, y_pred: Array, name: str) -> Array:
    """Labels of any kind as the share of each class, (n, …, k), in the dtype of the predictions; no class for one out of range."""
    floating(y_pred, name)
    if is_indices(y_true, y_pred):
        return one_hot(y_true if y_true.ndim < y_pred.ndim else y_true[..., 0], y_pred)
    if tuple(y_true.shape) != tuple(y_pred.shape):
        raise ValueError(
            f"{name}: y_true {_show(y_true)}, y_pred {tuple(y_pred.shape)}; wanted: integer labels {tuple(y_pred.shape[:-1])}, "
            f"or probabilities or one-hot labels {tuple(y_pred.shape)}. Is the order (y_true, y_pred)?"
        )
    return cast(y_true, y_pred)


def is_indices(y_true: Array, y_pred: Array) -> bool:
    """Whether labels are class indices: integers without the class axis, or with a 1 there."""
    xp = namespace(y_true)
    if not xp.isdtype(y_true.dtype, "integral"):
        return False
    lead = tuple(y_pred.shape[:-1])
    return tuple(y_true.shape) == lead or (tuple(y_true.shape) == (*lead, 1) and y_pred.shape[-1] != 1)


def one_hot(index: Array, like: Array) -> Array:
    """Class indices (n, …) as rows with a 1 at the class, (n, …, k) with the k and the dtype of `like`."""
    xp = namespace(index, like)
    classes = xp.arange(like.shape[-1], device=device(like))
    return xp.astype(xp.expand_dims(cast(index, classes), axis=-1) == classes, like.dtype)  # 1000 classes do not fit uint8


def cast(x: Array, like: Array) -> Array:
    """x in the dtype of `like`."""
    return x if x.dtype == like.dtype else namespace(x).astype(x, like.dtype)


def floating(y_pred: Array, name: str) -> None:
    """TypeError unless the predictions are floats."""
    if not namespace(y_pred).isdtype(y_pred.dtype, "real floating"):
        raise TypeError(f"{name}: y_pred holds floats, it is {_show(y_pred)}. Is the order (y_true, y_pred)?")


def per_example(values: Array) -> Array:
    """The mean over all axes but the first."""
    return values if values.ndim <= 1 else namespace(values).mean(values, axis=tuple(range(1, values.ndim)))


def reduce(each: Array, weight: Array | None = None, count: Array | None = None, reduction: str = "mean") -> Any:
    """Σ w·ℓ/Σ w·c, c: how much each value counts (None: 1).

    "none": w·ℓ; "sum": Σ w·ℓ; "sum_over_batch_size": Σ w·ℓ/n (Keras); "sums": (Σ w·ℓ, Σ w·c), which add up over batches.
    """
    if reduction not in ("mean", "sum", "sums", "sum_over_batch_size", "none"):
        raise ValueError(f'reduction is "mean", "sum", "sums", "sum_over_batch_size" or "none"; {reduction!r} came')
    xp = namespace(each)
    if weight is not None:
        weight = cast(weight, each)
        weight = xp.reshape(weight, (*weight.shape, *(1,) * (each.ndim - weight.ndim)))
        each, count = each * weight, weight if count is None else count * weight
    if reduction == "none":
        return each
    total, n = xp.sum(each), float(math.prod(each.shape))
    if reduction == "sum":
        return total
    if reduction == "sum_over_batch_size" or (reduction == "mean" and count is None):
        return total / max(n, 1.0)
    size = xp.full((), n, dtype=each.dtype, device=device(each)) if count is None else xp.sum(xp.broadcast_to(count, tuple(each.shape)))
    return (total, size) if reduction == "sums" else total / xp.where(size > 0, size, xp.ones_like(size))


def sums(loss: Any, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> tuple[Array, Array]:
    """(Σ w·ℓ, Σ w) of a loss over a batch, which add up over batches. One that is no weighted mean counts once an example."""
    if is_dataclass(loss) and getattr(loss, "reduction", None) == "mean":
        summed: Any = replace(loss, reduction="sums")  # type: ignore[type-var]
        return summed(y_true, y_pred, sample_weight=sample_weight)  # type: ignore[no-any-return]
    value = loss(y_true, y_pred, sample_weight=sample_weight)
    n = float(y_pred.shape[0])
    return value * n, namespace(value).full((), n, dtype=value.dtype, device=device(value))


def check_classes(y_true: Array, y_pred: Array, name: str, ignore_class: int | None) -> None:
    """ValueError for labels that name no class, as `check_labels` and `check_one_hot`; where they can be read without waiting.

    That is on the host and outside of jit. Elsewhere a label out of range is no class: its example has loss 0, and counts. A Model checks first.
    """
    y = raw(y_true)
    library = library_of(y)
    if library.rank or not library.on_host(y) or not namespace(y).isdtype(y.dtype, "integral"):
        return
    (check_labels if is_indices(y, y_pred) else check_one_hot)(y, y_pred.shape[-1], name, "y_true", ignore_class)


def check_labels(y: Array, k: int, loss: str, name: str, ignore_class: int | None = None) -> None:
    """Integer labels must be 0 … k − 1, or the ignored one; the first that is not is named. On the host, once a data set."""
    labels = library_of(y).fetch(y)
    bad = (labels < 0) | (labels >= k)
    if ignore_class is not None:
        bad &= labels != ignore_class
    if labels.size and bad.any():
        row = int(host.argwhere(bad)[0][0])
        worst = int(labels[row].reshape(-1)[0])
        counted = labels if ignore_class is None else labels[labels != ignore_class]
        low, high = int(counted.min()), int(counted.max())
        advice = "Labels count from 0."
        if low >= 0:
            advice = f"Labels count from 0; make the last layer Dense({high + 1}){', or subtract 1' if high == k else ''}."
        raise ValueError(f"{loss}: {name} has labels {low}…{high} for {k} outputs (first at row {row}: {worst}). {advice}")


def check_one_hot(y: Array, k: int, loss: str, name: str, ignore_class: int | None = None) -> None:
    """Integers (n, …, k) must have one 1 a row and else 0; the first row that has not is named. On the host, once a data set."""
    rows = library_of(y).fetch(y).reshape(-1, k)
    bad = ((rows != 0) & (rows != 1)).any(axis=1) | (rows.sum(axis=1) != 1)
    if bad.any():
        row = int(host.argwhere(bad)[0][0])
        raise ValueError(
            f"{loss}: {name} has integers {tuple(y.shape)}, but row {row} is {rows[row].tolist()}: not one-hot. Labels are integers {tuple(y.shape[:-1])}; "
            f"probabilities are floats; for several labels at once take binary_crossentropy."
        )


def check_shares(y: Array, loss: str, name: str) -> None:
    """Targets of a loss behind a sigmoid must be 0 … 1; the first that is not is named. On the host, once a data set."""
    values = library_of(y).fetch(y)
    bad = (values < 0) | (values > 1)
    if bad.any():
        row = int(host.argwhere(bad)[0][0])
        raise ValueError(f"{loss}: {name} has values {values.min():g} … {values.max():g} (first at row {row}); wanted: 0, 1 or probabilities between. For classes take categorical_crossentropy.")


def _show(x: Array) -> str:
    return f"{str(x.dtype).rpartition('.')[2]} {tuple(x.shape)}"


# ------------------------------------------------------------------------------------------------- losses with options

LOSSES: dict[str, type[Loss]] = {}  # by the names of the functions and, below, the usual short ones


@typing.dataclass_transform(frozen_default=True)
class WithOptions:
    """A function with its options, as a value: frozen, comparable, savable.

        class Huber(Loss, of=huber):
            delta: float = 1.0
    """

    function: ClassVar[Callable[..., Array]]

    def __init_subclass__(cls, *, of: Callable[..., Array] | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        dataclass(frozen=True)(cls)
        if of is not None:
            cls.__doc__, cls.function = f"`{of.__name__}` with its options.", staticmethod(of)

    @property
    def options(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]


class Loss(WithOptions):
    """A loss function with its options, to be given to compile."""

    reduction: str = field(default="mean", kw_only=True)
    labels: ClassVar[str] = "values"  # or "classes": what the targets are
    link: ClassVar[Any] = None  # what makes predictions of the outputs, where from_logits

    def __init_subclass__(cls, *, of: Callable[..., Array], **rest: Any) -> None:
        super().__init_subclass__(of=of, **rest)
        LOSSES.setdefault(of.__name__, cls)

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        return type(self).function(y_true, y_pred, sample_weight=sample_weight, **self.options)


class MeanSquaredError(Loss, of=mean_squared_error):
    pass


class MeanAbsoluteError(Loss, of=mean_absolute_error):
    pass


class MeanAbsolutePercentageError(Loss, of=mean_absolute_percentage_error):
    pass


class MeanSquaredLogarithmicError(Loss, of=mean_squared_logarithmic_error):
    pass


class Huber(Loss, of=huber):
    delta: float = 1.0


class LogCosh(Loss, of=log_cosh):
    pass


class Poisson(Loss, of=poisson):
    log_input: bool = False

    @property
    def link(self) -> Any:  # type: ignore[override]
        return "exponential" if self.log_input else None


class CosineSimilarity(Loss, of=cosine_similarity):
    pass


class BinaryCrossentropy(Loss, of=binary_crossentropy):
    from_logits: bool = True
    label_smoothing: float = 0.0
    pos_weight: float = 1.0
    link = "sigmoid"


class BinaryFocalCrossentropy(Loss, of=binary_focal_crossentropy):
    from_logits: bool = True
    label_smoothing: float = 0.0
    gamma: float = 2.0
    alpha: float = 0.25
    apply_class_balancing: bool = False
    link = "sigmoid"


class Hinge(Loss, of=hinge):
    pass


class SquaredHinge(Loss, of=squared_hinge):
    pass


class CategoricalCrossentropy(Loss, of=categorical_crossentropy):
    from_logits: bool = True
    label_smoothing: float = 0.0
    ignore_class: int | None = None
    class_weight: tuple[float, ...] | None = None
    link, labels = "softmax", "classes"


class SparseCategoricalCrossentropy(CategoricalCrossentropy, of=sparse_categorical_crossentropy):
    pass


class CategoricalFocalCrossentropy(Loss, of=categorical_focal_crossentropy):
    from_logits: bool = True
    label_smoothing: float = 0.0
    gamma: float = 2.0
    alpha: float = 0.25
    link, labels = "softmax", "classes"


class CategoricalHinge(Loss, of=categorical_hinge):
    labels = "classes"


class KLDivergence(Loss, of=kl_divergence):
    from_logits: bool = True
    link = "softmax"


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


LOSSES |= {
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
    "bce": BinaryCrossentropy,
    "kld": KLDivergence,
    "logcosh": LogCosh,
}


def get(which: Any) -> Any:
    """The loss of this name; an object or function (y_true, y_pred) → (n,) or scalar as it is. ValueError with the nearest name."""
    found = choose(which, LOSSES, "loss", "an object or a function (y_true, y_pred)")
    if hasattr(found, "labels"):
        return found
    own = LOSSES.get(getattr(found, "__name__", ""))
    return own() if own is not None and own.function is found else Custom(found)


__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "sparse_categorical_crossentropy",
    "squared_hinge",
]
