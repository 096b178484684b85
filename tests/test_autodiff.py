"""The tape and the transformations: nesting, structure, what leaves a trace."""

import math
import threading

import numpy as np
import pytest

import ann
from backends import namespace, tree


def cube(x):
    return x * x * x


def test_gradients_nest_to_any_order():
    f, order = cube, 0
    for expected in (27.0, 18.0, 6.0, 0.0):
        f = ann.grad(f)
        order += 1
        assert f(3.0) == expected, order


def test_inner_derivatives_do_not_see_outer_variables():
    """Perturbation confusion: d/dx [x · d/dy (x + y)] = 1."""
    assert ann.grad(lambda x: x * ann.grad(lambda y: x + y)(1.0))(2.0) == 1.0
    assert ann.grad(lambda x: x * ann.grad(lambda y: x * y)(1.0))(3.0) == 6.0


def test_trees_keep_their_structure(backend):
    p = {"a": backend.asarray([1.0, 2.0]), "b": [backend.asarray(3.0), {"c": backend.asarray([[4.0]])}], "none": None}
    g = ann.grad(lambda p: namespace(p["a"]).sum(p["a"] * p["a"]) + 3.0 * p["b"][0] + namespace(p["a"]).sum(p["b"][1]["c"]))(p)
    assert tree.paths(g) == tree.paths(p)
    assert backend.to_numpy(g["a"]).tolist() == [2, 4] and float(g["b"][0]) == 3


def test_several_arguments_and_aux(backend):
    x, y = backend.asarray(2.0), backend.asarray(5.0)
    (value, aux), (dx, dy) = ann.value_and_grad(lambda a, b: (a * b, {"sum": a + b}), argnums=(0, 1), has_aux=True)(x, y)
    assert (float(value), float(aux["sum"]), float(dx), float(dy)) == (10, 7, 5, 2)
    assert type(aux["sum"]) is type(x + y)


def test_python_float_in_python_float_out():
    value, d = ann.value_and_grad(lambda x: x * 2.0)(3.0)
    assert type(value) is float and type(d) is float
    assert ann.grad(lambda p: p["a"] * 2.0)({"a": 1.5}) == {"a": 2.0}


def test_jacobian_and_hessian_are_those_of_calculus(backend):
    x = backend.asarray(np.array([0.5, -1.0, 2.0]))
    f = lambda x: namespace(x).exp(x) * namespace(x).sum(x * x)  # noqa: E731
    v = np.array([0.5, -1.0, 2.0])
    expected = np.diag(np.exp(v) * (v @ v)) + np.outer(np.exp(v), 2 * v)
    np.testing.assert_allclose(backend.to_numpy(ann.jacobian(f)(x)), expected, rtol=1e-12)
    h = backend.to_numpy(ann.hessian(lambda x: namespace(x).sum(cube(x)))(x))
    np.testing.assert_allclose(h, np.diag(6 * v), rtol=1e-12)


def test_a_tall_jacobian_is_computed_by_columns_and_differentiates(backend):
    """Many results of few numbers: the other way through the same derivative, and the derivative of that."""
    t = backend.asarray(np.linspace(0.0, 2.0, 40))
    f = lambda p, t: {"y": p["a"] * namespace(t).exp(-p["k"][0] * t) + p["k"][1]}  # noqa: E731
    p = {"a": backend.asarray(np.asarray(1.5)), "k": backend.asarray(np.array([0.7, -0.2]))}
    j = ann.jacobian(f)(p, t)
    e = np.exp(-0.7 * np.linspace(0.0, 2.0, 40))
    np.testing.assert_allclose(backend.to_numpy(j["y"]["a"]), e, rtol=1e-12)
    np.testing.assert_allclose(backend.to_numpy(j["y"]["k"]), np.stack([-1.5 * np.linspace(0.0, 2.0, 40) * e, np.ones(40)], axis=-1), rtol=1e-12)

    def squares(p, t):
        d = ann.jacobian(f)(p, t)["y"]["a"]
        return namespace(d).sum(d * d)

    g = ann.grad(squares)(p, t)  # Σ exp(−2kt)
    np.testing.assert_allclose(backend.to_numpy(g["k"]), [-2 * np.sum(np.linspace(0.0, 2.0, 40) * e * e), 0.0], rtol=1e-12)


