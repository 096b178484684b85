"""Code that is not ours: it is differentiated, and it traces our training step."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ann
import backends
from backends import namespace, tree
from backends.library import known

ROOT = Path(__file__).parent.parent
X = np.array([[0.3, -1.2, 0.8], [1.5, 0.4, -0.6], [0.7, 0.2, -0.9]])


def agrees(backend, f, x=X):
    ann.check_gradients(f, backend.asarray(np.array(x)), rtol=1e-5)


EXTRA = {
    "kron": lambda xpx, x: xpx.kron(x, x),
    "atleast_nd": lambda xpx, x: xpx.atleast_nd(x * x, ndim=4),
    "create_diagonal": lambda xpx, x: xpx.create_diagonal(x),
    "cov": lambda xpx, x: xpx.cov(x),
    "sinc": lambda xpx, x: xpx.sinc(x),
    "pad": lambda xpx, x: xpx.pad(x, 1),
    "apply_where": lambda xpx, x: xpx.apply_where(x > 0, x, lambda a: a**2, lambda a: -a),
    "at.set": lambda xpx, x: xpx.at(x * 1.0, (slice(0, 1), ...)).set(2.0) * x,
    "at.multiply": lambda xpx, x: xpx.at(x * 1.0, (slice(0, 2), ...)).multiply(x[1:, ...]),
    "partition": lambda xpx, x: xpx.partition(x, 1),
    "isclose": lambda xpx, x: namespace(x).where(xpx.isclose(x, x), x * x, x),
}


@pytest.mark.parametrize("name", EXTRA)
def test_array_api_extra_differentiates(eager_backend, name):
    xpx = pytest.importorskip("array_api_extra", reason="array_api_extra is not installed")
    agrees(eager_backend, lambda x: EXTRA[name](xpx, x))


UNTRACEABLE = ("apply_where", "isclose")  # array-api-extra selects by a mask, except where it knows the library to be JAX


@pytest.mark.parametrize("name", EXTRA)
def test_array_api_extra_runs_under_jit(eager_backend, name):
    xpx = pytest.importorskip("array_api_extra", reason="array_api_extra is not installed")
    f, x = lambda x: EXTRA[name](xpx, x), eager_backend.asarray(X)
    gradient = ann.grad(lambda x: backends.namespace(x).sum(f(x) ** 2))
    if name in UNTRACEABLE:
        with pytest.raises(TypeError, match="the number of values kept depends on values"):
            ann.jit(f)(x)
        return
    for g, tolerance in ((f, 1e-13), (gradient, 1e-10)):
        np.testing.assert_allclose(eager_backend.to_numpy(ann.jit(g)(x)), eager_backend.to_numpy(g(x)), rtol=tolerance, atol=tolerance)


def test_array_api_extra_differentiates_on_jax(jax_backend):
    xpx = pytest.importorskip("array_api_extra", reason="array_api_extra is not installed")
    for name in ("kron", "cov", "apply_where", "at.set"):
        f = lambda x, name=name: EXTRA[name](xpx, x)  # noqa: E731
        expected = ann.grad(lambda x: np.sum(f(x) ** 2))(X)
        np.testing.assert_allclose(ann.grad(lambda x: np.sum(f(x) ** 2))(jax_backend.asarray(X)), expected, rtol=1e-10, atol=1e-12)


def test_array_api_code_of_a_user_differentiates(backend):
    def logsumexp(x):
        xp = x.__array_namespace__() if hasattr(x, "__array_namespace__") else namespace(x)
        m = xp.max(x, axis=-1, keepdims=True)
        return xp.squeeze(m, axis=-1) + xp.log(xp.sum(xp.exp(x - m), axis=-1))

    agrees(backend, logsumexp)


def test_compat_finds_our_namespace():
    from array_api_compat import array_namespace

    def f(x):
        xp = array_namespace(x)
        return xp.sum(xp.tanh(x) * x)

    ann.check_gradients(f, X)
    with pytest.raises(TypeError, match="pass every array as an argument"):
        ann.grad(lambda x: array_namespace(x, X).sum(x))(X)


SCIPY = """
import numpy as np, ann, backends
from scipy import integrate, optimize, special, stats
from scipy.spatial.transform import Rotation

