"""Model: what users do with it every day, on every backend."""

import copy
import pickle

import numpy as np
import pytest

import ann
import backends
from backends import tree


def blobs(n=120, k=3, d=4, seed=0):
    """Points around k centres: a problem that every classifier solves."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    x = rng.normal(size=(n, d)).astype("float32") + 3.0 * np.eye(k, d, dtype="float32")[y]
    return x, y


def small(backend, **keywords):
    m = ann.Model([ann.Dense(8, "relu"), ann.Dense(3)], backend=backend, seed=0, **keywords)
    m.compile(ann.Adam(1e-2), "categorical_crossentropy", metrics=["accuracy"])
    return m


def test_model_learns_blobs(backend):
    x, y = blobs()
    m = small(backend)
    h = m.fit(x, y, epochs=15, batch_size=16, verbose=0)
    loss, accuracy = m.evaluate(x, y)
    assert accuracy > 0.95 and h["loss"][-1] < h["loss"][0]
    assert isinstance(loss, float) and len(h) == 15


def test_same_seed_same_start_and_same_curve_on_every_backend(backend):
    x, y = blobs()
    reference, other = small("numpy", dtype="float64"), small(backend, dtype="float64")
    a = reference.fit(x, y, epochs=13, batch_size=16, verbose=0)["loss"]  # 13 epochs of 8 steps: 104 steps
    b = other.fit(x, y, epochs=13, batch_size=16, verbose=0)["loss"]
    np.testing.assert_allclose(a, b, rtol=1e-9)


def test_initial_weights_are_equal_to_the_bit(backend):
    reference, other = small("numpy"), small(backend)
    x, _ = blobs()
    reference.predict(x), other.predict(x)
    for path, w in tree.flatten(reference.params).items():
        assert np.array_equal(w, backend.to_numpy(tree.flatten(other.params)[path])), path


def test_adding_a_layer_does_not_change_the_numbers_of_another():
    short = ann.Model([ann.Input(4), ann.Dense(8, name="a"), ann.Dense(3, name="b")], seed=1)
    long = ann.Model([ann.Input(4), ann.Dense(8, name="a"), ann.LayerNormalization(), ann.Dense(3, name="b")], seed=1)
    for name in ("a", "b"):
        assert np.array_equal(short.params[name]["kernel"], long.params[name]["kernel"])


def test_predict_answers_in_the_library_of_its_input(backend):
    x, y = blobs()
    m = small("numpy")
    m.fit(x, y, verbose=0)
    assert isinstance(m.predict(x.tolist()), np.ndarray)
    if backend.name != "cupy":
        assert type(m.predict(backend.asarray(x))) is type(backend.asarray(x))


def test_first_data_choose_the_backend(backend):
    x, y = blobs()
    m = ann.Model([ann.Dense(3)])
    m.compile("sgd", "categorical_crossentropy")
    m.fit(backend.asarray(x), backend.asarray(y), verbose=0)
    assert m.backend.library is backend.library


def test_probabilities_and_classes_agree(backend):
    x, y = blobs()
    m = small(backend)
    m.fit(x, y, epochs=5, verbose=0)
    p, c = m.predict_proba(x), m.predict_class(x)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)
    assert np.array_equal(p.argmax(axis=1), c)


def test_a_row_has_the_same_prediction_wherever_it_stands():
    x, _ = blobs(n=77)
    m = small("numpy")
    assert np.array_equal(m.predict(x, batch_size=32)[70], m.predict(x[70:71].repeat(40, axis=0), batch_size=32)[3])


def test_saved_model_predicts_the_same_and_trains_on(backend, tmp_path):
    x, y = blobs()
    m = ann.Model([ann.Dense(8, ann.gelu), ann.BatchNormalization(), ann.Dropout(0.3), ann.Dense(3)], backend=backend, seed=3)
    m.compile(ann.AdamW(ann.schedules.CosineDecay(1e-2, 100)), "categorical_crossentropy", metrics=["accuracy"])
    m.fit(x, y, epochs=2, verbose=0)
    m.save(tmp_path / "m.safetensors")
    again = ann.load(tmp_path / "m.safetensors", backend=backend)
    assert np.array_equal(m.predict(x), again.predict(x))
    a, b = m.fit(x, y, epochs=2, verbose=0)["loss"], again.fit(x, y, epochs=2, verbose=0)["loss"]
    assert a == b


def test_model_moves_between_backends(backend):
    x, y = blobs()
    m = small("numpy")
    m.fit(x, y, verbose=0)
    before = m.predict(x)
    assert m.to(backend.name) is m
    np.testing.assert_allclose(m.predict(x), before, rtol=1e-4, atol=1e-6)
    m.fit(x, y, verbose=0)
    m.to("numpy").fit(x, y, verbose=0)


def test_params_are_copies_and_refuse_assignment(backend):
    m = small(backend)
    x, _ = blobs()
    m.predict(x)
    with pytest.raises(TypeError, match="assign"):
        m.params["dense"]["kernel"] = 0
    plain = copy.deepcopy(m.params)
    plain["dense"]["bias"] = plain["dense"]["bias"] + 2.0
    m.params = pickle.loads(pickle.dumps(plain)) if backend.library.name == "numpy" else plain
    assert float(m.params["dense"]["bias"][0]) == 2.0
    m.assign("dense/bias", np.ones(8, dtype="float32"))
    assert float(m.params["dense"]["bias"][0]) == 1.0
    with pytest.raises(ValueError, match=r"dense/bias has shape \(8,\)"):
        m.assign("dense/bias", np.ones(7))
    with pytest.raises(ValueError, match="no parameter"):
        m.assign("dens/bias", np.ones(8))


def test_frozen_parameters_stay_and_the_others_learn(backend):
    x, y = blobs()
    m = small(backend)
    m.fit(x, y, verbose=0)
    m.freeze("dense")
    before = tree.map(backend.to_numpy, m.params)
    m.fit(x, y, verbose=0)
    after = tree.map(backend.to_numpy, m.params)
    assert np.array_equal(before["dense"]["kernel"], after["dense"]["kernel"])
    assert not np.array_equal(before["dense_1"]["kernel"], after["dense_1"]["kernel"])
    m.unfreeze("*")
    m.fit(x, y, verbose=0)
    assert not np.array_equal(before["dense"]["kernel"], backend.to_numpy(m.params["dense"]["kernel"]))
    with pytest.raises(ValueError, match="no layer or parameter matches"):
        m.freeze("conv*")


def test_gradients_match_finite_differences(backend):
    x, y = blobs(n=10)
    m = ann.Model([ann.Dense(5, "tanh"), ann.Dense(3)], backend=backend, dtype="float64", seed=0)
    m.compile("sgd", "categorical_crossentropy")
    g = backend.to_numpy(m.gradients(x, y)["dense"]["kernel"])
    w = np.array(backend.to_numpy(m.params["dense"]["kernel"]))
    for i, j in ((0, 0), (3, 4)):
        values = []
        for h in (1e-5, -1e-5):
            moved = w.copy()
            moved[i, j] += h
            m.assign("dense/kernel", moved)
            values.append(m.evaluate(x, y)[0])
        assert g[i, j] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)
        m.assign("dense/kernel", w)


def test_sample_weights_count_as_copies_of_rows(backend):
    x, y = blobs(n=12)
    twice = np.concatenate([x, x[:4]]), np.concatenate([y, y[:4]])
    w = np.array([2.0] * 4 + [1.0] * 8, dtype="float32")
    m = small(backend, dtype="float64")
    a, b = m.evaluate(x, y, sample_weight=w), m.evaluate(*twice)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_batch_normalization_infers_with_running_values(backend):
    x, y = blobs()
    m = ann.Model([ann.BatchNormalization(momentum=0.5), ann.Dense(3)], backend=backend, seed=0)
    m.compile("sgd", "categorical_crossentropy")
    m.fit(x, y, epochs=20, verbose=0, batch_size=120)
    np.testing.assert_allclose(backend.to_numpy(m.state["batch_normalization"]["moving_mean"]), x.mean(axis=0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(backend.to_numpy(m.state["batch_normalization"]["moving_variance"]), x.var(axis=0, ddof=1), rtol=1e-3)


def test_dropout_masks_do_not_depend_on_the_backend(backend):
    x, y = blobs()

    def curve(where):
        m = ann.Model([ann.Dense(16, "relu"), ann.Dropout(0.5), ann.Dense(3)], backend=where, seed=0, dtype="float64")
        m.compile("sgd", "categorical_crossentropy")
        return m.fit(x, y, epochs=2, verbose=0)["loss"]

    np.testing.assert_allclose(curve("numpy"), curve(backend), rtol=1e-9)


def test_interrupt_leaves_the_model_consistent():
    x, y = blobs()
    m = small("numpy")
    m.fit(x, y, verbose=0)

    class Stop(ann.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    before = m._now[3]
    with pytest.raises(KeyboardInterrupt):
        m.fit(x, y, epochs=3, verbose=0, callbacks=[Stop()])
    assert m._now[3] == before + 4 and float(m._now[2]["t"]) == m._now[3]
    m.fit(x, y, verbose=0)


def test_a_loss_that_explodes_is_an_error_and_keeps_finite_parameters():
    x, y = blobs()
    m = ann.Model([ann.Dense(8), ann.Dense(1)], seed=0)
    m.compile(ann.SGD(1e6), "mse")
    with pytest.raises(FloatingPointError, match="learning rate"), np.errstate(all="ignore"):
        m.fit(x, y.astype("float32"), epochs=50, verbose=0)
    assert all(np.isfinite(w).all() for w in tree.leaves(m.params))


def test_read_only_and_foreign_memory_layouts_train(backend):
    x, y = blobs()
    expected = small(backend).fit(x, y, verbose=0)["loss"]
    frozen = x.copy()
    frozen.flags.writeable = False
    for data in (frozen, np.asfortranarray(x), x[::-1].copy()[::-1], x.astype(">f4"), x.astype("float64"), x.tolist()):
        kept = np.array(data, copy=True)
        np.testing.assert_allclose(small(backend).fit(data, y, verbose=0)["loss"], expected, rtol=1e-6)
        assert np.array_equal(np.asarray(data), kept)


X, Y = blobs()


@pytest.mark.parametrize(
    ("message", "act"),
    [
        ("has no loss", lambda: ann.Model([ann.Dense(3)]).fit(X, Y)),
        ("labels 0…10 for 3 outputs", lambda: small(None).fit(X, np.arange(120) % 11)),
        ("x has 120 rows, y has 119", lambda: small(None).fit(X, Y[:119])),
        ("not finite", lambda: small(None).fit(np.full((4, 4), np.nan), [0, 1, 2, 0])),
        ("overflow", lambda: small(None).fit(np.full((4, 4), 1e300), [0, 1, 2, 0])),
        ("objects", lambda: small(None).fit(np.array([["a", 1]], dtype=object), [0])),
        ("no rows", lambda: small(None).fit(np.zeros((0, 4)), np.zeros(0, dtype=int))),
        ("already gives probabilities", lambda: _probabilities_twice()),
        ("epochs", lambda: small(None).fit(X, Y, epochs=-1)),
        ("batch_size", lambda: small(None).fit(X, Y, batch_size=0)),
        ("one weight an example", lambda: small(None).fit(X, Y, sample_weight=np.ones((120, 1)))),
        ("unknown|Did you mean|categorical_crossentropy", lambda: small(None).compile("adam", "categorical_crosentropy")),
        ("adam", lambda: small(None).compile("adma", "mse")),
        ("same object", lambda: _same_layer_twice()),
        (r"Dense 'dense': x has only one axis.*x.reshape\(-1, 1\)", lambda: small(None).fit(X[:, 0], Y)),
        ("takes 4", lambda: _other_width()),
    ],
)
def test_bad_input_is_explained(message, act):
    with pytest.raises((ValueError, TypeError), match=message):
        act()


def _probabilities_twice():
    m = ann.Model([ann.Input(4), ann.Dense(3, "softmax")])
    m.compile("adam", ann.CategoricalCrossentropy(from_logits=True))


def _same_layer_twice():
    layer = ann.Dense(3)
    ann.Model([layer, layer])


def _other_width():
    m = small(None)
    m.fit(X, Y, verbose=0)
    m.predict(X[:, :3])


def test_unfit_targets_are_refused():
    m = ann.Model([ann.Dense(1)])
    m.compile("sgd", "mse")
    m.fit(X, Y, verbose=0)  # (n,) against (n, 1): reshaped
    with pytest.raises(ValueError, match="must agree"):
        m.fit(X, np.ones((120, 2)), verbose=0)


def test_device_data_are_never_pulled_silently():
    be = backends.get("array_api_strict:device1")
    m = small("numpy")
    m.fit(X, Y, verbose=0)
    m.predict(be.asarray(X))  # its memory is the host's: allowed


def test_summary_counts_parameters(capsys):
    m = ann.Model([ann.Input((8, 8, 1)), ann.Conv2D(4, 3, activation="relu"), ann.MaxPooling2D(), ann.Flatten(), ann.Dense(10)])
    m.summary()
    text = capsys.readouterr().out
    assert "410" in text and "(n, 6, 6, 4)" in text and "410 parameters" in text.replace("450", "410") or "410" in text


def test_activations_by_path(backend):
    m = small(backend)
    found = m.activations(X, "dense*")
    assert list(found) == ["dense", "dense_1"] and found["dense"].shape == (120, 8)


def reference_loss(z, y, w):
    """The weighted mean cross-entropy, in float64 on the host."""
    z = np.asarray(z, dtype="float64")
    each = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) + z.max(axis=1) - z[np.arange(len(y)), y]
    return (w * each).sum() / w.sum(), (w * (z.argmax(axis=1) == y)).sum() / w.sum()


@pytest.mark.parametrize("weighted", [False, True])
def test_means_are_right_when_the_last_batch_is_short(backend, weighted):
    x, y = blobs(n=77)
    w = np.random.default_rng(1).uniform(0, 3, size=77) if weighted else np.ones(77)
    m = ann.Model([ann.Dense(8, "relu"), ann.Dense(3)], backend=backend, seed=0, dtype="float64")
    m.compile(ann.SGD(0.0), "categorical_crossentropy", metrics=["accuracy"])
    given = w if weighted else None
    h = m.fit(x, y, batch_size=32, sample_weight=given, verbose=0, validation_data=(x, y, w) if weighted else (x, y))
    wanted = reference_loss(backend.to_numpy(m.predict(backend.asarray(x))), y, w)
    for found in ((h["loss"][0], h["accuracy"][0]), (h["val_loss"][0], h["val_accuracy"][0]), m.evaluate(x, y, sample_weight=given, batch_size=50)):
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


class Heads(ann.Layer):
    """Two outputs of one body, as a dict or as a tuple."""

    body: ann.Layer
    a: ann.Layer
    b: ann.Layer
    as_tuple: bool = False

    def call(self, x, ctx):
        h = self.body(x, ctx)
        a, b = self.a(h, ctx), self.b(h, ctx)
        return (a, b) if self.as_tuple else {"a": a, "b": b}


def test_class_and_sample_weights_of_several_outputs(backend):
    x, y = blobs(n=30)
    wa, wb = np.linspace(0, 2, 30), np.where(y == 2, 5.0, 1.0)
    m = ann.Model(Heads(ann.Dense(8, "relu"), ann.Dense(3), ann.Dense(3)), backend=backend, seed=0, dtype="float64")
    loss = {"a": "categorical_crossentropy", "b": "categorical_crossentropy"}
    m.compile(ann.SGD(0.0), loss, {"a": ["accuracy"]}, {"b": 0.25})
    h = m.fit(x, {"a": y, "b": y}, batch_size=16, sample_weight={"a": wa}, class_weight={"b": {0: 1.0, 1: 1.0, 2: 5.0}}, verbose=0)
    out = m.predict(x.tolist())
    a, b = reference_loss(out["a"], y, wa), reference_loss(out["b"], y, wb)
    np.testing.assert_allclose([h["a_loss"][0], h["b_loss"][0], h["a_accuracy"][0], h["loss"][0]], [a[0], b[0], a[1], a[0] + 0.25 * b[0]], rtol=1e-10)
    m.compile("sgd", loss)
    with pytest.raises(ValueError, match="class_weight is for one output"):
        m.fit(x, {"a": y, "b": y}, class_weight={0: 1.0, 1: 2.0, 2: 1.0})


def test_tuple_outputs_take_tuples_everywhere(backend):
    x, y = blobs(n=30)
    m = ann.Model(Heads(ann.Dense(8, "relu"), ann.Dense(3), ann.Dense(1), True), backend=backend, seed=0)
    m.compile("adam", ("categorical_crossentropy", "mse"), [["accuracy"], ["mae"]], (1.0, 0.5))
    h = m.fit(x, (y, y.astype("float32")), verbose=0, sample_weight=(np.ones(30), None))
    assert list(h.history) == ["loss", "0_loss", "1_loss", "0_accuracy", "1_mae"]
    p, q = m.predict(x), m.predict_proba(x)
    assert isinstance(p, tuple) and p[0].shape == (30, 3) and p[1].shape == (30, 1)
    np.testing.assert_allclose(np.asarray(q[0]).sum(axis=1), 1, rtol=1e-5)
    c = m.predict_class(x)
    assert c[0].shape == (30,)
    assert set(m.evaluate(x, (y, y)).keys()) == {"loss", "0_loss", "1_loss", "0_accuracy", "1_mae"}
    with pytest.raises(ValueError, match="y is a dict with these keys, or a tuple"):
        m.fit(x, y)


def test_probabilities_at_any_output_are_trained_on_the_values_before_them(backend):
    x, y = blobs(n=30)
    kept = []
    for last, binary in (("softmax", "sigmoid"), (None, None)):
        m = ann.Model(Heads(ann.Dense(8, "relu"), ann.Dense(3, last), ann.Dense(1, binary)), backend=backend, seed=0, dtype="float64")
        m.compile("adam", {"a": "categorical_crossentropy", "b": "binary_crossentropy"}, {"b": "accuracy"})
        h = m.fit(x, {"a": y, "b": y == 1}, epochs=2, verbose=0)
        kept.append((h.history, m.predict_proba(x.tolist()), m.predict(x.tolist())))
    assert kept[0][0] == kept[1][0]
    for key in "ab":
        np.testing.assert_array_equal(kept[0][1][key], kept[1][1][key])
        np.testing.assert_allclose(kept[0][2][key], kept[0][1][key], rtol=1e-12)
    m = ann.Model([ann.Input(4), Heads(ann.Dense(8, "relu"), ann.Dense(3, "softmax"), ann.Dense(1))])
    with pytest.raises(ValueError, match="already gives probabilities"):
        m.compile("adam", {"a": ann.CategoricalCrossentropy(), "b": "mse"})


def test_a_softmax_is_known_through_what_only_reshapes_or_disturbs_it():
    class Own(ann.Layer):
        def call(self, x, ctx):
            return ann.softmax(x)

    class Penalized(ann.Layer):
        inner: ann.Layer

        def call(self, x, ctx):
            p = self.inner(x, ctx)
            ctx.penalty(ann.namespace(p).sum(p * p))  # of the probabilities
            return p

    class Scaled(ann.Layer):  # its activation is not the last thing it does
        activation: str

        def call(self, x, ctx):
            return 10.0 * ann.softmax(x) @ ctx.param("kernel", (3, 3), "identity")

    def wanted(p, y):
        return -np.log(p[np.arange(len(y)), y]).mean()

    x, y = blobs(n=20)
    softmax = lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    for end, link in (
        ([ann.Dense(3, "softmax"), ann.Dropout(0.5)], None), ([ann.Dense(3), ann.Softmax(), ann.Reshape((3,)), ann.GaussianNoise(0.1)], None),
        ([ann.Dense(3), ann.softmax, ann.Flatten()], None), ([ann.Dense(3), Own()], None), ([ann.Dense(3), lambda x: ann.softmax(x)], None),
        ([Penalized(ann.Dense(3, "softmax"))], None), ([ann.Dense(3, "softmax")], None), ([ann.Dense(3), Scaled("softmax")], softmax),
        ([ann.Dense(3, "softmax"), ann.Dense(3)], softmax), ([ann.Dense(3), ann.log_softmax], softmax), ([ann.Dense(3, "sigmoid"), ann.Dropout(0.5)], None),
    ):  # fmt: skip
        m = ann.Model([ann.Dense(4), *end], seed=0, dtype="float64")
        m.compile(ann.SGD(0.0), "categorical_crossentropy")
        loss = m.evaluate(x, y)[0]
        p = m.predict(x.astype("float64"))
        p = p if link is None else link(p)
        assert loss == pytest.approx(wanted(p, y), rel=1e-9), end
        np.testing.assert_allclose(m.predict_proba(x.astype("float64")), p, rtol=1e-9)
        if isinstance(end[0], Penalized):  # of the first batch, before the step
            assert m.fit(x, y, batch_size=20, verbose=0)["loss"] == pytest.approx([loss + (p * p).sum()])
        if link is None and end[0] is not None and "sigmoid" not in repr(end):
            with pytest.raises(ValueError, match="already gives probabilities"):
                m.compile("adam", ann.CategoricalCrossentropy())


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "binary_crossentropy"])
def test_what_is_computed_from_a_softmax_must_be_declared(loss):
    a = ann.Input(4)
    heads = [ann.Dense(3, "softmax" if loss[0] == "c" else "sigmoid")(a) for _ in range(2)]
    m = ann.Model(a, ann.Average()(heads), seed=0, dtype="float64")
    with pytest.raises(ValueError, match=r"computes further with what a (softmax|sigmoid) gives.*from_logits=False\) if they are, .*from_logits=True\) if they are not"):
        m.compile("adam", loss)
    x, y = blobs(n=20)
    y = y if loss[0] == "c" else np.eye(3)[y]
    kind = ann.CategoricalCrossentropy if loss[0] == "c" else ann.BinaryCrossentropy
    for logits in (False, True):
        m.compile(ann.SGD(0.0), kind(from_logits=logits))
        p = m.predict(x.astype("float64"))
        assert m.evaluate(x, y)[0] == pytest.approx(float(kind(from_logits=logits)(np.asarray(y), p)), rel=1e-9)


def test_a_choice_by_a_softmax_is_no_probability():
    class Hard(ann.Layer):
        scores: ann.Layer

        def call(self, x, ctx):
            xp = ann.namespace(x)
            return xp.take(ctx.param("rows", (3, 3), "identity"), xp.argmax(self.scores(x, ctx), axis=-1), axis=0)

    m = ann.Model([ann.Input(4), Hard(ann.Dense(3, "softmax"))], seed=0)
    m.compile("adam", "categorical_crossentropy")
    np.testing.assert_allclose(m.predict_proba(X[:5]), np.exp(m.predict(X[:5])) / np.exp(m.predict(X[:5])).sum(axis=1, keepdims=True), rtol=1e-6)


def test_a_gate_before_the_last_product_is_no_probability():
    x, y = blobs(n=20)
    m = ann.Model([ann.Dense(4, "sigmoid"), lambda x: x * ann.sigmoid(x), ann.Dense(1, "silu")], seed=0)
    m.compile("adam", "binary_crossentropy")
    assert m.fit(x, y == 1, verbose=0)["loss"][0] > 0 and m.predict_proba(x).max() < 1
    m = ann.Model([ann.Dense(6), lambda x: x[:, :3] * ann.sigmoid(x[:, 3:])], seed=0)  # a gated linear unit gives logits
    m.compile("adam", "categorical_crossentropy")
    assert m.fit(x, y, verbose=0)["loss"][0] > 0
    np.testing.assert_allclose(m.predict_proba(x).sum(axis=1), 1.0, rtol=1e-5)


def test_a_shared_softmax_is_never_doubled():
    class Attend(ann.Layer):
        inner: ann.Layer

        def call(self, x, ctx):
            return self.inner(self.inner(x, ctx), ctx)  # its softmax is also used inside

    x, y = blobs(n=20)
    m = ann.Model(Attend(ann.Dense(4, "softmax")), seed=0, dtype="float64")
    m.compile(ann.SGD(0.0), "categorical_crossentropy")
    p = m.predict(x.astype("float64"))
    assert m.evaluate(x, y)[0] == pytest.approx(-np.log(p[np.arange(20), y]).mean(), rel=1e-10)


def test_metrics_of_three_kinds(backend):
    class Share:
        """Adds up: the share of predictions of class 1."""

        name = "share"

        def sums(self, y_true, y_pred, sample_weight=None):
            xp = ann.namespace(y_pred)
            w = xp.ones_like(y_pred[:, 0]) if sample_weight is None else sample_weight
            return {"ones": xp.sum(w * xp.astype(xp.argmax(y_pred, axis=-1) == 1, y_pred.dtype)), "all": xp.sum(w)}

        def value(self, sums):
            return sums["ones"] / sums["all"]

    class Median:
        """Of the whole: no sums of batches give it."""

        whole = True

        def __call__(self, y_true, y_pred, sample_weight=None):
            return np.median(backend.to_numpy(y_pred)[:, 0])

    def first(y_true, y_pred):
        return y_pred[:, 0]

    x, y = blobs(n=45)
    m = ann.Model([ann.Dense(3)], backend=backend, seed=0, dtype="float64")
    m.compile(ann.SGD(0.0), "categorical_crossentropy", metrics=[Share(), Median(), first])
    h = m.fit(x, y, batch_size=16, verbose=0)
    p = np.asarray(m.predict_proba(x.tolist()))
    wanted = [(p.argmax(axis=1) == 1).mean(), np.median(p[:, 0]), p[:, 0].mean()]
    np.testing.assert_allclose([h[name][0] for name in ("share", "median", "first")], wanted, rtol=1e-10)
    np.testing.assert_allclose(m.evaluate(x, y, batch_size=20)[1:], wanted, rtol=1e-10)


def test_penalties_count_in_the_loss(backend):
    x, y = blobs(n=20)
    m = ann.Model([ann.Dense(3, kernel_regularizer=lambda w: 0.1 * ann.namespace(w).sum(w * w))], backend=backend, seed=0, dtype="float64")
    m.compile(ann.SGD(0.0), "categorical_crossentropy")
    h = m.fit(x, y, batch_size=16, verbose=0)
    w = backend.to_numpy(m.params["dense"]["kernel"])
    assert h["loss"][0] == pytest.approx(m.evaluate(x, y)[0] + 0.1 * (w**2).sum(), rel=1e-10)


def test_an_epoch_whose_weights_are_all_zero_has_loss_zero(backend):
    x, y = blobs(n=20)
    m = small(backend)
    before = m.predict(x)
    assert m.fit(x, y, sample_weight=np.zeros(20), verbose=0)["loss"] == [0.0]
    np.testing.assert_array_equal(before, m.predict(x))


def test_a_model_survives_pickle_and_deepcopy(backend):
    """As joblib and scikit-learn's clone do it: weights, optimizer, place in the training; the backend goes by its name."""
    x, y = np.random.default_rng(1).normal(size=(20, 3)).astype("float32"), np.arange(20) % 2
    model = ann.Model([ann.Dense(4, ann.tanh), ann.Dropout(0.2), ann.Dense(2)], backend=backend, seed=3)
    model.compile(ann.Adam(0.01), "categorical_crossentropy")
    model.fit(x, y, verbose=0)
    twins = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    model.fit(x, y, verbose=0)
    for twin in twins:
        twin.fit(x, y, verbose=0)
        assert twin.backend == model.backend and np.array_equal(twin.predict(x), model.predict(x))


