"""Gradients of scans under jit: a scan forwards and one backwards, however long; eagerly the steps are recorded one by one, which is the meaning."""

import numpy as np
import pytest
from test_lowerings import STEPS, Unfit

import ann
import backends
from backends import jit, tree
from backends.gaps import scan
from backends.program.passes import simplify

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


def test_what_depends_on_no_step_before_is_done_for_all_steps_at_once():
    """One product X·w before the loop, one Cᵀ·dZ after it; in each step cₜ·u, and backwards dzₜ·uᵀ."""

    def loss(w, u, v):
        return square(scan(lambda c, x: (ns(c).tanh(x @ w + c @ u), c), v[0, :, :2] * 0.0, v)[1])

    w, u = W[:, :2], W[:2, :2]
    program = jit(ann.grad(loss, argnums=(0, 1)), lowering="replay").trace(w, u, V)
    after = simplify(program)
    steps = [i.program for i in after.body if i.program is not None]
    assert [sum(i.name == "matmul" for i in step.body) for step in steps] == [1, 1]
    assert sum(i.name == "matmul" for i in after.body) == 4  # X·w, C·u, and the two gradients
    for x, y in zip(after.run([w, u, V]), program.run([w, u, V]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


def test_a_loop_that_saves_memory_stays_one():
    """Attention in chunks: all scores at once would be 64 times the queries."""
    keys = RNG.normal(size=(512, 4))
    program = jit(lambda q, k: scan(lambda c, x: (c, ann.softmax(x @ k.T) @ k), q[0, 0, 0], q)[1], lowering="replay").trace(RNG.normal(size=(6, 3, 4)), keys)
    assert [i.name for i in simplify(program).body if i.name == "matmul"] == []


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[] if seed < 12 else pytest.mark.full) for seed in range(200)])
def test_random_steps_by_every_lowering(seed, lowering):
    """And their gradients."""
    r = np.random.default_rng(seed)
    n, m, k, length = (int(r.choice(c)) for c in ([1, 2, 5], [1, 3, 4, 17], [1, 2, 6], [1, 2, 3, 7]))
    arrays = [r.normal(size=s) for s in ((n, m), (m,), (length, n, m), (length, m), (m, m), (m, k), (n, m))]
    indices = r.integers(0, 5, size=(n, m)), r.integers(0, n, size=(4,))
    names = [*(name for name in STEPS if name != "joined"), "matmul", "matmul", "product_back"]
    steps = [(str(r.choice(names)), r.integers(0, 1 << 30, size=4).tolist()) for _ in range(int(r.integers(2, 14)))]
    picks = r.integers(0, 1 << 30, size=8).tolist()

    def f(*xs):
        xp = ann.namespace(*xs)

        def step(c, x):
            pool = [*c, *x, *xs[4:7]]
            for name, numbers in steps:
                try:
                    made = STEPS[name](xp, pool, [xs[7]], xs[8], numbers)
                except Unfit:
                    continue
                pool += [y for y in (made if isinstance(made, tuple | list) else (made,)) if y.size < 5000]
            a, b = ([z for z in pool if z.shape == state.shape] for state in c)
            a, b = a[picks[0] % len(a)], b[picks[1] % len(b)]
            carry = xp.tanh(a + c[0] * 0.5) if picks[2] % 3 else c[0] + a, c[1] + b if picks[3] % 2 else xp.tanh(b)
            return carry, [pool[p % len(pool)] for p in picks[4:7]]

        return scan(step, (xs[0], xs[1]), (xs[2], xs[3]), reverse=bool(seed % 2))

    def slope(*xs):
        total = lambda *floats: sum(ns(y).sum(ns(y).tanh(y)) for y in tree.leaves(f(*floats, *xs[7:])) if "float" in str(y.dtype))  # noqa: E731
        return ann.value_and_grad(total, argnums=tuple(range(7)))(*xs[:7])

    made = jit(slope if seed % 3 == 0 else f, lowering="replay")
    program = made.trace(*arrays, *indices)
    try:
        found = tree.leaves(jit(made.f, lowering=lowering)(*arrays, *indices))
    except ValueError as error:
        pytest.skip(str(error))
    for x, y in zip(found, program.run([*arrays, *indices]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-11 * max(1.0, float(np.abs(y).max())))
