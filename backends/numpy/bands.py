"""bands: a convolution with few channels and filters as a product with a banded matrix.

    y[p, f] = Σ_qc x[p·s + q, c]·w[q, c, f]    has one short row of a matrix for each place p, and few columns. With b places a row,
    y[o, r, f] = Σ_mc x[o·b·s + m, c]·t[m, c, r, f],    p = o·b + r,    t[m, c, r, f] = w[m − r·s, c, f], 0 outside of w

along the last axis of the windows: m runs over l = (b − 1)·s + k pixels. The copy of the windows has fewer and longer runs, the
product b times as many columns; it multiplies l/k times as often, by zeros: what is infinite spoils the places of its block.

    dw[q, c, f] = Σ_r dt[r·s + q, c, r, f]      dx = fold(dy·tᵀ), with windows of l pixels
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from backends.program.abstract import Spec
from backends.program.passes import Writer
from backends.program.program import Instruction, Program, Ref

RUN = 200  # multiplications that take as long as one run of the copy
NARROW = 16  # columns more that a product seems to have
ROWS = 128  # of the matrix of windows, at least


@dataclass(frozen=True)
class Blocks:
    """Windows (n, …counts…, …sizes…, c) with the strides of their axes, b places of the last axis in one row, f filters."""

    windows: tuple[int, ...]
    strides: tuple[int, ...]
    f: int
    b: int = 1

    @property
    def rank(self) -> int:
        return len(self.strides)

    @property
    def long(self) -> int:
        return (self.b - 1) * self.strides[-1] + self.windows[-2]

    @property
    def blocked(self) -> tuple[int, ...]:
        """The shape of the windows that b places have in common."""
        return (*self.windows[: self.rank], self.windows[self.rank] // self.b, *self.windows[1 + self.rank : -2], self.long, self.windows[-1])

    @property
    def matrix(self) -> tuple[int, int]:
        cut = 1 + self.rank
        return math.prod(self.blocked[:cut]), math.prod(self.blocked[cut:])

    @property
    def steps(self) -> tuple[int, ...]:
        """The strides of these windows."""
        return (*self.strides[:-1], self.b * self.strides[-1])

    def cheapest(self) -> Blocks:
        """With as many places as cost least for each."""
        choices = [replace(self, b=b) for b in range(1, self.windows[self.rank] + 1) if self.windows[self.rank] % b == 0]
        c = self.windows[-1]
        return min((s for s in choices if s.b == 1 or s.matrix[0] >= ROWS), key=lambda s: (RUN + s.long * c * (s.b * s.f + NARROW)) / s.b)


def bands(program: Program) -> Program:
    """The program with such convolutions, and their gradients, in blocks of places."""
    w = Bands(program)
    for i in program.body:
        rule = {"matmul": w.product, "fold": w.folded}.get(i.name)
        y = rule(i) if rule else None
        if y is None:
            w.keep(replace(i, args=tuple(map(w.now, i.args))))
        else:
            w.renamed[i.outs[0]] = y
    return w.done()


class Bands(Writer):
    """The new body. What several instructions read is made once."""

    def __init__(self, program: Program):
        super().__init__(program)
        self.memo: dict[Any, Ref] = {}
        self.old = {out: i for i in program.body for out in i.outs}
        self.readers: dict[Ref, list[Instruction | None]] = {y: [None] for y in program.outputs if type(y) is Ref}
        for i in program.body:
            for r in i.reads:
                self.readers.setdefault(r, []).append(i)

    def product(self, i: Instruction) -> Ref | None:
        """X·w, or Xᵀ·dy, where the rows of X are windows."""
        transposed = self.source(i.args[0], "permute_dims")
        x = i.args[0] if transposed is None else transposed
        view = self.old.get(self.source(x, "reshape"))
        if view is None or view.name != "windows" or not self.only_multiplied(x):
            return None
        s = self.blocks(self.values[view.outs[0]].shape, view.static, i.args[1])
        if s is None or self.values[x].shape != replace(s, b=1).matrix:
            return None
        rows = self.rows(i, view, s)
        if transposed is None:
            return self.reshaped(i, self.multiplied(i, rows, self.banded(i, i.args[1], s)), self.values[i.outs[0]].shape)
        dt = self.multiplied(i, self.turned(i, rows), self.in_blocks(i, i.args[1], s))
        return self.add(i, "diagonals", (dt,), {"blocks": s}, self.values[i.outs[0]])

    def folded(self, i: Instruction) -> Ref | None:
        """fold(dy·wᵀ)"""
        product = self.old.get(self.source(i.args[0], "reshape"))
        if product is None or product.name != "matmul":
            return None
        w = self.source(product.args[1], "permute_dims")
        if w is None or self.readers[i.args[0]] != [i] or len(self.readers[product.outs[0]]) > 1:
            return None
        s = self.blocks(self.values[i.args[0]].shape, i.static, w)
        if s is None or self.values[product.outs[0]].shape != replace(s, b=1).matrix:
            return None
        spread = self.multiplied(i, self.in_blocks(i, product.args[0], s), self.turned(i, self.banded(i, w, s)))
        return self.add(i, "fold", (self.reshaped(i, spread, s.blocked),), {**i.static, "strides": s.steps}, self.values[i.outs[0]])

    # ------------------------------------------------------------------------------------------------- what is found

    def source(self, x: Any, name: str) -> Any:
        """What x is a view of, if by an instruction of this name."""
        i = self.old.get(x)
        return i.args[0] if i is not None and i.name == name else None

    def only_multiplied(self, x: Ref) -> bool:
        """Whether x is read as the left factor of products of matrices alone, as it is or transposed."""

        def left(i: Instruction | None, x: Ref) -> bool:
            return i is not None and i.name == "matmul" and i.args[0] == x and i.args[1] != x and len(self.values[i.args[1]].shape) == 2

        return all(left(i, x) or (i is not None and i.name == "permute_dims" and all(left(j, i.outs[0]) for j in self.readers[i.outs[0]])) for i in self.readers[x])

    def blocks(self, windows: tuple[int, ...], static: dict[str, Any], right: Ref) -> Blocks | None:
        """The blocks for these windows and a product with this matrix of as many columns as there are filters."""
        spec = self.values[right]
        if spec.dtype not in ("float32", "float64") or len(spec.shape) != 2 or static["dilations"][-1] != 1 or 0 in (*windows, *spec.shape):
            return None
        s = Blocks(windows, tuple(static["strides"]), spec.shape[1]).cheapest()
        return s if s.b > 1 else None

    # ------------------------------------------------------------------------------------------------- what is written

    def once(self, key: Any, make: Callable[[], Ref]) -> Ref:
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def rows(self, i: Instruction, view: Instruction, s: Blocks) -> Ref:
        """The matrix with the windows of a block as its rows."""

        def make() -> Ref:
            x = self.now(view.args[0])
            static = {**view.static, "strides": s.steps, "size": s.blocked[1 + s.rank : -1]}
            return self.reshaped(view, self.add(view, "windows", (x,), static, Spec(s.blocked, self.values[x].dtype)), s.matrix)

        return self.once(("rows", view.outs[0], s), make)

    def banded(self, i: Instruction, w: Ref, s: Blocks) -> Ref:
        spec = Spec((s.matrix[1], s.b * s.f), self.values[w].dtype)
        return self.once(("banded", w, s), lambda: self.add(i, "banded", (self.now(w),), {"blocks": s}, spec))

    def in_blocks(self, i: Instruction, y: Ref, s: Blocks) -> Ref:
        return self.reshaped(i, self.now(y), (s.matrix[0], s.b * s.f))

    def reshaped(self, i: Instruction, x: Ref, shape: tuple[int, ...]) -> Ref:
        return self.once(("reshape", x, shape), lambda: self.add(i, "reshape", (x,), {"shape": shape}, Spec(shape, self.values[x].dtype)))

    def turned(self, i: Instruction, x: Ref) -> Ref:
        n, k = self.values[x].shape
        return self.once(("turned", x), lambda: self.add(i, "permute_dims", (x,), {"axes": (1, 0)}, Spec((k, n), self.values[x].dtype)))

    def multiplied(self, i: Instruction, a: Ref, b: Ref) -> Ref:
        return self.add(i, "matmul", (a, b), {}, Spec((self.values[a].shape[0], self.values[b].shape[1]), self.values[a].dtype))
