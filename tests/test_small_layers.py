"""Regularizers, constraints, noise, activations as layers, the bilinear layer: against their formulas, on every backend."""

import dataclasses
import math

import numpy as np
import pytest

import ann
from ann import constraints, regularizers
from backends import tree

rng = np.random.default_rng(2)
W = rng.normal(size=(3, 4))


def trained(net, x, params, state=None):
    """(y, penalty) of a pass in training."""
    y, out = net.apply_training(params, x, state=state, random=ann.Stream(0)["train"].at(1))
    return y, out.penalty


# ------------------------------------------------------------------------------------------- regularizers and constraints


@pytest.mark.parametrize(
    ("regularizer", "value", "slope"),
    [
        ("l1", 0.01 * abs(W).sum(), 0.01 * np.sign(W)),
        ("l2", 0.01 * (W**2).sum(), 0.02 * W),
        ("l1_l2", 0.01 * abs(W).sum() + 0.01 * (W**2).sum(), 0.01 * np.sign(W) + 0.02 * W),
        (ann.L1(0.5), 0.5 * abs(W).sum(), 0.5 * np.sign(W)),
        (ann.L1L2(l2=0.5), 0.5 * (W**2).sum(), W),
    ],
    ids=repr,
)
def test_regularizers_are_their_formulas_and_penalize_in_training_only(regularizer, value, slope, backend):
    net = ann.Dense(4, kernel_regularizer=regularizer, bias_regularizer="l2")
    x = backend.asarray(rng.normal(size=(2, 3)))
    params, _ = net.init(x)
    params = {"kernel": backend.asarray(W), "bias": params["bias"]}
    _, penalty = trained(net, x, params)
    assert abs(float(penalty) - value) < 1e-12
    g = ann.grad(lambda p: trained(net, x, p)[1])(params)
    np.testing.assert_allclose(backend.to_numpy(g["kernel"]), slope, rtol=1e-12)
    assert net.apply(params, x).shape == (2, 4)


@pytest.mark.parametrize(
    ("constraint", "form"),
    [
        ("non_neg", lambda w: np.maximum(w, 0)),
        ("unit_norm", lambda w: w / np.linalg.norm(w, axis=0)),
        (ann.UnitNorm(axis=1), lambda w: w / np.linalg.norm(w, axis=1, keepdims=True)),
        ("max_norm", lambda w: w * np.minimum(1, 2 / np.linalg.norm(w, axis=0))),
        (ann.MaxNorm(0.5, axis=(0, 1)), lambda w: w * min(1, 0.5 / np.linalg.norm(w))),
        (ann.MinMaxNorm(1.0, 1.5, 0.25), lambda w: w * (0.75 + 0.25 * np.clip(np.linalg.norm(w, axis=0), 1, 1.5) / np.linalg.norm(w, axis=0))),
    ],
    ids=["non_neg", "unit_norm", "UnitNorm", "max_norm", "MaxNorm", "MinMaxNorm"],
)
def test_constraints_are_their_formulas_and_leave_what_fits(constraint, form, backend):
    c = constraints.get(constraint)
    once = c(backend.asarray(3 * W))
    np.testing.assert_allclose(backend.to_numpy(once), form(3 * W), rtol=1e-14)
    if "Min" not in repr(c):
        np.testing.assert_allclose(backend.to_numpy(c(once)), backend.to_numpy(once), rtol=1e-15)
    assert not backend.to_numpy(c(backend.asarray(np.zeros((3, 4), dtype="float32")))).any()
    huge = backend.to_numpy(c(backend.asarray(np.full((3, 4), 1e30, dtype="float32"))))
    assert np.isfinite(huge).all() and huge.any()


def test_constraints_hold_after_every_step():
    model = ann.Model([ann.Dense(4, kernel_constraint="unit_norm"), ann.Dense(1, kernel_constraint=ann.NonNeg())], seed=0)
    model.compile(ann.SGD(0.5), "mse")
    model.fit(rng.normal(size=(20, 3)), rng.normal(size=(20, 1)), epochs=3, batch_size=7, verbose=0)
    np.testing.assert_allclose(np.linalg.norm(model.params["dense"]["kernel"], axis=0), 1, rtol=1e-6)
    assert (model.params["dense_1"]["kernel"] >= 0).all()


