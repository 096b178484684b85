"""The rules of the standard: each against differences in float64, to second order, on every backend (on jax against jax.vjp)."""

import math

import array_api_strict as strict_xp
import numpy as np
import pytest

import ann
import backends
from ann.autodiff.rules import COMPLEX, CREATION, STEPS, VALUED
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


def indices(x, *values):
    return namespace(x).asarray(list(values), device=gaps.device(x))


def with_places_set(xp, x):
    y = xp.where(x > 0, x, -2.0 * x)
    y[x > 0.6] = 0.5
    y[0, 1:] = x[1, 1:] * 2.0
    y *= x
    return y


WIDE = far(3, 4) + np.eye(3, 4) * 3 * np.arange(1, 5)
SPLIT = np.diag([1.0, 2.5, 4.5])  # a matrix whose eigenvalues are far from each other


# name: (function of (xp, arrays…), arrays…); several cases a name are told apart by a suffix after ":"
CASES = {
    **{name: (lambda xp, x, name=name: getattr(xp, name)(x), far(3, 4)) for name in (
        "exp", "expm1", "sin", "cos", "sinh", "cosh", "tanh", "atan", "asinh", "abs", "negative", "positive", "square", "reciprocal")},
    **{name: (lambda xp, x, name=name: getattr(xp, name)(x), pos(3, 4)) for name in ("log", "log1p", "log2", "log10", "sqrt")},
    **{name: (lambda xp, x, name=name: getattr(xp, name)(x), far(3, 4, low=0.1, high=0.8)) for name in ("asin", "acos", "atanh", "tan")},
    "acosh": (lambda xp, x: xp.acosh(x), pos(3, 4, low=1.2, high=3)),
    **{name: (lambda xp, a, b, name=name: getattr(xp, name)(a, b), far(3, 1, 4), far(2, 1, low=0.41, high=1.53)) for name in (
        "add", "subtract", "multiply", "divide", "maximum", "minimum", "hypot", "logaddexp", "atan2")},
    **{name: (lambda xp, x, name=name: x * (getattr(xp, name)(x) if is_lifted(x) else x), far(3)) for name in ("conj", "real")},
    "nextafter": (lambda xp, a: xp.nextafter(a, 2.0 * a), far(3)),
    "atan2:number": (lambda xp, a: xp.atan2(a, 2.0), far(3)),
    "copysign": (lambda xp, a: xp.copysign(a, 2.0 * a), far(3, 4)),
    "remainder": (lambda xp, a, b: xp.remainder(a, b), far(3, 4) * 3.3, pos(3, 1)),
    "pow": (lambda xp, a, b: xp.pow(a, b), pos(3, 4), far(4)),
    "pow:square": (lambda xp, a: a**2 + a**3 + a**-1, far(3, 4)),
    "pow:base": (lambda xp, a: 2.0**a, far(3, 4)),
    "pow:numbers": (lambda xp, a: a**2.5 + a**1 + a**0.5, pos(3, 4)),
    "clip": (lambda xp, x: xp.clip(x, -0.71, 0.73), far(3, 4)),
    "clip:arrays": (lambda xp, x, a, b: xp.clip(x, a, b), far(3, 4), -pos(4, low=0.2, high=0.6), pos(3, 1, low=0.35, high=0.9)),
    "clip:above": (lambda xp, x, b: xp.clip(x, max=b), far(3, 4), pos(4)),
    "where": (lambda xp, a, b: xp.where(a > 0, a * b, b), far(3, 4), far(1, 4)),
    "where:number": (lambda xp, x: xp.where(x > 0, x * x, 2.0), far(3, 4)),
    "astype": (lambda xp, x: xp.astype(x, xp.float64) * 2.0, far(3)),
    "reshape": (lambda xp, x: xp.reshape(x, (4, -1)), far(2, 3, 4)),
    "expand_dims": (lambda xp, x: xp.expand_dims(x, axis=1), far(2, 3)),
    "squeeze": (lambda xp, x: xp.squeeze(x, axis=1), far(2, 1, 3)),
    "permute_dims": (lambda xp, x: xp.permute_dims(x, (2, 0, 1)), far(2, 3, 4)),
    "matrix_transpose": (lambda xp, x: xp.matrix_transpose(x), far(2, 3, 4)),
    "moveaxis": (lambda xp, x: xp.moveaxis(x, 0, -1), far(2, 3, 4)),
    "flip": (lambda xp, x: xp.flip(x, axis=1) + xp.flip(x), far(2, 3)),
    "flip:axes": (lambda xp, x: xp.flip(x, axis=(0, 1)) * xp.roll(x, (1, -1), axis=(0, 1)), far(3, 4)),
    "roll": (lambda xp, x: xp.roll(x, 2, axis=1) + xp.roll(x, 1), far(2, 3)),
    "broadcast_to": (lambda xp, x: xp.broadcast_to(x, (4, 2, 3)), far(2, 1)),
    "broadcast_arrays": (lambda xp, a, b: list(xp.broadcast_arrays(a, b)), far(2, 1), far(3)),
    "concat": (lambda xp, a, b: xp.concat([a, b, a], axis=1), far(2, 3), far(2, 2)),
    "concat:flat": (lambda xp, a, b: xp.concat([a, b], axis=None), far(2, 3), far(2)),
    "stack": (lambda xp, a, b: xp.stack([a, b], axis=-1), far(2, 3), far(2, 3)),
    "unstack": (lambda xp, x: list(xp.unstack(x, axis=1))[1:], far(2, 3)),
    "repeat": (lambda xp, x: xp.repeat(x, 3, axis=1), far(2, 3)),
    "repeat:array": (lambda xp, x: [xp.repeat(x, indices(x, 2, 0, 1), axis=0), xp.repeat(x, 2)], far(3, 2)),
    "tile": (lambda xp, x: xp.tile(x, (2, 1, 2)), far(2, 3)),
    "meshgrid": (lambda xp, a, b: list(xp.meshgrid(a, b)) + list(xp.meshgrid(a, b, indexing="ij")), far(2), far(3)),
    "tril": (lambda xp, x: xp.tril(x, k=1), far(3, 3)),
    "triu": (lambda xp, x: xp.triu(x, k=-1), far(3, 3)),
    "diff": (lambda xp, x: xp.diff(x, axis=0, n=2), far(5, 2)),
    "diff:ends": (lambda xp, x, a: xp.diff(x, prepend=a, append=a), far(3, 4), far(3, 1)),
    "take": (lambda xp, x: xp.take(x, xp.asarray([2, 0, 2], dtype=xp.int64, device=gaps.device(x)), axis=1), far(2, 3, 2)),
    "take_along_axis": (lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=1)[:, :2], axis=1), far(2, 3)),
    "argsort": (lambda xp, x: xp.take(x, xp.argsort(x)[:2], axis=0), far(4)),
    "sort": (lambda xp, x: xp.sort(x, axis=0), far(4, 2)),
    "sort:descending": (lambda xp, x: [sort_down(xp, x), xp.take_along_axis(x, xp.argsort(x, axis=0), axis=0)], far(3, 4)),
    **{name: (lambda xp, x, name=name: values_of(getattr(xp, name)(x)), far(3, 2)) for name in ("unique_values", "unique_counts", "unique_inverse")},
    "unique_all": (lambda xp, x: values_of((xp.unique_counts if "torch" in xp.__name__ else xp.unique_all)(x)), far(3, 2)),  # torch has none
    "getitem:arrays": (lambda xp, x: x[indices(x, 0, 2, 2), indices(x, 1, 1, 0)], far(3, 4)),
    "getitem:mask": (lambda xp, x: x[x > 0.2], far(3, 4)),
    "getitem": (lambda xp, x: [x[0, ...], x[..., 1:], xp.expand_dims(x, axis=1)[:, :, 1], x[1:, :2]], far(3, 4)),
    "getitem:reversed": (lambda xp, x: x[::2, ...] * 2.0, far(5, 2)),
    "setitem": (with_places_set, far(3, 4)),
    "sum:dtype": (lambda xp, x: [f(x, axis=-1, dtype=xp.float64) for f in (xp.sum, xp.prod, xp.cumulative_sum, xp.cumulative_prod)], far(3, 2)),
    "sum": (lambda xp, x: [xp.sum(x), xp.sum(x, axis=(0, 2)), xp.sum(x, axis=1, keepdims=True)], far(2, 3, 4)),
    "mean": (lambda xp, x: [xp.mean(x), xp.mean(x, axis=1)], far(2, 3)),
    "var": (lambda xp, x: xp.var(x, axis=1, correction=1.0), far(2, 3)),
    "std": (lambda xp, x: xp.std(x, axis=1), far(2, 3)),
    "var:axes": (lambda xp, x: [xp.var(x), xp.std(x, axis=(0, 1), correction=1, keepdims=True), xp.mean(x, axis=(0, 1))], far(3, 4)),
    "max:axes": (lambda xp, x: [xp.max(x, axis=(0, 1)), xp.min(x, keepdims=True)], far(3, 4)),
    "max": (lambda xp, x: [xp.max(x), xp.max(x, axis=1, keepdims=True)], far(2, 3)),
    "min": (lambda xp, x: xp.min(x, axis=0), far(2, 3)),
    "prod": (lambda xp, x: [xp.prod(x), xp.prod(x, axis=(0, 2))], far(2, 3, 2)),
    "cumulative_sum": (lambda xp, x: [xp.cumulative_sum(x, axis=1), xp.cumulative_sum(x, axis=0, include_initial=True)], far(2, 3)),
    "cumulative_prod": (lambda xp, x: xp.cumulative_prod(x, axis=1), far(2, 4)),
    "cumulative_prod:initial": (lambda xp, x: xp.cumulative_prod(x, axis=0, include_initial=True), far(3, 2)),
    "matmul": (lambda xp, a, b: xp.matmul(a, b), far(2, 3, 4), far(4, 5)),
    "matmul:vectors": (lambda xp, a, b: [xp.matmul(a, b), xp.matmul(xp.matmul(b, xp.expand_dims(b, axis=1) * b), b)], far(3, 4), far(4)),
    "matmul:stacks": (lambda xp, a, b: xp.matmul(a, b), far(2, 1, 3, 4), far(3, 4, 2)),
    "tensordot:number": (lambda xp, a, b: [xp.tensordot(a, b, axes=1), xp.tensordot(a, b, axes=0)], far(3, 2), far(2, 3)),
    "tensordot": (lambda xp, a, b: xp.tensordot(a, b, axes=((1, 2), (0, 1))), far(2, 3, 4), far(3, 4, 5)),
    "vecdot": (lambda xp, a, b: xp.vecdot(a, b), far(2, 3), far(3)),
    "vecdot:axis": (lambda xp, a, b: xp.vecdot(a, b, axis=-2), far(3, 2), far(3, 1)),
    "linalg.inv:stack": (lambda xp, x: [xp.linalg.inv(x), xp.linalg.det(x), xp.linalg.slogdet(x)[1]], np.stack([spd(3), spd(3)]) / 3),
    "linalg.solve:stack": (lambda xp, a, b: xp.linalg.solve(a, b), np.stack([spd(3), spd(3)]), far(3, 2)),
    "linalg.solve:vector": (lambda xp, a, b: xp.linalg.solve(a, b), spd(3), far(3)),
    "linalg.cholesky:upper": (sym(lambda xp, x: xp.linalg.cholesky(x, upper=True)), np.stack([spd(3), spd(3)])),
    "linalg.eigh:stack": (sym(lambda xp, x: [xp.linalg.eigh(x)[0], xp.linalg.eigvalsh(x)]), np.stack([SPLIT + 0.1 * spd(3), SPLIT])),
    "linalg.svd:wide": (lambda xp, x: [s := xp.linalg.svd(x, full_matrices=False), s[1], s[0] ** 2, s[2] ** 2][1:], WIDE),
    "linalg.svd:square": (lambda xp, x: [s := xp.linalg.svd(x), s[1], s[0] ** 2, s[2] ** 2][1:], np.stack([WIDE[:, :3], 2 * WIDE[:, 1:]])),
    "linalg.qr:square": (lambda xp, x: [part**2 for part in xp.linalg.qr(x)], np.stack([spd(3), spd(3)])),
    "linalg.pinv:wide": (lambda xp, x: xp.linalg.pinv(x), WIDE),
    "linalg.diagonal:below": (lambda xp, x: [xp.linalg.diagonal(x, offset=-1), xp.linalg.trace(x, offset=1)], far(2, 4, 3)),
    "linalg.cross:broadcast": (lambda xp, a, b: xp.linalg.cross(a, b, axis=-2), far(3, 2), far(3, 1)),
    "linalg.vector_norm:axes": (lambda xp, x: [xp.linalg.vector_norm(x), xp.linalg.vector_norm(x, axis=(0, 1), keepdims=True, ord=3)], far(3, 4)),
    "linalg.matrix_norm:least": (lambda xp, x: [xp.linalg.matrix_norm(x, ord=p, keepdims=True) for p in (-1, -2, -math.inf)], np.array([[[3.1, 0.4], [-0.7, 4.3]], [[1.9, 0.3], [0.6, -1.2]]])),
    "linalg.inv": (lambda xp, x: xp.linalg.inv(x), spd(3)),
    "linalg.det": (lambda xp, x: xp.linalg.det(x), spd(3) / 3),
    "linalg.slogdet": (lambda xp, x: xp.linalg.slogdet(x)[1], spd(3)),
    "linalg.solve": (lambda xp, a, b: xp.linalg.solve(a, b), spd(3), far(3, 2)),
    "linalg.cholesky": (sym(lambda xp, x: xp.linalg.cholesky(x)), spd(3)),
    "linalg.eigh": (sym(lambda xp, x: [xp.linalg.eigh(x)[0], xp.linalg.eigh(x)[1] ** 2]), SPLIT + 0.1 * spd(3)),
    "linalg.eigvalsh": (sym(lambda xp, x: xp.linalg.eigvalsh(x)), SPLIT + 0.1 * spd(3)),
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
    "linalg.matrix_norm": (lambda xp, x: [xp.linalg.matrix_norm(x, ord=p) for p in ("fro", "nuc", 1, 2, math.inf)], np.array([[3.1, 0.4], [-0.7, 4.3], [0.2, -1.2]])),
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
NO_JIT = {"getitem:mask", "setitem", "repeat:array", "unique_all", "unique_counts", "unique_inverse", "unique_values"}  # shapes or places from values
NO_JAX_RULE = {"nextafter"}


