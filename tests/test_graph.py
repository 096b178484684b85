"""Graphs of nodes: what is wired is what is computed, on every backend."""

import numpy as np
import pytest

import ann
from backends import tree

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(40, 4)).astype("float32"), RNG.normal(size=(40, 3)).astype("float32")
Y = np.arange(40) % 5


def two_inputs(**options):
    a, b = ann.Input(4, name="left"), ann.Input(3, name="right")
    h = ann.Concatenate()([ann.Dense(8, "relu")(a), ann.Dense(8, "tanh")(b)])
    return ann.Model([a, b], {"class": ann.Dense(5)(h), "size": ann.Dense(1, name="size")(h)}, seed=0, **options)


def test_a_graph_is_the_formula(backend):
    m = two_inputs(backend=backend, dtype="float64")
    assert set(tree.paths(m.params)) == {f"{layer}/{name}" for layer in ("dense", "dense_1", "dense_2", "size") for name in ("kernel", "bias")}
    p = tree.map(backend.to_numpy, m.params)

    def dense(name, x):
        return x @ p[name]["kernel"] + p[name]["bias"]

    h = np.concatenate([np.maximum(dense("dense", A), 0), np.tanh(dense("dense_1", B))], axis=1)
    y = m.predict((A, B))
    np.testing.assert_allclose(y["class"], dense("dense_2", h), rtol=1e-10)
    np.testing.assert_allclose(y["size"], dense("size", h), rtol=1e-10)


def test_several_inputs_and_outputs_end_to_end(backend, tmp_path):
    m = two_inputs(backend=backend)
    m.compile("adam", {"class": "categorical_crossentropy", "size": "mse"}, {"class": ["accuracy"]}, {"size": 0.1})
    y = {"class": Y, "size": A[:, 0]}
    h = m.fit([A, B], y, epochs=2, batch_size=16, validation_split=0.2, sample_weight={"size": np.ones(40)}, verbose=0)
    assert list(h.history)[:4] == ["loss", "class_loss", "size_loss", "class_accuracy"] and "val_class_accuracy" in h.history
    same = [m.evaluate(x, y) for x in ([A, B], (A, B), {"right": B, "left": A})]
    assert same[0] == same[1] == same[2]
    g = m.gradients([A, B], y, "input")
    assert isinstance(g, tuple) and g[0].shape == A.shape and g[1].shape == B.shape
    assert set(tree.flatten(m.gradients([A, B], y, "dense_1/*"))) == {"dense_1/kernel", "dense_1/bias"}
    assert m.activations([A, B], "concatenate")["concatenate"].shape == (40, 16)
    assert "concatenate" in str(m.backprop([A, B], y))
    m.save(tmp_path / "m.safetensors")
    again = ann.load(tmp_path / "m.safetensors", backend=backend)
    for key, value in m.predict([A, B]).items():
        assert np.array_equal(value, again.predict({"left": A, "right": B})[key])
    a, b = m.fit([A, B], y, batch_size=40, verbose=0), again.fit([A, B], y, batch_size=40, verbose=0)
    assert a.history == b.history


def test_a_layer_called_twice_shares_its_weights(backend):
    a, b = ann.Input(4), ann.Input(4)
    shared = ann.Dense(3, use_bias=False)
    m = ann.Model((a, b), ann.Subtract()([shared(a), shared(b)]), backend=backend, seed=0, dtype="float64")
    assert tree.paths(m.params) == ["dense/kernel"]
    w = backend.to_numpy(m.params["dense"]["kernel"])
    np.testing.assert_allclose(m.predict((A, A[::-1].copy())), (A.astype("float64") - A[::-1]) @ w, rtol=1e-10, atol=1e-12)
    m.compile("sgd", "mse")
    g = m.gradients((A, A[::-1].copy()), np.zeros((40, 3)))["dense"]["kernel"]
    d = A.astype("float64") - A[::-1]
    np.testing.assert_allclose(backend.to_numpy(g), d.T @ (d @ w) * 2 / 120, rtol=1e-9)
    assert list(m.activations((A, A))) == ["dense", "dense#2", "subtract"]


