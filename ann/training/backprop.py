"""Backpropagation laid open: every intermediate of one pass through a network, its value y and dy, the gradient of the loss by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ann.autodiff.tape import Tape, Traced, gradients_by_node, lift, raw
from ann.layers.layer import Context, Layer, _Run
from ann.names import snake_case
from ann.training.step import Task
from backends import library_of, namespace, tree

Array = Any
Tree = Any


@dataclass
class Line:
    """One intermediate. what: the layer that gave it, the function that computed it, "parameter" or "input"."""

    path: str
    what: str
    y: Array
    dy: Array | None  # None where the loss does not depend on it

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.y.shape)


class Backprop:
    """The lines of one pass in the order of computation: b["dense_1"].dy, b["dense_1/kernel"].dy, b["dense_1/linear"].y. print() it."""

    def __init__(self, loss: float, lines: list[Line], layers: dict[str, Layer]):
        self.loss, self.lines, self.layers = loss, lines, layers
        self._by_path = {line.path: line for line in lines}

    def __getitem__(self, path: str) -> Line:
        if path not in self._by_path:
            raise KeyError(f"{path!r}; there are {', '.join(self._by_path)}")
        return self._by_path[path]

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def values(self) -> dict[str, Array]:
        """{path: y} of the layers."""
        return {line.path: line.y for line in self.lines if line.path in self.layers}

    @property
    def dys(self) -> dict[str, Array]:
        """{path: dy} of the layers."""
        return {line.path: line.dy for line in self.lines if line.path in self.layers and line.dy is not None}

    def __str__(self) -> str:
        rows = [("", "", "value", "shape", "dy", "|dy|")]
        shown: set[str] = set()
        for line in self.lines:
            if line.path in shown:
                continue
            inner = [other for other in self.lines if other.path.startswith(f"{line.path}/")]
            name = "  " * line.path.count("/") + line.path.rpartition("/")[2]
            if len(inner) == 1 and inner[0].y is line.y:
                shown.add(inner[0].path)  # a layer of one function is one row
            elif any(other.y is line.y for other in inner):
                rows.append((name, line.what, "", "", "", ""))  # a heading: the last row beneath it has its values
                continue
            what = "" if line.what == name.strip().partition("#")[0] else line.what
            rows.append((name, what, _some(line.y), str(line.shape), "–" if line.dy is None else _some(line.dy), _norm(line.dy)))
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        lines = ["  ".join(f"{cell:<{w}}" if i < 5 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]
        return "\n".join([*lines, f"loss {self.loss:.6g}"])

    __repr__ = __str__


class _Watched(_Run):
    """A pass on traced arrays that notes what each layer gives, the parameters, and what each function of the library computes."""

    def __init__(self, task: Task, params: Tree, state: Tree, tape: Tape):
        super().__init__(task.net, params, state, swaps=task.swaps)
        self.places: list[str] = []
        self.lines: list[Line] = []
        self.layers: dict[str, Layer] = {}
        self.taken: dict[str, int] = {}
        tape.watch = self.computed

    def unique(self, path: str) -> str:
        """The path; its second use is "dense#2"."""
        self.taken[path] = self.taken.get(path, 0) + 1
        return path if self.taken[path] == 1 else f"{path}#{self.taken[path]}"

    def call(self, layer: Layer, path: str, x: Any, training: bool) -> Any:
        if not path:
            self.places.append("")
            y = super().call(layer, path, x, training)
            self.places.pop()
            return y
        self.places.append(self.unique(path))
        first = len(self.lines)
        y = super().call(layer, path, x, training)
        parts = {f"{self.places[-1]}/{key}" if key else self.places[-1]: part for key, part in tree.flatten(y).items()}
        self.lines[first:first] = [Line(name, repr(layer), part, None) for name, part in parts.items()]
        self.layers |= dict.fromkeys(parts, layer)
        self.places.pop()
        return y

    def parameter(self, ctx: Context, path: str, *rest: Any) -> Array:
        w = super().parameter(ctx, path, *rest)
        if path not in self.taken:
            self.lines.append(Line(self.unique(path), "parameter", w, None))
        return w

    def computed(self, function: str, y: Any) -> None:
        """Called for each function of the library that is differentiated here."""
        place = f"{self.places[-1]}/" if self.places and self.places[-1] else "" if self.places else "loss/"
        name = function.strip("_")
        for part in y if isinstance(y, tuple) else (y,):
            if isinstance(part, Traced) and part.node is not None and name != "identity":
                self.lines.append(Line(self.unique(place + name), name, part, None))


def backpropagate(task: Task, params: Tree, state: Tree, x: Tree, targets: dict[str, Array]) -> Backprop:
    """One pass forward and one back, as in inference, with every intermediate kept."""
    tape, task = Tape(), dataclasses.replace(task, metrics={})
    lifted = tree.map(lambda a: lift(a, tape, leaf=bool(namespace(a).isdtype(a.dtype, "real floating"))), (params, x))
    constants = tree.map(lambda a: lift(a, tape), (state, targets))
    run = _Watched(task, lifted[0], constants[0], tape)
    run.lines += [Line(run.unique(f"x/{key}" if key else "x"), "input", a, None) for key, a in tree.flatten(lifted[1]).items()]
    z = run.output(lifted[1])
    first = len(run.lines)
    loss = task.terms(constants[1], z, {})[0]
    run.lines.insert(first, Line("loss", ", ".join(snake_case(type(one).__name__) for one in task.losses.values()), loss, None))
    kept = {line.y.node.order for line in run.lines if isinstance(line.y, Traced) and line.y.node is not None}
    gradients = gradients_by_node([(loss.node, loss.slot, namespace(raw(loss)).ones_like(raw(loss)))], kept) if loss.node is not None else {}
    values: dict[int, Array] = {}  # one raw array for what is the same array on the tape
    lines = []
    for line in run.lines:
        y = line.y
        dy = gradients.get(y.node.order, {}).get(y.slot) if isinstance(y, Traced) and y.node is not None else None
        lines.append(dataclasses.replace(line, y=values.setdefault(id(y), raw(y)), dy=dy))
    return Backprop(float(raw(loss)), lines, run.layers)


def _some(x: Array) -> str:
    """The first numbers of an array."""
    flat = library_of(x).fetch(x).reshape(-1)
    return " ".join(f"{value:.3g}" for value in flat[:3]) + (" …" if len(flat) > 3 else "")


def _norm(x: Any) -> str:
    return "" if x is None else f"{float(namespace(x).sum(x * x)) ** 0.5:.3g}"
