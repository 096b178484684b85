"""Losses and metrics: against PyTorch and mpmath, at huge logits, for every kind of label, and what they refuse."""

import dataclasses
import inspect
import math

import mpmath
import numpy as np
import pytest

import ann
from ann import losses, metrics

rng = np.random.default_rng(3)
LABELS, LOGITS = rng.integers(0, 5, (8,)), rng.normal(size=(8, 5)) * 3
WEIGHTS = rng.uniform(0.0, 2.0, size=(8,))


def value_and_slope(backend, loss, y, z, **options):
    """The loss and its gradient by z, as NumPy."""
    value, slope = ann.value_and_grad(lambda z, y: loss(y, z, **options))(backend.asarray(z), backend.asarray(y))
    return backend.to_numpy(value), backend.to_numpy(slope)


def of_torch(f, z):
    torch = pytest.importorskip("torch")
    z = torch.tensor(z, requires_grad=True)
    value = f(torch.nn.functional, torch.tensor, z)
    value.backward()
    return value.detach().numpy(), z.grad.numpy()


# -------------------------------------------------------------------------------------------------------- cross-entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignore", [None, 2, -100])
def test_smoothing_and_ignored_labels_together_are_those_of_torch(smoothing, ignore, backend):
    y = LABELS.copy()
    y[[1, 5]] = 2 if ignore is None else ignore
    ours = value_and_slope(backend, losses.categorical_crossentropy, y, LOGITS, label_smoothing=smoothing, ignore_class=ignore)
    other = -1 if ignore is None else ignore
    theirs = of_torch(lambda F, t, z: F.cross_entropy(z, t(y), label_smoothing=smoothing, ignore_index=other), LOGITS)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("ignore", [None, 2, -100])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_with_smoothing_and_ignored_labels_are_those_of_torch(ignore, smoothing, backend):
    y, w = LABELS.copy(), [0.5, 2.0, 0.25, 1.0, 3.0]
    y[[0, 3]] = 1 if ignore is None else ignore
    options = {"label_smoothing": smoothing, "ignore_class": ignore, "class_weight": w}
    other = -1 if ignore is None else ignore
    for reduction in ("mean", "sum", "none"):
        truth = of_torch(lambda F, t, z: F.cross_entropy(z, t(y), t(w).double(), label_smoothing=smoothing, ignore_index=other, reduction=reduction).sum(), LOGITS)
        ours = value_and_slope(backend, lambda y, z: ann.namespace(y, z).sum(losses.categorical_crossentropy(y, z, reduction=reduction, **options)), y, LOGITS)
        for a, b in zip(ours, truth, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    again = losses.categorical_crossentropy(backend.asarray(y), backend.asarray(probabilities), from_logits=False, reduction="sum", **options)
    wanted = losses.categorical_crossentropy(backend.asarray(y), backend.asarray(LOGITS), reduction="sum", **options)
    assert abs(float(again) - float(wanted)) < 1e-12 * abs(float(wanted))
    with pytest.raises(ValueError, match="class_weight has 2 entries for 5 classes"):
        losses.categorical_crossentropy(backend.asarray(y), backend.asarray(LOGITS), class_weight=(1.0, 2.0))


def test_weights_divide_by_their_sum_and_ignored_examples_do_not_count(backend):
    each = losses.categorical_crossentropy(backend.asarray(LABELS), backend.asarray(LOGITS), reduction="none")
    each = backend.to_numpy(each)
    counts = WEIGHTS * (LABELS != 2)
    w = backend.asarray(WEIGHTS)
    weighted = losses.categorical_crossentropy(backend.asarray(LABELS), backend.asarray(LOGITS), sample_weight=w, ignore_class=2)
    assert abs(float(weighted) - (each * counts).sum() / counts.sum()) < 1e-14
    keras = losses.categorical_crossentropy(backend.asarray(LABELS), backend.asarray(LOGITS), sample_weight=w, reduction="sum_over_batch_size")
    assert abs(float(keras) - (each * WEIGHTS).sum() / 8) < 1e-14
    total = losses.categorical_crossentropy(backend.asarray(LABELS), backend.asarray(LOGITS), sample_weight=w, reduction="sum")
    assert abs(float(total) - (each * WEIGHTS).sum()) < 1e-13
    with pytest.raises(ValueError, match="reduction"):
        losses.categorical_crossentropy(backend.asarray(LABELS), backend.asarray(LOGITS), reduction="average")


def test_all_kinds_of_labels_mean_the_same(backend):
    onehot = np.eye(5)[LABELS]
    kinds = [LABELS, LABELS[:, None], LABELS.astype("int32"), LABELS.astype("uint8"), onehot, onehot.astype("int64"), onehot.astype(bool)]
    found = [float(losses.categorical_crossentropy(backend.asarray(y), backend.asarray(LOGITS))) for y in kinds]
    assert max(found) - min(found) < 1e-15
    assert losses.sparse_categorical_crossentropy(backend.asarray(LABELS), backend.asarray(LOGITS)) == found[0]


def test_labels_of_pixels_and_words(backend):
    y, z = rng.integers(0, 3, (2, 4, 5)), rng.normal(size=(2, 4, 5, 3))
    ours = value_and_slope(backend, losses.categorical_crossentropy, y, z)
    theirs = of_torch(lambda F, t, z: F.cross_entropy(z.movedim(-1, 1), t(y)), z)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    assert losses.categorical_crossentropy(backend.asarray(y), backend.asarray(z), reduction="none").shape == (2, 4, 5)


def test_small_integer_labels_do_not_overflow_over_many_classes(backend):
    y, z = np.array([3, 255], dtype="uint8"), np.zeros((2, 1000))
    assert abs(float(losses.categorical_crossentropy(backend.asarray(y), backend.asarray(z), ignore_class=-1)) - math.log(1000)) < 1e-12


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cross_entropy_is_exact_for_huge_logits(dtype, backend):
    z = np.array([[1000.0, 0.0], [0.0, 1e30]], dtype=dtype)
    value, slope = value_and_slope(backend, losses.categorical_crossentropy, np.array([1, 1]), z)
    assert value == 500.0 and value.dtype == dtype
    np.testing.assert_array_equal(slope, np.array([[0.5, -0.5], [0, 0]], dtype=dtype))


def test_an_empty_batch_has_loss_and_gradient_zero(backend):
    for name, loss in losses.LOSSES.items():
        y = np.zeros((0,), dtype="int64") if loss.labels == "classes" else np.zeros((0, 3))
        value, slope = value_and_slope(backend, loss(), y, np.zeros((0, 3)))
        assert value == 0 and slope.shape == (0, 3), name


def test_when_all_labels_are_ignored_loss_and_gradient_are_zero(backend):
    value, slope = value_and_slope(backend, losses.categorical_crossentropy, np.full(8, -1), LOGITS, ignore_class=-1)
    assert value == 0 and not slope.any()
    value, slope = value_and_slope(backend, losses.mean_squared_error, LOGITS, LOGITS + 1, sample_weight=backend.asarray(np.zeros(8)))
    assert value == 0 and not slope.any()


def test_probabilities_hold_the_logarithm_above_minus_100_and_keep_the_gradient(backend):
    p = np.array([[0.0, 1.0], [1e-3, 0.999]])
    value, slope = value_and_slope(backend, losses.categorical_crossentropy, np.array([0, 0]), p, from_logits=False, reduction="sum")
    assert abs(value - (100 - math.log(1e-3))) < 1e-12
    assert slope[0, 0] < -1e40 and abs(slope[1, 0] + 1000) < 1e-9 and not slope[:, 1].any() and np.isfinite(slope).all()


# ----------------------------------------------------------------------------------------------------------- the others


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_classes_masked_by_minus_infinity_count_nothing(dtype, backend):
    z = np.array([[0.0, -np.inf, 1.0], [2.0, 0.5, -np.inf]], dtype=dtype)
    for y in (np.array([0, 1]), np.array([[0.5, 0, 0.5], [1, 0, 0]], dtype=dtype)):
        value, slope = value_and_slope(backend, losses.categorical_crossentropy, y, z)
        truth, wanted = of_torch(lambda F, t, z: F.cross_entropy(z, t(y)) if y.ndim == 1 else -(t(y) * F.log_softmax(z, -1)).nan_to_num(0).sum(-1).mean(), z)
        np.testing.assert_allclose(value, truth, rtol=1e-6)
        np.testing.assert_allclose(slope, np.nan_to_num(wanted), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 4e-16), ("float32", 3e-7)])
