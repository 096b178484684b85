"""The gap functions: native equals portable, values against mpmath and NumPy, identities, edges, errors."""

import functools
import math

import mpmath
import numpy as np
import pytest

import backends
from backends import gaps, tree
from backends.gaps import special
from backends.gaps.contraction import einsum
from backends.wrapped import split_key

mpmath.mp.dps = 50
SPECIAL = {
    "erf": mpmath.erf,
    "erfc": mpmath.erfc,
    "lgamma": lambda x: mpmath.log(abs(mpmath.gamma(x))),
    "digamma": mpmath.digamma,
    "trigamma": lambda x: mpmath.psi(1, x),
}
rng = np.random.default_rng(0)


def compiled(backend, f):
    """On jax one compilation instead of one an operation and shape."""
    return pytest.importorskip("jax").jit(f) if backend.library.name == "jax" else f


def frozen(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


def relative(y: np.ndarray, truth: list, scale: float = 0.0) -> float:
    """The largest error relative to max(|truth|, scale); a zero must be met exactly."""
    pairs = [(mpmath.mpf(float(a)), t) for a, t in zip(y, truth, strict=True)]
    return max(float(abs(a - t) / max(abs(t), scale, mpmath.mpf(10) ** -400)) if a != t else 0.0 for a, t in pairs)


@functools.cache
def truth(name: str, dtype: str) -> list:
    return [SPECIAL[name](mpmath.mpf(float(v))) for v in grid(name, dtype)]


@functools.cache
def grid(name: str, dtype: str) -> np.ndarray:
    tiny = 1e-300 if dtype == "float64" else 1e-37
    near = np.concatenate(
        [10.0 ** np.linspace(math.log10(tiny), 0, 40), np.linspace(0.01, 4, 90), np.linspace(4, 13, 40)]
    )
    if name in ("erf", "erfc"):
        tail = 26.0 if dtype == "float64" else 9.0
        x = np.concatenate([near[near < tail], -near, np.linspace(2, tail, 40), [0.0]])
    else:
        x = np.concatenate(
            [near[near > 1e-30] if name != "trigamma" else near[near > 1e-15], 10.0 ** np.linspace(1, 30, 40)]
        )
        x = np.concatenate([x, 1 + near[:40], 2 - near[:39], [1.4616, 1.5, 2.99999, 3.0, 7.9999, 8.0, 9.9999, 10.0]])
    return np.unique(x.astype(dtype))


# name: error bounds (float64, float32)
BOUNDS = {
    "erf": (1e-15, 3e-7),
    "erfc": (2e-15, 1e-6),
    "lgamma": (1e-14, 3e-6),
    "digamma": (1e-14, 3e-6),
    "trigamma": (5e-15, 2e-6),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("version", ["native", "portable"])
def test_special_function_has_small_relative_error(backend, name, dtype, version):
    x = grid(name, dtype)
    f = getattr(gaps, name)
    f = f if version == "native" else f.portable
    y = f(backend.asarray(frozen(x)))  # not compiled: XLA joins exp(a)·exp(b), and the tail of erfc loses three digits, as its own does
    assert y.dtype == backend.asarray(x).dtype
    # a library's own version may lose the relative accuracy near the zeros of lgamma
    scale = 1.0 if name == "lgamma" and version == "native" else 0.0
    assert relative(backend.to_numpy(y), truth(name, dtype), scale) < BOUNDS[name][dtype == "float32"]


@pytest.mark.parametrize("name", ["lgamma", "digamma", "trigamma"])
def test_reflection_to_negative_arguments(backend, name):
    x = np.concatenate(
        [-np.linspace(0.01, 0.99, 60), -np.linspace(1.05, 1.95, 20), -np.arange(1, 60) - 0.3, [-1e-5, -100.7, -1000.5]]
    )
    y = backend.to_numpy(compiled(backend, getattr(gaps, name).portable)(backend.asarray(x)))
    truth = [SPECIAL[name](mpmath.mpf(float(v))) for v in x]
    near = np.abs(x - np.round(x))  # the distance to the pole, which rounding of π·r disturbs by eps
    assert np.all(
        [
            abs(mpmath.mpf(float(a)) - t) < 1e-14 * max(1, abs(t)) / min(1, 10 * r)
            for a, t, r in zip(y, truth, near, strict=True)
        ]
    )


def test_special_functions_at_the_ends(backend):
    inf, nan = math.inf, math.nan
    ends = backend.asarray(np.array([0.0, -0.0, inf, -inf, nan, -1.0, -2.0, 1e308, -1e308]))
    want = {
        "erf": [0, 0, 1, -1, nan, math.erf(-1), math.erf(-2), 1, -1],
        "erfc": [1, 1, 0, 2, nan, math.erfc(-1), math.erfc(-2), 0, 2],
        "lgamma": [inf, inf, inf, inf, nan, inf, inf, inf, inf],
        "digamma": [nan, nan, inf, nan, nan, nan, nan, math.log(1e308), nan],
        "trigamma": [inf, inf, 0, nan, nan, inf, inf, 1e-308, inf],
    }
    for name, values in want.items():
        y = backend.to_numpy(compiled(backend, getattr(gaps, name).portable)(ends))
        np.testing.assert_allclose(y, values, rtol=1e-14, atol=1e-300, err_msg=name)


@pytest.mark.parametrize("shape", [(0,), (), (1,), (3, 0, 2), (70, 131)])
def test_special_functions_keep_shape_and_layout(backend, shape):
    x = rng.normal(size=shape)
    a = backend.asarray(x)
    for name in SPECIAL:
        f = getattr(gaps, name)
        y, portable = (backend.to_numpy(version(a)) for version in (compiled(backend, f), compiled(backend, f.portable)))
        assert y.shape == shape
        if len(shape) == 2 and x.size:
            np.testing.assert_array_equal(backend.to_numpy(compiled(backend, f)(a.T)), y.T)
        np.testing.assert_allclose(y, portable, rtol=1e-11, atol=1e-15)


def chebyshev(f, low, high, n, points=80):
    nodes = [mpmath.cos(mpmath.pi * (k + mpmath.mpf(1) / 2) / points) for k in range(points)]
    values = [f((low + high) / mpmath.mpf(2) + (high - low) / mpmath.mpf(2) * u) for u in nodes]
    return [
        float(
            (1 + (j > 0))
            * sum(v * mpmath.cos(mpmath.pi * j * (k + mpmath.mpf(1) / 2) / points) for k, v in enumerate(values))
            / points
        )
        for j in range(n)
    ]


def scaled_erfc(t):
    z = mpmath.mpf(15) / 4 * (1 - t) / t
    if z > 300:  # the asymptotic series: exp(z²) would overflow the digits
        return (
            sum((-1) ** k * mpmath.fac2(2 * k - 1) / (2 * z * z) ** k for k in range(12))
            / (z * mpmath.sqrt(mpmath.pi))
            / t
        )
    return mpmath.exp(z * z) * mpmath.erfc(z) / t


def test_coefficients_are_the_chebyshev_series_they_claim_to_be():
    zero = mpmath.findroot(mpmath.digamma, 1.46)
    tables = {
        "ERFCX": (scaled_erfc, 0, 1),
        "ERF": (lambda w: mpmath.erf(mpmath.sqrt(w)) / mpmath.sqrt(w), 0, 1),
        "LGAMMA": (lambda x: mpmath.loggamma(x) / ((x - 1) * (x - 2)), 1, 3),
        "DIGAMMA": (lambda x: mpmath.digamma(x) / (x - zero), 1, 2),
    }
    for name, (f, low, high) in tables.items():
        table = getattr(special, name)
        np.testing.assert_allclose(table, chebyshev(f, low, high, len(table)), rtol=1e-12, atol=1e-21, err_msg=name)
    for high, low in (special.ZERO_DOUBLE, special.ZERO_SINGLE):
        assert abs(mpmath.mpf(high) + mpmath.mpf(low) - zero) < 1e-24 or high == special.ZERO_SINGLE[0]
    assert float(np.float32(special.ZERO_SINGLE[0])) == special.ZERO_SINGLE[0]


# scatter, items


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
@pytest.mark.parametrize(
    ("m", "rest", "length"),
    [(0, (3,), 4), (1, (), 1), (50, (), 7), (200, (2, 3), 17), (64, (5,), 200), (5, (0,), 3), (33, (2,), 1)],
)
@pytest.mark.parametrize("version", ["native", "portable"])
def test_scatter_add_sums_the_rows_of_equal_index(backend, dtype, m, rest, length, version):
    u = (10 * rng.normal(size=(m, *rest))).astype(dtype)
    index = rng.integers(0, length, m)
    f = gaps.scatter_add if version == "native" else gaps.scatter_add.portable
    want = np.zeros((length, *rest))
    np.add.at(want, index, u.astype(float))
    y = compiled(backend, functools.partial(f, length=length))(backend.asarray(frozen(u)), backend.asarray(frozen(index)))
    assert y.dtype == backend.asarray(u).dtype
    np.testing.assert_allclose(
        backend.to_numpy(y), want, rtol=0, atol={"float64": 1e-12, "float32": 2e-4, "int32": 0}[dtype]
    )


def test_scatter_add_keeps_large_and_infinite_rows_apart(backend):
    u = np.ones((300, 1), "float32")
    index = np.arange(300) % 3
    u[index == 1] = 1e30
    u[5] = np.inf
    f = compiled(backend, functools.partial(gaps.scatter_add.portable, length=4))
    y = backend.to_numpy(f(backend.asarray(u), backend.asarray(index)))
    assert y[0] == 100 and y[2] == np.inf and y[3] == 0


def test_scatter_add_refuses_shapes_that_disagree(backend):
    with pytest.raises(ValueError, match=r"u is \(2, 2\), index \(3,\)"):
        gaps.scatter_add(backend.asarray(np.ones((2, 2))), backend.asarray(np.array([0, 1, 1])), length=2)


BASIC_KEYS = [1, -1, slice(1, 4), slice(None, None, 2), (slice(None), 2), (..., 0), (None, 1), (slice(3, 0, -1),),
slice(None, None, -2),
              (..., slice(None, None, -1)), (slice(None, None, -1), slice(2, None, -2)), (slice(0, 3, -1),),
              (2, ..., slice(None, None, -1))]  # fmt: skip


@pytest.mark.parametrize("key", BASIC_KEYS, ids=str)
def test_get_item_and_set_item_by_numbers_and_slices(backend, key):
    x = rng.normal(size=(5, 4, 3))
    template, arrays = split_key(key)
    full = (
        template if not isinstance(template, tuple) or any(part is Ellipsis for part in template) else (*template, ...)
    )
    if not isinstance(full, tuple):
        full = (full, ...)  # the standard wants all axes or an ellipsis
    a = backend.asarray(frozen(x))
    np.testing.assert_array_equal(backend.to_numpy(gaps.get_item(a, arrays, key=full)), x[key])
    if backend.library.name == "array_api_strict" and None in full:
        return  # it refuses None in an assignment
    value = rng.normal(size=x[key].shape)
    for v in (value, 2.5, value[..., :1]):
        want = x.copy()
        want[key] = v
        y = gaps.set_item(a, v if isinstance(v, float) else backend.asarray(v), arrays, key=full)
        np.testing.assert_array_equal(backend.to_numpy(y), want)
        np.testing.assert_array_equal(backend.to_numpy(a), x)  # not written to


def test_get_item_and_set_item_by_arrays(backend):
    x = rng.normal(size=(5, 4))
    rows, cols = np.array([0, 3, 1]), np.array([2, 2, 0])
    a, i, j = backend.asarray(x), backend.asarray(rows), backend.asarray(cols)
    template, arrays = split_key((i, j))
    np.testing.assert_array_equal(backend.to_numpy(gaps.get_item(a, arrays, key=template)), x[rows, cols])
    template, arrays = split_key(a > 0)
    np.testing.assert_array_equal(backend.to_numpy(gaps.get_item(a, arrays, key=template)), x[x > 0])
    np.testing.assert_array_equal(
        backend.to_numpy(gaps.set_item(a, 0.0, arrays, key=template)), np.where(x > 0, 0.0, x)
    )


# windows


WINDOWS = [  # shape, size, strides, dilations
    ((2, 7, 3), (3,), (1,), (1,)),
    ((1, 9, 1), (2,), (3,), (2,)),
    ((2, 6, 5, 3), (2, 3), (1, 2), (1, 1)),
    ((1, 8, 9, 2), (3, 2), (3, 2), (2, 3)),
    ((3, 4, 4, 1), (4, 1), (1, 4), (1, 1)),
    ((0, 4, 4, 2), (2, 2), (2, 2), (1, 1)),
    ((2, 4, 5, 6, 2), (2, 2, 3), (2, 1, 2), (1, 2, 1)),
    ((2, 5, 0), (2,), (2,), (1,)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "size", "strides", "dilations"), WINDOWS)
@pytest.mark.parametrize("version", ["native", "portable"])
def test_windows_and_their_transpose(backend, shape, size, strides, dilations, version, dtype):
    windows, fold = (gaps.windows, gaps.fold) if version == "native" else (gaps.windows.portable, gaps.fold.portable)
    x = rng.integers(-9, 9, shape).astype(dtype)
    counts = tuple(
        (n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(shape[1:-1], size, strides, dilations, strict=True)
    )
    want = np.zeros((shape[0], *counts, *size, shape[-1]), dtype)
    for p in np.ndindex(*counts):
        for q in np.ndindex(*size):
            place = tuple(a * s + b * d for a, s, b, d in zip(p, strides, q, dilations, strict=True))
            want[(slice(None), *p, *q)] = x[(slice(None), *place)]
    steps = {"strides": strides, "dilations": dilations}
    y = compiled(backend, functools.partial(windows, size=size, **steps))(backend.asarray(frozen(x)))
    np.testing.assert_array_equal(backend.to_numpy(y), want)
    z = rng.integers(-9, 9, want.shape).astype(dtype)
    back = compiled(backend, functools.partial(fold, shape=shape[1:-1], **steps))(backend.asarray(frozen(z)))
    assert tuple(back.shape) == shape and back.dtype == backend.asarray(x).dtype
    assert np.sum(want * z) == np.sum(x * backend.to_numpy(back))  # ⟨windows(x), z⟩ = ⟨x, fold(z)⟩, exact in integers


def test_windows_of_a_view(backend):
    x = rng.normal(size=(4, 6, 2))
    a = backend.xp.permute_dims(backend.asarray(x), (2, 1, 0))
    y = gaps.windows(a, size=(3,), strides=(2,), dilations=(1,))
    np.testing.assert_array_equal(
        backend.to_numpy(y), backend.to_numpy(gaps.windows.portable(a, size=(3,), strides=(2,), dilations=(1,)))
    )


def test_windows_and_fold_name_what_does_not_fit(backend):
    x = backend.asarray(np.ones((1, 4, 4, 1)))
    with pytest.raises(ValueError, match="axis 1 has size 4, the window spans 5"):
        gaps.windows(x, size=(2, 3), strides=(1, 1), dilations=(1, 2))
    with pytest.raises(ValueError, match="numbers from 1"):
        gaps.windows(x, size=(2, 0), strides=(1, 1), dilations=(1, 1))
    with pytest.raises(ValueError, match=r"\(2, 2\) windows"):
        gaps.fold(backend.asarray(np.ones((1, 2, 2, 2, 2, 1))), shape=(5, 5), strides=(1, 1), dilations=(1, 1))


# einsum, scan, device


EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ii->i", (3,
    3)), ("ii", (3, 3)),
    ("iji->j", (3, 2, 3)), ("iii->i", (3, 3, 3)), ("i,j->ij", (2,), (3,)), ("i,i->", (4,), (4,)), ("i,i->i", (4,),
    (4,)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("...ij,...jk->...ik", (2, 3, 4), (4, 5)), ("...ij,...jk", (2, 1, 3, 4),
    (5, 4, 2)),
    ("nhwc,cf->nhwf", (2, 3, 3, 4), (4, 5)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4)),
    ("ij,kj->", (2, 3), (4, 3)), ("i,ij,j->", (2,), (2, 3), (3,)), ("ij,ij->j", (3, 2), (3, 2)), ("ik,jk->ji", (2,
    3), (4, 3)),
    ("i...,j->...j", (2, 3), (4,)), ("ij,jk->k", (2, 0), (0, 3)), ("ij,jk->ik", (1, 3), (3, 1)), ("ij,ik->jk", (0,
    2), (0, 3)),
    (",i->i", (), (3,)), ("ab,ab,ab->a", (2, 3), (2, 3), (2, 3)), ("...->...", (2, 3)), ("i...->...", (2, 3)),
]  # fmt: skip


@pytest.mark.parametrize("case", EINSUMS, ids=lambda case: case[0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_einsum_equals_numpys(backend, case, dtype):
    subscripts, *shapes = case
    arrays = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    y = compiled(backend, functools.partial(einsum, subscripts=subscripts))([backend.asarray(frozen(a)) for a in arrays])
    want = np.einsum(subscripts, *(a.astype(float) for a in arrays))
    assert tuple(y.shape) == want.shape
    np.testing.assert_allclose(
        backend.to_numpy(y),
        want,
        rtol=1e-4 if dtype == "float32" else 1e-12,
        atol=1e-5 if dtype == "float32" else 1e-13,
    )


def test_einsum_axes_of_size_one_broadcast(backend):
    for subscripts, p, q in [
        ("ij,jk->ik", (2, 1), (3, 4)),
        ("ij,ij->ij", (1, 3), (2, 3)),
        ("ij,jk->ik", (2, 3), (1, 4)),
        ("bi,bi->b", (1, 3), (4, 1)),
    ]:
        a, b = rng.normal(size=p), rng.normal(size=q)
        y = einsum([backend.asarray(a), backend.asarray(b)], subscripts=subscripts)
        np.testing.assert_allclose(backend.to_numpy(y), np.einsum(subscripts, a, b), rtol=1e-12)


@pytest.mark.parametrize(
    ("subscripts", "message"),
    [("ij,jk->iz", "'z' in the output"), ("ij->ij", "1 terms for 2 arrays"), ("ijk,jk->i", "the term 'ijk'"),
     ("ij,ik->jk", "i is 2 and 3"),
     ("ij,jk->ii", "once in the output"), ("i.j,jk->ik", "at most one"), ("i...,jk->ik", "lacks the")],
)  # fmt: skip
def test_einsum_says_what_does_not_fit(backend, subscripts, message):
    with pytest.raises(ValueError, match=message):
        einsum([backend.asarray(np.ones((2, 3))), backend.asarray(np.ones((3, 4)))], subscripts=subscripts)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_carries_a_state_over_the_leading_axis(backend, reverse):
    x = rng.normal(size=(5, 2))
    xs = {"a": backend.asarray(x), "b": [backend.asarray(x**2)]}
    carry, ys = gaps.scan(
        lambda c, v: (c + v["a"], {"sum": c + v["a"], "b": v["b"][0]}),
        backend.asarray(np.zeros(2)),
        xs,
        reverse=reverse,
    )
    order = x[::-1] if reverse else x
    sums = np.cumsum(order, axis=0)
    np.testing.assert_allclose(backend.to_numpy(carry), sums[-1])
    np.testing.assert_allclose(backend.to_numpy(ys["sum"]), sums[::-1] if reverse else sums)
    np.testing.assert_allclose(backend.to_numpy(ys["b"]), x**2)
    assert tree.paths(ys) == ["sum", "b"]


def test_scan_with_a_length_and_its_errors(backend):
    one = backend.asarray(np.ones(()))
    carry, ys = gaps.scan(lambda c, _: (c * 2.0, c), one, None, length=4)
    assert float(carry) == 16 and backend.to_numpy(ys).tolist() == [1, 2, 4, 8]
    for xs, length in (
        (None, None),
        (backend.asarray(np.ones((2,))), 3),
        (backend.asarray(np.ones((0,))), None),
        (one, None),
    ):
        with pytest.raises(ValueError, match="scan"):
            gaps.scan(lambda c, x: (c, x), one, xs, length=length)


def test_device_serves_creation(backend):
    x = backend.asarray(np.ones(2))
    assert gaps.device(x) == backend.device
    backend.xp.zeros((1,), dtype=x.dtype, device=gaps.device(x)) + x


def test_the_gaps_trace_under_jax_jit():
    jax = pytest.importorskip("jax")
    be = backends.get("jax")
    x = be.asarray(rng.normal(size=(2, 6, 5, 3)))
    index = be.asarray(np.array([1, 0, 1]))

    def everything(x, index):
        w = gaps.windows(x, size=(2, 3), strides=(1, 2), dilations=(1, 1))
        f = gaps.fold(w, shape=(6, 5), strides=(1, 2), dilations=(1, 1))
        rows = x[0, :3, 0, :]
        return [f, gaps.scatter_add(rows, index, length=4), gaps.scatter_add.portable(rows, index, length=4),
                *(getattr(gaps, name)(x) for name in SPECIAL), einsum([x, x], subscripts="nhwc,nhwd->cd"),
                gaps.set_item(x, 1.0, [], key=(0, ...)), gaps.scan(lambda c, v: (c + v, c), x[0], x)[1]]  # fmt: skip

    host = everything(np.asarray(x), np.asarray(index))
    for a, b in zip(host, jax.jit(everything)(x, index), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
