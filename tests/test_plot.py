"""Pictures are made without a display, hold what they say, and their words can be read."""

import io
import itertools
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import ann
from backends import namespace

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def matplotlib():
    return pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `plot`")


def draw(figure):
    """The figure as PNG; every word that was drawn lies within the picture, and no two lie upon each other."""
    from matplotlib.text import Text

    drawn, draw_text = {}, Text.draw

    def note(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            drawn[id(self)] = self.get_text(), self.get_window_extent(renderer)
        return draw_text(self, renderer, *args, **kwargs)

    file = io.BytesIO()
    Text.draw = note
    try:
        figure.savefig(file, format="png")
    finally:
        Text.draw = draw_text
    width, height = figure.canvas.get_width_height()
    for text, box in drawn.values():
        assert box.x0 > -1.5 and box.y0 > -1.5 and box.x1 < width + 1.5 and box.y1 < height + 1.5, f"{text!r} is cut"
    for (a, one), (b, other) in itertools.combinations(drawn.values(), 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        up = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across < 3 or up < 3 or tilted(figure, a) or tilted(figure, b), f"{a!r} lies upon {b!r}"
    assert file.getvalue()[:4] == b"\x89PNG"
    return file.getvalue()


def tilted(figure, text):
    return any(label.get_text() == text and label.get_rotation() == 45 for axes in figure.axes for label in axes.get_xticklabels())


def digits_model(*layers, backend=None):
    m = ann.Model([ann.Input((8, 8, 1)), *layers], seed=0, backend=backend)
    m.compile("adam", "categorical_crossentropy")
    return m, *ann.datasets.digits()[0]


# ------------------------------------------------------------------------------------------------- curves


def test_activation_draws_the_function_and_its_derivative():
    figure = ann.plot.activation(ann.tanh)
    y, dy = figure.axes[0].lines[2:]
    np.testing.assert_allclose(y.get_ydata(), np.tanh(y.get_xdata()))
    np.testing.assert_allclose(dy.get_ydata(), 1 - np.tanh(dy.get_xdata()) ** 2, atol=1e-12)
    assert figure.axes[0].get_title() == ann.plot.activation("tanh").axes[0].get_title() == "tanh"
    draw(figure)


def test_pictures_are_drawn_into_axes_that_are_given(matplotlib):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    points, classes = ann.datasets.moons(20)
    drawn = [
        ann.plot.activation(ann.relu, ax=axes[0], title="rectifier"),
        ann.plot.curve(np.sin, [0.0, 1.0], [0.0, 1.0], ax=axes[1], title="sine"),
        ann.plot.loss_surface(lambda a, b: a * a + b * b, x=(-1, 1), y=(-1, 1), ax=axes[2], title="bowl"),
        ann.plot.decision_boundary(lambda x: x[:, 0] > 0, points, classes, ax=axes[3], title="half"),
        ann.plot.confusion_matrix([[1, 0], [0, 1]], ax=axes[4], title="right"),
        ann.plot.weights(np.eye(3), ax=axes[5], title="identity"),
    ]
    assert all(one is figure for one in drawn)
    assert [one.get_title() for one in axes] == ["rectifier", "sine", "bowl", "half", "right", "identity  (3 × 3)"]
    draw(figure)


def test_history_shows_losses_metrics_and_rate_apart():
    h = ann.History()
    metrics = dict.fromkeys(("accuracy", "top", "f1", "auc", "recall", "precision", "hits", "misses"), 0.5)
    for i in range(3):
        h.add(i, {"loss": 1.0 / (i + 1), "digit_loss": 0.3, **metrics, "learning_rate": 0.1**i, "val_loss": 2.0, "val_accuracy": 0.4})
    figure = h.plot()
    assert [axes.get_title() for axes in figure.axes] == ["loss", "metrics", "learning rate"]
    assert [len(axes.lines) for axes in figure.axes] == [3, 9, 1]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    draw(figure)


def test_history_of_one_epoch_shows_its_points():
    h = ann.History()
    h.add(0, {"loss": 1.0, "val_loss": 2.0})
    figure = ann.plot.history(h, title="one epoch")
    assert [line.get_marker() for line in figure.axes[0].lines] == [".", "x"]
    draw(figure)
    with pytest.raises(ValueError, match="fit first"):
        ann.plot.history(ann.History())


def test_curve_draws_the_model_s_predictions(backend):
    x, y = ann.datasets.curve(40)
    m = ann.Model([ann.Dense(4, "tanh"), ann.Dense(1)], seed=0, backend=backend)
    figure = ann.plot.curve(m, x, y)
    points, line = figure.axes[0].lines
    np.testing.assert_array_equal(points.get_ydata(), y[:, 0])
    grid = line.get_xdata().astype("float32").reshape(-1, 1)
    np.testing.assert_allclose(line.get_ydata(), backend.to_numpy(m(grid))[:, 0], rtol=1e-5, atol=1e-6)
    draw(figure)


def test_loss_surface_draws_the_paths_on_the_contours():
    path = np.array([[2.0, 1.0], [0.5, 0.25], [0.0, 0.0]])
    figure = ann.plot.loss_surface(lambda a, b: a * a + 3 * b * b, {"slow": path, "fast": path[::2]}, names=("w", "b"))
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), path)
    assert axes.get_xlim() == (-0.5, 2.5) and axes.get_ylim() == (-0.25, 1.25) and axes.get_xlabel() == "w"
    contour = axes.collections[1]
    for level, piece in zip(contour.levels, contour.get_paths(), strict=True):
        a, b = piece.vertices.T
        np.testing.assert_allclose(a * a + 3 * b * b, level, atol=0.01)
    draw(figure)