def test_log_cosh_keeps_its_digits_near_zero_and_far_out(dtype, tolerance, backend):
    d = np.array([1e-4, 1e-3, 0.03, 0.5, 0.999, 1.001, 3.0, 89.0, 1000.0], dtype=dtype)
    value, slope = value_and_slope(backend, lambda y, z: ann.namespace(y, z).sum(losses.log_cosh(y, z, reduction="none")), np.zeros_like(d), d)
    each = backend.to_numpy(losses.log_cosh(backend.asarray(np.zeros_like(d)), backend.asarray(d), reduction="none"))
    with mpmath.workdps(40):
        for x, y, g in zip(d, each, slope, strict=True):
            assert abs(y / mpmath.log(mpmath.cosh(mpmath.mpf(float(x)))) - 1) < tolerance
            assert abs(g / mpmath.tanh(mpmath.mpf(float(x))) - 1) < tolerance


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_focal_loss_is_finite_and_right_where_the_prediction_is_certain(dtype, backend):
    z = np.array([[1000.0, 0.0], [0.0, 1000.0], [0.0, 200.0]], dtype=dtype)
    for loss, y in ((losses.categorical_focal_crossentropy, np.array([0, 0, 1])), (losses.binary_focal_crossentropy, np.array([[1.0, 0], [1, 0], [0, 1]], dtype=dtype))):
        for gamma in (0.0, 0.5, 2.0):
            value, slope = value_and_slope(backend, loss, y, z, gamma=gamma)
            assert np.isfinite(value) and np.isfinite(slope).all()
    value, slope = value_and_slope(backend, losses.categorical_focal_crossentropy, np.array([0, 0, 1]), z, alpha=1.0, reduction="sum")
    assert value == 1000 and list(slope.ravel()) == [0, 0, -1, 1, 0, 0]
    plain = losses.categorical_crossentropy(backend.asarray(LABELS), backend.asarray(LOGITS))
    assert abs(float(losses.categorical_focal_crossentropy(backend.asarray(LABELS), backend.asarray(LOGITS), gamma=0.0, alpha=1.0)) - float(plain)) < 1e-14


