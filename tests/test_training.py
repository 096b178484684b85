"""Whole training runs under jit are those of the eager step: 100 steps, every optimizer, every kind of layer, every lowering."""

import numpy as np
import pytest

import ann
import backends
from ann import optimizers
from backends import tree

RNG = np.random.default_rng(0)
STEPS = 100


class Pair(ann.Layer):
    left: ann.Layer
    right: ann.Layer
    both: ann.Layer

    def call(self, x, ctx):
        a, b = self.left(x, ctx), self.right(x, ctx)
        return self.both(ann.namespace(a, b).concat([a * ann.sigmoid(b), a], axis=-1), ctx)


NETS = {
    "mlp": ([ann.Dense(16, "gelu"), ann.LayerNormalization(), ann.Dropout(0.2), Pair(ann.Dense(8), ann.Dense(8, "softplus"), ann.Dense(6, "elu")), ann.Dense(4)], (12,)),
    "images": ([
        ann.Conv2D(4, 3, padding="same", activation="relu"), ann.BatchNormalization(), ann.MaxPooling2D(), ann.Conv2D(6, 3, strides=2, groups=2, activation="tanh"),
        ann.AveragePooling2D(2, strides=1, padding="same"), ann.Flatten(), ann.Dense(4),
    ], (9, 9, 2)),
    "sequences": ([ann.Conv1D(5, 3, dilation_rate=2, activation="silu"), ann.MaxPooling1D(3, strides=2), ann.GlobalAveragePooling(), ann.Dense(4)], (15, 3)),
}  # fmt: skip


def data(shape, n=24):
    return RNG.normal(size=(n, *shape)).astype("f"), np.arange(n) % 4


def run(layers, x, y, optimizer, lowering, steps=STEPS):
    """The losses of a custom loop and its last parameters; lowering None is eager."""
    net = ann.Sequential(layers)
    params, state = net.init(x[:1], seed=0)
    slots, dice = optimizer.init(params), ann.Stream(0)["train"]

    def step(params, state, slots, x, y, i):
        def objective(p, state, x, y):
            z, out = net.apply_training(p, x, state=state, random=dice.at(i))
            return ann.losses.categorical_crossentropy(y, z) + out.penalty, out.state

        (loss, state), g = ann.value_and_grad(objective, has_aux=True)(params, state, x, y)
        params, slots = optimizer.step(params, g, slots)
        return params, state, slots, loss

    if lowering:
        step = ann.jit(step, donate=(0, 1, 2), lowering=lowering)
    losses = []
    for i in range(steps):
        rows = slice(8 * (i % 3), 8 * (i % 3) + 8)
        params, state, slots, loss = step(params, state, slots, x[rows], y[rows], i)
        losses.append(float(loss))
    if lowering:
        assert step.traces == 1
    return losses, params


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_follows_the_eager_path(name, lowering):
    x, y = data((12,))
    optimizer = optimizers.get(name).with_rate(1e-3)
    eager, _ = run(NETS["mlp"][0], x, y, optimizer, None, 60)
    compiled, _ = run(NETS["mlp"][0], x, y, optimizer, lowering, 60)
    np.testing.assert_allclose(compiled, eager, rtol=1e-3)


@pytest.mark.parametrize("net", NETS)
def test_every_layer_follows_the_eager_path(net, lowering):
    layers, shape = NETS[net]
    x, y = data(shape)
    eager, p = run(layers, x, y, ann.Adam(1e-3), None)
    compiled, q = run(layers, x, y, ann.Adam(1e-3), lowering)
    np.testing.assert_allclose(compiled, eager, rtol=1e-3)
    for a, b in zip(tree.leaves(p), tree.leaves(q), strict=True):
        np.testing.assert_allclose(b, a, atol=2e-3)


def test_fit_under_jit_is_the_eager_fit(backend):
    layers, shape = NETS["mlp"]
    x, y = data(shape, 40)
    losses = {}
    for jit in (True, False):
        m = ann.Model(layers, seed=3, backend=backend)
        m.compile(ann.AdamW(ann.schedules.CosineDecay(1e-2, 20), global_clipnorm=1.0), "categorical_crossentropy", metrics=["accuracy"])
        losses[jit] = m.fit(x, y, epochs=4, batch_size=16, verbose=0, jit=jit, class_weight={0: 1.0, 1: 2.0, 2: 0.5, 3: 1.0}).history
    for name, values in losses[False].items():
        np.testing.assert_allclose(losses[True][name], values, rtol=1e-4)


