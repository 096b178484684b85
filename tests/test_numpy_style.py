"""NumPy's functions, methods and operators on traced arrays: a formula written with np differentiates on every backend."""

import array_api_compat.numpy
import numpy as np
import pytest

import ann

V = np.array([0.37, 1.21, 0.83])
M = np.array([[2.0, 0.3, -0.1], [0.4, 1.7, 0.2], [-0.3, 0.1, 1.9]])

# name: a formula as a user of NumPy writes it; outer products make matrices of the vector x
FORMULAS = {
    **{name: (lambda x, name=name: getattr(np, name)(x)) for name in (
        "exp exp2 expm1 log log1p log2 log10 sqrt cbrt square reciprocal sin cos tan sinh cosh tanh arctan arcsinh abs absolute fabs negative positive "
        "degrees radians deg2rad rad2deg sum prod mean max min amax amin std var ptp cumsum cumprod diff sort flip ravel copy transpose squeeze atleast_1d "
        "atleast_2d diag zeros_like ones_like").split()},
    **{name: (lambda x, name=name: getattr(np, name)(x / 2)) for name in ("arcsin", "arccos", "arctanh")},
    **{name: (lambda x, name=name: getattr(np, name)(x, x[::-1] + 0.5)) for name in (
        "add subtract multiply divide true_divide power float_power maximum minimum fmax fmin hypot arctan2 logaddexp copysign dot inner outer vdot matmul").split()},
    "arccosh": lambda x: np.arccosh(x + 1),
    "mod": lambda x: np.mod(x, 0.7) + x % 0.6 + np.remainder(x, 0.9),
    "steps": lambda x: x * np.floor(x * 3) + x * np.rint(x) + x * np.trunc(x) + x * np.around(x) + x * np.ceil(x) + np.sign(x) * x + x * (x // 0.5),
    "operators": lambda x: (2.0 - x) / (1.0 + x**2) + 2.0**x - (-x) + abs(x) + x @ np.outer(x, x) + np.float64(2) * x,
    "where": lambda x: np.where(x > 0.5, x, x**2),
    "clip": lambda x: np.clip(x, 0.5, 1.0) + x.clip(0.4, 0.9),
    "concatenate": lambda x: np.concatenate([x, x * x], axis=0) * np.concatenate((x**2, x)),
    "stacks": lambda x: np.stack([x, x**2], axis=1) @ np.vstack([x, x**3]) + np.column_stack([x, x**2])[:, :1],
    "hstack": lambda x: np.hstack([x, x * x]) * np.append(x, x[:3] ** 2),
    "shapes": lambda x: np.swapaxes(np.reshape(np.outer(x, x**2), (3, 3)), 0, 1) + np.moveaxis(np.outer(x, x**3), 0, 1) + np.outer(x, x**2).T,
    "broadcast": lambda x: np.broadcast_to(x, (2, 3)) * np.expand_dims(x, 0) * np.tile(x, (2, 1)),
    "repeat": lambda x: np.repeat(x, 2) + np.repeat(x, 2, 0) + np.roll(np.tile(x, 2), 1),
    "reductions": lambda x: np.sum(np.outer(x, x), 0) + np.mean(np.outer(x, x**2), axis=1) + np.var(x, ddof=1) + np.average(x, weights=x),
    "methods": lambda x: x.sum() + x.mean() * x.max() - x.std() + x.reshape(3, 1).dot(x.reshape((1, 3))).ravel() @ np.ones_like(np.tile(x, 3)) + x.prod(axis=0),
    "methods of matrices": lambda x: np.outer(x, x).sum(axis=0).cumsum() + np.outer(x, x).swapaxes(0, 1).transpose().flatten()[:3] + x.astype(float).round() * x,
    "cumulative": lambda x: np.cumsum(np.outer(x, x)) + np.cumprod(np.outer(x, x), axis=0).reshape(-1),
    "accumulate": lambda x: np.add.accumulate(x) + np.multiply.accumulate(x) + np.maximum.reduce(x) * np.add.reduce(x),
    "outer of ufuncs": lambda x: np.subtract.outer(x, x) * np.multiply.outer(x, x),
    "einsum": lambda x: np.einsum("i,ij,j->", x, np.outer(x, x), x) + np.einsum("i,i", x, x),
    "products": lambda x: np.kron(np.outer(x, x), x.reshape(1, 3)).sum() + np.tensordot(np.outer(x, x), x, 1) + np.cross(x, x[::-1] ** 2),
    "trapezoid": lambda x: np.trapezoid(x**2, x) + np.trapezoid(x, dx=0.5),
    "triangles": lambda x: np.tril(np.outer(x, x)) + np.triu(np.outer(x, x), 1) + np.diag(np.outer(x, x)) + np.trace(np.outer(x, x)),
    "indexing": lambda x: x[0] * x[1:] + x[[0, 2]] + x[np.int64(1)] * x[::2] + x[-1] + x[:2] ** 2,
    "iteration": lambda x: sum(v * v for v in x) + max(x) - min(x) + abs(x[0]) + len(x),
    "assignment": lambda x: assigned(x),
    "linspace": lambda x: np.linspace(x[0], x[1], 4) + np.full_like(x, 2.0)[0],
    "norm": lambda x: np.linalg.norm(x) + np.linalg.norm(x, 1) + np.linalg.norm(np.outer(x, x), "fro") + np.linalg.norm(np.outer(x, x), axis=1),
    "linalg": lambda x: np.linalg.solve(spread(x), x) + np.linalg.det(spread(x)) + np.linalg.slogdet(spread(x))[1] + np.linalg.inv(spread(x)) @ x,
    "decompositions": lambda x: np.linalg.eigvalsh(spread(x)) + np.linalg.cholesky(spread(x))[:, 0] + np.linalg.matrix_power(spread(x), 3)[0],
}  # fmt: skip


LOOSE = {"decompositions"}  # x[0] of a matrix, which array_api_strict refuses


def assigned(x):
    y = x * 1.0
    y[0] = x[1] ** 2
    y[1:] *= x[:2]
    y += x
    y -= 1.0
    return y


def spread(x):
    return np.outer(x, x) + np.diag(np.exp(x)) * 2.0


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_of_numpy_has_the_gradient_of_differences(name):
    ann.check_gradients(FORMULAS[name], V, rtol=2e-6)


def test_the_same_formula_runs_on_every_backend(eager_backend):
    """Values are NumPy's own; gradients are those on NumPy."""
    x, wrong = eager_backend.asarray(V), {}
    for name, f in FORMULAS.items():
        if eager_backend.library.name == "array_api_strict" and name in LOOSE:
            continue
        expected, pull = ann.vjp(f, V)
        expected_dx = pull(np.cos(expected))
        try:
            y, pull = ann.vjp(f, x)
            np.testing.assert_allclose(eager_backend.to_numpy(y), f(V), rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(eager_backend.to_numpy(pull(eager_backend.xp.cos(y))), expected_dx, rtol=1e-9, atol=1e-11)
        except Exception as error:  # whichever: the table names them all
            wrong[name] = f"{type(error).__name__}: {error}"
    assert not wrong


def test_a_few_formulas_of_numpy_run_on_jax(jax_backend):
    x = jax_backend.asarray(V)
    for name in ("exp", "where", "concatenate", "reductions", "methods", "indexing", "linalg"):
        y, pull = ann.vjp(FORMULAS[name], x)
        expected, pull_numpy = ann.vjp(FORMULAS[name], V)
        np.testing.assert_allclose(y, expected, rtol=1e-10)
        np.testing.assert_allclose(pull(jax_backend.xp.cos(y)), pull_numpy(np.cos(expected)), rtol=1e-9)


def test_raw_arrays_of_the_library_mix_with_traced_ones(backend):
    """On both sides of operators and in functions; array_api_strict refuses foreign operands on its right by itself."""
    x, w = backend.asarray(V), backend.asarray(M)

    def f(x):
        y = np.matmul(w, x) + np.multiply(w, x)[0, ...] + x @ w - x / backend.asarray(V)
        return np.sum(y if backend.library.name == "array_api_strict" else y + w @ x + backend.asarray(V) ** x)

    def plain(x):
        y = M @ x + (M * x)[0] + x @ M - x / V
        return np.sum(y if backend.library.name == "array_api_strict" else y + M @ x + V**x)

    ann.check_gradients(plain, V)
    np.testing.assert_allclose(backend.to_numpy(ann.grad(f)(x)), ann.grad(plain)(V), rtol=1e-12)


def test_fitting_a_decay_as_a_scientist_writes_it(backend, monkeypatch):
    monkeypatch.setenv("ANN_BACKEND", backend.name)  # where Python floats go
    t, v = np.linspace(0, 5, 20), 2 * np.exp(-0.5 * np.linspace(0, 5, 20)) + 0.1
    there, seen = backend.asarray(t, dtype="float32"), backend.asarray(v, dtype="float32")

    def decay(p, t, v):
        return p["a"] * np.exp(-p["k"] * t) + p["c"] - v

    g = ann.grad(lambda p: np.sum(decay(p, there, seen) ** 2))({"a": 1.0, "k": 0.1, "c": 0.0})
    r = np.exp(-0.1 * t) - v
    np.testing.assert_allclose([g["a"], g["k"], g["c"]], [2 * np.sum(r * np.exp(-0.1 * t)), -2 * np.sum(r * t * np.exp(-0.1 * t)), 2 * np.sum(r)], rtol=1e-5)
    assert all(type(d) is float for d in g.values())


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: np.array([x[0], x[1]]).sum(), r"np.stack\(\[a, b\]\)"),
        (lambda x: np.asarray(x).sum(), "gradient would be lost"),
        (lambda x: np.add(x, x, out=np.zeros(3)).sum(), "out="),
        (lambda x: np.sum(np.clip(x, 0, 1, np.zeros(3))), "out="),
        (lambda x: np.sum(np.clip(x, 0, 1, out=np.zeros(3))), "out="),
        (lambda x: np.sum(np.cumsum(x, 0, None, np.zeros(3))), "out="),
        (lambda x: np.sum(np.einsum("i->i", x, out=np.zeros(3))), "out="),
        (lambda x: np.sum(x, 0, None, np.zeros(())), "out="),
        (lambda x: np.sum(array_api_compat.numpy.clip(x, 0.0, 1.0)), "ann.namespace"),  # it takes what it has made itself for the result
        (lambda x: np.clip(x, 0, 1, where=x > 0).sum(), "where"),
        (lambda x: np.add.at(x, [0], 1), "np.add.at has no counterpart"),
        (lambda x: np.sum(x, where=x > 0), "where="),
        (lambda x: np.i0(x).sum(), "the function i0 has no counterpart"),
        (lambda x: np.linalg.lstsq(M, x), "not in the Array API standard"),
        (lambda x: np.reshape(x, (3, 1), order="F"), "order='C'"),
        (lambda x: np.sum(np.ravel(x, order="F")), "order='C'"),
    ],
)
def test_what_has_no_counterpart_is_explained(f, message):
    with pytest.raises((TypeError, AttributeError), match=message):
        ann.grad(f)(V)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std"])
def test_a_dtype_asked_for_is_that_of_the_sums(name):
    x = np.array([1e8, 1.0, -1e8, 3.0], np.float32)
    y = ann.jit(lambda x: getattr(np, name)(x, dtype=np.float64), lowering="replay")(x)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, getattr(np, name)(x, dtype=np.float64), rtol=1e-12)


def test_adding_into_a_plain_array_is_explained():
    def f(x):
        total = np.zeros(3)
        total += x
        return np.sum(total)

    with pytest.raises(TypeError, match=r"Write a = a \+ y for a \+= y"):
        ann.grad(f)(V)