def test_loss_surfaces_that_are_flat_infinite_or_without_a_path():
    draw(ann.plot.loss_surface(lambda a, b: 1.0, x=(0, 1), y=(0, 1), resolution=5))
    draw(ann.plot.loss_surface(lambda a, b: a + b if a < 0.5 else float("nan") if b < 0.5 else float("inf"), x=(0, 1), y=(0, 1), resolution=9))
    with pytest.raises(ValueError, match=r"give the ranges: x=\(low, high\)"):
        ann.plot.loss_surface(lambda a, b: a)
    with pytest.raises(ValueError, match=r"wanted: points \(steps, 2\)"):
        ann.plot.loss_surface(lambda a, b: a, np.zeros((4, 3)))


# ------------------------------------------------------------------------------------------------- classes


def test_decision_boundary_lies_where_the_classes_are_equally_probable(backend):
    x, y = ann.datasets.blobs(30, classes=2)
    m = ann.Model([ann.Dense(1)], seed=0, backend=backend)
    m.compile("sgd", "binary_crossentropy")
    m.train_on_batch(x, y.astype("float32"))
    m.assign("dense/kernel", np.array([[2.0], [-1.0]], dtype="float32"))
    m.assign("dense/bias", np.array([0.25], dtype="float32"))
    figure = ann.plot.decision_boundary(m, x, y, resolution=40)
    (contour,) = figure.axes[0].collections
    a, b = contour.get_paths()[0].vertices.T
    assert len(a) > 10
    np.testing.assert_allclose(2 * a - b + 0.25, 0, atol=0.05)
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [15, 15]
    draw(figure)


def test_decision_boundary_of_any_function_to_probabilities():
    x, y = ann.datasets.blobs(60, classes=3)
    centres = np.array([[np.cos(a), np.sin(a)] for a in 2 * np.pi * (np.arange(3) / 3 + 0.25)])

    def probabilities(x):
        p = np.exp(5 * x @ centres.T)
        return p / p.sum(axis=1, keepdims=True)

    figure = ann.plot.decision_boundary(probabilities, x, y, labels=["up", "left", "right"], title="three", resolution=50)
    assert len(figure.axes[0].collections) == 3
    image = figure.axes[0].images[0].get_array()
    assert image.shape == (50, 50, 3) and 0 <= image.min() and image.max() <= 1
    assert image[-1, 25].argmax() == 2  # blue, the first class, is above
    draw(figure)
    with pytest.raises(ValueError, match=r"points of the plane, \(n, 2\)"):
        ann.plot.decision_boundary(probabilities, np.zeros((4, 3)), np.zeros(4))


