"""The estimators are scikit-learn's in every respect that scikit-learn checks, learn as well as its own, and stay on the device."""

import copy
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from scipy.special import xlogy
from sklearn import datasets, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import ann
from ann.estimators import MLPClassifier, MLPRegressor

ROOT = Path(__file__).parent.parent
IRIS, LABELS = datasets.load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[LABELS]
QUICK = {"hidden_layer_sizes": (10,), "learning_rate_init": 0.02, "max_iter": 40, "n_iter_no_change": 3, "random_state": 0}


@pytest.fixture(autouse=True)
def _unfinished_training_is_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def checked(estimator):
    return check_estimator(estimator, on_fail="raise", on_skip=None)


@pytest.mark.parametrize("estimator", [MLPClassifier(**QUICK), MLPRegressor(**QUICK)], ids=lambda e: type(e).__name__)
def test_check_estimator_passes_whole(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = checked(estimator)
    assert sum(result["status"] == "passed" for result in results) > 50


@pytest.mark.full
def test_check_estimator_passes_with_the_defaults():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checked(MLPClassifier())
        checked(MLPRegressor())


def test_scikit_learns_checks_of_array_api_estimators_pass():
    """They run only where SCIPY_ARRAY_API is set before SciPy is imported: in a process of their own."""
    code = "\n".join([
        "import warnings; warnings.simplefilter('ignore')",
        "from test_estimators import MLPClassifier, MLPRegressor, QUICK",
        "from sklearn.utils import estimator_checks",
        "for estimator in (MLPClassifier(**QUICK | {'max_iter': 3}), MLPRegressor(**QUICK | {'max_iter': 3})):",
        "    done = 0",
        "    for check in estimator_checks._yield_array_api_checks(estimator):",
        "        try:",
        "            check(type(estimator).__name__, estimator)",
        "            done += 1",
        "        except estimator_checks.SkipTest:",
        "            pass",
        "    print(done)",
    ])  # fmt: skip
    environment = os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-3000:]
    assert all(int(count) >= 4 for count in run.stdout.split()), run.stdout


# ------------------------------------------------------------------------------------------------- the same arithmetic


def problem(kind, rng):
    x = rng.normal(size=(60, 5))
    z = x @ rng.normal(size=(5, 3))
    return x, {"binary": (z[:, 0] > 0).astype(int), "classes": z.argmax(axis=1), "labels": (z > 0).astype(int), "numbers": z[:, 0], "several": z, "counts": np.floor(np.exp(z[:, 0] / 3))}[kind]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("binary", {"alpha": 0.3}),
        ("binary", {"activation": "logistic", "momentum": 0.5, "nesterovs_momentum": False}),
        ("classes", {"activation": "tanh", "alpha": 0.1, "weights": True}),
        ("labels", {"hidden_layer_sizes": (6, 4)}),
        ("numbers", {"alpha": 1.0, "weights": True}),
        ("several", {"activation": "identity"}),
        ("counts", {"loss": "poisson"}),
        ("classes", {"solver": "adam", "learning_rate_init": 0.01}),
        ("numbers", {"learning_rate": "invscaling", "momentum": 0.0}),
    ],
    ids=str,
)
def test_training_from_the_same_weights_is_scikit_learns(kind, options):
    """Three epochs of batches of 20, not shuffled: the same losses and weights as sklearn.neural_network."""
    rng = np.random.default_rng(2)
    x, y = problem(kind, rng)
    options = {"hidden_layer_sizes": (7,), "solver": "sgd", "learning_rate_init": 0.05, "alpha": 0.0} | options
    weights = rng.uniform(0.5, 2.0, size=60) if options.pop("weights", False) else None
    if weights is not None:
        options["batch_size"] = 60  # the penalty of a batch is divided by its own weights there, by the mean of all here
    common = {"shuffle": False, "batch_size": 20, "warm_start": True, "max_iter": 1, "random_state": 0} | options
    name = "MLPRegressor" if kind in ("numbers", "several", "counts") else "MLPClassifier"
    theirs, ours = getattr(neural_network, name)(**common).fit(x, y), getattr(ann.estimators, name)(**common).fit(x, y)
    theirs.coefs_, theirs.intercepts_ = copy.deepcopy(ours.coefs_), copy.deepcopy(ours.intercepts_)
    for estimator in (theirs, ours):
        estimator.set_params(max_iter=3).fit(x, y, sample_weight=weights)
    tolerance = 1e-10 if common["solver"] == "sgd" else 1e-4  # Adam: their ε stands elsewhere
    for a, b in zip(theirs.coefs_ + theirs.intercepts_, ours.coefs_ + ours.intercepts_, strict=True):
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)
    factor = 3.0 if kind == "several" else 1.0  # their loss_ is a mean over the outputs, their gradient that of the sum
    constant = np.mean(xlogy(y, y) - y) if kind == "counts" else 0.0
    np.testing.assert_allclose(ours.loss_curve_[1:], factor * np.array(theirs.loss_curve_[1:]) - constant, rtol=tolerance)
    for attribute in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "t_"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert ours.loss_ == ours.loss_curve_[-1] and ours.best_loss_ == min(ours.loss_curve_)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=10 * tolerance)
    if name == "MLPClassifier":
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=10 * tolerance)
        np.testing.assert_allclose(ours.predict_log_proba(x), np.log(theirs.predict_proba(x)), atol=100 * tolerance)


