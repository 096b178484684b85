"""Pictures are made without a display, and hold what they say."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ann

ROOT = Path(__file__).parent.parent


def saved(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@pytest.fixture(autouse=True)
def matplotlib():
    return pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `plot`")


def test_activation_draws_the_function_and_its_derivative():
    figure = ann.plot.activation(ann.tanh)
    y, dy = figure.axes[0].lines[2:]
    np.testing.assert_allclose(y.get_ydata(), np.tanh(y.get_xdata()))
    np.testing.assert_allclose(dy.get_ydata(), 1 - np.tanh(dy.get_xdata()) ** 2, atol=1e-12)
    assert saved(figure)[:4] == b"\x89PNG"


def test_history_shows_losses_and_metrics_apart():
    h = ann.History()
    for i in range(3):
        h.add(i, {"loss": 1.0 / (i + 1), "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.4})
    figure = h.plot()
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"] and len(figure.axes[0].lines) == 2
    assert saved(figure)


def test_confusion_matrix_writes_the_counts():
    figure = ann.plot.confusion_matrix(np.array([[3, 0], [1, 2]]), ["cat", "dog"])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "2", "3"]
    assert saved(figure)


def test_images_mark_mistakes():
    figure = ann.plot.images(np.zeros((3, 4, 4, 1)), [1, 2, 3], [1, 2, 8])
    assert [axes.get_title() for axes in figure.axes[:3]] == ["1 → 1", "2 → 2", "3 → 8"]
    assert saved(figure) and saved(ann.plot.images(np.zeros((1, 4, 4))))


def test_without_matplotlib_the_extra_is_named():
    code = "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None\nimport ann\ntry: ann.plot.activation(ann.relu)\nexcept ImportError as e: print(e)"
    assert "ann-array-api[plot]" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout
