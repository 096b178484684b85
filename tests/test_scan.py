"""Gradients of scans under jit: a scan forwards and one backwards, however long; eagerly the steps are recorded one by one, which is the meaning."""

import numpy as np
import pytest

import ann
import backends
from backends import jit, tree
from backends.gaps import scan

RNG = np.random.default_rng(0)
A, V, W = RNG.normal(size=(3, 4)), RNG.normal(size=(5, 3, 4)), 0.5 * RNG.normal(size=(4, 4))
ns = ann.namespace
CASES = {  # f(a, v, w): a (3, 4), v (5, 3, 4), w (4, 4)
    "a recurrent network": lambda a, v, w: scan(lambda c, x: ((ns(x).tanh(x + c[0] @ w), c[1] + 1), (c, ns(x).sum(x))), (a, ns(a).asarray(0)), v),
    "what is closed over, as it is": lambda a, v, w: scan(lambda c, x: (c * 0.5 + x, (w, c)), a, v),
    "a carry that stays": lambda a, v, w: scan(lambda c, x: (c, c @ w + x), a, v),
    "an input that is not read": lambda a, v, w: scan(lambda c, x: (ns(c).tanh(c @ w), c[0, ...]), a, v, reverse=True),
    "a carry that is not read": lambda a, v, w: scan(lambda c, x: (x @ w, c), a, v),
    "no input": lambda a, v, w: scan(lambda c, _: (ns(c).sin(c @ w), c), a, None, length=4),
    "a number": lambda a, v, w: scan(lambda c, x: (c + ns(x).sum(x * w[0, ...]), c * 2.0), a[0, 0], v),
    "one in another": lambda a, v, w: scan(lambda c, x: scan(lambda d, y: (ns(d).tanh(d + y @ w), d * y), c, x), a[0, ...], v),
    "constants": lambda a, v, w: scan(lambda c, x: (ns(c).ones_like(c), (ns(x).zeros_like(x[0, ...]), c @ w)), a, v),
    "views, backwards": lambda a, v, w: scan(lambda c, x: (c @ w.T + x[::-1, ...], [c[:, 0] * w[0, 0]]), a, v, reverse=True),
    "a gradient in each step": lambda a, v, w: scan(lambda c, x: (c - 0.1 * ann.grad(lambda u: square(u @ w - x))(c), c), a, v),
    "a gradient of it all": lambda a, v, w: [ann.grad(lambda u: square(scan(lambda c, x: (ns(c, u).tanh(c @ u + x), c), a, v)))(w)],
    "with checkpoints": lambda a, v, w: scan(ann.checkpoint(lambda c, x: (ns(c).tanh(c + x), c)), a, v),
    "dicts": lambda a, v, w: scan(lambda c, x: ({"h": ns(x).tanh(c["h"] @ w + x), "n": c["n"]}, {"o": c["h"], "e": {}}), {"h": a, "n": None}, v),
}  # fmt: skip


def square(results):
    floats = [y for y in tree.leaves(results) if "float" in str(y.dtype)]
    return sum(ns(y).sum(y * y * 1.5) for y in floats)


def agree(backend, found, meant):
    for x, y in zip(tree.leaves(found), tree.leaves(meant), strict=True):
        np.testing.assert_allclose(backend.to_numpy(x), backend.to_numpy(y), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_under_jit_is_that_of_the_steps(case, backend):
    arrays = [backend.asarray(x) for x in (A, V, W)]
    slope = ann.value_and_grad(lambda a, v, w: square(CASES[case](a, v, w)), argnums=(0, 1, 2))
    compiled = jit(slope)
    agree(backend, compiled(*arrays), slope(*arrays))
    names = [i.name for i in compiled.programs[0].body]
    assert names.count("scan") == {"a gradient of it all": 4}.get(case, 2)


@pytest.mark.parametrize("case", ["a recurrent network", "one in another", "no input"])
def test_the_gradient_of_the_gradient_under_jit_is_that_of_the_steps(case, eager_backend):
    arrays = [eager_backend.asarray(x) for x in (A, V, W)]
    slope = ann.grad(lambda *p: square(ann.grad(lambda *q: square(CASES[case](*q)), argnums=(0, 2))(*p)), argnums=(0, 1, 2))
    agree(eager_backend, jit(slope)(*arrays), slope(*arrays))


def test_the_program_is_as_long_for_five_steps_as_for_five_hundred():
    slope = jit(ann.grad(lambda w, v: square(CASES["a recurrent network"](v[0, ...], v, w))), lowering="replay")
    sizes = {len(slope.trace(backends.Spec((4, 4), "float64"), backends.Spec((n, 3, 4), "float64")).body) for n in (5, 500)}
    assert len(sizes) == 1
