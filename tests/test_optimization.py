"""minimize and least_squares find what scipy finds, and what NIST certifies; every way of failing says what happened."""

import numpy as np
import pytest

import ann
from backends import namespace, tree

optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed")

rng = np.random.default_rng(3)
X = rng.normal(size=(40, 3))
Y = (X @ np.array([1.0, -2.0, 0.5]) + 0.5 * rng.normal(size=40) > 0).astype("float64")
T = np.linspace(0.0, 5.0, 60)
V = 2.0 * np.exp(-0.5 * T) * np.cos(3.0 * T + 0.3) + 0.1 + 0.05 * rng.normal(size=60)
SIGMA = np.linspace(0.5, 2.0, 60)
START = {"a": 1.0, "k": 0.3, "w": 2.8, "f": 0.0, "c": 0.0}


def rosenbrock(x):
    xp = namespace(x)
    return xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def logistic(p, x, y):
    """The mean cross-entropy of a logistic regression, with a weight penalty: strictly convex."""
    xp = namespace(p["kernel"], x)
    z = xp.matmul(x, p["kernel"]) + p["bias"]
    return ann.losses.binary_crossentropy(y, z) + 0.05 * xp.sum(p["kernel"] * p["kernel"])


def oscillation(t, a, k, w, f, c):
    return a * np.exp(-k * t) * np.cos(w * t + f) + c


def residual(p, t, v):
    return oscillation(t, p["a"], p["k"], p["w"], p["f"], p["c"]) - v


# ------------------------------------------------------------------------------------------------------ minimize


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("kind", ["rosenbrock", "logistic"])
def test_minimize_compiles_what_is_evaluated_often(optimizer, kind, backend):
    f, params, args = {
        "rosenbrock": (rosenbrock, backend.asarray(np.array([-1.2, 1.0, -0.5, 2.0])), ()),
        "logistic": (logistic, {"kernel": backend.asarray(np.zeros(3)), "bias": 0.0}, (backend.asarray(X), backend.asarray(Y))),
    }[kind]
    found = {}
    for jit in (True, False):
        calls = []
        counted = lambda p, *args, calls=calls: (calls.append(1), f(p, *args))[1]
        fit = ann.minimize(counted, params, optimizer, steps=60, args=args, tol=0.0, jit=jit)
        assert len(calls) == 21 if jit and len(fit.history) > 20 else len(calls) >= len(fit.history)
        found[jit] = fit
    assert found[True].steps == found[False].steps
    np.testing.assert_allclose(found[True].history[:20], found[False].history[:20], rtol=1e-12)
    assert found[True].value == pytest.approx(found[False].value, rel=1e-6, abs=1e-9)
    for p, q in zip(tree.leaves(found[True].params), tree.leaves(found[False].params), strict=True):
        assert type(p) is type(q)
        np.testing.assert_allclose(p if type(p) is float else backend.to_numpy(p), q if type(q) is float else backend.to_numpy(q), rtol=1e-5, atol=1e-8)


def test_a_function_that_is_not_pure_runs_on_as_it_is():
    seen = []

    def looks(x):  # at a value
        seen.append(1)
        return namespace(x).sum(x * x) if x[0] > 0 else namespace(x).sum(3.0 * x * x)

    fit = ann.minimize(looks, np.array([1.0, -2.0]), "adam", steps=40, tol=0.0)
    assert len(seen) == 42  # once without data

    dice = np.random.default_rng(0)

    def random(x):  # other data at each call
        x = x - 1.0 - 0.1 * dice.normal(size=2)
        return namespace(x).sum(x * x)

    fit = ann.minimize(random, np.zeros(2), ann.SGD(0.1), steps=300, tol=0.0)
    np.testing.assert_allclose(fit.params, 1.0, atol=0.1)
    assert len(set(fit.history[-50:])) == 50
    assert dice.normal() != np.random.default_rng(0).normal()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_lbfgs_finds_the_minimum_of_rosenbrock_in_as_many_steps_as_scipy(backend, dtype):
    start = np.array([-1.2, 1.0, -0.5, 2.0])
    fit = ann.minimize(rosenbrock, backend.asarray(start, dtype=dtype))
    assert fit.converged and "max |∂f|" in fit.message
    assert type(fit.params) is type(backend.asarray(start)) and str(fit.params.dtype).endswith(dtype)
    np.testing.assert_allclose(backend.to_numpy(fit.params), np.ones(4), rtol=1e-8 if dtype == "float64" else 2e-5)
    oracle = optimize.minimize(optimize.rosen, start, jac=optimize.rosen_der, method="L-BFGS-B", options={"gtol": 1e-8, "ftol": 0.0})
    assert fit.steps <= 1.2 * oracle.nit and len(fit.history) == fit.steps + 1
    assert fit.history[0] == pytest.approx(optimize.rosen(start), rel=1e-6) and fit.value == fit.history[-1]
    assert all(b <= a for a, b in zip(fit.history, fit.history[1:], strict=False))


