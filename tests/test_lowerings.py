"""Lowerings keep the meaning of a Program: random programs by every lowering against the reference interpreter, and each pass alone.

A random program draws shapes, dtypes, axes, broadcasting, views, donation, aliasing inputs, repeated outputs and constants.
"""

import ctypes
import platform
import warnings

import numpy as np
import pytest

import ann
from backends import gaps, jit, tree
from backends.compile import first_difference
from backends.numpy import rules, slabs
from backends.numpy.lower import NumPyRun
from backends.program import passes

RNG = np.random.default_rng(0)
PROGRAMS = 150


def native(threads):
    """The native lowering, everything that can be shared among so many threads."""

    def lower(program):
        pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra: native)")
        from backends.native.blas import Blas, blas
        from backends.native.run import NativeRun
        from backends.native.steps import CannotExpress

        if not isinstance(blas(), Blas):
            pytest.skip(blas())
        try:
            return NativeRun(program, blas(), threads, worth=1)
        except CannotExpress as reason:
            pytest.skip(f"no kernel for {reason}")

    return lower


LOWERINGS = {"numpy": NumPyRun, "native": native(1), "native, 2 threads": native(2), "native, 3 threads": native(3)}


def draw(seed):
    """(f, arrays, donated places): a random function of some arrays, on any namespace of the standard."""
    r = np.random.default_rng(seed)
    n, m, k = (int(r.choice(c)) for c in ([1, 2, 5, 33], [1, 3, 4, 17], [1, 2, 6]))
    if seed % 10 == 0:
        n = 0
    if seed % 7 == 0:
        n, m = 700, 64 if seed % 2 else 128  # blocks of rows, short vectors laid end to end
    dtype = "float32" if seed % 3 else "float64"
    shapes = [(n, m), (m,), (n, m), (m, k), (n, 1), (), (n, m, k)]
    arrays = [np.asarray(r.normal(size=s), dtype=dtype) for s in shapes] + [r.integers(0, 5, size=(n, m)), r.integers(0, max(n, 1), size=(4,))]
    steps = [(str(r.choice(list(STEPS))), r.integers(0, 1 << 30, size=4).tolist()) for _ in range(int(r.integers(3, 25)))]
    picks = r.integers(0, 1 << 30, size=6).tolist()

    def f(*xs):
        xp = ann.namespace(*xs)
        pool, ints = list(xs[:7]), [xs[7]]
        for name, numbers in steps:
            try:
                made = STEPS[name](xp, pool, ints, xs[8], numbers)
            except Unfit:
                continue
            for y in made if isinstance(made, tuple | list) else (made,):
                pool.append(y)
        chosen = [pool[p % len(pool)] for p in picks] + pool[-3:]
        return {"chosen": chosen, "again": chosen[0], "twice": pool[-1]}

    donated = tuple(range(0, 7, 2)) if seed % 2 else ()
    return f, arrays, donated


class Unfit(Exception):
    """The arrays drawn do not fit the step."""


def pick(pool, number, fits=lambda x: True):
    found = [x for x in pool if fits(x)]
    if not found:
        raise Unfit
    return found[number % len(found)]


def broadcastable(pool, numbers):
    a = pick(pool, numbers[0])

    def fits(b):
        return all(p == q or 1 in (p, q) for p, q in zip(a.shape[::-1], b.shape[::-1], strict=False)) and b.size * a.size < 10**8

    return a, pick(pool, numbers[1], fits)


def unary(name, scale=0.5):
    return lambda xp, pool, ints, index, k: getattr(xp, name)(xp.tanh(pick(pool, k[0])) * scale)


def binary(name):
    def step(xp, pool, ints, index, k):
        a, b = broadcastable(pool, k)
        return getattr(xp, name)(xp.tanh(a), xp.tanh(b) if name != "divide" else 2.5 + xp.tanh(b))

    return step


def reduction(name):
    def step(xp, pool, ints, index, k):
        x = pick(pool, k[0], lambda x: x.ndim > 0 and 0 not in x.shape)
        axes = [None, -1, 0, tuple(range(x.ndim)), tuple(range(x.ndim))[:2]][k[1] % 5]
        return getattr(xp, name)(xp.tanh(x), axis=axes, keepdims=bool(k[2] % 2))

    return step


def matmul(xp, pool, ints, index, k):
    a = pick(pool, k[0], lambda x: x.ndim >= 2)
    b = pick(pool, k[1], lambda x: x.ndim == 2 and x.shape[0] == a.shape[-1])
    return mild(xp, a @ b, a.shape[-1], k)


def product_back(xp, pool, ints, index, k):
    a = pick(pool, k[0], lambda x: x.ndim == 2)
    b = pick(pool, k[1], lambda x: x.ndim == 2 and x.shape[0] == a.shape[0])
    return mild(xp, a.mT @ b, a.shape[0], k)


def mild(xp, product, terms, k):
    """Numbers about 1: a sum of so many terms is as large as its rounding."""
    y = product * (max(terms, 1) ** -0.5)
    return xp.tanh(y) if k[2] % 2 else xp.clip(y, -1.0, 1.0)


