"""Arrays as pictures: images, the weights of a layer, what each layer makes of an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ann.plot.figure import GREY, ORANGE, new, number, on_host, single
from ann.training.data import map_data
from backends import host, tree

Array = Any
MOST = 64  # panels of one picture


def images(
    x: Array, y: Any = None, predictions: Any = None, *, labels: Sequence[Any] | None = None, columns: int = 8, title: str | None = None
) -> Any:
    """Images (n, rows, cols), (n, rows, cols, 1) or in colour (…, 3), with "true → predicted" above each; mistakes in colour."""
    x = on_host(x)
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)):
        raise ValueError(f"images: x has shape {x.shape}; wanted: (n, rows, cols), (n, rows, cols, 1) or (n, rows, cols, 3)")
    x = x[..., 0] if x.shape[3:] == (1,) else x
    n = len(x)
    columns = max(min(columns, n), 1)
    rows = max(-(-n // columns), 1)
    named = (lambda i: str(int(i))) if labels is None else (lambda i: str(labels[int(i)]))
    wide = 1.1 if labels is None else max(1.1, 0.095 * (2 if predictions is not None else 1) * max(len(str(label)) for label in labels))
    figure, axes = new(wide * columns, 1.35 * rows + (0.35 if title else 0), rows, columns)
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
    for i, one in enumerate(axes):
        one.axis("off")
        if i >= n:
            continue
        one.imshow(x[i], cmap="gray_r", vmin=low, vmax=high)
        wrong = y is not None and predictions is not None and int(y[i]) != int(predictions[i])
        text = " → ".join(named(part[i]) for part in (y, predictions) if part is not None)
        one.set_title(text, fontsize=9, color=ORANGE if wrong else "black", fontweight="bold" if wrong else "normal")
    if title is not None:
        figure.suptitle(title)
    return figure


def weights(
    w: Any, path: str | None = None, *, shape: tuple[int, ...] | None = None, columns: int = 8, ax: Any = None, title: str | None = None
) -> Any:
    """The weights of a layer, blue below 0 and red above: a matrix as one map, the kernels of a convolution one by one.

    w: an array (d, k) or (rows, cols, c, k), or a Model with the path of a parameter, "dense/kernel". shape=(rows, cols)
    draws each column of a matrix as a picture: what each unit of a first layer looks for in an image.
    """
    if hasattr(w, "params"):
        flat = tree.flatten(w.params)
        if path not in flat:
            raise ValueError(f"weights: no parameter {path!r}; the parameters are {', '.join(flat)}")
        w, title = flat[path], path if title is None else title
    w = on_host(w)
    if shape is not None:
        if w.ndim != 2 or w.shape[0] != host.prod(shape):
            raise ValueError(f"weights: shape={shape} takes a matrix of {int(host.prod(shape))} rows; w has shape {w.shape}")
        w = w.reshape(*shape, 1, w.shape[1]) if len(shape) == 2 else w.reshape(*shape, w.shape[1])
    if w.ndim <= 2:
        return _matrix(w if w.ndim == 2 else w.reshape(1, -1), ax, title)
    w = w if w.ndim == 4 else w.reshape(1, *w.shape) if w.ndim == 3 else w.reshape(*w.shape[:1], -1, *w.shape[-2:])
    c, k = w.shape[2:]
    if c == 1:
        panels = [(w[:, :, 0, j], f"{j}") for j in range(min(k, MOST))]
        columns = min(columns, len(panels))
    else:  # a row for each input channel, a column for each filter
        down, columns = min(c, 8), min(k, 16)
        panels = [(w[:, :, i, j], f"{j}" if i == 0 else "") for i in range(down) for j in range(columns)]
    rows = -(-len(panels) // columns)
    side = 0.75
    figure, axes = new(side * columns + 1.0, side * rows * max(w.shape[0] / w.shape[1], 0.3) + 0.25 * (rows if c == 1 else 1) + 0.6, rows, columns)
    most = float(abs(w).max()) or 1.0
    for one, (panel, name) in zip(axes, panels, strict=False):
        drawn = one.imshow(panel, cmap="RdBu_r", vmin=-most, vmax=most)
        one.set_title(name, fontsize=8, color=GREY, pad=2)
    for i, one in enumerate(axes):
        one.set(xticks=[], yticks=[])
        one.spines[:].set_visible(i < len(panels))
        one.spines[:].set(color=GREY, linewidth=0.4)
        if c > 1 and i % columns == 0:
            one.set_ylabel(f"{i // columns}", fontsize=8, color=GREY, rotation=0, ha="right", va="center")
    figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=30)
    shown = f"{len(panels)} of {c * k} kernels" if len(panels) < c * k else f"{k} kernels" if c == 1 else f"{c} channels (down) × {k} filters (across)"
    figure.suptitle(shown if title is None else f"{title}: {shown}", fontsize=10)
    return figure


def _matrix(w: Array, ax: Any, title: str | None) -> Any:
    d, k = w.shape
    written = d * k <= 120 and k <= 20
    wide, high = (0.45, 0.3) if written else (0.16, 0.16)
    figure, axes = single(ax, min(max(wide * k, 2.2), 9) + 1.4, min(max(high * d, 0.8), 8) + 1.0)
    most = float(abs(w).max()) or 1.0
    drawn = axes.imshow(w, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    for i in range(d if written else 0):
        for j in range(k):
            axes.text(j, i, number(float(w[i, j])), ha="center", va="center", fontsize=7, color="white" if abs(w[i, j]) > 0.6 * most else "black")
    axes.set(xlabel="output", ylabel="input", title=f"weights {d} × {k}" if title is None else f"{title}  ({d} × {k})")
    for axis, size in ((axes.xaxis, k), (axes.yaxis, d)):
        axis.get_major_locator().set_params(integer=True) if size > 4 else axis.set_ticks(range(size))
    figure.colorbar(drawn, ax=axes)
    return figure


def features(model: Any, x: Array, layers: str = "*", *, title: str | None = None) -> Any:
    """What each layer (a glob on paths) makes of the first example of x: feature maps as pictures, vectors as strips.

    Each layer has its own scale: white is its least value and black its greatest; where it has both signs, blue is below 0 and red above.
    """
    first = map_data(lambda a, name, spec: a[:1], x, model._input)
    values = {path: on_host(y)[0] for path, y in model.activations(first, layers).items() if getattr(y, "ndim", 0) > 1}
    values = {path: y for path, y in values.items() if y.size}
    columns = 12
    blocks = list(values.items())
    heights = [0.74 if y.ndim == 3 else 0.26 for _, y in blocks]
    figure, _ = new(9.5, sum(heights) + 0.3 * len(blocks) + (0.35 if title else 0.05))
    figure.clear()
    bands = figure.subfigures(len(blocks), 1, height_ratios=[height + 0.3 for height in heights], squeeze=False)[:, 0]
    for band, (path, y) in zip(bands, blocks, strict=True):
        shown = min(y.shape[2], columns) if y.ndim == 3 else 1
        panels = band.subplots(1, columns if y.ndim == 3 else 1, squeeze=False)[0]
        most, least = float(y.max()), float(y.min())
        signed = least < 0
        limit = max(abs(most), abs(least)) or 1.0
        scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {"cmap": "gray_r", "vmin": 0.0, "vmax": limit}
        for j, one in enumerate(panels):
            one.set(xticks=[], yticks=[])
            if j >= shown:
                one.axis("off")
                continue
            one.imshow(y[:, :, j] if y.ndim == 3 else y.reshape(1, -1), aspect="equal" if y.ndim == 3 else "auto", interpolation="nearest", **scale)
            one.spines[:].set(color=GREY, linewidth=0.4, visible=True)
        count = f", {shown} of {y.shape[2]} maps" if y.ndim == 3 and shown < y.shape[2] else ""
        band.suptitle(f"{path}  {tuple(y.shape)}{count}, {number(least)} … {number(most)}", fontsize=8, x=0.01, ha="left")
    if title is not None:
        figure.suptitle(title)
    return figure