def test_confusion_matrix_writes_the_counts(backend):
    matrix = backend.asarray(np.array([[3, 0], [1, 2]]))
    figure = ann.plot.confusion_matrix(matrix, ["cat", "a dog"])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "2", "3"]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[1, 0], [1 / 3, 2 / 3]])
    draw(figure)


def test_confusion_matrices_large_and_unfit():
    figure = ann.plot.confusion_matrix(np.eye(100, dtype="int64"))
    assert not figure.axes[0].texts
    draw(figure)
    draw(ann.plot.confusion_matrix(np.full((10, 10), 137), ann.datasets.CLASSES["fashion_mnist"]))
    with pytest.raises(ValueError, match=r"wanted: counts \(k, k\)"):
        ann.plot.confusion_matrix(np.zeros((2, 3)))


# ------------------------------------------------------------------------------------------------- arrays


def test_images_mark_mistakes():
    figure = ann.plot.images(np.zeros((3, 4, 4, 1)), [1, 2, 3], [1, 2, 8])
    assert [axes.get_title() for axes in figure.axes[:3]] == ["1 → 1", "2 → 2", "3 → 8"]
    assert len({axes.title.get_color() for axes in figure.axes[:3]}) == 2
    draw(figure)


def test_images_in_grey_in_colour_and_none(backend):
    draw(ann.plot.images(np.zeros((1, 4, 4))))
    draw(ann.plot.images(np.zeros((0, 4, 4))))
    colours = np.linspace(0, 1, 2 * 4 * 4 * 3).reshape(2, 4, 4, 3).astype("float32")
    figure = ann.plot.images(backend.asarray(colours), [0, 9], [0, 6], labels=ann.datasets.CLASSES["fashion_mnist"], title="clothes")
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), colours[1])
    assert figure.axes[1].get_title() == "ankle boot → shirt"
    draw(figure)
    with pytest.raises(ValueError, match=r"wanted: \(n, rows, cols\)"):
        ann.plot.images(np.zeros((2, 4, 4, 2)))


def test_weights_of_a_matrix_are_one_map_centred_on_zero():
    w = np.array([[0.5, -2.0, 1.0], [0.0, 0.25, -0.125]])
    figure = ann.plot.weights(w)
    (image,) = figure.axes[0].images
    np.testing.assert_array_equal(image.get_array(), w)
    assert image.get_clim() == (-2, 2)
    assert [text.get_text() for text in figure.axes[0].texts][:3] == ["0.5", "−2", "1"]
    draw(figure)
    draw(ann.plot.weights(np.linspace(-1, 1, 32)))
    draw(ann.plot.weights(np.zeros((3, 1))))


def test_weights_of_kernels_are_panels(backend):
    m, _, _ = digits_model(ann.Conv2D(3, 3), ann.Conv2D(20, 2), ann.Flatten(), ann.Dense(10), backend=backend)
    first, second = ann.plot.weights(m, "conv2d/kernel"), ann.plot.weights(m, "conv2d_1/kernel")
    w = backend.to_numpy(m.params["conv2d"]["kernel"])
    for j in range(3):
        np.testing.assert_array_equal(first.axes[j].images[0].get_array(), w[:, :, 0, j])
    w = backend.to_numpy(m.params["conv2d_1"]["kernel"])
    np.testing.assert_array_equal(second.axes[16 + 5].images[0].get_array(), w[:, :, 1, 5])
    assert "48 of 60 kernels" in second.get_suptitle() and "conv2d_1/kernel" in second.get_suptitle()
    draw(first), draw(second)
    draw(ann.plot.weights(np.ones((5, 2, 3)))), draw(ann.plot.weights(np.ones((2, 2, 2, 2, 3))))
    with pytest.raises(ValueError, match="no parameter 'conv'; the parameters are conv2d/kernel"):
        ann.plot.weights(m, "conv")


def test_weights_of_units_that_look_at_an_image():
    w = np.arange(64.0 * 10).reshape(64, 10)
    figure = ann.plot.weights(w, shape=(8, 8))
    np.testing.assert_array_equal(figure.axes[7].images[0].get_array(), w[:, 7].reshape(8, 8))
    draw(figure)
    with pytest.raises(ValueError, match="takes a matrix of 49 rows"):
        ann.plot.weights(w, shape=(7, 7))


def test_features_are_the_activations_of_the_first_example(backend):
    m, x, _ = digits_model(ann.Conv2D(14, 3, activation="relu"), ann.Flatten(), ann.Dense(10), backend=backend)
    figure = ann.plot.features(m, x[5:8], title="what the layers see")
    values = m.activations(x[5:6])
    panels = [axes for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(panels[3].images[0].get_array(), values["conv2d"][0, :, :, 3])
    np.testing.assert_array_equal(panels[-1].images[0].get_array(), values["dense"])
    assert len(panels) == 12 + 1 + 1
    draw(figure)


def test_features_of_several_inputs_are_those_of_the_first_example_of_each():
    a, b = ann.Input(4, name="a"), ann.Input(3, name="b")
    m = ann.Model([a, b], ann.Dense(2)(ann.Concatenate()([a, b])), seed=0)
    x = [np.ones((5, 4)), np.arange(15.0).reshape(5, 3)]
    for given in (x, dict(zip("ab", x, strict=True))):
        figure = ann.plot.features(m, given)
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), np.concatenate([part[:1] for part in x], axis=1))


# ------------------------------------------------------------------------------------------------- networks


class Residual(ann.Layer):
    hidden: ann.Layer
    out: ann.Layer

    def call(self, x, ctx):
        return x + self.out(self.hidden(x, ctx), ctx)


class Twice(ann.Layer):
    inner: ann.Layer

    def call(self, x, ctx):
        return self.inner(self.inner(x, ctx), ctx) * ctx.param("scale", (x.shape[-1],), "ones")


class Heads(ann.Layer):
    left: ann.Layer
    right: ann.Layer
    takes_indices: ClassVar[bool] = True

    def call(self, x, ctx):
        a, b = self.left(x["image"], ctx), self.right(x["words"], ctx)
        return {"both": namespace(a, b).concat([a, b], axis=-1), "left": a}


def edges(m):
    from ann.plot.flow import flow

    boxes, pairs = flow(m)
    return {(boxes[a].lines[0], boxes[b].lines[0]) for a, b in pairs}, boxes


def chain(*names):
    return set(itertools.pairwise(names))


def test_the_graph_of_a_chain():
    m = ann.Model([ann.Input((8, 8, 1)), ann.Conv2D(4, 3), ann.Dropout(0.5), ann.Flatten(), ann.relu, ann.BatchNormalization(), ann.Dense(3)], seed=0)
    found, boxes = edges(m)
    assert found == chain("input", "conv2d", "dropout", "flatten", "relu", "batch_normalization", "dense", "output")
    assert boxes[1].lines == ["conv2d", "Conv2D  (n, 6, 6, 4)", "40 parameters"] and boxes[-1].lines == ["output", "(n, 3)"]
    assert sum(box.parameters for box in boxes) == 40 + 288 + 435


def test_the_graph_of_branches_that_meet():
    m = ann.Model([ann.Input((6,)), Residual(ann.Dense(4), ann.Dense(6)), Residual([ann.Dense(4), ann.tanh], ann.Dense(6)), ann.Dense(2)], seed=0)
    assert edges(m)[0] == (
        chain("input", "residual/hidden", "residual/out", "residual", "residual_1/hidden/dense", "residual_1/hidden/tanh", "residual_1/out", "residual_1", "dense", "output")
        | {("input", "residual"), ("residual", "residual_1")}
    )  # fmt: skip


def test_the_graph_of_a_shared_layer_and_of_parameters_beside_layers():
    m = ann.Model([ann.Input((6,)), Twice(ann.Dense(6))], seed=0)
    found, boxes = edges(m)
    assert [box.lines[0] for box in boxes] == ["input", "twice/inner", "twice/inner", "twice", "output"]
    assert [box.lines[2:] for box in boxes[1:4]] == [["42 parameters"], ["shared parameters"], ["6 parameters"]]
    assert ("twice/inner", "twice/inner") in found and ("twice", "output") in found and ("input", "twice") not in found


