"""Every function of the standard and every gap function gives under jit what it gives without: values, dtypes, NaN, infinities, −0.

The calls are those of tests/test_abstract.py. What is drawn for an argument is of any layout in memory (views, Fortran order, negative strides,
read-only), and half of the calls stand in the middle of a program, between values whose memory is planned.
"""

import itertools

import numpy as np
import pytest
from test_abstract import CASES, KEYS, find

import ann
import backends
from backends import gaps, jit, tree
from backends.library import GAPS
from backends.program.shapes import GAP_RULES, MAIN
from backends.program.shapes_linalg import FFT, LINALG

EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.5, -3.5, 0.5, 1e-40, 3e38]
UNSAID = {"empty", "empty_like", "can_cast", "result_type", "isdtype", "finfo", "iinfo", "broadcast_shapes", "__array_namespace_info__", "from_dlpack"}
DEPENDENT = {"nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values"}
NAMES = sorted({*MAIN, *(f"linalg.{name}" for name in LINALG), *(f"fft.{name}" for name in FFT), *GAPS, *GAP_RULES} - UNSAID - DEPENDENT)


def gap_cases():
    """{gap function: calls of it}, as CASES has them."""
    table = {name: [lambda f, a, s=s, d=d: f(a(s, d)) for s in [(), (3,), (2, 0), (3, 4)] for d in ("float32", "float64")] for name in ("erf", "erfc", "lgamma", "digamma", "trigamma")}
    for d in ("float32", "float64"):
        for stride, dilation, size in itertools.product((1, 2), (1, 2), (1, 2, 3)):
            one = {"strides": (stride,), "dilations": (dilation,)}
            table.setdefault("windows", []).append(lambda f, a, d=d, o=one, k=size: f(a((2, 7, 3), d), size=(k,), **o))
            table.setdefault("fold", []).append(lambda f, a, d=d, o=one, k=size: f(gaps.windows(a((2, 7, 3), d), size=(k,), **o), shape=(7,), **o))
        for subscripts, shapes in {"ij,jk->ik": [(2, 3), (3, 4)], "ii->i": [(3, 3)], "ij->ji": [(2, 3)], "ij->": [(2, 3)], "bij,bj->bi": [(2, 3, 4), (2, 4)]}.items():
            table.setdefault("einsum", []).append(lambda f, a, d=d, s=shapes, k=subscripts: f([a(one, d) for one in s], subscripts=k))
        for tail in [(), (2,)]:
            table.setdefault("scatter_add", []).append(lambda f, a, d=d, t=tail: f(a((5, *t), d), a.index((5,)), length=3))
        table.setdefault("scan", []).append(lambda f, a, d=d: f(lambda c, x: (c * 0.5 + x, {"y": c}), a((2, 3), d), a((4, 2, 3), d)))
        for key in KEYS:
            table.setdefault("get_item", []).append(lambda f, a, d=d, k=key: a((2, 3, 4), d)[k])
            table.setdefault("set_item", []).append(lambda f, a, d=d, k=key: assigned(a((2, 3, 4), d), k, 7.0))
    table["random_bits"] = [lambda f, a, n=n: f(a.index(()), a((3,), "float32"), key=(1, 2), draw=0, count=n) for n in (0, 1, 7)]
    table["to_device"] = [lambda f, a: (lambda x: x.to_device(gaps.device(x)))(a((2, 3)))]
    table["device"] = [lambda f, a: str(f(a((3,))))]
    return table


def assigned(x, key, value):
    x = ann.namespace(x).asarray(x, copy=True)
    x[key] = value
    return x


ALL = CASES | gap_cases()
SEED = {name: k for k, name in enumerate(NAMES)}


