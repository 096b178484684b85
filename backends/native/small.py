"""Products of small matrices, or of a tall one with a small one, where the BLAS spends a large part of the time on its call and on copies.

    C[i] ← A[i]·B[i],  i < batch        rows of B are vectors, elements of A are broadcast, and 8 rows of C, two vectors wide, stay in registers

A may lie as it likes. Where columns of B are rows in memory, or many rows of C meet it, as many columns as the first cache holds are copied to the
stack at a time, in strips two vectors wide. C is written along its rows, as far as these columns go.
"""

from __future__ import annotations

from dataclasses import dataclass

from backends.native.blocked import lanes
from backends.native.compile import lanes as machine_lanes
from backends.native.emit import Function, Value, Variable, transposed
from backends.native.epilogue import Epilogue, Then

WORDS = ("a", "b", "c", "m", "n", "k", "columns", "batch", "a_row", "a_column", "b_row", "b_column", "c_row", "a_batch", "b_batch", "c_batch")
ROWS = 8
DEPTH = 256  # of what is copied, at most


@dataclass(frozen=True)
class Small:
    """void(table), the table as in WORDS, strides in elements; columns, as `columns` says, are done at a time. turned: whether the columns of B are
    rows in memory. copied: whether B is copied, which turned columns are anyhow. then: what follows, of a single product, as in epilogue.py."""

    dtype: str
    turned: bool
    copied: bool = False
    then: Then | None = None

    def function(self, name: str) -> Function:
        return _Writer(self, name).f


class _Writer:
    def __init__(self, kernel: Small, name: str):
        self.kernel, self.dtype, self.lanes = kernel, kernel.dtype, lanes(kernel.dtype)
        self.f = f = Function(name, ["ptr"])
        self.then = Epilogue(*kernel.then, f, len(WORDS)) if kernel.then else None
        self.words = w = {key: f.word(i) for i, key in enumerate(WORDS)}
        a, b, c = (f.pointer(w[key]) for key in "abc")
        panel = f.slot(self.dtype, self.lanes, 2 * DEPTH) if kernel.turned or kernel.copied else None
        strip = 2 * self.lanes
        with f.loop(0, w["batch"]) as i, f.loop(0, w["n"], w["columns"]) as first:
            self.a, self.c = f.at(a, i * w["a_batch"], self.dtype), f.at(c, i * w["c_batch"], self.dtype)
            b_batch = f.at(b, i * w["b_batch"], self.dtype)
            stop = f.select((first + w["columns"]).lt(w["n"]), first + w["columns"], w["n"])
            if panel is not None:
                with f.loop(first, stop, strip) as j:
                    self.b = f.at(b_batch, j * w["b_column"], self.dtype)
                    (self.transpose if kernel.turned else self.copy)(f.at(panel, (j - first) * w["k"], self.dtype), stop - j)
            with f.loop(0, w["m"], ROWS) as r:
                lines = self.lines(self.a, r, w["m"], w["a_row"], ROWS), self.lines(self.c, r, w["m"], w["c_row"], ROWS)
                with f.loop(first, stop, strip) as j:
                    left = stop - j
                    of_b = (f.at(b_batch, j, self.dtype), w["b_row"]) if panel is None else (f.at(panel, (j - first) * w["k"], self.dtype), f.constant(strip, "int64"))
                    for vectors, here in ((2, left.gt(self.lanes)), (1, left.le(self.lanes))):
                        masks = [self.first(left - v * self.lanes) for v in range(vectors)]
                        with f.when(here):
                            self.block(lines, of_b, r, j, masks)
        f.done()

    def first(self, count: Value) -> Value:
        """A mask of so many lanes."""
        return self.f.iota("int32", self.lanes).lt(self.f.splat(self.f.cast(count, "int32"), self.lanes))

    def lines(self, pointer: Value, start: Value, stop: Value, step: Value, count: int) -> list[Value]:
        """Where lines start, start + 1 … lie, a step apart; past the last one it comes again."""
        found = [self.f.at(pointer, start * step, self.dtype)]
        for i in range(1, count):
            found.append(self.f.at(found[-1], self.f.select((start + i).lt(stop), step, 0), self.dtype))
        return found

    def block(self, lines: tuple[list[Value], list[Value]], strip: tuple[Value, Value], r: Value, j: Value, masks: list[Value]) -> None:
        """Rows r, r + 1 … of C, whose lines and those of A are given; past the last one it is computed again. strip: of B, and its rows' distance."""
        f, w, lanes = self.f, self.words, self.lanes
        (a, c), (b, step) = lines, strip
        sums = [[Variable(f, self.dtype, lanes) for _ in masks] for _ in a]
        for total in (total for row in sums for total in row):
            total.set(f.constant(0.0, self.dtype, lanes))
        with f.loop(0, w["k"]) as i:
            k = f.opaque(i)
            masked = not (self.kernel.turned or self.kernel.copied)
            values = [f.load(f.at(b, k * step, self.dtype), v * lanes, self.dtype, lanes, mask if masked else None) for v, mask in enumerate(masks)]
            for x, row in zip(a, sums, strict=True):
                x = f.splat(f.load(x, k * w["a_column"], self.dtype), lanes)
                for total, value in zip(row, values, strict=True):
                    total.set(f.fma(x, value, total.get()))
        if self.then:
            self.then.over(r, w["m"] - r, lambda i: [x.get() for x in sums[i]], ROWS, [(j + v * lanes, mask) for v, mask in enumerate(masks)])
            return
        for y, row in zip(c, sums, strict=True):
            for v, (total, mask) in enumerate(zip(row, masks, strict=True)):
                f.store(f.at(y, j, self.dtype), v * lanes, total.get(), mask)

    def copy(self, panel: Value, width: Value) -> None:
        """panel[k, j] ← b[k, j] for columns 0 … width of b."""
        f, w, lanes = self.f, self.words, self.lanes
        masks = [self.first(width - v * lanes) for v in range(2)]
        with f.loop(0, w["k"]) as k:
            for v, mask in enumerate(masks):
                f.store(panel, k * (2 * lanes) + v * lanes, f.load(f.at(self.b, k * w["b_row"], self.dtype), v * lanes, self.dtype, lanes, mask))

    def transpose(self, panel: Value, width: Value) -> None:
        """The same, where columns of b are rows in memory."""
        f, w, lanes = self.f, self.words, self.lanes
        with f.loop(0, f.select(width.lt(2 * lanes), width, 2 * lanes), lanes) as v, f.loop(0, w["k"], lanes) as k:
            k = f.opaque(k)
            inside, columns = self.first(w["k"] - k), self.lines(f.at(self.b, k, self.dtype), v, width, w["b_column"], lanes)
            for i, x in enumerate(transposed([f.load(column, 0, self.dtype, lanes, inside) for column in columns])):
                f.store(panel, (k + i) * (2 * lanes) + v, x)


