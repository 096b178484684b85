"""jit: the same results as the function itself, one trace for each kind of arguments, and clear errors."""

import contextlib
import copy
import dataclasses
import enum
import gc
import inspect
import pickle
import weakref
from collections import OrderedDict, namedtuple

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


def test_shapes_may_take_turns(backend):
    """More of them than are tried before arguments are looked up, and with donated arrays; each is traced once."""
    f = jit(lambda p, x: {"p": p["p"] + x, "sum": backends.namespace(x).sum(x)}, donate=0)
    state = {n: {"p": backend.asarray(np.zeros(n)), "sum": None} for n in range(1, 7)}
    for k in range(1, 5):
        for n in (1, 2, 1, 2, 3, 4, 5, 6, 5):
            given = {"p": state[n]["p"]}
            state[n] = f(given, backend.asarray(np.full(n, float(k))))
            close(backend, state[n]["sum"], backend.asarray(np.asarray(float(n * k))))
    for n, times in {1: 2, 2: 2, 3: 1, 4: 1, 5: 2, 6: 1}.items():
        close(backend, state[n]["p"], backend.asarray(np.full(n, 10.0 * times)))
    assert f.traces == 6


def test_static_arguments_are_a_part_of_the_program(backend):
    f = jit(lambda x, n, how: x * n if how == "times" else x + n, static=("n", "how"))
    x = backend.asarray(RNG.normal(size=4))
    close(backend, f(x, 3, "times"), x * 3)
    close(backend, f(x, 3, "plus"), x + 3)
    close(backend, f(x, 4, "plus"), x + 4)
    assert f.traces == 3


class Kind(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    PLUS = "plus"


TOLD_APART = {
    "static": ([1, 1.0, True, Kind.ONE, np.int64(1), "1", 0.0, -0.0], "n"), "static tuples": ([(1,), (1.0,), (True,), (0.0,), (-0.0,)], "n"),
    "in trees": ([True, Kind.ONE, False, None, "plus", Word.PLUS, 2j, (True,), [True], [Kind.ONE], {"n": True}], ()),
}  # fmt: skip


@pytest.mark.parametrize("how", TOLD_APART)
def test_values_that_are_no_arrays_are_told_apart_by_what_they_are(how):
    values, static = TOLD_APART[how]
    x = np.ones(3)
    for order in (values, values[::-1]):
        f = jit(lambda x, n: (x * 2.0, f"{n!r} {type(n).__name__}"), static=static)
        for n in (*order, *order):
            assert f(x, n)[1] == f.f(x, n)[1]
        assert f.traces == len(values)


def test_static_and_donated_arguments_may_come_by_name():
    f = jit(lambda x, n=2, *, how="times": x * n if how == "times" and n > 1 else x + n, static=("n", "how"))
    x = np.ones(3)
    for args, kwargs in [((x,), {}), ((x, 3), {}), ((x,), {"n": 3}), ((x,), {"n": 1, "how": "plus"}), ((), {"x": x, "n": 4})]:
        np.testing.assert_array_equal(f(*args, **kwargs), f.f(*args, **kwargs))
    np.testing.assert_array_equal(jit(lambda x, n: x * n if n > 1 else x, static=1)(x, n=3), 3.0)
    p = np.ones(3)
    assert jit(lambda p: p * 2.0, donate="p", lowering="numpy")(p=p) is p
    count = jit(lambda *args, **kwargs: [x * 1.5 for x in args] + [kwargs[k] * 2.5 for k in kwargs])
    for args, kwargs in [((x, "b", x), {}), ((x,), {"b": x}), ((x, x), {}), ((), {"b": x, "c": x})]:
        with contextlib.suppress(TypeError):  # "b" times a number
            assert len(count(*args, **kwargs)) == len(args) + len(kwargs)


def test_the_order_of_a_dict_and_its_class_count():
    f = jit(lambda d: next(iter(d.values())) * 1.5)
    a, b = np.ones(3), np.full(3, 2.0)
    for _ in range(2):
        np.testing.assert_array_equal(f({"a": a, "b": b}), 1.5)
        np.testing.assert_array_equal(f({"b": b, "a": a}), 3.0)
        np.testing.assert_array_equal(f(OrderedDict(b=b, a=a)), 3.0)
    assert f.traces == 3
    pair, other = namedtuple("pair", "x y"), namedtuple("other", "x y")
    g = jit(lambda p: {type(p).__name__: p[0] * 2.0})
    for _ in range(2):
        assert [*g(pair(a, b)), *g(other(a, b)), *g((a, b))] == ["pair", "other", "tuple"]


def test_python_numbers_come_back_as_python_numbers(backend):
    """A rate that a loop hands on must not become an array, whose dtype would win over that of the parameters."""
    step = jit(lambda p, rate, i: (p * rate, rate * 0.5, i + 1))
    p, rate, i = backend.asarray(np.ones(3, dtype="float32")), 0.5, 0
    for _ in range(3):
        p, rate, i = step(p, rate, i)
    assert (rate, i, type(rate), type(i)) == (0.5**4, 3, float, int) and str(p.dtype).endswith("float32") and step.traces == 1


def test_0d_results_are_those_of_numpy():
    f = jit(lambda x, t: (x.sum(), (x > 0).all(), x[0], t + 1, t))
    x, t = np.ones(3), np.asarray(1.0)
    assert [type(y) for y in f(x, t)] == [type(y) for y in f.f(x, t)] == [np.float64, np.bool_, np.float64, np.float64, np.ndarray]


@jit(static="n")
def module_function(x, n=2):
    """x·n"""
    return x * n


def test_functions_under_jit_are_pickled_by_name_and_copied_without_programs():
    assert pickle.loads(pickle.dumps(module_function)) is module_function is copy.deepcopy(module_function)
    assert inspect.signature(module_function).parameters.keys() == {"x", "n"} and module_function.__doc__ == "x·n"
    again = pickle.loads(pickle.dumps({"f": jit(module_function.f.__get__(3.0), lowering="numpy")}.get("g", jit(np.exp, lowering="numpy"))))
    np.testing.assert_allclose(again(np.ones(2)), np.e)
    held = copy.deepcopy({"f": jit(lambda x, n: x * n, static="n")})
    np.testing.assert_array_equal(held["f"](np.ones(2), 3), 3.0)


def test_methods_have_their_programs_and_read_self_at_the_trace():
    class Scale:
        def __init__(self, by):
            self.by = by

        @jit
        def times(self, x):
            return x * self.by

        @staticmethod
        @jit
        def twice(x):
            return x * 2.0

        @classmethod
        @jit
        def named(cls, x):
            return {cls.__name__: x * 1.0}

    x = np.ones(2)
    for scale in (Scale(3.0), Scale(4.0)):
        np.testing.assert_array_equal(scale.times(x), scale.by)
    assert scale.times.traces == 2 and Scale.twice(x)[0] == 2.0 and [*scale.named(x)] == ["Scale"]


def test_nothing_is_kept_alive_but_what_was_donated():
    x, w = np.ones(1000), np.ones(1000)
    plain, given = jit(lambda x: x * 2.0), jit(lambda p, x: (p + x, x * 3.0), donate=0)
    p, y, z = np.zeros(1000), plain(x), None
    for _ in range(3):
        y, (p, z) = plain(x), given(p, x)
    closed = jit(lambda x, w=w: x * w)
    closed(x)
    dead = [weakref.ref(a) for a in (x, w, y, z)]
    del x, y, z, closed, w
    gc.collect()
    assert not any(a() is not None for a in dead)


def test_what_hides_arrays_is_no_result():
    @dataclasses.dataclass
    class Pair:
        a: object

    for bad in (lambda x: (v for v in [x]), lambda x: Pair(x * 2.0), lambda x: lambda: x, lambda x: ann.vjp(lambda x: x * 2.0, x), lambda x: {1: iter([x])}):
        with pytest.raises(TypeError, match=r"returns trees .* came"):
            jit(bad)(np.ones(3))
    constants = jit(lambda x: {"none": None, "text": "a", "set": frozenset((1,)), "dtype": x.dtype, "kind": Kind.ONE, "type": int})(np.ones(3))
    assert list(constants.values()) == [None, "a", {1}, np.dtype("float64"), Kind.ONE, int]


def test_arrays_with_data_that_it_returns_are_read_and_copied_at_each_call():
    w = np.ones(3)
    f = jit(lambda x: (w, np.zeros(3), x * 2.0))
    for value in (1.0, 2.0):
        w[:] = value
        got, zeros, _ = f(np.ones(3))
        np.testing.assert_array_equal(got, value)
        np.testing.assert_array_equal(zeros, 0.0)
        got += 7.0
        zeros += 7.0


def test_operators_bring_a_closed_over_argument_into_a_gradient(backend):
    x, w = backend.asarray(RNG.normal(size=(4, 3))), backend.asarray(RNG.normal(size=(3, 2)))

    def slope(w, x):
        return ann.grad(lambda p: backends.namespace(p).sum((x @ p) ** 2))(w)

    close(backend, jit(slope)(w, x), ann.grad(lambda p, x: backends.namespace(p).sum((x @ p) ** 2))(w, x))

    def steps(w, xs):
        def step(p, x):
            g = ann.grad(lambda p: backends.namespace(p).sum((x * p - 1.0) ** 2))(p)
            return p - 0.01 * g, backends.namespace(g).sum(g)

        return scan(step, w, xs)

    v, xs = backend.asarray(RNG.normal(size=3)), backend.asarray(RNG.normal(size=(5, 3)))
    expected = v
    for k in range(5):
        expected = expected - 0.02 * (xs[k, ...] * expected - 1.0) * xs[k, ...]
    close(backend, jit(steps)(v, xs)[0], expected)
    slopes = ann.grad(lambda w, xs: backends.namespace(w).sum(jit(steps)(w, xs)[0]))
    assert backends.shape_of(slopes, v, xs) == backends.Spec((3,), "float64")


def test_a_jitted_function_inside_a_trace_belongs_to_it_whatever_it_is_given(backend):
    x = backend.asarray(RNG.normal(size=3))

    def outer(w):
        inner = jit(lambda a: w * a)
        return inner(x) + inner(w)

    close(backend, jit(outer)(x), x * x + x * x)


def test_integers_that_do_not_fit_are_refused_and_comparisons_with_them_decided(backend):
    x = backend.asarray(np.asarray([0, 100, 127], dtype="int8"))
    for f in (lambda x: x + 300, lambda x: -129 * x, lambda x: backends.namespace(x).where(x > 0, x, 128), lambda x: backends.namespace(x).full_like(x, 200)):
        with pytest.raises(OverflowError, match="does not fit int8, which goes from -128 to 127"):
            jit(f)(x)
    if backend.name.startswith("numpy"):
        for f in (lambda x: x < 300, lambda x: -300 <= x, lambda x: x == 128, lambda x: x != 128, lambda x: x > 300):
            for lowering in ("numpy", None):
                np.testing.assert_array_equal(jit(f, lowering=lowering)(x), f(x))


def test_masked_arrays_and_matrices_are_refused():
    f = jit(lambda x: x * 2.0)
    f(np.ones((2, 2)))
    with pytest.raises(TypeError, match=r"x: x is a masked array.*filled"):
        f(np.ma.array(np.ones((2, 2)), mask=np.eye(2)))
    with pytest.raises(TypeError, match=r"p/a: x is an np.matrix"), pytest.warns(PendingDeprecationWarning):
        jit(lambda p: p["a"])({"a": np.matrix([[1.0]])})
    with pytest.raises(TypeError, match=r"jit: x: .*is not a dtype"):
        f(np.asarray(["a"]))


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

    def in_place(x):
        x += 1.0
        return x

    x = np.ones(3)
    np.testing.assert_array_equal(jit(in_place, check=True)(x), 2.0)
    np.testing.assert_array_equal(x, 1.0)  # the caller's array is nobody's to write


def test_errors_name_the_users_line():
    with pytest.raises(TypeError, match=r"float\(x\) .*test_jit.py"):
        jit(lambda x: x * float(x[0]))(np.ones(3))
    with pytest.raises(TypeError, match=r"bool\(x\) .*test_jit.py"):
        jit(lambda x: x if x[0] > 0 else -x)(np.ones(3))
    kept = []
    jit(lambda x: kept.append(x) or x)(np.ones(3))
    with pytest.raises(ValueError, match=r"another call under jit .*from x, float64\(3\).* at test_jit.py:\d+: .*kept\[0\]"):
        jit(lambda x: x + kept[0])(np.ones(3))
    with pytest.raises(TypeError, match="hashable"):
        jit(lambda x, s: x)(np.ones(3), {1, 2})
    for bad in ("q", 1, -1, True):
        with pytest.raises(ValueError, match=f"names {bad!r}; the parameters are x"):
            jit(lambda x: x, donate=bad)
    with pytest.raises(ValueError, match="argument 0 is donated and static"):
        jit(lambda x: x, donate="x", static=0)
    with pytest.raises(TypeError, match=r"f'\{x:\.3f\}' .*test_jit.py"):
        jit(lambda x: f"{x[0]:.3f}")(np.ones(3))


def test_a_program_reads_like_mathematics():
    program = jit(lambda x, w, b: ann.softmax(ann.linear(x, w, b))).trace(np.ones((4, 3)), np.ones((3, 2)), np.ones(2))
    text = str(program)
    assert "x @ w" in text and "softmax" in text and "float64 (4, 2)" in text
    assert program.flops > 2 * 4 * 3 * 2 and program.bytes > 0
    made = str(jit(lambda x: x + ann.namespace(x).arange(2.0, 5.0) * ann.namespace(x).eye(3)).trace(np.ones(3)))
    assert "arange(2, 5)" in made and "eye(3)" in made, "as one writes them"
    assert shape_of(lambda x: x, np.ones((4, 2))) == program.values[program.outputs[0]]


def test_a_page_is_no_wider_than_a_terminal_and_names_a_region_where_it_begins():
    layers = [ann.Conv2D(3, 3, padding="same", activation="relu"), ann.MaxPooling2D(), ann.Flatten(), ann.Dropout(0.2), ann.Dense(5, "softmax")]
    model = ann.Model([ann.Input((8, 8, 1)), *layers], seed=0)
    program = model.program(4)
    lines = str(program).splitlines()
    assert max(map(len, lines)) <= 120 and lines[0].split() == ["params/conv2d/kernel", "float32", "(3,", "3,", "1,", "3)"]
    body = lines[lines.index("") + 1 :]
    regions = [line.rpartition("  ")[2] for line in body if line and line[-1] not in ")│"]
    assert regions == ["conv2d › conv", "conv2d › relu", "max_pooling2d › max_pool", "flatten", "dense › linear", "dense › softmax", f"→ v{program.outputs[0]:d}"]
    assert len({line.index("float32") for line in body if "float32" in line}) == 1, "one column"
    names = [f"a_parameter_of_a_name_that_is_rather_long_{k}" for k in range(8)]
    program = jit(lambda p: ann.namespace(*p.values()).concat([p[name] for name in names])).trace(dict.fromkeys(names, np.ones(3)))
    assert max(map(len, str(program).splitlines())) <= 120


def test_a_page_shows_what_a_scan_repeats():
    def f(w, h, xs):
        def step(h, x):
            h = ann.namespace(h, x).tanh(h @ w + x)
            return h, h

        return backends.gaps.scan(step, h, xs)

    lines = str(jit(f).trace(np.eye(3), np.zeros(3), np.ones((5, 3)))).splitlines()
    (scan,) = (k for k, line in enumerate(lines) if "scan(" in line)
    inner = [line for line in lines[scan + 1 :] if line.startswith("    │")]
    assert any("tanh(" in line for line in inner) and any(" @ " in line for line in inner) and not any("tanh(" in line for line in lines[:scan])


def test_a_pullback_belongs_to_the_layer_of_its_value():
    model = ann.Model([ann.Input(4), ann.Dense(3, "relu"), ann.Dense(2)], seed=0)
    f = lambda p, x: ann.namespace(x).sum(ann.relu(model.net.apply(p, x)))
    text = str(jit(ann.value_and_grad(f)).trace(model.params, np.ones((5, 4), "float32")))
    for name in ("dense › linear", "dense › relu", "dense_1 › linear"):
        assert f"  {name}\n" in text and f"  {name}′\n" in text
    assert "  relu\n" in text and "  relu′\n" in text  # outside of all layers


def test_a_program_draws_itself(tmp_path):
    pytest.importorskip("matplotlib")
    program = jit(ann.value_and_grad(lambda x: ann.namespace(x).sum(ann.softmax(x) ** 2))).trace(np.ones((4, 3)))
    figure = program.draw()
    figure.savefig(tmp_path / "program.png")
    assert (tmp_path / "program.png").stat().st_size > 5000
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    boxes = [text for text in axes.texts if text.get_bbox_patch() is not None]
    assert len(boxes) == len(program.inputs) + len(program.body) and all(low < text.get_position()[1] < high for text in boxes)


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
