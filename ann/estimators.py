"""Networks as scikit-learn estimators: MLPClassifier and MLPRegressor, for Pipeline, GridSearchCV, clone and joblib.

Parameters, attributes and arithmetic are those of sklearn.neural_network (the random numbers are ours). Besides:

    backend         a name or a Backend; None: the library of X; for host data $ANN_BACKEND, else NumPy
    loss            "log_loss" (classifier), "squared_error" or "poisson" (regressor), or any loss of ann: a name, an object, a
                    function (y_true, y_pred), both of the shape of the outputs
    activation      also any activation of ann, by name or function; a list has one for each hidden layer
    dropout         the share of the hidden units that is dropped in training; a list has one for each hidden layer
    class_weight    {label: weight} or "balanced" (classifier)
    callbacks       a list of ann.callbacks
    fit(X, y, sample_weight=None, validation_data=(X_val, y_val))
                    validation_scores_ then has the score on them after each epoch, which early_stopping watches instead of a
                    split. It is an argument of fit, because clone and GridSearchCV copy parameters, and data are none.

Arrays of CuPy, PyTorch, JAX and array-api-strict stay where they are, and predict, predict_proba and coefs_ answer there;
only labels and weights are looked at on the host. scikit-learn's array API dispatch need not be on. Where it is on, predict
wants the library that fit saw, as scikit-learn's own estimators do.

float32 data are computed in float32, all others in float64 (in float32 where the backend has no float64). classes_ is a
NumPy array, and so are predicted labels that are text. predict has the shape of y, also where y is (n, 1).
After fit, model_ is the ann.Model: model_.summary(), model_.save(path).

scikit-learn is the extra `sklearn`: pip install 'ann-array-api[sklearn]'.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import backends
from ann import functions, losses, optimizers
from ann.callbacks import Callback
from ann.initializers import RandomUniform
from ann.layers import Dense, Dropout, Input
from ann.model import Model
from ann.optimization import LBFGS, minimize
from ann.regularizers import L2
from ann.training.data import is_plain
from backends import host, library_of, namespace

try:
    from sklearn import get_config
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(f"ann.estimators needs scikit-learn 1.6 or later, the extra `sklearn`: pip install 'ann-array-api[sklearn]' ({error})") from error

Array = Any

ACTIVATIONS = {"logistic": "sigmoid", "identity": None}  # scikit-learn's names, where ours are others
LOSSES = ("log_loss", "squared_error", "poisson")
LINKS: dict[str, Callable[[Array], Array]] = {"softmax": functions.softmax, "logistic": functions.sigmoid, "identity": functions.identity, "exp": lambda z: namespace(z).exp(z)}
SMALLEST_RATE = 1e-6  # where learning_rate="adaptive" ends


def to_host(x: Any) -> Any:
    """An array of any library as one of NumPy; what is no array as it is."""
    return x if is_plain(x) or _on_numpy(x) else library_of(x).fetch(x)


def _on_numpy(x: Any) -> bool:
    return bool(library_of(x).name == "numpy")


def _for_each(given: Any, hidden: list[int], name: str) -> list[Any]:
    """One value for each hidden layer, of a list of them or of one for all."""
    listed = list(given) if isinstance(given, list | tuple) else [given] * len(hidden)
    if len(listed) != len(hidden):
        raise ValueError(f"{name} has {len(listed)} entries, there are {len(hidden)} hidden layers")
    return listed


class Watch(Callback):
    """Keeps the curve and the best of an estimator's training, lowers its learning rate, and ends it as scikit-learn does."""

    def __init__(self, estimator: Any, rows: int, held_out: Any, once: bool):
        self.estimator, self.rows, self.held_out, self.once = estimator, rows, held_out, once
        self.stopped, self.stale, self.best_params = False, 0, None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        e = self.estimator
        e.loss_ = logs["loss"]
        e.loss_curve_.append(e.loss_)
        e.n_iter_ += 1
        e.t_ += self.rows
        now, best = -e.loss_, -e.best_loss_
        if self.held_out is not None:
            score = e._score(*self.held_out)
            e.validation_scores_.append(score)
            if e.early_stopping:
                now, best = score, e.best_validation_score_
            if score > e.best_validation_score_:
                e.best_validation_score_ = score
                self.best_params = self.model.params if e.early_stopping else None
        e.best_loss_ = min(e.best_loss_, e.loss_)
        self.stale = 0 if now >= best + e.tol else self.stale + 1
        if e.solver == "sgd" and e.learning_rate == "invscaling":
            self.model.learning_rate = e.learning_rate_init / (e.t_ + 1) ** e.power_t
        if self.stale > e.n_iter_no_change and not self.once:
            if e.solver == "sgd" and e.learning_rate == "adaptive" and self.model.learning_rate > SMALLEST_RATE:
                self.model.learning_rate = self.model.learning_rate / 5.0
                self.stale = 0
            else:
                self.model.stop_training = True
        self.stopped = self.model.stop_training

    def on_train_end(self, logs: Any = None) -> None:
        if self.best_params is not None:
            self.model.params = self.best_params