def sliced(xp, pool, ints, index, k):
    x = pick(pool, k[0], lambda x: x.ndim >= 1 and x.shape[0] > 0)
    return [x[::2, ...], x[-1:, ...], x[..., None], x[0, ...], x[::-1, ...], x[1:, ...]][k[1] % 6]


def pieces_back(xp, pool, ints, index, k):
    x = pick(pool, k[0], lambda x: x.ndim >= 2 and x.shape[-1] >= 3)

    def parts(x):
        xp = ann.namespace(x)
        return xp.sum(x[..., 0] * 2.0 + x[..., 2] * x[..., 1], dtype=x.dtype) + xp.sum(x[..., 1:3] ** 2, dtype=x.dtype)

    return ann.vjp(parts, x)[1](xp.ones((), dtype=x.dtype))


def rebound(xp, pool, ints, index, k):
    x = xp.asarray(pick(pool, k[0], lambda x: x.ndim >= 1 and x.shape[0] > 0), copy=True)
    if k[1] % 2:
        x += 1.0
    else:
        x[0, ...] = 0.25
    return x


def where(xp, pool, ints, index, k):
    a, b = broadcastable(pool, k)
    return [xp.where(a > 0.1, a, b), xp.where(a > 0.0, a, 0.0), xp.where(a > b, xp.zeros_like(a), a), xp.astype(a > 0, a.dtype) * a][k[2] % 4]


def chosen_rows(xp, pool, ints, index, k):
    x = pick(pool, k[0], lambda x: x.ndim >= 1 and x.shape[0] > 4)
    return xp.take(x, index % 5, axis=0)


def onehot(xp, pool, ints, index, k):
    x = pick(pool, k[0])
    classes = xp.arange(5, dtype=ints[0].dtype)
    return xp.sum(xp.astype(ints[0][..., None] == classes, x.dtype), axis=-1) + 0.0 * xp.sum(x, dtype=x.dtype)


def folded(xp, pool, ints, index, k):
    from backends.gaps import fold, windows

    x = pick(pool, k[0], lambda x: x.ndim == 3 and x.shape[1] >= 3)
    stride = 1 + k[1] % 2
    view = windows(x, size=(2,), strides=(stride,), dilations=(1,))
    return fold(xp.tanh(view), shape=(x.shape[1],), strides=(stride,), dilations=(1,))


STEPS = {
    **{name: unary(name) for name in ("exp", "expm1", "log1p", "sin", "cos", "tanh", "atan", "asinh", "abs", "negative", "square", "floor", "sign")},
    **{name: binary(name) for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "atan2", "hypot", "logaddexp")},
    **{name: reduction(name) for name in ("sum", "mean", "max", "min")},
    "matmul": matmul, "product_back": product_back, "sliced": sliced, "rebound": rebound, "pieces back": pieces_back, "where": where, "rows": chosen_rows, "onehot": onehot, "folded": folded,
    "scaled": lambda xp, pool, ints, index, k: pick(pool, k[0]) * (k[1] % 7 - 3.0),
    "scaled by 0-d": lambda xp, pool, ints, index, k: pick(pool, k[0]) * pick(pool, k[1], lambda x: x.ndim == 0),
    "power": lambda xp, pool, ints, index, k: xp.tanh(pick(pool, k[0])) ** [2, 3, 2.0][k[1] % 3],
    "transposed": lambda xp, pool, ints, index, k: pick(pool, k[0], lambda x: x.ndim >= 2).mT,
    "flat": lambda xp, pool, ints, index, k: xp.reshape(pick(pool, k[0]), (-1,) if pick(pool, k[0]).size else (0,)),
    "stacked": lambda xp, pool, ints, index, k: xp.stack([pick(pool, k[0]), pick(pool, k[0]) * 2.0], axis=0),
    "joined": lambda xp, pool, ints, index, k: xp.concat([pick(pool, k[0], lambda x: x.ndim > 0), pick(pool, k[0], lambda x: x.ndim > 0)], axis=-1),
    "spread": lambda xp, pool, ints, index, k: xp.broadcast_to(pick(pool, k[0], lambda x: x.ndim == 1), (3, pick(pool, k[0], lambda x: x.ndim == 1).shape[0])),
    "moved": lambda xp, pool, ints, index, k: xp.moveaxis(pick(pool, k[0], lambda x: x.ndim == 3), 0, 2),
    "filled": lambda xp, pool, ints, index, k: xp.full_like(pick(pool, k[0]), 0.5) + xp.ones_like(pick(pool, k[0])),
    # of rounded numbers: which of several that differ by rounding is the largest, is not for the program to say
    "best": lambda xp, pool, ints, index, k: xp.astype(xp.argmax(xp.round(16 * pick(pool, k[0], lambda x: x.ndim > 0 and 0 not in x.shape)), axis=-1), pool[0].dtype),
    "sorted": lambda xp, pool, ints, index, k: xp.sort(pick(pool, k[0], lambda x: x.ndim > 0 and 0 not in x.shape), axis=k[1] % 2 - 1 if pick(pool, k[0], lambda x: x.ndim > 0 and 0 not in x.shape).ndim > 1 else -1),
    "rule of ours": lambda xp, pool, ints, index, k: [ann.softmax, ann.gelu, ann.softplus, ann.relu][k[1] % 4](pick(pool, k[0], lambda x: x.ndim > 0 and 0 not in x.shape)),
}  # fmt: skip


