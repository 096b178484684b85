"""A Program as a page of mathematics, and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.wrapped import join_key

if TYPE_CHECKING:
    from backends.program.calls import Region
    from backends.program.program import Instruction, Program

INFIX = {
    "add": "+", "subtract": "−", "multiply": "·", "divide": "/", "floor_divide": "//", "remainder": "%", "pow": "^", "matmul": "@",
    "equal": "=", "not_equal": "≠", "less": "<", "less_equal": "≤", "greater": ">", "greater_equal": "≥", "bitwise_and": "&",
    "bitwise_or": "|", "bitwise_xor": "⊕", "bitwise_left_shift": "<<", "bitwise_right_shift": ">>", "logical_and": "∧", "logical_or": "∨",
}  # fmt: skip
FUNCTIONS = {"square": "{}²", "negative": "−{}", "abs": "|{}|", "matrix_transpose": "{}ᵀ", "reciprocal": "1/{}", "logical_not": "¬{}", "sqrt": "√{}"}


def text(program: Program) -> str:
    """One line a value: its name, the formula, its shape and dtype, and the region it belongs to."""
    rows = [(program.names[r], "", _spec(program, r), "") for r in program.inputs]
    numbers: dict[tuple[str, int], int] = {}
    for i in program.body:
        left = ", ".join(name(program, out) for out in i.outs)
        rows.append((left, "= " + formula(program, i), _spec(program, i.outs[0]), _region(i.region, numbers)))
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
    widths[1] = min(widths[1], 60)
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, (*widths, 0), strict=True)).rstrip() for row in rows]
    results = ", ".join(name(program, y) if type(y).__name__ == "Ref" else repr(y) for y in program.outputs)
    return "\n".join([*lines, f"→ {results}"])


def name(program: Program, r: Any) -> str:
    return program.names.get(r, f"v{int(r)}")


def formula(program: Program, i: Instruction) -> str:
    """The instruction as one would write it: x @ w, exp(v3), sum(v4, axis=-1)."""

    def show(x: Any) -> str:
        if type(x) is list:
            return "[" + ", ".join(map(show, x)) + "]"
        return name(program, x) if type(x).__name__ == "Ref" else f"{x:g}" if type(x) is float else repr(x)

    args = [show(x) for x in i.args]
    if i.name in INFIX and len(args) == 2:
        return f"{args[0]} {INFIX[i.name]} {args[1]}"
    if i.name in FUNCTIONS and len(args) == 1:
        return FUNCTIONS[i.name].format(args[0])
    if i.name == "get_item":
        key = join_key(i.static["key"], [name(program, r) for r in i.args[1]])
        return f"{args[0]}[{', '.join(_key(part) for part in (key if isinstance(key, tuple) else (key,)))}]"
    if i.name == "astype":
        return f"{program.values[i.outs[0]].dtype}({args[0]})"
    static = [f"{key}={_static(value)}" for key, value in i.static.items() if value is not None and value is not False and key not in ("device", "dtype", "copy")]
    return f"{i.name}({', '.join(args + static)})"


def _key(part: Any) -> str:
    if isinstance(part, slice):
        ends = ["" if part.start is None else str(part.start), "" if part.stop is None else str(part.stop)]
        return ":".join(ends if part.step in (None, 1) else [*ends, str(part.step)])
    return "…" if part is Ellipsis else str(part)


def _static(value: Any) -> str:
    return f"{value:g}" if type(value) is float else repr(value)


def _spec(program: Program, r: Any) -> str:
    s = program.values[r]
    return f"{s.dtype} {s.shape}"


def _region(region: Region | None, numbers: dict[tuple[str, int], int]) -> str:
    """softmax_1 › …, counted within the program; ′ marks a pullback."""
    parts = []
    while region is not None:
        key = (region.name, region.number)
        if key not in numbers:
            numbers[key] = sum(other == region.name for other, _ in numbers)
        count = numbers[key]
        parts.append(f"{region.name}{f'_{count}' if count else ''}{'′' if region.part == 'pullback' else ''}")
        region = region.outer
    return " › ".join(reversed(parts))


def draw(program: Program) -> Any:
    """The graph as a matplotlib figure: a row for each distance from the inputs, an arrow for each value that is read."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("program.draw needs matplotlib: pip install 'ann-array-api[plot]'") from None
    depth: dict[int, int] = dict.fromkeys(program.inputs, 0)
    labels: dict[int, str] = {r: program.names[r].replace("/", "/\n") for r in program.inputs}
    made: dict[int, int] = {}  # output → the instruction's first output, which stands for it
    arrows: list[tuple[int, int]] = []
    for i in program.body:
        top = i.outs[0]
        made.update(dict.fromkeys(i.outs, top))
        sources = {made.get(r, r) for r in i.reads}
        depth[top] = 1 + max((depth[r] for r in sources), default=0)
        labels[top] = INFIX.get(i.name, i.name)
        arrows += [(r, top) for r in sources]
    for leaf in program.inputs:  # just above what reads it first
        depth[leaf] = min((depth[b] for a, b in arrows if a == leaf), default=1) - 1
    rows: dict[int, list[int]] = {}
    for r, d in sorted(depth.items(), key=lambda item: item[0] in program.inputs):
        rows.setdefault(d, []).append(r)
    width = max(map(len, rows.values()), default=1)
    place = {r: (k, -d) for d, row in rows.items() for k, r in enumerate(row)}
    figure = Figure(figsize=(min(1.5 * width + 0.5, 24), min(0.6 * len(rows) + 0.6, 60)), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    for a, b in arrows:
        axes.annotate("", place[b], place[a], arrowprops={"arrowstyle": "-|>", "color": "#888888", "linewidth": 0.7, "shrinkA": 9, "shrinkB": 9})
    results = {made.get(r, r) for r in program.outputs if type(r).__name__ == "Ref"}
    for r, (x, y) in place.items():
        color = "#f3c9a5" if r in results else "#cfe2f3" if r in program.inputs else "#eeeeee"
        axes.text(x, y, labels[r], ha="center", va="center", fontsize=7, bbox={"boxstyle": "round,pad=0.3", "facecolor": color, "edgecolor": "#666666", "linewidth": 0.6})
    axes.set(xlim=(-0.6, width - 0.4), ylim=(-len(rows) + 0.4, 0.6))
    return figure