class Draw:
    """Hands out new arrays and keeps them."""

    def __init__(self, backend, r, edges):
        self.backend, self.r, self.edges, self.drawn = backend, r, edges, []

    def __call__(self, shape, dtype="float32"):
        kind, n = np.dtype(dtype).kind, int(np.prod(shape))
        if kind == "b":
            x = self.r.random(n) < 0.5
        elif kind in "iu":
            x = self.r.integers(0 if kind == "u" else -5, 6, n)
        elif kind == "f":
            x = self.r.choice(EDGES, n) if self.edges else self.r.normal(size=n)
        else:
            x = self.r.normal(size=n) + 1j * self.r.normal(size=n)
        x = x.astype(dtype).reshape(shape)
        if not self.edges and kind in "fc" and len(shape) > 1 and shape[-1] == shape[-2]:  # symmetric, positive definite
            x = (x + np.conj(np.swapaxes(x, -1, -2))) / 2 + 8 * np.eye(shape[-1], dtype=dtype)
        return self.keep(x)

    def index(self, shape, dtype="int64"):
        return self.keep(np.zeros(shape, dtype))

    def keep(self, x):
        x = np.asarray(x)
        self.drawn.append(laid_out(x, self.r) if self.backend.name == "numpy" else self.backend.xp.asarray(x, device=self.backend.device))
        return self.drawn[-1]

    def dtype(self, name):
        return self.backend.library.dtype(name)


class Again(Draw):
    """Hands out arguments in the order in which they were drawn."""

    def __init__(self, backend, arrays):
        self.backend, self.left = backend, iter(arrays)

    def __call__(self, shape, dtype="float32"):
        return next(self.left)

    index = __call__


def laid_out(x, r):
    """The same values, as views, in Fortran order, with negative strides, read-only, as a scalar of NumPy."""
    how = r.integers(0, 6)
    if how == 0 and x.ndim:
        return np.asfortranarray(x)
    if how == 1 and x.ndim:
        return x[::-1].copy()[::-1]
    if how == 2 and x.ndim:
        y = np.zeros(tuple(2 * n for n in x.shape), x.dtype)[tuple(slice(None, None, 2) for _ in x.shape)]
        y[...] = x
        return y
    if how == 3:
        x.flags.writeable = False
    return x[()] if how == 4 else x


def function(xp, name):
    return find(xp, name) if name in CASES else GAPS.get(name)


def moved(x, k):
    """A value that the program makes of another; undone is nothing."""
    xp = ann.namespace(x)
    if xp.isdtype(x.dtype, "bool"):
        return xp.logical_not(x)
    return xp.bitwise_xor(x, xp.asarray(k, dtype=x.dtype, device=gaps.device(x))) if xp.isdtype(x.dtype, "integral") else x * float(k)


def program_of(backend, name, call, planned):
    """The call as a function of its arrays; planned: of values that the program makes, and others are made before the result is used."""

    def f(*arrays):
        xp = ann.namespace(*arrays)
        if not planned:
            return call(function(xp, name), Again(backend, arrays))
        y = call(function(xp, name), Again(backend, [moved(x, 2) for x in arrays]))
        others = [moved(moved(x, 3), 5) for x in arrays]
        return tree.map(lambda x: moved(x, 2) if hasattr(x, "shape") else x, y if isinstance(y, dict) else [*y] if isinstance(y, tuple) else y), others

    return f


def equal(found, meant, rtol, signs=True):
    """Whether they agree to rounding, in NaN, in infinities, and with signs also in the sign of zero."""
    for a, b in zip(tree.leaves(found), tree.leaves(meant), strict=True):
        if not hasattr(b, "dtype"):
            if a != b and a == a:
                return False
            continue
        a, b = (np.asarray(backends.library_of(x).fetch(x)) for x in (a, b))
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        for p, q in ((a.real, b.real), (a.imag, b.imag)) if b.dtype.kind == "c" else ((a, b),):
            finite = np.isfinite(q)
            if not np.array_equal(p[~finite], q[~finite], equal_nan=True):
                return False
            p, q = p[finite].astype("float64"), q[finite].astype("float64")
            if q.size and not np.allclose(p, q, rtol=rtol, atol=rtol * min(np.abs(q).max(), 1e30)):
                return False
            if signs and not np.array_equal(np.signbit(p[(p == 0) & (q == 0)]), np.signbit(q[(p == 0) & (q == 0)])):
                return False
    return True


SUMS = {"sum", "fold", "scatter_add", "einsum", "matmul", "linalg.matmul", "tensordot", "linalg.tensordot", "vecdot", "linalg.vecdot", "linalg.trace"}  # −0 + 0 or −0 alone
REFUSED = (TypeError, ValueError, IndexError, ArithmeticError, AttributeError, np.linalg.LinAlgError)


