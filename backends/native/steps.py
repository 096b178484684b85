"""What a Program is cut into: groups of instructions that one Loop computes, products, convolutions, random bits; and what a group reads and stores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backends.native.convolution import Convolve, ConvolveWeights
from backends.native.cumulative import Cumulative
from backends.program.program import Instruction, Program

Axes = tuple[int, ...]


class CannotExpress(Exception):
    """What there is no kernel for, in words."""


class Use(NamedTuple):
    """An operand of a group: which memory, where in it (elements), how far apart along each axis of the group.

    how: None where it is read or stored; "sum", … where it adds up what meets there; shared: the axes along which that happens.
    index: the number of the operand that says where, times a stride, below a size.
    """

    root: int
    dtype: str
    offset: int
    strides: Axes
    index: tuple[int, int, int] | None = None  # type: ignore[assignment]  # tuples have a method of this name, which nobody calls
    how: str | None = None
    shared: frozenset[int] = frozenset()


@dataclass
class Group:
    """shape and row as above (row: the axis at which it begins, if rows are reduced); nodes as in Loop, loads by the number of the use;
    sinks: (use, node); inside: value → (node, the axes of the group that its axes are, those of length 1 left out)."""

    shape: Axes
    row: int | None = None
    uses: list[Use] = field(default_factory=list)
    nodes: list[tuple[Any, ...]] = field(default_factory=list)
    sinks: list[tuple[int, int]] = field(default_factory=list)
    inside: dict[int, tuple[int, Axes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # of each use among the uses, of each node among the nodes
        self.numbers: dict[Any, int] = {**{use: k for k, use in enumerate(self.uses)}, **{node: k for k, node in enumerate(self.nodes)}}

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def add(self, *node: Any) -> int:
        """The number of this node, one for equal ones."""
        return self._number(node, self.nodes)

    def use(self, use: Use) -> int:
        return self._number(use, self.uses)

    def _number(self, x: Any, among: list[Any]) -> int:
        number = self.numbers.setdefault(x, len(among))
        if number == len(among):
            among.append(x)
        return number

    def fits(self, strides: Axes) -> bool:
        """Whether the row is one axis of an operand with these strides."""
        return self.row is None or merges(strides[self.row :], self.shape[self.row :])


@dataclass
class Product:
    """c[i] ← a[i]·b[i], samples of three axes in the memory of these roots."""

    out: int
    a_root: int
    b_root: int
    c: Any
    a: Any
    b: Any

    @property
    def reads(self) -> tuple[int, int]:
        return self.a_root, self.b_root

    @property
    def writes(self) -> tuple[int]:
        return (self.out,)


@dataclass
class Fused:
    """A product and the group that alone reads it, done tile by tile as it is made: see epilogue.py. uses: the group's, along rows and columns."""

    product: Product
    group: Group
    uses: list[Use]

    @property
    def reads(self) -> tuple[int, ...]:
        sunk = {u for u, _ in self.group.sinks}
        return (*self.product.reads, *(use.root for u, use in enumerate(self.uses) if u not in sunk))

    @property
    def writes(self) -> tuple[int, ...]:
        return (self.product.out, *(self.uses[u].root for u, _ in self.group.sinks))


@dataclass
class Convolution:
    """A convolution with 3×3 windows, or its gradient by the filter: see winograd.py. a: the image, b: the filter or the result's gradient, each
    (root, offset); image (n, height, width); depth (channels, filters); before: zeros ahead of the image; size of the result; matrices: roots."""

    out: int
    a: tuple[int, int]
    b: tuple[int, int]
    image: tuple[int, int, int]
    depth: tuple[int, int]
    before: tuple[int, int]
    size: tuple[int, int]
    turned: bool
    by_filter: bool
    matrices: list[int]

    @property
    def reads(self) -> tuple[int, int]:
        return self.a[0], self.b[0]

    @property
    def writes(self) -> tuple[int, ...]:
        return self.out, *self.matrices


@dataclass
class Direct:
    """A convolution, or its gradient by the filter: see convolution.py. places: (root, sample) of x, w, y and perhaps b, one of which is out."""

    out: int
    kernel: Convolve | ConvolveWeights
    places: dict[str, tuple[int, Any]]

    @property
    def reads(self) -> tuple[int, ...]:
        return tuple(root for root, _ in self.places.values() if root != self.out)

    @property
    def writes(self) -> tuple[int]:
        return (self.out,)


@dataclass
class RandomBits:
    """out ← words of Philox: see philox.py. step: a number, or (root, offset) of an integer."""

    out: int
    step: int | tuple[int, int]
    key: tuple[int, int]
    draw: int

    @property
    def reads(self) -> tuple[int, ...]:
        return self.step[:1] if isinstance(self.step, tuple) else ()

    @property
    def writes(self) -> tuple[int]:
        return (self.out,)


@dataclass
class Running:
    """y (outer, n or one more, inner) ← sums or products along the second axis of x (outer, n, inner): see cumulative.py. x: (root, offset)."""

    out: int
    x: tuple[int, int]
    kernel: Cumulative
    shape: tuple[int, int, int]

    @property
    def reads(self) -> tuple[int]:
        return (self.x[0],)

    @property
    def writes(self) -> tuple[int]:
        return (self.out,)


@dataclass
class ByNumPy:
    """An instruction that has no kernel: see host.py. places: of each value that it reads (root, offset, sample)."""

    instruction: Instruction
    places: dict[int, tuple[int, int, Any]]

    @property
    def reads(self) -> tuple[int, ...]:
        return tuple(root for root, _, _ in self.places.values())

    @property
    def writes(self) -> tuple[int, ...]:
        return self.instruction.outs


@dataclass
class Scan:
    """The steps of a scan: see repeat.py. inputs: for each input of the step's program (root, offset, elements from one step to the next);
    carries: the roots that hold the carry, read and written by each step, before all else among the inputs; stacked: the roots of what is stacked."""

    program: Program
    count: int
    reverse: bool
    inputs: list[tuple[int, int, int]]
    carries: list[int]
    stacked: list[int]

    @property
    def reads(self) -> tuple[int, ...]:
        return tuple(root for root, _, _ in self.inputs)

    @property
    def writes(self) -> tuple[int, ...]:
        return (*self.carries, *self.stacked)


Step = ByNumPy | Running | Scan | Group | Product | Fused | Convolution | Direct | RandomBits


def merges(strides: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether these axes are one."""
    return all(s == t * n for s, t, n in zip(strides, strides[1:], shape[1:], strict=False))


def stripped(shape: Sequence[int]) -> Axes:
    return tuple(n for n in shape if n != 1)


def layout(sample: Any) -> tuple[bool, int] | None:
    """(transposed, leading dimension) of the last two axes as the BLAS has them, or None."""
    (r, c), (t, u) = sample.shape[-2:], (t // sample.itemsize for t in sample.strides[-2:])
    if (c == 1 or u == 1) and (r == 1 or t >= c):
        return False, max(t, c) if r > 1 else c
    if (r == 1 or t == 1) and (c == 1 or u >= r):
        return True, max(u, r) if c > 1 else r
    return None
