"""The public API as it is promised: its scripts run as written, its errors read as written, its rules hold; on every backend."""

import copy
import inspect
import pickle
import re
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import ann
import backends
from backends import tree

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(96, 6)).astype("float32"), np.arange(96) % 10


def run(script, **given):
    """Execute a script with these names; what it defines."""
    names = {"ann": ann, "np": np, **given}
    exec(compile(script, "script.py", "exec"), names)
    return names


@pytest.fixture
def default(backend, monkeypatch, tmp_path):
    """The backend as the default of the environment; files go to a folder of their own."""
    monkeypatch.setenv("ANN_BACKEND", backend.name)
    monkeypatch.chdir(tmp_path)
    return backend


# ----------------------------------------------------------------------------------------------------------------- scripts

ON_A_DEVICE = """
m = ann.Model([ann.Dense(64, "relu"), ann.Dense(10)])
m.compile("adam", "categorical_crossentropy")
m.fit(xg, yg, epochs=5); p = m.predict(xg)
"""

KERAS = """
k = ann.Model([ann.Dense(64, "relu"), ann.Dense(10, "softmax")], seed=0)
k.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
k.fit(x, y); loss, acc = k.evaluate(xt, yt)
"""

TWO = """
class Two(ann.Layer):                                      # two outputs, a custom loss, frozen part, resume
    body: ann.Layer; a: ann.Layer; b: ann.Layer
    def call(self, x, ctx): h = self.body(x, ctx); return {"digit": self.a(h, ctx), "even": self.b(h, ctx)}
t = ann.Model(Two(ann.Dense(32, "relu"), ann.Dense(10), ann.Dense(1)))
t.compile("adam", {"digit": "categorical_crossentropy", "even": "binary_crossentropy"}, loss_weights={"even": 0.3})
t.fit(x, {"digit": y, "even": y % 2 == 0}, callbacks=[ann.callbacks.BackupAndRestore("run.safetensors")]); t.freeze("body")
"""

DECAY = """
one = ann.grad(lambda x: x**2)(3.0)                        # 6.0
decay = lambda p, t, v: p["a"] * np.exp(-p["k"] * t) + p["c"] - v
g = ann.grad(lambda p: np.sum(decay(p, t, v) ** 2))({"a": 1., "k": .1, "c": 0.})
"""

LOOP = """
params, state = net.init(x[:1], seed=0); opt = ann.AdamW(1e-3); slots = opt.init(params); dice = ann.Stream(0)["train"]
@ann.jit                                                   # a custom loop, with dropout and batch normalization
def step(params, state, slots, x, y, i):
    def objective(p):
        z, out = net.apply_training(p, x, state=state, random=dice.at(i))
        return ann.losses.categorical_crossentropy(y, z) + out.penalty, out.state
    (loss, state), g = ann.value_and_grad(objective, has_aux=True)(params)
    return *opt.step(params, g, slots), state, loss
"""


def test_arrays_already_on_a_device(backend):
    xg, yg = backend.asarray(X), backend.asarray(Y)
    found = run(ON_A_DEVICE, xg=xg, yg=yg)
    assert type(found["p"]) is type(xg) and found["p"].shape == (96, 10) and found["m"].backend.library is backend.library


def test_a_keras_script(default):
    found = run(KERAS, x=X, y=Y, xt=X[:50], yt=Y[:50])
    assert 0 <= found["acc"] <= 1 and found["loss"] > 0 and found["k"].backend.name == default.name
    np.testing.assert_allclose(found["k"].predict(X).sum(axis=1), 1, rtol=1e-5)


def test_two_outputs_a_frozen_part_and_resume(default):
    t = run(TWO, x=X, y=Y)["t"]
    before = tree.map(default.to_numpy, t.params)
    h = t.fit(X, {"digit": Y, "even": Y % 2 == 0}, verbose=0)
    after = tree.map(default.to_numpy, t.params)
    assert np.array_equal(before["body"]["kernel"], after["body"]["kernel"]) and not np.array_equal(before["a"]["kernel"], after["a"]["kernel"])
    assert h["loss"][0] == pytest.approx(h["digit_loss"][0] + 0.3 * h["even_loss"][0], rel=1e-6)