def test_divergence_from_itself_is_zero_and_empty_classes_do_not_count(backend):
    p = np.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    value, slope = value_and_slope(backend, losses.kl_divergence, p, p, from_logits=False)
    assert abs(value) < 1e-16 and np.isfinite(slope).all()
    value, slope = value_and_slope(backend, losses.kl_divergence, p, np.array([[-800.0, 0.0, math.log(3)], [0.0, -800.0, -900.0]]))
    assert abs(value) < 1e-15 and abs(slope).max() < 1e-15


def test_hinge_takes_zero_as_minus_one(backend):
    z = rng.normal(size=(6, 2))
    y = rng.integers(0, 2, (6, 2))
    for loss in (losses.hinge, losses.squared_hinge):
        found = {round(float(loss(backend.asarray(t), backend.asarray(z))), 14) for t in (y, 2 * y - 1, y == 1, 2.0 * y - 1)}
        assert len(found) == 1


def test_the_cosine_of_nothing_is_zero_with_a_finite_gradient(backend):
    value, slope = value_and_slope(backend, losses.cosine_similarity, np.array([[1.0, 2.0], [0, 0]]), np.array([[0.0, 0.0], [1, 1]]))
    assert value == 0 and np.isfinite(slope).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_binary_crossentropy_from_logits_is_exact_in_both_tails(dtype, backend):
    """Through a clipped sigmoid it would be 16.118 for 20, 40 and 80."""
    z = np.array([-1000.0, -80.0, -20.0, -1.0, 0.0, 1.0, 20.0, 40.0, 80.0, 1000.0], dtype=dtype)
    for label in (0.0, 1.0):
        y = np.full_like(z, label)
        each = backend.to_numpy(losses.binary_crossentropy(backend.asarray(y), backend.asarray(z), reduction="none"))
        _, slope = value_and_slope(backend, losses.binary_crossentropy, y, z, reduction="sum")
        with mpmath.workdps(500):
            truth = [mpmath.log1p(mpmath.exp(mpmath.mpf(float(v)))) - float(v) * label for v in z]
            slopes = [1 / (1 + mpmath.exp(-mpmath.mpf(float(v)))) - label for v in z]
        np.testing.assert_allclose(each, [float(t) for t in truth], rtol=1e-6 if dtype == "float32" else 1e-15, atol=np.finfo(dtype).eps * 1e3)
        np.testing.assert_allclose(slope, [float(t) for t in slopes], rtol=1e-6 if dtype == "float32" else 1e-15, atol=np.finfo(dtype).eps)
        assert np.isfinite(each).all() and np.isfinite(slope).all()


