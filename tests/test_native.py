"""The parts of the native lowering: elementary functions, loops, matrix products, workers, the cache of machine code."""

import ctypes
import gc
import itertools
import os
import pathlib
import platform
import stat
import subprocess
import sys
import threading
import warnings
import weakref
from functools import partial

import mpmath
import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra: native)")

from native_support import call, guarded, loop_words, run_loop

import ann
from backends import jit, tree
from backends.gaps import scan
from backends.native import blocked, gemm, small, workers
from backends.native import compile as compiler
from backends.native.beside import Beside
from backends.native.blas import Blas, blas, threads
from backends.native.loops import Loop, Operand
from backends.native.operations import OPERATIONS
from backends.native.rules import RULES
from backends.native.run import NativeRun
from backends.native.steps import CannotExpress

DTYPES = ("float32", "float64")
INTEGERS = ("int8", "uint8", "int32", "uint32", "int64")


def elementwise(name, result, *arrays):
    """One function of OPERATIONS on contiguous arrays of one shape."""
    dtypes = [str(a.dtype) for a in arrays]
    nodes = [("load", dtype, k) for k, dtype in enumerate(dtypes)]
    nodes.append((name, result, *range(len(arrays))))
    y = guarded(np.zeros(arrays[0].shape, result))
    loop = Loop((*(Operand(dtype, "1") for dtype in dtypes), Operand(result, "1")), tuple(nodes), ((len(arrays), len(arrays), None),))
    run_loop(loop, [*map(guarded, arrays), y], (arrays[0].size,))
    return y


# elementary functions

RANGES = {
    "exp": [(-104, 89), (-745, 709.7), (-1, 1)],
    "expm1": [(-50, 88), (-1, 1), (-1e-3, 1e-3)],
    "log": [(0, 3e38), (0.5, 2), (0.99, 1.01), (0, 1e-38)],
    "log2": [(0, 3e38), (0.5, 2), (0, 1e-38)],
    "log1p": [(-0.9999, 10), (-1e-3, 1e-3), (0, 1e30)],
    "tanh": [(-20, 20), (-1, 1), (-1e-3, 1e-3)],
    "erf": [(-5, 5), (-1e-3, 1e-3)],
    "erfc": [(-5, 9), (-1, 1)],
}
EXACT = {"log2": lambda x: mpmath.log(x, 2)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RANGES)
def test_elementary_functions_are_right_to_two_units_in_the_last_place(name, dtype):
    rng = np.random.default_rng(0)
    for low, high in RANGES[name]:
        x = rng.uniform(low, high, 301).astype(dtype)
        with mpmath.workdps(40):
            true = [EXACT.get(name, getattr(mpmath, name, None))(mpmath.mpf(float(v))) for v in x]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rounded = np.array([float(t) for t in true]).astype(dtype)
        y = elementwise(name, dtype, x)
        finite = np.isfinite(rounded)
        assert (y[~finite] == rounded[~finite]).all()
        unit = np.spacing(np.abs(rounded))
        errors = [abs(mpmath.mpf(float(a)) - t) / float(u) for a, t, u, ok in zip(y, true, unit, finite, strict=True) if ok]
        assert max(errors) <= 2


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log2", "log1p", "tanh", "erf", "erfc"])
def test_single_precision_is_right_over_many_values(name):
    from scipy import special

    rng = np.random.default_rng(1)
    bits = rng.integers(0, 1 << 32, 1 << 17, dtype=np.uint32)  # all exponents, both signs, NaN
    x = bits.view(np.float32)
    with np.errstate(all="ignore"):
        true = getattr(np, name, None) or getattr(special, name)
        true = true(x.astype(np.float64))
        rounded = true.astype(np.float32)
        y = elementwise(name, "float32", x)
        assert (np.isnan(y) == np.isnan(rounded)).all()
        assert (y[np.isinf(rounded)] == rounded[np.isinf(rounded)]).all()
        finite = np.isfinite(rounded)
        assert (np.abs(y - true)[finite] / np.spacing(np.abs(rounded))[finite]).max() <= 2
        assert (np.signbit(y) == np.signbit(rounded))[finite].all()


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, -7.0, np.inf, -np.inf, np.nan, 1e-40, -1e-45, 3e38, 100.0, -100.0, 300.7, 3e9, -3e9, 1e19, -1e19]


