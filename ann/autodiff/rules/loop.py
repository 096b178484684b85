"""The derivative of a scan: another scan, backwards.

    cₜ₊₁, yₜ = f(cₜ, xₜ; w)        dcₜ, dxₜ, dwₜ = (∂f/∂(c, x, w))ᵀ·(dcₜ₊₁, dyₜ)        dw = Σ dwₜ

Only the carries cₜ are kept: the step is computed again on the way back. w is whatever f closes over: the nodes that a step leads to and that were there
before it. Eagerly the steps are recorded one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ann.autodiff.rules.table import RULES
from ann.autodiff.tape import Node, Tape, below, gradients_by_node, is_traced, lift, next_order, raw, zeros_of
from backends import gaps, namespace, tree
from backends.gaps.loop import stepped
from backends.program.abstract import Abstract

Array = Any
Tree = Any


class _Step:
    """One step, recorded on a tape: what it gives, and the gradients by what it takes."""

    def __init__(self, f: Callable[[Tree, Tree], tuple[Tree, Tree]], tape: Tape, carry: Tree, x: Tree):
        self.since = next_order()
        entered = tree.map(lambda leaf: lift(leaf, tape, leaf=_floating(leaf)) if hasattr(leaf, "dtype") else leaf, (carry, x))
        self.inputs = tree.leaves(entered)
        self.carry, self.y = f(*entered)
        self.outputs = [z if is_traced(z) and z.tape is tape and z.node is not None else None for z in tree.leaves((self.carry, self.y))]
        self.below = _below((self.carry, self.y), tape)

    def closed_over(self) -> list[tuple[Node, int]]:
        """The outputs of older nodes that this step depends on."""
        found: dict[tuple[int, int], tuple[Node, int]] = {}
        seen: set[int] = set()
        waiting = [(z.node, z.slot) for z in self.outputs if z is not None]
        while waiting:
            node, slot = waiting.pop()
            if node.order < self.since:
                found[node.order, slot] = node, slot
            elif node.order not in seen:
                seen.add(node.order)
                waiting += node.parents
        return list(found.values())

    def pull(self, dys: list[Any], closed: list[tuple[Node, int]]) -> tuple[list[Any], list[Any]]:
        """(the gradient by each floating input, that by each output of a node closed over)."""
        gradients = gradients_by_node([(z.node, z.slot, dy) for z, dy in zip(self.outputs, dys, strict=True) if z is not None], since=self.since)
        by_input = [gradients.get(x.node.order, {}).get(0) for x in self.inputs if x.node is not None]
        zeros = [zeros_of(x.value) for x in self.inputs if x.node is not None]
        return [z if g is None else g for g, z in zip(by_input, zeros, strict=True)], [gradients.get(node.order, {}).get(slot) for node, slot in closed]


def scan(f: Callable[[Tree, Tree], tuple[Tree, Tree]], carry: Tree, xs: Tree, *, length: int, reverse: bool) -> tuple[Tree, Tree]:
    arrays = [x for x in (*tree.leaves(carry), *tree.leaves(xs)) if is_traced(x)]
    if not isinstance(raw(arrays[0]), Abstract):
        return stepped(f, carry, xs, length=length, reverse=reverse)
    cls, xp = type(arrays[0]), namespace(*arrays)
    carry = tree.map(lambda x: x if hasattr(x, "dtype") else xp.asarray(x), carry)
    first = carry, tree.map(lambda x: x[0, ...], xs)
    tape = _newest(arrays)
    trial = _Step(f, tape, *_below(first, tape))  # a step that nobody reads: what it closes over, maybe on a newer tape
    if (newest := _newest([*arrays, *tree.leaves((trial.carry, trial.y))])) is not tape:
        tape, trial = newest, _Step(f, newest, *_below(first, newest))
    closed = trial.closed_over()
    _, likes = trial.pull([zeros_of(z) for z in tree.leaves(trial.below)], closed)
    closed, likes = [pair for pair, g in zip(closed, likes, strict=True) if g is not None], [g for g in likes if g is not None]
    totals = [namespace(g).zeros(tuple(g.shape), dtype=g.dtype, device=gaps.device(g)) for g in likes]

    def forward(c: Tree, x: Tree) -> tuple[Tree, Tree]:
        after, y = _Step(f, tape, c, x).below
        return after, (y, c)

    start, columns = _below((carry, xs), tape)
    last, (ys, carries) = gaps.scan(forward, start, columns, length=length, reverse=reverse)
    results, count = (*tree.leaves(last), *tree.leaves(ys)), len(tree.leaves(last))
    entered = [x if is_traced(x) and x.tape is tape else None for x in tree.leaves((carry, xs)) if _floating(x)]

    def pull(dys: list[Any]) -> list[Any]:
        def back(state: Any, inputs: Any) -> tuple[Any, Any]:
            (dc, sums), (c, x, dy) = state, inputs
            given = iter(dc)
            step = _Step(f, tape, c, x)
            gradients, parts = step.pull([next(given) if _floating(z) else None for z in results[:count]] + dy, closed)
            return (gradients[: len(dc)], [s if g is None else s + g for s, g in zip(sums, parts, strict=True)]), gradients[len(dc) :]

        state = [dy for dy in dys[:count] if _floating(dy)], totals
        (dc, dw), dxs = gaps.scan(back, state, (carries, columns, dys[count:]), length=length, reverse=not reverse)
        return [g for g, x in zip([*dc, *dxs], entered, strict=True) if x is not None and x.node is not None] + dw

    parents = [(x.node, x.slot) for x in entered if x is not None and x.node is not None] + closed
    node = Node(parents, pull) if parents else None
    if node is not None:
        node.outputs = results
    wrapped = [cls(z, tape, node if _floating(z) else None, slot) for slot, z in enumerate(results)]
    return tree.fill(last, wrapped[:count]), tree.fill(ys, wrapped[count:])


def _newest(values: list[Any]) -> Tape:
    return max((x.tape for x in values if is_traced(x)), key=lambda tape: tape.serial)


def _below(values: Tree, tape: Tape) -> Any:
    return tree.map(lambda x: below(x, tape), values)


def _floating(x: Any) -> bool:
    return hasattr(x, "dtype") and "float" in str(x.dtype)


RULES["gap"]["scan"] = scan