def test_binary_crossentropy_at_zero_has_slope_minus_one_half_and_curvature_one_quarter(backend):
    z, one = backend.asarray(np.array(0.0)), backend.asarray(np.array(1.0))

    def loss(z, y):
        return losses.binary_crossentropy(y, z)

    assert float(ann.grad(loss)(z, one)) == -0.5
    assert abs(float(ann.grad(ann.grad(loss))(z, one)) - 0.25) < 1e-15


def test_label_smoothing_of_binary_labels_moves_them_towards_one_half(backend):
    y, z = rng.integers(0, 2, (6, 3)).astype(float), rng.normal(size=(6, 3))
    ours = losses.binary_crossentropy(backend.asarray(y), backend.asarray(z), label_smoothing=0.2)
    moved = losses.binary_crossentropy(backend.asarray(y * 0.8 + 0.1), backend.asarray(z))
    assert abs(float(ours) - float(moved)) < 1e-15


def test_boolean_and_integer_targets_are_numbers(backend):
    y, z = rng.integers(0, 2, (6, 3)), rng.normal(size=(6, 3))
    found = {float(losses.binary_crossentropy(backend.asarray(t), backend.asarray(z))) for t in (y, y == 1, y.astype(float))}
    assert len(found) == 1


def test_one_loss_an_example_with_reduction_none(backend):
    y, z = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2))
    for name, truth in (("mean_squared_error", (y - z) ** 2), ("mean_absolute_error", abs(y - z))):
        each = getattr(losses, name)(backend.asarray(y), backend.asarray(z), reduction="none")
        np.testing.assert_allclose(backend.to_numpy(each), truth.mean(axis=(1, 2)), rtol=1e-13)


def test_the_slope_of_absolute_error_and_huber_at_zero_is_zero(backend):
    for loss in (losses.mean_absolute_error, losses.huber):
        assert value_and_slope(backend, loss, np.array([1.0]), np.array([1.0]))[1] == 0
    curvature = ann.grad(ann.grad(lambda z, y: losses.huber(y, z)))(backend.asarray(np.array(1.0)), backend.asarray(np.array(1.0)))
    assert float(curvature) == 1.0


def test_huber_does_not_overflow(backend):
    value, slope = value_and_slope(backend, losses.huber, np.array([0.0, 0.0]), np.array([1e30, -1e30], dtype="float32"))
    assert np.isfinite(value) and value == np.float32(1e30) and list(slope) == [0.5, -0.5]


