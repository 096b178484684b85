"""Which layer feeds which: the calls of a network as boxes, and what each is made of as edges between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ann.autodiff import vjp
from ann.functions import identity
from ann.layers.layer import Context, Function, Layer, _Run
from backends import tree
from backends.program import Spec, shape_of

Array = Any


@dataclass(eq=False)
class Box:
    """A layer's call, an input or an output; without lines of text, a lane: the place where an edge passes by."""

    lines: list[str]
    parameters: int = 0
    kind: str = "layer"
    sources: set[int] = field(default_factory=set)
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0


def flow(m: Any) -> tuple[list[Box], list[tuple[int, int]]]:
    """(boxes in the order of their calls, edges between their numbers)."""
    watch: list[_Watch] = []

    def trace(params: Any, state: Any, x: Any) -> Any:
        def run(params: Any, state: Any, x: Any) -> Any:
            watch.append(_Watch(m.net, params, state))
            return watch[0].whole(x)

        return vjp(run, params, state, x)[0]

    def spec(leaf: Any) -> Spec:
        return Spec((2, *leaf.shape), leaf.dtype or m.dtype)

    def like(leaf: Any) -> Spec:
        return Spec(tuple(leaf.shape), str(leaf.dtype).rpartition(".")[2])

    shape_of(trace, tree.map(like, m.params), tree.map(like, m.state), tree.map(spec, m._input), backend="numpy")
    boxes = watch[0].boxes
    return boxes, sorted((source, i) for i, box in enumerate(boxes) for source in box.sources)


class _Watch(_Run):
    """A pass that notes which layer's output each layer's output is made of.

    Each box's output becomes the output of a node of its own on the tape; behind an array stand the boxes whose nodes are
    met first on the way back.
    """

    def __init__(self, net: Layer, params: Any, state: Any):
        super().__init__(net, params, state)
        self.boxes: list[Box] = []
        self.owners: dict[int, int] = {}  # of a node, or of an array that has none (integers)
        self.kept: list[Any] = []
        self.owning: list[set[str]] = [set()]  # of each open call, the parameters that are its own
        self.seen: set[str] = set()

    def whole(self, x: Any) -> Any:
        entered = tree.fill(x, [self._own(leaf, self._box([_end("input", path), _shape(leaf)], "end")) for path, leaf in tree.flatten(x).items()])
        y = self.output(entered)
        for path, leaf in tree.flatten(y).items():
            self._box([_end("output", path), _shape(leaf)], "end").sources = self._behind(leaf)
        return y

    def call(self, layer: Layer, path: str, x: Any, training: bool) -> Any:
        before = len(self.boxes)
        self.owning.append(set())
        y = Context(self, layer, path, training).call(x)
        own = self.owning.pop()
        inner = len(self.boxes) > before
        if inner and not own and all(id(getattr(leaf, "node", None) or leaf) in self.owners for leaf in tree.leaves(y)):
            return y  # its parts say it all; else it is a box too: for parameters of its own, for what it does with their outputs
        inputs = y if inner else x
        sources = set().union(*(self._behind(leaf) for leaf in tree.leaves(inputs)))
        count = sum(_size(self.params[name]) for name in own - self.seen)
        lines = [path or type(layer).__name__, f"{repr(layer) if isinstance(layer, Function) else type(layer).__name__}  {_shapes(y)}"]
        lines += [f"{count:,} parameters"] if count else ["shared parameters"] if own else []
        self.seen |= own
        box = self._box(lines, "layer", count)
        box.sources = sources
        return tree.map(lambda leaf: self._own(leaf, box), y)

    def parameter(self, ctx: Context, path: str, *args: Any) -> Any:
        self.owning[-1].add(path)
        return super().parameter(ctx, path, *args)

    def _box(self, lines: list[str], kind: str, parameters: int = 0) -> Box:
        self.boxes.append(Box(lines, parameters, kind))
        return self.boxes[-1]

    def _own(self, x: Any, box: Box) -> Any:
        if getattr(x, "node", None) is not None:
            x = identity(x)
        self.kept.append(x)
        self.owners[id(getattr(x, "node", None) or x)] = self.boxes.index(box)
        return x

    def _behind(self, x: Any) -> set[int]:
        if getattr(x, "node", None) is None:
            return {self.owners[id(x)]} if id(x) in self.owners else set()
        found, waiting, met = set(), [x.node], set()
        while waiting:
            node = waiting.pop()
            if id(node) in self.owners:
                found.add(self.owners[id(node)])
            elif id(node) not in met:
                met.add(id(node))
                waiting += [parent for parent, _ in node.parents]
        return found


def _end(kind: str, path: str) -> str:
    """The title of an input or an output: its key, or its number in a tuple."""
    return f"{kind} {path}".strip() if not path or path.isdigit() else path


def _size(x: Any) -> int:
    n = 1
    for size in x.shape:
        n *= size
    return n


def _shape(x: Any) -> str:
    return f"(n{''.join(f', {size}' for size in x.shape[1:])})"


def _shapes(y: Any) -> str:
    return ", ".join(f"{path} {_shape(leaf)}".strip() for path, leaf in tree.flatten(y).items())