def test_the_graph_of_dicts_of_inputs_and_outputs(backend):
    net = Heads(ann.Sequential([ann.Flatten(), ann.Dense(3)]), ann.Sequential([ann.Embedding(9, 2), ann.Flatten()]))
    m = ann.Model(net, seed=0, backend=backend, name="two inputs")
    m({"image": np.zeros((1, 4, 4, 1)), "words": np.zeros((1, 5), dtype="int64")})
    found, boxes = edges(m)
    assert found == (
        chain("image", "left/flatten", "left/dense", "Heads", "both") | chain("words", "right/embedding", "right/flatten", "Heads") | {("Heads", "left")}
    )
    figure = ann.plot.model(m)
    assert figure.axes[0].get_title() == "two inputs: 69 parameters"
    draw(figure)


def test_the_graph_of_a_functional_model_is_the_one_that_was_written():
    a, b = ann.Input((4,)), ann.Input((3,))
    shared = ann.Dense(5)
    h, k = shared(ann.Dense(6)(a)), shared(ann.Dense(6)(b))
    m = ann.Model([a, b], (ann.Dense(2)(ann.Concatenate()([h, k])), ann.Add()([h, k])), seed=0)
    found, boxes = edges(m)
    assert found == (
        chain("input 0", "dense", "dense_1", "concatenate", "dense_3", "output 0") | chain("input 1", "dense_2", "dense_1", "add", "output 1")
    )
    assert sum(box.parameters for box in boxes) == sum(p.size for p in ann.tree.leaves(m.params))
    draw(ann.plot.model(m))


@pytest.mark.parametrize("depth", [1, 4])
def test_the_boxes_of_a_graph_do_not_touch(depth):
    wide = ann.Dense(4, name="a_layer_with_a_long_name")
    m = ann.Model([ann.Input((6,)), *[Residual(Residual([ann.Dense(4), wide], ann.Dense(6)), ann.Dense(6)) for _ in range(depth)]], seed=0)
    figure = ann.plot.model(m, title="residuals")
    boxes = [patch for patch in figure.axes[0].patches if hasattr(patch, "get_boxstyle")]
    extents = [(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in boxes]
    assert len(boxes) == 2 + 6 * depth
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(extents, 2):
        assert c <= e or g <= a or d <= f or h <= b
    draw(figure)


def test_a_model_without_shapes_has_no_graph():
    with pytest.raises(ValueError, match=r"fit builds it, or a leading ann.Input\(shape\)"):
        ann.plot.model(ann.Model([ann.Dense(3)]))


def test_backprop_draws_the_sizes_of_values_and_gradients(backend):
    m, x, y = digits_model(ann.Flatten(), ann.Dense(16, "relu"), ann.Dense(10), backend=backend)
    b = m.backprop(x[:8], y[:8])
    figure = ann.plot.backprop(b)
    forward, back = figure.axes
    assert [label.get_text() for label in forward.get_yticklabels()] == ["flatten", "dense", "dense_1"]
    np.testing.assert_allclose(forward.lines[0].get_xdata(), [np.linalg.norm(backend.to_numpy(b[path].y)) for path in ("flatten", "dense", "dense_1")], rtol=1e-5)
    np.testing.assert_allclose(back.lines[0].get_xdata(), [np.linalg.norm(backend.to_numpy(b[path].dy)) for path in ("flatten", "dense", "dense_1")], rtol=1e-5)
    draw(figure)


# ------------------------------------------------------------------------------------------------- where they are shown


def test_a_notebook_shows_a_figure_by_itself():
    assert ann.plot.activation(ann.relu)._repr_png_()[:4] == b"\x89PNG"


def test_no_window_system_is_touched():
    code = "import ann, sys; ann.plot.activation(ann.relu).savefig(sys.argv[1]); print('matplotlib.pyplot' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, "/dev/null"], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.strip() == "False", run.stderr


def test_without_matplotlib_the_extra_is_named():
    code = "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None\nimport ann\ntry: ann.plot.activation(ann.relu)\nexcept ImportError as e: print(e)"
    assert "ann-array-api[plot]" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout
