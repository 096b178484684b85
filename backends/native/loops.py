"""Loops: an expression over strided operands, its rows reduced on the way, as one kernel.

    Loop(operands=(Operand("float32", "s1"), Operand("float32", "01"), Operand("float32", "s1")),
         nodes=(("load", "float32", 0), ("load", "float32", 1), ("add", "float32", 0, 1), ("const", "float32", 0.0), ("maximum", "float32", 2, 3)),
         sinks=((2, 4, None),))                                                           y[i, j] = max(x[i, j] + b[j], 0)

Axes run from the slowest to the fastest, the row, which is computed in vectors. A node ("sum", dtype, v) reduces v over the row: softmax or a
layer norm is one kernel, whose rows are swept as often as reductions follow one another; what is dear to compute is kept between sweeps,
in registers where the row is short, else in a scratch row. A sink (k, v, None) stores v in operand k; (k, v, "sum") adds it to what stands
there, so that a sum over slower axes is a sink with step 0 along them. Operands may be the same memory where each element is read before it
is written: loads and stores are never exchanged.

The argument table, in words: a pointer for each operand; the length of each axis; a stride (in elements) for each step "s", operand by
operand; stride and length of each `index`, and the address of a flag if there is one, set where an index is out of range; scratch rows.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backends.native.compile import lanes as machine_lanes
from backends.native.emit import SIZE, Function, Value, Variable, is_float
from backends.native.operations import LONG, OPERATIONS, REDUCTIONS

PRODUCTS = ("multiply", "square", "negative")
SHORT = 64  # rows of so many elements or fewer are written out


@dataclass(frozen=True)
class Operand:
    """dtype, and a letter for each axis: "0" the same element, "1" the next one (the row alone), "s" a stride apart.

    index: the operand whose values say, times a further stride, where to read or add; negative ones count from the end.
    """

    dtype: str
    steps: str
    index: int | None = None


@dataclass(frozen=True)
class Loop:
    operands: tuple[Operand, ...]
    nodes: tuple[tuple[Any, ...], ...]  # ("load", dtype, k) ("const", dtype, number, a float in hex) ("column", dtype) ("cast", dtype, v) (function, dtype, v…)
    sinks: tuple[tuple[int, int, str | None], ...]
    row: int = 0  # the length of the row where it is short and known, else 0

    @cached_property
    def lanes(self) -> int:
        return min(self.register, 1 << (self.row - 1).bit_length()) if self.row else self.register

    @cached_property
    def register(self) -> int:
        """How many elements of the widest dtype there are in a register; of integers beside floats, in several."""
        floats = [node[1] for node in self.nodes if is_float(node[1])]
        return 4 * machine_lanes() // max(SIZE[dtype] for dtype in floats or [node[1] for node in self.nodes])

    @cached_property
    def words(self) -> dict[Any, int]:
        """The place of each argument in the table."""
        keys: list[Any] = [("pointer", k) for k in range(len(self.operands))]
        keys += [("size", a) for a in range(self.axes)]
        keys += [("stride", k, a) for k, operand in enumerate(self.operands) for a, step in enumerate(operand.steps) if step == "s"]
        indexed = [k for k, operand in enumerate(self.operands) if operand.index is not None]
        keys += [(what, k) for k in indexed for what in ("index stride", "index size")]
        keys += ["flag"] if indexed else []
        keys += [("scratch", v) for v in self.kept if not self.row]
        return {key: i for i, key in enumerate(keys)}

    @cached_property
    def axes(self) -> int:
        return len(self.operands[0].steps)

    # what follows from the nodes alone

    def arguments(self, v: int) -> tuple[int, ...]:
        return () if self.nodes[v][0] in ("load", "const", "column") else self.nodes[v][2:]

    @cached_property
    def sweep(self) -> list[int]:
        """The first sweep over the row in which each node is known."""
        found: list[int] = []
        for v, (name, *_) in enumerate(self.nodes):
            found.append(max((found[u] for u in self.arguments(v)), default=0) + (name in REDUCTIONS))
        return found

    @cached_property
    def varies(self) -> list[bool]:
        """Whether each node differs along the row."""
        found: list[bool] = []
        for v, (name, *rest) in enumerate(self.nodes):
            if name == "load":
                found.append(self.along_row(rest[1]))
            else:
                found.append(name == "column" or (name not in REDUCTIONS and any(found[u] for u in self.arguments(v))))
        return found

    def along_row(self, k: int) -> bool:
        operand = self.operands[k]
        return operand.steps[-1] != "0" or (operand.index is not None and self.along_row(operand.index))

    @cached_property
    def fixed(self) -> list[bool]:
        """Whether each node is the same in all rows."""
        found: list[bool] = []
        written = {k for k, _, _ in self.sinks}
        for v, (name, *rest) in enumerate(self.nodes):
            if name == "load":
                operand = self.operands[rest[1]]
                found.append(set(operand.steps[:-1]) <= {"0"} and operand.index is None and rest[1] not in written)
            else:
                found.append(name not in REDUCTIONS and all(found[u] for u in self.arguments(v)))
        return found

    @cached_property
    def kept(self) -> list[int]:
        """Nodes that a later sweep reads from a scratch row."""
        return [] if self.row else self.dear

    @cached_property
    def dear(self) -> list[int]:
        """Nodes of an earlier sweep that a later one reads and does not compute again."""
        found: set[int] = set()
        seen: set[tuple[int, int]] = set()

        def visit(v: int, sweep: int) -> None:
            if self.varies[v] and (v, sweep) not in seen:
                seen.add((v, sweep))
                if self.sweep[v] < sweep and self.keeps(v):
                    found.add(v)
                else:
                    for u in self.arguments(v):
                        visit(u, sweep)

        if max(self.sweep, default=0):
            for v, sweep in self.roots:
                visit(v, sweep)
        return sorted(found)

    def keeps(self, v: int) -> bool:
        """Whether node v is rather kept than computed twice: it takes long, or it might be rounded otherwise, as a product and a sum may be one instruction."""
        name, dtype, *_ = self.nodes[v]
        fused = name in PRODUCTS or (name in ("add", "subtract") and any(self.nodes[u][0] in PRODUCTS for u in self.arguments(v)))
        return name in LONG or (fused and is_float(dtype))

    @cached_property
    def roots(self) -> list[tuple[int, int]]:
        """(node, sweep) of what is reduced or stored."""
        reduced = [(u, self.sweep[v] - 1) for v, (name, _, *args) in enumerate(self.nodes) if name in REDUCTIONS for u in args]
        return reduced + [(v, self.sweep[v]) for _, v, _ in self.sinks]

    def function(self, name: str) -> Function:
        f = Function(name, ["ptr"])
        writer = self.writer(f)
        writer.write(writer.short())
        f.done()
        return f

    def writer(self, f: Function) -> Writer:
        return Writer(self, f)


class Chunk:
    """Where in a row a vector is computed: its first column, the lanes that count (None: all), and what is known of it by now.

    number: of the chunk, in rows that are written out; else None.
    """

    def __init__(self, column: Value, mask: Value | None, number: int | None = None):
        self.column, self.mask, self.number = column, mask, number
        self.memo: dict[Any, Value] = {}


class Writer:
    """Writes one Loop into a function, in whose table its arguments begin at the word `first`."""

    single = 1  # lanes of what is the same along the row

    def __init__(self, loop: Loop, f: Function, first: int = 0):
        self.loop, self.wide, self.f = loop, loop.lanes, f
        words = {key: f.word(first + i) for key, i in loop.words.items()}
        self.words = {key: f.pointer(word) if key[0] in ("pointer", "scratch") or key == "flag" else word for key, word in words.items()}
        self.offsets = {k: f.constant(0, "int64") for k in range(len(loop.operands))}
        self.memo: dict[int, Value] = {}  # what is known of this row

    def write(self, chunks: list[Chunk]) -> None:
        """The loops over all rows; chunks: those of a row that is written out, else none."""
        loop = self.loop
        self.constants: dict[Any, Value] = {}  # what is the same in all rows
        for v in range(len(loop.nodes)):
            if loop.fixed[v] and (chunks or not loop.varies[v]):
                for chunk in chunks if loop.varies[v] else [None]:
                    self.value(v, chunk)
        self.all_rows(chunks)

    def all_rows(self, chunks: list[Chunk]) -> None:
        """The loops, and around them what is added up over all rows: in registers, where it fits them."""
        loop, f = self.loop, self.f
        self.held = {
            (s, chunk.number if chunk else None): (chunk, Variable(f, loop.nodes[v][1], self.wide if chunk else 1))
            for s, (k, v, how) in enumerate(loop.sinks)
            if how and set(loop.operands[k].steps[:-1]) <= {"0"} and loop.operands[k].index is None
            for chunk in (chunks if loop.along_row(k) else [None])
        }  # (sink, chunk) → its sum
        for (s, _), (chunk, variable) in self.held.items():
            variable.set(self.load(loop.sinks[s][0], chunk))
        self.rows(0, [])
        self.offsets = {k: f.constant(0, "int64") for k in range(len(loop.operands))}
        for (s, _), (chunk, variable) in self.held.items():
            f.store(self.words["pointer", loop.sinks[s][0]], self.place(loop.sinks[s][0], chunk), variable.get(), chunk.mask if chunk else None)

    # rows

    def rows(self, axis: int, counters: list[Value]) -> None:
        """The loops over the slower axes, and in them the row."""
        if axis == self.loop.axes - 1:
            for k, operand in enumerate(self.loop.operands):
                parts = [i if step == "1" else i * self.words["stride", k, a] for a, (i, step) in enumerate(zip(counters, operand.steps, strict=False)) if step != "0"]
                self.offsets[k] = functools.reduce(operator.add, parts, self.f.constant(0, "int64"))
            self.row()
        else:
            with self.f.loop(*self.extent(axis)) as i:
                self.rows(axis + 1, [*counters, i])

    def extent(self, axis: int) -> tuple[Value | int, Value]:
        return 0, self.words["size", axis]

    def row(self) -> None:
        loop, self.memo = self.loop, {}
        chunks = self.short()
        for self.sweep in range(max(sweep for _, sweep in loop.roots) + 1):
            reduced = [v for v, (name, *_) in enumerate(loop.nodes) if name in REDUCTIONS and loop.sweep[v] == self.sweep + 1]
            sinks = [s for s, (k, v, _) in enumerate(loop.sinks) if loop.sweep[v] == self.sweep and loop.along_row(k)]
            keeps = [v for v in loop.kept if loop.sweep[v] == self.sweep]
            for v in range(len(loop.nodes)):
                if loop.sweep[v] <= self.sweep and not loop.varies[v]:
                    self.value(v, None)  # before the loop over the row, so that all of it may use it
            totals = {v: Variable(self.f, loop.nodes[v][1], self.single if self.ordered(v) else self.wide) for v in reduced}
            for v, total in totals.items():
                total.set(self.identity(v, total.value.lanes))
            for chunk in chunks or (self.long() if reduced or sinks or keeps else []):
                for v in keeps:
                    self.f.store(self.words["scratch", v], self.spare(chunk), self.value(v, chunk), chunk.mask)
                for v, total in totals.items():
                    x = self.value(loop.nodes[v][2], chunk)
                    x = self.f.select(chunk.mask, x, self.identity(v, self.wide)) if chunk.mask else x
                    total.set(product(total.get(), x) if self.ordered(v) else REDUCTIONS[loop.nodes[v][0]][0](total.get(), x))
                self.sink(sinks, chunk)
            for v, total in totals.items():
                self.memo[v] = self.reduced(v, total.get())
        self.sink([s for s, (k, _, _) in enumerate(loop.sinks) if not loop.along_row(k)], None)

    def reduced(self, v: int, total: Value) -> Value:
        return across(total, REDUCTIONS[self.loop.nodes[v][0]][0])

    def spare(self, chunk: Chunk) -> Value:
        """Where in a scratch row this chunk has its place."""
        return chunk.column

    def short(self) -> list[Chunk]:
        """The vectors of a row of known length; none if it is not known."""
        chunks = []
        for number, c in enumerate(range(0, self.loop.row, self.wide)):
            inside = ", ".join(f"i1 {str(c + i < self.loop.row).lower()}" for i in range(self.wide))
            mask = Value(self.f, f"<{inside}>", "bool", self.wide) if c + self.wide > self.loop.row else None
            chunks.append(Chunk(self.f.constant(c, "int64"), mask, number))
        return chunks

    def long(self) -> Iterator[Chunk]:
        """The vectors of a row: whole ones in a loop, then the last one in part."""
        f, n = self.f, self.words["size", self.loop.axes - 1]
        whole = n & -self.wide
        with f.loop(0, whole, self.wide) as j:
            yield Chunk(j, None)
        with f.when(whole.lt(n)):
            left = f.splat(f.cast(n - whole, "int32"), self.wide)
            yield Chunk(whole, f.iota("int32", self.wide).lt(left))

    def identity(self, v: int, lanes: int) -> Value:
        name, dtype, _ = self.loop.nodes[v]
        return self.f.constant(REDUCTIONS[name][1](dtype), dtype, lanes)

    def ordered(self, v: int) -> bool:
        """Whether one lane follows the other: in another order a product of floats overflows elsewhere, and inf·0 is NaN."""
        name, dtype, _ = self.loop.nodes[v]
        return name == "prod" and is_float(dtype)

    def sink(self, sinks: list[int], chunk: Chunk | None) -> None:
        """Store or add: first all that is stored is computed, for one may be written where another is read."""
        values = [self.value(self.loop.sinks[s][1], chunk) for s in sinks]
        for s, x in zip(sinks, values, strict=True):
            k, _, how = self.loop.sinks[s]
            if (s, chunk.number if chunk else None) in self.held:
                _, variable = self.held[s, chunk.number if chunk else None]
                variable.set(REDUCTIONS[str(how)][0](variable.get(), x))
                continue
            place, mask = self.place(k, chunk), chunk.mask if chunk else None
            if how:
                x = REDUCTIONS[how][0](self.f.load(self.words["pointer", k], place, x.dtype, x.lanes, mask), x)
            self.f.store(self.words["pointer", k], place, x, mask)

    # nodes

    def value(self, v: int, chunk: Chunk | None) -> Value:
        """Node v in the lanes of this chunk; without one, as a number that is the same along the row."""
        loop = self.loop
        if chunk and not loop.varies[v]:
            if ("splat", v) not in chunk.memo:
                chunk.memo["splat", v] = self.f.splat(self.value(v, None), self.wide)
            return chunk.memo["splat", v]
        if loop.fixed[v] and (chunk is None or chunk.number is not None):
            memo: dict[Any, Value] = self.constants
            key: Any = (v, chunk.number if chunk else None)
        else:
            memo, key = chunk.memo if chunk else self.memo, v
        if key not in memo:
            memo[key] = self.compute(v, chunk)
        return memo[key]

    def compute(self, v: int, chunk: Chunk | None) -> Value:
        name, dtype, *rest = self.loop.nodes[v]
        lanes = self.wide if chunk else self.single
        if chunk and v in self.loop.kept and self.sweep > self.loop.sweep[v]:
            return self.f.load(self.words["scratch", v], self.spare(chunk), dtype, lanes, chunk.mask)
        if name == "load":
            return self.load(rest[0], chunk)
        if name == "const":
            return self.f.constant(float.fromhex(rest[0]) if isinstance(rest[0], str) else rest[0], dtype, lanes)
        if name == "column":
            assert chunk is not None
            return self.columns(dtype) + self.f.splat(self.f.cast(chunk.column, dtype), lanes)
        values = [self.value(u, chunk) for u in rest]
        return self.f.cast(values[0], dtype) if name == "cast" else OPERATIONS[name](*values)

    def columns(self, dtype: str) -> Value:
        """The column of each lane, from that of the first."""
        return self.f.iota(dtype, self.wide)

    def load(self, k: int, chunk: Chunk | None) -> Value:
        return self.f.load(self.words["pointer", k], self.place(k, chunk), self.loop.operands[k].dtype, self.wide if chunk else 1, chunk.mask if chunk else None)

    def place(self, k: int, chunk: Chunk | None) -> Value:
        """The index of the first element of operand k here, or a vector of indices where they do not follow one another."""
        f, operand, place = self.f, self.loop.operands[k], self.offsets[k]
        if chunk and operand.steps[-1] == "1":
            place = place + chunk.column
        elif chunk and operand.steps[-1] == "s":
            columns = f.iota("int64", self.wide) + f.splat(chunk.column, self.wide)
            place = f.splat(place, self.wide) + columns * f.splat(self.words["stride", k, self.loop.axes - 1], self.wide)
        if operand.index is None:
            return place
        varies = chunk if self.loop.along_row(operand.index) else None
        i, size = f.cast(self.load(operand.index, varies), "int64"), f.splat(self.words["index size", k], self.wide if varies else 1)
        i = f.select(i.lt(0), i + size, i)
        outside = i.lt(0) | i.ge(size)
        flag = self.words["flag"]
        f.store(flag, 0, f.load(flag, 0, "bool") | across(outside, operator.or_))
        i = f.select(outside, 0, i) * f.splat(self.words["index stride", k], i.lanes)
        if operand.steps[-1] == "1" and varies and chunk:
            place = f.splat(place, self.wide) + f.iota("int64", self.wide)
        lanes = max(i.lanes, place.lanes)
        return f.splat(place, lanes) + f.splat(i, lanes)


def product(total: Value, x: Value) -> Value:
    """total·x₀·x₁ … from the left."""
    return total.function.call(f"llvm.vector.reduce.fmul.v{x.lanes}f{8 * SIZE[x.dtype]}", [total, x], x.dtype) if x.lanes > total.lanes else total * x


def across(x: Value, combine: Callable[[Value, Value], Value]) -> Value:
    """All lanes of x combined, halves with halves."""
    f = x.function
    while x.lanes > 1:
        half = x.lanes // 2
        if half == 1:
            parts = [f.emit(f"extractelement {x}, i64 {i}", x.dtype) for i in range(2)]
        else:
            places = [", ".join(f"i32 {start + i}" for i in range(half)) for start in (0, half)]
            parts = [f.emit(f"shufflevector {x}, {x.type} poison, <{half} x i32> <{p}>", x.dtype, half) for p in places]
        x = combine(*parts)
    return x