def test_names_are_found_and_refused_when_the_layer_is_made():
    assert regularizers.get("L2") == ann.L2() and regularizers.get(None) is None and constraints.get("MaxNorm") == ann.MaxNorm()
    for make, message in (
        (lambda: ann.Dense(3, kernel_regularizer="l1l2"), 'unknown regularizer "l1l2". Did you mean "l1_l2"'),
        (lambda: ann.Dense(3, kernel_constraint="maxnorm2"), 'Did you mean "max_norm"'),
        (lambda: ann.Conv2D(3, 3, kernel_initializer="he_norml"), 'Did you mean "he_normal"'),
        (lambda: ann.Embedding(3, 3, embeddings_initializer="unifrom"), "unknown initializer"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match=r"L2 is a class; write L2\(\)"):
        ann.Dense(3, kernel_regularizer=ann.L2)
    with pytest.raises(TypeError, match="a constraint is a name, or a function w → w; 3 came"):
        ann.Dense(3, kernel_constraint=3)


def test_a_model_with_all_of_them_is_saved_and_read(tmp_path):
    model = ann.Model([ann.Input(3), ann.Dense(4, kernel_regularizer=ann.L1L2(0.1, 0.2), kernel_constraint=ann.MaxNorm(1.5), kernel_initializer=ann.initializers.HeNormal()), ann.PReLU(), ann.AlphaDropout(0.1), ann.BatchNormalization(gamma_regularizer="l2"), ann.Dense(1)], seed=0)
    model.compile(ann.Nadam(ann.schedules.CosineDecayRestarts(0.1, 5)), ann.Huber(0.5), metrics=["mae", ann.metrics.RootMeanSquaredError(), "r2"])
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 1))
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "m.safetensors")
    again = ann.load(tmp_path / "m.safetensors")
    assert repr(again.net) == repr(model.net)
    a, b = model.fit(x, y, epochs=2, verbose=0), again.fit(x, y, epochs=2, verbose=0)
    assert a.history == b.history


# ------------------------------------------------------------------------------------------------------------------ noise


def test_noise_has_its_moments_in_training_and_is_absent_in_inference(backend):
    x = backend.asarray(np.full((400, 50), 2.0))
    for layer, mean, variance in (
        (ann.GaussianNoise(0.5), 2.0, 0.25),
        (ann.GaussianDropout(0.2), 2.0, 4 * 0.2 / 0.8),
    ):
        y = backend.to_numpy(trained(layer, x, {})[0])
        assert abs(y.mean() - mean) < 4 * math.sqrt(variance / y.size) and abs(y.var() / variance - 1) < 4 * math.sqrt(2 / y.size)
        np.testing.assert_array_equal(backend.to_numpy(layer.apply({}, x)), backend.to_numpy(x))


def test_alpha_dropout_keeps_mean_and_variance_of_selu_outputs(backend):
    z = np.random.default_rng(0).normal(size=(400, 100))
    y = backend.to_numpy(trained(ann.AlphaDropout(0.3), backend.asarray(z), {})[0])
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.03
    a = (0.7 * (1 + 0.3 * 1.7580993408473766**2)) ** -0.5
    assert np.isclose(y, a * (-1.7580993408473766 + 1.7580993408473766 * 0.3)).mean() == pytest.approx(0.3, abs=0.01)


def test_spatial_dropout_drops_whole_channels(backend):
    y = backend.to_numpy(trained(ann.SpatialDropout2D(0.5), backend.asarray(np.ones((20, 3, 4, 10))), {})[0])
    assert set(np.unique(y)) == {0.0, 2.0} and (y == y[:, :1, :1, :]).all() and 0.3 < y.mean() / 2 < 0.7
    with pytest.raises(ValueError, match="wanted: 3 axes"):
        ann.SpatialDropout1D(0.5).apply({}, backend.asarray(np.ones((2, 3))))
    with pytest.raises(ValueError, match="AlphaDropout: rate is a share"):
        ann.AlphaDropout(1.0)


def test_activity_regularization_is_a_mean_over_examples(backend):
    x = backend.asarray(np.array([[1.0, -2.0], [3.0, 0.0]]))
    y, penalty = trained(ann.ActivityRegularization(l1=0.1, l2=0.01), x, {})
    assert abs(float(penalty) - (0.1 * 6 + 0.01 * 14) / 2) < 1e-15 and y.shape == (2, 2)