@pytest.mark.parametrize("kind", ["binary", "classes", "labels", "numbers"])
def test_lbfgs_finds_the_optimum_that_scikit_learn_finds(kind):
    """Without a hidden layer the problem is convex."""
    x, y = problem(kind, np.random.default_rng(4))
    name = "MLPRegressor" if kind == "numbers" else "MLPClassifier"
    common = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 1.0, "tol": 1e-7, "max_iter": 500, "random_state": 0}
    theirs, ours = getattr(neural_network, name)(**common).fit(x, y), getattr(ann.estimators, name)(**common).fit(x, y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], atol=5e-4)  # theirs stops when the loss falls by 2e-9
    assert theirs.loss_ * (1 - 1e-6) < ours.loss_ < theirs.loss_ * (1 + 1e-12) and ours.n_iter_ == len(ours.loss_curve_) < 100


@pytest.mark.parametrize(
    ("load", "name", "options", "margin"),
    [
        (datasets.load_digits, "MLPClassifier", {"max_iter": 10, "hidden_layer_sizes": (40,), "learning_rate_init": 0.005}, 0.02),
        (datasets.load_iris, "MLPClassifier", {"learning_rate_init": 0.02, "max_iter": 60}, 0.05),
        (datasets.load_diabetes, "MLPRegressor", {"learning_rate_init": 0.03, "alpha": 1.0, "hidden_layer_sizes": (20,)}, 0.08),
    ],
    ids=["digits", "iris", "diabetes"],
)
def test_what_is_learned_is_as_good_as_scikit_learns(load, name, options, margin):
    x, y = load(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, random_state=0, test_size=0.3)
    scores = [
        make_pipeline(StandardScaler(), getattr(module, name)(random_state=1, **options)).fit(x, y).score(x_test, y_test)
        for module in (neural_network, ann.estimators)
    ]
    assert scores[1] > scores[0] - margin, scores


# ------------------------------------------------------------------------------------------------- in scikit-learn


def test_in_a_pipeline_and_a_grid_search_with_labels_as_text():
    search = GridSearchCV(make_pipeline(StandardScaler(), MLPClassifier(**QUICK)), {"mlpclassifier__hidden_layer_sizes": [(2,), (10,)], "mlpclassifier__dropout": [0.0, 0.2]}, cv=3)
    search.fit(IRIS, NAMES)
    assert search.best_score_ > 0.9 and search.predict(IRIS).dtype == NAMES.dtype and set(search.classes_) == set(NAMES)