def test_gradients_without_a_network(backend):
    t = np.linspace(0, 5, 20)
    v = 2 * np.exp(-0.5 * t) + 0.1
    r = np.exp(-0.1 * t) - v
    wanted = [2 * np.sum(r * np.exp(-0.1 * t)), -2 * np.sum(r * t * np.exp(-0.1 * t)), 2 * np.sum(r)]
    found = run(DECAY, t=t, v=v)
    assert found["one"] == 6.0 and isinstance(found["one"], float)
    np.testing.assert_allclose([found["g"][key] for key in "akc"], wanted, rtol=1e-5)
    on_device = ann.grad(lambda p, t, v: np.sum(found["decay"](p, t, v) ** 2))
    p = {key: backend.asarray(value, dtype="float64") for key, value in (("a", 1.0), ("k", 0.1), ("c", 0.0))}
    g = on_device(p, backend.asarray(t), backend.asarray(v))  # the same text, on arrays of any library
    np.testing.assert_allclose([float(g[key]) for key in "akc"], wanted, rtol=1e-9)


def test_a_custom_loop_with_dropout_and_batch_normalization(backend):
    net = ann.Sequential([ann.Dense(16, "relu"), ann.BatchNormalization(), ann.Dropout(0.2), ann.Dense(10)])
    x, y = backend.asarray(X), backend.asarray(Y)
    script = LOOP.replace("x[:1]", "x[:1, ...]") if backend.library.name == "array_api_strict" else LOOP  # which insists on all axes
    found = run(script, net=net, x=x, y=y)
    params, state, slots, values = found["params"], found["state"], found["slots"], []
    for i in range(60):
        params, slots, state, loss = found["step"](params, state, slots, x, y, i)
        values.append(float(loss))
    assert values[-1] < values[0]
    assert tree.paths(state) == ["batch_normalization/moving_mean", "batch_normalization/moving_variance"]


# ------------------------------------------------------------------------------------------------------------------ errors


def fails_with(message, act, error=ValueError):
    with pytest.raises(error, match="^" + re.escape(message)):
        act()


def classifier(last=10, loss="categorical_crossentropy", **options):
    m = ann.Model([ann.Dense(8, "relu"), last if isinstance(last, ann.Layer) else ann.Dense(last)], seed=0, **options)
    m.compile("adam", loss)
    return m


def test_error_of_another_width(backend):
    m = ann.Model([ann.Input(4), ann.Dense(64, name="dense_1")], backend=backend)
    fails_with(
        "Dense 'dense_1': x has 3 features, its kernel (4, 64) takes 4. The model was built for inputs (…, 4).", lambda: m.predict(np.ones((2, 3)))
    )


def test_error_of_labels_out_of_range(backend):
    y = np.where(np.arange(96) == 17, 10, Y)
    fails_with(
        "categorical_crossentropy: y has labels 0…10 for 10 outputs (first at row 17: 10). Labels count from 0; make the last layer Dense(11), or subtract 1.",
        lambda: classifier(backend=backend).fit(backend.asarray(X), backend.asarray(y)),
    )


def test_error_of_a_double_softmax():
    fails_with(
        'Dense(10, "softmax") already gives probabilities, but the loss expects logits. Remove the "softmax", or write CategoricalCrossentropy(from_logits=False).',
        lambda: classifier(ann.Dense(10, "softmax"), ann.CategoricalCrossentropy()).fit(X, Y),
    )
    classifier(ann.Dense(10, "softmax"), ann.CategoricalCrossentropy(from_logits=False)).fit(X, Y, verbose=0)


MIXED = {
    "torch": '{x} is a torch array on cpu, this model lives on numpy. model.to("torch") moves the model; {x}.cpu() moves the data.',
    "jax": '{x} is a JAX array on cpu:0, this model lives on numpy. model.to("jax") moves the model; jax.device_get({x}) moves the data.',
    "array_api_strict": "{x} is a array_api_strict array on",
    "cupy": '{x} is a CuPy array on cuda:0, this model lives on numpy. model.to("cupy") moves the model; cupy.asnumpy({x}) moves the data.',
}


