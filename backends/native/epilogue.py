"""What follows a matrix product, done with its numbers while they are in registers: a bias, an activation, the gradient of one.

    C ← A·B;  y[i, j] ← max(C[i, j] + b[j], 0)

A Loop of two axes, to which C is an operand like others, is written into the product's kernel, for each of its tiles; its arguments stand behind
the product's in the table. Of C itself only sums are stored that a block of A does not complete.
"""

from __future__ import annotations

from collections.abc import Callable

from backends.native.emit import Function, Value
from backends.native.loops import Chunk, Loop, Writer

Then = tuple[Loop, int]  # the Loop, and the operand that is C


class Epilogue(Writer):
    """Writes such a Loop; `over` as often as there are tiles of different form. product: the operand that is C."""

    def __init__(self, loop: Loop, product: int, f: Function, first: int):
        super().__init__(loop, f, first)
        self.product = product

    def over(self, start: Value, count: Value, line: Callable[[int], list[Value]], most: int, vectors: list[tuple[Value, Value]]) -> None:
        """The first `count` rows, of at most `most`, of a tile of C that begins with the row `start`: line(r) writes its vectors, for each of which
        is given (its column, its lanes that count)."""
        self.start, self.count, self.line, self.most, self.vectors = start, count, line, most, vectors
        self.write(self.short())

    def rows(self, axis: int, counters: list[Value]) -> None:
        if axis:
            super().rows(axis, counters)
            return
        for r in range(self.most):
            with self.f.when(self.count.gt(r)):
                self.known = self.line(r)
                super().rows(1, [self.start + r])

    def short(self) -> list[Chunk]:
        return [Chunk(column, mask, number) for number, (column, mask) in enumerate(self.vectors)]

    def load(self, k: int, chunk: Chunk | None) -> Value:
        if k == self.product:
            assert chunk is not None and chunk.number is not None
            return self.known[chunk.number]
        return super().load(k, chunk)