X = np.array([[0.3, -1.2, 0.8], [1.5, 0.4, -0.6], [0.7, 0.2, -0.9]])
FUNCTIONS = {
    "logsumexp": lambda x: special.logsumexp(x, axis=-1), "softmax": lambda x: special.softmax(x, axis=-1),
    "log_softmax": lambda x: special.log_softmax(x, axis=-1), "xlogy": lambda x: special.xlogy(abs(x), abs(x)),
    "trapezoid": lambda x: integrate.trapezoid(x, axis=-1), "cumulative_trapezoid": lambda x: integrate.cumulative_trapezoid(x, axis=-1),
    "rosen": lambda x: optimize.rosen(x[0, ...]), "gmean": lambda x: stats.gmean(abs(x), axis=-1), "zscore": lambda x: stats.zscore(x, axis=-1),
    "skew": lambda x: stats.skew(x, axis=-1), "kurtosis": lambda x: stats.kurtosis(x, axis=-1), "sem": lambda x: stats.sem(x, axis=-1),
    "rotation": lambda x: Rotation.from_rotvec(x).as_matrix(),
}
usable = [name for name, state in backends.available().items() if state.usable]
for name in usable:
    backend = backends.get({"array_api_strict": "array_api_strict:device1"}.get(name, name))
    for key, f in FUNCTIONS.items():
        if name == "jax":  # which compiles each operation anew
            if key in ("logsumexp", "gmean", "zscore"):
                y, pull = ann.vjp(f, backend.asarray(X))
                z, pull_numpy = ann.vjp(f, X)
                np.testing.assert_allclose(pull(backend.xp.ones_like(y)), pull_numpy(np.ones_like(z)), rtol=1e-9, atol=1e-12)
        else:
            x = backend.asarray(X)
            ann.check_gradients(f, x, rtol=1e-5)
            np.testing.assert_allclose(backend.to_numpy(ann.jit(f)(x)), backend.to_numpy(f(x)), rtol=1e-12, atol=1e-13)
print(*usable)
"""


def test_array_api_functions_of_scipy_differentiate_and_run_under_jit_on_every_backend():
    pytest.importorskip("scipy", reason="scipy is not installed")
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}  # SciPy reads it when it is imported
    run = subprocess.run([sys.executable, "-c", SCIPY], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert run.stdout.split() == [name for name, state in backends.available().items() if state.usable], run.stderr


def test_ufuncs_of_scipy_differentiate_where_there_is_a_gap_function(eager_backend):
    special = pytest.importorskip("scipy.special", reason="scipy is not installed")
    x = eager_backend.asarray(np.array([0.3, 1.7, 2.4]))
    for name in ("erf", "erfc", "gammaln", "psi"):
        f = getattr(special, name)
        ann.check_gradients(lambda x, f=f: np.sum(f(x)), np.array([0.3, 1.7, 2.4]))
        y, _ = ann.vjp(f, x)
        np.testing.assert_allclose(eager_backend.to_numpy(y), f(np.array([0.3, 1.7, 2.4])), rtol=1e-12)
    with pytest.raises(TypeError, match="the function gamma has no counterpart"):
        ann.grad(lambda x: np.sum(special.gamma(x)))(x)


PLAIN_JAX = """
import warnings; warnings.simplefilter("error")
import numpy as np, ann, backends
be = backends.get("jax")
x, i = be.asarray(np.arange(12, dtype="float32").reshape(3, 4)), be.asarray(np.array([0, 2, 0]))
def f(x):
    xp = backends.namespace(x)
    return xp.sum(xp.take(x, i, axis=0) ** 2) + xp.sum(xp.sort(x)[:, :2] ** 3) + xp.sum(x[i, i]) + xp.sum(xp.take_along_axis(x, xp.argsort(x)[:, 1:], axis=1))