def test_a_jacobian_hands_on_what_else_f_returns():
    j, aux = ann.jacobian(lambda x: (x**2, "more"), has_aux=True)(np.array([1.0, 2.0]))
    assert j.tolist() == [[2.0, 0.0], [0.0, 4.0]] and aux == "more"
    j, aux = ann.jacobian(lambda k, t: (k * t, k), has_aux=True)(3.0, np.arange(9.0))
    assert j.tolist() == np.arange(9.0).tolist() and float(aux) == 3.0


def test_jvp_and_hvp_are_products_with_jacobian_and_hessian(backend):
    x, v = backend.asarray(np.array([0.5, -1.0, 2.0])), backend.asarray(np.array([1.0, 0.5, -2.0]))
    f = lambda x: namespace(x).exp(x) * namespace(x).sum(x * x)  # noqa: E731
    y, dy = ann.jvp(f)(x, v)
    np.testing.assert_allclose(backend.to_numpy(y), backend.to_numpy(f(x)))
    np.testing.assert_allclose(backend.to_numpy(dy), backend.to_numpy(ann.jacobian(f)(x)) @ backend.to_numpy(v), rtol=1e-12)
    s = lambda x: namespace(x).sum(f(x))  # noqa: E731
    np.testing.assert_allclose(backend.to_numpy(ann.hvp(s)(x, v)), backend.to_numpy(ann.hessian(s)(x)) @ backend.to_numpy(v), rtol=1e-11)


@pytest.mark.parametrize("name", ["sqrt", "log", "log1p", "log2", "reciprocal", "asin", "acos", "atanh", "divide", "pow", "root", "power"])
def test_the_derivative_in_a_direction_is_the_gradient(name):
    """Also where the rule has a restricted domain: it is linear in dy, through dy = 0."""
    f = {"divide": lambda x: 2.0 / x, "pow": lambda x: x**x, "root": lambda x: x**0.5, "power": lambda x: (-x) ** np.asarray(3.0)}.get(name)
    f = f or (lambda x: getattr(namespace(x), name)(x))
    x = np.array(0.3)
    assert float(ann.jvp(f)(x, np.array(1.0))[1]) == pytest.approx(float(ann.grad(f)(x)), rel=1e-12)
    cross = ann.hessian(lambda p: p[0] * f(p[1]))(np.array([0.0, 0.3]))  # the gradient by f is 0 here, its derivative is not
    assert cross[0, 1] == pytest.approx(float(ann.grad(f)(x)), rel=1e-12) and cross[1, 0] == cross[0, 1]


def test_jvp_of_a_constant_is_zero(backend):
    x = backend.asarray(np.ones(3))
    _, dy = ann.jvp(lambda x: namespace(x).floor(x))(x, x)
    assert backend.to_numpy(dy).tolist() == [0, 0, 0]


def test_a_pullback_may_be_called_again_and_differentiated(backend):
    x = backend.asarray(np.array([1.0, 2.0]))
    y, pull = ann.vjp(lambda x: namespace(x).exp(x), x)
    one = namespace(x).ones_like(x)
    assert np.array_equal(backend.to_numpy(pull(one)), backend.to_numpy(pull(one)))
    d = ann.grad(lambda dy: namespace(dy).sum(pull(dy) * pull(dy)))(one)
    np.testing.assert_allclose(backend.to_numpy(d), 2 * np.exp(2 * np.array([1.0, 2.0])), rtol=1e-12)


def test_primitives_have_three_doors(backend):
    x = backend.asarray(np.array([[0.1, 0.7, -0.3]]))
    y, pull = ann.softmax.vjp(x)
    dy = backend.asarray(np.array([[1.0, 0.0, 2.0]]))
    through = ann.vjp(ann.softmax, x)[1](dy)
    np.testing.assert_allclose(backend.to_numpy(pull(dy)), backend.to_numpy(through), rtol=1e-12)
    assert np.array_equal(backend.to_numpy(y), backend.to_numpy(ann.softmax(x)))