def test_error_of_data_on_another_device(backend, monkeypatch):
    if backend.name == "numpy":
        pytest.skip("NumPy's data are the host's")
    m = classifier(backend="numpy")
    m.fit(X, Y, verbose=0)
    monkeypatch.setattr(type(backend.library), "on_host", lambda self, x: False)  # as on a GPU
    x, y = backend.asarray(X), backend.asarray(Y)
    message = MIXED[backend.library.name]
    fails_with(message.format(x="x"), lambda: m.predict(x), TypeError)
    fails_with(message.format(x="x"), lambda: m.fit(x, Y), TypeError)
    fails_with(message.format(x="y"), lambda: m.fit(X, y), TypeError)
    fails_with(message.format(x="sample_weight"), lambda: m.evaluate(X, Y, sample_weight=x[:, 0]), TypeError)


def test_error_of_data_of_cupy_reads_as_promised(monkeypatch):
    """The module backends.cupy over a stand-in for CuPy."""

    class Device:
        def __init__(self, number):
            self.id = number

    class CuPyArray:
        __module__ = "cupy"
        dtype, shape, ndim, device = np.dtype("float32"), (2, 4), 2, Device(0)

    special = SimpleNamespace(erf=None, erfc=None, gammaln=None, digamma=None)
    modules = {
        "cupy": SimpleNamespace(cuda=SimpleNamespace(Device=Device), __version__="14.2.0", ElementwiseKernel=lambda *args, **options: None),
        "cupy.lib": SimpleNamespace(), "cupy.lib.stride_tricks": SimpleNamespace(as_strided=None), "cupyx": SimpleNamespace(),
        "cupyx.scipy": SimpleNamespace(special=special), "array_api_compat.cupy": np,
    }  # fmt: skip
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("array_api_compat.cupy", np, raising=False)
    for name in ("backends.cupy", "backends.cupy.gaps"):
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    m = ann.Model([ann.Input(4), ann.Dense(2)], backend="numpy")
    fails_with(MIXED["cupy"].format(x="x"), lambda: m.predict(CuPyArray()), TypeError)


def test_error_without_a_loss():
    m = ann.Model([ann.Dense(10)])
    text = 'fit: the model has no loss. First: model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])   # y here is integer labels 0…9'
    fails_with(text, lambda: m.fit(X, Y))
    m.compile("adam")
    fails_with(text, lambda: m.fit(X, Y))
    fails_with(text.replace("fit:", "evaluate:"), lambda: m.evaluate(X, Y))
    fails_with(text.replace("fit:", "backprop:"), lambda: m.backprop(X, Y))


def test_error_of_a_number_wanted_inside_grad(tmp_path):
    (tmp_path / "script.py").write_text("import math\nimport ann\n" + "\n" * 8 + "def f(x):\n    return math.sin(x)\nann.grad(f)(3.0)\n")
    fails_with(
        "float(x) inside grad, at script.py:12: math.sin(x) needs a number; write np.sin(x).",
        lambda: runpy.run_path(str(tmp_path / "script.py"), run_name="script"),
        TypeError,
    )


def test_error_of_assigning_to_a_layer():
    layer = ann.Dense(3)
    fails_with('layer.trainable = False: layers are frozen configuration; model.freeze("dense").', lambda: setattr(layer, "trainable", False), AttributeError)
    fails_with("layer.units = 4: layers are frozen configuration; dataclasses.replace(layer, units=4)", lambda: setattr(layer, "units", 4), AttributeError)

    class Mine(ann.Layer):
        size: int = 1

    fails_with('layer.trainable = True: layers are frozen configuration; model.unfreeze("body").', lambda: setattr(Mine(name="body"), "trainable", True), AttributeError)


# --------------------------------------------------------------------------------------------------------- which library?


def test_backend_stands_on_exactly_these():
    found = set()
    for place in (ann, ann.Model, ann.Layer, ann.functions, ann.losses, ann.metrics, ann.optimizers, ann.initializers, ann.schedules, ann.datasets, ann.plot):
        for name in dir(place):
            thing = getattr(place, name)
            if name.startswith("_") or not callable(thing) or not str(getattr(thing, "__module__", "")).startswith("ann"):
                continue
            if isinstance(thing, type) and issubclass(thing, Exception):
                continue
            if "backend" in inspect.signature(thing).parameters:
                found.add(f"{'Layer' if place is ann.Layer else 'Model' if place is ann.Model else 'ann'}.{name}")
    assert found == {"ann.Model", "ann.load", "Layer.init", "Model.to"}


def test_the_first_data_decide_then_the_environment_and_an_explicit_name_always_wins(backend, monkeypatch, tmp_path):
    x, y = backend.asarray(X), backend.asarray(Y)
    for net in ([ann.Dense(10)], [ann.Input(6), ann.Dense(10)]):  # built by the data, or before them
        m = ann.Model(net)
        m.compile("adam", "categorical_crossentropy")
        m.fit(x, y, verbose=0)
        assert m.backend.library is backend.library and type(m.params["dense"]["kernel"]) is type(x)
        m.save(tmp_path / "m")
        again = ann.load(tmp_path / "m")
        assert again.backend.name == "numpy"
        again.predict(x)
        assert again.backend.library is backend.library
    monkeypatch.setenv("ANN_BACKEND", backend.name)
    m = ann.Model([ann.Dense(10)])
    m.predict(X)
    assert m.backend.name == backend.name
    m = ann.Model([ann.Dense(10)], backend="numpy")
    assert type(m.predict(x)) is type(x) and m.backend.name == "numpy"  # data of the host travel silently, both ways
    monkeypatch.setenv("ANN_BACKEND", "numpy")
    assert ann.Model([ann.Input(6), ann.Dense(10)], backend=backend).predict(X.tolist()).dtype == np.float32


def test_answers_come_in_the_library_of_the_question(backend):
    x = backend.asarray(X)
    for m in (classifier(backend=backend), classifier(backend="numpy")):
        for ask in (
            m.predict, m.predict_proba, m.predict_class, lambda x, m=m: m.activations(x)["dense"], lambda x, m=m: m.gradients(x, Y, "input"),
        ):  # fmt: skip
            m.fit(X, Y, verbose=0) if not m.built else None
            assert type(ask(x)) is type(x) and isinstance(ask(X), np.ndarray) and isinstance(ask(X.tolist()), np.ndarray)
            if backend.library.name == "array_api_strict":
                assert ask(x).device == x.device
                other = backends.get("array_api_strict:device2").asarray(X)
                assert ask(other).device == other.device
        assert type(tree.leaves(m.params)[0]) is type(m.backend.asarray(X))
        assert type(tree.leaves(m.gradients(x, Y))[0]) is type(m.backend.asarray(X))
        assert type(m(X)) is type(m.backend.asarray(X))  # one batch stays on the model's device
        h, scores = m.fit(X, Y, validation_data=(X, Y), verbose=0), m.evaluate(X, Y)
        assert all(type(value) is float for value in (*scores, *h["loss"], *h["val_loss"]))


def test_the_model_casts_floats_and_nothing_else_does(backend):
    x = backend.asarray(X.astype("float64"))
    assert x.dtype == backend.library.dtype("float64") and backend.asarray([1.0]).dtype == backend.library.dtype("float32")
    assert ann.grad(lambda x: ann.namespace(x).sum(x * x))(x).dtype == x.dtype
    assert tree.leaves(ann.Dense(3).init(x)[0])[0].dtype == x.dtype
    m = classifier()
    m.fit(x, backend.asarray(Y), verbose=0)
    assert m.predict(x).dtype == backend.library.dtype("float32") == tree.leaves(m.params)[0].dtype
    m.fit(X.astype("int64"), Y, verbose=0)  # integers become floats where no layer reads indices
    fails_with("x has values above 3.4e+38, which overflow float32", lambda: m.predict(X.astype("float64") * 1e300))


@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_gpu_is_no_backend(name):
    for act in (lambda: ann.Model([ann.Dense(2)], backend=name), lambda: ann.Dense(2).init(ann.Input(2), backend=name)):
        with pytest.raises(ValueError, match=f'"{name}": which library\\? "cupy", "torch:cuda", or "auto".*Usable here: "numpy"'):
            act()


# ------------------------------------------------------------------------------------------------------ labels and logits


def test_labels_are_told_apart_by_dtype_and_shape(backend):
    one_hot = np.eye(10, dtype=int)[Y]
    for loss in ("categorical_crossentropy", "sparse_categorical_crossentropy"):
        m = classifier(loss=loss, backend=backend)
        m.fit(X, Y, batch_size=96, verbose=0)
        z = np.asarray(m.predict(X), dtype="float64")
        expected = (np.log(np.exp(z).sum(axis=1)) - z[np.arange(96), Y]).mean()
        kinds = (Y, Y[:, None], Y.astype("uint8"), Y.tolist(), *((one_hot, one_hot.astype(bool), one_hot.astype("float32")) if loss[0] == "c" else ()))
        for y in kinds:
            assert m.evaluate(X, y)[0] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="sparse_categorical_crossentropy: y_true must hold integer labels"):
        m.evaluate(X, one_hot)


def test_labels_of_sequences_are_told_apart_too(backend):
    x, y = RNG.normal(size=(8, 5, 3)), RNG.integers(0, 4, size=(8, 5))
    kept = []
    for labels in (y, y[..., None], np.eye(4, dtype=int)[y], np.eye(4)[y]):
        m = ann.Model([ann.Dense(4)], seed=0, backend=backend)
        m.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
        kept.append(m.fit(x, labels, batch_size=8, verbose=0))
    for h in kept:
        np.testing.assert_allclose([h["loss"], h["accuracy"]], [kept[0]["loss"], kept[0]["accuracy"]], rtol=1e-6)


@pytest.mark.parametrize(
    ("message", "loss", "last", "y"),
    [
        ("row 3 is [0, 0, 0, 0, 2, 0, 0, 0, 0, 0]: not one-hot", "categorical_crossentropy", 10, np.where(np.eye(10, dtype=int)[np.r_[0, 1, 2, 4]] & (np.arange(4) == 3)[:, None], 2, np.eye(10, dtype=int)[np.r_[0, 1, 2, 4]])),
        ("row 0 is [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]: not one-hot", "categorical_crossentropy", 10, np.ones((4, 10), dtype=int)),
        ("class labels are integers, y.astype('int64')", "categorical_crossentropy", 10, np.arange(4.0)),
        ("class labels are integers, y.astype('int64')", "categorical_crossentropy", 10, np.arange(4.0)[:, None]),
        ("y has labels -1…2 for 10 outputs (first at row 0: -1). Labels count from 0.", "categorical_crossentropy", 10, np.arange(4) - 1),
        ("y has shape (4, 3), the output is (n, 10); they must agree", "categorical_crossentropy", 10, np.ones((4, 3))),
        ("y has shape (4, 2), the output is (n, 1); they must agree", "mse", 1, np.ones((4, 2))),
        ("binary_crossentropy: y has values 0 … 3 (first at row 2)", "binary_crossentropy", 1, np.arange(4)),
        ("labels as text are taken by ann.estimators", "categorical_crossentropy", 10, np.array(["a", "b", "a", "c"])),
        ("y is None", "categorical_crossentropy", 10, None),
    ],
)  # fmt: skip
def test_targets_that_cannot_be_meant_are_refused(message, loss, last, y):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        classifier(last, loss).fit(X[:4], y, verbose=0)