def numbers(dtype, seed):
    """Pairs of everything with everything, and random ones."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        special, drawn = [False, True], rng.integers(0, 2, (2, 100))
    elif dtype.startswith("float"):
        special, drawn = SPECIAL, rng.normal(0, 10, (2, 100))
    else:
        info = np.iinfo(dtype)
        special = [0, 1, 2, 7, 3, info.max, info.min, info.max - 1, *([-1, -2, -7] if info.min else [])]
        drawn = rng.integers(info.min, info.max, (2, 100), dtype=dtype)
    a, b = np.meshgrid(np.array(special, dtype), np.array(special, dtype))
    return np.concatenate([a.ravel(), drawn[0].astype(dtype)]), np.concatenate([b.ravel(), drawn[1].astype(dtype)])


ONE = "negative positive abs square sqrt reciprocal sign isnan isinf isfinite signbit round floor ceil trunc log10 sin cos tan asin acos atan sinh cosh asinh acosh atanh exp log".split()
TWO = "add subtract multiply divide floor_divide remainder maximum minimum greater greater_equal less less_equal equal not_equal copysign logaddexp pow atan2 hypot nextafter".split()
WHOLE = "add subtract multiply floor_divide remainder maximum minimum greater less_equal equal bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift".split()


@pytest.mark.parametrize("name", [*ONE, *TWO])
@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_floats_agree_with_numpy(name, dtype):
    arrays = numbers(dtype, 0)[: 1 + (name in TWO)]
    with np.errstate(all="ignore"):
        true = getattr(np, name)(*arrays)
    y = elementwise(name, str(true.dtype), *arrays)
    if name in ("copysign", "nextafter"):
        keep = ~np.isnan(true)
        assert (y[keep] == true[keep]).all() and (np.signbit(y) == np.signbit(true))[keep].all()
    else:
        np.testing.assert_allclose(y, true, rtol=5e-7 if dtype == "float32" else 1e-15, atol=0)
    if true.dtype == dtype:
        zero = true == 0
        assert (np.signbit(y) == np.signbit(true))[zero].all()


@pytest.mark.parametrize("name", [*WHOLE, "negative", "abs", "square", "sign", "bitwise_invert", "round"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_functions_of_integers_agree_with_numpy(name, dtype):
    arrays = numbers(dtype, 0)[: 1 + (name in WHOLE)]
    with np.errstate(all="ignore"):
        true = getattr(np, name)(*arrays)
    assert (elementwise(name, str(true.dtype), *arrays) == true).all()


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor", "logical_not", "equal", "not_equal", "bitwise_and"])
def test_functions_of_booleans_agree_with_numpy(name):
    arrays = numbers("bool", 0)[: 1 + (name != "logical_not")]
    assert (elementwise(name, "bool", *arrays) == getattr(np, name)(*arrays)).all()


def test_every_function_is_tested():
    assert set(OPERATIONS) <= {*RANGES, *ONE, *TWO, *WHOLE, "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_invert", "where"}


@pytest.mark.parametrize("to", ["float32", "float64", "bool", *INTEGERS])
@pytest.mark.parametrize("source", ["float32", "float64", "bool", *INTEGERS])
def test_casts_agree_with_numpy(source, to):
    x = numbers(source, 0)[0]
    if source.startswith("float") and to == "uint32":
        x = x[(x >= -(1 << 31)) & (x < 1 << 32)]  # of what is beyond NumPy makes this or that, by where it stands in the array
    elif source.startswith("float") and not to.startswith("float") and platform.machine() not in ("x86_64", "AMD64"):
        x = x[np.isfinite(x) & (np.abs(x) < 100) & ((x >= 0) | (to[0] != "u"))]  # other machines' conversions are others
    with np.errstate(all="ignore"):
        true = x.astype(to)
    y = guarded(np.zeros(x.shape, to))
    loop = Loop((Operand(source, "1"), Operand(to, "1")), (("load", source, 0), ("cast", to, 0)), ((1, 1, None),))
    run_loop(loop, [guarded(x), y], (x.size,))
    assert np.array_equal(y, true, equal_nan=to.startswith("float"))


# loops

SHAPES = [(1, 1), (3, 5), (4, 16), (5, 17), (2, 63), (3, 200), (7, 1000), (37, 10)]


def forms(n):
    """All forms of a loop: the length of the row not known; known, where it is short; and rows side by side, where it is very short."""
    return [Loop, partial(Loop, row=n), partial(Beside, row=n)][: 1 + (n <= 64) + (n <= 16)]


@pytest.mark.parametrize(("n", "k"), SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_is_one_loop(n, k, dtype):
    x = np.random.default_rng(0).normal(size=(n, k)).astype(dtype)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    nodes = (("load", dtype, 0), ("max", dtype, 0), ("subtract", dtype, 0, 1), ("exp", dtype, 2), ("sum", dtype, 3), ("divide", dtype, 3, 4), ("log", dtype, 4), ("add", dtype, 6, 1))
    for form in forms(k):
        y, logsumexp = guarded(np.zeros_like(x)), guarded(np.zeros((n, 1), dtype))
        loop = form((Operand(dtype, "s1"), Operand(dtype, "s1"), Operand(dtype, "s0")), nodes, ((1, 5, None), (2, 7, None)))
        run_loop(loop, [guarded(x), y, logsumexp], (n, k))
        np.testing.assert_allclose(y, e / e.sum(axis=1, keepdims=True), rtol=2e-6 if dtype == "float32" else 1e-14)
        np.testing.assert_allclose(logsumexp, np.log(e.sum(axis=1, keepdims=True)) + x.max(axis=1, keepdims=True), rtol=2e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_a_loop_takes_any_strides_and_adds_up_over_slower_axes(n, k):
    rng = np.random.default_rng(0)
    x = guarded(rng.normal(size=(2, k, n)))
    b, w = guarded(rng.normal(size=(k,))), guarded(rng.normal(size=(2, n)))
    nodes = (("load", "float64", 0), ("load", "float64", 1), ("multiply", "float64", 0, 1), ("load", "float64", 2), ("add", "float64", 2, 3), ("max", "float64", 4))
    steps = [Operand("float64", s) for s in ("sss", "001", "ss0", "001", "ss1", "ss0", "000")]
    for form in forms(k):
        total, y, most, largest = guarded(np.ones(k)), guarded(np.zeros((2, n, k))), guarded(np.zeros((2, n))), guarded(np.full(1, -np.inf))
        loop = form(tuple(steps), nodes, ((3, 4, "sum"), (4, 4, None), (5, 5, None), (6, 5, "max")))
        shaped = [x.transpose(0, 2, 1), b[None, None, :], w[:, :, None], total[None, None, :], y, most[:, :, None], largest[None, None]]
        run_loop(loop, shaped, (2, n, k))
        true = x.transpose(0, 2, 1) * b + w[:, :, None]
        np.testing.assert_allclose(y, true)
        np.testing.assert_allclose(total, 1 + true.sum(axis=(0, 1)), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(most, true.max(axis=-1))
        assert np.isclose(largest[0], true.max())


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint32", "int64"])
def test_reductions_agree_with_numpy(name, dtype):
    rng = np.random.default_rng(0)
    for k in (1, 7, 16, 33, 100):
        x = (rng.normal(size=(3, k)) if dtype.startswith("float") else rng.integers(0, 3, (3, k))).astype(dtype)
        for form in forms(k):
            y = guarded(np.zeros((3, 1), dtype))
            loop = form((Operand(dtype, "s1"), Operand(dtype, "s0")), (("load", dtype, 0), (name, dtype, 0)), ((1, 1, None),))
            run_loop(loop, [guarded(x), y], (3, k))
            np.testing.assert_allclose(y[:, 0], getattr(np, name)(x, axis=1, dtype=dtype) if name in ("sum", "prod") else getattr(np, name)(x, axis=1), rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_taken_in_order(dtype):
    """Where one overflows, and whether inf·0 is met, depends on it."""
    big = np.finfo(dtype).max / 2
    cases = [[big, big, 0], [0, big, big], [big, 3, 1 / big, 0.1], [1e-30, 1e-30, 0, big], [big] * 20 + [0] * 20, [0] + [big] * 40, [2] * 37, [np.nan, 0, 1, big]]
    for case in cases:
        for copies in (1, 90):
            x = np.array([case] * copies, dtype).repeat(1 if copies == 1 else 3, axis=0)
            for axis in (0, 1, (0, 1)):
                for y in (x, np.ascontiguousarray(x.T)[::-1], x[:, None] * np.ones((2, 1), dtype)):
                    with np.errstate(all="ignore"):
                        f = jit(lambda y: np.prod(y, axis=axis), lowering="native")  # noqa: B023
                        np.testing.assert_allclose(f(y), np.prod(y, axis=axis), rtol=1e-5)


def test_extremes_propagate_nan_and_booleans_reduce():
    for k in (40, 12):
        x = np.zeros((2, k), np.float32)
        x[1, k - 3] = np.nan
        for name, form in itertools.product(("max", "min"), forms(k)):
            y = np.zeros((2, 1), np.float32)
            run_loop(form((Operand("float32", "s1"), Operand("float32", "s0")), (("load", "float32", 0), (name, "float32", 0)), ((1, 1, None),)), [x, y], (2, k))
            assert y[0, 0] == 0 and np.isnan(y[1, 0])
    for k in (70, 13):
        b = np.zeros((3, k), bool)
        b[1, k - 1], b[2] = True, True
        for name, form in itertools.product(("any", "all"), forms(k)):
            y = guarded(np.zeros((3, 1), bool))
            run_loop(form((Operand("bool", "s1"), Operand("bool", "s0")), (("load", "bool", 0), (name, "bool", 0)), ((1, 1, None),)), [guarded(b), y], (3, k))
            assert (y[:, 0] == getattr(b, name)(axis=1)).all()


def test_the_place_of_the_largest_is_a_least_column():
    nodes = (("load", "float32", 0), ("max", "float32", 0), ("equal", "bool", 0, 1), ("column", "int64"), ("const", "int64", 1 << 40), ("where", "int64", 2, 3, 4), ("min", "int64", 5))
    for k in (37, 11):
        x = np.random.default_rng(0).integers(0, 5, (20, k)).astype(np.float32)
        for form in forms(k):
            y = guarded(np.zeros((20, 1), np.int64))
            run_loop(form((Operand("float32", "s1"), Operand("int64", "s0")), nodes, ((1, 6, None),)), [guarded(x), y], (20, k))
            assert (y[:, 0] == x.argmax(axis=1)).all()


@pytest.mark.parametrize("k", [3, 16, 40, 100, 300])
def test_nothing_in_a_row_is_larger_than_the_largest(k):
    """What is computed once more for another sweep over the row might be rounded otherwise: x·w + b in one instruction or in two."""
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(64, k)), rng.normal(size=(64, 1)), rng.normal(size=k)

    @partial(jit, lowering="native")
    def f(x, w, b):
        y = x * w + b
        z = y - np.max(y, axis=1, keepdims=True)
        return z, x * w * z, np.argmax(y, axis=1)

    z, _, place = f(x, w, b)
    assert z.max() == 0 and (z == 0).sum() == 64 and (place == z.argmax(axis=1)).all()


def test_rows_side_by_side_keep_their_place_and_touch_nothing_else():
    """y = x − the sum of the row · u, where x lies; each dtype, all lengths, more and fewer rows than lanes, rows apart from one another."""
    for dtype, (n, k) in itertools.product(["float32", "float64", "int64", "uint8"], [(1, 2), (16, 16), (17, 9), (40, 3), (15, 1)]):
        x = guarded(np.random.default_rng(0).integers(0, 9, (n, k + 3)).astype(dtype))
        u, before = guarded(np.arange(n).astype(dtype)), x.copy()
        nodes = (("load", dtype, 0), ("sum", dtype, 0), ("load", dtype, 1), ("multiply", dtype, 1, 2), ("subtract", dtype, 0, 3))
        run_loop(Beside((Operand(dtype, "s1"), Operand(dtype, "10"), Operand(dtype, "s1")), nodes, ((2, 4, None),), k), [x, u[:, None], x], (n, k))
        assert (x[:, k:] == before[:, k:]).all()
        assert (x[:, :k] == before[:, :k] - (before[:, :k].sum(axis=1, dtype=dtype) * u)[:, None]).all()


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
def test_indices_read_and_add_rows_and_elements(kind):
    rng = np.random.default_rng(0)
    table, g = rng.normal(size=(9, 20)).astype(np.float32), rng.normal(size=(13, 20)).astype(np.float32)
    i = rng.integers(0 if kind[0] == "u" else -9, 9, (13, 1)).astype(kind)
    y, total = guarded(np.zeros((13, 20), np.float32)), guarded(np.zeros((9, 20), np.float32))
    operands = (Operand("float32", "01", index=1), Operand(kind, "s0"), Operand("float32", "s1"))
    assert not run_loop(Loop(operands, (("load", "float32", 0),), ((2, 0, None),)), [guarded(table), guarded(i), y], (13, 20), {0: 0})
    assert (y == table[i[:, 0]]).all()
    operands = (Operand("float32", "s1"), Operand(kind, "s0"), Operand("float32", "01", index=1))
    run_loop(Loop(operands, (("load", "float32", 0),), ((2, 0, "sum"),)), [guarded(g), guarded(i), total], (13, 20), {2: 0})
    true = np.zeros_like(total)
    np.add.at(true, i[:, 0].astype(int), g)
    np.testing.assert_allclose(total, true, rtol=1e-5)
    columns = rng.integers(0, 20, (9, 33)).astype(kind)
    z = guarded(np.zeros((9, 33), np.float32))
    operands = (Operand("float32", "s0", index=1), Operand(kind, "s1"), Operand("float32", "s1"))
    run_loop(Loop(operands, (("load", "float32", 0),), ((2, 0, None),)), [guarded(table), guarded(columns), z], (9, 33), {0: 1})
    assert (z == np.take_along_axis(table, columns.astype(int), axis=1)).all()


@pytest.mark.parametrize("wrong", [9, -10, 1 << 40])
def test_an_index_out_of_range_sets_the_flag_and_touches_nothing_else(wrong):
    table, y = guarded(np.ones((9, 20), np.float32)), guarded(np.zeros((3, 20), np.float32))
    operands = (Operand("float32", "01", index=1), Operand("int64", "s0"), Operand("float32", "s1"))
    assert run_loop(Loop(operands, (("load", "float32", 0),), ((2, 0, None),)), [table, guarded(np.array([[1], [wrong], [2]])), y], (3, 20), {0: 0})


def test_a_loop_may_write_where_it_reads():
    x = guarded(np.arange(100, dtype=np.float32))
    loop = Loop((Operand("float32", "1"), Operand("float32", "1")), (("load", "float32", 0), ("add", "float32", 0, 0)), ((1, 1, None),))
    run_loop(loop, [x, x], (100,))
    assert (x == 2 * np.arange(100)).all()


# matrix products


def found_blas():
    if not isinstance(blas(), Blas):
        pytest.skip(str(blas()))
    return blas()


def gemm_words(b, x, y, c, ta, tb, part, accumulate=0):
    (m0, m1), (n0, n1), (k0, k1) = part.rows, part.columns, part.depth
    lda, ldb, ldc = x.shape[-1], y.shape[-1], c.shape[-1]
    a_row, a_column = (1, lda) if ta else (lda, 1)
    b_row, b_column = (1, ldb) if tb else (ldb, 1)
    rows_, depth = gemm.blocks(m1 - m0, n1 - n0, k1 - k0)
    batches = [a.strides[0] // a.itemsize if a.ndim == 3 else 0 for a in (x, y, c)]
    values = {
        "gemm": b.gemm(str(x.dtype)), "a": x.ctypes.data + x.itemsize * (m0 * a_row + k0 * a_column), "b": y.ctypes.data + x.itemsize * (k0 * b_row + n0 * b_column),
        "c": c.ctypes.data + x.itemsize * (m0 * ldc + n0), "m": m1 - m0, "n": n1 - n0, "k": k1 - k0, "transpose_a": 112 if ta else 111, "transpose_b": 112 if tb else 111,
        "lda": lda, "ldb": ldb, "ldc": ldc, "rows": rows_, "depth": depth, "a_row": a_row, "a_column": a_column, "b_row": b_row,
        "batch": len(c) if c.ndim == 3 else 1, "a_batch": batches[0], "b_batch": batches[1], "c_batch": batches[2], "accumulate": accumulate,
    }  # fmt: skip
    return [values[key] for key in gemm.WORDS]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (100, 30, 200), (3, 300, 64), (7, 9, 3000), (2500, 4, 6)])
def test_products_in_parts_and_blocks_agree_with_numpy(shape, dtype):
    b, (m, n, k), rng = found_blas(), shape, np.random.default_rng(0)
    for ta in (False, True):
        for tb in (False, True):
            x, y = rng.normal(size=(k, m) if ta else (m, k)).astype(dtype), rng.normal(size=(n, k) if tb else (k, n)).astype(dtype)
            true = (x.T if ta else x) @ (y.T if tb else y)
            for count in (1, 2, 3):
                total = np.zeros((m, n))
                for part in gemm.parts(m, n, k, count):
                    c = guarded(np.full((m, n), np.nan, dtype))
                    call(gemm.Gemm(dtype, b.bits), gemm_words(b, x, y, c, ta, tb, part))
                    total += np.nan_to_num(c)
                np.testing.assert_allclose(total, true, rtol=1e-4 if dtype == "float32" else 1e-11, atol=(1e-5 if dtype == "float32" else 1e-13) * k**0.5)


def test_batches_of_products_and_sums_of_none():
    b, rng = found_blas(), np.random.default_rng(0)
    x, y, c = rng.normal(size=(4, 5, 6)), rng.normal(size=(6, 3)), guarded(np.ones((4, 5, 3)))
    call(gemm.Gemm("float64", b.bits), gemm_words(b, x, y, c, False, False, gemm.Part((0, 5), (0, 3), (0, 6)), accumulate=1))
    np.testing.assert_allclose(c, 1 + x @ y)
    empty = guarded(np.ones((2, 3)))
    call(gemm.Gemm("float64", b.bits), gemm_words(b, np.ones((2, 1)), np.ones((1, 3)), empty, False, False, gemm.Part((0, 2), (0, 3), (0, 0))))
    assert (empty == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_products_of_any_size_and_layout(dtype):
    """Next to memory that may not be touched; rows that are apart; k = 0, too, and what lies between the rows of C stays."""
    rng = np.random.default_rng(0)
    sizes = [(1, 1, 1), (8, 32, 16), (9, 33, 17), (7, 16, 0), (32, 10, 32), (13, 15, 256), (64, 31, 1), (9, 230, 40), (70, 100, 85), *rng.integers(1, 70, (12, 3)).tolist()]
    for (m, n, k), (ta, tb), gap, batch in zip(sizes, itertools.cycle(itertools.product((False, True), repeat=2)), itertools.cycle((0, 3, 0)), itertools.cycle((1, 1, 3))):  # noqa: B905
        x, y = (guarded(rng.normal(size=(batch, *reversed(shape)) if turned else (batch, *shape)).astype(dtype)) for shape, turned in (((m, k), ta), ((k, n), tb)))
        c = guarded(np.full((batch, m, n + gap), 7, dtype))
        one = c.itemsize
        words = {"a": x.ctypes.data, "b": y.ctypes.data, "c": c.ctypes.data, "m": m, "n": n, "k": k, "batch": batch, "c_row": n + gap, "c_batch": m * (n + gap), "columns": small.columns(dtype, k)}
        for name, array, turned in (("a", x, ta), ("b", y, tb)):
            words |= {f"{name}_batch": array.strides[0] // one, f"{name}_row": array.strides[2 if turned else 1] // one, f"{name}_column": array.strides[1 if turned else 2] // one}
        a, b = (np.swapaxes(array, 1, 2) if turned else array for array, turned in ((x, ta), (y, tb)))
        for kernel in [small.Small(dtype, True)] if words["b_column"] != 1 else [small.Small(dtype, False, copied) for copied in (False, True)]:
            c[..., :n] = np.nan
            call(kernel, [words[key] for key in small.WORDS])
            np.testing.assert_allclose(c[..., :n], a.astype("f8") @ b.astype("f8"), rtol=0, atol=k * np.finfo(dtype).eps * 20)
            assert (c[..., n:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_in_a_program_agree_with_numpy_whatever_computes_them(dtype):
    """Sizes on both sides of what small.suits, and of what is shared among threads; views, stacks, transposed operands."""
    rng = np.random.default_rng(0)
    for batch, m, n, k in [((), 32, 10, 32), ((), 1100, 10, 100), ((), 64, 64, 32), ((), 128, 256, 96), ((6,), 64, 32, 16), ((2, 3), 48, 48, 8), ((), 40, 3, 20)]:
        x, y = rng.normal(size=(*batch, m, k)).astype(dtype), rng.normal(size=(*batch, k, n)).astype(dtype)
        forms = jit(lambda a, b, at, bt: (a @ b, at.swapaxes(-1, -2) @ b, a @ bt.swapaxes(-1, -2), a[..., :8, 1:] @ b[..., 1:, 1:]), lowering="native")
        true = x.astype("f8") @ y.astype("f8")
        got = forms(x, y, np.ascontiguousarray(np.swapaxes(x, -1, -2)), np.ascontiguousarray(np.swapaxes(y, -1, -2)))
        for z, t in zip(got, [true, true, true, (x[..., :8, 1:].astype("f8") @ y[..., 1:, 1:].astype("f8"))], strict=True):
            np.testing.assert_allclose(z, t, rtol=0, atol=100 * np.finfo(dtype).eps * k**0.5)
@pytest.mark.skipif(compiler.lanes() < 16, reason="made for vectors of 512 bits")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", ["", "a", "b", "ab"])
def test_products_in_blocks_of_our_own_touch_nothing_but_their_matrices(transposed, dtype):
    rng = np.random.default_rng(0)
    sizes = [(1, 1, 1), (1, 50, 3), (7, 13, 5), (8, 48, 16), (9, 17, 31), (20, 95, 33), (31, 64, 193), (3, 129, 400), (64, 33, 0), (601, 61, 37), (530, 50, 389)]
    for m, n, k in sizes:
        for batch, accumulate in ((1, 0), (3, 1)) if m < 100 else ((1, 1),):
            a, b = (guarded(rng.normal(size=(batch, *shape)).astype(dtype)) for shape in ((k, m) if "a" in transposed else (m, k), (n, k) if "b" in transposed else (k, n)))
            wide = guarded(np.full((batch, m, n + 5), 7, dtype))
            c = wide[:, :, 5:]  # rows further apart than they are long
            c[...] = rng.normal(size=c.shape) if accumulate else np.nan
            x, y = (np.swapaxes(z, 1, 2) if name in transposed else z for name, z in (("a", a), ("b", b)))
            true = x.astype("float64") @ y.astype("float64") + (c if accumulate else 0)
            packed = [guarded(np.full(size, np.nan, dtype)) for size in blocked.room(m, n, k, dtype)]
            values = {"m": m, "n": n, "k": k, "batch": batch, "accumulate": accumulate} | dict(zip(("rows", "depth"), blocked.blocks(m, k, dtype), strict=True))
            values |= {name: z.ctypes.data for name, z in zip(("a", "b", "c", "packed_a", "packed_b"), (a, b, c, *packed), strict=True)}
            for name, z in (("a", x), ("b", y), ("c", c)):
                values |= {f"{name}_{what}": stride // z.itemsize for what, stride in zip(("batch", "row", "column"), z.strides, strict=True)}
            call(blocked.Blocked(dtype), [values[key] for key in blocked.WORDS])
            np.testing.assert_allclose(c, true, rtol=0, atol=np.finfo(dtype).eps * (8 + 4 * k))
            assert (wide[:, :, :5] == 7).all()


@pytest.mark.skipif(compiler.lanes() < 16, reason="made for vectors of 512 bits")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", ["small", "small, copied", "small, turned", "blocked"])
def test_what_follows_a_product_is_done_in_its_tiles(kernel, dtype):
    """y = (A·B + b)·[z > 0], written over z, and its sums over the rows: each element once, within its matrix, of one block of A or of many."""
    rng, turned = np.random.default_rng(0), kernel == "small, turned"
    for m, n, k in [(1, 1, 1), (7, 13, 5), (8, 48, 16), (9, 17, 31), (20, 95, 33), (31, 64, 193), (64, 33, 0), *([(601, 61, 37), (530, 50, 389)] if kernel == "blocked" else [])]:
        a, b = guarded(rng.normal(size=(m, k)).astype(dtype)), guarded(rng.normal(size=(n, k) if turned else (k, n)).astype(dtype))
        bias, z = guarded(rng.normal(size=(1, n)).astype(dtype)), guarded(rng.normal(size=(m, n)).astype(dtype))
        c, total = guarded(np.full((m, n), np.nan, dtype)), guarded(np.ones((1, n), dtype))
        right = (a.astype("f8") @ (b.T if turned else b).astype("f8") + bias) * (z > 0)
        nodes = (("load", dtype, 0), ("load", dtype, 1), ("add", dtype, 0, 1), ("load", dtype, 2), ("const", dtype, 0.0), ("greater", "bool", 3, 4), ("where", dtype, 5, 2, 4))
        operands = tuple(Operand(dtype, steps) for steps in ("s1", "01", "s1", "s1", "01"))
        loop = Loop(operands, nodes, ((3, 6, None), (4, 6, "sum")))
        words = {"m": m, "n": n, "k": k, "batch": 1, "accumulate": 0, "a_row": k, "a_column": 1, "c_row": n, "a_batch": 0, "b_batch": 0, "c_batch": 0, "columns": small.columns(dtype, k)}
        words |= {"b_row": 1, "b_column": k} if turned else {"b_row": n, "b_column": 1}
        words |= {name: x.ctypes.data for name, x in zip("abc", (a, b, c), strict=True)}
        packed = [guarded(np.full(size, np.nan, dtype)) for size in blocked.room(m, n, k, dtype)]
        words |= {name: x.ctypes.data for name, x in zip(("packed_a", "packed_b"), packed, strict=True)} | dict(zip(("rows", "depth"), blocked.blocks(m, k, dtype), strict=True))
        module, made = (blocked, blocked.Blocked(dtype, (loop, 0))) if kernel == "blocked" else (small, small.Small(dtype, turned, kernel == "small, copied", (loop, 0)))
        call(made, [words[key] for key in module.WORDS] + loop_words(loop, [c, bias, z, z, total], (m, n))[0])
        np.testing.assert_allclose(z, right, rtol=0, atol=np.finfo(dtype).eps * (8 + 4 * k))
        np.testing.assert_allclose(total[0], 1 + right.sum(axis=0), rtol=0, atol=np.finfo(dtype).eps * (8 + 4 * k) * m)


@pytest.mark.skipif(compiler.lanes() < 16, reason="made for vectors of 512 bits")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", range(24))
def test_products_with_what_follows_them_agree_with_the_interpreter(seed, threads):
    """Chains of layers of random sizes, what follows each at random: others may read the product, too, operands may be donated, or die with it."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 6))
    sizes = [rng.integers(1, 200, count), rng.choice([16, 32, 48, 64, 128, 256], count), np.full(count, 64), np.full(count, 256)][seed % 4]
    m = int(rng.choice([8, 32, 129, 256, 700, sizes[0]]))
    dtype = ["float32", "float64"][seed % 3 == 0]
    x = rng.normal(size=(m, sizes[0])).astype(dtype)
    layers = [[rng.normal(size=(i, o)).astype(dtype) / float(i) ** 0.5, rng.normal(size=o).astype(dtype), rng.normal(size=(m, o)).astype(dtype)] for i, o in itertools.pairwise(sizes)]
    chosen = rng.integers(0, 8, len(layers))

    def f(x, layers):
        kept = []
        for kind, (w, b, z) in zip(chosen, layers, strict=True):
            xp, y = ann.namespace(x), x @ w
            match kind:
                case 0:
                    x = xp.maximum(y + b, 0.0)
                case 1:
                    x = xp.where(z > 0, y, 0.0)
                    kept.append(xp.sum(x, axis=0))
                case 2:
                    x = y * z + xp.maximum(z, 0.0)
                    kept.append(x * 2.0)
                case 3:
                    x = y + b
                    kept.append(y)
                case 4:
                    x = xp.maximum(y, -y)
                case 5:
                    x = xp.astype(y > 0, y.dtype) * y + b - z  # no jump where y is 0 but for rounding
                case 6:
                    w, x = w + 0.5 * (xp.mean(x) + w), y + 1.0
                    kept.append(w)
                case 7:
                    x = y + y.T if y.shape[0] == y.shape[1] else y - 1.0
            kept.append(xp.minimum(x, 1.0))
        return x, kept

    donate = [(), (0,), (1,), (0, 1)][seed // 4 % 4]
    arguments = lambda: (x.copy(), [[z.copy() for z in layer] for layer in layers])  # noqa: E731
    program = jit(f, lowering="replay", donate=donate).trace(*arguments())
    run = NativeRun(program, blas(), threads, worth=1)
    wanted, got = (tree.leaves(out) for out in (f(*arguments()), [run([np.array(leaf) for leaf in tree.leaves(arguments())])]))
    scale = np.finfo(dtype).eps * 4000
    for right, array in zip(wanted, got, strict=True):
        np.testing.assert_allclose(array, right, rtol=scale, atol=scale)


def test_stacks_that_must_be_copied_first_multiply_as_numpy_does():
    """Heads of attention, cut out of one array: in rows, in columns, transposed on either side."""
    x = np.random.default_rng(0).normal(size=(3, 40, 2, 4, 16))

    @partial(jit, lowering="native")
    def f(x):
        q, k = (np.permute_dims(x[:, :, i], (0, 2, 1, 3)) for i in range(2))
        scores = np.matmul(q, np.matrix_transpose(k))
        return scores, np.matmul(scores, k), np.matmul(np.matrix_transpose(scores), q), np.matmul(np.matrix_transpose(q), k)

    q, k = (x[:, :, i].transpose(0, 2, 1, 3) for i in range(2))
    scores = q @ k.swapaxes(-1, -2)
    for got, true in zip(f(x), (scores, scores @ k, scores.swapaxes(-1, -2) @ q, q.swapaxes(-1, -2) @ k), strict=True):
        np.testing.assert_allclose(got, true, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_large_products_and_their_gradients_are_right_on_any_number_of_threads(count):
    rng = np.random.default_rng(0)
    x, w, v = (rng.normal(size=shape) for shape in ((150, 270), (270, 330), (330, 290)))

    def f(x, w, v):
        y, pull = ann.vjp(lambda x, w, v: ann.relu(x @ w) @ v, x, w, v)
        return y, *pull(y)

    run = NativeRun(jit(f, lowering="replay").trace(x, w, v), found_blas(), count, worth=1)
    for _ in range(3):
        for y, true in zip(run([x, w, v]), f(x, w, v), strict=True):
            assert np.abs(y - true).max() <= 1e-13 * np.abs(true).max()


def test_parts_cover_a_product_once():
    for m, n, k in ((1, 1, 1), (33, 1000, 2000), (4096, 10, 64), (25, 8, 36864), (0, 4, 4), (512, 512, 512)):
        for count in (1, 2, 3, 8):
            parts = gemm.parts(m, n, k, count)
            assert sum((p.rows[1] - p.rows[0]) * (p.columns[1] - p.columns[0]) * (p.depth[1] - p.depth[0]) for p in parts) == m * n * k


# workers


def program(pool, phases, patches=(), planned=(0, 0, 0, 0), slots=(), more=()):
    """What runs a program of workers.Run: phases of tasks of (kernel, table)."""
    lists = [[np.array([word for pair in task for word in pair] + [0], np.int64) for task in tasks] for tasks in phases]
    rows = np.zeros((len(phases) + 1, workers.TASK + pool.count), np.int64)
    for row, tasks in zip(rows, lists, strict=False):
        row[: workers.TASK + len(tasks)] = len(tasks), (1 << 32) - (1 << len(tasks)), *(task.ctypes.data for task in tasks)
    triples = np.array(list(patches) or [(0, 0, 0)], np.int64)
    slot = np.array(list(slots) or [(0,) * workers.SLOT_WORDS], np.int64)
    words = [pool.shared, pool.count, *planned, len(patches), triples.ctypes.data, len(slots), slot.ctypes.data]
    table = np.array([*words, *workers.python_words(pool.count == 1), rows.ctypes.data if pool.count > 1 else lists[0][0].ctypes.data], np.int64)
    return workers.entry(table, [*lists, rows, triples, slot, *more])


def counting(count, rounds, pool):
    """Each task adds the neighbour's number to its own, in phases: wrong where one runs ahead; every fifth phase is one task."""
    add = compiler.addresses([Loop((Operand("int64", "1"), Operand("int64", "1"), Operand("int64", "1")), (("load", "int64", 0), ("load", "int64", 1), ("add", "int64", 0, 1)), ((2, 2, None),))])[0]
    state = np.zeros((rounds + 1, count), np.int64)
    state[0] = np.arange(1, count + 1)
    kept, phases = [], []
    for r in range(rounds):
        tasks = []
        for t in range(count):
            at = [state[r, t:].ctypes.data, state[r, (t + 1) % count :].ctypes.data, state[r + 1, t:].ctypes.data]
            kept.append(np.array([*at, 1], np.int64))
            tasks.append([(add, kept[-1].ctypes.data)])
        phases.append(tasks if r % 5 else [[entry for task in tasks for entry in task]])
    run = program(pool, phases, more=kept)
    true = state.copy()
    for r in range(rounds):
        true[r + 1] = true[r] + np.roll(true[r], -1)
    return run, state, true


@pytest.mark.parametrize("count", [2, 3])
def test_workers_walk_in_step(count):
    pool = workers.pool(count)
    run, state, true = counting(count, 20, pool)
    for _ in range(50):
        state[1:] = 0
        assert pool.run(run, []) is workers.DONE
        assert (state == true).all()


def test_a_thread_may_be_in_a_program_that_another_plans_anew():
    """What a planned program points to lives as long as it can be called."""
    f = jit(lambda x, w: ann.tanh(x @ w) + 1, lowering="replay")
    x, w = np.ones((64, 64), "f"), np.full((64, 64), 0.01, "f")
    run = NativeRun(f.trace(x, w), found_blas(), 2, worth=1)
    called = run.work([x, w])
    true, old, memory = called[-1].copy(), run.together, weakref.ref(run.step.__self__.kept[0])
    run.prepare()
    gc.collect()
    called[-1][:] = 0
    assert memory() is not None and old(called) is workers.DONE
    assert (called[-1] == true).all()
    del old
    gc.collect()
    assert memory() is None, "a program that can no longer be called gives its memory back"


def test_threads_that_call_at_once_wait_for_each_other():
    pool, wrong = workers.pool(2), []
    programs = [counting(2, 10, pool) for _ in range(3)]

    def many(run, state, true):
        for _ in range(100):
            state[1:] = 0
            if pool.run(run, []) is not workers.DONE or (state != true).any():
                wrong.append(run)

    callers = [threading.Thread(target=many, args=p) for p in programs]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where it has been imported
def test_a_child_process_has_workers_of_its_own():
    workers.pool(2)
    child = os.fork()
    if child == 0:
        pool = workers.pool(2)
        run, state, true = counting(2, 10, pool)
        os._exit(0 if pool.run(run, []) is workers.DONE and (state == true).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_process_ends_while_workers_wait_awake():
    """They look at memory that the end of the interpreter would free, and that this C library fills with what looks like tasks."""
    source = """if True:
        from backends.native import workers
        workers.SPIN = 10**9
        from test_native import counting
        run, state, true = counting(2, 10, workers.pool(2))
        assert workers.pool(2).run(run, []) is workers.DONE and (state == true).all()
    """
    here = pathlib.Path(__file__).parent
    environment = os.environ | {"ANN_NATIVE_CACHE": "off", "MALLOC_PERTURB_": "85", "PYTHONPATH": os.pathsep.join(map(str, (here.parent, here)))}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_arrays_are_bound_by_their_address():
    add = compiler.addresses([Loop((Operand("int64", "1"), Operand("int64", "1")), (("load", "int64", 0), ("add", "int64", 0, 0)), ((1, 1, None),))])[0]
    table = np.array([0, 0, 3], np.int64)
    run = program(workers.pool(1), [[[(add, table.ctypes.data)]]], [(table.ctypes.data, 0, 8), (table.ctypes.data + 8, 1, 0)])
    for _ in range(2):
        x, y = np.arange(4), np.zeros(3, np.int64)
        assert workers.pool(1).run(run, [x, y]) is workers.DONE
        assert (y == [2, 4, 6]).all()


def test_a_program_is_not_run_when_the_blas_has_other_threads_than_planned():
    b = found_blas()
    if not b.get:
        pytest.skip("this BLAS does not tell its threads")
    before = b.threads
    for planned in (before, before + 1):
        run = program(workers.pool(1), [[[]]], planned=(planned, *workers.blas_words(b)[1:]))
        assert workers.pool(1).run(run, []) is (workers.DONE if planned == before else workers.OTHER_THREADS)
        assert b.threads == before


def test_arrays_that_are_not_as_their_slots_say_are_refused():
    whole = np.zeros(10)
    slots = [(id(np.dtype("float64")), 0x501, 40, 1, 0), (id(np.dtype("float64")), 0x101, 40, 0, 0)]  # the first is donated: writeable, alone
    run = program(workers.pool(1), [[[]]], slots=slots)
    frozen = np.zeros(5)
    frozen.flags.writeable = False
    good = whole[:5], whole[5:]
    for _ in range(2):
        assert workers.pool(1).run(run, list(good)) is workers.DONE
        for bad in [(whole[:5], whole[4:9]), (whole[::2], frozen), (frozen, whole[:5]), (whole[:5], np.zeros(5, np.int64)), (np.float64(1), frozen), (whole[:5], [0.0] * 5)]:
            assert workers.pool(1).run(run, list(bad)) is workers.UNFIT


def test_threads_obey_the_affinity():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity on this system")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert threads() == 1
    finally:
        os.sched_setaffinity(0, before)


# whole programs


def test_a_program_that_has_no_kernel_for_something_runs_on_numpy_and_says_so():
    f = jit(lambda x: np.abs(x * 2j))
    np.testing.assert_array_equal(f(np.array([3.0, 1.0, 2.0])), [6.0, 2.0, 4.0])
    assert "not native: no kernel for complex numbers" in f.explain()
    with pytest.raises(ValueError, match="native lowering cannot run this program: no kernel for complex numbers"):
        jit(lambda x: np.abs(x * 2j), lowering="native")(np.ones(3))
    found_blas()
    g = jit(lambda x: x * 2.0)
    g(np.ones(3))
    assert g.explain().startswith("native")


def gated(x, w, s, k):
    """A mixture of experts: the two largest gates of each row, and their experts."""
    xp = ann.namespace(x)
    gates = x @ w
    chosen = xp.argsort(-gates, axis=-1)[:, :2]
    return ann.softmax(xp.take_along_axis(gates, chosen, axis=-1)), chosen


def placed(x, w, s, k):
    y = ann.namespace(x).asarray(x, copy=True) * 2.0
    y[k] = 3.0
    return y + 1.0, w[k[:3], k[:3] % w.shape[1]]


BY_NUMPY = {
    "sort": lambda x, w, s, k: np.sort(x * 2.0, axis=0) + np.sort(x.T[::-1], axis=1).T,
    "mixture": gated,
    "x[k] = v": placed,
    "linear algebra": lambda x, w, s, k: (np.linalg.solve(s @ s.T + 4.0 * np.eye(s.shape[0], dtype=s.dtype), w) * 2.0, np.abs(np.linalg.qr(x)[1]), np.linalg.eigh(s @ s.T)[0] + 1.0),
    "powers": lambda x, w, s, k: (k**k) * 2,
    "with itself": lambda x, w, s, k: np.sort(np.sort(x, axis=0) @ w, axis=1) @ s[:7, :5],
    "in a scan": lambda x, w, s, k: scan(lambda c, row: (np.sort(c + row), np.flip(np.sort(row))), x[0] * 0.0, x)[1],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", BY_NUMPY)
def test_what_has_no_kernel_is_done_by_numpy_amid_kernels(name, threads, dtype):
    rng, f = np.random.default_rng(0), BY_NUMPY[name]
    x, w, s = (rng.normal(size=shape).astype(dtype) for shape in ((40, 12), (12, 7), (12, 12)))
    k = np.array([3, 0, 5, 2])
    program = jit(f, lowering="replay").trace(x, w, s, k)
    run = NativeRun(program, found_blas(), threads, worth=1)
    assert "; by NumPy: " in run.explain()
    before = [z.copy() for z in (x, w, s, k)]
    for _ in range(2):
        for found, meant in zip(tree.leaves([run([x, w, s, k])]), tree.leaves([f(x, w, s, k)]), strict=True):
            assert found.dtype == meant.dtype
            np.testing.assert_allclose(found, meant, rtol=1e4 * np.finfo(dtype).eps, atol=1e3 * np.finfo(dtype).eps)
    for z, old in zip((x, w, s, k), before, strict=True):
        np.testing.assert_array_equal(z, old)


def test_what_only_a_kernel_can_do_is_not_left_to_numpy(monkeypatch):
    def refuse(grouping, instruction):
        raise CannotExpress("today")

    found_blas()
    monkeypatch.setitem(RULES, "convolve", refuse)
    net = ann.Sequential([ann.Conv2D(8, 5)])
    x = np.random.default_rng(0).normal(size=(4, 12, 12, 8)).astype("f")
    params, _ = net.init(x, seed=0)
    f = jit(lambda p, x: net.apply(p, x))
    np.testing.assert_allclose(f(params, x), net.apply(params, x), rtol=1e-4, atol=1e-4)
    assert "not native: no kernel for today" in f.explain()


def test_what_numpy_raises_amid_kernels_is_raised_and_the_program_runs_again():
    found_blas()
    f = jit(lambda a, b: np.linalg.cholesky(np.linalg.cholesky(a * 1.0) @ b) * 2.0, lowering="native")
    good, bad = np.eye(3), -np.eye(3)
    before = blas().threads
    for _ in range(2):
        with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
            f(bad, good)
        with pytest.raises(np.linalg.LinAlgError, match="positive definite") as caught:
            f(good, bad)
        assert caught.value.__notes__ == ["under jit: linalg.cholesky of float64 (3, 3)"]
        np.testing.assert_array_equal(f(good, good), 2.0 * np.eye(3))
    assert blas().threads == before


def test_threads_of_python_each_get_their_own_error_of_numpy():
    found_blas()
    f = jit(lambda a: np.linalg.cholesky(a + 0.0) @ a, lowering="native")
    f(np.eye(40))
    wrong = []

    def many(sign):
        for _ in range(150):
            try:
                y = f(sign * np.eye(40))
                wrong.extend([] if sign > 0 and (y == np.eye(40)).all() else ["no error"])
            except np.linalg.LinAlgError:
                wrong.extend(["an error"] if sign > 0 else [])

    threads = [threading.Thread(target=many, args=(sign,)) for sign in (1.0, -1.0, 1.0, -1.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_numpy_has_the_threads_of_the_blas_amid_kernels(monkeypatch):
    """The program holds it at one; a large decomposition is not to be slower for that."""
    b, seen = found_blas(), []
    if b.threads < 2:
        pytest.skip("the BLAS has one thread")
    f = jit(lambda a: np.linalg.cholesky(a + 0.0) * 2.0, lowering="native")
    cholesky = np.linalg.cholesky
    monkeypatch.setattr(np.linalg, "cholesky", lambda a, **options: seen.append(b.threads) or cholesky(a, **options))
    f(np.eye(4))
    assert seen == [b.threads] * 2 and b.threads > 1  # when it was traced, and when it ran


OF_NOTHING = {
    "sums": lambda x, w: (np.sum(x), np.sum(x, axis=0), np.prod(x, axis=0), np.any(x > 0), np.all(x > 0, axis=0), np.sum(x, axis=1), np.mean(x, axis=1)),
    "products": lambda x, w: (x @ w, x.T @ x, np.tanh(x @ w) + 1.0),
    "parts": lambda x, w: (np.concat([x, w.T, x]), x[:0] * 2.0, np.take(x, np.zeros((0,), np.int64), axis=0), w[1:1], np.where(x > 0, x, 0.0).T),
    "windows": lambda x, w: (ann.conv(np.reshape(x, (0, 8, 8, 3)), np.reshape(w, (2, 2, 3, 1)), padding="same"), ann.max_pool(np.reshape(x, (0, 4, 4, 3)), size=2)),
    "softmax": lambda x, w: (ann.softmax(x @ w), np.argmax(x @ w, axis=-1)),
    "nothing at all": lambda x, w: np.exp(x),
    "gradients": lambda x, w: ann.value_and_grad(lambda w: ann.namespace(w).sum(ann.softmax(x @ w) ** 2))(w),
}  # fmt: skip


@pytest.mark.parametrize("case", OF_NOTHING)
def test_arrays_of_size_0_run_natively(case):
    found_blas()
    x, w = np.zeros((0, 3), np.float32), np.ones((3, 4), np.float32)
    f, meant = jit(OF_NOTHING[case], lowering="native"), OF_NOTHING[case](x, w)
    for _ in range(2):
        for y, true in zip(tree.leaves(f(x, w)), tree.leaves(meant), strict=True):
            assert y.shape == true.shape and y.dtype == true.dtype
            np.testing.assert_array_equal(y, true)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint32"])
def test_running_sums_and_products_agree_with_numpy(name, dtype):
    rng = np.random.default_rng(0)
    for shape in ((1,), (7,), (3, 1, 4), (4, 5), (2, 9, 33), (5, 3, 16), (1, 700, 2)):
        x = rng.normal(1, 0.5, shape).astype(dtype) if dtype.startswith("float") else rng.integers(0, 3, shape).astype(dtype)
        for axis in range(len(shape)):
            for initial in (False, True):
                for view in (lambda x: x, lambda x: x[::-1].T if x.ndim == 2 else x):
                    f = lambda x: getattr(ann.namespace(x), name)(view(x), axis=axis, include_initial=initial)  # noqa: B023, E731
                    run = NativeRun(jit(f, lowering="replay").trace(x), found_blas(), 2, worth=1)
                    (y,), true = run([x]), f(x)
                    assert y.dtype == true.dtype
                    np.testing.assert_array_equal(y, true)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_of_extremes_along_any_axis_agree_with_numpy(name):
    rng = np.random.default_rng(0)
    for shape in ((), (1,), (1, 1), (5000,), (4, 5), (3, 70), (2, 9, 33), (1, 7, 1)):
        x = rng.integers(0, 7, shape).astype(np.float32)
        for axis in (None, *range(-len(shape), len(shape))):
            for f in (lambda x: getattr(ann.namespace(x), name)(x, axis=axis), lambda x: getattr(ann.namespace(x), name)(ann.namespace(x).tanh(ann.namespace(x).flip(x)), axis=axis, keepdims=True)):  # noqa: B023
                run = NativeRun(jit(f, lowering="replay").trace(x), found_blas(), 2, worth=1)
                (y,), true = run([x]), f(x)
                assert y.dtype == true.dtype and y.shape == true.shape
                np.testing.assert_array_equal(y, true)


def lstm(c, x, w, u, b):
    h, state = c
    xp = ann.namespace(h, x)
    i, f, g, o = (x @ w + h @ u + b)[:, 0:5], (x @ w + h @ u + b)[:, 5:10], (x @ w + h @ u + b)[:, 10:15], (x @ w + h @ u + b)[:, 15:20]
    state = ann.sigmoid(f) * state + ann.sigmoid(i) * xp.tanh(g)
    h = ann.sigmoid(o) * xp.tanh(state)
    return (h, state), h


A, B, V, W, U = (np.random.default_rng(0).normal(size=n) for n in ((3, 5), (3, 5), (7, 3, 4), (4, 20), (5, 20)))
SCANS = {  # name: f(a, b, v, w, u, reverse), a and b (3, 5), v (7, 3, 4), w (4, 20), u (5, 20)
    "an LSTM": lambda a, b, v, w, u, r: scan(lambda c, x: lstm(c, x, w, u, w[0]), (a, b), v, reverse=r),
    "what changes places": lambda a, b, v, w, u, r: scan(lambda c, x: ((c[1], c[0], c[2] + 1), (c[0], c[1], c[1], c[2])), (a, b, np.asarray(0)), v, reverse=r),
    "what stays, and constants": lambda a, b, v, w, u, r: scan(lambda c, x: (c, (ann.namespace(x).zeros(3), ann.namespace(x).arange(4), x, x, w[0])), a, v, reverse=r),
    "no input": lambda a, b, v, w, u, r: scan(lambda c, x: (c * 2.0, c[0, :2]), a, None, length=5, reverse=r),
    "several inputs of all kinds": lambda a, b, v, w, u, r: scan(lambda c, x: (c + x["k"], [x["v"] * 2.0, x["k"] // 2, x["k"] > 3]), np.asarray(0), {"v": v.mT, "k": np.arange(7)}, reverse=r),
    "one in another": lambda a, b, v, w, u, r: scan(lambda c, x: scan(lambda d, y: (ann.namespace(d).tanh(d + y @ w[:, :5]), d[0]), c, x, reverse=not r), a[0], v, reverse=r),
    "one in another that moves": lambda a, b, v, w, u, r: scan(lambda c, x: scan(lambda d, y: (ann.namespace(d).tanh(d + y @ w[:, :5]), d[:4] * y), c, x, reverse=r), a[0], v),
    "products and sums": lambda a, b, v, w, u, r: scan(lambda c, x: ((ann.softmax(x @ w, axis=-1) @ u.T)[:, :5] + c, ann.namespace(c).max(c, axis=1)), a, v * 1.0, reverse=r),
    "rows of a table": lambda a, b, v, w, u, r: scan(lambda c, k: (c + ann.namespace(c).take(w.T, k % 4, axis=0)[:, :3], c), a[:, :3], np.arange(21).reshape(7, 3), reverse=r),
    "windows": lambda a, b, v, w, u, r: scan(lambda c, x: (ann.max_pool(ann.conv(c, w[:2, None, :1, None] * x[0, 0], padding="same"), size=1), ann.namespace(c).sum(c)), a[..., None][None], v, reverse=r),
    "two after one another": lambda a, b, v, w, u, r: scan(lambda c, x: (c - x, c), scan(lambda c, x: (c * 0.9 + x, x), a[:, :4], v, reverse=r)[0], scan(lambda c, x: (c, c * x), a[:, :4], v)[1], reverse=r),
}  # fmt: skip


@pytest.mark.parametrize("threads_", [1, 2])
@pytest.mark.parametrize("case", SCANS)
def test_scans_are_walked_step_by_step(case, threads_):
    for reverse in (False, True):
        f = lambda *arrays: SCANS[case](*arrays, reverse)  # noqa: B023, E731
        arrays = [A, B, V, W, U]
        run = NativeRun(jit(f, lowering="replay").trace(*arrays), found_blas(), threads_, worth=1)
        assert any(i.name == "scan" for i in run.program.body)
        for scale in (1.0, 2.0):
            for y, true in zip(run([scale * x for x in arrays]), tree.leaves(f(*(scale * x for x in arrays))), strict=True):
                assert y.dtype == np.asarray(true).dtype
                np.testing.assert_allclose(y, true, rtol=1e-12, atol=1e-12)


def test_an_index_out_of_range_in_a_scan_raises():
    f = jit(lambda x, i: scan(lambda c, k: (c + np.take(x, k, axis=0), c), x[0], i), lowering="native")
    x = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(f(x, np.array([1, 2]))[0], x[0] + x[1] + x[2])
    with pytest.raises(IndexError):
        f(x, np.array([1, 4]))


def test_what_has_no_largest_raises_as_without_jit():
    for f in (np.max, np.argmin):
        with pytest.raises(ValueError):
            jit(lambda x: f(x, axis=0), lowering="native")(np.zeros((0, 3)))  # noqa: B023


def test_empty_parts_of_an_array_meet_nothing():
    """Though they lie in it."""
    step = jit(lambda p, q: (p * 2.0, q + 1.0), donate=0, lowering="native")
    whole = np.arange(6.0)
    for p, q in ((whole[3:3], whole), (whole.copy(), whole[:0]), (whole, whole[2:2])):
        true = p * 2.0, q + 1.0
        for y, t in zip(step(p, q), true, strict=True):
            np.testing.assert_array_equal(y, t)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("case", [(2, 8, 6, 32, 64, "same"), (3, 10, 12, 64, 32, "valid"), (5, 4, 4, 48, 48, ((1, 1), (0, 2))), (1, 34, 6, 16, 64, "same"), (4, 6, 6, 128, 256, "same")])
def test_convolution_by_winograd_is_as_right_as_the_sum(case, count):
    n, height, width, c, k, padding = case
    rng = np.random.default_rng(0)
    for dtype, error in (("float64", 4e-15), ("float32", 1e-6)):
        x, w = rng.normal(size=(n, height, width, c)).astype(dtype), (rng.normal(size=(3, 3, c, k)) / 24).astype(dtype)

        def f(x, w):
            y, pull = ann.vjp(lambda x, w: ann.conv(x, w, padding=padding), x, w)
            return y, *pull(ann.namespace(y).tanh(y))

        run = NativeRun(jit(f, lowering="replay").trace(x, w), found_blas(), count, worth=1)
        assert [i.name for i in run.program.body if i.name.startswith("conv3x3")] == ["conv3x3", "conv3x3_filter", "conv3x3"]
        for _ in range(2):
            for y, true in zip(run([x, w]), f(x.astype("float64"), w.astype("float64")), strict=True):
                assert np.abs(y - true).max() <= error * np.abs(true).max()


@pytest.mark.parametrize("count", [1, 3, 4, 31, 32, 33, 1000, 4097])
def test_random_bits_are_those_of_the_specification(count):
    from backends.gaps import random_bits

    key, like = (0x12345678, 0xFEDCBA98), np.zeros(1)
    for step in (0, 7, (1 << 32) - 1):
        for threads_ in (1, 2):
            f = lambda s, x: random_bits(s, x, key=key, draw=3, count=count)  # noqa: E731
            run = NativeRun(jit(f, lowering="replay").trace(np.asarray(step, np.int64), like), found_blas(), threads_, worth=1)
            assert [i.name for i in run.program.body] == ["random_bits"]
            (y,) = run([np.asarray(step, np.int64), like])
            assert y.dtype == np.uint32
            np.testing.assert_array_equal(y, random_bits(step, like, key=key, draw=3, count=count))


def test_a_program_is_planned_again_when_the_blas_has_other_threads():
    b = found_blas()
    if not b.get or b.threads < 2 or threads() < 2:
        pytest.skip("one thread, or a BLAS that does not tell")
    x = np.random.default_rng(0).normal(size=(300, 300))
    f = jit(lambda x: np.tanh(x @ x) @ x, lowering="native")
    meant = np.tanh(x @ x) @ x
    before = b.threads
    set_threads = ctypes.CFUNCTYPE(None, ctypes.c_int)(b.set)
    try:
        for count in (before, 1, before):
            set_threads(count)
            np.testing.assert_allclose(f(x), meant, rtol=1e-9, atol=1e-9)
            assert f"{count} thread" in f.explain() and b.threads == count
    finally:
        set_threads(before)


def test_programs_run_at_once_from_several_threads():
    b = found_blas()
    x, wrong = np.random.default_rng(0).normal(size=(200, 200)), []
    long, short = jit(lambda x: np.tanh(x @ x) @ x, lowering="native"), jit(lambda x: np.exp(x[:3, :3]) @ x[:3, :3], lowering="native")
    meant = [np.tanh(x @ x) @ x, np.exp(x[:3, :3]) @ x[:3, :3]]
    before, plans = b.threads, []

    def many(f, y):
        for _ in range(100):
            if not np.allclose(f(x), y):
                wrong.append(f)

    for f in (long, short):
        f(x)
        plans.append(next(iter(f._compiled.values())).run.step)
    callers = [threading.Thread(target=many, args=pair) for pair in [*zip((long, short), meant, strict=True)] * 2]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong and b.threads == before
    assert plans == [next(iter(f._compiled.values())).run.step for f in (long, short)]  # none was planned anew


def test_indices_out_of_range_raise():
    f = jit(lambda x, i: np.take(x, i, axis=0), lowering="native")
    x = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(f(x, np.array([3, -1])), x[[3, -1]])
    for wrong in (4, -5):
        with pytest.raises(IndexError):
            f(x, np.array([0, wrong]))
    np.testing.assert_array_equal(f(x, np.array([0, 1])), x[[0, 1]])


def test_programs_may_be_dropped_while_workers_wait():
    found_blas()
    for k in range(20):
        x = np.ones((64, 300 + k))
        assert (jit(lambda x: np.exp(x) * 2.0, lowering="native")(x) > 5).all()


@pytest.mark.parametrize("width", [8, 96])  # of small products, and of products that two threads share
def test_planning_takes_calls_in_proportion_to_the_program(width):
    def calls(depth):
        def chain(x, ws):
            for w in ws:
                x = np.tanh(x @ w)
            return x, [w - 0.1 * w * w for w in ws]

        one = np.zeros((width, width), "f")
        program = jit(chain, lowering="replay").trace(one, [one] * depth)
        count = itertools.count()
        sys.setprofile(lambda *event: next(count))
        try:
            NativeRun(program, blas(), count=2)
        finally:
            sys.setprofile(None)
        return next(count)

    calls(4)  # compiles
    assert calls(32) < 5.5 * calls(8)


# the cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv("ANN_NATIVE_CACHE", str(path))
    return path


def negate():
    return Loop((Operand("int32", "1"), Operand("int32", "1")), (("load", "int32", 0), ("negative", "int32", 0)), ((1, 1, None),), row=3)


def compiled_again(monkeypatch):
    """How many kernels a process compiles that has not seen this one."""
    count = []
    real = compiler.object_code
    monkeypatch.setattr(compiler, "_addresses", {})
    monkeypatch.setattr(compiler, "_engine", lambda: engine)
    monkeypatch.setattr(compiler, "object_code", lambda text: count.append(text) or real(text))
    from llvmlite import binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), compiler._new_machine())
    engines.append(engine)
    x, y = np.arange(3, dtype=np.int32), np.zeros(3, np.int32)
    call(negate(), [x.ctypes.data, y.ctypes.data, 3])
    assert (y == -x).all()
    monkeypatch.undo()
    return len(count)


engines = []  # live as long as their code


def test_code_is_read_from_disk_once_it_is_compiled(folder, monkeypatch):
    assert compiled_again(monkeypatch) == 1
    monkeypatch.setenv("ANN_NATIVE_CACHE", str(folder))
    assert compiled_again(monkeypatch) == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in folder.iterdir())


def test_code_of_other_sources_is_neither_read_nor_written(folder, monkeypatch):
    """As when the package is brought up to date under a process: its kernels would be taken for those of the new text."""
    assert compiled_again(monkeypatch) == 1
    (file,) = folder.iterdir()
    monkeypatch.setenv("ANN_NATIVE_CACHE", str(folder))
    monkeypatch.setattr(compiler, "_state", lambda: "files that are others")
    monkeypatch.setattr(compiler, "_sources", lambda: "another text")
    assert "changed since" in compiler.Folder.open().reason
    file.unlink()
    assert compiled_again(monkeypatch) == 1 and not list(folder.iterdir())


def test_a_file_that_is_written_again_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(compiler, "__file__", str(tmp_path / "compile.py"))
    (tmp_path / "emit.py").write_text("x = 1")
    before = compiler._state()
    assert compiler._state() == before
    (tmp_path / "emit.py").write_text("x = 22")
    assert compiler._state() != before


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_broken_entries_are_compiled_again(folder, monkeypatch, damage):
    compiled_again(monkeypatch)
    (file,) = folder.iterdir()
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes({"cut": data[:-7], "flip": data, "empty": b""}[damage])
    monkeypatch.setenv("ANN_NATIVE_CACHE", str(folder))
    assert compiled_again(monkeypatch) == 1
    monkeypatch.setenv("ANN_NATIVE_CACHE", str(folder))
    assert compiled_again(monkeypatch) == 0


def test_folders_open_to_others_and_links_are_not_used(folder, tmp_path, monkeypatch):
    folder.mkdir(mode=0o700)
    folder.chmod(0o770)
    assert "chmod" in compiler.Folder.open().reason
    folder.chmod(0o700)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.setenv("ANN_NATIVE_CACHE", str(tmp_path / "link"))
    assert compiler.Folder.open().descriptor is None
    assert compiled_again(monkeypatch) == 1 and not list(folder.iterdir())


def test_without_a_folder_code_is_compiled_anew(tmp_path, monkeypatch):
    for value in ("off", str(tmp_path / "file" / "below")):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("ANN_NATIVE_CACHE", value)
        assert compiled_again(monkeypatch) == 1


def test_the_folder_keeps_a_bounded_number_of_entries(folder, monkeypatch):
    monkeypatch.setattr(compiler, "ENTRIES", 10)
    place = compiler.Folder.open()
    for i in range(25):
        place.write(f"{i:03}", b"code")
    place.close()
    assert len(list(folder.iterdir())) <= 10 and (folder / "024").exists()


def test_tables_are_what_the_docstring_says():
    loop = Loop((Operand("float32", "s1"), Operand("float32", "01", index=2), Operand("int64", "s0")), (("load", "float32", 1),), ((0, 0, None),))
    assert list(loop.words) == [("pointer", 0), ("pointer", 1), ("pointer", 2), ("size", 0), ("size", 1), ("stride", 0, 0), ("stride", 2, 0), ("index stride", 1), ("index size", 1), "flag"]
    assert ctypes.sizeof(ctypes.c_int64) == 8