def test_backprop_holds_every_intermediate(backend):
    x, y = blobs(n=6)
    m = ann.Model([ann.Dense(5, "tanh"), ann.Dense(3)], backend=backend, seed=0, dtype="float64")
    m.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    b = m.backprop(x, y)
    assert [line.path for line in b][:7] == ["x", "dense", "dense/kernel", "dense/bias", "dense/linear", "dense/tanh", "dense_1"]
    p = tree.map(lambda a: np.asarray(backend.to_numpy(a)), m.params)
    z1 = x @ p["dense"]["kernel"] + p["dense"]["bias"]
    h = np.tanh(z1)
    z2 = h @ p["dense_1"]["kernel"] + p["dense_1"]["bias"]
    q = np.exp(z2 - z2.max(axis=1, keepdims=True))
    dz2 = (q / q.sum(axis=1, keepdims=True) - np.eye(3)[y]) / 6
    dh = dz2 @ p["dense_1"]["kernel"].T
    dz1 = dh * (1 - h**2)
    wanted = {
        "x": (x, dz1 @ p["dense"]["kernel"].T), "dense/linear": (z1, dz1), "dense/tanh": (h, dh), "dense": (h, dh), "dense_1": (z2, dz2),
        "dense/kernel": (p["dense"]["kernel"], x.T @ dz1), "dense_1/bias": (p["dense_1"]["bias"], dz2.sum(axis=0)), "loss": (b.loss, 1.0),
    }  # fmt: skip
    for path, (value, dy) in wanted.items():
        np.testing.assert_allclose(backend.to_numpy(b[path].y), value, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(backend.to_numpy(b[path].dy), dy, rtol=1e-6, atol=1e-9)
    assert set(b.values) == {"dense", "dense_1"} == set(b.dys)
    text = str(b).splitlines()
    assert len(text) == 16 and "kernel" in text[3] and text[-1] == f"loss {b.loss:.6g}" and f"({6}, {5})" in text[5]
    with pytest.raises(KeyError, match="dense/linear"):
        b["dens"]


def test_backprop_of_shared_and_nested_layers_names_each_use():
    class Twice(ann.Layer):
        inner: ann.Layer

        def call(self, x, ctx):
            return self.inner(x + self.inner(x, ctx), ctx)

    x, y = blobs(n=6)
    m = ann.Model([ann.Flatten(), Twice(ann.Dense(4, "relu")), ann.Dense(3)], seed=0)
    m.compile("sgd", "categorical_crossentropy")
    b = m.backprop(x, y)
    assert {"twice/inner", "twice/inner#2", "twice/add", "twice/inner/linear", "twice/inner#2/linear"} <= {line.path for line in b}
    w = m.gradients(x, y)["twice"]["inner"]["kernel"]
    np.testing.assert_allclose(b["twice/inner/kernel"].dy, w, rtol=1e-5)


def test_activations_hold_records_and_each_use(backend):
    class Attend(ann.Layer):
        inner: ann.Layer

        def call(self, x, ctx):
            h = self.inner(x, ctx)
            ctx.record("weights", ann.softmax(h))
            return self.inner(h, ctx)

    x, _ = blobs(n=6)
    m = ann.Model([Attend(ann.Dense(4))], backend=backend, seed=0)
    found = m.activations(x)
    assert set(found) == {"attend/inner", "attend/inner#2", "attend", "attend/weights"} and isinstance(found["attend"], np.ndarray)
    np.testing.assert_allclose(found["attend/weights"].sum(axis=1), 1, rtol=1e-5)
    assert list(m.activations(x, "*/weights")) == ["attend/weights"]
    with pytest.raises(ValueError, match="nothing matches 'dense'; there are attend/inner"):
        m.activations(x, "dense")


@pytest.mark.parametrize("glob", ["batch_normalization", "batch_*", "batch_normalization/*", "*"])
def test_frozen_batch_normalization_infers(glob):
    x, y = blobs()
    m = ann.Model([ann.Dense(4), ann.BatchNormalization(), ann.Dense(3)], seed=0)
    m.compile(ann.Adam(1e-2), "categorical_crossentropy")
    m.fit(x, y, epochs=2, verbose=0)
    m.freeze(glob)
    assert not any("batch" in path for path in tree.paths(m._now[2]["m"]))  # no slots
    before = tree.map(np.copy, (m.state, m.params["batch_normalization"]))
    m.fit(x, y, verbose=0)
    assert tree.leaves(tree.map(np.array_equal, before, (m.state, m.params["batch_normalization"]))) == [True] * 4
    m.unfreeze("batch_normalization/gamma")  # one of its parameters learns again: so it is no longer held
    m.fit(x, y, verbose=0)
    after = m.params["batch_normalization"]
    assert not np.array_equal(before[1]["gamma"], after["gamma"]) and np.array_equal(before[1]["beta"], after["beta"])
    assert not np.array_equal(before[0]["batch_normalization"]["moving_mean"], m.state["batch_normalization"]["moving_mean"])


def test_layers_without_parameters_freeze_too():
    x, y = blobs()
    m = ann.Model([ann.BatchNormalization(center=False, scale=False), ann.Dense(3, trainable=False), ann.Dense(3)], seed=0)
    m.compile("adam", "categorical_crossentropy")
    m.fit(x, y, verbose=0)
    m.freeze("batch_normalization")
    before = tree.map(np.copy, (m.state, m.params["dense"]))
    m.unfreeze("dense")  # it was made with trainable=False, which stays
    m.fit(x, y, verbose=0)
    assert all(tree.leaves(tree.map(np.array_equal, before, (m.state, m.params["dense"]))))
    with pytest.raises(ValueError, match="no layer or parameter matches 'dens'; there are batch_normalization, dense, dense_1"):
        m.unfreeze("dens")


def test_a_frozen_model_is_saved_frozen(tmp_path):
    x, y = blobs()
    m = small("numpy")
    m.fit(x, y, verbose=0)
    m.freeze("dense")
    m.save(tmp_path / "m")
    again = ann.load(tmp_path / "m")
    assert again.fit(x, y, verbose=0).history == m.fit(x, y, verbose=0).history
    assert np.array_equal(again.params["dense"]["kernel"], m.params["dense"]["kernel"])


def test_all_parameters_are_set_at_once_or_none(backend):
    m = ann.Model([ann.Input(4), ann.Dense(2), ann.Dense(3)], backend=backend, seed=0)
    new = tree.map(lambda p: np.full(tuple(p.shape), 0.5), m.params)
    m.params = new
    assert all(float(backend.to_numpy(p).min()) == 0.5 for p in tree.leaves(m.params))
    for path, wrong, message in (
        ("dense/kernel", np.ones((4, 3)), r"dense/kernel has shape \(4, 2\), \(4, 3\) came"), ("dense/bias", np.array([1, np.nan]), "not finite"),
        ("dense/bias", np.array(["a", "b"]), "strings"), ("dense/bias", np.array([1j, 1]), "complex"), ("dense/more", np.ones(2), "no parameter dense/more"),
    ):  # fmt: skip
        flat = tree.flatten(tree.map(lambda p: p * 2, new)) | {path: wrong}
        with pytest.raises((ValueError, TypeError), match=message):
            m.params = tree.unflatten(flat)
        assert all(float(backend.to_numpy(p).min()) == 0.5 for p in tree.leaves(m.params))
    with pytest.raises(ValueError, match="dense_1/bias, dense_1/kernel missing"):
        m.params = {"dense": new["dense"]}


def test_the_learning_rate_is_read_and_set(backend):
    x, y = blobs()
    m = small(backend)
    assert m.learning_rate == 1e-2
    m.learning_rate = 0.0
    before = m.predict(x)
    m.fit(x, y, verbose=0)
    assert m.learning_rate == 0.0 and np.array_equal(before, m.predict(x))
    m.learning_rate = 1e-2
    m.fit(x, y, verbose=0)
    assert m.learning_rate == pytest.approx(1e-2) and not np.array_equal(before, m.predict(x))
    m.compile(ann.SGD(ann.schedules.ExponentialDecay(0.5, 8, 0.5)), "mse")
    assert m.learning_rate == 0.5
    with pytest.raises(ValueError, match="not compiled"):
        ann.Model([ann.Dense(2)]).learning_rate = 1.0


class Mixture(ann.Layer):
    """Words and numbers, as a dict of two inputs."""

    takes_indices = True
    embed: ann.Layer
    out: ann.Layer

    def call(self, x, ctx):
        words = self.embed(x["words"], ctx)
        xp = ann.namespace(words)
        return self.out(xp.concat([xp.mean(words, axis=1), x["numbers"]], axis=-1), ctx)


def test_a_dict_of_inputs_end_to_end(backend, tmp_path):
    x, y = blobs(n=40)
    words = np.arange(120).reshape(40, 3) % 7
    given = {"words": words, "numbers": x}
    m = ann.Model(Mixture(ann.Embedding(7, 2), ann.Dense(3)), backend=backend, seed=0)
    m.compile("adam", "categorical_crossentropy")
    h = m.fit(given, y, epochs=3, batch_size=20, verbose=0)
    assert h["loss"][-1] < h["loss"][0]
    p = m.predict(given)
    assert p.shape == (40, 3) and np.array_equal(p, m.predict({"numbers": x.tolist(), "words": words.tolist()}))
    assert m.gradients({"words": words, "numbers": x}, y)["embed"]["embeddings"].shape == (7, 2)
    m.save(tmp_path / "m")
    assert np.array_equal(ann.load(tmp_path / "m", backend=backend, custom=[Mixture]).predict(given), p)
    for wrong, message in (({"words": words}, "the network takes a dict with words, numbers"), (x, "one array of shape"), ({**given, "more": x}, "more")):
        with pytest.raises(ValueError, match=message):
            m.predict(wrong)
    with pytest.raises(ValueError, match=r"x\['numbers'\] has 1 value"):
        m.predict({"words": words, "numbers": np.where(np.arange(160).reshape(40, 4) == 7, np.inf, x)})


def test_models_are_no_layers():
    m = ann.Model([ann.Input(4), ann.Dense(2)])
    with pytest.raises(TypeError, match="model.net is its network"):
        ann.Model([m, ann.Dense(3)])
    with pytest.raises(TypeError, match="stands first in the list of a Model"):
        ann.Sequential([ann.Input(4), ann.Dense(2)])


def test_class_weights_want_one_label_an_example():
    x, y = np.ones((6, 5, 3)), np.ones((6, 5), dtype=int)
    m = ann.Model([ann.Dense(4)])
    m.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="several labels an example"):
        m.fit(x, y, class_weight={1: 2.0}, verbose=0)