def is_lifted(x):
    return backends.library_of(x).rank == 2


def sort_down(xp, x):
    """NumPy's own sort has no `descending`."""
    return xp.flip(xp.sort(x, axis=1), axis=1) if xp is np else xp.sort(x, axis=1, descending=True)


def values_of(found):
    return found[0] if isinstance(found, tuple) else found


def function_of(case):
    f = CASES[case][0]
    return lambda *arrays: f(namespace(*arrays), *arrays)


def arrays_of(case, backend, dtype="float64"):
    return [backend.asarray(np.ascontiguousarray(x), dtype=dtype) for x in CASES[case][1:]]


@pytest.mark.parametrize("case", CASES)
def test_gradient_agrees_with_differences(eager_backend, case):
    ann.check_gradients(function_of(case), *arrays_of(case, eager_backend), order=1 if case in NO_SECOND else 2, rtol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_jax(jax_backend, case):
    """Another library's rules on our call of its functions, in one compiled program."""
    import jax

    f = lambda *arrays: tree.leaves(function_of(case)(*arrays))  # noqa: E731

    def both(*arrays):
        y, pull = ann.vjp(f, *arrays)
        dy = [jax.numpy.cos(jax.numpy.arange(a.size, dtype=a.dtype)).reshape(a.shape) for a in y]
        return tree.leaves(pull(dy)), jax.tree.leaves(jax.vjp(f, *arrays)[1](dy))

    arrays = arrays_of(case, jax_backend)
    if case in NO_JIT | NO_JAX_RULE:  # as on NumPy, where it is compared with differences
        y, pull = ann.vjp(f, *CASES[case][1:])
        theirs = tree.leaves(pull(tree.map(np.ones_like, y)))
        y, pull = ann.vjp(f, *arrays)
        pair = tree.leaves(pull(tree.map(jax.numpy.ones_like, y))), theirs
    else:
        pair = jax.jit(both)(*arrays)
    for ours, theirs in zip(*pair, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_pullbacks_are_linear_where_dy_is_zero(case):
    """The derivative of dy ↦ pull(dy) is the same at zero as elsewhere: second derivatives pass through zeros of dy."""
    y, pull = ann.vjp(function_of(case), *CASES[case][1:])
    rng = np.random.default_rng(1)
    u = tree.map(lambda a: np.asarray(rng.normal(size=a.shape)), y)
    zero = tree.map(np.zeros_like, u)
    weight = [rng.normal(size=x.shape) for x in CASES[case][1:]]

    def along(dy):
        return sum(np.sum(dx * w) for dx, w in zip(tree.leaves(pull(dy)), weight, strict=True))

    for here, there in zip(tree.leaves(ann.grad(along)(zero)), tree.leaves(ann.grad(along)(u)), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if "astype" not in case and "dtype" not in case])
def test_float32_stays_float32(eager_backend, case):
    backend = eager_backend
    arrays = arrays_of(case, backend, "float32")
    y, pull = ann.vjp(function_of(case), *arrays)
    gradients = pull(tree.map(lambda a: namespace(a).ones_like(a), y))
    for a in tree.leaves(y):
        assert a.dtype == backend.library.dtype("float32") and backends.of(a) == backends.of(arrays[0])
    for g, x in zip(tree.leaves(gradients), arrays, strict=True):
        assert g.dtype == backend.library.dtype("float32") and backends.of(g) == backends.of(x) and g.shape == x.shape


@pytest.mark.parametrize("case", CASES)
def test_memory_layout_does_not_matter(case):
    """Strided, reversed and transposed views of frozen memory give the same values and gradients, and stay as they are."""

    def odd(x):
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]))
        view = wide.T[::-2].T  # every second entry of the last axis, from the end
        view[...] = x
        wide.flags.writeable = view.flags.writeable = False
        return view

    straight = CASES[case][1:]
    views = [odd(x) for x in straight]
    (y, pull), (z, pull_odd) = ann.vjp(function_of(case), *straight), ann.vjp(function_of(case), *views)
    dy = tree.map(np.ones_like, y)
    for a, b in zip([*tree.leaves(y), *tree.leaves(pull(dy)), *straight], [*tree.leaves(z), *tree.leaves(pull_odd(dy)), *views], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-13)