def test_frozen_layers_stay_and_a_new_learning_rate_counts_under_jit():
    x, y = data((12,))
    m = ann.Model([ann.Dense(8, "relu"), ann.Dense(4)], seed=0)
    m.compile("adam", "categorical_crossentropy")
    m.fit(x, y, verbose=0)
    m.freeze("dense")
    held, moved = m.params["dense"]["kernel"], m.params["dense_1"]["kernel"]
    m.fit(x, y, verbose=0)
    np.testing.assert_array_equal(m.params["dense"]["kernel"], held)
    assert not np.array_equal(m.params["dense_1"]["kernel"], moved)
    m.learning_rate = 0.0
    moved = m.params["dense_1"]["kernel"]
    m.fit(x, y, verbose=0)
    np.testing.assert_array_equal(m.params["dense_1"]["kernel"], moved)


def test_what_was_handed_out_is_not_written_by_later_steps():
    x, y = data((12,))
    m = ann.Model([ann.Dense(8, "relu"), ann.Dense(4)], seed=0)
    m.compile("adam", "categorical_crossentropy")
    m.fit(x, y, verbose=0)
    before = m.params
    kept = tree.map(np.array, before)
    p = m.predict(x)
    q = p.copy()
    m.fit(x, y, epochs=2, verbose=0)
    for a, b in zip(tree.leaves(before), tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(p, q)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # PyTorch's own
def test_torch_compile_follows_the_replay():
    torch = pytest.importorskip("torch")
    import shutil

    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    be = backends.get("torch")
    w, x = be.asarray(RNG.normal(size=(5, 3))), be.asarray(RNG.normal(size=(7, 5)))

    def loss(w, x):
        xp = backends.namespace(w, x)
        return xp.sum(ann.softmax(xp.tanh(x @ w)) ** 2)

    step = ann.jit(ann.value_and_grad(loss), lowering="compile")
    value, g = step(w, x)
    expected, h = ann.value_and_grad(loss)(w, x)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(g, h)
    assert "torch.compile" in step.explain()


@pytest.mark.parametrize("jit", [True, False])
def test_a_batch_whose_weights_are_all_zero_is_a_step_without_a_gradient(jit):
    torch = pytest.importorskip("torch")
    x, y = data((12,))
    w = np.where(np.arange(24) < 8, 1.0, 0.0)
    m = ann.Model([ann.Dense(4)], seed=0, dtype="float64")
    m.compile(ann.SGD(0.1, momentum=0.9, weight_decay=0.0), "categorical_crossentropy")
    m.predict(x)
    layer = torch.nn.Linear(12, 4, dtype=torch.float64)
    with torch.no_grad():
        layer.weight[...] = torch.tensor(np.array(m.params["dense"]["kernel"]).T)
        layer.bias[...] = 0.0
    m.fit(x, y, batch_size=8, sample_weight=w, shuffle=False, jit=jit, verbose=0)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    for i in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer(torch.tensor(x[8 * i : 8 * i + 8], dtype=torch.float64)), torch.tensor(y[8 * i : 8 * i + 8]))
        (loss if i == 0 else 0.0 * loss).backward()
        optimizer.step()
    np.testing.assert_allclose(m.params["dense"]["kernel"], layer.weight.detach().numpy().T, rtol=1e-10)


class Fussy(ann.Layer):
    inner: ann.Layer

    def call(self, x, ctx):
        if x.shape[0] == 8:  # the short last batch
            raise RuntimeError("eight are too few")
        return self.inner(x, ctx)