def agree(found, meant, dtype):
    rtol = 1e-11 if dtype == "float64" else 2e-5
    for x, y in zip(tree.leaves(found), tree.leaves(meant), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * max(1.0, float(np.abs(y).max())) if y.size else 0)


def quick(lowering, seed):
    return seed < PROGRAMS and {"numpy": True, "native": seed % 3 == 0, "native, 2 threads": seed % 3 == 1}.get(lowering, False)


CASES = [(lowering, seed) for seed in range(10 * PROGRAMS) for lowering in LOWERINGS]


@pytest.mark.parametrize(("lowering", "seed"), [pytest.param(*case, marks=[] if quick(*case) else pytest.mark.full) for case in CASES])
def test_a_random_program_by_every_lowering(lowering, seed):
    f, arrays, donated = draw(seed)
    with np.errstate(all="ignore"):
        program = jit(f, donate=donated, lowering="replay").trace(*arrays)
        meant = program.run([np.array(x) for x in arrays])
        run = LOWERINGS[lowering](program)
        given = [np.array(x) for x in arrays]
        found = run(given)
        agree(found, meant, arrays[0].dtype.name)
        if not donated:
            for x, y in zip(given, arrays, strict=True):
                np.testing.assert_array_equal(x, y)  # nothing of the user's is written to
        again = run([np.array(x) for x in arrays])
        agree(again, meant, arrays[0].dtype.name)
        for x, y in zip(found, meant, strict=True):
            if not donated:
                np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
        if lowering == "numpy":
            assert first_difference(program, [np.array(x) for x in arrays], lowering="numpy") == ""


EDGES = {
    "float": [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 7.0, np.inf, -np.inf, np.nan, 1e-40, 3e38, -3e38, 300.7, -1e10, 5e9, 1e19],
    "int64": [0, 1, -1, 2, 7, -7, 63, 64, 100, -128, 255, 1 << 40, (1 << 63) - 1, -(1 << 63)],
    "int8": [0, 1, -1, 2, 7, 8, 100, 127, -128, -127],
    "uint8": [0, 1, 2, 7, 8, 9, 100, 255],
}
GENTLE = "negative positive abs sign floor trunc round maximum minimum where clip astype".split()  # exact, so that what follows sees the same numbers
OF_FLOATS = "floor trunc round sqrt reciprocal isnan isinf signbit".split()
ALONE = [*OF_FLOATS, *"negative positive abs sign square bitwise_invert".split()]
EDGED = [*GENTLE, *OF_FLOATS, *"add subtract multiply divide floor_divide remainder square copysign equal less greater_equal".split()]
WHOLE = [*GENTLE, *"add multiply floor_divide remainder bitwise_left_shift bitwise_right_shift bitwise_xor bitwise_invert less equal pow".split()]
REDUCED = ["sum", "prod", "max", "min", "argmax", "argmin", "any", "all"]


def at_the_edges(seed):
    """(f, arrays): two functions in turn and a reduction, of all pairs of these numbers."""
    r = np.random.default_rng(seed)
    kind = str(r.choice(["float32", "float64", "float32", "int64", "int8", "uint8"]))
    values = np.array(EDGES.get(kind, EDGES["float"])).astype(kind)
    a, b = np.meshgrid(values, r.permutation(values))
    first, second = str(r.choice(GENTLE)), str(r.choice(EDGED if kind[0] == "f" else WHOLE))
    bounds, to, axis, reduced = r.choice(values, 2), str(r.choice(["float32", "float64", "bool", "int8", "uint8", "int32", "int64", "uint64"])), int(r.integers(2)), str(r.choice(REDUCED))

    def apply(name, x, y):
        xp = ann.namespace(x, y)
        if name == "astype":
            return xp.astype(x, to)
        if name == "where":
            return xp.where(y > 0, x, y)
        if name == "clip":
            return xp.clip(x, *map(float if kind[0] == "f" else int, sorted(bounds)))
        if name == "pow":
            return xp.pow(x, 5)
        if name in OF_FLOATS and kind[0] != "f":
            return x
        return getattr(xp, name)(*[x, y][: 1 if name in ALONE else 2])

    def f(a, b):
        xp = ann.namespace(a, b)
        made = apply(second, apply(first, a, b) if first != "astype" else a, b)
        reduction = reduced if made.dtype.kind in "iuf" or reduced in ("any", "all") else "any"
        return made, getattr(xp, reduction)(made, axis=axis), getattr(xp, reduction)(made[::-1, :3], axis=axis)

    return f, [a, b]


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[] if seed < PROGRAMS // 2 else pytest.mark.full) for seed in range(10 * PROGRAMS)])
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="what conversions do with numbers out of range is told of x86 alone")
def test_numbers_at_the_edges_natively_are_those_of_numpy(seed):
    f, arrays = at_the_edges(seed)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        meant = f(*arrays)
        found = native(1 + seed % 2)(jit(f, lowering="replay").trace(*arrays))(arrays)
        for k, (x, y) in enumerate(zip(found, meant, strict=True)):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(x, y, rtol=0 if k == 0 else 1e-6)
            if k == 0 and y.dtype.kind == "f":
                zero = y == 0
                np.testing.assert_array_equal(np.signbit(x)[zero], np.signbit(y)[zero])


