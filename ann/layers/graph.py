"""Graph: layers wired by calling them on the outputs of others.

    a, b = ann.Input(4), ann.Input(3)
    h = ann.Dense(8, "relu")(a) + ann.Dense(8, "relu")(b)
    model = ann.Model([a, b], {"class": ann.Dense(10)(h), "size": ann.Dense(1)(h)})

A node holds no data: it remembers a layer and what it was called on. A layer that is called twice shares its parameters.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ann.layers.layer import Context, Input, Layer, automatic_names
from backends import tree

Tree = Any
SIGNS = ("add", "sub", "mul", "truediv", "matmul", "pow")


class Node:
    """The output of a layer that was called on nodes; node["key"] or node[0] is one of several outputs."""

    __slots__ = ("args", "layer")
    __array_ufunc__ = None  # a NumPy array beside a node leaves the operator to the node

    def __init__(self, layer: Layer, args: Tree):
        for leaf in tree.leaves(args):
            if not isinstance(leaf, Node | Input):
                raise TypeError(f"{layer!r} is called on nodes of a graph and on a {type(leaf).__name__}; a graph holds no data, an ann.Input stands for it")
        self.layer, self.args = layer, args

    def __repr__(self) -> str:
        return f"<node {self.layer!r}>"

    def __getitem__(self, key: Any) -> Node:
        if not isinstance(key, str | int):
            raise TypeError(f"node[{key!r}]: a key or a number picks one of a layer's outputs; to cut an array: ann.Function(lambda x: x[…])(node)")
        return Node(Item(key), self)

    def __iter__(self) -> Any:
        raise TypeError("a node cannot be iterated; the outputs of a layer that has several are node[0], node[1], …")

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        raise TypeError("a node of a graph holds no data, so functions do not take it. A function as a layer: ann.Function(f)(node), ann.Activation(f)(node)")


class Item(Layer):
    """One of several outputs, by its key or number."""

    key: Any

    def call(self, x: Any, ctx: Context) -> Any:
        if not isinstance(x, dict | list | tuple):
            raise TypeError(f"node[{self.key!r}]: the layer has one output; to cut it: ann.Function(lambda x: x[…])(node)")
        return x[self.key]


class Operator(Layer):
    """x + y between two nodes, or between a node and a number, which stands left or right."""

    sign: str
    left: float | None = None
    right: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sign not in (*SIGNS, "neg"):  # what a file names is looked up here
            raise ValueError(f"Operator: sign is one of {', '.join(SIGNS)}, neg; {self.sign!r} came")

    def call(self, x: Any, ctx: Context) -> Any:
        operands = x if isinstance(x, list | tuple) else [self.left, x] if self.left is not None else [x, self.right] if self.right is not None else [x]
        return getattr(operator, self.sign)(*operands)

    @property
    def stem(self) -> str:
        return self.sign.strip("_")


def _binary(sign: str) -> Callable[[Any, Any], Any]:
    def call(x: Any, y: Any) -> Node:
        if isinstance(y, Node | Input):
            return Node(Operator(sign), [x, y])
        return Node(Operator(sign, right=_number(sign, y)), x)

    return call


def _reflected(sign: str) -> Callable[[Any, Any], Any]:
    return lambda x, y: Node(Operator(sign, left=_number(sign, y)), x)


def _number(sign: str, y: Any) -> float:
    if not isinstance(y, int | float):
        raise TypeError(f"{sign} of a node and a {type(y).__name__}: nodes take nodes and numbers; arrays belong into a layer of your own, as parameters")
    return y


for _class in (Node, Input):
    for _sign in SIGNS:
        setattr(_class, f"__{_sign}__", _binary(_sign))
        setattr(_class, f"__r{_sign}__", _reflected(_sign))
    _class.__neg__ = lambda x: Node(Operator("neg"), x)  # type: ignore[operator, method-assign, assignment, union-attr]


class Graph(Layer):
    """What ann.Model(inputs, outputs) makes of nodes: each layer once, and the order in which they are called.

    inputs: a tree of Input. steps: (number of the layer, the slots it is called on) each; a slot is a number: first those of
    the inputs, then those of the results of the steps. outputs: a tree of slots.
    """

    inputs: Any
    layers: tuple[Layer, ...]
    steps: tuple[tuple[int, Any], ...]
    outputs: Any

    @property
    def children(self) -> dict[str, Layer]:
        return automatic_names(self.layers)

    @property
    def takes_indices(self) -> Tree:  # type: ignore[override]
        """For each input whether integers stay integers: where its dtype says so, or a layer that takes indices reads it."""
        readers = [(self.layers[number].takes_indices, tree.leaves(slots)) for number, slots in self.steps]
        leaves = tree.leaves(self.inputs)
        return tree.fill(self.inputs, [any(indices and slot in slots for indices, slots in readers) for slot in range(len(leaves))])

    @property
    def output_names(self) -> list[str]:  # type: ignore[override]
        """Of a dict its keys; of a list the names of the layers, as in Keras; of one output ""."""
        if not isinstance(self.outputs, list | tuple):
            return tree.paths(self.outputs)
        of_layer, first = list(self.children), len(tree.leaves(self.inputs))
        names: list[str] = []
        for slot in tree.leaves(self.outputs):
            stem = name = of_layer[self.steps[slot - first][0]] if slot >= first else f"input_{slot}"
            while name in names:
                name = f"{stem}_{1 + sum(other == stem or other.startswith(stem + '_') for other in names)}"
            names.append(name)
        return names

    def call(self, x: Any, ctx: Context) -> Any:
        values = tree.leaves(tree.map(lambda _, part: part, self.inputs, x))
        for number, slots in self.steps:
            values.append(self.layers[number](tree.map(values.__getitem__, slots), ctx))
        return tree.map(values.__getitem__, self.outputs)

    def __repr__(self) -> str:
        return f"Graph({len(tree.leaves(self.inputs))} inputs, {', '.join(self.children)})"


def graph(inputs: Tree, outputs: Tree) -> Graph:
    """The graph from these Inputs to these nodes. ValueError where an output needs another Input, or an Input serves no output."""
    starts = tree.leaves(inputs)
    for start in starts:
        if not isinstance(start, Input):
            raise TypeError(f"Model(inputs, outputs): inputs are ann.Input(…), alone or in a list, tuple or dict; {type(start).__name__} came")
    slots = {id(start): slot for slot, start in enumerate(starts)}
    if not starts or len(slots) != len(starts):
        raise ValueError("Model(inputs, outputs): the same Input stands twice among the inputs" if starts else "Model(inputs, outputs): there is no Input")
    layers: dict[int, Layer] = {}
    steps: list[tuple[int, Any]] = []
    waiting = list(reversed(tree.leaves(outputs)))
    while waiting:  # depth first, without recursion: a graph may be deep
        node = waiting[-1]
        if id(node) in slots:
            waiting.pop()
            continue
        if isinstance(node, Input):
            raise ValueError(f"Model(inputs, outputs): the outputs also need {node!r}, which is not among the inputs")
        if not isinstance(node, Node):
            raise TypeError(f"Model(inputs, outputs): outputs are nodes, layer(ann.Input(…)); {type(node).__name__} came")
        if missing := [arg for arg in tree.leaves(node.args) if id(arg) not in slots]:
            waiting += reversed(missing)
            continue
        waiting.pop()
        layers.setdefault(id(node.layer), node.layer)
        slots[id(node)] = len(starts) + len(steps)
        steps.append((list(layers).index(id(node.layer)), tree.map(lambda arg: slots[id(arg)], node.args)))
    result = Graph(inputs, tuple(layers.values()), tuple(steps), tree.map(lambda node: slots[id(node)], outputs))
    used = {slot for _, read in steps for slot in tree.leaves(read)} | set(tree.leaves(result.outputs))
    for slot, start in enumerate(starts):
        if slot not in used:
            raise ValueError(f"Model(inputs, outputs): no output depends on {start!r}; leave it out, or wire it")
    return result