EMPTY = {
    "elementwise": lambda xp, x: [getattr(xp, name)(x) for name in ("exp", "log", "sqrt", "tanh", "abs", "square", "atan", "asinh", "reciprocal")],
    "two arguments": lambda xp, x: [getattr(xp, name)(x, x[:, :1]) for name in (
        "add", "multiply", "divide", "pow", "maximum", "atan2", "hypot", "logaddexp", "remainder", "copysign")],
    "reductions": lambda xp, x: [xp.sum(x), xp.sum(x, axis=0), xp.prod(x), xp.prod(x, axis=0), xp.max(x, axis=1), xp.mean(x, axis=1), xp.var(x, axis=1), xp.std(x, axis=1)],
    "cumulative": lambda xp, x: [f(x, axis=axis) for f in (xp.cumulative_sum, xp.cumulative_prod) for axis in (0, 1)],
    "moved": lambda xp, x: [xp.reshape(x, (3, 0)), xp.permute_dims(x, (1, 0)), xp.flip(x), xp.roll(x, 1), xp.concat([x, x]), xp.stack([x, x]),
                            xp.expand_dims(x, axis=0), xp.broadcast_to(x, (2, 0, 3)), xp.tile(x, (2, 2)), xp.repeat(x, 2, axis=0), xp.diff(x, axis=1),
                            xp.tril(x), xp.moveaxis(x, 0, 1), xp.squeeze(x[:, :1], axis=1), *xp.unstack(x, axis=1), *xp.meshgrid(x[:, 0], x[:, 1])],
    "picked": lambda xp, x: [x[:, 1], x[::2, ...], xp.take(x, indices(x, 2, 0), axis=1), xp.sort(x, axis=0), xp.where(x > 0, x, 2.0 * x), xp.clip(x, -1.0, 1.0)],
    "products": lambda xp, x: [xp.matmul(x, xp.matrix_transpose(x)), xp.matmul(xp.matrix_transpose(x), x), xp.vecdot(x, x), xp.tensordot(x, x, axes=0)],
    "norms": lambda xp, x: [xp.linalg.vector_norm(x), xp.linalg.vector_norm(x, axis=1), xp.linalg.outer(x[:, 0], x[:, 1]), xp.linalg.cross(x, x)],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*degrees of freedom:UserWarning")  # torch's, of each empty variance
@pytest.mark.parametrize("case", EMPTY)
def test_arrays_without_entries_have_gradients_without_entries(backend, case):
    x = backend.asarray(np.zeros((0, 3)))
    y, pull = ann.vjp(lambda x: EMPTY[case](namespace(x), x), x)
    dx = pull(tree.map(lambda a: namespace(a).ones_like(a), y))
    assert tuple(dx.shape) == (0, 3) and dx.dtype == x.dtype


def test_stacks_of_no_matrices(eager_backend):
    x = eager_backend.asarray(np.zeros((0, 3, 3)))
    for name in ("inv", "det", "cholesky", "eigvalsh", "svdvals", "pinv", "matrix_norm", "trace", "diagonal"):
        y, pull = ann.vjp(lambda x, name=name: getattr(namespace(x).linalg, name)(x), x)
        assert tuple(pull(namespace(y).ones_like(y)).shape) == (0, 3, 3), name


def test_every_function_of_the_standard_has_a_rule_or_a_reason():
    listed = {case.partition(":")[0] for case in CASES}
    silent = (*STEPS, *CREATION, *VALUED, *CONSTANTS, *DTYPES, *INSPECTION)
    missing = []
    for prefix, module in (("", strict_xp), ("linalg.", strict_xp.linalg)):
        for name in module.__all__:
            if prefix + name in listed or name in silent or name in OTHER or (prefix and name in listed):
                continue
            missing.append(prefix + name)
    assert not missing, missing


def test_the_namespace_has_every_function_of_the_standard(backend):
    xp = ann.autodiff.differentiable(backend.name)
    names = [name for name in strict_xp.__all__ if name not in OTHER] + ["asarray", "__array_namespace_info__"]
    assert [name for name in names if not hasattr(xp, name)] == []
    for extension in ("linalg", "fft"):
        names = [*getattr(strict_xp, extension).__all__, *(COMPLEX if extension == "linalg" else ())]
        assert [name for name in names if not hasattr(getattr(xp, extension), name)] == []


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


X = np.array([0.3, -1.2, 2.5, 2.5])
TWO = "bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor logical_and logical_or logical_xor"
STEP_CALLS = {
    **{name: lambda f, x: f(x) for name in ("all any argmax argmin ceil count_nonzero floor isfinite isinf isnan round sign signbit trunc").split()},
    **{name: lambda f, x: f(x > 0, x < 1) for name in TWO.replace("bitwise_left_shift", "").replace("bitwise_right_shift", "").split()},
    **{name: lambda f, x: f(x, x[1]) for name in "equal floor_divide greater greater_equal less less_equal not_equal".split()},
    **{name: lambda f, x: f(namespace(x).argsort(x), 1) for name in ("bitwise_left_shift", "bitwise_right_shift")},
    **{name: lambda f, x: f(x > 0) for name in ("bitwise_invert", "logical_not")},
    **dict.fromkeys(("imag", "result_type")),  # no result that could depend on a real array
    "isin": lambda f, x: f(namespace(x).argsort(x), namespace(x).argsort(x)[1:]), "nonzero": lambda f, x: f(x)[0],
    "searchsorted": lambda f, x: f(namespace(x).sort(x), x[2:]),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in STEPS if STEP_CALLS[name]])
def test_functions_without_a_derivative_work_and_stop_the_gradient(eager_backend, name):
    call = STEP_CALLS[name]
    x = eager_backend.asarray(X)
    found = []

    def f(x):
        xp = namespace(x)
        y = call(getattr(xp, name), x)
        found.append(y)
        return xp.sum(x) + xp.sum(xp.astype(y, x.dtype))

    assert eager_backend.to_numpy(ann.grad(f)(x)).tolist() == [1, 1, 1, 1]
    expected = call(getattr(eager_backend.xp, name), x)
    assert np.array_equal(eager_backend.to_numpy(ann.autodiff.tape.raw(found[0])), eager_backend.to_numpy(expected))


def test_created_arrays_carry_the_gradient_of_their_values(eager_backend):
    def f(x):
        xp = namespace(x)
        return xp.sum(xp.full((2, 3), x[0])) + xp.sum(xp.full_like(x, x[1]) * x) + xp.sum(xp.linspace(x[0], x[2], 5) ** 2) + xp.sum(xp.ones_like(x))

    x = np.array([0.5, -1.0, 2.0])
    t = np.linspace(0, 1, 5)
    line = x[0] * (1 - t) + x[2] * t
    expected = np.array([6 + 2 * line @ (1 - t), x.sum(), 2 * line @ t]) + x[1]
    np.testing.assert_allclose(eager_backend.to_numpy(ann.grad(f)(eager_backend.asarray(x))), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "f",
    [
        lambda xp, x: xp.sum(xp.abs(xp.fft.fft(x))),
        lambda xp, x: xp.sum(xp.fft.irfft(x)),
        lambda xp, x: xp.sum(xp.abs(xp.astype(x, xp.complex128))),
        lambda xp, x: xp.sum(xp.abs(xp.linalg.eigvals(xp.expand_dims(x, axis=0) * xp.eye(3, dtype=x.dtype, device=x.device)))),
        lambda xp, x: xp.sum(xp.arange(x[0])),
        lambda xp, x: xp.sum(xp.from_dlpack(x)),
    ],
)
def test_a_gradient_is_never_lost_in_silence(f):
    with pytest.raises(TypeError, match="differentiated input|gradient would be lost"):
        ann.grad(lambda x: f(namespace(x), x))(np.ones(3))
    assert ann.grad(lambda x, c: namespace(x).sum(x) + f(namespace(c), c))(np.ones(3), np.ones(3)).tolist() == [1, 1, 1]


