"""A network as a graph of layers, and backpropagation through it as two rows of bars."""

from __future__ import annotations

from typing import Any

from ann.plot.figure import BLUE, GREY, ORANGE, logarithmic_ticks, new
from ann.plot.flow import flow
from ann.plot.layout import LINE, layout
from backends import namespace

ROW, TITLE = 0.42, 0.4  # inches: between two rows, for the title


def model(m: Any, *, title: str | None = None) -> Any:
    """The layers of a built Model as boxes, with paths, shapes and numbers of parameters, and what flows from which into which.

    The edges are found by running the network on abstract arrays and following the tape: whatever a layer's `call` does with
    its parts. A layer made of layers is a box of its own only where it does something with their outputs, as a residual sum.
    """
    if not m.built:
        raise ValueError("plot.model: the model has no shapes yet; fit builds it, or a leading ann.Input(shape) in the list of layers")
    boxes, edges = flow(m)
    rows, wires = layout(boxes, edges)
    left = min(box.x - box.width / 2 for row in rows for box in row)
    width = max(box.x + box.width / 2 for row in rows for box in row) - left
    tops, top = [], 0.0
    for row in rows:
        height = max(box.height for box in row)
        tops.append(top + height / 2)
        top += height + ROW
    wide, high = max(width + 0.3, 2.8), top - ROW + 0.1
    figure, (axes,) = new(wide, high + TITLE)
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, high / (high + TITLE)))  # one unit of the axes is one inch
    axes.set(xlim=(left + (width - wide) / 2, left + (width + wide) / 2), ylim=(top - ROW + 0.05, -0.05))
    axes.axis("off")
    from matplotlib.patches import FancyBboxPatch

    for row, y in zip(rows, tops, strict=True):
        for box in row:
            box.y = y
            if not box.lines:
                continue
            color = "#E6E6E6" if box.kind == "end" else "#CFE5F2" if box.parameters else "white"
            style = "round,pad=0,rounding_size=0.12" if box.kind == "end" else "round,pad=0,rounding_size=0.04"
            corner = (box.x - box.width / 2, y - box.height / 2)
            axes.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=style, facecolor=color, edgecolor=GREY, linewidth=0.8, zorder=2))
            for i, line in enumerate(box.lines):
                at = y + (i - (len(box.lines) - 1) / 2) * LINE
                axes.text(box.x, at, line, ha="center", va="center", fontsize=8, fontweight="bold" if i == 0 else "normal", zorder=3)
    for wire in wires:
        points = [(wire[0].x, wire[0].y + wire[0].height / 2)]
        for lane in wire[1:-1]:
            points += [(lane.x, lane.y - lane.height / 2), (lane.x, lane.y + lane.height / 2)]
        points.append((wire[-1].x, wire[-1].y - wire[-1].height / 2))
        _arrow(axes, points)
    axes.set_title(f"{m.name or 'Model'}: {sum(box.parameters for box in boxes):,} parameters" if title is None else title, fontsize=10)
    return figure


def backprop(b: Any, *, title: str | None = None) -> Any:
    """What `model.backprop(x, y)` found: |y| of each layer's output on the way forward, |dy| on the way back, logarithmic.

    |dy| that falls from the last layer to the first is a vanishing gradient, one that rises an exploding gradient.
    """
    once_more = any(y is b.values.get("output") for path, y in b.values.items() if path != "output")  # what the last layer gave
    paths = [path for path in b.values if path != "output" or not once_more]
    figure, axes = new(8.0, 0.24 * len(paths) + 1.1, 1, 2)
    for one, arrays, color, heading in ((axes[0], b.values, BLUE, "forward: |y|"), (axes[1], b.dys, ORANGE, "backward: |dy|")):
        sizes = [_norm(arrays[path]) if path in arrays else 0.0 for path in paths]
        seen = [size for size in sizes if size > 0]
        floor = min(seen, default=1.0) / 3
        one.hlines(range(len(paths)), floor, [max(size, floor) for size in sizes], color=color, linewidth=2)
        one.plot([size if size > 0 else None for size in sizes], range(len(paths)), "o", color=color, markersize=5)
        top = max(seen, default=1.0) * 2
        one.set(xscale="log", yticks=range(len(paths)), ylim=(len(paths) - 0.5, -0.5), title=heading, xlim=(floor, top))
        logarithmic_ticks(one.xaxis, floor, top)
        one.grid(axis="x", color="#E8E8E8", linewidth=0.6)
        one.set_axisbelow(True)
    axes[0].set_yticklabels(paths)
    axes[1].set_yticklabels([])
    figure.suptitle(f"backpropagation, loss {b.loss:.4g}" if title is None else title, fontsize=10)
    return figure


def _norm(x: Any) -> float:
    return float(namespace(x).sum(x * x)) ** 0.5


def _arrow(axes: Any, points: list[tuple[float, float]]) -> None:
    """A smooth line down through the points, with a head at its end."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    vertices, codes = [points[0]], [Path.MOVETO]
    for (x, y), (u, v) in zip(points, points[1:], strict=False):
        bend = (v - y) / 2
        vertices += [(x, y + bend), (u, v - bend), (u, v)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(FancyArrowPatch(path=Path(vertices, codes), arrowstyle="-|>", mutation_scale=9, color=GREY, linewidth=1.0, zorder=1, shrinkA=0, shrinkB=0))


