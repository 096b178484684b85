"""Code that is not ours: it is differentiated, and it traces our training step."""

import numpy as np
import pytest

import ann
from backends import namespace

X = np.array([[0.3, -1.2, 0.8], [1.5, 0.4, -0.6]])


def agrees(backend, f, x=X):
    ann.check_gradients(f, backend.asarray(np.array(x)), rtol=1e-5)


def test_array_api_extra_differentiates(backend):
    xpx = pytest.importorskip("array_api_extra", reason="array_api_extra is not installed")
    if backend.name.startswith("array_api_strict"):
        pytest.skip("array_api_extra asks for a common namespace of our lifted array and strict's raw constants")
    lifted = lambda x: namespace(x)  # noqa: E731
    agrees(backend, lambda x: xpx.kron(x, x, xp=lifted(x)))
    agrees(backend, lambda x: xpx.atleast_nd(x * x, ndim=4, xp=lifted(x)))
    agrees(backend, lambda x: xpx.create_diagonal(x[0, ...] * x[1, ...], xp=lifted(x)) if backend.name == "numpy" else x * x)


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


def test_scipy_array_api_functions_differentiate():
    import os
    import subprocess
    import sys
    from pathlib import Path

    pytest.importorskip("scipy", reason="scipy is not installed")
    code = """
import numpy as np, ann
from scipy.special import logsumexp, softmax
x = np.array([[0.3, -1.2, 0.8], [1.5, 0.4, -0.6]])
ann.check_gradients(lambda x: softmax(x, axis=-1) if isinstance(x, np.ndarray) else softmax(x, axis=-1), x, rtol=1e-5)
print("done")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "SCIPY_ARRAY_API": "1"}, cwd=Path(__file__).parent.parent)
    assert run.stdout.strip() == "done", run.stderr


def test_a_training_step_traces_under_jax_jit():
    """Then no value is read on the host, no shape depends on data, and nothing is written to."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    import backends

    be = backends.get("jax")
    net = ann.Sequential([
        ann.Conv2D(4, 3, padding="same", activation="gelu"), ann.MaxPooling2D(), ann.BatchNormalization(), ann.AveragePooling2D(2, 1, "same"),
        ann.Flatten(), ann.Dropout(0.3), ann.Dense(8, "relu"), ann.LayerNormalization(), ann.Dense(5),
    ])  # fmt: skip
    x, y = be.asarray(np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype("float32")), be.asarray(np.arange(6) % 5)
    params, state = net.init(x, seed=0)
    opt = ann.AdamW(ann.schedules.CosineDecay(1e-2, 10), global_clipnorm=1.0)
    dice = ann.Stream(0)["train"]

    def step(params, state, slots, x, y, i):
        def objective(p, state, x, y):
            z, out = net.apply_training(p, x, state=state, random=dice.at(i))
            return ann.losses.categorical_crossentropy(y, z) + out.penalty, out.state

        (loss, state), g = ann.value_and_grad(objective, has_aux=True)(params, state, x, y)
        return *opt.step(params, g, slots), state, loss

    compiled = jax.jit(step)
    eager = (params, opt.init(params), state, None)
    traced = eager
    for i in range(3):
        n = be.asarray(np.int32(i))
        eager = step(eager[0], eager[2], eager[1], x, y, n)
        traced = compiled(traced[0], traced[2], traced[1], x, y, n)
        np.testing.assert_allclose(eager[3], traced[3], rtol=1e-4)