def test_checkpoint_computes_the_same_gradient(backend):
    x = backend.asarray(np.array([0.3, -0.7]))
    calls = []

    def f(p, x):
        calls.append(1)
        return {"y": namespace(x, p["w"]).sum(namespace(x, p["w"]).tanh(p["w"] * x) * p["b"])}

    p = {"w": backend.asarray(np.array([1.0, 2.0])), "b": backend.asarray(np.array([0.5, 0.1]))}
    plain = ann.grad(lambda p: f(p, x)["y"])(p)
    n = len(calls)
    light = ann.grad(lambda p: ann.checkpoint(f)(p, x)["y"])(p)
    assert len(calls) - n == 2  # forward, and again on the way back
    for a, b in zip(tree.leaves(plain), tree.leaves(light), strict=True):
        np.testing.assert_allclose(backend.to_numpy(a), backend.to_numpy(b), rtol=1e-12)


def test_stop_gradient(backend):
    x = backend.asarray(2.0)
    assert float(ann.grad(lambda x: x * ann.stop_gradient(x))(x)) == 2.0


def test_assignment_and_in_place_operators_are_functional(backend):
    x = backend.asarray(np.array([1.0, 2.0, 3.0]))
    kept = backend.to_numpy(x).copy()

    def f(x):
        y = x * 1.0
        y[1:2] = 0.0
        y += x
        return namespace(y).sum(y * y)

    g = backend.to_numpy(ann.grad(f)(x))
    np.testing.assert_allclose(g, [8.0, 4.0, 24.0])
    assert np.array_equal(backend.to_numpy(x), kept)


def test_floats_in_give_floats_out_everywhere():
    cube_ = lambda x: x**3  # noqa: E731
    for value in (ann.hessian(cube_)(2.0), ann.jacobian(cube_)(2.0), ann.hvp(cube_)(2.0, 1.0), *ann.jvp(cube_)(2.0, 1.0), *ann.value_and_grad(cube_)(2.0)):
        assert type(value) is float
    assert ann.hessian(lambda p: p["a"] ** 2 * p["b"])({"a": 2.0, "b": 3.0}) == {"a": {"a": 6.0, "b": 4.0}, "b": {"a": 4.0, "b": 0.0}}
    assert ann.jacobian(lambda x: np.stack([x, x**2]))(2.0).tolist() == [1, 4]


def test_a_function_that_does_not_depend_on_its_argument_has_gradient_0(backend):
    assert ann.grad(lambda x: 3.0)(2.0) == 0.0
    x = backend.asarray(np.ones(2))
    assert backend.to_numpy(ann.grad(lambda x: 3.0)(x)).tolist() == [0, 0]
    assert backend.to_numpy(ann.grad(lambda x: namespace(x).sum(ann.stop_gradient(x)))(x)).tolist() == [0, 0]


def test_jvp_of_functions_with_a_restricted_domain(backend):
    """A zero cotangent stays zero there; the derivative along a direction does not."""
    x, v = np.array([0.3, 0.5, 0.8]), np.array([1.0, -2.0, 0.5])
    a, b = backend.asarray(x), backend.asarray(v)
    for name, slope in (("sqrt", 0.5 / np.sqrt(x)), ("log", 1 / x), ("reciprocal", -1 / x**2), ("asin", 1 / np.sqrt(1 - x * x)), ("square", 2 * x)):
        _, dy = ann.jvp(lambda a, name=name: getattr(namespace(a), name)(a))(a, b)
        np.testing.assert_allclose(backend.to_numpy(dy), slope * v, rtol=1e-12)