def test_lbfgs_and_scipy_agree_on_a_tree_of_parameters(backend):
    params = {"kernel": backend.asarray(np.zeros(3)), "none": None, "bias": backend.asarray(np.asarray(0.0))}
    fit = ann.minimize(logistic, params, args=(backend.asarray(X), backend.asarray(Y)))

    def value(q):
        z = X @ q[:3] + q[3]
        return np.mean(np.logaddexp(0.0, z) - Y * z) + 0.05 * q[:3] @ q[:3]

    oracle = optimize.minimize(value, np.zeros(4), method="L-BFGS-B", tol=1e-14)
    assert tree.paths(fit.params) == ["kernel", "bias"] and fit.converged
    np.testing.assert_allclose(backend.to_numpy(fit.params["kernel"]), oracle.x[:3], atol=2e-6)
    assert float(fit.params["bias"]) == pytest.approx(oracle.x[3], abs=2e-6)
    assert fit.value == pytest.approx(oracle.fun, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_every_optimizer_by_name_goes_down(optimizer):
    x, y = X.astype("float32"), Y.astype("float32")
    params = {"kernel": np.zeros(3, "float32"), "bias": np.float32(0.0)[...]}
    fit = ann.minimize(logistic, params, optimizer, steps=200, args=(x, y))
    assert fit.value < 0.99 * fit.history[0] and fit.steps == 200 and len(fit.history) == 201 and not fit.converged
    assert "all 200 steps are taken" in fit.message


def test_an_optimizer_object_converges(backend):
    start = {"x": backend.asarray(np.array([3.0, -2.0])), "y": [backend.asarray(np.asarray(1.0))]}
    f = lambda p: namespace(p["x"]).sum((p["x"] - 1.0) ** 2) + p["y"][0] ** 2  # noqa: E731
    fit = ann.minimize(f, start, ann.SGD(0.2, momentum=0.5), steps=500, tol=1e-6)
    assert fit.converged and fit.steps < 100
    np.testing.assert_allclose(backend.to_numpy(fit.params["x"]), [1.0, 1.0], atol=1e-6)
    assert abs(float(fit.params["y"][0])) < 1e-6


def test_python_floats_come_back_as_python_floats():
    fit = ann.minimize(lambda p: (p["a"] - 3.0) ** 2 + (p["b"][0] + 1.0) ** 2, {"a": 0.0, "b": [2.0]})
    assert type(fit.params["a"]) is float and type(fit.value) is float and all(type(v) is float for v in fit.history)
    assert fit.params["a"] == pytest.approx(3.0, abs=1e-8) and fit.params["b"][0] == pytest.approx(-1.0, abs=1e-8)
    assert ann.minimize(lambda x: (x - 2.0) ** 2, 0.5).params == pytest.approx(2.0, abs=1e-8)


def test_floats_follow_the_arrays_beside_them(backend):
    t = backend.asarray(T, dtype="float32")
    fit = ann.minimize(lambda p, t: namespace(t).mean((p["a"] * t - 2.0 * t) ** 2), {"a": 1.0}, args=(t,))
    assert type(fit.params["a"]) is float and fit.params["a"] == pytest.approx(2.0, abs=1e-4)


def test_nan_beyond_the_border_of_f_shortens_the_step():
    with np.errstate(all="ignore"):
        fit = ann.minimize(lambda x: np.sum(x - np.log(x)), np.array([0.01, 3.0]))
    assert fit.converged
    np.testing.assert_allclose(fit.params, 1.0, atol=1e-7)


def test_rounding_ends_the_search(backend):
    """In float32 1e6 + x² is flat for |x| < 0.2: a minimum, as far as f can tell."""
    fit = ann.minimize(lambda x: 1e6 + namespace(x).sum(x * x * namespace(x).exp(x)), backend.asarray([3.0]), tol=0.0)
    assert fit.converged and fit.steps < 40
    assert abs(float(backend.to_numpy(fit.params)[0])) < 0.3


def test_a_search_that_does_not_end_well_says_so():
    fit = ann.minimize(rosenbrock, np.array([-1.2, 1.0]), steps=3)
    assert not fit.converged and fit.steps == 3 and "all 3 steps are taken and max |∂f| = " in fit.message
    calls = []
    fit = ann.minimize(lambda x: [calls.append(1), rosenbrock(x)][1], np.array([-1.2, 1.0]), ann.LBFGS(memory=3, evaluations=12))
    assert not fit.converged and "all 12 evaluations are made" in fit.message and 12 <= len(calls) < 20
    fit = ann.minimize(lambda x: np.sum(x * x), np.zeros(2))
    assert fit.converged and fit.steps == 0 and "the gradient is zero at the start" in fit.message

    @ann.primitive
    def wrong(x):
        """y = x², with a derivative of the wrong sign."""
        return x * x, lambda dy: -2.0 * x * dy

    fit = ann.minimize(lambda x: np.sum(wrong(x)), np.array([2.0]))
    assert not fit.converged and "its gradient is wrong" in fit.message and fit.params.tolist() == [2.0]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ann.minimize(lambda x: x * np.ones(3), 1.0), ValueError, "must return a scalar, it returned shape .3,."),
        (lambda: ann.minimize(lambda x: {"loss": x}, 1.0), ValueError, "must return a scalar, it returned a dict"),
        (lambda: ann.minimize(lambda x: 3.0, 1.0), ValueError, "does not depend on params"),
        (lambda: ann.minimize(lambda x: x * np.nan, 1.0), FloatingPointError, "f is nan at the start"),
        (lambda: ann.minimize(lambda p: p["a"] * np.inf, {"a": 1.0}), FloatingPointError, "f is inf at the start"),
        (lambda: ann.minimize(lambda x: x**4, 3.0, ann.SGD(10.0)), FloatingPointError, r"f is inf at step 4, after 6.2e\+134|f is inf at step 4"),
        (lambda: ann.minimize(lambda x: x * x, {"n": [2]}), TypeError, "params, n/0, is the int 2; write 2.0"),
        (lambda: ann.minimize(lambda x: x * x, np.arange(3)), TypeError, "params has dtype int64"),
        (lambda: ann.minimize(lambda x: x * x, "x"), TypeError, "params is the str 'x'"),
        (lambda: ann.minimize(lambda x: x * x, {"a": None}), ValueError, "params holds no numbers"),
        (lambda: ann.minimize(lambda x: x * x, 1.0, "bfgs"), ValueError, 'unknown optimizer "bfgs". Did you mean "lbfgs". There are lbfgs, sgd'),
        (lambda: ann.minimize(lambda x: x * x, 1.0, ann.LBFGS(memory=0)), ValueError, "memory is a positive integer"),
        (lambda: ann.minimize(lambda x: x * x, 1.0, steps=-1), ValueError, "steps is a non-negative integer"),
        (lambda: ann.minimize(lambda x: x * x, 1.0, tol=-1.0), ValueError, "tol is not negative"),
    ],
)
def test_minimize_refuses_with_the_reason(call, error, text):
    with pytest.raises(error, match=text), np.errstate(all="ignore"):
        call()