def test_survives_clone_deepcopy_and_pickle(backend):
    """What a pickle holds goes on training as the estimator itself."""
    x, y = backend.asarray(IRIS, dtype="float32"), backend.asarray(LABELS)
    rate = 0.1 if backend.name == "numpy" else 0.0  # quick: Philox under jax.jit compiles for long
    estimator = MLPClassifier(**QUICK | {"max_iter": 2}, activation=ann.tanh, dropout=rate, callbacks=[ann.callbacks.EarlyStopping("loss")]).fit(x, y)
    twins = [pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)]
    wanted = backend.to_numpy(estimator.partial_fit(x, y).predict_proba(x))
    for twin in twins:
        assert np.array_equal(backend.to_numpy(twin.partial_fit(x, y).predict_proba(x)), wanted)
    fresh = clone(estimator)
    assert not hasattr(fresh, "classes_") and not hasattr(fresh, "coefs_") and fresh.get_params()["activation"] is ann.tanh
    with pytest.raises(NotFittedError):
        fresh.predict(x)


def test_parameters_may_be_numbers_of_numpy():
    found = MLPClassifier(np.int64(4), max_iter=np.int64(2), batch_size=np.int64(50), alpha=np.float64(0.1)).fit(IRIS, LABELS)
    assert [c.shape for c in found.coefs_] == [(4, 4), (4, 3)] and found.n_iter_ == 2


