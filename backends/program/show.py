"""A Program as a page of mathematics, and as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backends.program.program import LEADING
from backends.wrapped import join_key

if TYPE_CHECKING:
    from backends.program.calls import Region
    from backends.program.program import Instruction, Program

WIDTH = 120  # columns of a page
INFIX = {
    "add": "+", "subtract": "−", "multiply": "·", "divide": "/", "floor_divide": "//", "remainder": "%", "pow": "^", "matmul": "@",
    "equal": "==", "not_equal": "≠", "less": "<", "less_equal": "≤", "greater": ">", "greater_equal": "≥", "bitwise_and": "&",
    "bitwise_or": "|", "bitwise_xor": "⊕", "bitwise_left_shift": "<<", "bitwise_right_shift": ">>", "logical_and": "∧", "logical_or": "∨",
}  # fmt: skip
FUNCTIONS = {
    "square": "{}²", "negative": "−{}", "abs": "|{}|", "matrix_transpose": "{}ᵀ", "reciprocal": "1/{}", "logical_not": "¬{}", "bitwise_invert": "¬{}",
    "sqrt": "√{}", "zeros_like": "0", "ones_like": "1", "full": "{}",
}  # fmt: skip
SHOWN = {"device", "dtype", "copy", "shape", "keepdims"}  # static arguments that the shape and dtype beside the line tell


def text(program: Program) -> str:
    """One line a value: its name, the formula, its shape and dtype, and the region it belongs to, named where it begins."""
    inputs = [(program.names[r], _spec(program, r)) for r in program.inputs]
    named, body, above = Regions(), [], ""
    for i in program.body:
        region = named(i)
        body.append((", ".join(name(program, out) for out in i.outs), f"= {formula(program, i)}", _spec(program, i.outs[0]), "│" if region and region == above else region))
        above = region
    results = ", ".join(name(program, y) if type(y).__name__ == "Ref" else repr(y) for y in program.outputs)
    page = _page(body)
    for k, i in enumerate(program.body):
        if i.program is not None:  # what a scan repeats
            page[k] += "\n" + textwrap.indent(text(i.program), "    │ ", lambda line: True)
    return "\n".join([*_page(inputs), "", *page, "", *textwrap.wrap(f"→ {results}", WIDTH, subsequent_indent="  ")])


def _page(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Each row in columns; of one that is too wide the last cells stand on a line of their own."""
    widths = [min(max(map(len, column)), WIDTH // 2) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        left, right = "  ".join(f"{cell:<{w}}" for cell, w in zip(row[:2], widths, strict=False)), "  ".join(f"{cell:<{w}}" for cell, w in zip(row[2:], widths[2:], strict=True))
        if len(row[1]) > widths[1] or len(left) + 2 + len(right.rstrip()) > WIDTH:
            left = "\n".join([*textwrap.wrap(left, WIDTH, subsequent_indent=" " * (widths[0] + 4)), " " * (sum(widths[:2]) + 2)])
        lines.append(f"{left}  {right}".rstrip())
    return lines


def name(program: Program, r: Any) -> str:
    return program.names.get(r, f"v{int(r)}")


def formula(program: Program, i: Instruction) -> str:
    """The instruction as one would write it: x @ w, exp(v3), sum(v4, axis=-1)."""

    def show(x: Any) -> str:
        if type(x) is list:
            return "[" + ", ".join(map(show, x)) + "]"
        return name(program, x) if type(x).__name__ == "Ref" else f"{x:g}" if type(x) is float else repr(x)

    args = [show(x) for x in i.args]
    if i.name == "pow" and args[1] in ("2", "2.0"):
        return f"{args[0]}²"
    if i.name in INFIX and len(args) == 2:
        return f"{args[0]} {INFIX[i.name]} {args[1]}"
    if i.name in FUNCTIONS and len(args) == 1:
        return FUNCTIONS[i.name].format(args[0])
    if i.name == "get_item":
        key = join_key(i.static["key"], [name(program, r) for r in i.args[1]])
        return f"{args[0]}[{', '.join(_key(part) for part in (key if isinstance(key, tuple) else (key,)))}]"
    if i.name == "astype":
        return f"{program.values[i.outs[0]].dtype}({args[0]})"
    plain = {key for key in ("strides", "dilations") if set(i.static.get(key) or ()) == {1}}
    told = {key: _static(value) for key, value in i.static.items() if value is not None and value is not False and key not in SHOWN | plain}
    args += [told.pop(key) for key in LEADING.get(i.name, ()) if key in told]
    return f"{i.name}({', '.join([*args, *map('='.join, told.items())])})"


def _key(part: Any) -> str:
    if isinstance(part, slice):
        ends = ["" if part.start is None else str(part.start), "" if part.stop is None else str(part.stop)]
        return ":".join(ends if part.step in (None, 1) else [*ends, str(part.step)])
    return "…" if part is Ellipsis else str(part)


def _static(value: Any) -> str:
    if type(value) is tuple and len(value) == 1:
        return _static(value[0])
    return f"{value:g}" if type(value) is float else repr(value)


def _spec(program: Program, r: Any) -> str:
    s = program.values[r]
    return f"{s.dtype} {s.shape}"


class Regions:
    """The names of regions: dense_1 › softmax, ′ for a pullback. Of one name in a layer, or outside of all, they are softmax, softmax_1, …"""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], tuple[int, str]] = {}  # formula → which of its name it is in its layer, that layer

    def __call__(self, i: Instruction) -> str:
        """A function of the standard needs no name beside its own line."""
        formulas: list[Region] = []
        layers: list[Region] = []
        region = i.region
        while region is not None:
            (layers if region.part == "layer" else formulas).append(region)
            region = region.outer
        layer = layers[0].name if layers else ""
        parts = []
        for region in reversed(formulas):
            key = (region.name, region.number)
            if key not in self.seen:
                self.seen[key] = sum((name, home) == (region.name, layer) for (name, _), (_, home) in self.seen.items()), layer
            count, layer = self.seen[key][0], layer or self.seen[key][1]  # a pullback belongs to the layer of its value
            if region.part == "pullback" or region.name != i.name:
                parts.append(f"{region.name.lstrip('_')}{f'_{count}' if count else ''}{'′' if region.part == 'pullback' else ''}")
        return " › ".join([layer, *parts] if layer else parts)


