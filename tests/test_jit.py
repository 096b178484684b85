"""jit: the same results as the function itself, one trace for each kind of arguments, and clear errors."""

import numpy as np
import pytest
from examples_table import EXAMPLES

import ann
import backends
from backends import jit, tree
from backends.gaps import scan
from backends.program import shape_of

RNG = np.random.default_rng(0)
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name.replace(" ", "_"))


def close(backend, a, b, rtol=1e-12):
    for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True):
        x, y = backend.to_numpy(x), backend.to_numpy(y)
        assert x.shape == y.shape and x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * max(1.0, np.abs(y).max()) if y.size and y.dtype.kind == "f" else 0)


def float_places(example):
    return tuple(i for i, a in enumerate(example.args) if a.dtype.kind == "f")


@every_example
def test_value_and_gradients_are_those_of_the_function(backend, example):
    args = [backend.asarray(a) for a in example.args]
    places = float_places(example)

    def both(*arrays):
        y, pull = ann.vjp(lambda *xs: example(*[xs[places.index(i)] if i in places else a for i, a in enumerate(arrays)]), *(arrays[i] for i in places))
        ones = tree.map(lambda leaf: backends.namespace(leaf).ones_like(leaf), y)
        return y, pull(ones)

    compiled = jit(both)
    close(backend, compiled(*args), both(*args))
    close(backend, compiled(*args), both(*args))
    assert compiled.traces == 1


def test_one_trace_for_each_structure_shape_and_dtype(backend):
    f = jit(lambda p, n: {"y": p["a"] * 2.0 + n})
    a = backend.asarray(RNG.normal(size=(3, 2)))
    for n in (1, 2, 3):
        close(backend, f({"a": a}, n), {"y": a * 2.0 + n})
    assert f.traces == 1  # a Python number is an input, not a part of the program
    f({"a": a[:2, ...]}, 1)
    f({"a": backend.xp.astype(a, backend.library.dtype("float32"))}, 1)
    f({"a": a}, 1.5)
    assert f.traces == 4


def test_static_arguments_are_a_part_of_the_program(backend):
    f = jit(lambda x, n, how: x * n if how == "times" else x + n, static=("n", "how"))
    x = backend.asarray(RNG.normal(size=4))
    close(backend, f(x, 3, "times"), x * 3)
    close(backend, f(x, 3, "plus"), x + 3)
    close(backend, f(x, 4, "plus"), x + 4)
    assert f.traces == 3


def test_what_it_closes_over_is_read_at_each_call():
    w = np.ones(3)
    f = jit(lambda x: x * w)
    close(backends.get("numpy"), f(np.arange(3.0)), np.arange(3.0))
    w[:] = 5.0
    close(backends.get("numpy"), f(np.arange(3.0)), 5.0 * np.arange(3.0))
    assert f.traces == 1


def test_gradients_and_jit_compose_in_any_order(backend):
    x = backend.asarray(RNG.normal(size=(4, 3)))
    w = backend.asarray(RNG.normal(size=(3, 2)))

    def loss(w, x):
        xp = backends.namespace(w, x)
        return xp.sum(xp.tanh(xp.matmul(x, w)) ** 2)

    expected = ann.grad(loss)(w, x)
    close(backend, jit(ann.grad(loss))(w, x), expected)
    close(backend, ann.grad(jit(loss))(w, x), expected)
    close(backend, jit(ann.grad(jit(loss)))(w, x), expected)
    close(backend, jit(ann.hvp(loss))(w, x, w), ann.hvp(loss)(w, x, w))
    close(backend, jit(ann.hessian(loss))(w, x), ann.hessian(loss)(w, x))


def test_an_optimizer_update_under_jit(backend):
    p = {"w": backend.asarray(RNG.normal(size=(3, 2))), "b": backend.asarray(RNG.normal(size=2))}
    for opt in (ann.SGD(0.1, momentum=0.9, nesterov=True), ann.Adam(1e-2, global_clipnorm=0.5), ann.AdamW(ann.schedules.CosineDecay(0.1, 10))):
        slots, expected_slots, a, b = opt.init(p), opt.init(p), p, p
        step = jit(lambda p, s, opt=opt: opt.step(p, tree.map(lambda x: x * x - 1.0, p), s))
        for _ in range(3):
            a, slots = step(a, slots)
            b, expected_slots = opt.step(b, tree.map(lambda x: x * x - 1.0, b), expected_slots)
        close(backend, a, b)
        assert step.traces == 1


def test_random_numbers_follow_the_step_which_is_an_input(backend):
    dice = ann.Stream(3)["dropout"]
    x = backend.asarray(np.ones((5, 4), dtype="float32"))
    f = jit(lambda x, i: x * dice.at(i).uniform((5, 4), like=x))
    for i in (0, 7, 1000):
        close(backend, f(x, i), dice.at(i).uniform((5, 4), like=x))
    assert f.traces == 1


def test_scan_is_one_instruction_with_a_program_of_its_own(backend):
    w = backend.asarray(RNG.normal(size=(3, 3)))
    xs = backend.asarray(RNG.normal(size=(6, 2, 3)))
    h = backend.asarray(np.zeros((2, 3)))

    def run(h, xs, w, reverse=False):
        def step(h, x):
            h = backends.namespace(h).tanh(x + h @ w)
            return h, {"h": h, "sum": backends.namespace(h).sum(h)}

        return scan(step, h, xs, reverse=reverse)

    compiled = jit(run, static=("reverse",))
    close(backend, compiled(h, xs, w), run(h, xs, w))
    close(backend, compiled(h, xs, w, True), run(h, xs, w, True))
    assert [i.name for i in compiled.programs[0].body] == ["scan"]
    assert compiled.programs[0].flops == 6 * compiled.programs[0].body[0].program.flops > 0
    slope = ann.grad(lambda w, h, xs: backends.namespace(w).sum(run(h, xs, w)[1]["h"]))
    close(backend, jit(slope)(w, h, xs), slope(w, h, xs))


def test_results_keep_the_tree_of_the_function(backend):
    x = backend.asarray(RNG.normal(size=3))
    y = jit(lambda x: {"a": [x, None, (x + 1.0,)], 3: "text", "same": x})(x)
    assert list(y) == ["a", 3, "same"] and y["a"][1] is None and isinstance(y["a"][2], tuple) and y[3] == "text"


def test_donated_arguments_may_be_written_and_others_never_are():
    p, x = np.ones(1000), np.arange(1000.0)
    x.flags.writeable = False
    f = jit(lambda p, x: (p - 0.1 * x, x + p), donate=0)
    new, other = f(p, x)
    np.testing.assert_allclose(new, 1 - 0.1 * np.arange(1000.0), atol=1e-15)  # where products and sums fuse, 1 − 0.1·10 is not 0
    np.testing.assert_allclose(other, 1 + np.arange(1000.0))
    again, _ = f(new, x)
    np.testing.assert_allclose(again, 1 - 0.2 * np.arange(1000.0), atol=1e-15)


def test_check_names_what_is_not_pure():
    seen = []
    f = jit(lambda x: x * (len(seen) + 1.0), check=True)
    np.testing.assert_allclose(f(np.ones(3)), 1.0)
    seen.append(1)
    with pytest.raises(AssertionError, match="not pure"):
        f(np.ones(3))


def test_errors_name_the_users_line():
    with pytest.raises(TypeError, match=r"float\(x\) .*test_jit.py"):
        jit(lambda x: x * float(x[0]))(np.ones(3))
    with pytest.raises(TypeError, match=r"bool\(x\) .*test_jit.py"):
        jit(lambda x: x if x[0] > 0 else -x)(np.ones(3))
    kept = []
    jit(lambda x: kept.append(x) or x)(np.ones(3))
    with pytest.raises(ValueError, match="another trace"):
        jit(lambda x: x + kept[0])(np.ones(3))
    with pytest.raises(TypeError, match="hashable"):
        jit(lambda x, s: x)(np.ones(3), {1, 2})
    with pytest.raises(ValueError, match="names 'q'; the parameters are x"):
        jit(lambda x: x, donate="q")


def test_a_program_reads_like_mathematics():
    program = jit(lambda x, w, b: ann.softmax(ann.linear(x, w, b))).trace(np.ones((4, 3)), np.ones((3, 2)), np.ones(2))
    text = str(program)
    assert "x @ w" in text and "softmax" in text and "float64 (4, 2)" in text
    assert program.flops > 2 * 4 * 3 * 2 and program.bytes > 0
    assert shape_of(lambda x: x, np.ones((4, 2))) == program.values[program.outputs[0]]


def test_a_program_draws_itself(tmp_path):
    pytest.importorskip("matplotlib")
    jit(lambda x: ann.softmax(x)).trace(np.ones((4, 3))).draw().savefig(tmp_path / "program.png")
    assert (tmp_path / "program.png").stat().st_size > 5000


def test_methods_threads_and_programs_that_are_dropped():
    import threading

    class Model:
        @jit
        def double(self, x):
            return x * 2.0

    m = Model()
    results = []
    threads = [threading.Thread(target=lambda k=k: results.append((k, [m.double(np.full(2000, float(k))) for _ in range(50)]))) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all((y == 2.0 * k).all() for k, ys in results for y in ys)


def test_specs_stand_for_arrays_in_a_trace():
    program = jit(lambda x, w: x @ w).trace(backends.Spec((1000000, 4096)), backends.Spec((4096, 10)))
    assert program.values[program.outputs[0]] == backends.Spec((1000000, 10))
    assert program.flops == 2 * 1000000 * 4096 * 10


def test_summary_counts_the_cost_for_any_batch_size(backend):
    m = ann.Model([ann.Input(64), ann.Dense(32, "relu"), ann.Dense(10)], seed=0, backend=backend)
    lines = []
    m.summary(lines.append, batch_size=1000)
    products = 2 * 1000 * (64 * 32 + 32 * 10)
    elementwise = 1000 * (32 + 32 + 10)  # biases and relu
    assert lines[-1].startswith(f"inference on 1000: {products + elementwise:,} FLOPs, ")
    assert m.program(7).values[m.program(7).outputs[0]].shape == (7, 10)


def test_instructions_know_their_region():
    program = jit(ann.grad(lambda x: ann.namespace(x).sum(ann.softmax(x, axis=0) ** 2))).trace(np.ones((4, 3)))
    regions = {i.region for i in program.body if i.region is not None and i.region.name == "softmax"}
    assert {r.part for r in regions} == {"value", "pullback"} and len({r.number for r in regions}) == 1
    assert all(r.static == {"axis": 0} for r in regions)
