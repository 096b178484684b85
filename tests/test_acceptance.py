"""The scripts of the public API, as users write them, on every backend."""

import numpy as np

import ann
from backends import tree

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(96, 6)).astype("float32"), np.arange(96) % 10


def test_arrays_already_on_a_device(backend):
    xg, yg = backend.asarray(X), backend.asarray(Y)
    m = ann.Model([ann.Dense(64, "relu"), ann.Dense(10)])
    m.compile("adam", "categorical_crossentropy")
    m.fit(xg, yg, epochs=5, verbose=0)
    p = m.predict(xg)
    assert type(p) is type(xg) and p.shape == (96, 10)


def test_a_keras_script(backend):
    k = ann.Model([ann.Dense(64, "relu"), ann.Dense(10, "softmax")], seed=0, backend=backend)
    k.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    k.fit(X, Y, verbose=0)
    loss, acc = k.evaluate(X, Y)
    assert 0 <= acc <= 1 and loss > 0
    np.testing.assert_allclose(k.predict(X).sum(axis=1), 1, rtol=1e-5)


def test_two_outputs_and_a_frozen_part(backend):
    class Two(ann.Layer):
        body: ann.Layer
        a: ann.Layer
        b: ann.Layer

        def call(self, x, ctx):
            h = self.body(x, ctx)
            return {"digit": self.a(h, ctx), "even": self.b(h, ctx)}

    t = ann.Model(Two(ann.Dense(32, "relu"), ann.Dense(10), ann.Dense(1)), backend=backend)
    t.compile("adam", {"digit": "categorical_crossentropy", "even": "binary_crossentropy"}, loss_weights={"even": 0.3})
    h = t.fit(X, {"digit": Y, "even": Y % 2 == 0}, verbose=0)
    t.freeze("body")
    t.fit(X, {"digit": Y, "even": Y % 2 == 0}, verbose=0)
    assert {"loss", "digit_loss", "even_loss"} <= set(h.history)
    assert h["loss"][0] == np.float64(h["digit_loss"][0] + 0.3 * h["even_loss"][0]) or abs(
        h["loss"][0] - h["digit_loss"][0] - 0.3 * h["even_loss"][0]
    ) < 1e-5


def test_gradients_without_a_network():
    assert ann.grad(lambda x: x**2)(3.0) == 6.0
    t = np.linspace(0, 5, 20)
    v = 2 * np.exp(-0.5 * t) + 0.1

    def decay(p, t, v):
        return p["a"] * np.exp(-p["k"] * t) + p["c"] - v

    g = ann.grad(lambda p: np.sum(decay(p, t, v) ** 2))({"a": 1.0, "k": 0.1, "c": 0.0})
    r = np.exp(-0.1 * t) - v
    np.testing.assert_allclose([g["a"], g["k"], g["c"]], [2 * np.sum(r * np.exp(-0.1 * t)), -2 * np.sum(r * t * np.exp(-0.1 * t)), 2 * np.sum(r)], rtol=1e-5)


def test_a_custom_loop_with_dropout_and_batch_normalization(backend):
    net = ann.Sequential([ann.Dense(16, "relu"), ann.BatchNormalization(), ann.Dropout(0.2), ann.Dense(10)])
    x, y = backend.asarray(X), backend.asarray(Y)
    params, state = net.init(x[:1, ...], seed=0)
    opt = ann.AdamW(1e-3)
    slots = opt.init(params)
    dice = ann.Stream(0)["train"]

    @ann.jit
    def step(params, state, slots, x, y, i):
        def objective(p):
            z, out = net.apply_training(p, x, state=state, random=dice.at(i))
            return ann.losses.categorical_crossentropy(y, z) + out.penalty, out.state

        (loss, state), g = ann.value_and_grad(objective, has_aux=True)(params)
        return *opt.step(params, g, slots), state, loss

    values = []
    for i in range(60):
        params, slots, state, loss = step(params, state, slots, x, y, i)
        values.append(float(loss))
    assert values[-1] < values[0]
    assert tree.paths(state) == ["batch_normalization/moving_mean", "batch_normalization/moving_variance"]