# ----------------------------------------------------------------------------------------------- what losses refuse; get


@pytest.mark.parametrize("loss", [name for name, loss in losses.LOSSES.items() if loss.labels == "values"])
def test_a_row_against_a_column_is_refused(loss, backend):
    with pytest.raises(ValueError, match=r"\(8,\).*\(8, 1\).*agree"):
        losses.get(loss)(backend.asarray(np.ones(8)), backend.asarray(np.ones((8, 1))))


def test_swapped_arguments_are_refused(backend):
    y, z = backend.asarray(LABELS), backend.asarray(LOGITS)
    for loss in (losses.categorical_crossentropy, losses.sparse_categorical_crossentropy):
        with pytest.raises((ValueError, TypeError), match=r"order \(y_true, y_pred\)"):
            loss(z, y)
    with pytest.raises(TypeError, match=r"int64 \(8, 5\).*order"):
        losses.categorical_crossentropy(z, backend.asarray(np.eye(5, dtype="int64")[LABELS]))
    with pytest.raises(ValueError, match="integer labels"):
        losses.categorical_crossentropy(backend.asarray(LABELS.astype(float)), z)
    with pytest.raises(ValueError, match="must hold integer labels"):
        losses.sparse_categorical_crossentropy(backend.asarray(np.eye(5)[LABELS]), z)


@pytest.mark.parametrize("name", ["categorical_crossentropy", "sparse_categorical_crossentropy", "categorical_focal_crossentropy", "categorical_hinge"])
def test_a_label_that_is_no_class_is_refused_where_it_can_be_read(backend, name):
    loss, z = getattr(losses, name), backend.asarray(LOGITS)
    k = LOGITS.shape[1]
    for wrong in (k, -1, -100):
        y = backend.asarray(np.where(np.arange(8) == 5, wrong, LABELS))
        for call in (lambda y=y: loss(y, z), lambda y=y: ann.grad(lambda z, y: loss(y, z))(z, y), lambda y=y: ann.grad(lambda z: loss(y, z))(z)):
            with pytest.raises(ValueError, match=f"y_true has labels .* for {k} outputs \\(first at row 5: {wrong}\\)"):
                call()
        assert np.isfinite(float(ann.jit(loss)(y, z)))  # under jit labels cannot be read
        if "focal" not in name and "hinge" not in name:
            kept = np.arange(8) != 5
            ignored = loss(y, z, ignore_class=wrong)
            assert float(ignored) == pytest.approx(float(loss(backend.asarray(LABELS[kept]), backend.asarray(LOGITS[kept]))), rel=1e-12)
    assert np.isfinite(float(loss(backend.asarray(LABELS), z)))
    if not name.startswith("sparse"):
        with pytest.raises(ValueError, match="row 2 .* not one-hot"):
            loss(backend.asarray(np.eye(k, dtype=int)[LABELS] * np.where(np.arange(8) == 2, 2, 1)[:, None]), z)


def test_labels_out_of_range_are_named(backend):
    with pytest.raises(ValueError, match=r"y has labels 0…10 for 10 outputs \(first at row 2: 10\).*Dense\(11\), or subtract 1"):
        losses.check_labels(backend.asarray(np.array([0, 1, 10, 3])), 10, "categorical_crossentropy", "y")
    losses.check_labels(backend.asarray(np.array([0, -1, 3])), 4, "categorical_crossentropy", "y", ignore_class=-1)
    with pytest.raises(ValueError, match=r"labels 0…4 for 4 outputs \(first at row 1: 4\)"):
        losses.check_labels(backend.asarray(np.array([0, 4, -1])), 4, "categorical_crossentropy", "y", ignore_class=-1)
    with pytest.raises(ValueError, match="count from 0"):
        losses.check_labels(backend.asarray(np.array([0, -1])), 10, "categorical_crossentropy", "y")
    losses.check_labels(backend.asarray(np.array([0, 9])), 10, "categorical_crossentropy", "y")


