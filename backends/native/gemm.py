"""Matrix products by the BLAS of NumPy, one thread each on its own part of the result.

    C[b] ← α·op(A[b])·op(B[b]) + β·C[b],  b < batch        in blocks of rows and of the inner dimension, where that is faster
"""

from __future__ import annotations

from dataclasses import dataclass

from backends.native.emit import Function, Variable

WORDS = (
    "gemm", "a", "b", "c", "m", "n", "k", "transpose_a", "transpose_b", "lda", "ldb", "ldc", "rows", "depth",
    "a_row", "a_column", "b_row", "batch", "a_batch", "b_batch", "c_batch", "accumulate",
)  # fmt: skip
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
ROWS = 128  # of a thread, which are many


@dataclass(frozen=True)
class Gemm:
    """void(table), the table as in WORDS: gemm is the address in the BLAS; rows and depth are the sizes of blocks; a_row, a_column, b_row and
    the batch strides are in elements; accumulate: 1 adds to what C holds."""

    dtype: str
    bits: int

    def function(self, name: str) -> Function:
        f = Function(name, ["ptr"])
        w = {key: f.word(i) for i, key in enumerate(WORDS)}
        a, b, c = (f.pointer(w[key]) for key in "abc")
        size, zero, one = f"int{self.bits}", f.constant(0.0, self.dtype), f.constant(1.0, self.dtype)
        with f.loop(0, w["batch"]) as batch, f.loop(0, w["m"], w["rows"]) as row:
            depth = Variable(f, "int64")
            depth.set(f.constant(0, "int64"))
            with f.forever() as leave:  # once, too, where k = 0: the product is 0
                k0 = depth.get()
                m, k = (f.select(block.lt(rest), block, rest) for block, rest in ((w["rows"], w["m"] - row), (w["depth"], w["k"] - k0)))
                beta = f.select(k0.eq(0) & w["accumulate"].eq(0), zero, one)
                f.call(
                    f.pointer(w["gemm"]).text,
                    [
                        f.constant(ROW_MAJOR, "int32"), f.cast(w["transpose_a"], "int32"), f.cast(w["transpose_b"], "int32"),
                        f.cast(m, size), f.cast(w["n"], size), f.cast(k, size), one,
                        f.at(a, batch * w["a_batch"] + row * w["a_row"] + k0 * w["a_column"], self.dtype), f.cast(w["lda"], size),
                        f.at(b, batch * w["b_batch"] + k0 * w["b_row"], self.dtype), f.cast(w["ldb"], size), beta,
                        f.at(c, batch * w["c_batch"] + row * w["ldc"], self.dtype), f.cast(w["ldc"], size),
                    ],
                    None,
                )  # fmt: skip
                depth.set(k0 + w["depth"])
                leave(depth.get().ge(w["k"]))
        f.done()
        return f


def shares(count: int, parts: int, unit: int = 1) -> list[tuple[int, int]]:
    """0 … count cut into parts of about equal length, in multiples of unit; some may be empty."""
    units = -(-count // unit)
    return [(min(count, units * i // parts * unit), min(count, units * (i + 1) // parts * unit)) for i in range(parts)]


@dataclass(frozen=True)
class Part:
    """What one thread does of a product: these rows, columns, and this stretch of the inner dimension."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    depth: tuple[int, int]


def parts(m: int, n: int, k: int, threads: int) -> list[Part]:
    """A product cut for so many threads: by rows, as what comes before and after it is, so that no thread waits for another; by columns where those
    are many and rows few, for all threads pack the other operand; by the inner dimension where that alone is long, and the results are to be
    added. One thread's work, if it is little."""
    whole = ((0, m), (0, n), (0, k))
    if threads == 1 or m * n * k < 1 << 17:
        return [Part(*whole)]
    if max(m, n) < 16 * threads and k >= 1024:
        return [Part(whole[0], whole[1], share) for share in shares(k, threads, 64)]
    if m >= n or m >= ROWS * threads:
        return [Part(share, whole[1], whole[2]) for share in shares(m, threads, 16)]
    return [Part(whole[0], share, whole[2]) for share in shares(n, threads, 16)]


def blocks(m: int, n: int, k: int) -> tuple[int, int]:
    """(rows, depth) of the blocks in which a part is best computed."""
    rows = 512 if m > 2048 and n * k <= 1 << 14 else m  # tall: the rows' blocks stay in the cache
    depth = 512 if k > 2048 and m * n <= 1 << 12 else k  # a small sum of many outer products
    return max(rows, 1), max(depth, 1)
