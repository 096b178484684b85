"""The rules of the standard: each against differences in float64, to second order, on every backend."""

import math

import array_api_strict as strict_xp
import numpy as np
import pytest

import ann
from ann.autodiff.rules import CREATION, STEPS
from backends import gaps, namespace, tree
from backends.wrapped import CONSTANTS, DTYPES, INSPECTION

RNG = np.random.default_rng(0)


def far(*shape, low=0.3, high=1.7):
    """Numbers away from 0 and from each other, of both signs."""
    n = math.prod(shape)
    x = np.linspace(low, high, n) * np.where(np.arange(n) % 2, 1.0, -1.0)
    return RNG.permutation(x).reshape(shape)


def pos(*shape, low=0.3, high=1.7):
    return np.abs(far(*shape, low=low, high=high))


def spd(n):
    a = RNG.normal(size=(n, n))
    return a @ a.T + n * np.eye(n)


def sym(f):
    """f of the symmetric part: decompositions of symmetric matrices read one triangle."""
    return lambda xp, x: f(xp, 0.5 * (x + xp.matrix_transpose(x)))


# name: (function of (xp, arrays…), arrays…); several cases a name are told apart by a suffix after ":"
CASES = {
    **{name: (lambda xp, x, name=name: getattr(xp, name)(x), far(3, 4)) for name in (
        "exp", "expm1", "sin", "cos", "sinh", "cosh", "tanh", "atan", "asinh", "abs", "negative", "positive", "square", "reciprocal", "conj")},
    **{name: (lambda xp, x, name=name: getattr(xp, name)(x), pos(3, 4)) for name in ("log", "log1p", "log2", "log10", "sqrt")},
    **{name: (lambda xp, x, name=name: getattr(xp, name)(x), far(3, 4, low=0.1, high=0.8)) for name in ("asin", "acos", "atanh", "tan")},
    "acosh": (lambda xp, x: xp.acosh(x), pos(3, 4, low=1.2, high=3)),
    **{name: (lambda xp, a, b, name=name: getattr(xp, name)(a, b), far(3, 1, 4), far(2, 1, low=0.41, high=1.53)) for name in (
        "add", "subtract", "multiply", "divide", "maximum", "minimum", "hypot", "logaddexp", "atan2")},
    "copysign": (lambda xp, a: xp.copysign(a, 2.0 * a), far(3, 4)),
    "remainder": (lambda xp, a, b: xp.remainder(a, b), far(3, 4) * 3.3, pos(3, 1)),
    "pow": (lambda xp, a, b: xp.pow(a, b), pos(3, 4), far(4)),
    "pow:square": (lambda xp, a: a**2 + a**3 + a**-1, far(3, 4)),
    "pow:base": (lambda xp, a: 2.0**a, far(3, 4)),
    "clip": (lambda xp, x: xp.clip(x, -0.71, 0.73), far(3, 4)),
    "where": (lambda xp, a, b: xp.where(a > 0, a * b, b), far(3, 4), far(1, 4)),
    "astype": (lambda xp, x: xp.astype(x, xp.float64) * 2.0, far(3)),
    "reshape": (lambda xp, x: xp.reshape(x, (4, -1)), far(2, 3, 4)),
    "expand_dims": (lambda xp, x: xp.expand_dims(x, axis=1), far(2, 3)),
    "squeeze": (lambda xp, x: xp.squeeze(x, axis=1), far(2, 1, 3)),
    "permute_dims": (lambda xp, x: xp.permute_dims(x, (2, 0, 1)), far(2, 3, 4)),
    "matrix_transpose": (lambda xp, x: xp.matrix_transpose(x), far(2, 3, 4)),
    "moveaxis": (lambda xp, x: xp.moveaxis(x, 0, -1), far(2, 3, 4)),
    "flip": (lambda xp, x: xp.flip(x, axis=1) + xp.flip(x), far(2, 3)),
    "roll": (lambda xp, x: xp.roll(x, 2, axis=1) + xp.roll(x, 1), far(2, 3)),
    "broadcast_to": (lambda xp, x: xp.broadcast_to(x, (4, 2, 3)), far(2, 1)),
    "broadcast_arrays": (lambda xp, a, b: list(xp.broadcast_arrays(a, b)), far(2, 1), far(3)),
    "concat": (lambda xp, a, b: xp.concat([a, b, a], axis=1), far(2, 3), far(2, 2)),
    "concat:flat": (lambda xp, a, b: xp.concat([a, b], axis=None), far(2, 3), far(2)),
    "stack": (lambda xp, a, b: xp.stack([a, b], axis=-1), far(2, 3), far(2, 3)),
    "unstack": (lambda xp, x: list(xp.unstack(x, axis=1))[1:], far(2, 3)),
    "repeat": (lambda xp, x: xp.repeat(x, 3, axis=1), far(2, 3)),
    "tile": (lambda xp, x: xp.tile(x, (2, 1, 2)), far(2, 3)),
    "meshgrid": (lambda xp, a, b: list(xp.meshgrid(a, b)) + list(xp.meshgrid(a, b, indexing="ij")), far(2), far(3)),
    "tril": (lambda xp, x: xp.tril(x, k=1), far(3, 3)),
    "triu": (lambda xp, x: xp.triu(x, k=-1), far(3, 3)),
    "diff": (lambda xp, x: xp.diff(x, axis=0, n=2), far(5, 2)),
    "take": (lambda xp, x: xp.take(x, xp.asarray([2, 0, 2], dtype=xp.int64, device=gaps.device(x)), axis=1), far(2, 3, 2)),
    "take_along_axis": (lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=1)[:, :2], axis=1), far(2, 3)),
    "argsort": (lambda xp, x: xp.take(x, xp.argsort(x)[:2], axis=0), far(4)),
    "sort": (lambda xp, x: xp.sort(x, axis=0), far(4, 2)),
    "getitem": (lambda xp, x: [x[0, ...], x[..., 1:], xp.expand_dims(x, axis=1)[:, :, 1], x[1:, :2]], far(3, 4)),
    "getitem:reversed": (lambda xp, x: x[::2, ...] * 2.0, far(5, 2)),
    "sum": (lambda xp, x: [xp.sum(x), xp.sum(x, axis=(0, 2)), xp.sum(x, axis=1, keepdims=True)], far(2, 3, 4)),
    "mean": (lambda xp, x: [xp.mean(x), xp.mean(x, axis=1)], far(2, 3)),
    "var": (lambda xp, x: xp.var(x, axis=1, correction=1.0), far(2, 3)),
    "std": (lambda xp, x: xp.std(x, axis=1), far(2, 3)),
    "max": (lambda xp, x: [xp.max(x), xp.max(x, axis=1, keepdims=True)], far(2, 3)),
    "min": (lambda xp, x: xp.min(x, axis=0), far(2, 3)),
    "prod": (lambda xp, x: [xp.prod(x), xp.prod(x, axis=(0, 2))], far(2, 3, 2)),
    "cumulative_sum": (lambda xp, x: [xp.cumulative_sum(x, axis=1), xp.cumulative_sum(x, axis=0, include_initial=True)], far(2, 3)),
    "cumulative_prod": (lambda xp, x: xp.cumulative_prod(x, axis=1), far(2, 4)),
    "matmul": (lambda xp, a, b: xp.matmul(a, b), far(2, 3, 4), far(4, 5)),
    "matmul:vectors": (lambda xp, a, b: [xp.matmul(a, b), xp.matmul(xp.matmul(b, xp.expand_dims(b, axis=1) * b), b)], far(3, 4), far(4)),
    "tensordot": (lambda xp, a, b: xp.tensordot(a, b, axes=((1, 2), (0, 1))), far(2, 3, 4), far(3, 4, 5)),
    "vecdot": (lambda xp, a, b: xp.vecdot(a, b), far(2, 3), far(3)),
    "linalg.inv": (lambda xp, x: xp.linalg.inv(x), spd(3)),
    "linalg.det": (lambda xp, x: xp.linalg.det(x), spd(3) / 3),
    "linalg.slogdet": (lambda xp, x: xp.linalg.slogdet(x)[1], spd(3)),
    "linalg.solve": (lambda xp, a, b: xp.linalg.solve(a, b), spd(3), far(3, 2)),
    "linalg.cholesky": (sym(lambda xp, x: xp.linalg.cholesky(x)), spd(3)),
    "linalg.eigh": (sym(lambda xp, x: [xp.linalg.eigh(x)[0], xp.linalg.eigh(x)[1] ** 2]), np.diag([1.0, 2.5, 4.5]) + 0.1 * spd(3)),
    "linalg.eigvalsh": (sym(lambda xp, x: xp.linalg.eigvalsh(x)), np.diag([1.0, 2.5, 4.5]) + 0.1 * spd(3)),
    "linalg.svd": (lambda xp, x: [s := xp.linalg.svd(x, full_matrices=False), s[1], s[0] ** 2, s[2] ** 2][1:], far(4, 3) + np.eye(4, 3) * 3 * np.arange(1, 4)),
    "linalg.svdvals": (lambda xp, x: xp.linalg.svdvals(x), far(4, 3) + np.eye(4, 3) * 3 * np.arange(1, 4)),
    "linalg.qr": (lambda xp, x: [xp.linalg.qr(x)[0] ** 2, xp.linalg.qr(x)[1] ** 2], far(4, 3) + np.eye(4, 3) * 3),
    "linalg.pinv": (lambda xp, x: xp.linalg.pinv(x), far(4, 3) + np.eye(4, 3) * 3),
    "linalg.matrix_power": (lambda xp, x: [xp.linalg.matrix_power(x, 3), xp.linalg.matrix_power(x, -2)], spd(3) / 3),
    "linalg.diagonal": (lambda xp, x: xp.linalg.diagonal(x, offset=1), far(3, 4)),
    "linalg.trace": (lambda xp, x: xp.linalg.trace(x), far(3, 3)),
    "linalg.outer": (lambda xp, a, b: xp.linalg.outer(a, b), far(3), far(2)),
    "linalg.cross": (lambda xp, a, b: xp.linalg.cross(a, b), far(2, 3), far(2, 3)),
    "linalg.vector_norm": (lambda xp, x: [xp.linalg.vector_norm(x, ord=p, axis=1) for p in (1, 2, 3, 0.5, math.inf, -math.inf)], far(2, 3)),
    "linalg.matrix_norm": (lambda xp, x: [xp.linalg.matrix_norm(x, ord=p) for p in ("fro", "nuc", 1, 2, math.inf)], far(3, 2) + np.eye(3, 2) * 3),
    "gap.erf": (lambda xp, x: gaps.erf(x), far(3, 4)),
    "gap.erfc": (lambda xp, x: gaps.erfc(x), far(3, 4)),
    "gap.lgamma": (lambda xp, x: gaps.lgamma(x), pos(3, 4)),
    "gap.digamma": (lambda xp, x: gaps.digamma(x), pos(3, 4)),
    "gap.scatter_add": (lambda xp, u: gaps.scatter_add(u, xp.asarray([1, 0, 1], dtype=xp.int64, device=gaps.device(u)), length=4), far(3, 2)),
    "gap.windows": (lambda xp, x: gaps.windows(x, size=(2, 3), strides=(1, 2), dilations=(2, 1)), far(2, 5, 6, 2)),
    "gap.fold": (lambda xp, y: gaps.fold(y, shape=(5, 6), strides=(1, 2), dilations=(2, 1)), far(2, 3, 2, 2, 3, 2)),
    "gap.einsum": (lambda xp, a, b: gaps.einsum([a, b], subscripts="ij,kj->ki"), far(2, 3), far(4, 3)),
    "gap.set_item": (lambda xp, a, b: gaps.set_item(a, b, [], key=(slice(1, 2), Ellipsis)), far(3, 2), far(1, 2)),
}  # fmt: skip

NO_SECOND = {"gap.digamma"}  # its derivative's derivative is not provided
EXTENDED = {"gap.get_item": "getitem", "gap.to_device": "nothing to move between on one device"}


def function_of(case):
    f = CASES[case][0]
    return lambda *arrays: f(namespace(*arrays), *arrays)


@pytest.mark.parametrize("case", CASES)
def test_gradient_agrees_with_differences(backend, case):
    arrays = [backend.asarray(np.ascontiguousarray(x)) for x in CASES[case][1:]]
    ann.check_gradients(function_of(case), *arrays, order=1 if case in NO_SECOND else 2, rtol=2e-6)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("astype")])
def test_float32_stays_float32(backend, case):
    arrays = [backend.asarray(np.asarray(x, dtype="float32")) for x in CASES[case][1:]]
    y, pull = ann.vjp(function_of(case), *arrays)
    gradients = pull(tree.map(lambda a: namespace(a).ones_like(a), y))
    for g in tree.leaves(gradients):
        assert g.dtype == backend.library.dtype("float32") and type(g) is type(arrays[0])


def test_every_function_of_the_standard_has_a_rule_or_a_reason():
    listed = {case.partition(":")[0] for case in CASES}
    missing = []
    for prefix, module in (("", strict_xp), ("linalg.", strict_xp.linalg)):
        for name in module.__all__:
            if prefix + name in listed or name in (*STEPS, *CREATION, *CONSTANTS, *DTYPES, *INSPECTION):
                continue
            if name in OTHER or (prefix and name in listed):
                continue
            missing.append(prefix + name)
    assert not missing, missing


OTHER = {
    "asarray": "makes arrays; a traced one passes through",
    "fft": "an extension: its results are complex and pass through as constants",
    "linalg": "an extension",
    "eig": "complex results", "eigvals": "complex results", "matrix_rank": "an integer",
    "ArrayAPIStrictFlags": "strict's own", "Device": "strict's own", "EighResult": "a type", "QRResult": "a type", "SlogdetResult": "a type",
    "SVDResult": "a type", "EigResult": "a type", "UniqueAllResult": "a type", "UniqueCountsResult": "a type", "UniqueInverseResult": "a type",
    "get_array_api_strict_flags": "strict's own", "set_array_api_strict_flags": "strict's own",
    "reset_array_api_strict_flags": "strict's own", "__array_api_version__": "inspection", "__version__": "strict's own",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(STEPS))
def test_functions_without_a_derivative_stop_the_gradient(name):
    """They are there, and a function that goes through them has gradient 0."""
    ns = ann.autodiff.rules.differentiable_namespace
    assert ns
    x = np.array([0.3, -1.2, 2.5])
    if name in ("floor", "ceil", "round", "trunc", "sign"):
        assert np.array_equal(ann.grad(lambda x: namespace(x).sum(getattr(namespace(x), name)(x) + 0.0 * x))(x), np.zeros(3))


# ------------------------------------------------------------------------------------------------------ kinks and ties


def g(f, x):
    return np.asarray(ann.grad(f)(np.asarray(x, dtype="float64")))


def test_abs_has_slope_0_at_0():
    assert g(lambda x: np.sum(np.abs(x)), [0.0, 2.0, -3.0]).tolist() == [0, 1, -1]


def test_equal_maxima_share():
    assert g(lambda x: namespace(x).max(x), [1.0, 3.0, 3.0]).tolist() == [0, 0.5, 0.5]


def test_equal_arguments_of_maximum_get_half_each():
    assert g(lambda x: np.sum(np.maximum(x, 1.0)), [1.0, 2.0, 0.0]).tolist() == [0.5, 1, 0]


def test_branch_not_taken_never_makes_nan():
    def f(x):
        xp = namespace(x)
        return xp.sum(xp.where(x > 0, xp.sqrt(xp.where(x > 0, x, 0.0 * x)), x))

    assert g(f, [-1.0, 4.0]).tolist() == [1.0, 0.25]
    with np.errstate(all="ignore"):
        assert g(lambda x: np.sum(np.where(x > 0, np.log(x), 0.0 * x)), [0.0, 2.0]).tolist() == [0.0, 0.5]


def test_norm_has_gradient_0_at_0():
    assert g(lambda x: namespace(x).linalg.vector_norm(x), [0.0, 0.0]).tolist() == [0, 0]


def test_power_at_0():
    assert g(lambda x: np.sum(x**2), [0.0]).tolist() == [0] and g(lambda x: np.sum(x**1), [0.0]).tolist() == [1]
    assert g(lambda x: np.sum(x**0), [0.0]).tolist() == [0]


def test_descending_order_is_there_on_numpy_too():
    weights = np.array([1.0, 10.0, 100.0])
    assert g(lambda x: namespace(x).sum(namespace(x).sort(x, descending=True) * weights), [2.0, 3.0, 1.0]).tolist() == [10, 1, 100]


def test_product_with_zeros():
    assert g(lambda x: np.prod(x), [0.0, 2.0, 3.0]).tolist() == [6, 0, 0]
    assert g(lambda x: np.prod(x), [0.0, 0.0, 3.0]).tolist() == [0, 0, 0]


def test_equal_indices_add(backend):
    x = backend.asarray(np.arange(3.0))
    index = backend.asarray(np.array([0, 0, 2]))
    d = ann.grad(lambda x: namespace(x).sum(namespace(x).take(x, index, axis=0)))(x)
    assert backend.to_numpy(d).tolist() == [2, 0, 1]


def test_mixed_kinds_are_refused():
    with pytest.raises(TypeError, match="int64 and float64 arrays meet|float64 and int64 arrays meet"):
        ann.grad(lambda x: np.sum(x * np.arange(3)))(np.ones(3))


def test_complex_results_of_differentiated_inputs_are_refused():
    with pytest.raises(TypeError, match="complex"):
        ann.grad(lambda x: np.sum(np.abs(x * 1j)))(np.ones(3))