def steps_of(m):
    """A callback that keeps the parameters after each step."""
    kept = []

    class Keep(ann.callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            kept.append(tree.map(np.array, m.params))

    return Keep(), kept


@pytest.mark.parametrize("jit", [True, False])
def test_what_a_layer_raises_names_the_layer_and_leaves_the_model_as_after_the_last_step(jit):
    x, y = data((12,))
    m = ann.Model([ann.Dense(8), Fussy(ann.Dense(4))], seed=0)
    m.compile("adam", "categorical_crossentropy")
    keep, kept = steps_of(m)
    with pytest.raises(RuntimeError, match="eight are too few") as caught:
        m.fit(x, y, batch_size=16, shuffle=False, jit=jit, verbose=0, callbacks=[keep])
    assert caught.value.__notes__ == ["in the layer Fussy 'fussy', where x is float32 (8, 8)"]
    assert len(kept) == 1
    tree.map(np.testing.assert_array_equal, m.params, kept[-1])
    m.fit(x[:16], y[:16], batch_size=16, jit=jit, verbose=0)  # and it goes on
    for use in (lambda: m.predict(x[:8]), lambda: m.evaluate(x[:8], y[:8]), lambda: m.net.apply(m.params, x[:8])):
        with pytest.raises(RuntimeError, match="eight") as caught:
            use()
        assert caught.value.__notes__ == ["in the layer Fussy 'fussy', where x is float32 (8, 8)"]


def test_the_innermost_layer_is_named_once_and_a_function_by_its_name():
    def broken(x):
        raise KeyError("k")

    net = ann.Sequential([ann.Sequential([ann.Dense(3), broken], name="block")])
    with pytest.raises(KeyError) as caught:
        net.init(np.ones((5, 2), "f"))
    assert caught.value.__notes__ == ["in the layer Function 'block/broken', where x is float32 (2, 3); the network is being built, for a batch of 2 without data"]


@pytest.mark.parametrize("kind", ["native", "numpy", "replay"])
def test_an_error_in_a_step_takes_back_no_more_than_it_must(kind, monkeypatch):
    """Where nothing was written the parameters are those of the last step; else those of the last reading, and the error says so."""
    if kind == "native":
        pytest.importorskip("llvmlite")
    original = backends.jit
    monkeypatch.setattr(backends, "jit", lambda f, **options: original(f, **options, lowering=kind))
    x, y = RNG.integers(0, 5, (32, 2)), np.arange(32) % 3
    x[20, 1] = 5  # there are 5 rows, 0 … 4
    m = ann.Model([ann.Embedding(5, 4), ann.Flatten(), ann.Dense(3)], seed=0)
    m.compile("adam", "categorical_crossentropy")
    m.fit(x[:8], y[:8], batch_size=8, verbose=0)
    start = m.params
    keep, kept = steps_of(m)
    with pytest.raises(IndexError) as caught:
        m.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[keep])
    assert len(kept) == 2
    notes = " ".join(getattr(caught.value, "__notes__", ()))
    tree.map(np.testing.assert_array_equal, m.params, start if kind == "native" else kept[-1])
    assert ("the parameters are those after step 1, as at the last reading, not after step 3" in notes) == (kind == "native")
    now = m.params
    with pytest.raises(IndexError) as caught:
        m.train_on_batch(x[16:24], y[16:24])
    if kind == "native":
        assert "no longer as it was" in " ".join(caught.value.__notes__)
    else:
        tree.map(np.testing.assert_array_equal, m.params, now)


@pytest.mark.parametrize("written", [True, False])
def test_an_error_tells_whether_what_was_donated_is_as_it_was(written):
    def f(p, x, i):
        xp = backends.namespace(p, x)
        if written:
            q, part = p + 1.0, xp.take(x, i)
        else:
            part, q = xp.take(x, i), p + 1.0
        return q, part + xp.sum(q)

    step = ann.jit(f, donate=0, lowering="numpy")
    p, _ = step(np.zeros(3), np.arange(3.0), np.asarray([0]))
    with pytest.raises(IndexError) as caught:
        step(p, np.arange(3.0), np.asarray([7]))
    assert step.spares(caught.value) == (not written) == bool((p == 1.0).all())


@pytest.mark.parametrize("jit", [True, False])
def test_a_crossentropy_among_the_metrics_leaves_out_what_the_loss_leaves_out(backend, jit):
    """The same number, of batches of different sizes, and weighted, too; labels −1 are no error."""
    x, y = data((12,), 50)
    y, w = np.where(np.arange(50) % 7 == 0, -1, y), np.linspace(0.5, 2.0, 50)
    m = ann.Model([ann.Dense(8, "tanh"), ann.Dense(4)], seed=0, backend=backend)
    m.compile("sgd", ann.losses.CategoricalCrossentropy(ignore_class=-1), metrics=["categorical_crossentropy", "sparse_categorical_crossentropy"])
    for weights in (None, w):
        history = m.fit(x, y, sample_weight=weights, epochs=2, batch_size=16, verbose=0, jit=jit).history
        for name in ("categorical_crossentropy", "sparse_categorical_crossentropy"):
            np.testing.assert_allclose(history[name], history["loss"], rtol=1e-5)
    each = -np.log(np.take_along_axis(m.predict_proba(x), np.maximum(y, 0)[:, None], axis=1)[:, 0])
    meant = (each * w)[y >= 0].sum() / w[y >= 0].sum()
    assert abs(m.evaluate(x, y, sample_weight=w)["categorical_crossentropy"] - meant) < 1e-5
