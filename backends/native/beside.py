"""Very short rows, side by side: a lane is a row, so that what reduces a row combines whole vectors, a column after the other.

As many rows as a vector has lanes are read whole and transposed; what is stored is transposed back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from backends.native.emit import Function, Value, transposed
from backends.native.loops import Chunk, Loop, Writer, across
from backends.native.operations import REDUCTIONS

LENGTH = 16  # of a row, at most


@dataclass(frozen=True)
class Beside(Loop):
    """A Loop over rows of known length that are side by side along the axis before the row, along which a step may be "1", too.

    No operand has an index; what is added up has no steps but along the row, what is stored has one along the rows.
    """

    @cached_property
    def lanes(self) -> int:
        return self.register

    @cached_property
    def kept(self) -> list[int]:
        return self.dear

    def keeps(self, v: int) -> bool:
        return self.nodes[v][0] not in ("load", "const", "column")

    @cached_property
    def tiled(self) -> list[int]:
        """The operands that are read or stored transposed."""
        return [k for k, operand in enumerate(self.operands) if operand.steps[-2] != "0" != operand.steps[-1]]

    def writer(self, f: Function) -> Writer:
        return _Writer(self, f)


class _Writer(Writer):
    loop: Beside

    def __init__(self, loop: Beside, f: Function):
        self.single = loop.lanes  # what is the same along a row differs between rows
        super().__init__(loop, f)

    # memory: vectors on the stack, one for each column

    def room(self, dtype: str, count: int) -> Value:
        return self.f.slot(_held(dtype), self.wide, count)

    def vector(self, slot: Value, i: Value | int, dtype: str) -> Value:
        return self.f.load(slot, i * self.wide, dtype, self.wide)

    def all_rows(self, chunks: list[Chunk]) -> None:
        loop, f = self.loop, self.f
        self.words |= {("scratch", v): self.room(loop.nodes[v][1], loop.row) for v in loop.kept}
        self.tiles = {k: self.room(loop.operands[k].dtype, loop.row) for k in loop.tiled}
        self.raw = {dtype: self.room(dtype, self.wide) for dtype in dict.fromkeys(_held(loop.operands[k].dtype) for k in loop.tiled)}  # rows as in memory
        self.sums = {s: self.room(loop.nodes[v][1], loop.row) for s, (_, v, how) in enumerate(loop.sinks) if how}
        for s, slot in self.sums.items():
            _, v, how = loop.sinks[s]
            with f.loop(0, self.length(s)) as c:
                f.store(slot, c * self.wide, f.constant(REDUCTIONS[str(how)][1](loop.nodes[v][1]), loop.nodes[v][1], self.wide))
        self.rows(0, [])
        self.offsets = dict.fromkeys(self.offsets, f.constant(0, "int64"))
        for s, slot in self.sums.items():
            k, v, how = loop.sinks[s]
            combine = REDUCTIONS[str(how)][0]
            with f.loop(0, self.length(s)) as c:
                total, place = across(self.vector(slot, c, loop.nodes[v][1]), combine), self.element(k, 0, c)
                f.store(self.words["pointer", k], place, combine(f.load(self.words["pointer", k], place, total.dtype), total))

    def length(self, s: int) -> int:
        return self.loop.row if self.loop.along_row(self.loop.sinks[s][0]) else 1

    def element(self, k: int, row: Value | int, column: Value | int) -> Value:
        """The index of an element of operand k, from the first row of these."""
        place = self.offsets[k]
        for axis, i in ((self.loop.axes - 2, row), (self.loop.axes - 1, column)):
            step = self.loop.operands[k].steps[axis]
            place = place if step == "0" else place + i if step == "1" else place + i * self.words["stride", k, axis]
        return place

    def transpose(self, k: int, back: bool) -> None:
        """Rows of operand k into its tile, or back."""
        f, wide, length = self.f, self.wide, self.loop.row
        dtype, pointer, tile = _held(self.loop.operands[k].dtype), self.words["pointer", k], self.tiles[k]
        raw = self.raw[dtype]
        for start in range(0, length, wide):
            columns = min(wide, length - start)
            inside = f.iota("int32", wide).lt(columns)
            if back:
                vectors = [self.vector(tile, start + c, dtype) for c in range(columns)] + [f.constant(0, dtype, wide)] * (wide - columns)
                for row, x in enumerate(transposed(vectors)):
                    f.store(raw, row * wide, x)
            with f.loop(0, self.count) as r:
                place = self.element(k, r, start)
                if self.loop.operands[k].steps[-1] != "1":
                    place = f.splat(place, wide) + f.iota("int64", wide) * f.splat(self.words["stride", k, self.loop.axes - 1], wide)
                if back:
                    f.store(pointer, place, self.vector(raw, r, dtype), inside)
                else:
                    f.store(raw, r * wide, f.load(pointer, place, dtype, wide, inside))
            if not back:
                for c, x in enumerate(transposed([self.vector(raw, row, dtype) for row in range(wide)])[:columns]):
                    f.store(tile, (start + c) * wide, x)

    # rows

    def rows(self, axis: int, counters: list[Value]) -> None:
        if axis < self.loop.axes - 2:
            super().rows(axis, counters)
            return
        f, n = self.f, self.words["size", axis]
        with f.loop(0, n, self.wide) as i:
            self.count = f.select((n - i).lt(self.wide), n - i, self.wide)
            self.mask = f.iota("int32", self.wide).lt(f.splat(f.cast(self.count, "int32"), self.wide))
            super().rows(axis + 1, [*counters, i])

    def row(self) -> None:
        stored = {k for k, _, how in self.loop.sinks if not how}
        read = {node[2] for node in self.loop.nodes if node[0] == "load"}
        for k in self.loop.tiled:
            if k in read:
                self.transpose(k, back=False)
        super().row()
        for k in self.loop.tiled:
            if k in stored:
                self.transpose(k, back=True)

    def reduced(self, v: int, total: Value) -> Value:
        return total

    def spare(self, chunk: Chunk) -> Value:
        return chunk.column * self.wide

    def short(self) -> list[Chunk]:
        return []

    def long(self) -> Iterator[Chunk]:
        with self.f.loop(0, self.loop.row) as c:
            yield Chunk(c, None)

    def columns(self, dtype: str) -> Value:
        return self.f.constant(0, dtype, self.wide)

    # operands

    def along_rows(self, k: int) -> Value:
        """The place of the first row, or of each, of an operand that is the same along the row."""
        axis = self.loop.axes - 2
        if self.loop.operands[k].steps[axis] == "1":
            return self.offsets[k]
        return self.f.splat(self.offsets[k], self.wide) + self.f.iota("int64", self.wide) * self.f.splat(self.words["stride", k, axis], self.wide)

    def load(self, k: int, chunk: Chunk | None) -> Value:
        pointer, dtype = self.words["pointer", k], self.loop.operands[k].dtype
        if k in self.loop.tiled:
            assert chunk is not None
            return self.vector(self.tiles[k], chunk.column, dtype)
        if self.loop.operands[k].steps[-2] == "0":
            return self.f.splat(self.f.load(pointer, self.element(k, 0, chunk.column if chunk else 0), dtype), self.wide)
        return self.f.load(pointer, self.along_rows(k), dtype, self.wide, self.mask)

    def sink(self, sinks: list[int], chunk: Chunk | None) -> None:
        f = self.f
        values = [self.value(self.loop.sinks[s][1], chunk) for s in sinks]
        for s, x in zip(sinks, values, strict=True):
            k, _, how = self.loop.sinks[s]
            if how:
                combine, identity = REDUCTIONS[how]
                x, place = f.select(self.mask, x, x.like(identity(x.dtype))), chunk.column if chunk else 0
                f.store(self.sums[s], place * self.wide, combine(self.vector(self.sums[s], place, x.dtype), x))
            elif k in self.loop.tiled:
                assert chunk is not None
                f.store(self.tiles[k], chunk.column * self.wide, x)
            else:
                f.store(self.words["pointer", k], self.along_rows(k), x, self.mask)


def _held(dtype: str) -> str:
    return "uint8" if dtype == "bool" else dtype