@pytest.mark.parametrize(("layer", "shape"), [(ann.Dense(3, "tanh"), (4, 5)), (ann.Conv1D(3, 2, activation="tanh"), (4, 6, 2))], ids=["Dense", "Conv1D"])
def test_an_activity_regularizer_is_a_layer_that_regularizes_the_output(layer, shape, backend):
    x, y = backend.asarray(rng.normal(size=shape)), backend.asarray(rng.normal(size=(4, 2)))
    found = []
    for layers in ([dataclasses.replace(layer, activity_regularizer=ann.L1L2(0.3, 0.1))], [layer, ann.ActivityRegularization(0.3, 0.1)]):
        model = ann.Model([*layers, ann.Flatten(), ann.Dense(2)], seed=0, backend=backend, dtype="float64")
        model.compile("sgd", "mse")
        found.append((model.fit(x, y, epochs=2, verbose=0)["loss"], model.evaluate(x, y)[0]))
    (with_field, one), (with_layer, other) = found
    np.testing.assert_allclose(with_field, with_layer, rtol=1e-12)
    assert one == pytest.approx(other, rel=1e-12) and with_field[1] > one  # no penalty outside training


def test_an_activity_regularizer_sees_probabilities_where_the_layer_gives_them():
    x, y = rng.normal(size=(12, 3)), rng.integers(0, 4, 12)
    losses = []
    for end, loss in (
        ([ann.Dense(4, "softmax", activity_regularizer="l2")], "categorical_crossentropy"),
        ([ann.Dense(4, "softmax"), ann.ActivityRegularization(l2=0.01)], ann.CategoricalCrossentropy(from_logits=False)),
        ([ann.Dense(4, "softmax"), ann.ActivityRegularization(l2=0.01)], "categorical_crossentropy"),
    ):
        model = ann.Model(end, seed=0)
        model.compile("sgd", loss)
        losses.append(model.fit(x, y, epochs=2, verbose=0)["loss"])
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-6)


# ---------------------------------------------------------------------------------------------------- activations, Bilinear


def test_activation_layers_are_their_functions(backend):
    x = backend.asarray(rng.normal(size=(4, 3, 5)))
    for layer, f in (
        (ann.ReLU(), ann.relu), (ann.Softmax(), ann.softmax), (ann.ELU(0.5), lambda x: ann.elu(x, alpha=0.5)),
        (ann.LeakyReLU(0.2), lambda x: ann.leaky_relu(x, negative_slope=0.2)), (ann.PReLU(), lambda x: ann.leaky_relu(x, negative_slope=0.25)),
        (ann.UnitNormalization(), ann.unit_normalization),
    ):  # fmt: skip
        params, _ = layer.init(x)
        np.testing.assert_allclose(backend.to_numpy(layer.apply(params, x)), backend.to_numpy(f(x)), rtol=1e-14)
    assert ann.PReLU().init(x)[0]["alpha"].shape == (3, 5) and ann.PReLU(shared_axes=(1,)).init(x)[0]["alpha"].shape == (1, 5)


def test_a_softmax_layer_at_the_end_is_trained_on_the_value_before_it():
    x, y = rng.normal(size=(12, 3)), rng.integers(0, 4, 12)
    losses = []
    for end in ([], [ann.Softmax()], [ann.Activation("softmax")]):
        model = ann.Model([ann.Dense(4), *end], seed=0)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        losses.append(model.fit(x, y, epochs=2, verbose=0)["loss"])
    assert losses[0] == losses[1] == losses[2]
    with pytest.raises(ValueError, match="already gives probabilities"):
        model.compile("sgd", ann.CategoricalCrossentropy())


def test_the_bilinear_layer_is_that_of_torch(backend):
    torch = pytest.importorskip("torch")
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    net = ann.Bilinear(2)
    x = [backend.asarray(a), backend.asarray(b)]
    params, _ = net.init(x)
    assert params["kernel"].shape == (3, 4, 2) and params["bias"].shape == (2,)
    p = tree.map(lambda t: torch.tensor(backend.to_numpy(t)), params)
    wanted = torch.nn.functional.bilinear(torch.tensor(a), torch.tensor(b), p["kernel"].movedim(-1, 0), p["bias"])
    np.testing.assert_allclose(backend.to_numpy(net.apply(params, x)), wanted.numpy(), rtol=1e-12)
    with pytest.raises(TypeError, match=r"Bilinear takes a list of two arrays"):
        net.apply(params, x[0])
    model = ann.Model((left := ann.Input(3), right := ann.Input(4)), ann.Bilinear(1)([left, right]))
    model.compile("adam", "mse")
    assert len(model.fit((a, b), np.ones((5, 1)), verbose=0)["loss"]) == 1
