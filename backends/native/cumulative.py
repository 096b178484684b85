"""Sums and products of all elements up to each one, in their order."""

from __future__ import annotations

from dataclasses import dataclass

from backends.native.compile import lanes as machine_lanes
from backends.native.emit import SIZE, Function, Value, Variable
from backends.native.operations import REDUCTIONS

WORDS = ("x", "y", "outer", "n", "inner")  # x (outer, n, inner) → y like x, one longer with `initial`


@dataclass(frozen=True)
class Cumulative:
    """void(table), the table as in WORDS. how: "sum" or "prod"; initial: y begins with what changes nothing; wide: as many columns at a time as a register holds."""

    dtype: str
    how: str
    initial: bool
    wide: bool

    def function(self, name: str) -> Function:
        f, lanes = Function(name, ["ptr"]), 4 * machine_lanes() // SIZE[self.dtype] if self.wide else 1
        x, y, outer, n, inner = (f.word(i) for i in range(len(WORDS)))
        x, y = f.pointer(x), f.pointer(y)
        combine, identity = REDUCTIONS[self.how]
        total = Variable(f, self.dtype, lanes)

        def columns(source: Value, target: Value, j: Value, mask: Value | None) -> None:
            total.set(f.constant(identity(self.dtype), self.dtype, lanes))
            if self.initial:
                f.store(target, j, total.get(), mask)
            with f.loop(0, n) as t:
                place = t * inner + j
                total.set(combine(total.get(), f.load(source, place, self.dtype, lanes, mask)))
                f.store(target, place + inner if self.initial else place, total.get(), mask)

        with f.loop(0, outer) as o:
            source, target = f.at(x, o * n * inner, self.dtype), f.at(y, o * (n + int(self.initial)) * inner, self.dtype)
            whole = inner & -lanes
            with f.loop(0, whole, lanes) as j:
                columns(source, target, j, None)
            if self.wide:
                with f.when(whole.lt(inner)):
                    columns(source, target, whole, f.iota("int32", lanes).lt(f.splat(f.cast(inner - whole, "int32"), lanes)))
        f.done()
        return f