@pytest.mark.parametrize("name", ["settle", "fold", "share", "assemble", "simplify"])
@pytest.mark.parametrize("seed", range(0, PROGRAMS, 6))
def test_a_pass_keeps_the_meaning(name, seed):
    f, arrays, _ = draw(seed)
    with np.errstate(all="ignore"):
        program = jit(f, lowering="replay").trace(*arrays)
        after = getattr(passes, name)(program)
        agree(after.run(arrays), program.run(arrays), arrays[0].dtype.name)
        assert len(after.body) <= len(program.body) or name in ("settle", "assemble", "simplify")


def test_aliasing_inputs_are_told_apart_when_one_is_donated():
    f = jit(lambda p, q: (p * 2.0, q + 1.0), donate=0)
    x = np.arange(5.0)
    a, b = f(x, x)
    np.testing.assert_array_equal(a, 2.0 * np.arange(5.0))
    np.testing.assert_array_equal(b, np.arange(5.0) + 1.0)
    whole = np.arange(10.0)
    a, b = f(whole[:5], whole[2:7])
    np.testing.assert_array_equal(a, 2.0 * np.arange(5.0))
    np.testing.assert_array_equal(b, np.arange(2.0, 7.0) + 1.0)


@pytest.mark.parametrize("twice", ["dlpack", "memoryview", "bytearray", "ctypes"])
def test_memory_that_is_known_by_two_names_is_told_apart_when_one_is_donated(twice):
    def names():
        p = np.arange(5.0)
        if twice == "dlpack":
            return p, np.from_dlpack(p)
        if twice == "memoryview":
            return np.asarray(memoryview(p)), np.asarray(memoryview(p))
        held = bytearray(p.tobytes()) if twice == "bytearray" else (ctypes.c_double * 5)(*p)
        return np.frombuffer(held), np.frombuffer(held)

    for lowering in (None, "numpy"):
        a, b = jit(lambda p, x: (p * 2.0, x + 1.0), donate=0, lowering=lowering)(*names())
        np.testing.assert_array_equal(a, 2.0 * np.arange(5.0))
        np.testing.assert_array_equal(b, 1.0 + np.arange(5.0))


def test_a_result_in_donated_memory_is_in_the_byte_order_of_this_machine():
    y = jit(lambda p: p * 2.0, donate=0, lowering="numpy")(np.arange(5.0).astype(">f8"))
    assert y.dtype.isnative and y.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]


OTHER_ROWS = {
    "reversed": lambda xp, p: p + p[::-1, ...],
    "the first": lambda xp, p: p * p[:1, ...],
    "the first, spread": lambda xp, p: p + xp.broadcast_to(p[0, ...], p.shape),
    "moved by one": lambda xp, p: xp.exp(xp.concat([p[1:, ...], p[:1, ...]], axis=0)),
}


@pytest.mark.parametrize("other", OTHER_ROWS)
def test_what_is_written_over_a_donated_argument_block_by_block_still_reads_its_other_rows(other):
    def f(p, q):
        xp = ann.namespace(p)
        a = q + 1.0
        new = OTHER_ROWS[other](xp, p)
        b = a * 2.0
        return new, xp.sum(b * b)

    p, q = RNG.normal(size=(2, 700, 128))
    agree(jit(f, donate=0, lowering="numpy")(p.copy(), q), f(p, q), "float64")


VIEWS = {
    "diagonal": lambda xp, u: xp.linalg.diagonal(u), "real": lambda xp, u: xp.real(u), "imag": lambda xp, u: xp.imag(u * 1j), "einsum": lambda xp, u: gaps.einsum([u], subscripts="ii->i"),
    "broadcast_arrays": lambda xp, u: xp.broadcast_arrays(u, u[:1, :]), "one of them": lambda xp, u: xp.meshgrid(u[0, :]), "power 1": lambda xp, u: xp.linalg.matrix_power(u, 1),
    "from_dlpack": lambda xp, u: xp.from_dlpack(u), "diff 0": lambda xp, u: xp.diff(u, n=0), "scan": lambda xp, u: gaps.scan(lambda c, x: (c, x), u, u[0, :]),
}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_that_a_function_returns_stays_as_it_was(view):
    def f(x):
        xp = ann.namespace(x)
        made = tree.leaves(VIEWS[view](xp, x * 2.0))
        later = (x * 3.0 + 1.0) * (x * 5.0 + 7.0)
        return [y + 0.5 for y in made], later

    x = RNG.normal(size=(6, 6))
    agree(jit(f, lowering="numpy")(x), f(x), "float64")


WITHOUT_OUT = {"clip": lambda xp, p: xp.clip(p * 2.0, -1.0, 1.0), "round": lambda xp, p: xp.round(p * 10.0), "erf": lambda xp, p: gaps.erf(p * 2.0), "power": lambda xp, p: xp.abs(p) ** 1.5}