def test_a_gradient_that_is_not_finite_is_named(backend):
    start = {"a": backend.asarray(np.asarray(0.0)), "b": backend.asarray(np.asarray(1.0))}
    with pytest.raises(FloatingPointError, match="its gradient is not finite by a, at the start"), np.errstate(all="ignore"):
        ann.minimize(lambda p: p["b"] + p["a"] ** 0.5, start)


# ------------------------------------------------------------------------------------------------- least squares


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_least_squares_is_scipys_curve_fit_with_its_covariance(backend, dtype):
    t, v = backend.asarray(T, dtype=dtype), backend.asarray(V, dtype=dtype)
    fit = ann.least_squares(residual, START, args=(t, v))
    jac = lambda t, *p: np.stack([ann.jacobian(oscillation, k + 1)(t, *map(np.asarray, p)) for k in range(5)], axis=1)  # noqa: E731
    best, covariance = optimize.curve_fit(oscillation, T, V, list(START.values()), jac=jac, ftol=1e-12, xtol=1e-12)
    rtol = 1e-6 if dtype == "float64" else 1e-3
    assert fit.converged and all(type(p) is float for p in fit.params.values())
    np.testing.assert_allclose(list(fit.params.values()), best, rtol=rtol)
    np.testing.assert_allclose(backend.to_numpy(fit.covariance), covariance, rtol=10 * rtol, atol=rtol * np.abs(covariance).max())
    np.testing.assert_allclose(list(fit.errors.values()), np.sqrt(np.diag(covariance)), rtol=10 * rtol)
    np.testing.assert_allclose(backend.to_numpy(fit.jacobian), jac(T, *best), rtol=10 * rtol, atol=rtol)
    np.testing.assert_allclose(backend.to_numpy(fit.residual), oscillation(T, *best) - V, atol=rtol)
    assert fit.value == pytest.approx(np.sum((oscillation(T, *best) - V) ** 2), rel=rtol)
    assert {type(x) for x in (fit.residual, fit.jacobian, fit.covariance)} == {type(t)}