def test_operators_between_nodes_and_numbers(backend, tmp_path):
    a, b = ann.Input(4), ann.Input(4)
    m = ann.Model([a, b], [a + b, a - 2, 2 - a, -a * b, b / 4.0, 1.0 / b, a**2], backend=backend)
    m.save(tmp_path / "m")
    c = RNG.uniform(1, 2, size=(40, 4)).astype("float32")
    for y, wanted in zip(ann.load(tmp_path / "m").predict([A, c]), [A + c, A - 2, 2 - A, -A * c, c / 4, 1 / c, A**2], strict=True):
        np.testing.assert_allclose(y, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (ann.Add(), lambda a, b, c: a + b + c),
        (ann.Multiply(), lambda a, b, c: a * b * c),
        (ann.Average(), lambda a, b, c: (a + b + c) / 3),
        (ann.Maximum(), lambda a, b, c: np.maximum(np.maximum(a, b), c)),
        (ann.Minimum(), lambda a, b, c: np.minimum(np.minimum(a, b), c)),
        (ann.Concatenate(axis=1), lambda a, b, c: np.concatenate([a, b, c], axis=1)),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, ann.Layer) else "",
)
def test_merging_layers_merge(backend, layer, formula):
    arrays = [RNG.normal(size=(5, 2, 3)) for _ in range(3)]
    given = [backend.asarray(a) for a in arrays]
    assert layer.init(given)[0] == {}
    np.testing.assert_allclose(backend.to_numpy(layer.apply({}, given)), formula(*arrays), rtol=1e-12)
    ann.check_gradients(lambda a, b, c: layer.apply({}, [a, b, c]), *given)


def test_names_of_several_outputs_are_those_of_their_layers():
    a = ann.Input(4)
    h = ann.Dense(6, "relu")(a)
    m = ann.Model(a, [ann.Dense(5)(h), ann.Dense(1, name="size")(h)], seed=0)
    m.compile("adam", ["categorical_crossentropy", "mse"], {"dense_1": "accuracy"})
    h = m.fit(A, [Y, A[:, 0]], verbose=0)
    assert list(h.history) == ["loss", "dense_1_loss", "size_loss", "dense_1_accuracy"]
    m.compile("adam", {"dense_1": "categorical_crossentropy", "size": "mse"})
    m.fit(A, {"dense_1": Y, "size": A[:, 0]}, verbose=0)
    assert isinstance(m.predict(A), list)


def test_a_layer_of_several_outputs_in_a_graph(backend):
    class Halves(ann.Layer):
        def call(self, x, ctx):
            return {"low": x[:, :2], "high": x[:, 2:]}

    a = ann.Input(4)
    parts = Halves()(a)
    m = ann.Model(a, parts["high"] + parts["low"], backend=backend)
    np.testing.assert_allclose(m.predict(A), A[:, 2:] + A[:, :2])
    with pytest.raises(TypeError, match="node\\[0\\], node\\[1\\]"):
        low, high = parts
    with pytest.raises(TypeError, match="has one output"):
        ann.Model(a, ann.Dense(3)(a)[0])


def test_integers_stay_integers_where_a_layer_reads_indices(backend):
    words, size = ann.Input(6), ann.Input(4)
    e = ann.Flatten()(ann.Embedding(10, 2)(words))
    m = ann.Model({"words": words, "size": size}, ann.Dense(5)(ann.Concatenate()([e, size])), backend=backend, seed=0)
    m.compile("adam", "categorical_crossentropy")
    h = m.fit({"words": np.arange(240).reshape(40, 6) % 10, "size": np.ones((40, 4), dtype=int)}, Y, epochs=3, verbose=0)
    assert h["loss"][-1] < h["loss"][0]


def test_softmax_heads_of_a_graph_are_trained_on_logits():
    a = ann.Input(4)
    kept = []
    for last in ("softmax", None):
        m = ann.Model(a, {"p": ann.Dense(5, last)(ann.Dense(6, "relu")(a))}, seed=0, dtype="float64")
        m.compile("adam", {"p": "categorical_crossentropy"})
        kept.append(m.fit(A, {"p": Y}, verbose=0).history)
    assert kept[0] == kept[1]


def test_a_deep_graph_needs_no_recursion():
    a = ann.Input(2)
    node = a
    for _ in range(1100):
        node = node + 1.0
    np.testing.assert_allclose(ann.Model(a, node).predict(np.zeros((1, 2))), [[1100.0, 1100.0]])


def test_graphs_work_as_layers():
    a = ann.Input(4)
    inner = ann.Model(a, ann.Dense(3, "relu")(a)).net
    m = ann.Model([inner, ann.Dense(5)], seed=0)
    assert m.predict(A).shape == (40, 5) and tree.paths(m.params)[0] == "graph/dense/kernel"
    m.summary(print_fn=lambda line: None)


def wired(f):
    return lambda: f(ann.Input(4, name="a"), ann.Input(3, name="b"))


@pytest.mark.parametrize(
    ("message", "act"),
    [
        ("also need Input.*'b'.*not among the inputs", wired(lambda a, b: ann.Model(a, ann.Concatenate()([a, b])))),
        ("no output depends on Input.*'b'", wired(lambda a, b: ann.Model([a, b], ann.Dense(2)(a)))),
        ("same Input stands twice", wired(lambda a, b: ann.Model([a, a], ann.Dense(2)(a)))),
        ("inputs are ann.Input", wired(lambda a, b: ann.Model(ann.Dense(2)(a), ann.Dense(2)(a)))),
        ("outputs are nodes", wired(lambda a, b: ann.Model(a, ann.Dense(2)))),
        ("a graph holds no data", wired(lambda a, b: ann.Add()([a, A]))),
        ("nodes take nodes and numbers", wired(lambda a, b: ann.Dense(2)(a) + np.ones(2))),
        ("nodes take nodes and numbers", wired(lambda a, b: np.ones(2) * ann.Dense(2)(a))),
        (r"ann.Function\(f\)\(node\)", wired(lambda a, b: ann.relu(ann.Dense(2)(a)))),
        ("picks one of a layer's outputs", wired(lambda a, b: ann.Dense(2)(a)[:, 0])),
        (r"Add 'add': the shapes \(2, 4\), \(2, 3\) do not agree", wired(lambda a, b: ann.Model([a, b], ann.Add()([a, b])))),
        ("takes a list of arrays", wired(lambda a, b: ann.Model(a, ann.Add()(a)))),
        ("an axis of each example", wired(lambda a, b: ann.Model([a, b], ann.Concatenate(axis=0)([a, b])))),
        ("takes 2 arrays: a list or tuple of them, or a dict with left, right", lambda: two_inputs().predict(A)),
        ("takes 2 arrays", lambda: two_inputs().predict([A, B, B])),
        ("is a dict with x; the network takes one array", lambda: ann.Model([ann.Input(4), ann.Dense(2)]).predict({"x": A})),
        (r"x\[1\] has 3 values that are not finite", lambda: two_inputs().predict([A, np.where(np.arange(3) < 3, np.nan, B[:1])])),
        (r"x: its arrays have 39 and 40 rows", lambda: two_inputs().predict([A, B[:39]])),
        ("a Model holds its own weights", wired(lambda a, b: ann.Model([ann.Dense(2)])(a))),
        ("an Input alone is no network", wired(lambda a, b: ann.Model(a))),
    ],
)  # fmt: skip
def test_what_cannot_be_wired_is_explained(message, act):
    with pytest.raises((ValueError, TypeError), match=message):
        act()