def draw(program: Program) -> Any:
    """The graph as a matplotlib figure: a row for each distance from the inputs, an arrow for each value that is read.

    Inputs are blue, results orange, what belongs to a pullback green; beside a box stands the region that begins with it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("program.draw needs matplotlib: pip install 'ann-array-api[plot]'") from None
    depth: dict[int, int] = dict.fromkeys(program.inputs, 0)
    labels: dict[int, str] = {r: program.names[r].replace("/", "/\n") for r in program.inputs}
    regions: dict[int, str] = {}
    colors: dict[int, str] = dict.fromkeys(program.inputs, "#cfe2f3")
    made: dict[int, int] = {}  # output → the instruction's first output, which stands for it
    arrows: list[tuple[int, int]] = []
    named, above = Regions(), ""
    for i in program.body:
        top = i.outs[0]
        made.update(dict.fromkeys(i.outs, top))
        sources = {made.get(r, r) for r in i.reads}
        depth[top] = 1 + max((depth[r] for r in sources), default=0)
        shape = str(program.values[top].shape)
        labels[top] = f"{FUNCTIONS[i.name].format('x') if i.name in FUNCTIONS and i.name != 'full' else INFIX.get(i.name, i.name)}\n{shape}"
        region = named(i)
        regions[top] = region if region != above else ""
        above = region
        colors[top] = "#dcecd5" if i.region is not None and i.region.part == "pullback" else "#eeeeee"
        arrows += [(r, top) for r in sources]
    colors |= {made.get(r, r): "#f3c9a5" for r in program.outputs if type(r).__name__ == "Ref"}
    readers: dict[int, list[int]] = {}
    for a, b in arrows:
        readers.setdefault(a, []).append(b)
    order: list[int] = [*(i.outs[0] for i in reversed(program.body)), *program.inputs]
    for r in order:  # just above what reads it first
        depth[r] = min((depth[b] for b in readers.get(r, ())), default=depth[r] + 1) - 1
    rows: dict[int, list[int]] = {}
    for r, d in sorted(depth.items(), key=lambda item: item[0] in program.inputs):
        rows.setdefault(d, []).append(r)
    width = max(map(len, rows.values()), default=1)
    place = {r: (k, -d) for d, row in rows.items() for k, r in enumerate(row)}
    figure = Figure(figsize=(min(1.8 * width + 0.5, 24), min(0.75 * len(rows) + 0.6, 60)), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    boxes: dict[int, Any] = {}
    for r, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.3", "facecolor": colors[r], "edgecolor": "#666666", "linewidth": 0.6}
        boxes[r] = axes.text(x, y, labels[r], ha="center", va="center", fontsize=7, bbox=box, zorder=2)
        if regions.get(r):
            axes.annotate(regions[r], (1, 0.5), (7, 0), xycoords=boxes[r], textcoords="offset points", va="center", fontsize=6, style="italic", color="#666666")
    for a, b in arrows:
        (k, start), (other, end) = place[a], place[b]
        hidden = k == other and any(k < len(rows.get(d, ())) for d in range(1 - start, -end))
        bent = f"arc3,rad={min(0.35, 1.2 / (start - end)) if hidden else 0.0}"  # around the boxes between
        arrow = {"arrowstyle": "-|>", "color": "#888888", "linewidth": 0.7, "connectionstyle": bent, "patchA": boxes[a], "patchB": boxes[b], "shrinkA": 4, "shrinkB": 4}
        axes.annotate("", place[b], place[a], arrowprops=arrow, zorder=1)
    axes.set(xlim=(-0.6, width - 0.2), ylim=(-max(rows, default=0) - 0.6, -min(rows, default=0) + 0.6))
    return figure
