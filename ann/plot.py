"""Pictures. Each function returns a matplotlib figure; figure.savefig(path) writes it. No display is needed.

matplotlib is the extra `plot`: pip install 'ann-array-api[plot]'.
"""

from __future__ import annotations

from typing import Any

from ann.autodiff import vjp
from backends import host

Array = Any
BLUE, RED, GREY = "#1f5fa8", "#c0392b", "#888888"


def activation(f: Any, low: float = -5.0, high: float = 5.0) -> Any:
    """A function y = f(x) and its derivative dy/dx."""
    x = host.linspace(low, high, 801)
    y, pull = vjp(f, x)
    figure, axes = _figure(5.5, 3.6)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.plot(x, y, color=BLUE, linewidth=2, label="y = f(x)")
    axes.plot(x, pull(host.ones_like(x)), color=RED, linewidth=1.5, linestyle="--", label="dy/dx")
    axes.set(title=getattr(f, "__name__", "f"), xlabel="x")
    axes.legend(frameon=False)
    return figure


def history(h: Any) -> Any:
    """The values of each epoch: losses on the left, the metrics on the right; validation dashed."""
    names = [name for name in h.history if not name.startswith("val_")]
    losses = [name for name in names if "loss" in name]
    groups = [group for group in (losses, [name for name in names if name not in losses]) if group]
    figure, all_axes = _figure(4.6 * len(groups), 3.4, len(groups))
    epochs = range(1, len(h.epoch) + 1)
    for axes, group in zip(all_axes if len(groups) > 1 else [all_axes], groups, strict=True):
        for color, name in zip((BLUE, RED, GREY, "#2e8b57"), group, strict=False):
            axes.plot(epochs, h[name], color=color, label=name)
            if f"val_{name}" in h.history:
                axes.plot(epochs, h[f"val_{name}"], color=color, linestyle="--", label=f"val_{name}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="epoch", title="loss" if group is losses else ", ".join(group))
        axes.legend(frameon=False)
    return figure


def confusion_matrix(matrix: Array, labels: Any = None) -> Any:
    """Counts of true classes (rows) taken for predicted ones (columns); the diagonal is right."""
    matrix = host.asarray(matrix)
    k = matrix.shape[0]
    labels = list(range(k)) if labels is None else list(labels)
    figure, axes = _figure(0.42 * k + 1.6, 0.42 * k + 1.3)
    share = matrix / host.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i in range(k):
        for j in range(k):
            if matrix[i, j]:
                axes.text(j, i, int(matrix[i, j]), ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.5 else "black")
    axes.set(xlabel="predicted", ylabel="true", xticks=range(k), yticks=range(k), xticklabels=labels, yticklabels=labels)
    axes.set_title("confusion matrix")
    axes.spines[:].set_visible(False)
    return figure


def images(x: Array, y: Any = None, predictions: Any = None, columns: int = 8) -> Any:
    """Images (n, rows, cols) or (n, rows, cols, 1), with "true → predicted" above each."""
    x = host.asarray(x)
    n = max(len(x), 1)
    columns = min(columns, n)
    rows = -(-n // columns)
    figure, all_axes = _figure(1.1 * columns, 1.35 * rows, rows * columns, columns)
    for i, axes in enumerate(host.ravel(all_axes) if rows * columns > 1 else [all_axes]):
        axes.axis("off")
        if i >= len(x):
            continue
        axes.imshow(x[i].reshape(x.shape[1], x.shape[2]), cmap="gray_r")
        title = "" if y is None else str(int(y[i]))
        if predictions is not None:
            title += f" → {int(predictions[i])}"
        wrong = y is not None and predictions is not None and int(y[i]) != int(predictions[i])
        axes.set_title(title, fontsize=9, color=RED if wrong else "black")
    return figure


def _figure(width: float, height: float, panels: int = 1, columns: int | None = None) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("ann.plot needs matplotlib: pip install 'ann-array-api[plot]'") from None
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    columns = panels if columns is None else columns
    axes = figure.subplots(panels // columns, columns)
    for one in host.ravel(host.asarray(axes, dtype=object)):
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes
