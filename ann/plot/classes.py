"""Classes: how the plane is divided among them, and which are taken for which."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ann.plot.figure import COLORS, MARKERS, on_host, single
from backends import host

Array = Any


def decision_boundary(
    f: Any, x: Array, y: Array, *, labels: Sequence[Any] | None = None, resolution: int = 200, names: tuple[str, str] = ("x₀", "x₁"),
    ax: Any = None, title: str | None = None,
) -> Any:  # fmt: skip
    """The plane in the colours of the classes that f finds there, the paler the less sure, and the points x (n, 2) of classes y (n,).

    f: a compiled Model, anything with predict_proba, or a function from (n, 2) to probabilities (n, k), or (n,) of class 1.
    """
    x, y = on_host(x), on_host(y).reshape(-1)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"decision_boundary: x has shape {x.shape}; wanted: points of the plane, (n, 2)")
    low, high = x.min(axis=0), x.max(axis=0)
    margin = 0.08 * (high - low) + 1e-6
    low, high = low - margin, high + margin
    across, up = host.linspace(low[0], high[0], resolution), host.linspace(low[1], high[1], resolution)
    grid = host.stack([host.tile(across, resolution), host.repeat(up, resolution)], axis=1).astype(x.dtype)
    p = on_host(getattr(f, "predict_proba", f)(grid)).reshape(resolution * resolution, -1).astype("float64")
    if p.shape[1] == 1:
        p = host.concatenate([1 - p, p], axis=1)
    k = p.shape[1]
    colors = host.asarray([_rgb(color) for color in itertools.islice(itertools.cycle(COLORS), k)])
    figure, axes = single(ax, 5.0, 3.8)
    sure = (p.max(axis=1, keepdims=True) - 1 / k) / (1 - 1 / k)  # 0: no more than a guess
    shades = 1 - (0.12 + 0.4 * sure) * (1 - colors[p.argmax(axis=1)])  # mixed with white, so that the points stand out
    axes.imshow(shades.reshape(resolution, resolution, 3), origin="lower", extent=(low[0], high[0], low[1], high[1]), aspect="auto", interpolation="bilinear")
    p = p.reshape(resolution, resolution, k)
    for i in range(k if k > 2 else 1):
        lead = p[..., i] - host.max(host.delete(p, i, axis=2), axis=2)
        if lead.min() < 0 < lead.max():
            axes.contour(across, up, lead, levels=[0], colors="black", linewidths=1.0)
    for i in range(k):
        chosen = y == i
        name = i if labels is None else labels[i]
        marker = MARKERS[i % len(MARKERS)]
        axes.plot(x[chosen, 0], x[chosen, 1], marker, color=tuple(colors[i]), markersize=5, markeredgecolor="white", markeredgewidth=0.6, label=f"{name}")
    axes.set(xlabel=names[0], ylabel=names[1], title="" if title is None else title, xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.legend(title="class" if labels is None else None, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def confusion_matrix(matrix: Array, labels: Sequence[Any] | None = None, *, ax: Any = None, title: str | None = None) -> Any:
    """Counts of true classes (rows) taken for predicted ones (columns); the diagonal is right. The darker, the larger share of its row."""
    matrix = on_host(matrix)
    k = matrix.shape[0]
    if matrix.shape != (k, k):
        raise ValueError(f"confusion_matrix: shape {matrix.shape}; wanted: counts (k, k), as ann.metrics.confusion_matrix(y_true, y_pred) gives them")
    labels = [str(label) for label in (range(k) if labels is None else labels)]
    longest = max(map(len, labels))
    side = 0.42 * k + 1.2 + 0.07 * longest
    figure, axes = single(ax, min(side, 12), min(side, 12))
    share = matrix / host.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in itertools.product(range(k), range(k)) if k <= 30 else ():
        if matrix[i, j]:
            axes.text(j, i, f"{matrix[i, j]:g}", ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.5 else "black")
    axes.set(xlabel="predicted", ylabel="true", title="confusion matrix" if title is None else title)
    if k <= 30:
        axes.set(xticks=range(k), yticks=range(k), yticklabels=labels)
        axes.set_xticklabels(labels, rotation=45 if longest > 3 else 0, ha="right" if longest > 3 else "center", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _rgb(color: str) -> list[float]:
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