def test_losses_refuse_a_row_against_a_column_and_fit_reshapes_only_for_one_output(backend):
    column, row = backend.asarray(X[:, :1]), backend.asarray(X[:, 0])
    for loss in (ann.losses.mean_squared_error, ann.losses.mean_absolute_error, ann.losses.binary_crossentropy, ann.losses.huber):
        for pair in ((row, column), (column, row)):
            with pytest.raises(ValueError, match="they must agree"):
                loss(*pair)
    one = classifier(1, "mse", backend=backend)
    assert one.fit(X, X[:, 0], verbose=0)["loss"] == classifier(1, "mse", backend=backend).fit(X, X[:, :1], verbose=0)["loss"]
    flat = classifier(ann.Function(lambda x: x[:, 0]), "mse", backend=backend)
    flat.fit(X, X[:, 0], verbose=0)
    with pytest.raises(ValueError, match="they must agree"):
        flat.fit(X, X[:, :1], verbose=0)


def test_losses_take_truth_first_and_logits(backend):
    z, y = backend.asarray(X), backend.asarray(Y % 6)
    value = float(ann.losses.categorical_crossentropy(y, z))
    p = np.exp(X.astype("float64")) / np.exp(X.astype("float64")).sum(axis=1, keepdims=True)
    assert value == pytest.approx(-np.log(p[np.arange(96), Y % 6]).mean(), rel=1e-6)
    assert value == pytest.approx(float(ann.losses.categorical_crossentropy(y, backend.asarray(p), from_logits=False)), rel=1e-6)
    with pytest.raises((ValueError, TypeError), match=r"\(y_true, y_pred\)"):
        ann.losses.categorical_crossentropy(z, y)


@pytest.mark.parametrize("last", [None, "softmax"])
def test_a_classifier_is_the_same_with_logits_or_softmax(backend, last):
    x = np.concatenate([X, X * 1e4])  # probabilities of the second half are 0 and 1 in float32: their logarithms are lost
    y = np.concatenate([Y, Y])
    m = ann.Model([ann.Dense(10, last)], seed=0, backend=backend)
    m.compile(ann.SGD(0.0), "sparse_categorical_crossentropy", metrics=["accuracy", "top_3"])
    h = m.fit(x, y, batch_size=192, verbose=0)
    p = tree.map(lambda a: backend.to_numpy(a).astype("float64"), m.params)["dense"]
    z = x.astype("float64") @ p["kernel"] + p["bias"]
    logp = z - z.max(axis=1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(axis=1, keepdims=True))
    assert h["loss"][0] == pytest.approx(-logp[np.arange(192), y].mean(), rel=1e-4)
    assert h["accuracy"][0] == pytest.approx((z.argmax(axis=1) == y).mean(), abs=1e-6)
    np.testing.assert_allclose(m.predict_proba(x), np.exp(logp), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(m.predict(x), z if last is None else np.exp(logp), rtol=1e-3, atol=1e-4 if last is None else 1e-6)
    assert np.array_equal(m.predict_class(X), z[:96].argmax(axis=1))


@pytest.mark.parametrize("last", [None, "sigmoid"])
def test_a_binary_classifier_is_the_same_with_logits_or_sigmoid(backend, last):
    y = X[:, 0] > 0
    m = ann.Model([ann.Dense(1, last)], seed=0, backend=backend)
    m.compile(ann.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    m.fit(X, y, epochs=20, verbose=0)
    p = np.asarray(m.predict_proba(X))
    share = ((p[:, 0] > 0.5) == y).mean()
    assert p.min() >= 0 and p.max() <= 1 and share > 0.9 and m.evaluate(X, y).accuracy == pytest.approx(share)
    assert np.array_equal(m.predict_class(X), p[:, 0] > 0.5)
    z = np.asarray(m.predict(X))
    np.testing.assert_allclose(p, z if last else 1 / (1 + np.exp(-z)), rtol=1e-4, atol=1e-6)


def test_several_labels_at_once_are_decided_one_by_one():
    y = (X[:, :3] > 0).astype(int)
    m = ann.Model([ann.Dense(3)], seed=0)
    m.compile(ann.Adam(0.1), "binary_crossentropy", metrics=["binary_accuracy"])
    m.fit(X, y, epochs=20, verbose=0)
    assert m.predict_class(X).shape == (96, 3) and m.evaluate(X, y).binary_accuracy == pytest.approx((m.predict_class(X) == y).mean())


def test_a_loss_and_a_metric_of_ones_own(backend):
    def each(y_true, y_pred):
        d = y_pred - y_true
        return ann.namespace(d).sum(d * d, axis=-1)

    def scalar(y_true, y_pred):
        return ann.namespace(y_pred).mean(each(y_true, y_pred))

    y = X[:, :2]
    curves = []
    for loss in (each, scalar):
        m = ann.Model([ann.Dense(2)], seed=0, backend=backend)
        m.compile("sgd", loss, metrics=[each, scalar])
        h = m.fit(X, y, batch_size=40, verbose=0)
        np.testing.assert_allclose([h["each"], h["scalar"]], [h["loss"], h["loss"]], rtol=1e-5)
        curves.append(h["loss"])
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)
    m.fit(X, y, sample_weight=np.ones(96), verbose=0) if loss is each else None
    with pytest.raises(ValueError, match="returns a scalar, so examples cannot be weighted"):
        m.fit(X, y, sample_weight=np.ones(96), verbose=0)


# -------------------------------------------------------------------------------------------------------- what comes back


def test_scores_answer_like_a_tuple_and_by_name():
    m = classifier()
    m.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    h = m.fit(X, Y, epochs=2, validation_split=0.25, verbose=0)
    s = m.evaluate(X, Y)
    loss, accuracy = s
    assert s == (loss, accuracy) and s["accuracy"] == s.accuracy == s[1] == accuracy and dict(s) == {"loss": loss, "accuracy": accuracy}
    again = pickle.loads(pickle.dumps(s))
    assert again == copy.deepcopy(s) == s and again.accuracy == accuracy
    with pytest.raises(AttributeError, match="there are loss, accuracy"):
        s.acc
    with pytest.raises(KeyError, match="there are loss, accuracy"):
        s["acc"]
    assert h["val_loss"] == h.history["val_loss"] and len(h["val_loss"]) == 2 == len(h) and h.epoch == [0, 1]
    with pytest.raises(KeyError, match="val_accuracy"):
        h["val_acc"]


def test_verbose_is_taken_where_keras_takes_it(capsys):
    m = classifier()
    m.fit(X, Y, epochs=np.int64(2), batch_size=np.int32(48), verbose=2)
    assert re.fullmatch(r"(epoch \d/2   2/2   \d+\.\d s   loss \d\.\d{4}\n){2}", capsys.readouterr().out)
    m.fit(((X[:48], Y[:48]) for _ in range(3)), verbose=2)
    assert capsys.readouterr().out.startswith("epoch 1/1   3/3   ")
    m.evaluate(X, Y, verbose=0), m.predict(X, verbose=0)
    assert capsys.readouterr().out == ""
    m.evaluate(X, Y, verbose=1), m.predict(X, verbose=1)
    assert re.fullmatch(r"Scores\(loss=.*\)\npredict: 96 rows   \d+\.\d s\n", capsys.readouterr().out)


def test_names_are_those_of_keras():
    m = ann.Model([ann.Input((8, 8, 1)), ann.Conv2D(2, 3), ann.MaxPooling2D(), ann.BatchNormalization(), ann.Flatten(), ann.Dense(4), ann.relu, ann.Dense(3, name="head"), ann.Dense(2)])
    assert list(m.net.children) == ["conv2d", "max_pooling2d", "batch_normalization", "flatten", "dense", "relu", "head", "dense_1"]
    again = ann.Model([ann.Input(2), ann.Dense(2)])
    assert list(again.params) == ["dense"]  # counted per model


def test_precision_and_signature_are_as_promised():
    assert str(inspect.signature(ann.Model)) == "(net: 'Any', outputs: 'Any' = None, *, backend: 'Any' = None, dtype: 'str' = 'float32', precision: 'str | None' = None, seed: 'int | None' = None, name: 'str | None' = None)"
    names = list(inspect.signature(ann.Model.fit).parameters)
    assert names[1:3] == ["x", "y"] and {"epochs", "batch_size", "validation_data", "validation_split", "shuffle", "class_weight", "sample_weight", "callbacks", "verbose"} < set(names)
    m = ann.Model([ann.Dense(2)])
    assert isinstance(m.seed, int)  # drawn, and kept