def test_loss_objects_are_their_functions(backend):
    y, z, w = backend.asarray(LABELS), backend.asarray(LOGITS), backend.asarray(WEIGHTS)
    loss = losses.CategoricalCrossentropy(label_smoothing=0.1, ignore_class=2)
    wanted = losses.categorical_crossentropy(y, z, label_smoothing=0.1, ignore_class=2, sample_weight=w)
    assert float(loss(y, z, sample_weight=w)) == float(wanted) and loss.link == "softmax"
    t = backend.asarray(LOGITS[::-1].copy())
    for name, kind in losses.LOSSES.items():
        if kind.labels == "values" and hasattr(losses, name):
            p = backend.asarray(abs(LOGITS)) if name == "poisson" else z
            assert float(losses.get(name)(t, p)) == float(getattr(losses, name)(t, p)) and losses.get(getattr(losses, name)) == kind()
    assert float(losses.Huber(0.5)(t, z)) == float(losses.huber(t, z, delta=0.5))
    assert losses.get("mse") == losses.MeanSquaredError() and losses.get(losses.huber) == losses.Huber()
    assert losses.BinaryCrossentropy().link == "sigmoid"


def test_loss_classes_have_the_options_and_defaults_of_their_functions():
    for name, kind in losses.LOSSES.items():
        f = losses.categorical_crossentropy if name.startswith("sparse") else kind.function
        options = {p.name: p.default for p in inspect.signature(f).parameters.values() if p.kind is p.KEYWORD_ONLY and p.name != "sample_weight"}
        assert options == {item.name: item.default for item in dataclasses.fields(kind)}, name
        assert kind.function.__name__ in kind.__doc__ and kind() == kind() and hash(kind()) == hash(kind())
    public = {name for name in losses.__all__ if name[0].islower()}
    assert public == {kind.function.__name__ for kind in losses.LOSSES.values()}
    assert {kind.__name__ for kind in losses.LOSSES.values()} | {"Loss"} == set(losses.__all__) - public


def test_a_users_loss_may_return_one_value_an_example_or_a_number(backend):
    y, z, w = backend.asarray(LOGITS), backend.asarray(LOGITS + 1), backend.asarray(WEIGHTS)
    each, scalar = losses.get(lambda y, z: (z - y)[:, 0]), losses.get(lambda y, z: (z - y)[0, 0])
    assert abs(float(each(y, z)) - 1) < 1e-12 and abs(float(each(y, z, sample_weight=w)) - 1) < 1e-12
    assert abs(float(scalar(y, z)) - 1) < 1e-12
    with pytest.raises(ValueError, match="one value an example"):
        scalar(y, z, sample_weight=w)


def test_unknown_losses_and_metrics_get_the_nearest_name():
    with pytest.raises(ValueError, match='Did you mean "categorical_crossentropy"'):
        losses.get("categorical_crosentropy")
    with pytest.raises(TypeError, match=r"write MeanSquaredError\(\)"):
        losses.get(losses.MeanSquaredError)
    with pytest.raises(TypeError, match="a loss is a name"):
        losses.get(3)
    with pytest.raises(ValueError, match='Did you mean "accuracy"'):
        metrics.get("acuracy")


@pytest.mark.parametrize("name", [name for name in losses.LOSSES if hasattr(losses, name)])
def test_every_loss_trains_a_network_by_name_and_softmax_is_settled(name):
    kind = losses.LOSSES[name]
    x = rng.normal(size=(16, 3)).astype("float32")
    y = rng.integers(0, 5, 16) if kind.labels == "classes" else np.eye(5)[rng.integers(0, 5, 16)]
    first = []
    for last in [None, kind.link] if "from_logits" in kind.__dataclass_fields__ else ["softplus"] if name == "poisson" else [None]:
        model = ann.Model([ann.Dense(5, last)], seed=0)
        model.compile("adam", name, metrics=[name])
        h = model.fit(x, y, epochs=2, batch_size=16, shuffle=False, verbose=0)
        assert h["loss"][1] < h["loss"][0]
        first.append((h["loss"][0], h[name][0]))
        if last == kind.link and last is not None:
            with pytest.raises(ValueError, match=rf"write {kind.__name__}\(from_logits=False\)"):
                model.compile("adam", kind())
    assert all(f == pytest.approx(first[0], rel=1e-5) for f in first)
    if name != "cosine_similarity":
        assert first[0][0] == pytest.approx(first[0][1], rel=1e-4)


