"""The order of the steps, and where what they read and write lies."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

from backends.native.emit import SIZE
from backends.native.groups import Grouping
from backends.native.operations import REDUCTIONS
from backends.native.rules import RULES
from backends.native.steps import Fused, Group, Use
from backends.program.program import Program, Ref

LINE = 64  # bytes: memory begins at cache lines


@dataclass(frozen=True)
class Home:
    """Where a root lies: "array" (of the caller, or a result: its slot), "constant" (its address) or "arena" (a place in it).

    Besides, of an entry: "list", its inner list; "inner", the table of an inner entry, `place` its number, and those of inner ones of that one.
    """

    kind: str
    place: Any


def touched(step: Any) -> tuple[set[int], set[int]]:
    """The roots that a step reads, and those that it writes."""
    if not isinstance(step, Group):
        return set(step.reads), set(step.writes)
    sunk = {u for u, _ in step.sinks}
    return {use.root for u, use in enumerate(step.uses) if u not in sunk}, {step.uses[u].root for u in sunk}


class Memory:
    """Of a program's steps: store, sort, place, one after the other.      homes: of each root; arena, scratch: bytes of the program, and of each thread"""

    def __init__(self, program: Program, threads: int):
        self.program = program
        self.grouping = Grouping(program, RULES)
        self.homes: dict[int, Home] = {}
        self.reads: dict[int, set[int]] = {}  # root → the steps that read it
        self.writes: dict[int, set[int]] = {}
        self.arena, self.scratch = 0, [0] * threads

    def store(self) -> None:
        """Each group stores what others read."""
        g = self.grouping
        read = {use.root for step in g.steps if isinstance(step, Group) for use in step.uses}
        read |= {root for step in g.steps if not isinstance(step, Group) for root in step.reads}
        read |= {int(r) for r in g.results if type(r) is Ref}
        for step in g.steps:
            if isinstance(step, Group):
                for v in [v for v in step.inside if v in read]:
                    node, axes = step.inside[v]
                    strides, inner = [0] * len(step.shape), 1
                    for a in reversed(axes):
                        strides[a] = inner
                        inner *= step.shape[a]
                    step.sinks.append((step.use(Use(v, g.dtypes[v], 0, tuple(strides))), node))

    def sort(self) -> None:
        g = self.grouping
        touches = list(map(touched, g.steps))
        order = self.order(touches)
        g.steps = [g.steps[s] for s in order]
        for place, s in enumerate(order):
            self._note(place, touches[s])

    def order(self, touches: list[tuple[set[int], set[int]]]) -> list[int]:
        """The steps, each straight after the one whose result nobody else waits for: an update after its gradient, which then needs no long life.

        What is donated is overwritten after all have read it that did so before.
        """
        g = self.grouping
        reads, writes = zip(*touches, strict=True) if touches else ((), ())
        readers: dict[int, list[int]] = {}
        writers: dict[int, list[int]] = {}
        for s in range(len(g.steps)):
            for known, roots in ((readers, reads[s]), (writers, writes[s])):
                for root in roots:
                    known.setdefault(root, []).append(s)
        before: list[set[int]] = [{w for root in reads[s] | writes[s] for w in writers.get(root, ()) if w < s} for s in range(len(g.steps))]
        for k, place in self.program.donated.items():
            for w in writers.get(g.results[k], ()):
                before[w] |= {r for r in readers.get(self.program.inputs[place], ()) if r < w}
        after: list[list[int]] = [[] for _ in g.steps]
        for s, others in enumerate(before):
            for w in others:
                after[w].append(s)
        missing = list(map(len, before))
        ready = [s for s, count in enumerate(missing) if not count]  # a heap, as is a sorted list
        tiny = [s for s in reversed(ready) if isinstance(step := g.steps[s], Group) and step.size == 1]
        order: dict[int, None] = {}

        def follows(last: int) -> list[int]:
            """What can be done, and reads something of this step that nobody else waits for."""
            waiting = ([r for r in readers.get(root, ()) if r not in order] for root in writes[last])
            return [one[0] for one in waiting if len(one) == 1 and not missing[one[0]]]

        s = -1
        while len(order) < len(g.steps):
            s = min(follows(s), default=-1) if order else -1
            while s < 0 or s in order:
                s = tiny.pop() if tiny else heapq.heappop(ready)
            order[s] = None
            for later in after[s]:
                missing[later] -= 1
                if not missing[later]:
                    heapq.heappush(ready, later)
        return list(order)

    def _note(self, s: int, touches: tuple[set[int], set[int]]) -> None:
        for known, roots in zip((self.reads, self.writes), touches, strict=True):
            for root in roots:
                known.setdefault(root, set()).add(s)

    def place(self) -> None:
        """A home for each root; results that could not be written in donated memory are copied there."""
        g, program = self.grouping, self.program
        self.homes = {r: Home("array", k) for k, r in enumerate(program.inputs)}
        for root, array in g.constants.items():
            self.homes[root] = Home("constant", array.__array_interface__["data"][0])
        self.fresh: list[int] = []  # roots of results in memory of their own
        copies: dict[int, int] = {}  # root → the donated input that it is copied to
        for k, r in enumerate(g.results):
            if type(r) is not Ref or r in self.homes or r in copies:
                continue
            if k in program.donated:
                p = program.inputs[program.donated[k]]
                if self.takes_over(p, r):
                    self.homes[r] = self.homes[p]
                    continue
                copies[r] = p
                continue
            self.homes[r] = Home("array", len(program.inputs) + len(self.fresh))
            self.fresh.append(r)
        for source, target in copies.items():
            step = (1,) if g.samples[source].size > 1 else (0,)
            uses = [Use(root, g.dtypes[root], 0, step) for root in (source, target)]
            g.steps.append(Group((g.samples[source].size,), None, uses, [("load", g.dtypes[source], 0)], [(1, 0)]))
            self._note(len(g.steps) - 1, touched(g.steps[-1]))
        self.results = [(self.homes[copies.get(r, r)].place, None) if type(r) is Ref else (None, r) for r in g.results]
        made: dict[int, list[int]] = {}  # step → what it is the first to write
        for root, steps in self.writes.items():
            if root not in self.homes:
                made.setdefault(min(steps), []).append(root)
        last = {root: max(self.reads.get(root, set()) | steps) for root, steps in self.writes.items()}
        dying: dict[int, list[int]] = {}
        for root, s in last.items():
            dying.setdefault(s, []).append(root)
        blocks: dict[int, list[int]] = {}  # root → its memory: bytes, the first and the last step that need it
        for s in range(len(g.steps)):
            heirs = [p for p in dying.get(s, ()) if p in blocks]
            for root in sorted(made.get(s, ()), key=lambda root: last[root] > s):
                heir = next((p for p in heirs if self.takes_over(p, root)), None)
                if heir is None:
                    blocks[root] = [-(-g.bases[root].nbytes // LINE) * LINE, s, last[root]]
                    if last[root] == s:  # a product that what follows it in the same step may be written over
                        heirs.insert(0, root)
                else:
                    heirs.remove(heir)
                    blocks[root] = blocks[heir]
                    blocks[root][2] = last[root]
        placed: list[tuple[int, list[int]]] = []
        for block in sorted({id(block): block for block in blocks.values()}.values(), key=lambda block: -block[0]):  # the largest first, as low as it can be
            start = 0
            for place, other in sorted((pair for pair in placed if pair[1][1] <= block[2] and block[1] <= pair[1][2]), key=lambda pair: pair[0]):
                if place - start >= block[0]:
                    break
                start = max(start, place + other[0])
            placed.append((start, block))
            self.arena = max(self.arena, start + block[0])
        starts = {id(block): start for start, block in placed}
        self.homes |= {root: Home("arena", starts[id(block)]) for root, block in blocks.items()}

    def fixed(self, size: int) -> tuple[Home, int]:
        """Memory that nothing else has, 0 at first."""
        return Home("arena", self.room(size)), 0

    def borrowed(self, t: int, sizes: list[int]) -> list[tuple[Home, int]]:
        """Memory that thread t has for one step."""
        starts = [sum(-(-size // LINE) * LINE for size in sizes[:k]) for k in range(len(sizes) + 1)]
        self.scratch[t] = max(self.scratch[t], starts[-1])
        return [(Home("scratch", t), start) for start in starts[:-1]]

    def room(self, size: int) -> int:
        """A place in the arena that nothing else has."""
        place = self.arena
        self.arena += -(-size // LINE) * LINE
        return place

    def takes_over(self, p: int, r: int) -> bool:
        """Whether r may be written where p lies: p is read no later, and where r is made, each element before its place is written."""
        g = self.grouping
        if not g.bases[r].size:
            return True
        (s, *more), reads = sorted(self.writes[r]), self.reads.get(p, set())
        step = g.steps[s]
        before = s + (isinstance(step, Fused) and p == step.product.out)  # a product is made before what follows it
        if more or max(reads, default=-1) > s or max(self.writes.get(p, {-1})) >= before or g.bases[p].nbytes != g.bases[r].nbytes:
            return False
        if s not in reads:
            return True
        if isinstance(step, Fused) and r != step.product.out and p not in step.product.reads:
            step = step.group
        if not isinstance(step, Group) or any(node[0] in REDUCTIONS for node in step.nodes):
            return False
        target, *others = (step.uses[u] for u, _ in step.sinks if step.uses[u].root == r)
        return target.how is None and not others and all(
            (use.offset, use.strides, use.index, use.dtype) == (target.offset, target.strides, None, target.dtype) for use in step.uses if use.root == p
        )

    def address(self, root: int, offset: int) -> tuple[Home, int]:
        return self.homes[root], offset * SIZE[self.grouping.dtypes[root]]
