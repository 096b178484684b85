"""A Program cut into steps: groups of instructions that one Loop computes, and products of matrices.

A group iterates over one shape, axes of length 1 left out. Its nodes have that shape (they are full) or, where it reduces rows, the shape without
the row (they are outer). An instruction joins the group of what it reads where their axes agree, so that values pass in registers.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backends.native.emit import SIZE, is_float
from backends.native.operations import OPERATIONS
from backends.native.steps import Axes, ByNumPy, CannotExpress, Group, Step, Use, layout, stripped
from backends.program.program import Instruction, Program, Ref

MASKS = frozenset("equal not_equal less less_equal greater greater_equal logical_not astype".split())
OURS = frozenset("convolve convolve_weights conv3x3 conv3x3_filter".split())  # instructions that only a kernel can do
OPERANDS, NODES = 28, 200  # of one group, at most
SMALL = 4096  # elements: a group no larger may take in what has only its shape in common, and reduces itself to a number


class Grouping:
    """steps; and of each value the memory it lies in (`roots`) and its place there (`samples`: arrays without content, with its strides)."""

    def __init__(self, program: Program, rules: dict[str, Callable[[Any, Instruction], None]]):
        self.program, self.rules = program, rules
        self.shapes = {r: s.shape for r, s in enumerate(program.values)}
        self.dtypes = {r: s.dtype for r, s in enumerate(program.values)}
        self.samples: dict[int, Any] = {}
        self.bases: dict[int, Any] = {}  # root → the sample of its memory
        self.roots: dict[int, int] = {}
        self.spots: dict[int, tuple[int, Axes]] = {}
        self.trails: dict[int, tuple[int, tuple[int | None, ...]]] = {}  # value → (what it is a view of, the axis of that each of its axes is)
        self.numbers: dict[int, Any] = {}  # uniform values
        self.constants: dict[int, Any] = {}  # root → array
        self.steps: list[Step] = []
        self.groups: dict[Axes, list[int]] = {}  # the beginning of a shape, axes of length 1 left out → the groups that begin so
        self.made: dict[int, int] = {}  # root → the step that makes it
        self.results: list[Any] = []  # for each output its root, or what it is
        self.late: dict[int, Instruction] = {}  # values put off until they are asked for
        self.near = False  # whether to join recent groups alone
        for r in program.inputs:
            self.own(r)
            self.made[r] = -1
        for i in program.body:
            self.enter(i)
        for y in program.outputs:
            self.results.append(self.result(y))

    # values

    def own(self, v: int) -> Any:
        """v has memory of its own, in C order."""
        if self.dtypes[v] not in SIZE:
            raise CannotExpress(f"the dtype {self.dtypes[v]}")
        self.samples[v] = self.bases[v] = np.empty(self.shapes[v], self.dtypes[v])
        self.roots[v] = v
        self.trails[v] = (v, tuple(None if n == 1 else k for k, n in enumerate(self.shapes[v])))
        return self.samples[v]

    def new(self, shape: Axes, dtype: str) -> int:
        v = len(self.shapes)
        self.shapes[v], self.dtypes[v] = shape, dtype
        self.own(v)
        return v

    def spot(self, v: int, sample: Any = None) -> tuple[int, Axes]:
        """(offset, strides) of a value in the memory of its root, in elements; 0 along axes of length 1."""
        if sample is None and v in self.spots:
            return self.spots[v]
        place, base = self.samples[v] if sample is None else sample, self.bases[self.roots[v]]
        offset = 0 if place is base else (_address(place) - _address(base)) // base.itemsize
        spot = offset, tuple([t // base.itemsize if n != 1 else 0 for t, n in zip(place.strides, place.shape, strict=True)])
        if sample is None:
            self.spots[v] = spot
        return spot

    def trail(self: Grouping, i: Instruction, x: int, out: int) -> tuple[int, tuple[int | None, ...]]:
        """What a view is of, and which axes it shows, where it only moves, adds or repeats axes."""
        source, axes = self.trails[x]
        shape, old = self.shapes[out], self.shapes[x]
        if i.name == "permute_dims":
            return source, tuple(axes[a] for a in i.static["axes"])
        if i.name == "broadcast_to":
            shown = (None,) * (len(shape) - len(old)) + axes
            return source, tuple(a if n == m else None for a, n, m in zip(shown, shape, (1,) * (len(shape) - len(old)) + tuple(old), strict=True))
        if i.name == "reshape" and stripped(shape) == stripped(old) and all((a is None) == (n == 1) for a, n in zip(axes, old, strict=True)):
            left = iter([a for a in axes if a is not None])
            return source, tuple(None if n == 1 else next(left) for n in shape)
        return out, tuple(None if n == 1 else k for k, n in enumerate(shape))

    def solid(self, v: Any) -> int:
        """The value, with memory also if it is uniform."""
        if v in self.numbers:
            y = self.new(self.shapes[v], self.dtypes[v])
            self.copy(v, y, self.samples[y])
            return y
        return int(v)

    # instructions

    def enter(self, i: Instruction) -> None:
        if self.put_off(i):
            self.late[i.outs[0]] = i  # rather computed where it is asked for than stored and read
            return
        for r in i.reads:
            self.settle(r)
        self.apply(i)

    def apply(self, i: Instruction) -> None:
        """By its rule; what has none, or is not as its rule can express it, by NumPy."""
        rule = self.rules.get(i.name)
        try:
            if rule is None or (len(i.outs) > 1 and i.name != "scan"):
                raise CannotExpress(i.name)
            rule(self, i)
        except CannotExpress:
            if i.name in OURS or any(self.dtypes[v] not in SIZE for v in (*i.reads, *i.outs)):
                raise
            self.by_numpy(i)

    def by_numpy(self, i: Instruction) -> None:
        places = {}
        for r in i.reads:
            v = self.solid(r)
            places[int(r)] = self.roots[v], self.spot(v)[0], self.samples[v]
        for out in i.outs:
            self.own(out)
            self.made[out] = len(self.steps)
        self.steps.append(ByNumPy(i, places))

    def put_off(self, i: Instruction) -> bool:
        """Whether it reads only what is in memory in any case: a mask of one value, or an elementwise function of inputs, as an optimizer's of its moments."""
        if i.name in MASKS and len(i.reads) == 1:
            return i.reads[0] in self.late or self.in_memory(i.reads[0])
        return i.name in OPERATIONS and math.prod(self.shapes[i.outs[0]]) > 1 and bool(i.reads) and all(self.roots.get(r) in self.program.inputs for r in i.reads)

    def in_memory(self, r: int) -> bool:
        """Whether the value is stored in any case."""
        if (root := self.roots.get(r)) is None:
            return False
        later = self.steps[self.made.get(root, -1) + 1 :]
        return root in self.program.inputs or any(root in ([use.root for use in step.uses] if isinstance(step, Group) else step.reads) for step in later)

    def settle(self, r: int) -> None:
        """Compute a value that was put off, in a group near what asks for it."""
        i = self.late.pop(r, None)
        if i is not None:
            for x in i.reads:
                self.settle(x)
            self.near = True
            self.apply(i)
            self.near = False

    def join(
        self, shape: Axes, args: list[Any], build: Callable[[Group, list[int], Axes], None],
        limit: Callable[[Group, Axes, list[Any]], bool] = lambda g, axes, loads: True, after: Sequence[int] = (), alone: bool = False,
    ) -> int:  # fmt: skip
        """Let the group that suits best compute something of this shape from these values; the number of its step.

        build(group, a node for each argument, the axes of the group that the shape has) enters it; limit(group, axes, nodes or uses) may refuse a group; `after` must
        be in memory by then; alone: in a group of its own.
        """
        values = [v for v in args if v not in self.numbers]
        earliest = max((self.made[self.roots[v]] for v in values), default=-1)
        first = max(earliest, 0, *(self.made[self.roots[v]] + 1 for v in after))
        if self.near:
            first = max(first, next((s + 1 for s in range(len(self.steps) - 1, -1, -1) if not isinstance(self.steps[s], Group)), 0))
        bare, looks = stripped(shape), [(v, *self.along(v, shape)) for v in values]
        known = [] if alone else self.groups.get(bare, [])
        for s in reversed(known[bisect_left(known, first) :]):
            g = self.steps[s]
            assert isinstance(g, Group)
            if (axes := self.axes(g, bare)) is None or len(g.uses) > OPERANDS or len(g.nodes) > NODES:
                continue
            loads = [self.load(g, s, *look) for look in looks]
            if None in loads or not limit(g, axes, loads):
                continue
            meets = s == earliest and any(self.trails[v][0] in g.inside for v in values) or any(isinstance(use, Use) and use in g.numbers for use in loads)
            if meets or g.size <= SMALL or s == len(self.steps) - 1:
                break
        else:
            g, s, axes = Group(bare), len(self.steps), tuple(range(len(bare)))
            self.steps.append(g)
            for k in range(len(bare) + 1):
                self.groups.setdefault(bare[:k], []).append(s)
            loads = [self.load(g, s, *look) for look in looks]
            if not limit(g, axes, loads):
                raise CannotExpress(f"a loop over {shape}")
            if None in loads:
                raise CannotExpress(f"rows of {shape} that are no single axis")
        left, nodes = iter(loads), list[Any]()
        for v in args:
            if v in self.numbers:
                nodes.append(g.add("const", self.dtypes[v], encoded(self.numbers[v], self.dtypes[v])))
            else:
                load = next(left)
                nodes.append(g.add("load", load.dtype, g.use(load)) if isinstance(load, Use) else load)
        build(g, nodes, axes)
        return s

    def axes(self, g: Group, bare: Axes) -> Axes | None:
        """The axes of the group that a shape without its axes of length 1 has, if it is full or outer."""
        if bare == g.shape:
            return tuple(range(len(bare)))
        if g.row is not None and bare == g.shape[: g.row]:
            return tuple(range(g.row))
        return None

    def along(self, v: int, shape: Axes) -> tuple[Sequence[int | None], Axes]:
        """How a value lies in something of this shape: for each axis longer than 1 that of its source which it shows, and its stride there."""
        pad, axes, steps = (0,) * (len(shape) - len(self.shapes[v])), self.trails[v][1], self.spot(v)[1]
        if pad:
            axes, steps = (*(None for _ in pad), *axes), pad + steps
        return [a for a, n in zip(axes, shape, strict=True) if n != 1], tuple([t for t, n in zip(steps, shape, strict=True) if n != 1])

    def load(self, g: Group, s: int, v: int, shown: Sequence[int | None], strides: Axes) -> int | Use | None:
        """A value that lies so, as operand in group s: a node that is there, or memory to read; None if neither will do."""
        source, root = self.trails[v][0], self.roots[v]
        if source in g.inside:
            node, own = g.inside[source]
            ids = [k for k, n in enumerate(self.shapes[source]) if n != 1]
            return node if {k: a for a, k in enumerate(shown) if k is not None} == dict(zip(ids, own, strict=True)) else None
        if self.made[root] >= s:
            return None
        strides += (0,) * (len(g.shape) - len(strides))
        return Use(root, self.dtypes[v], self.spot(v)[0], strides) if g.fits(strides) else None

    def copy(self, x: Any, root: int, sample: Any, alone: bool = False) -> None:
        """Store a value in memory of `root`, at the place of the sample."""
        if not sample.size:
            self.made.setdefault(root, -1)
            return
        shape = tuple(sample.shape)
        offset, steps = self.spot(root, sample)
        step = tuple(t for t, n in zip(steps, shape, strict=True) if n != 1)

        def spread(g: Group, axes: Axes) -> Axes:
            strides = [0] * len(g.shape)
            for a, t in zip(axes, step, strict=True):
                strides[a] = t
            return tuple(strides)

        def build(g: Group, nodes: list[int], axes: Axes) -> None:
            node = nodes[0] if g.nodes[nodes[0]][1] == self.dtypes[root] else g.add("cast", self.dtypes[root], nodes[0])
            g.sinks.append((g.use(Use(root, self.dtypes[root], offset, spread(g, axes))), node))

        s = self.join(shape, [x], build, lambda g, axes, loads: g.fits(spread(g, axes)), alone=alone)
        self.made[root] = max(self.made.get(root, -1), s)

    def contiguous(self, v: Any) -> tuple[int, int]:
        """(root, offset) of the value in C order, copied where it is not."""
        v = self.solid(v)
        if not self.samples[v].flags.c_contiguous:
            c = self.new(self.shapes[v], self.dtypes[v])
            self.copy(v, c, self.samples[c])
            v = c
        return self.roots[v], self.spot(v)[0]

    def matrix(self, v: int, sample: Any, shape: tuple[int, ...]) -> tuple[int, Any]:
        """(root, sample) of this look at a value in three axes, copied where the BLAS could not read it: in the order in which it lies, if that will do."""
        try:
            matrix = np.reshape(sample, shape, copy=False)
        except ValueError:
            matrix = None
        if matrix is not None and layout(matrix) is not None:
            return self.roots[v], matrix
        if shape[0] != 1 and 0 < sample.strides[-2] < sample.strides[-1]:
            root, copied = self.matrix(v, np.swapaxes(sample, -1, -2), (shape[0], shape[2], shape[1]))
            return root, np.swapaxes(copied, -1, -2)
        c = self.new(tuple(sample.shape), self.dtypes[v])
        self.copy(self.look(v, sample), c, self.samples[c])
        return c, self.samples[c].reshape(shape)

    def look(self, v: int, sample: Any) -> int:
        """A value that is this sample of the memory of v."""
        y = self.new(tuple(sample.shape), self.dtypes[v])
        self.samples[y], self.roots[y] = sample, self.roots[v]
        return y

    def image(self, v: Any, whole: bool = False) -> tuple[int, Any]:
        """(root, sample) of a value whose pixels follow one another along each row; whole: all of them."""
        v = self.solid(v)
        sample = self.samples[v]
        plain = [math.prod(sample.shape[a + 1 :]) * sample.itemsize for a in range(sample.ndim)]
        if any(n > 1 and t != u for n, t, u in list(zip(sample.shape, sample.strides, plain, strict=True))[0 if whole else -2 :]):
            c = self.new(tuple(sample.shape), self.dtypes[v])
            self.copy(v, c, self.samples[c])
            return c, self.samples[c]
        return self.roots[v], sample

    def result(self, y: Any) -> Any:
        """The root that holds an output, or what it is if it is none."""
        if type(y) is not Ref:
            return y
        self.settle(y)
        if y in self.program.inputs or (self.roots.get(y) == y and y not in self.constants):
            return Ref(y)
        out = self.new(self.shapes[y], self.dtypes[y])
        self.copy(y, out, self.samples[out])
        return Ref(out)

    def keep(self, g: Group, v: int, node: int, axes: Axes) -> None:
        """The group has computed v."""
        g.inside[v] = node, axes


def _address(sample: Any) -> int:
    return int(sample.__array_interface__["data"][0])


def encoded(number: Any, dtype: str) -> Any:
    """A number so that equal ones are the same: 0.0 is not −0.0, and NaN is NaN."""
    return float(number).hex() if is_float(dtype) else int(number)


# ------------------------------------------------------------------------------------------------- rules: an instruction → nodes
