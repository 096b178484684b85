"""The layer contract: one method, parameters as trees, shapes from running the call."""

import numpy as np
import pytest

import ann
from backends import tree


class Residual(ann.Layer):
    hidden: ann.Layer
    out: ann.Layer

    def call(self, x, ctx):
        return x + self.out(self.hidden(x, ctx), ctx)


class Twice(ann.Layer):
    """One field used twice: shared weights."""

    inner: ann.Layer

    def call(self, x, ctx):
        return self.inner(self.inner(x, ctx), ctx)


def test_parameters_have_the_names_of_fields_and_keras_names(backend):
    net = ann.Sequential([ann.Dense(4, "relu"), Residual(ann.Dense(5), ann.Dense(4)), ann.relu, ann.Dense(2, name="head")])
    params, state = net.init(ann.Input(4), seed=0, backend=backend.name)
    assert set(tree.paths(params)) == {
        f"{layer}/{name}" for layer in ("dense", "residual/hidden", "residual/out", "head") for name in ("kernel", "bias")
    }
    assert state == {}
    assert type(params["dense"]["kernel"]) is type(backend.asarray([1.0]))


def test_apply_is_the_formula(backend):
    x = backend.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    params, _ = Residual(ann.Dense(5, "tanh"), ann.Dense(4)).init(x, seed=0)
    y = backend.to_numpy(Residual(ann.Dense(5, "tanh"), ann.Dense(4)).apply(params, x))
    p = tree.map(backend.to_numpy, params)
    h = np.tanh(backend.to_numpy(x) @ p["hidden"]["kernel"] + p["hidden"]["bias"])
    np.testing.assert_allclose(y, backend.to_numpy(x) + h @ p["out"]["kernel"] + p["out"]["bias"], rtol=1e-12)
    assert p["hidden"]["kernel"].dtype == np.float64  # init keeps the float dtype of x


def test_a_layer_used_twice_shares_its_parameters(backend):
    x = backend.asarray(np.ones((2, 3)))
    net = Twice(ann.Dense(3, use_bias=False))
    params, _ = net.init(x)
    w = backend.to_numpy(params["inner"]["kernel"])
    np.testing.assert_allclose(backend.to_numpy(net.apply(params, x)), np.ones((2, 3)) @ w @ w, rtol=1e-12)


def test_state_used_twice_is_updated_in_order(backend):
    x = backend.asarray(np.arange(12.0).reshape(6, 2))
    net = Twice(ann.BatchNormalization(momentum=0.5, center=False, scale=False))
    params, state = net.init(x)
    _, out = net.apply_training(params, x, state=state)
    first = 0.5 * 0 + 0.5 * np.arange(12.0).reshape(6, 2).mean(axis=0)
    np.testing.assert_allclose(backend.to_numpy(out.state["inner"]["moving_mean"]), 0.5 * first + 0.5 * 0, atol=1e-7)


def test_layers_are_frozen_configuration_and_show_what_is_not_the_default():
    layer = ann.Dense(64, "relu")
    assert repr(layer) == 'Dense(64, "relu")'
    assert repr(ann.Sequential([layer, ann.relu])) == 'Sequential([Dense(64, "relu"), relu])'
    with pytest.raises(AttributeError):
        layer.units = 3


def test_calling_a_layer_outside_a_network_says_what_to_do():
    with pytest.raises(TypeError, match=r"init.*apply.*Model"):
        ann.Dense(3)(np.ones((2, 3)))


def test_a_layer_made_inside_call_is_refused():
    class Wrong(ann.Layer):
        def call(self, x, ctx):
            return ann.Dense(3)(x, ctx)

    with pytest.raises(ValueError, match="held in a field"):
        Wrong().init(ann.Input(3))


def test_wrong_width_names_layer_and_kernel(backend):
    net = ann.Sequential([ann.Dense(8), ann.Dense(2)])
    params, _ = net.init(ann.Input(4), backend=backend.name)
    with pytest.raises(ValueError, match=r"Dense 'dense': x has 3 features, its kernel \(4, 8\) takes 4"):
        net.apply(params, backend.asarray(np.ones((1, 3), dtype="float32")))


def test_untrainable_layers_get_zero_gradient_and_infer(backend):
    net = ann.Sequential([ann.Dense(3, trainable=False), ann.BatchNormalization(trainable=False), ann.Dense(1)])
    x = backend.asarray(np.random.default_rng(0).normal(size=(5, 2)))
    params, state = net.init(x)

    def loss(p):
        y, out = net.apply_training(p, x, state=state)
        assert tree.flatten(out.state).keys() == tree.flatten(state).keys()
        return ann.namespace(y).sum(y * y)

    g = tree.map(backend.to_numpy, ann.grad(loss)(params))
    assert not g["dense"]["kernel"].any() and g["dense_1"]["kernel"].any()


def test_penalties_and_records_reach_the_caller(backend):
    class Watched(ann.Layer):
        inner: ann.Layer

        def call(self, x, ctx):
            h = self.inner(x, ctx)
            ctx.record("hidden", h)
            ctx.penalty(0.5)
            return h

    net = ann.Sequential([Watched(ann.Dense(3))])
    x = backend.asarray(np.ones((2, 2)))
    params, _ = net.init(x)
    _, out = net.apply_training(params, x)
    assert out.penalty == 0.5 and list(out.records) == ["watched/hidden"]


def test_dropout_needs_a_stream_and_keeps_the_mean(backend):
    net = ann.Dropout(0.25)
    x = backend.asarray(np.ones((200, 50)))
    with pytest.raises(ValueError, match="random="):
        net.apply_training({}, x)
    y = backend.to_numpy(net.apply_training({}, x, random=ann.Stream(0).at(1))[0])
    assert abs(y.mean() - 1) < 0.02 and set(np.unique(y)) == {0.0, 1 / 0.75}
    assert np.array_equal(backend.to_numpy(net.apply({}, x)), np.ones((200, 50)))


def test_convolution_layers_have_the_shapes_of_keras(backend):
    net = ann.Sequential([
        ann.Conv2D(4, 3, padding="same", strides=2), ann.MaxPooling2D(), ann.AveragePooling2D(2, 1, "same"), ann.Flatten(),
    ])  # fmt: skip
    x = backend.asarray(np.ones((2, 9, 8, 3), dtype="float32"))
    params, _ = net.init(x)
    assert net.apply(params, x).shape == (2, 2 * 2 * 4)


def test_huge_networks_have_shapes_without_memory():
    from ann.layers.layer import Build

    assert Build.parameter  # the first pass is abstract: the input of a million images takes no memory
    params, _ = ann.Sequential([ann.Conv2D(2, 3), ann.GlobalAveragePooling()]).init(ann.Input((4096, 4096, 3)))
    assert params["conv2d"]["kernel"].shape == (3, 3, 3, 2)