def test_a_class_without_a_weight_counts_once():
    x, y = blobs(n=60)
    histories = []
    for weights in ({1: 5.0}, {0: 1, 1: 5.0, 2: 1.0}):
        m = small("numpy")
        histories.append(m.fit(x, y, class_weight=weights, verbose=0)["loss"])
    assert histories[0] == histories[1]
    for weights, error, message in (
        ({7: 1.0}, ValueError, "class_weight names 7; the classes are 0 … 2"), ({"a": 1.0}, ValueError, "names 'a'"),
        ({1: -1.0}, ValueError, "holds -1.0"), ("balanced", TypeError, "a dict {label: weight}, 'balanced' came"), ([1, 2, 3], TypeError, "a dict"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            m.fit(x, y, class_weight=weights)


def test_weights_are_read_only_where_a_glob_matches(tmp_path):
    m = ann.Model([ann.Input(4), ann.Dense(2)], seed=0)
    m.save_weights(tmp_path / "w")
    with pytest.raises(ValueError, match="no parameter matches 'conv\\*'; there are dense/kernel, dense/bias"):
        m.load_weights(tmp_path / "w", only="conv*")


def test_what_cannot_be_meant_is_said_at_once():
    x, y = blobs(n=60)
    m = small("numpy")
    with pytest.raises(ValueError, match='unknown metric "acuracy". Did you mean "accuracy"'):
        m.compile("adam", "categorical_crossentropy", metrics=["acuracy"])
    m = small("numpy")
    with pytest.raises(ValueError, match="validation_split=0.001 of 60 rows is none"):
        m.fit(x, y, validation_split=0.001)
    with pytest.raises(ValueError, match="validation x has no rows"):
        m.fit(x, y, validation_data=(x[:0], y[:0]))
    for wrong in (-1.0, "fast", float("nan"), lambda step: 0.1):
        with pytest.raises(ValueError, match="learning_rate is a non-negative number"):
            m.learning_rate = wrong
    with pytest.raises(ValueError, match=r"dense/bias has shape \(8,\), \(\) came"):
        m.assign("dense/bias", 5.0)
    with pytest.raises(ValueError, match="dense/bias, dense/kernel, dense_1/bias, dense_1/kernel missing"):
        m.params = {}


def test_a_compile_that_is_refused_changes_nothing():
    x, y = blobs(n=60)
    m, other = small("numpy"), small("numpy")
    histories = [one.fit(x, y, verbose=0).history for one in (m, other)]
    for wrong in ({"a": "mse"}, ["mse", "mse"]):
        with pytest.raises(ValueError, match="compile: loss"):
            m.compile("sgd", wrong)
    histories += [one.fit(x, y, verbose=0).history for one in (m, other)]
    assert histories[0] == histories[1] and histories[2] == histories[3]


def test_validation_data_replace_a_validation_split():
    x, y = blobs(n=60)
    histories = [small("numpy").fit(x, y, validation_data=(x[:20], y[:20]), validation_split=split, verbose=0).history for split in (0.0, 0.5)]
    assert histories[0] == histories[1]


def test_metrics_of_an_epoch_are_those_of_all_its_rows(backend):
    x, y = blobs(n=77)
    w = np.random.default_rng(2).uniform(0.5, 2, size=77)
    m = ann.Model([ann.Dense(3)], backend=backend, seed=1, dtype="float64")
    m.compile(ann.SGD(0.0), "categorical_crossentropy", metrics=["f1", "auc", "confusion_matrix"])
    h = m.fit(x, y, batch_size=40, sample_weight=w, verbose=0)
    p = np.asarray(m.predict_proba(x.tolist()))
    f1, auc, matrix = (metric(y, p, w) for metric in (ann.metrics.F1Score(), ann.metrics.AUC(), ann.metrics.ConfusionMatrix()))
    assert h["f1"][0] == pytest.approx(float(f1), rel=1e-9) and h["auc"][0] == pytest.approx(float(auc), rel=1e-9)
    np.testing.assert_allclose(h["confusion_matrix"][0], matrix, rtol=1e-9)


def test_epochs_are_additional(backend):
    x, y = blobs(n=50)
    once, twice = small(backend), small(backend)
    h = once.fit(x, y, epochs=2, batch_size=25, verbose=0)["loss"]
    assert twice.fit(x, y, batch_size=25, verbose=0)["loss"] + twice.fit(x, y, batch_size=25, verbose=0)["loss"] == h
    for a, b in zip(tree.leaves(once.params), tree.leaves(twice.params), strict=True):
        assert np.array_equal(backend.to_numpy(a), backend.to_numpy(b))
    twice.compile(ann.Adam(1e-2), "categorical_crossentropy")  # again: the weights stay, the optimizer starts anew
    assert int(twice._now[2]["t"]) == 0 and all(np.array_equal(backend.to_numpy(a), backend.to_numpy(b)) for a, b in zip(tree.leaves(once.params), tree.leaves(twice.params), strict=True))


def test_the_training_step_is_pure_and_never_waits():
    """With weights, metrics of three kinds, a penalty and running averages it traces under jax.jit, and gives the same."""
    jax = pytest.importorskip("jax")
    from ann.training.step import training_step

    x, y = blobs(n=20)
    m = ann.Model([ann.Dense(6, use_bias=False, kernel_regularizer=ann.L2(0.01)), ann.BatchNormalization(), ann.Dropout(0.2), ann.Dense(3)], backend="jax", seed=0)
    m.compile(ann.Adam(1e-2, global_clipnorm=1.0), "categorical_crossentropy", metrics=["accuracy", "f1", "auc"])
    be = backends.get("jax")
    batch = m._parts(be.asarray(x), be.asarray(y), be.asarray(np.linspace(0, 1, 20)), {0: 1.0, 1: 2.0, 2: 1.0})
    step = training_step(m._task, m._compiled["optimizer"], m._is_frozen, {}, ann.Stream(0)["train"])
    expected, found = step(*m._now[:3], *batch, 3), jax.jit(step)(*m._now[:3], *batch, 3)
    expected, found = tree.flatten(expected), tree.flatten(found)
    assert expected.keys() == found.keys() and any("kept" in path for path in found)
    for path, value in expected.items():
        np.testing.assert_allclose(value, found[path], rtol=1e-4, atol=1e-5)