FIELDS = {
    "linalg.eig": "eigenvalues eigenvectors", "linalg.eigh": "eigenvalues eigenvectors", "linalg.qr": "Q R", "linalg.slogdet": "sign logabsdet",
    "linalg.svd": "U S Vh", "unique_counts": "values counts", "unique_inverse": "values inverse_indices",
}  # fmt: skip


def test_tuples_have_the_fields_that_the_standard_names(eager_backend):
    x = eager_backend.asarray(spd(3))
    xp = ann.autodiff.differentiable(eager_backend.name)
    for name, fields in FIELDS.items():
        module, _, function = name.rpartition(".")
        found = getattr(getattr(xp, module) if module else xp, function)(x)
        assert found._fields == tuple(fields.split()), name
    assert eager_backend.to_numpy(ann.grad(lambda x: namespace(x).linalg.pinv(x, rtol=namespace(x).asarray(1e-9, device=x.device)).sum())(x)).shape == (3, 3)


def test_complex_values_pass_as_constants():
    x, z = np.array([1.0, 2.0]), np.array([1 + 1j, 2.0 - 1j])
    g = ann.grad(lambda x, z: np.sum(x * np.abs(z * np.conj(z) + namespace(z).fft.fft(z)) + x * np.imag(z)))(x, z)
    np.testing.assert_allclose(g, np.abs(z * np.conj(z) + np.fft.fft(z)) + z.imag)


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


def test_second_derivatives_where_the_cotangent_vanishes():
    """d²/dx² (x − 1)·f(x) = 2·f′(1) at x = 1, where dy = 0."""
    for f, slope in ((np.sqrt, 0.5), (np.log, 1.0), (np.reciprocal, -1.0), (lambda x: x**2.5, 2.5), (lambda x: x**x, 1.0), (np.arctan, 0.5)):
        np.testing.assert_allclose(ann.hessian(lambda x, f=f: np.sum((x - 1.0) * f(x)))(np.array([1.0])), [[2 * slope]], rtol=1e-12)


def test_logaddexp_of_equal_numbers_has_its_curvature():
    assert ann.hessian(lambda x: np.sum(np.logaddexp(x, 2.0)))(np.array([2.0])).tolist() == [[0.25]]


def test_equal_values_share_in_unique_values():
    assert g(lambda x: np.sum(namespace(x).unique_values(x)), [2.0, 1.0, 2.0]).tolist() == [0.5, 1, 0.5]


def test_bounds_of_clip_belong_to_its_inside():
    assert g(lambda x: np.sum(np.clip(x, 0.0, 1.0)), [-1.0, 0.0, 0.5, 1.0, 2.0]).tolist() == [0, 1, 1, 1, 0]


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
