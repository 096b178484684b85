"""The words of Philox4x32-10 in vectors of 64 bits, two of whose halves are the halves of a product (backends/gaps/bits.py says what they are)."""

from __future__ import annotations

from dataclasses import dataclass

from backends.gaps.bits import MASK, MULTIPLIERS, WEYL
from backends.native.compile import lanes as machine_lanes
from backends.native.emit import Function, Value


@dataclass(frozen=True)
class Philox:
    """void(table): target, first block, words to write, step (the address of one where `dtype` is not ""), key, key, draw."""

    dtype: str

    @property
    def lanes(self) -> int:
        return machine_lanes() // 2

    def function(self, name: str) -> Function:
        f, lanes = Function(name, ["ptr"]), self.lanes
        target, first, count, step, k0, k1, draw = (f.word(i) for i in range(7))
        target = f.pointer(target)
        if self.dtype:
            step = f.cast(f.load(f.pointer(step), 0, self.dtype), "int64")
        k0, k1, step, draw = (f.splat(x & MASK, lanes) for x in (k0, k1, step, draw))
        wide = 4 * lanes
        whole = count & -wide
        with f.loop(0, whole, wide) as i:
            for k, pair in enumerate(self.pairs(f, f.splat(first + (i >> 2), lanes), k0, k1, step, draw)):
                f.store(target, (i >> 1) + k * lanes, pair)
        with f.when(whole.lt(count)):
            rest = f.slot("int64", lanes, 2)
            for k, pair in enumerate(self.pairs(f, f.splat(first + (whole >> 2), lanes), k0, k1, step, draw)):
                f.store(rest, k * lanes, pair)
            with f.loop(0, count - whole) as j:
                f.store(target, whole + j, f.load(rest, j, "uint32"))
        f.done()
        return f

    def pairs(self, f: Function, block: Value, k0: Value, k1: Value, step: Value, draw: Value) -> list[Value]:
        """The words of `lanes` blocks from this one on, in order, two in each lane of two vectors."""
        counter = block + f.iota("int64", self.lanes)
        c0, c1, c2, c3 = counter & MASK, (counter >> 32) & MASK, step, draw
        for _ in range(10):
            p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
            c0, c1, c2, c3 = ((p1 >> 32) & MASK) ^ c1 ^ k0, p1 & MASK, ((p0 >> 32) & MASK) ^ c3 ^ k1, p0 & MASK
            k0, k1 = k0 + WEYL[0] & MASK, k1 + WEYL[1] & MASK
        low, high = c0 | (c1 << 32), c2 | (c3 << 32)
        n = self.lanes
        order = [[place for j in range(n // 2) for place in (half + j, n + half + j)] for half in (0, n // 2)]
        return [f.emit(f"shufflevector {low}, {high}, <{n} x i32> <{', '.join(f'i32 {p}' for p in places)}>", "int64", n) for places in order]