def test_what_may_leave_the_trace_does(backend):
    """Truth values, integers and indices carry no gradient; a format shows the value."""
    shown = []

    def f(x):
        y = namespace(x).sum(x)
        if y > 1:
            shown.append(f"{y:.2f} {x}")
            return y * int(y)
        return x[namespace(x).argmax(x)]

    assert backend.to_numpy(ann.grad(f)(backend.asarray(np.array([1.5, 2.0])))).tolist() == [3, 3]
    assert shown[0].startswith("3.50 traced")
    assert backend.to_numpy(ann.grad(f)(backend.asarray(np.array([0.5, -2.0])))).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: math.sin(x), r"^float\(x\) inside grad, at test_autodiff.py:\d+: math.sin\(x\) needs a number; write np.sin\(x\).$"),
        (lambda x: math.atan(x), r"write np.arctan\(x\)"),
        (lambda x: math.erf(x), r"write backends.gaps.erf\(x\)"),
        (lambda x: float(x) * 2, r"float\(x\) inside grad.*Its gradient would be lost"),
        (lambda x: complex(x), r"complex\(x\) inside grad"),
        (lambda x: x.item(), r"x.item\(\) inside grad"),
        (lambda x: x.tolist(), r"x.tolist\(\) inside grad"),
        (lambda x: np.asarray(x), r"np.asarray\(x\) inside grad"),
        (lambda x: np.from_dlpack(x), r"x.__dlpack__\(\) inside grad"),
    ],
)
def test_each_way_out_of_the_trace_says_what_to_write(f, message):
    with pytest.raises(TypeError, match=message):
        ann.grad(lambda x: f(x))(1.0)
    assert ann.grad(lambda x, c: (f(c), x)[1])(1.0, np.asarray(0.5)) == 1.0  # a constant may leave


def test_values_leaving_the_trace_are_explained():
    with pytest.raises(TypeError, match=r"float\(x\) inside grad, at test_autodiff.py:\d+: math.sin\(x\) needs a number; write np.sin\(x\)"):
        ann.grad(lambda x: math.sin(x))(1.0)
    with pytest.raises(TypeError, match="np.asarray"):
        ann.grad(lambda x: np.asarray(x).sum())(np.ones(2))
    assert ann.grad(lambda x: x * 2.0 if x > 1 else x)(3.0) == 2.0  # a truth value may leave


def test_what_grad_cannot_differentiate_is_explained():
    with pytest.raises(TypeError, match=r"is the integer 3.*write 3.0"):
        ann.grad(cube)(3)
    with pytest.raises(TypeError, match="int64, which has no derivative"):
        ann.grad(lambda x: x)(np.arange(3))
    with pytest.raises(ValueError, match=r"must return a scalar, it returned shape \(3,\)"):
        ann.grad(lambda x: x * 2.0)(np.ones(3))
    with pytest.raises(ValueError, match="must return a scalar, it returned NoneType"):
        ann.grad(lambda x: None)(1.0)
    with pytest.raises(TypeError, match="complex128.*two arguments"):
        ann.grad(lambda x: x)(np.ones(2, dtype=complex))
    with pytest.raises(ValueError, match="an argument twice"):
        ann.grad(lambda x, y: x * y, argnums=(0, -2))(1.0, 2.0)
    with pytest.raises(TypeError, match="argnums is 1"):
        ann.grad(cube, argnums=1)(1.0)


def test_a_primitive_that_closes_over_a_traced_array_is_refused():
    def outer(x):
        @ann.primitive
        def bad(y):
            return x * y, lambda dy: dy

        return bad(x)

    with pytest.raises(TypeError, match="pass it as an argument"):
        ann.grad(outer)(2.0)


def test_threads_do_not_share_tapes():
    results = [None] * 8

    def work(i):
        results[i] = ann.grad(lambda x: np.sum(np.sin(x) * x))(np.full(200, float(i)))[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    np.testing.assert_allclose(results, [math.cos(i) * i + math.sin(i) for i in range(8)])


def test_numpy_style_functions_differentiate():
    w = np.arange(6.0).reshape(2, 3) / 5 + 0.1

    def f(x):
        h = np.concatenate([x.reshape(3, 1), np.sqrt(x)[:, None]], axis=1)
        z = np.where(h > 0.5, np.exp(-h), h**2).sum(axis=0) @ w
        return np.linalg.norm(z) + z.mean() + np.dot(z, z) + np.sum(np.clip(x, 0.2, 0.9), 0) + x.max() - np.std(x)

    ann.check_gradients(f, np.array([0.3, 0.62, 0.8]), order=2)


def test_gradient_inside_a_foreign_jit():
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray([0.1, 0.2])
    f = ann.grad(lambda x: jax.numpy.zeros(()) + namespace(x).sum(namespace(x).exp(x) * ann.softmax(x)))
    np.testing.assert_allclose(jax.jit(f)(x), f(x), rtol=1e-6)