def test_the_seed_decides():
    a, b, c = (MLPClassifier(**QUICK | {"random_state": seed}).fit(IRIS, LABELS).predict_proba(IRIS) for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_partial_fit_is_fit_epoch_by_epoch():
    whole = MLPClassifier(**QUICK | {"max_iter": 3}).fit(IRIS, NAMES)
    parts = MLPClassifier(**QUICK)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        parts.partial_fit(IRIS, NAMES)
    parts.partial_fit(IRIS, NAMES, classes=np.unique(NAMES))
    parts.partial_fit(IRIS, NAMES)
    parts.partial_fit(IRIS, NAMES)
    np.testing.assert_array_equal(parts.predict_proba(IRIS), whole.predict_proba(IRIS))
    assert parts.loss_curve_ == whole.loss_curve_ and parts.t_ == whole.t_ == 450 and parts.n_iter_ == 1
    with pytest.raises(ValueError, match="y has classes that are not in classes_: rose"):
        parts.partial_fit(IRIS[:2], ["rose", "setosa"])
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")


def test_warm_start_goes_on_from_the_weights():
    estimator = MLPClassifier(**QUICK | {"max_iter": 5, "warm_start": True}).fit(IRIS, LABELS)
    first = estimator.loss_
    estimator.fit(IRIS, LABELS)
    assert estimator.loss_ < first and estimator.n_iter_ == 5 and len(estimator.loss_curve_) == 10
    assert clone(estimator).set_params(warm_start=False).fit(IRIS, LABELS).loss_ == first


# ------------------------------------------------------------------------------------------------- on the device


def test_stays_in_the_library_of_x(backend):
    x, y = backend.asarray(IRIS, dtype="float32"), backend.asarray(LABELS)
    estimator = MLPClassifier(**QUICK).fit(x, y, sample_weight=backend.asarray(np.ones(150)))
    assert estimator.model_.backend.library is backend.library and estimator.model_.dtype == "float32"
    answers = [estimator.predict(x), estimator.predict_proba(x), estimator.predict_log_proba(x), *estimator.coefs_, *estimator.intercepts_]
    assert all(type(a) is type(x) and backend.library.device_of(a) == backend.library.device_of(x) for a in answers)
    assert type(estimator.classes_) is np.ndarray and estimator.score(x, y) > 0.9
    labels = MLPClassifier(**QUICK | {"max_iter": 10}, early_stopping=True, batch_size=16).fit(x, NAMES).predict(x)
    assert type(labels) is np.ndarray and np.mean(labels == NAMES) > 0.8
    r = MLPRegressor(**QUICK).fit(x, x[:, 0])
    assert type(r.predict(x)) is type(x) and tuple(r.predict(x).shape) == (150,)
    assert tuple(r.fit(x, x[:, :1]).predict(x).shape) == (150, 1)


def test_host_data_travel_to_the_backend_and_back(backend):
    estimator = MLPClassifier(**QUICK, backend=backend.name).fit(IRIS, NAMES)
    assert estimator.model_.backend.name == backend.name and estimator.model_.dtype == "float64"
    assert all(type(a) is np.ndarray for a in (estimator.predict(IRIS), estimator.predict_proba(IRIS), *estimator.coefs_))
    wanted = MLPClassifier(**QUICK).fit(IRIS, NAMES).predict_proba(IRIS)
    np.testing.assert_allclose(estimator.predict_proba(IRIS), wanted, rtol=1e-7, atol=1e-9)


# ------------------------------------------------------------------------------------------------- what scikit-learn lacks


def test_class_weights_are_sample_weights():
    weights = {"setosa": 1.0, "versicolor": 5.0, "virginica": 0.5}
    a = MLPClassifier(**QUICK, class_weight=weights).fit(IRIS, NAMES)
    b = MLPClassifier(**QUICK).fit(IRIS, NAMES, sample_weight=[weights[name] for name in NAMES])
    np.testing.assert_allclose(a.predict_proba(IRIS), b.predict_proba(IRIS), rtol=1e-12)
    few = np.r_[0:50, 50:55]
    plain, balanced = (MLPClassifier(**QUICK | {"max_iter": 2}, class_weight=w).fit(IRIS[few], LABELS[few]) for w in (None, "balanced"))
    assert balanced.predict_proba(IRIS[50:100])[:, 1].mean() > plain.predict_proba(IRIS[50:100])[:, 1].mean()


def test_validation_data_are_scored_and_early_stopping_keeps_the_best():
    x, x_val, y, y_val = train_test_split(IRIS, NAMES, random_state=0, test_size=0.4)
    told = []
    callback = ann.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: told.append(logs["val_loss"]))
    estimator = MLPClassifier(**QUICK, early_stopping=True, callbacks=[callback]).fit(x, y, validation_data=(x_val, y_val))
    assert len(estimator.validation_scores_) == len(told) == estimator.n_iter_ == len(estimator.loss_curve_)
    assert estimator.best_validation_score_ == max(estimator.validation_scores_) == estimator.score(x_val, y_val)
    split = MLPClassifier(**QUICK, early_stopping=True).fit(x, y)
    assert split.best_validation_score_ == max(split.validation_scores_) and split.validation_scores_ != estimator.validation_scores_
    assert MLPClassifier(**QUICK).fit(x, y).validation_scores_ is None
    found = MLPRegressor("squared_error", (), solver="lbfgs").fit(x, x[:, 0], validation_data=(x_val, x_val[:, 0]))
    assert found.validation_scores_ == [found.score(x_val, x_val[:, 0])] and found.score(x_val, x_val[:, 0]) > 0.99


def test_ann_callbacks_can_end_the_training():
    estimator = MLPClassifier(**QUICK, callbacks=[ann.callbacks.EarlyStopping("val_loss", patience=0, min_delta=10.0)])
    assert estimator.fit(IRIS, LABELS, validation_data=(IRIS, LABELS)).n_iter_ < 4


