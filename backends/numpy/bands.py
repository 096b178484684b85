"""bands: a convolution with few channels and filters as a product with a banded matrix.

    y[p, f] = Σ_qc x[p·s + q, c]·w[q, c, f]    has one short row of a matrix for each place p, and few columns. With b places a row,
    y[o, r, f] = Σ_mc x[o·b·s + m, c]·t[m, c, r, f],    p = o·b + r,    t[m, c, r, f] = w[m − r·s, c, f], 0 outside of w

along each axis of the windows: m runs over l = (b − 1)·s + k pixels. The copy of the windows has fewer and longer runs, the
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

Sizes = tuple[int, ...]
RUN = 200  # multiplications that take as long as one run of the copy
NARROW = 16  # columns more that a product seems to have
ROWS = 128  # of the matrix of windows, at least


@dataclass(frozen=True)
class Blocks:
    """Windows (n, …counts…, …sizes…, c) with these strides, b places along each axis in one row, f filters.

    The places of a row stand in the order of cells (cells.py): first the place within a cell, then the cell, r = g·cell + d.
    """

    windows: Sizes
    strides: Sizes
    f: int
    b: Sizes
    cell: Sizes

    @property
    def rank(self) -> int:
        return len(self.strides)

    @property
    def kernel(self) -> Sizes:
        return self.windows[1 + self.rank : -1]

    @property
    def long(self) -> Sizes:
        return tuple((b - 1) * s + k for b, s, k in zip(self.b, self.strides, self.kernel, strict=True))

    @property
    def counts(self) -> Sizes:
        """How many blocks there are along each axis."""
        return tuple(n // b for n, b in zip(self.windows[1:], self.b, strict=False))

    @property
    def groups(self) -> Sizes:
        """How many cells there are along each axis of a block."""
        return tuple(b // d for b, d in zip(self.b, self.cell, strict=True))

    @property
    def blocked(self) -> Sizes:
        """The shape of the windows that the places of a block have in common, and their strides."""
        return (self.windows[0], *self.counts, *self.long, self.windows[-1])

    @property
    def steps(self) -> Sizes:
        return tuple(b * s for b, s in zip(self.b, self.strides, strict=True))

    @property
    def matrix(self) -> tuple[int, int]:
        """The shape of the matrix of windows."""
        return self.windows[0] * math.prod(self.counts), math.prod(self.long) * self.windows[-1]

    @property
    def columns(self) -> int:
        return math.prod(self.b) * self.f

    @property
    def cost(self) -> float:
        """Of the copy and the product, for each place."""
        runs = math.prod(self.long[:-1])
        return runs * (RUN + self.long[-1] * self.windows[-1] * (self.columns + NARROW)) / math.prod(self.b)

    def choices(self) -> list[Blocks]:
        """With each number of cells along the last axis that divides it, while there are enough rows."""
        n, d = self.windows[self.rank], self.cell[-1]
        found = [replace(self, b=(*self.b[:-1], b)) for b in range(d, n + 1, d) if n % b == 0]
        return [s for s in found if s.b[-1] == d or s.matrix[0] >= ROWS]


def plain(windows: Sizes, strides: Sizes, f: int) -> Blocks:
    """Every place a row of its own."""
    ones = (1,) * len(strides)
    return Blocks(windows, tuple(strides), f, ones, ones)


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

    def rewritten(self, i: Instruction) -> Ref | None:
        """The result of an instruction in blocks of places; None where it stays as it is."""
        view = self.windows_of(self.source(i.args[0], "permute_dims") or i.args[0]) if i.name == "matmul" else None
        if view is not None:
            s = self.blocks(self.values[view.outs[0]].shape, view.static, i.args[1])
            if s is None or not self.only_multiplied(self.source(i.args[0], "permute_dims") or i.args[0]):
                return None
            if self.source(i.args[0], "permute_dims") is not None:
                return self.kernel_gradient(i, view, self.now(i.args[1]), s)
            return self.reshaped(i, self.product(i, view, s), self.values[i.outs[0]].shape)
        product = self.spread_product(i)
        s = self.blocks(self.values[i.args[0]].shape, i.static, self.source(product.args[1], "permute_dims")) if product is not None else None
        return None if product is None or s is None else self.image_gradient(i, product, self.now(product.args[0]), s)

    # ------------------------------------------------------------------------------------------------- what is found

    def source(self, x: Any, name: str) -> Any:
        """What x is a view of, if by an instruction of this name."""
        i = self.old.get(x)
        return i.args[0] if i is not None and i.name == name else None

    def windows_of(self, x: Any) -> Instruction | None:
        """The windows that are the rows of the matrix x."""
        view = self.old.get(self.source(x, "reshape"))
        if view is None or view.name != "windows":
            return None
        windows = self.values[view.outs[0]].shape
        return view if self.values[x].shape == plain(windows, view.static["strides"], 1).matrix else None

    def spread_product(self, i: Instruction) -> Instruction | None:
        """The product dy·wᵀ of fold(reshape(dy·wᵀ)), where nothing else reads it."""
        product = self.old.get(self.source(i.args[0], "reshape")) if i.name == "fold" else None
        if product is None or product.name != "matmul" or self.source(product.args[1], "permute_dims") is None:
            return None
        alone = len(self.readers[i.args[0]]) == len(self.readers[product.outs[0]]) == 1
        s = plain(self.values[i.args[0]].shape, i.static["strides"], 1)
        return product if alone and self.values[product.outs[0]].shape == s.matrix else None

    def only_multiplied(self, x: Ref) -> bool:
        """Whether x is read as the left factor of products of matrices alone, as it is or transposed."""

        def left(i: Instruction | None, x: Ref) -> bool:
            return i is not None and i.name == "matmul" and i.args[0] == x and i.args[1] != x and len(self.values[i.args[1]].shape) == 2

        def transposed(i: Instruction | None) -> bool:
            return i is not None and i.name == "permute_dims" and all(left(j, i.outs[0]) for j in self.readers[i.outs[0]])

        return all(left(i, x) or transposed(i) for i in self.readers[x])

    def blocks(self, windows: Sizes, static: dict[str, Any], right: Ref) -> Blocks | None:
        """The cheapest blocks along the last axis for these windows and a product with this matrix of as many columns as there are filters."""
        spec = self.values[right]
        if spec.dtype not in ("float32", "float64") or len(spec.shape) != 2 or static["dilations"][-1] != 1 or 0 in (*windows, *spec.shape):
            return None
        s = min(plain(windows, static["strides"], spec.shape[1]).choices(), key=lambda s: s.cost)
        return s if s.b[-1] > 1 else None

    # ------------------------------------------------------------------------------------------------- what is written

    def product(self, i: Instruction, view: Instruction, s: Blocks) -> Ref:
        return self.multiplied(i, self.rows(i, view, s), self.banded(i, i.args[1], s))

    def kernel_gradient(self, i: Instruction, view: Instruction, dy: Ref, s: Blocks) -> Ref:
        dt = self.multiplied(i, self.turned(i, self.rows(i, view, s)), self.reshaped(i, dy, (s.matrix[0], s.columns)))
        return self.add(i, "diagonals", (dt,), {"blocks": s}, self.values[i.outs[0]])

    def image_gradient(self, i: Instruction, product: Instruction, dy: Ref, s: Blocks) -> Ref:
        t = self.banded(i, self.source(product.args[1], "permute_dims"), s)
        spread = self.multiplied(i, self.reshaped(i, dy, (s.matrix[0], s.columns)), self.turned(i, t))
        return self.add(i, "fold", (self.reshaped(i, spread, s.blocked),), {**i.static, "strides": s.steps}, self.values[i.outs[0]])

    def once(self, key: Any, make: Callable[[], Ref]) -> Ref:
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def rows(self, i: Instruction, view: Instruction, s: Blocks) -> Ref:
        """The matrix with the windows of a block as its rows."""

        def make() -> Ref:
            x = self.now(view.args[0])
            return self.add(view, "windows", (x,), {**view.static, "strides": s.steps, "size": s.long}, Spec(s.blocked, self.values[x].dtype))

        return self.reshaped(i, self.once(("rows", view.outs[0], s), make), s.matrix)

    def banded(self, i: Instruction, w: Ref, s: Blocks) -> Ref:
        spec = Spec((s.matrix[1], s.columns), self.values[w].dtype)
        return self.once(("banded", w, s), lambda: self.add(i, "banded", (self.now(w),), {"blocks": s}, spec))

    def reshaped(self, i: Instruction, x: Ref, shape: Sizes) -> Ref:
        spec = Spec(shape, self.values[x].dtype)
        return x if self.values[x] == spec else self.once(("reshape", x, shape), lambda: self.add(i, "reshape", (x,), {"shape": shape}, spec))

    def turned(self, i: Instruction, x: Ref) -> Ref:
        n, k = self.values[x].shape
        return self.once(("turned", x), lambda: self.add(i, "permute_dims", (x,), {"axes": (1, 0)}, Spec((k, n), self.values[x].dtype)))

    def multiplied(self, i: Instruction, a: Ref, b: Ref) -> Ref:
        return self.add(i, "matmul", (a, b), {}, Spec((self.values[a].shape[0], self.values[b].shape[1]), self.values[a].dtype))