def test_fit_does_not_count_ignored_labels_nor_refuse_them():
    x, y = rng.normal(size=(8, 3)).astype("float32"), np.array([0, 1, -1, 2, -1, 0, 0, 2])
    model = ann.Model([ann.Dense(3)], seed=0)
    model.compile("sgd", losses.CategoricalCrossentropy(ignore_class=-1))
    model.fit(x, y, verbose=0)
    model.compile("sgd", "categorical_crossentropy")
    (alone,) = model.evaluate(x[y >= 0], y[y >= 0])
    model.compile("sgd", losses.CategoricalCrossentropy(ignore_class=-1))
    assert model.evaluate(x, y)[0] == pytest.approx(alone, rel=1e-6)
    with pytest.raises(ValueError, match="labels 0…3 for 3 outputs"):
        model.fit(x, np.where(y == 2, 3, y), verbose=0)


# -------------------------------------------------------------------------------------------------------------- metrics


def test_accuracy_reads_every_kind_of_label(backend):
    right = (LOGITS.argmax(axis=-1) == LABELS).astype(float)
    z = backend.asarray(LOGITS)
    for y in (LABELS, LABELS[:, None], np.eye(5)[LABELS], np.eye(5, dtype="int64")[LABELS]):
        np.testing.assert_array_equal(backend.to_numpy(metrics.accuracy(backend.asarray(y), z)), right)
    np.testing.assert_array_equal(backend.to_numpy(metrics.sparse_categorical_accuracy(backend.asarray(LABELS), z)), right)
    p, y = rng.random((6, 1)), rng.integers(0, 2, (6, 1))
    for t in (y, y == 1, y.astype(float)):
        found = backend.to_numpy(metrics.accuracy(backend.asarray(t), backend.asarray(p)))
        np.testing.assert_array_equal(found, ((p > 0.5) == (y == 1)).astype(float))


def test_top_k_counts_the_larger_outputs(backend):
    ranks = (LOGITS > LOGITS[np.arange(8), LABELS][:, None]).sum(axis=-1)
    for k in (1, 2, 5):
        found = metrics.top_k_categorical_accuracy(backend.asarray(LABELS), backend.asarray(LOGITS), k=k)
        np.testing.assert_array_equal(backend.to_numpy(found), ranks < k)
    column = metrics.top_k_categorical_accuracy(backend.asarray(LABELS[:, None]), backend.asarray(LOGITS), k=2)
    np.testing.assert_array_equal(backend.to_numpy(column), ranks < 2)


def test_confusion_matrix_counts_pairs(backend):
    y, p = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    truth = np.zeros((4, 4), int)
    np.add.at(truth, (y, p), 1)
    found = metrics.confusion_matrix(backend.asarray(y), backend.asarray(p.astype("int32")), classes=4)
    np.testing.assert_array_equal(backend.to_numpy(found), truth)


def test_metrics_refuse_what_would_broadcast(backend):
    for name in ("mse", "mae", "binary_accuracy"):
        with pytest.raises(ValueError, match="must agree"):
            metrics.get(name)(backend.asarray(np.ones(8)), backend.asarray(np.ones((8, 1))))
    with pytest.raises(ValueError, match=r"order \(y_true, y_pred\)"):
        metrics.sparse_categorical_accuracy(backend.asarray(LOGITS), backend.asarray(LABELS))