g = ann.grad(f)(x)
m = ann.Model([ann.Dense(8, "relu"), ann.Dropout(0.2), ann.BatchNormalization(), ann.Dense(3)], backend="jax", seed=0)
m.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
h = m.fit(np.linspace(0, 1, 256).reshape(64, 4), np.arange(64) % 3, epochs=3, verbose=0)
print(g.dtype, m.predict(np.ones((3, 4))).dtype, h["loss"][-1] < h["loss"][0])
"""


def test_jax_without_64_bit_types_trains_without_a_warning():
    """As its users have it."""
    pytest.importorskip("jax", reason="jax is not installed")
    environment = {**os.environ, "JAX_ENABLE_X64": "0", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", PLAIN_JAX], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert run.stdout.split() == ["float32", "float32", "True"], run.stderr


def training():
    """(step, params, slots, state, x, y) of a network with everything in it; step(params, slots, state, x, y, i)."""
    net = ann.Sequential([
        ann.Conv2D(4, 3, padding="same", activation="gelu"), ann.MaxPooling2D(), ann.BatchNormalization(), ann.AveragePooling2D(2, 1, "same"),
        ann.Flatten(), ann.Dropout(0.3), ann.Dense(8, "relu"), ann.LayerNormalization(), ann.Dense(5),
    ])  # fmt: skip
    x, y = np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype("float32"), np.arange(6) % 5
    params, state = net.init(x, seed=0)
    opt = ann.AdamW(ann.schedules.CosineDecay(1e-2, 10), global_clipnorm=1.0)
    dice = ann.Stream(0)["train"]

    def step(params, slots, state, x, y, i):
        def objective(p, state, x, y):
            z, out = net.apply_training(p, x, state=state, random=dice.at(i))
            return ann.losses.categorical_crossentropy(y, z) + out.penalty, out.state

        (loss, state), g = ann.value_and_grad(objective, has_aux=True)(params, state, x, y)
        return *opt.step(params, g, slots), state, loss

    return step, params, opt.init(params), state, x, y


def test_a_training_step_traces_under_jax_jit():
    """Then no value is read on the host, no shape depends on data, and nothing is written to."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    be = backends.get("jax")
    step, *start, x, y = training()
    compiled = jax.jit(step)
    eager, traced = start, backends.move(start, be)
    for i in range(3):
        *eager, loss = step(*eager, x, y, i)
        *traced, same = compiled(*traced, be.asarray(x), be.asarray(y), be.asarray(np.int32(i)))
        np.testing.assert_allclose(loss, same, rtol=1e-4)


class Frozen:
    """A namespace whose results are read-only: what writes into one of them raises."""

    def __init__(self, beneath):
        self.beneath = beneath

    def __getattr__(self, name):
        f = getattr(self.beneath, name)
        if not callable(f) or isinstance(f, type):
            return f

        def frozen(*args, **kwargs):
            y = f(*args, **kwargs)
            for part in y if isinstance(y, tuple | list) else (y,):
                if isinstance(part, np.ndarray):
                    part.flags.writeable = False
            return y

        return frozen


def test_a_training_step_writes_to_nothing(monkeypatch):
    """Arguments and every intermediate result of a function are read-only."""
    step, *start, x, y = training()
    *_, expected = step(*start, x, y, 0)
    for leaf in tree.leaves([start, x, y]):
        if isinstance(leaf, np.ndarray):
            leaf.flags.writeable = False
    copies = tree.map(np.copy, start)
    monkeypatch.setattr(known("numpy"), "xp", Frozen(np))
    *_, loss = step(*start, x, y, 0)
    assert loss == expected
    for leaf, copy in zip(tree.leaves(start), tree.leaves(copies), strict=True):
        np.testing.assert_array_equal(leaf, copy)