@pytest.mark.parametrize("lowering", ["numpy", "replay"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_function_gives_under_jit_what_it_gives_without(name, lowering):
    backend, r, ran = backends.get("numpy"), np.random.default_rng(SEED[name]), 0
    for number, call in enumerate(ALL[name]):
        if lowering == "replay" and ran == 20:
            break
        draw = Draw(backend, r, edges=number % 2 == 0 and not name.startswith(("linalg", "fft")))
        program = program_of(backend, name, call, planned=number % 3 == 0)
        with np.errstate(all="ignore"):
            try:
                call(function(np, name), draw)
                arrays = draw.drawn or [np.ones(1)]
                meant = program(*(np.array(x) for x in arrays))
                backends.shape_of(program, *arrays)
            except REFUSED:  # not a call for NumPy, or one that the standard leaves open
                continue
            before = [np.array(x) for x in arrays]
            found = jit(program, lowering=lowering)(*arrays)
            if name in ("linalg.eig", "linalg.eigvals"):  # the standard's are complex, NumPy's where they must be
                found, meant = (tree.map(lambda x: x + 0j if hasattr(x, "dtype") else x, y) for y in (found, meant))
        single = any(getattr(x, "dtype", None) in ("float32", "complex64") for x in tree.leaves(meant))
        if not (name.startswith("fft.") and any(0 in x.shape for x in arrays)):  # transforms of nothing: NumPy reads memory that is not theirs
            assert equal(found, meant, 2e-5 if single else 1e-11, name not in SUMS), f"case {number} of {[(x.shape, x.dtype.name) for x in arrays]}: {found} and not {meant} of {before}"
        assert all(np.array_equal(x, y, equal_nan=x.dtype.kind in "fc") for x, y in zip(arrays, before, strict=True)), f"case {number} writes to its arguments"
        ran += 1
    assert ran, "no call is valid"


def test_every_function_is_called():
    assert {*NAMES} <= {*ALL} and not {*NAMES} & UNSAID


GROUPS = 12
OTHERWISE = {("device", "jax"), ("random_bits", "torch"), ("meshgrid", "jax")}  # what has another answer there


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.filterwarnings("ignore")
def test_functions_give_under_jit_on_each_library_what_they_give_without(backend, group):
    """A few calls of each function, all in one program. On jax, where each first call costs a compilation, NumPy says what they give."""
    host, r, programs, arrays, meant = backends.get("numpy"), np.random.default_rng(group), [], [], []
    jax = backend.name == "jax"
    for name in NAMES[group::GROUPS]:
        left = 1 if jax else 3
        for call in ALL[name] if (name, backend.name) not in OTHERWISE else ():
            draw = Draw(host, r, edges=False)
            program = program_of(backend, name, call, planned=False)
            try:
                y = call(function(np, name), draw)
                here = [backend.xp.asarray(np.array(x), device=backend.device) for x in draw.drawn]
                backends.shape_of(program, *here)
                y = y if jax else program(*here)
            except Exception:  # each library has its own errors for what it does not know
                continue
            if here and not any(0 in x.shape for x in here):
                programs.append((name, program, slice(len(arrays), len(arrays) + len(here))))
                arrays += here
                meant.append([*y] if isinstance(y, tuple) else y)
                left -= 1
            if not left:
                break

    def everything(*arrays):
        made = [program(*arrays[own]) for _, program, own in programs]
        return [[*y] if isinstance(y, tuple) else y for y in made]

    def comparable(x):  # factors are unique to signs, and JAX has its own widths of integers
        x = np.asarray(backends.library_of(x).fetch(x))
        return np.abs(x.astype("complex128"))

    for (name, *_), a, b in zip(programs, jit(everything)(*arrays), meant, strict=True):
        assert equal(*(tree.map(comparable, y) for y in (a, b)), 1e-4) if jax else equal(a, b, 1e-5), f"{name}: {a} and not {b}"
    assert len({name for name, *_ in programs}) > len(NAMES[group::GROUPS]) // 2