def test_other_losses_activations_and_dropout():
    two = LABELS < 2
    smooth = MLPClassifier(**QUICK, loss=ann.losses.CategoricalCrossentropy(label_smoothing=0.2)).fit(IRIS[two], NAMES[two])
    assert smooth.n_outputs_ == 2 and smooth.predict_proba(IRIS[two]).shape == (100, 2) and smooth.score(IRIS[two], NAMES[two]) == 1.0
    assert smooth.predict_proba(IRIS[two]).max() < 0.99  # the smoothed optimum is 0.9

    def brier(y_true, y_pred):
        xp = ann.namespace(y_true, y_pred)
        return xp.sum((ann.softmax(y_pred) - y_true) ** 2, axis=-1)

    assert MLPClassifier(**QUICK, loss=brier).fit(IRIS, NAMES).score(IRIS, NAMES) > 0.9
    assert MLPRegressor(**QUICK | {"max_iter": 200, "n_iter_no_change": 20}, loss="huber").fit(IRIS, IRIS[:, 0]).score(IRIS, IRIS[:, 0]) > 0.8
    deep = MLPClassifier(**QUICK | {"hidden_layer_sizes": (8, 6)}, activation=["silu", ann.gelu], dropout=[0.0, 0.3]).fit(IRIS, LABELS)
    assert [repr(layer) for layer in deep.model_.net.layers][2] == "Dropout(0.3)" and deep.score(IRIS, LABELS) > 0.8
    assert deep.n_layers_ == 4 and [c.shape for c in deep.coefs_] == [(4, 8), (8, 6), (6, 3)]


def test_the_learning_rate_falls_as_in_scikit_learn():
    options = QUICK | {"solver": "sgd", "shuffle": False}
    scaled = MLPClassifier(**options | {"learning_rate": "invscaling", "power_t": 0.25, "max_iter": 4}).fit(IRIS, LABELS)
    assert scaled.model_.learning_rate == pytest.approx(0.02 / (4 * 150 + 1) ** 0.25, rel=1e-6)
    stuck = MLPClassifier(**options | {"learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1, "max_iter": 100}).fit(IRIS, LABELS)
    assert stuck.n_iter_ == 1 + 2 * 8 and stuck.model_.learning_rate == pytest.approx(0.02 / 5**7, rel=1e-6)  # the eighth finds it below 1e-6


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"solver": "newton"}, 'solver is "adam", "sgd" or "lbfgs"; \'newton\' came'),
        ({"learning_rate": "cosine"}, "learning_rate is "),
        ({"hidden_layer_sizes": (10, 0)}, "hidden_layer_sizes is positive integers"),
        ({"alpha": -1.0}, "alpha is not negative"),
        ({"batch_size": 0}, "batch_size is"),
        ({"max_iter": 2.5}, "max_iter is a positive integer"),
        ({"activation": "softplush"}, "softplush"),
        ({"activation": ["relu", "tanh"]}, "activation has 2 entries, there are 1 hidden layers"),
        ({"loss": "logloss"}, "unknown loss"),
        ({"loss": ann.losses.BinaryCrossentropy(from_logits=False)}, "from_logits=True"),
        ({"solver": "lbfgs", "dropout": 0.5}, "dropout=0.5 is random, which L-BFGS cannot search"),
    ],
)
def test_wrong_parameters_are_named(parameters, text):
    with pytest.raises(ValueError, match=text):
        MLPClassifier(**{"hidden_layer_sizes": (4,), "max_iter": 1} | parameters).fit(IRIS, LABELS)


def test_wrong_data_are_named(backend):
    x = backend.asarray(IRIS)
    estimator = MLPRegressor(**QUICK | {"max_iter": 1})
    for X, y, text in (
        (backend.asarray(IRIS * np.where(IRIS > 7, np.nan, 1)), IRIS[:, 0], "not finite|NaN"),
        (x[0, :], IRIS[:4, 0], "1D array|holds numbers in rows"),
        (x, IRIS[:9, 0], "inconsistent numbers of samples"),
        (x, None, "requires y to be passed"),
    ):
        with pytest.raises(ValueError, match=text):
            estimator.fit(X, y)
    estimator.fit(x, IRIS[:, 0])
    with pytest.raises(ValueError, match="3 features"):
        estimator.predict(x[:, :3])


def test_without_scikit_learn_the_extra_is_named():
    code = "import sys; sys.modules['sklearn'] = None\nimport ann\nann.estimators"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "ann.estimators needs scikit-learn" in run.stderr and "pip install 'ann-array-api[sklearn]'" in run.stderr
    with pytest.raises(AttributeError, match="no attribute 'estimator'"):
        ann.estimator  # noqa: B018