@pytest.mark.parametrize("last", WITHOUT_OUT)
def test_small_donated_parameters_may_end_in_any_function(last):
    def f(ps):
        return [WITHOUT_OUT[last](ann.namespace(p), p) for p in ps]

    step, ps = jit(f, donate=0, lowering="numpy"), [RNG.normal(size=n) for n in (4, 5, 6)]
    expected, got = f(ps), step([p.copy() for p in ps])
    for _ in range(2):
        expected, got = f(expected), step(got)
    agree(got, expected, "float64")


PACKS = {
    "read later": lambda xp, flat, new, a, x: (new[0:4,], new[4:8,], new[8:12,], xp.sum(flat[:3,] * 2.0) + x), "a later row": lambda xp, flat, new, a, x: (new[0:4,], new[4:8,], new[8:12,], a[::-1] * new[0:4,] * x),
    "every third": lambda xp, flat, new, a, x: (new[0::3,], new[4::2,], new[8:12,], a * x), "one entry": lambda xp, flat, new, a, x: (new[0:4,], new[4:8,], new[8:12,], new[(3,)] + x),
    "given out, too": lambda xp, flat, new, a, x: (new[0:4,], new[4:8,], new[8:12,], flat), "as it comes": lambda xp, flat, new, a, x: (new[0:4,], new[4:8,], new[8:12,], new * 2.0),
}  # fmt: skip