def test_weights_are_one_over_sigma_squared(backend):
    fit = ann.least_squares(residual, START, args=(backend.asarray(T), backend.asarray(V)), weights=1.0 / SIGMA**2)
    best, covariance = optimize.curve_fit(oscillation, T, V, list(START.values()), sigma=SIGMA, ftol=1e-12, xtol=1e-12)
    np.testing.assert_allclose(list(fit.params.values()), best, rtol=1e-6)
    np.testing.assert_allclose(backend.to_numpy(fit.covariance), covariance, rtol=1e-3, atol=1e-5 * np.abs(covariance).max())
    assert fit.value == pytest.approx(np.sum((oscillation(T, *best) - V) ** 2 / SIGMA**2), rel=1e-9)


def test_least_squares_finds_what_scipys_finds_on_a_tree_of_arrays(backend):
    """Residuals of any shape, parameters of several shapes."""
    a = backend.asarray(X)

    def r(p, a):
        xp = namespace(a, p["w"])
        return xp.stack([xp.tanh(xp.matmul(a, p["w"])) - 0.5, xp.matmul(a, p["w"]) * p["s"] + 1.0])

    start = {"w": backend.asarray(np.array([0.1, 0.2, -0.1])), "s": backend.asarray(np.asarray(0.5))}
    fit = ann.least_squares(r, start, args=(a,))
    oracle = optimize.least_squares(lambda q: np.concatenate([np.tanh(X @ q[:3]) - 0.5, (X @ q[:3]) * q[3] + 1.0]), [0.1, 0.2, -0.1, 0.5], xtol=1e-12, ftol=1e-12)
    assert fit.converged and tuple(fit.residual.shape) == (2, 40) and tuple(fit.jacobian.shape) == (80, 4)
    assert fit.value == pytest.approx(2 * oracle.cost, rel=1e-8)
    np.testing.assert_allclose(backend.to_numpy(fit.params["w"]), oracle.x[:3], atol=1e-5)
    assert tuple(fit.errors["w"].shape) == (3,) and tuple(fit.errors["s"].shape) == ()


def test_nist_misra1a_is_fitted_to_its_certified_digits():
    """NIST StRD, Misra1a, from the far start: certified parameters, their standard deviations, residual sum of squares."""
    y = np.array([10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78])
    x = np.array([77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0])
    fit = ann.least_squares(lambda b, x, y: b["b1"] * (1.0 - np.exp(-b["b2"] * x)) - y, {"b1": 500.0, "b2": 1e-4}, args=(x, y), tol=1e-12)
    assert fit.params["b1"] == pytest.approx(2.3894212918e02, rel=1e-8) and fit.params["b2"] == pytest.approx(5.5015643181e-04, rel=1e-8)
    assert fit.errors["b1"] == pytest.approx(2.7070075241e00, rel=1e-6) and fit.errors["b2"] == pytest.approx(7.2668688436e-06, rel=1e-6)
    assert fit.value == pytest.approx(1.2455138894e-01, rel=1e-10)


