"""Matrix products of our own, in blocks that fit the caches, for vectors of 512 bits: there they are faster than OpenBLAS.

    C[b] ← A[b]·B[b], or C[b] + A[b]·B[b],  b < batch

A block of A, which the second cache holds, is packed as panels of 8 rows. Then, 48 columns of B at a time (24 in double precision), what of them meets
the block is packed as vectors, which the first cache holds, and multiplied by each panel: 8 rows of 3 vectors of C stay in registers, and a step loads 3 vectors
of B, and 8 numbers of A for all their lanes. Operands are packed as they lie, transposed or not. Meanwhile the lines of C that the sums go to, and those
of B that come next, are fetched, an eighth of them before each eighth of the steps: all at once they would hold up the loads (on Zen 5 by 8 %), and
with each step their addresses take what could multiply (on Sapphire Rapids 15 %).

Goto & van de Geijn, Anatomy of high-performance matrix multiplication, 2008; Van Zee & van de Geijn, BLIS, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

from backends.native.compile import lanes as machine_lanes
from backends.native.emit import SIZE, Function, Value, Variable
from backends.native.epilogue import Epilogue, Then

WORDS = (
    "a", "b", "c", "m", "n", "k", "a_row", "a_column", "b_row", "b_column", "c_row", "batch", "a_batch", "b_batch", "c_batch", "accumulate",
    "rows", "depth", "packed_a", "packed_b",
)  # fmt: skip
TALL, WIDE = 8, 3  # rows and vectors of C in registers
DEPTH = 208  # of a block, at most: so much of B, WIDE vectors across, takes 39 KiB of 48 in the first cache; 160 to 384 are equally fast


def lanes(dtype: str) -> int:
    return 4 * machine_lanes() // SIZE[dtype]


def suits(dtype: str, m: int, n: int, k: int, turned: bool) -> bool:
    """Whether this product is faster here than by OpenBLAS, as measured on Zen 5 and Sapphire Rapids: 1.02 to 1.15 times in single precision, on
    the former 1.2 to 1.5 in double.

    OpenBLAS copies nothing where m·n·k is up to a million, unless B lies transposed (`turned`), and for few columns has narrower kernels.
    """
    if machine_lanes() < 16 or m < TALL or n < 2 * lanes(dtype) or k < 8:
        return False
    return m * n * k >= 1 << 20 or (turned and m * n >= 1 << 11)


def blocks(m: int, k: int, dtype: str) -> tuple[int, int]:
    """(rows, depth) of the blocks of A: nearly equal, at most 416 KiB."""
    return _even(m, 32 * lanes(dtype), TALL), _even(k, DEPTH, lanes(dtype))


def _even(n: int, most: int, unit: int) -> int:
    count = max(1, -(-n // most))
    return -(-max(n, 1) // (count * unit)) * unit


def room(m: int, n: int, k: int, dtype: str) -> tuple[int, int]:
    """Elements of the memory for what is packed of A, and of B: of one row of blocks all of it, if there are more."""
    (rows, depth), wide = blocks(m, k, dtype), lanes(dtype)
    panels = rows // TALL + WIDE * wide // TALL
    vectors = (-(-n // wide) if m > rows else 0) + WIDE
    return panels * (depth * TALL + wide), vectors * (depth * wide + wide)


@dataclass(frozen=True)
class Blocked:
    """void(table), the table as in WORDS. row, column and batch: distances in elements; a_row or a_column is 1, b_row or b_column is 1, and columns of C
    follow one another. accumulate: 1 adds to what C holds. rows and depth as `blocks` says; packed_a and packed_b: memory as `room` says.
    then: what follows, of a single product, as in epilogue.py."""

    dtype: str
    then: Then | None = None

    def function(self, name: str) -> Function:
        return _Writer(self, name).f


class _Writer:
    """Writes the function of Blocked."""

    def __init__(self, kernel: Blocked, name: str):
        self.dtype, self.lanes = kernel.dtype, lanes(kernel.dtype)
        self.f = f = Function(name, ["ptr"])
        self.then = Epilogue(*kernel.then, f, len(WORDS)) if kernel.then else None
        self.w = w = {key: f.word(i) for i, key in enumerate(WORDS)}
        self.packed_a, self.packed_b = f.pointer(w["packed_a"]), f.pointer(w["packed_b"])
        depth = Variable(f, "int64")
        with f.loop(0, w["batch"]) as batch:
            self.a, self.b, self.c = (self.at(f.pointer(w[x]), batch * w[f"{x}_batch"]) for x in "abc")
            depth.set(self.number(0))
            with f.forever() as leave:  # once, too, where k = 0: the product is 0
                self.p = depth.get()
                self.k = self.least(w["k"] - self.p, w["depth"])
                with f.loop(0, w["m"], w["rows"]) as i:
                    self.block(i)
                depth.set(self.p + w["depth"])
                leave(depth.get().ge(w["k"]))
        f.done()

    def number(self, x: int) -> Value:
        return self.f.constant(x, "int64")

    def at(self, pointer: Value, index: Value | int) -> Value:
        return self.f.at(pointer, index, self.dtype)

    def least(self, x: Value, y: Value | int) -> Value:
        return self.f.select(x.lt(y), x, y)

    def below(self, n: Value) -> Value:
        """The lanes whose number is less than n."""
        return self.f.iota("int32", self.lanes).lt(self.f.splat(self.f.cast(n, "int32"), self.lanes))

    def block(self, i: Value) -> None:
        """What the block of A from row i, column p on adds to all columns of C."""
        f, w, p, k, wide = self.f, self.w, self.p, self.k, self.lanes
        first, kept = i.eq(0), w["m"].gt(w["rows"])
        m = self.least(w["m"] - i, w["rows"])
        tiles = divided(m + (TALL - 1), TALL)
        deep = divided(k + (wide - 1), wide) * wide
        a_step, b_step = deep * TALL + wide, deep * wide + wide  # a line more than a panel holds, lest all begin at one place of the cache
        straight = w["b_column"].eq(1)
        column = Variable(f, "int64")
        column.set(self.number(0))
        with f.forever() as leave:
            j = column.get()
            left = w["n"] - j
            leave(left.le(0))
            # 2 vectors, where 3 would be too many, or leave a single one
            few = left.le((WIDE - 1) * wide) | left.gt(WIDE * wide) & left.le(2 * (WIDE - 1) * wide)
            vectors = f.select(few, self.number(WIDE - 1), WIDE)
            n = self.least(left, vectors * wide)
            source = self.at(self.b, p * w["b_row"] + j * w["b_column"])
            panel = self.at(self.packed_b, f.select(kept, divided(j, wide) * b_step, 0))
            with f.loop(f.select(j.eq(0), self.number(0), 1), f.select(first, self.number(2), 1)) as operand:
                of_a = self.at(self.a, i * w["a_row"] + p * w["a_column"]), w["a_row"], w["a_column"], m, self.number(TALL), self.packed_a, a_step
                of_b = source, w["b_column"], w["b_row"], n, self.number(wide), panel, b_step
                self.pack(*(f.select(operand.eq(0), x, y) for x, y in zip(of_a, of_b, strict=True)))
            # what comes next, as about k runs of WIDE vectors: `together` (a power of two) one behind the other, these `apart`
            next_ = f.select(first, self.at(source, vectors * wide * w["b_column"]), self.at(panel, vectors * b_step))
            apart = f.select(first, f.select(straight, w["b_row"], w["b_column"]), WIDE * wide)
            together = f.select(straight | ~first, self.number(1), DEPTH // (WIDE * wide))
            runs = self.quotient(k + (tiles - 1), tiles)
            for number in (WIDE - 1, WIDE):
                with f.when(vectors.eq(number)):
                    masks = [self.below(n - v * wide) for v in range(number)]
                    panels = [self.at(panel, b_step * v) for v in range(number)]
                    with f.loop(0, tiles) as t:
                        a, place = self.at(self.packed_a, t * a_step), (i + t * TALL, j)
                        self.tile(a, panels, place, m - t * TALL, masks, (next_, apart, together), t * runs, runs)
            column.set(j + vectors * wide)

    def quotient(self, x: Value, y: Value) -> Value:
        return self.f.emit(f"udiv {x}, {y.text}", x.dtype)

    def pack(self, x: Value, row: Value, column: Value, rows: Value, width: Value, target: Value, step: Value) -> None:
        """Panels of `width` rows of x, column after column, `step` apart; beyond the rows there may be anything."""
        f, wide, k, parts = self.f, self.lanes, self.k, self.lanes // TALL

        def place(r: Value) -> Value:
            return self.at(target, self.quotient(r, width) * step + (r & width - 1))

        with f.when(row.eq(1)), f.loop(0, rows, WIDE * wide) as i:
            masks = [self.below(rows - i - v * wide) for v in range(WIDE)]
            places = [place(i + r) for r in range(0, WIDE * wide, TALL)]
            with f.loop(0, k) as p:
                vectors = [f.load(x, p * column + i + v * wide, self.dtype, wide, mask) for v, mask in enumerate(masks)]
                for v in range(WIDE):
                    f.prefetch(self.at(x, p * column + i + (WIDE + v) * wide), 2)
                for q, to in enumerate(places):
                    f.store(to, p * width, part(vectors[q // parts], q % parts * TALL, TALL))
        with f.when(row.ne(1)), f.loop(0, rows, TALL) as i:
            starts = [self.at(x, self.least(i + r, rows - 1) * row) for r in range(TALL)]
            to = place(i)
            with f.loop(0, k, wide) as p:
                mask = self.below(k - p)
                vectors = [f.load(start, p, self.dtype, wide, mask) for start in starts]
                for start in starts:
                    f.prefetch(self.at(start, row * TALL + p), 3)
                for t, y in enumerate(interleaved(vectors)):
                    for q in range(parts):
                        f.store(to, (p + (t * parts + q)) * width, part(y, q * TALL, TALL))

    def tile(self, a: Value, panels: list[Value], place: tuple[Value, Value], rows: Value, masks: list[Value], coming: tuple[Value, Value, Value], run: Value, runs: Value) -> None:
        """C + A·B of a panel of A and vectors of B; and fetch so many runs of what comes next, from the number `run` on."""
        f, wide, k, c_row = self.f, self.lanes, self.k, self.w["c_row"]
        (i, j), c = place, self.at(self.c, place[0] * c_row + place[1])
        sums = [[Variable(f, self.dtype, wide) for _ in panels] for _ in range(TALL)]
        for x in [x for row in sums for x in row]:
            x.set(f.constant(0.0, self.dtype, wide))
        next_, apart, together = coming
        shift = f.call("llvm.cttz.i64", [together, f.constant(False, "bool")], "int64")
        with f.loop(0, TALL) as r:
            fetched, done = ([divided(q * n, TALL) for q in (r, r + 1)] for n in (runs, k))
            for v in range(len(panels)):
                f.prefetch(self.at(c, r * c_row + v * wide), 3)
            with f.loop(run + fetched[0], run + fetched[1]) as ahead:
                line = self.at(next_, (ahead >> shift) * apart + (ahead & together - 1) * (WIDE * wide))
                for v in range(len(panels)):
                    f.prefetch(self.at(line, v * wide), 2)
            with f.loop(*done) as p:
                vectors = [f.load(panel, p * wide, self.dtype, wide) for panel in panels]
                for t, row in enumerate(sums):
                    y = f.splat(f.load(a, p * TALL + t, self.dtype), wide)
                    for x, vector in zip(row, vectors, strict=True):
                        x.set(f.fma(y, vector, x.get()))
        held = f.splat(self.p.gt(0) | self.w["accumulate"].ne(0), wide)

        def total(t: int) -> list[Value]:
            line = self.at(c, c_row * t)
            return [f.load(line, v * wide, self.dtype, wide, mask & held) + x.get() for v, (x, mask) in enumerate(zip(sums[t], masks, strict=True))]

        last = (self.p + k).ge(self.w["k"]) if self.then else f.constant(False, "bool")
        with f.when(~last):
            for t in range(TALL):
                with f.when(rows.gt(t)):
                    for v, (found, mask) in enumerate(zip(total(t), masks, strict=True)):
                        f.store(self.at(c, c_row * t), v * wide, found, mask)
        if self.then:
            with f.when(last):
                self.then.over(i, rows, total, TALL, [(j + v * wide, mask) for v, mask in enumerate(masks)])


def divided(x: Value, n: int) -> Value:
    """By a power of two."""
    return x >> n.bit_length() - 1


def part(x: Value, start: int, count: int) -> Value:
    """These lanes of x."""
    if count == x.lanes:
        return x
    return x.function.emit(f"shufflevector {x}, {x.type} poison, <{count} x i32> <{', '.join(f'i32 {start + i}' for i in range(count))}>", x.dtype, count)


def interleaved(rows: list[Value]) -> list[Value]:
    """The numbers of these vectors column by column: they are interleaved in pairs, first those half their number apart, until all are side by side."""
    f, wide, half = rows[0].function, rows[0].lanes, len(rows) // 2
    rows = rows.copy()
    while half:
        for r in [r for r in range(len(rows)) if not r & half]:
            x, y = rows[r], rows[r + half]
            for h in (0, 1):
                places = ", ".join(f"i32 {h * wide // 2 + i // 2 + i % 2 * wide}" for i in range(wide))
                rows[r + h * half] = f.emit(f"shufflevector {x}, {y}, <{wide} x i32> <{places}>", x.dtype, wide)
        half //= 2
    return rows