def _is_stochastic(estimator: Any) -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError('partial_fit is there for solver="adam" and solver="sgd"; L-BFGS needs all rows at once')
    return True


@dataclass(eq=False, repr=False)
class _Perceptron(BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share: parameters, training, attributes."""

    _: KW_ONLY
    solver: str = "adam"
    alpha: float = 0.0001
    batch_size: Any = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: int = 10
    max_fun: int = 15000
    backend: Any = None
    dropout: Any = 0.0
    callbacks: Any = None

    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> Any:
        """Learn from rows X (n, d) and y: labels or numbers (n,), or (n, k) for several outputs. Returns self.

        sample_weight (n,); validation_data (X, y): see the module.
        """
        return self._fit(X, y, sample_weight, validation_data)

    # ------------------------------------------------------------------------------------------------- training

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation_data: Any = None, classes: Any = None, once: bool = False) -> Any:
        """once: a single epoch that goes on where the last one stopped (partial_fit)."""
        self._check_parameters()
        if once and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        goes_on = hasattr(self, "model_") and (self.warm_start or once)
        x, y = self._enter(X, y, fresh=not goes_on)
        target = self._encode(y, classes, fresh=not goes_on)
        weight = self._weights(sample_weight, y)
        random = check_random_state(self.random_state)
        held_out = None
        if validation_data is not None:
            held_out = self._enter(validation_data[0], validation_data[1], fresh=False)
        elif self.early_stopping and self.solver != "lbfgs":
            x, target, weight, held_out = self._split(x, y, target, weight, random)
        n = len(target)
        if self.batch_size != "auto" and self.batch_size > n:
            warnings.warn(f"batch_size={self.batch_size}, but there are {n} rows: all of them are one batch", stacklevel=3)
        size = n if self.solver == "lbfgs" else min(n, 200 if self.batch_size == "auto" else int(self.batch_size))
        if not goes_on:
            self.loss_curve_: list[float] = []
            self.validation_scores_: Any = None
            self.best_loss_, self.best_validation_score_, self.t_ = math.inf, None, 0
        if held_out is not None and self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -math.inf
        if not (goes_on and once):
            self._start(x, random, size if weight is None else size * float(weight.mean()), self.model_.params if goes_on else None)
        self.n_iter_ = 0
        if self.solver == "lbfgs":
            self._descend(x, target, weight)
            if held_out is not None:
                self.validation_scores_.append(self._score(*held_out))
            return self
        watch = Watch(self, n, held_out, once)
        checked = None if validation_data is None else (held_out[0], self._encode(held_out[1], None, fresh=False))  # type: ignore[index]
        self.model_.fit(
            x, target, sample_weight=weight, epochs=1 if once else int(self.max_iter), batch_size=size, shuffle=self.shuffle,
            validation_data=checked, callbacks=[*(self.callbacks or ()), watch], verbose=2 if self.verbose else 0,
        )  # fmt: skip
        if not (watch.stopped or once) and self.n_iter_ == self.max_iter:
            warnings.warn(f"all {self.max_iter} epochs of max_iter are over, and training has not converged", ConvergenceWarning, stacklevel=3)
        return self

    def _start(self, x: Array, random: Any, counted: float, kept: Any) -> None:
        """A new model_, with the parameters of the old one where it goes on. counted: Σ of the weights of a batch."""
        dtype = "float32" if str(x.dtype).endswith("float32") else "float64"
        where = self.backend if self.backend is not None or _on_numpy(x) else backends.of(x).name
        try:
            be = backends.get(where, dtype=dtype)
        except backends.BackendUnavailable:
            be, dtype = backends.get(where), "float32"  # it runs, but not in float64
        layers: list[Any] = []
        hidden, d = self._hidden(), x.shape[1]
        activations, rates = _for_each(self.activation, hidden, "activation"), _for_each(self.dropout, hidden, "dropout")  # type: ignore[attr-defined]
        decay = L2(0.5 * self.alpha / (counted or 1.0)) if self.alpha else None
        for k, f, rate in zip([*map(int, hidden), self.n_outputs_], [*activations, None], [*rates, 0.0], strict=True):
            bound = math.sqrt((2.0 if self.activation == "logistic" else 6.0) / (d + k))  # Glorot & Bengio 2010
            f = ACTIVATIONS.get(f, f) if isinstance(f, str) else f
            layers.append(Dense(k, f, kernel_initializer=RandomUniform(-bound, bound), bias_initializer=RandomUniform(-bound, bound), kernel_regularizer=decay))
            if rate:
                layers.append(Dropout(rate))
            d = k
        self.n_layers_ = len(hidden) + 2
        self.model_ = Model([Input(x.shape[1]), *layers], backend=be, dtype=dtype, seed=int(random.randint(2**31 - 1)))
        if kept is not None:
            self.model_.params = kept
        loss, factor = self._loss()
        self.model_.compile(self._optimizer(), loss, loss_weights=factor)

    def _optimizer(self) -> Any:
        if self.solver == "adam":
            return optimizers.Adam(self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon)
        return optimizers.SGD(self.learning_rate_init, momentum=self.momentum, nesterov=self.nesterovs_momentum and self.momentum > 0)

    def _descend(self, x: Array, target: Any, weight: Any) -> None:
        """All rows at once, by L-BFGS: the loss and its penalty as `Model` has them."""
        model, (loss, factor) = self.model_, self._loss()
        be = backends.get(model.backend)

        def objective(p: Any, x: Array, y: Array, w: Any) -> Array:
            z, out = model.net.apply_training(p, x)
            return factor * loss(y, z, sample_weight=w) + out.penalty

        y = be.asarray(target, dtype=None if target.dtype.kind == "i" else model.dtype)
        w = None if weight is None else be.asarray(weight, dtype=model.dtype)
        found = minimize(objective, model.params, LBFGS(evaluations=self.max_fun), self.max_iter, self.tol, (be.asarray(x, dtype=model.dtype), y, w))
        model.params = found.params
        self.loss_, self.n_iter_ = found.value, found.steps
        self.loss_curve_ += found.history[1:]
        self.best_loss_ = min(self.best_loss_, self.loss_)
        self.t_ += found.steps * len(target)
        if self.verbose or not found.converged:
            print(found.message) if found.converged else warnings.warn(f"L-BFGS: {found.message}", ConvergenceWarning, stacklevel=4)

    def _split(self, x: Array, y: Any, target: Any, weight: Any, random: Any) -> Any:
        """(x, target, weight, (x, y) to be scored): the share validation_fraction held out, by class."""
        by = None if y.ndim > 1 or isinstance(self, RegressorMixin) else y
        kept, out = train_test_split(host.arange(len(y)), test_size=self.validation_fraction, random_state=random, stratify=by)
        if len(out) < 2:
            raise ValueError(f"early_stopping: {len(out)} rows are too few to validate on; a larger validation_fraction or validation_data=(X, y)")
        be = backends.of(x)
        part = lambda rows: be.xp.take(x, be.asarray(rows), axis=0)
        return part(kept), target[kept], None if weight is None else weight[kept], (part(out), y[out])

    # --------------------------------------------------------------------------------------------------- checks

    def _check_parameters(self) -> None:
        def whole(value: Any, least: int) -> bool:
            return isinstance(value, numbers.Integral) and int(value) >= least

        rules = {
            "solver": (self.solver in ("adam", "sgd", "lbfgs"), '"adam", "sgd" or "lbfgs"'),
            "learning_rate": (self.learning_rate in ("constant", "invscaling", "adaptive"), '"constant", "invscaling" or "adaptive"'),
            "hidden_layer_sizes": (all(whole(k, 1) for k in self._hidden()), "positive integers"),
            "alpha": (self.alpha >= 0, "not negative"),
            "batch_size": (self.batch_size == "auto" or whole(self.batch_size, 1), '"auto" or a positive integer'),
            "max_iter": (whole(self.max_iter, 1), "a positive integer"),
            "max_fun": (whole(self.max_fun, 1), "a positive integer"),
            "tol": (self.tol >= 0, "not negative"),
            "n_iter_no_change": (self.n_iter_no_change >= 1, "at least 1"),
            "validation_fraction": (0 < self.validation_fraction < 1, "between 0 and 1"),
        }
        for name, (right, wanted) in rules.items():
            if not right:
                raise ValueError(f"{type(self).__name__}: {name} is {wanted}; {getattr(self, name)!r} came")
        if self.loss not in LOSSES and getattr(losses.get(self.loss), "from_logits", True) is False:  # type: ignore[attr-defined]
            raise ValueError(f"{type(self).__name__}: the last layer is linear, so the loss takes from_logits=True; {self.loss!r} came")  # type: ignore[attr-defined]
        if self.solver == "lbfgs" and any(_for_each(self.dropout, self._hidden(), "dropout")):
            raise ValueError(f'{type(self).__name__}: dropout={self.dropout!r} is random, which L-BFGS cannot search; solver="adam" or "sgd" can')

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes  # type: ignore[attr-defined]
        return list(sizes) if hasattr(sizes, "__iter__") else [sizes]

    def _enter(self, X: Any, y: Any, fresh: bool) -> tuple[Array, Any]:
        """(X where it is, y on the host), of as many rows."""
        x = self._rows(X, fresh, "fit", None if y is None else "no_validation")
        y = check_array(to_host(y), ensure_2d=False, dtype=None, input_name="y", estimator=self)
        check_consistent_length(x, y)
        return x, y

    def _rows(self, X: Any, fresh: bool, method: str, y: Any = "no_validation") -> Array:
        """X as a floating array (n, d), in its library; what is no array becomes one of NumPy."""
        if not is_plain(X) and not _on_numpy(X):
            validate_data(self, X, y, reset=fresh, skip_check_array=True)
            x = backends.of(X).asarray(X, finite=True)
            xp = namespace(x)
            if x.ndim != 2 or 0 in x.shape or not xp.isdtype(x.dtype, ("bool", "integral", "real floating")):
                raise ValueError(f"X holds numbers in rows (n, d); it is {x.dtype} {tuple(x.shape)}")
        else:
            x = validate_data(self, X, y, reset=fresh, dtype=[host.float64, host.float32])
        if fresh:
            self._library = library_of(x).name
        elif get_config().get("array_api_dispatch") and library_of(x).name != self._library:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device as those passed to fit(): "
                f"it saw {self._library}, this is {library_of(x).name}. Without array_api_dispatch host data travel by themselves."
            )
        return x

    def _weights(self, sample_weight: Any, y: Any) -> Any:
        """Weights of the examples on the host, by class_weight too; None where all are 1."""
        w = None
        if sample_weight is not None:
            w = host.asarray(to_host(sample_weight), dtype="float64")
            w = host.full(len(y), w) if w.ndim == 0 else w
            if w.shape != (len(y),):
                raise ValueError(f"sample_weight has shape {w.shape}; one weight an example is wanted: ({len(y)},)")
            if not w.any():
                raise ValueError("sample_weight is zero everywhere")
        if getattr(self, "class_weight", None) is not None:
            by_class = compute_sample_weight(self.class_weight, y)  # type: ignore[attr-defined]
            w = by_class if w is None else w * by_class
        return w

    # ---------------------------------------------------------------------------------------------------- using

    def _raw(self, X: Any, method: str) -> Array:
        """What the last layer gives for X, in the library of X."""
        check_is_fitted(self, "model_")
        return self.model_.predict(self._rows(X, False, method))

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer (in, out): copies, in the library of the X that fit saw."""
        return self._parameters("kernel")

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of each layer."""
        return self._parameters("bias")

    def _parameters(self, name: str) -> list[Array]:
        found = [layer[name] for layer in self.model_.params.values()]
        return [to_host(p) for p in found] if self._library == "numpy" else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags


@dataclass(eq=False, repr=False)
class MLPClassifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]
    """A multilayer perceptron for classes, with scikit-learn's parameters and ours (see the module).

    y: labels of any kind (n,), or 0 and 1 in (n, k) for several labels at once. With "log_loss" two classes have one output;
    with a loss of classes (ann.losses.CategoricalCrossentropy(label_smoothing=0.1)) they have two. A function as loss
    gets y_true as 0 and 1 in the shape of the outputs.
    """

    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"
    _: KW_ONLY
    loss: Any = "log_loss"
    class_weight: Any = None

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One epoch more. classes: all labels there are; wanted at the first call (not for several labels at once)."""
        if classes is None and not hasattr(self, "classes_") and not type_of_target(to_host(y)).startswith("multilabel"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._fit(X, y, sample_weight, classes=classes, once=True)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> Array:
        """The most probable label of each row (n,); 0 and 1 in (n, k) where y was of that kind."""
        return self._decide(self._raw(X, "predict"))

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of classes_ (n, k)."""
        z = self._raw(X, "predict_proba")
        p = LINKS[self.out_activation_](z)
        return namespace(p).concat([1.0 - p, p], axis=1) if self._binary else p

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`, finite also where that is rounded to 0."""
        z = self._raw(X, "predict_log_proba")
        if self._binary:
            return -namespace(z).concat([functions.softplus(z), functions.softplus(-z)], axis=1)
        return functions.log_softmax(z) if self.out_activation_ == "softmax" else -functions.softplus(-z)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of the rows that are right: with all their labels, where there are several."""
        return float(accuracy_score(to_host(y), to_host(self.predict(X)), sample_weight=to_host(sample_weight)))

    def _score(self, x: Array, y: Any) -> float:
        return float(accuracy_score(y, to_host(self._decide(self.model_.predict(x)))))

    def _decide(self, z: Array) -> Array:
        xp, be = namespace(z), backends.of(z)
        if self._several:
            return xp.astype(z > 0, be.asarray([0, 1]).dtype)
        index = xp.argmax(xp.concat([xp.zeros_like(z), z], axis=1) if self._binary else z, axis=1)
        if self.classes_.dtype.kind in "biuf":
            return xp.take(be.asarray(self.classes_), index)
        return self.classes_[to_host(index)]

    def _encode(self, y: Any, classes: Any, fresh: bool) -> Any:
        """y for the network: indices of classes (n,), or 0 and 1 (n, outputs)."""
        check_classification_targets(y)
        several = type_of_target(y).startswith("multilabel")
        y = y if several else column_or_1d(y, warn=True)
        if fresh:
            self.classes_ = host.arange(y.shape[1]) if several else host.unique(y if classes is None else classes)
            k = len(self.classes_)
            self._several = several
            self._indices = not several and (k != 2 if self.loss == "log_loss" else getattr(losses.get(self.loss), "labels", None) == "classes")
            self._binary = k == 2 and not several and not self._indices
            self.n_outputs_ = 1 if self._binary else k
            self.out_activation_ = "logistic" if several or self._binary else "softmax"
        if several != self._several or (several and y.shape[1] != len(self.classes_)):
            raise ValueError(f"y is {type_of_target(y)} {y.shape}; the network was made for {len(self.classes_)} {'labels at once' if self._several else 'classes'}")
        if several:
            return y.astype("float64")
        index = host.minimum(host.searchsorted(self.classes_, y), len(self.classes_) - 1)
        if (wrong := self.classes_[index] != y).any():
            raise ValueError(f"y has classes that are not in classes_: {', '.join(map(str, host.unique(y[wrong])))}; classes_ has {', '.join(map(str, self.classes_))}")
        if self._indices:
            return index
        return index.reshape(-1, 1).astype("float64") if self._binary else host.eye(len(self.classes_))[index]

    def _loss(self) -> tuple[Any, float]:
        if self.loss != "log_loss":
            return losses.get(self.loss), 1.0
        return (losses.CategoricalCrossentropy(), 1.0) if self._indices else (losses.BinaryCrossentropy(), float(self.n_outputs_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(eq=False, repr=False)
class MLPRegressor(RegressorMixin, _Perceptron):  # type: ignore[misc]
    """A multilayer perceptron for numbers, with scikit-learn's parameters and ours (see the module).

    y: (n,) or (n, k). "squared_error" is ½Σ(z − y)² over the outputs, "poisson" Σ(eᶻ − y·z), each the mean over the rows.
    (scikit-learn trains on the same sums; its loss_ is the mean over the outputs, and has a constant more for "poisson".)
    """

    loss: Any = "squared_error"
    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch more."""
        return self._fit(X, y, sample_weight, once=True)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> Array:
        """The expected y of each row, in the shape that y had: (n,) or (n, k)."""
        return self._decide(self._raw(X, "predict"))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² = 1 − Σ(y − ŷ)²/Σ(y − ȳ)²."""
        return float(r2_score(to_host(y), to_host(self.predict(X)), sample_weight=to_host(sample_weight)))

    def _score(self, x: Array, y: Any) -> float:
        return float(r2_score(y, to_host(self._decide(self.model_.predict(x)))))

    def _decide(self, z: Array) -> Array:
        y = LINKS[self.out_activation_](z)
        return y if self._columns else namespace(y).reshape(y, (-1,))

    def _encode(self, y: Any, classes: Any, fresh: bool) -> Any:
        y = y.astype("float64")
        if fresh:
            self._columns = y.ndim > 1
            self.n_outputs_ = y.shape[1] if y.ndim > 1 else 1
            link = "exp" if self.loss == "poisson" else getattr(self._loss()[0], "link", None)
            self.out_activation_ = {"exp": "exp", "sigmoid": "logistic", "softmax": "softmax"}.get(str(link), "identity")
        if (y.shape[1] if y.ndim > 1 else 1) != self.n_outputs_:
            raise ValueError(f"y has shape {y.shape}; the network was made for {self.n_outputs_} outputs")
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError('loss="poisson": y holds counts, and some are negative')
        return y.reshape(len(y), -1)

    def _loss(self) -> tuple[Any, float]:
        if self.loss == "squared_error":
            return losses.MeanSquaredError(), 0.5 * self.n_outputs_
        if self.loss == "poisson":
            return losses.Poisson(log_input=True), float(self.n_outputs_)
        return losses.get(self.loss), 1.0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


__all__ = ["MLPClassifier", "MLPRegressor"]