def test_what_the_residuals_do_not_determine_has_no_covariance(backend):
    t = backend.asarray(T)
    fit = ann.least_squares(lambda p, t: (p["a"] + p["b"]) * t - 1.0, {"a": 1.0, "b": 2.0}, args=(t,))
    assert fit.converged and "no covariance: the Jacobian has rank 1 for 2 parameters" in fit.message
    assert fit.params["a"] + fit.params["b"] == pytest.approx(np.sum(T) / np.sum(T * T), rel=1e-7)
    assert np.isinf(backend.to_numpy(fit.covariance)).all() and fit.errors == {"a": np.inf, "b": np.inf}
    fit = ann.least_squares(lambda p: namespace(p).stack([10.0 * (p[1] - p[0] ** 2), 1.0 - p[0]]), backend.asarray(np.array([-1.2, 1.0])))
    assert fit.converged and "2 residuals do not determine 2 parameters" in fit.message
    np.testing.assert_allclose(backend.to_numpy(fit.params), [1.0, 1.0], rtol=1e-8)


def test_a_fit_that_stands_where_it_starts_says_why():
    r = lambda p, t: p * t  # noqa: E731
    fit = ann.least_squares(r, 0.0, args=(T,))
    assert fit.converged and fit.steps == 0 and "the residuals are zero" in fit.message and fit.errors == 0.0
    fit = ann.least_squares(lambda p, t: np.floor(p) * t + t, 0.5, args=(T,))
    assert fit.steps == 0 and "the residuals do not depend on params here" in fit.message
    fit = ann.least_squares(residual, START, args=(T, V), steps=2)
    assert not fit.converged and fit.steps == 2 and "all 2 steps are taken" in fit.message


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ann.least_squares(lambda p, t: np.sum(p * t), 1.0, args=(T,)), ValueError, "it returned a scalar; ann.minimize takes a scalar"),
        (lambda: ann.least_squares(lambda p, t: [p * t], 1.0, args=(T,)), ValueError, "must return one array of residuals, it returned a list"),
        (lambda: ann.least_squares(lambda p, t: p * t, 1, args=(T,)), TypeError, "params is the int 1; write 1.0"),
        (lambda: ann.least_squares(lambda p, t: p * t, 1.0, args=(T,), weights=[1.0]), ValueError, r"weights has shape .1,., the residuals .60,."),
        (lambda: ann.least_squares(lambda p, t: p * t, 1.0, args=(T,), weights=-T), ValueError, "weights has negative values"),
        (lambda: ann.least_squares(lambda p, t: p * t, 1.0, args=(T,), steps=1.5), ValueError, "steps is a non-negative integer"),
        (lambda: ann.least_squares(lambda p, t: p / (t - T[7]), 1.0, args=(T,)), FloatingPointError, r"not finite at the start, first at .7,."),
        (lambda: ann.least_squares(lambda p, t: p * t * 1e200, 1.0, args=(T,)), FloatingPointError, "its square overflows float64"),
        (lambda: ann.least_squares(lambda p, t: p["c"] * (t - p["a"]) ** 0.5, {"a": 0.0, "c": 1.0}, args=(T,)), FloatingPointError, "derivative of the residual by a is"),
    ],
)
def test_least_squares_refuses_with_the_reason(call, error, text):
    with pytest.raises(error, match=text), np.errstate(all="ignore"):
        call()


def test_a_fit_prints_its_parameters_with_their_errors():
    fit = ann.least_squares(residual, START, args=(T, V))
    lines = str(fit).splitlines()
    assert lines[0].startswith("converged: ") and lines[1] == f"  value {fit.value:.6g}, {fit.steps} steps"
    assert lines[2] == f"  a  {fit.params['a']:.6g} ± {fit.errors['a']:.2g}" and len(lines) == 7
    assert repr(fit).startswith("Fit(params={'a': ") and "residual" not in repr(fit)
    shown = str(ann.minimize(lambda p: np.sum(p["w"] ** 2) + np.sum(p["v"] ** 2), {"w": np.ones((3, 4)), "v": np.array([1.0, 2.0])}, steps=0))
    assert shown.startswith("NOT converged: all 0 steps") and shown.endswith("  w  float64 (3, 4)\n  v  1, 2")
