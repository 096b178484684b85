"""Metrics against scikit-learn, in one call and as sums over batches, on every backend."""

import dataclasses
import inspect
import warnings

import numpy as np
import pytest

import backends
from ann import metrics

rng = np.random.default_rng(11)
N, K = 60, 4
LABELS = rng.integers(0, K, N)
SCORES = np.round(rng.dirichlet(np.ones(K), N), 1)  # rounded: many are equal
SCORES = SCORES + 0.3 * np.eye(K)[LABELS]
WEIGHTS = rng.uniform(0.0, 2.0, N)
YES, P = rng.integers(0, 2, N), np.round(rng.random(N), 1)
SEVERAL = rng.integers(0, 2, (N, 3))  # several labels at once
OUTPUTS = rng.random((N, 3))
weightings = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


def sklearn(name, *args, **options):
    module = pytest.importorskip("sklearn.metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(module, name)(*args, **options)


def whole(backend, metric, y, p, w):
    found = metric(backend.asarray(y), backend.asarray(p), None if w is None else backend.asarray(w))
    assert backends.of(found).name == backend.name and found.dtype == backend.library.dtype(str(p.dtype))
    return backend.to_numpy(found)


def in_batches(backend, metric, y, p, w):
    """The value of the sums of unequal batches, as a training loop adds them."""
    total = None
    for rows in (slice(0, 1), slice(1, 33), slice(33, None)):
        part = metric.sums(backend.asarray(y[rows]), backend.asarray(p[rows]), None if w is None else backend.asarray(w[rows]))
        total = part if total is None else {name: total[name] + part[name] for name in total}
    return backend.to_numpy(metric.value(total))


# ------------------------------------------------------------------------------------------------------------- decisions

SHARES = {
    "precision": (metrics.Precision, "precision_score", {}),
    "recall": (metrics.Recall, "recall_score", {}),
    "f1": (metrics.F1Score, "f1_score", {}),
    "f2": (metrics.FBetaScore, "fbeta_score", {"beta": 2.0}),
}


@weightings
@pytest.mark.parametrize("name", SHARES)
def test_shares_of_right_decisions_are_those_of_scikit_learn(name, weighted, backend):
    make, truth, options = SHARES[name]
    w = WEIGHTS if weighted else None
    for average in ("macro", "micro", "weighted", None):
        metric = make(average, **options)
        wanted = sklearn(truth, LABELS, SCORES.argmax(axis=1), average=average, sample_weight=w, **options)
        for labels in (LABELS, LABELS[:, None].astype("uint8"), np.eye(K)[LABELS], np.eye(K, dtype=bool)[LABELS]):
            np.testing.assert_allclose(whole(backend, metric, labels, SCORES, w), wanted, rtol=1e-12)
        np.testing.assert_allclose(in_batches(backend, metric, LABELS, SCORES, w), wanted, rtol=1e-12)
        wanted = sklearn(truth, SEVERAL, OUTPUTS > 0.6, average=average, sample_weight=w, **options)
        np.testing.assert_allclose(in_batches(backend, make(average, 0.6, **options), SEVERAL, OUTPUTS, w), wanted, rtol=1e-12)
    wanted = sklearn(truth, YES, P > 0.5, sample_weight=w, **options)
    for y, p in ((YES, P), (YES[:, None], P[:, None]), (YES, P[:, None]), (YES == 1, P), (YES.astype(float), P)):
        np.testing.assert_allclose(in_batches(backend, make(**options), y, p, w), wanted, rtol=1e-12)
    np.testing.assert_allclose(whole(backend, make(threshold=0.3, **options), YES, P, w), sklearn(truth, YES, P > 0.3, sample_weight=w, **options), rtol=1e-12)


def test_classes_that_do_not_occur_do_not_count_and_a_share_of_nothing_is_zero(backend):
    y, p = np.array([0, 0, 2]), np.eye(5)[[0, 2, 2]]
    for name, (make, truth, options) in SHARES.items():
        wanted = sklearn(truth, y, p.argmax(axis=1), average="macro", **options)
        assert abs(whole(backend, make(**options), y, p, None) - wanted) < 1e-15, name
        assert whole(backend, make(**options), np.zeros(3), np.zeros(3), None) == 0
        assert whole(backend, make(**options), np.zeros((0,), dtype="int64"), np.zeros((0, 5)), None) == 0


@weightings
@pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
def test_confusion_matrix_is_that_of_scikit_learn(normalize, weighted, backend):
    w = WEIGHTS if weighted else None
    wanted = sklearn("confusion_matrix", LABELS, SCORES.argmax(axis=1), sample_weight=w, normalize=normalize)
    metric = metrics.ConfusionMatrix(normalize=normalize)
    for y in (LABELS, np.eye(K)[LABELS]):
        np.testing.assert_allclose(in_batches(backend, metric, y, SCORES, w), wanted, rtol=1e-12)
    wanted = sklearn("confusion_matrix", YES, P > 0.5, sample_weight=w, normalize=normalize)
    np.testing.assert_allclose(in_batches(backend, metric, YES[:, None], P[:, None], w), wanted, rtol=1e-12)
    found = metrics.confusion_matrix(backend.asarray(YES), backend.asarray(P), sample_weight=None if w is None else backend.asarray(w), normalize=normalize)
    np.testing.assert_allclose(backend.to_numpy(found), wanted, rtol=1e-12)


def test_sums_count_words_and_pixels_too_by_the_weight_of_their_example(backend):
    y, p = rng.integers(0, 3, (6, 5)), rng.random((6, 5, 3))
    w = rng.random(6)
    for weights in (None, w):
        flat = None if weights is None else np.repeat(weights, 5)
        wanted = sklearn("f1_score", y.ravel(), p.reshape(-1, 3).argmax(axis=1), average="macro", sample_weight=flat)
        assert abs(whole(backend, metrics.f1_score, y, p, weights) - wanted) < 1e-14
        wanted = sklearn("roc_auc_score", np.eye(3)[y.ravel()], p.reshape(-1, 3), sample_weight=flat)
        assert abs(whole(backend, metrics.auc, y, p, weights) - wanted) < 1e-14


# ----------------------------------------------------------------------------------------------------------------- areas


@weightings
@pytest.mark.parametrize("curve", ["ROC", "PR"])
def test_areas_are_exact_with_equal_scores_and_weights(curve, weighted, backend):
    w = WEIGHTS if weighted else None
    truth = {"ROC": "roc_auc_score", "PR": "average_precision_score"}[curve]
    metric = metrics.AUC(curve)
    for y, p in ((YES, P), (YES[:, None], P[:, None]), (YES == 1, P)):
        assert abs(whole(backend, metric, y, p, w) - sklearn(truth, YES, P, sample_weight=w)) < 1e-14
    assert abs(whole(backend, metric, SEVERAL, OUTPUTS, w) - sklearn(truth, SEVERAL, OUTPUTS, sample_weight=w)) < 1e-14
    shares = SCORES / SCORES.sum(axis=1, keepdims=True)
    wanted = sklearn(truth, np.eye(K)[LABELS], shares, sample_weight=w, average="macro")
    for y in (LABELS, np.eye(K)[LABELS]):
        assert abs(whole(backend, metric, y, shares, w) - wanted) < 1e-14


def test_area_is_a_count_of_pairs_and_nan_without_them(backend):
    s = np.array([3.0, 1.0, 2.0, 2.0], dtype="float32")
    assert whole(backend, metrics.auc, np.array([1, 0, 1, 0]), s, None) == (1 + 1 + 1 + 0.5) / 4
    assert whole(backend, metrics.auc, np.array([1, 0, 1, 0]), -s, None) == 0.5 / 4
    for y in (np.zeros(4, dtype="int64"), np.ones(4, dtype="int64")):
        assert np.isnan(whole(backend, metrics.auc, y, s, None))
    big = rng.random(200_000).astype("float32")  # counts are exact in float32
    y = rng.integers(0, 2, big.size)
    assert abs(metrics.auc(y, big) - sklearn("roc_auc_score", y, big)) < 2e-7


# ------------------------------------------------------------------------------------------------------------ regression


@weightings
def test_errors_and_r2_are_those_of_scikit_learn(weighted, backend):
    w = WEIGHTS if weighted else None
    for y, p in ((P, OUTPUTS[:, 0]), (OUTPUTS, SCORES[:, 1:]), (np.ones(N), P), (np.ones(N), np.ones(N))):
        assert abs(whole(backend, metrics.r2_score, y, p, w) - sklearn("r2_score", y, p, sample_weight=w)) < 1e-12
    wanted = np.sqrt(sklearn("mean_squared_error", OUTPUTS, SCORES[:, 1:], sample_weight=w))
    for found in (whole, in_batches):
        assert abs(found(backend, metrics.root_mean_squared_error, OUTPUTS, SCORES[:, 1:], w) - wanted) < 1e-14


def test_r2_keeps_its_digits_far_from_zero_in_float32(backend):
    y = (10_000 + rng.normal(size=500)).astype("float32")
    p = (y + 0.5 * rng.normal(size=500)).astype("float32")
    wanted = sklearn("r2_score", y.astype("float64"), p.astype("float64"))
    assert abs(whole(backend, metrics.r2_score, y, p, None) - wanted) < 1e-5


# --------------------------------------------------------------------------------------------------------------- by name


def test_metrics_are_found_by_name_and_have_a_label():
    for name in metrics.METRICS:
        assert callable(metrics.get(name))
    assert metrics.get("f1") == metrics.F1Score() and metrics.get("top_3") == metrics.TopKCategoricalAccuracy(3)
    assert metrics.get("Precision") == metrics.Precision() and metrics.get(mine := lambda y, p: p) is mine
    assert [metrics.label(m) for m in ("f1", metrics.F1Score(), metrics.AUC(name="area"), metrics.accuracy, metrics.TopKCategoricalAccuracy())] == [
        "f1", "f1_score", "area", "accuracy", "top_k_categorical_accuracy",
    ]  # fmt: skip
    assert metrics.labels(["auc", metrics.AUC("PR"), metrics.AUC(), "mse"]) == ["auc", "auc_1", "auc_2", "mse"]
    with pytest.raises(ValueError, match='unknown metric "presicion". Did you mean "precision"'):
        metrics.get("presicion")
    with pytest.raises(TypeError, match=r"write AUC\(\)"):
        metrics.get(metrics.AUC)
    for make, message in (
        (lambda: metrics.Precision("mean"), "average is"),
        (lambda: metrics.AUC("roc"), "curve is"),
        (lambda: metrics.ConfusionMatrix(normalize="rows"), "normalize is"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_metrics_with_options_are_their_functions(backend):
    y, p, s = backend.asarray(YES), backend.asarray(P), backend.asarray(SCORES)
    found = metrics.BinaryAccuracy(0.3)(y, p)
    np.testing.assert_array_equal(backend.to_numpy(found), (P > 0.3) == (YES == 1))
    for k in (1, 2):
        wanted = sklearn("top_k_accuracy_score", LABELS, SCORES + 1e-6 * np.arange(K), k=k)
        for labels in (LABELS, np.eye(K)[LABELS]):
            assert abs(backend.to_numpy(metrics.get(f"top_{k}")(backend.asarray(labels), backend.asarray(SCORES + 1e-6 * np.arange(K)))).mean() - wanted) < 1e-15
    assert metrics.TopKCategoricalAccuracy(4)(backend.asarray(LABELS), s).shape == (N,)


def test_classes_of_means_have_the_options_and_defaults_of_their_functions():
    for kind in (value for value in vars(metrics).values() if isinstance(value, type) and issubclass(value, metrics.Mean) and value is not metrics.Mean):
        options = {p.name: p.default for p in inspect.signature(kind.function).parameters.values() if p.kind is p.KEYWORD_ONLY}
        assert options == {item.name: item.default for item in dataclasses.fields(kind) if item.name != "name"}
        assert metrics.label(kind()) == kind.function.__name__ and kind.__name__ in metrics.__all__


def test_losses_are_metrics_of_probabilities(backend):
    logs = sklearn("log_loss", LABELS, SCORES / SCORES.sum(axis=1, keepdims=True))
    p = backend.asarray(SCORES / SCORES.sum(axis=1, keepdims=True))
    found = backend.to_numpy(metrics.get("sparse_categorical_crossentropy")(backend.asarray(LABELS), p))
    assert found.shape == (N,) and abs(found.mean() - logs) < 1e-12
    a, b = backend.asarray(OUTPUTS), backend.asarray(SCORES[:, 1:])
    cosine = backend.to_numpy(metrics.get("cosine_similarity")(a, b))
    np.testing.assert_allclose(cosine, sklearn_pairs(OUTPUTS, SCORES[:, 1:]), rtol=1e-12)
    for name, truth in (("mse", "mean_squared_error"), ("mae", "mean_absolute_error"), ("mape", "mean_absolute_percentage_error"), ("msle", "mean_squared_log_error")):
        each = backend.to_numpy(metrics.get(name)(a, b))
        assert abs(each.mean() - sklearn(truth, OUTPUTS, SCORES[:, 1:]) * (100 if name == "mape" else 1)) < 1e-11


def sklearn_pairs(a, b):
    return 1 - pytest.importorskip("sklearn.metrics.pairwise").paired_cosine_distances(a, b)


def test_the_kinds_of_metrics_are_told_apart():
    kinds = {"sums": {"precision", "recall", "f1", "rmse", "confusion_matrix"}, "whole": {"auc", "average_precision", "r2"}}
    for kind, names in kinds.items():
        assert all(hasattr(metrics.get(name), kind) for name in names)
        assert not any(hasattr(metrics.get(name), kind) for name in ({"accuracy", "mse", "top_5"} | set.union(*kinds.values())) - names)


def test_bad_arguments_are_refused_with_what_was_wanted(backend):
    y, p = backend.asarray(LABELS), backend.asarray(SCORES)
    for metric in (metrics.precision, metrics.auc, metrics.ConfusionMatrix()):
        with pytest.raises(ValueError, match=r"wanted: labels \(60,\) or \(60, 4\). Is the order"):
            metric(backend.asarray(LABELS[:50]), p)
    for metric in (metrics.precision, metrics.auc):
        with pytest.raises(TypeError, match="y_pred holds floats"):
            metric(p, y)
    with pytest.raises(ValueError, match="classes="):
        metrics.confusion_matrix(y, y)
    with pytest.raises(ValueError, match="must agree"):
        metrics.r2_score(backend.asarray(P), backend.asarray(P[:, None]))


def test_metrics_trace_under_jax_jit():
    jax = pytest.importorskip("jax")
    for name, y, p in (("f1", LABELS, SCORES), ("auc", YES, P), ("average_precision", YES, P), ("r2", OUTPUTS, SCORES[:, 1:]), ("rmse", P, P + 1), ("confusion_matrix", LABELS, SCORES)):
        y, p = jax.numpy.asarray(y), jax.numpy.asarray(p)
        metric = metrics.get(name)
        np.testing.assert_allclose(jax.jit(lambda y, p, w: metric(y, p, w))(y, p, p[..., 0] if p.ndim > 1 else p), metric(y, p, p[..., 0] if p.ndim > 1 else p), rtol=1e-12)