@pytest.mark.parametrize("how", PACKS)
def test_a_pack_of_donated_parameters_that_a_user_makes(how):
    def f(a, b, c, x):
        xp = ann.namespace(a)
        flat = xp.concat([a, b, c])
        return PACKS[how](xp, flat, flat * 0.9 + 1.0, a, x)

    step = jit(f, donate=(0, 1, 2), lowering="numpy")
    found = meant = [*RNG.normal(size=(3, 4)), np.asarray(2.0)]
    found = [x.copy() for x in found]
    for _ in range(4):
        found, meant = [*step(*found[:3], 1.5)], [*f(*meant[:3], 1.5)]
        agree(found, meant, "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_numbers_of_every_kind_enter_a_program(dtype):
    def f(x):
        xp = ann.namespace(x)
        y, z = xp.full((3,), xp.nan), xp.full((3,), -xp.inf)
        y[0], z[1] = 1.0, 2.0
        return x * 1j, x - (1 - 2j), x == 1j, xp.full((3,), 2 - 1j), y, z

    x = RNG.normal(size=3).astype(dtype)
    for a, b in zip(jit(f, lowering="numpy")(x), f(x), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_0d_number_that_was_rounded_to_float32_stays_rounded():
    f = jit(lambda x: ann.namespace(x).astype(ann.namespace(x).astype(x, np.float32) * 3.0, np.float64), lowering="numpy")
    assert f(np.asarray(0.1)) == np.float64(np.float32(0.1) * np.float32(3.0))


ALIKE = {
    "x·1": lambda xp, x: x * 1.0, "+x": lambda xp, x: +x, "a copy": lambda xp, x: xp.asarray(x, copy=True), "its own dtype": lambda xp, x: xp.astype(x, x.dtype),
    "joined alone": lambda xp, x: xp.concat([x]), "a branch": lambda xp, x: xp.where(xp.full(x.shape, True), x, 0.0), "twice": lambda xp, x: (x + 1.0, x + 1.0),
    "times 1": lambda xp, x: [(y, y * 1.0, y) for y in [x - 2.0]][0], "constants": lambda xp, x: (xp.zeros(3), xp.zeros(3), xp.arange(3), xp.arange(3), x),
}  # fmt: skip


@pytest.mark.parametrize("lowering", ["native", "numpy", "replay"])
@pytest.mark.parametrize("alike", ALIKE)
def test_results_share_memory_with_arguments_and_each_other_only_where_they_do_without_jit(alike, lowering):
    if lowering == "native":
        pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra: native)")

    def shared(run, x):
        ys = tree.leaves(run(x))
        pairs = {(i, j) for i in range(len(ys)) for j in range(i) if np.may_share_memory(ys[i], ys[j])}
        return ys, pairs | {(i, "x") for i, y in enumerate(ys) if np.may_share_memory(y, x)}

    def f(x):
        return ALIKE[alike](ann.namespace(x), x)

    x = RNG.normal(size=(3, 4))
    (meant, eager), (found, compiled) = shared(f, x), shared(jit(f, lowering=lowering), x)
    agree(found, meant, "float64")
    assert compiled <= eager


def test_results_are_fresh_memory():
    f = jit(lambda x: (x + 1.0, x * 2.0))
    x = np.arange(5.0)
    a = f(x)
    kept = [y.copy() for y in a]
    f(x * 100.0)
    for y, was in zip(a, kept, strict=True):
        np.testing.assert_array_equal(y, was)


def test_gap_functions_without_a_kernel_are_their_bodies(lowering):
    dice = ann.Stream(3)["d"]

    def f(x, i):
        xp = ann.namespace(x)
        return x * xp.astype(dice.at(i).bernoulli(0.7, x.shape, like=x), x.dtype), dice.at(i).integers(0, 1000, (37,), like=x)

    program = jit(f).trace(np.ones((13, 7)), 3)
    opened = passes.expand(program, lambda name: False)
    assert not any(i.name == "random_bits" for i in opened.body)
    arrays = [RNG.normal(size=(13, 7)), np.asarray(5)]
    for a, b in zip(opened.run(arrays), program.run(arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jit(f, lowering=lowering)(arrays[0], 5), f(arrays[0], 5), strict=True):
        np.testing.assert_array_equal(a, b)


CONVOLUTIONS = {
    "LeNet's first": ((8, 28, 28, 1), (5, 5, 1, 8), {}), "padded": ((8, 12, 12, 3), (3, 3, 3, 4), {"padding": "same"}), "stride 2": ((8, 17, 33, 2), (3, 3, 2, 4), {"strides": 2}),
    "a pixel left over": ((8, 10, 26, 1), (3, 2, 1, 4), {"strides": (1, 3)}), "one axis": ((20, 40, 2), (7, 2, 3), {}), "dilated above": ((8, 16, 16, 1), (3, 3, 1, 4), {"dilations": (2, 1)}),
    "dilated": ((8, 16, 16, 1), (3, 3, 1, 4), {"dilations": 2}), "groups": ((8, 12, 12, 2), (3, 3, 1, 4), {"groups": 2}), "three axes": ((2, 8, 8, 8, 1), (3, 3, 3, 1, 2), {}),
    "a prime of places": ((24, 9, 15, 1), (3, 3, 1, 4), {}), "1×1": ((8, 16, 16, 2), (1, 1, 2, 4), {}), "few rows": ((1, 4, 8, 1), (3, 3, 1, 4), {}), "many channels": ((2, 8, 8, 64), (3, 3, 64, 64), {}),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("which", CONVOLUTIONS)
def test_a_convolution_and_its_gradients_in_blocks_of_places(which, dtype):
    shape, kernel, static = CONVOLUTIONS[which]

    def f(x, w, b):
        y, back = ann.vjp(lambda x, w, b: ann.conv(x, w, b, **static), x, w, b)
        return y, back(ann.namespace(y).tanh(y))

    arrays = [RNG.normal(size=s).astype(dtype) for s in (shape, kernel, kernel[-1:])]
    run = jit(f, lowering="numpy")
    agree(run(*arrays), f(*arrays), dtype)
    names = [i.name for program in run.programs for i in NumPyRun(program).program.body]
    assert ("banded" in names) == (which not in ("dilated", "groups", "few rows", "many channels")), names


@pytest.mark.parametrize("which", CONVOLUTIONS)
def test_a_convolution_and_its_gradients_a_few_examples_at_a_time(which, monkeypatch):
    monkeypatch.setattr(slabs, "LARGE", 0)
    monkeypatch.setattr(slabs, "SLAB", 30000)
    monkeypatch.setattr(rules, "PART", 1000)
    shape, kernel, static = CONVOLUTIONS[which]

    def f(x, w, b):
        y, back = ann.vjp(lambda x, w, b: ann.conv(x, w, b, **static), x, w, b)
        return y, back(ann.namespace(y).tanh(y))

    arrays = [RNG.normal(size=s) for s in ((shape[0] + 3, *shape[1:]), kernel, kernel[-1:])]
    run = jit(f, lowering="numpy")
    for _ in range(2):
        agree(run(*arrays), f(*arrays), "float64")
    names = [i.name for program in run.programs for i in NumPyRun(program).program.body]
    assert ("slab_gradient" in names) == (which != "groups"), names


def test_windows_that_are_given_out_besides_are_not_put_in_blocks():
    def f(x, w):
        xp = ann.namespace(x)
        rows = xp.reshape(gaps.windows(x, size=(3, 3), strides=(1, 1), dilations=(1, 1)), (-1, 9))
        return rows @ w, rows.mT @ (rows @ w), rows

    x, w = RNG.normal(size=(8, 18, 18, 1)), RNG.normal(size=(9, 4))
    agree(jit(f, lowering="numpy")(x, w), f(x, w), "float64")


TOGETHER = {
    "made for it": lambda xp, a, b: xp.concat([a * 2.0, b @ a, xp.exp(a)]), "read besides": lambda xp, a, b: [(xp.concat([p, q, p], axis=1), p + q) for p, q in [(a * 2.0, b @ a)]],
    "given out besides": lambda xp, a, b: [(xp.concat([p, q]), p) for p, q in [(a * 2.0, xp.exp(a))]], "in another shape": lambda xp, a, b: xp.concat([xp.reshape(a * 2.0, (-1,)), xp.sum(b, axis=0)]),
    "in two": lambda xp, a, b: [(xp.concat([p, a]), xp.concat([a, p], axis=1)) for p in [xp.tanh(a)]], "one in the other": lambda xp, a, b: xp.concat([xp.concat([a * 2.0, a + 1.0]), b @ a]),
    "columns of products": lambda xp, a, b: xp.concat([b @ a, b @ a * 2.0], axis=1) @ xp.concat([a * 2.0, a + 1.0])[:10,], "stacked in the middle": lambda xp, a, b: xp.stack([a * 2.0, b @ a], axis=1) + 1.0,
}  # fmt: skip


@pytest.mark.parametrize("how", TOGETHER)
def test_what_is_put_together_may_be_made_in_its_place(how):
    def f(a, b):
        return TOGETHER[how](ann.namespace(a), a, b)

    a, b = RNG.normal(size=(7, 5)), RNG.normal(size=(7, 7))
    run = jit(f, lowering="numpy")
    for scale in (1.0, 2.0):
        agree(run(a * scale, b), f(a * scale, b), "float64")


def pooled(f, *arrays):
    """A number that depends on an image y = conv(x, w) in the ways of f, and its gradients by the numpy lowering; how many convolutions are in cells."""

    def loss(x, w, b):
        parts = f(ann.namespace(x), x, w, b)
        return sum(ann.namespace(x).sum(ann.tanh(y)) for y in parts), parts

    def step(x, w, b):
        return ann.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(x, w, b)

    run = jit(step, lowering="numpy")
    agree(run(*arrays), step(*arrays), "float64")
    (program,) = run.programs
    return len([i for i in NumPyRun(program).program.body if i.name == "banded" and set(i.static["blocks"].cell) != {1}])


IN_CELLS = {
    "a pool": lambda xp, x, w, b: [ann.max_pool(ann.relu(ann.conv(x, w, b)), size=2)], "other sizes": lambda xp, x, w, b: [ann.max_pool(ann.relu(ann.conv(x, w, b)), size=(2, 4))],
    "no bias": lambda xp, x, w, b: [ann.max_pool(ann.conv(x, w), size=2)], "scaled": lambda xp, x, w, b: [ann.max_pool(ann.gelu(ann.conv(x, w) * b + 1.0) * 2.0, size=2)],
    "padded": lambda xp, x, w, b: [ann.max_pool(ann.relu(ann.conv(x, w, b, padding="same")), size=2)], "twice": lambda xp, x, w, b: [y for z in [ann.conv(x, w, b)] for y in (ann.max_pool(z, size=2), ann.max_pool(ann.relu(z), size=2) * 3.0)],
    "the smallest, too": lambda xp, x, w, b: [y for z in [ann.conv(x, w, b)] for y in (ann.max_pool(z, size=2), ann.max_pool(-z, size=2))], "strides": lambda xp, x, w, b: [ann.max_pool(ann.conv(xp.concat([x, x], axis=2), w, b, strides=(1, 3)), size=(1, 2))],
    "then more": lambda xp, x, w, b: [ann.max_pool(ann.relu(ann.conv(ann.max_pool(ann.relu(ann.conv(x, w, b)), size=2), xp.concat([w] * 4, axis=2), b)), size=4)],
    "two of them": lambda xp, x, w, b: [ann.max_pool(ann.conv(x, w, b), size=2) * ann.max_pool(ann.conv(xp.concat([x, x], axis=3), xp.concat([w, w], axis=2)), size=2)],
    "of two weights": lambda xp, x, w, b: [ann.max_pool(ann.conv(x, w * b, b * 2.0), size=2)],
}  # fmt: skip
NOT_IN_CELLS = {
    "an image given out": lambda xp, x, w, b: [y for z in [ann.conv(x, w, b)] for y in (ann.max_pool(z, size=2), z)], "rows of it": lambda xp, x, w, b: [y for z in [ann.conv(x, w, b)] for y in (ann.max_pool(z, size=2), xp.sum(z, axis=1))],
    "two sizes": lambda xp, x, w, b: [y for z in [ann.conv(x, w, b)] for y in (ann.max_pool(z, size=2), ann.max_pool(z, size=4))], "overlapping": lambda xp, x, w, b: [ann.max_pool(ann.conv(x, w, b), size=4, strides=2)],
    "with an input": lambda xp, x, w, b: [ann.max_pool(ann.conv(x, w, b) + x[:, :-2, :-2, :], size=2)], "a map of places": lambda xp, x, w, b: [ann.max_pool(ann.conv(x, w, b) * x[0, :-2, :-2, :], size=2)],
    "the mean": lambda xp, x, w, b: [ann.average_pool(ann.relu(ann.conv(x, w, b)), size=2)], "of two": lambda xp, x, w, b: [ann.max_pool(ann.conv(x, w, b) + ann.conv(x * 2.0, w), size=2)],
    "pixels left over": lambda xp, x, w, b: [ann.max_pool(ann.conv(x, w, b), size=3)], "the square of the weights": lambda xp, x, w, b: [ann.max_pool(ann.conv(ann.conv(x, w, b)[..., :2], w, b)[..., ::2], size=2)],
}  # fmt: skip


@pytest.mark.parametrize("how", [*IN_CELLS, *NOT_IN_CELLS])
def test_images_between_a_convolution_and_a_pool(how):
    arrays = [RNG.normal(size=s) for s in ((24, 18, 18, 2), (3, 3, 2, 8), (8,))]
    if how == "with an input":
        arrays = [RNG.normal(size=s) for s in ((24, 18, 18, 8), (3, 3, 8, 8), (8,))]
    if how == "a map of places":
        arrays = [RNG.normal(size=s) for s in ((24, 18, 18, 1), (3, 3, 1, 8), (8,))]
    found = pooled({**IN_CELLS, **NOT_IN_CELLS}[how], *arrays)
    assert found >= 1 if how in IN_CELLS else found == 0


@pytest.mark.parametrize("shape", [(64, 34, 2), (16, 10, 10, 10, 1)])
def test_images_of_other_ranks_between_a_convolution_and_a_pool(shape):
    rank, c = len(shape) - 2, shape[-1]
    pooled(lambda xp, x, w, b: [ann.max_pool(ann.relu(ann.conv(x, w, b)), size=2)], RNG.normal(size=shape), RNG.normal(size=(*(3,) * rank, c, 4)), RNG.normal(size=4))


@pytest.mark.parametrize("static", [{"size": 2}, {"size": (2, 3)}, {"size": 3, "strides": 2}, {"size": 2, "padding": "same"}, {"size": 1}], ids=str)
def test_a_network_of_images_and_its_gradients(static):
    def f(x, w, b, u):
        def loss(x, w, b, u):
            xp = ann.namespace(x)
            y = ann.max_pool(ann.relu(ann.conv(x, w, b, padding="same")), **static)
            return xp.sum(ann.tanh(ann.average_pool(ann.relu(ann.conv(y, u)), size=2)))

        return ann.value_and_grad(loss, argnums=(0, 1, 2, 3))(x, w, b, u)

    arrays = [RNG.normal(size=s) for s in ((48, 12, 18, 3), (3, 3, 3, 8), (8,), (2, 2, 8, 4))]
    agree(jit(f, lowering="numpy")(*arrays), f(*arrays), "float64")


@pytest.mark.parametrize("lowering", ["native", "numpy"])
def test_repeated_rows_are_multiplied_once(lowering):
    if lowering == "native":
        pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra: native)")

    def f(x, w):
        xp = ann.namespace(x)
        many = xp.broadcast_to(x, (5, 6, 4))
        return many @ w, many @ w + xp.reshape(xp.arange(30, dtype=x.dtype), (5, 6, 1)), xp.broadcast_to(x[0, ...], (7, 4)) @ w, many @ xp.broadcast_to(w, (5, 4, 3))

    x, w = RNG.normal(size=(5, 1, 4)), RNG.normal(size=(4, 3))
    run = jit(f, lowering=lowering)
    agree(run(x, w), f(x, w), "float64")
    (program,) = run.programs
    assert sorted(program.values[i.args[0]].shape for i in passes.simplify(program).body if i.name == "matmul") == [(1, 4), (5, 1, 4), (5, 6, 4)]


def test_a_mask_with_all_or_none_is_itself():
    def f(x):
        xp = ann.namespace(x)
        mask, none = x > 0, xp.zeros_like(x, dtype=xp.bool)
        return [mask & ~none, none | mask, xp.logical_and(mask, ~none), mask & none, mask & (~none)[:1, :], mask[:1, :] | none]

    x = RNG.normal(size=(3, 4))
    program = passes.simplify(jit(f, lowering="replay").trace(x))
    assert [i.name for i in program.body if i.name.endswith(("_and", "_or"))] == ["bitwise_and", "bitwise_or"]
    for y, meant in zip(program.run([x]), f(x), strict=True):
        np.testing.assert_array_equal(y, meant)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_0d_integers_go_round_as_those_of_arrays_do(dtype):
    def f(t, u):
        return t + 1, t - u, t * u, -t, (t + u) * 3 - 1, t + 1 > u

    for t, u in ((2, 3), (np.iinfo(dtype).max, 5), (np.iinfo(dtype).min, 1), (np.iinfo(dtype).min, np.iinfo(dtype).max)):
        one, two = np.asarray(t, dtype), np.asarray(u, dtype)
        for y, meant in zip(jit(f, lowering="numpy")(one, two), f(one.reshape(1), two.reshape(1)), strict=True):
            assert y.dtype == meant.dtype and y == meant[0]


@pytest.mark.parametrize("shape", [(40, 10), (3, 8, 7), (2, 5), (40, 1), (300, 33)])
def test_extremes_and_sums_of_short_rows(shape):
    def f(x):
        xp = ann.namespace(x)
        return [getattr(xp, name)(x, axis=-1, keepdims=keep) for name in ("max", "min", "sum") for keep in (True, False)], ann.softmax(x)

    x = RNG.normal(size=shape)
    agree(jit(f, lowering="numpy")(x), f(x), "float64")
    x[0, 0] = np.nan
    for y, meant in zip(tree.leaves(jit(f, lowering="numpy")(x)), tree.leaves(f(x)), strict=True):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(meant))


def test_sums_to_one_number():
    def f(a, b):
        xp = ann.namespace(a)
        p, rows = a * b, xp.sum(-(b * b), axis=1)
        whole = [xp.sum(-a), xp.sum(xp.sum(a, axis=0)), xp.sum(xp.sum(-(a * b), axis=1, keepdims=True)), xp.sum(-rows), xp.sum(a * a), xp.sum(a * b[:1, :]), xp.sum(a * 2.0)]
        return whole, xp.sum(p), p, xp.sum(rows), rows, xp.sum(a[0, 0]), a * xp.sum(a * b), xp.mean(xp.sum(-a, axis=(0, 1), keepdims=True))

    for shape in ((13, 7), (700, 64)):
        a, b = RNG.normal(size=(2, *shape))
        agree(jit(f, lowering="numpy")(a, b), f(a, b), "float64")