def columns(dtype: str, k: int) -> int:
    """As many strips as have room; what is transposed comes in multiples of vectors."""
    wide = lanes(dtype)
    return 2 * wide * max(1, DEPTH // max(-(-k // wide) * wide, 1))


def kernel(dtype: str, m: int, k: int, turned: bool) -> Small:
    """Rows enough for it copy what they meet of B: it lies closely then, and no two rows of it at the same places of the first cache."""
    return Small(dtype, turned, not turned and m >= 64 and k <= DEPTH)


def suits(dtype: str, m: int, n: int, k: int, plain: bool, turned: bool) -> bool:
    """Whether this is the fastest way, as measured on Zen 5 and on Sapphire Rapids. plain: the rows of A are rows in memory.

    Where the BLAS copies its operands, and Blocked does, this is as long as what each 8 rows of C read comes from the caches next to them; else, where little
    is computed in vain, with columns of B to transpose also some more; or where what is done is so little that the call takes long.
    """
    if machine_lanes() < 16 or not m * n or k > (DEPTH if turned else 16 * DEPTH if plain else 4 * DEPTH):
        return False
    if m * n * k > 10**6:
        if m < 32 or n < 4 or n * k > 1 << 17:
            return False
        if not plain:  # each column of A is in a page of its own
            return m * k <= 1 << 18 and (n <= 32 or (n <= 64 and k <= DEPTH // 2))
        return n * k <= 1 << 15 if k <= DEPTH else n <= 64
    wide = lanes(dtype)
    tall, broad = m / (-(-m // ROWS) * ROWS), n / (-(-n // wide) * wide)  # the part that is not in vain
    if turned:
        return m >= 32 and tall * broad >= 0.85
    return tall * broad >= 0.95 or (m * n * k <= 20_000 and tall > 0.9 and broad > 0.6)
