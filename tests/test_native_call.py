"""A call in machine code does what Python does: the same results and errors, references counted, nothing leaked, nothing given out that somebody holds."""

import gc
import os
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra: native)")

from backends import jit, tree
from backends.native import unavailable

if unavailable():
    pytest.skip(unavailable(), allow_module_level=True)
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    pytest.skip("without the GIL Python does the calls", allow_module_level=True)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
Pair = namedtuple("Pair", "a b")


def native(f, **options):
    return jit(f, lowering="native", **options)


def in_machine_code(f):
    return type(f._quick).__name__ == "builtin_function_or_method"


def same(a, b):
    """Trees of one structure, equal leaves of equal types."""
    assert type(a) is type(b)
    if isinstance(a, dict | list | tuple):
        assert (list(a) == list(b)) if isinstance(a, dict) else len(a) == len(b)
        for x, y in zip(*((x.values() if isinstance(x, dict) else x) for x in (a, b)), strict=True):
            same(x, y)
    elif hasattr(a, "dtype"):
        assert a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
    else:
        assert a == b


X, I = np.arange(6.0).reshape(2, 3), np.arange(3)
CASES = {
    "an array": (lambda x: x * 2.0, (X,)),
    "nested": (lambda p, q: [{"a": p["w"] + q[0], "b": (q[1]["x"], None)}, (), [], {}], ({"w": X}, [X, {"x": X + 1}])),
    "tuples": (lambda t, u: (t.a * 2.0, u[0] + t.b), (Pair(X, X[0]), (X,))),
    "scalars": (lambda x: (x.sum(), (x > 1).any(), x[0, 0], {"n": x[1, 2] * 2.0}), (X,)),
    "numbers": (lambda x, n, r: (x * r, n + 1, r * 0.5, {"n": n}), (X, 3, 0.25)),
    "constants": (lambda x, how, flag, none: {"y": x * 2.0 if flag else x, "how": how, "none": none, 3: 4 * x}, (X, "times", True, None)),
    "integer keys": (lambda d: {0: d[1] + d[0]}, ({1: X, 0: X},)),
    "one array twice": (lambda x, y: (x + y, x), (X, X)),
    "what it closes over": (lambda x: (x + X, X), (X + 1,)),
    "itself": (lambda x, i: (x, i[0]), (X, (I,))),
    "a result twice": (lambda x: [y := x * 3.0, y, {"y": y}], (X,)),
    "0-d": (lambda x, t: (x * t, t), (X, np.asarray(2.0))),
}


@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_the_function(case):
    f, args = CASES[case]
    jitted, meant = native(f), f(*args)
    for _ in range(4):
        same(jitted(*args), meant)
    assert in_machine_code(jitted) and jitted.traces == 1


def test_what_it_does_not_know_python_does():
    class Own(dict):
        pass

    for args in ((OrderedDict(a=X),), (Own(a=X),), ({"a": np.float64(3.0)},)):
        f = native(lambda d: d["a"] * 2.0)
        for _ in range(3):
            same(f(*args), args[0]["a"] * 2.0)
        assert not in_machine_code(f) and f.traces == 1
    f = native(lambda x: Pair(x * 2.0, x[0] + 1.0))
    for _ in range(3):
        same(f(X), Pair(X * 2.0, X[0] + 1.0))


def test_other_arguments_are_looked_at_anew():
    """Each is a call that the rows must refuse, or a value that they must read; then the first arguments again."""
    seen = []

    def f(d, t, how):
        seen.append(1)
        return {"y": d["w"] * 2.0 + t[0][0], "keys": tuple(d), "how": how, "kind": type(t).__name__}

    jitted = native(f)
    w, t = np.ones((2, 3)), np.ones(2)
    first = ({"w": w, "n": None}, [t, 2.0], "a")
    others = [
        ({"n": None, "w": w}, [t, 2.0], "a"), ({"w": w, "m": None}, [t, 2.0], "a"), ({"w": w, "n": None, "o": None}, [t, 2.0], "a"), ({"w": w}, [t, 2.0], "a"),
        ({"w": w, "n": 1}, [t, 2.0], "a"), ({"w": w, "n": w}, [t, 2.0], "a"), (OrderedDict(w=w, n=None), [t, 2.0], "a"), ({"w": w[:1], "n": None}, [t, 2.0], "a"),
        ({"w": w[0], "n": None}, [t, 2.0], "a"), ({"w": w.astype("f"), "n": None}, [t.astype("f"), 2.0], "a"), ({"w": w, "n": None}, (t, 2.0), "a"),
        ({"w": w, "n": None}, [t, 2.0, 1.0], "a"), ({"w": w, "n": None}, [t], "a"), ({"w": w, "n": None}, [t, 2], "a"), ({"w": w, "n": None}, [t, 2.0], "b"),
        ({"w": w, "n": None}, [t, 2.0], None), ({"w": w, "n": None}, [t, 2.0], True), ({"w": w, "n": None}, Pair(t, 2.0), "a"), ({"w": w, "n": None}, [t, True], "a"),
        ({"w": w.T.copy().T, "n": None}, [t[::-1], 2.0], "a"), ({"w": np.float64(2), "n": None}, [t, 2.0], "a"), ({True: w, "w": w}, [t, 2.0], "a"),
        ({"w": w, "n": False}, [t, 2.0], "a"), ({"w": w.astype(">f8"), "n": None}, [t, 2.0], "a"),
    ]  # fmt: skip
    for other in others:
        for args in (first, other, first):
            try:
                meant = f(*args)
            except TypeError:  # bool and float do not add, and the like
                continue
            same(jitted(*args), meant)
    for args in (first[:2], (), (*first, 1)):
        with pytest.raises(TypeError):
            jitted(*args)
    same(jitted(*first[:2], how="a"), f(*first))
    assert in_machine_code(jitted)


def test_keys_and_words_need_be_equal_not_the_same():
    f = native(lambda d, how: d["abc"] * 2.0 if how == "times" else d["abc"])
    word = lambda *parts: "".join(parts)  # noqa: E731
    f({"abc": X}, "times")
    quick = f._quick
    for _ in range(3):
        same(f({word("a", "bc"): X}, word("ti", "mes")), X * 2.0)
    assert f._quick is quick


def test_a_dict_that_changes_is_seen():
    f = native(lambda d: {k: v + 1.0 for k, v in d.items()}, donate=0)
    d = {"a": np.zeros(3), "b": {"c": np.zeros(2)}["c"]}
    d = f(f(d))
    d["a"] = np.full(4, 7.0)
    d = f(d)
    same(d, {"a": np.full(4, 8.0), "b": np.full(2, 3.0)})
    d["new"] = np.zeros(1)
    d = f(f(d))
    del d["a"]
    same(f(d), {"b": np.full(2, 6.0), "new": np.full(1, 3.0)})


def test_an_array_that_changes_is_seen():
    f = native(lambda x: x + 1.0, donate=0)
    x = f(f(f(np.zeros((2, 3)))))
    x.resize((3, 2), refcheck=False)
    x = f(x)
    same(x, np.full((3, 2), 4.0))
    x.flags.writeable = False
    y = f(x)
    same(y, np.full((3, 2), 5.0))
    same(x, np.full((3, 2), 4.0))  # it could not be written to


def test_numbers_of_any_size():
    f = native(lambda x, n: (x + 1.0, n + 1))
    for n in (0, -1, 5, 2**31, -(2**62), 2**63 - 2):
        same(f(X, n), (X + 1.0, n + 1))
    for n in (2**63, -(2**63) - 1, 10**30):
        with pytest.raises(OverflowError):
            f(X, n)
    same(f(X, 1), (X + 1.0, 2))
    g = native(lambda x, r: (x, r * 2.0))
    for r in (0.0, -0.0, 1e308, float("inf")):
        assert str(g(X, r)[1]) == str(r * 2.0)
    assert str(g(X, float("nan"))[1]) == "nan"


def test_arrays_that_must_be_copied_first_cost_no_new_plan():
    f, x = native(lambda p, x: (p + x, x * 2.0), donate=0), np.arange(12.0).reshape(3, 4)
    frozen = np.ones((3, 2))
    frozen.flags.writeable = False
    for k in range(6):
        same(f(np.ones((3, 2)), x[:, ::2]), (1.0 + x[:, ::2], x[:, ::2] * 2.0))
        same(f(frozen, x[:, :2].copy()), (1.0 + x[:, :2], x[:, :2] * 2.0))
        both = np.ones((3, 2))
        same(f(both, both), (np.full((3, 2), 2.0), np.full((3, 2), 2.0)))
        if k == 2:
            ways = f._quick, f._second
    assert in_machine_code(f) and ways == (f._quick, f._second) and (frozen == 1.0).all()


def test_arguments_by_name():
    def f(p, x, *, how="plus", n=1.0):
        return {"p": p["a"] * n + x if how == "plus" else p["a"] - x * n}

    step = native(f, static="how", donate="p")
    p, x = {"a": np.ones((2, 3))}, X
    for kwargs in ({"x": x, "how": "plus", "n": 2.0}, {"x": x, "how": "minus", "n": 2.0}, {"how": "plus", "x": x}, {"x": x, "p": p}, {"p": p, "x": x}, {"n": 0.5}):
        for _ in range(3):
            args = (p,) if "p" not in kwargs else ()
            args = args if "x" in kwargs else (*args, x)
            again = {name: {"a": value["a"].copy()} if name == "p" else value for name, value in kwargs.items()}
            same(step(*({"a": part["a"].copy()} if part is p else part for part in args), **again), f(*args, **kwargs))
        assert step._named[0] == tuple(kwargs) and type(step._named[1]).__name__ == "builtin_function_or_method"
    same(step({"a": np.ones((2, 3))}, x), f(p, x))
    with pytest.raises(TypeError):
        step(p, x, m=0.5)
    g = native(lambda **arrays: [array * (k + 1.0) for k, array in enumerate(arrays.values())])
    for names in ("ab", "ba", "ab", "abc", "a"):
        for _ in range(2):
            same(g(**dict.fromkeys(names, X)), [X * (k + 1.0) for k in range(len(names))])


def test_a_scalar_that_becomes_an_array():
    """What comes first may be a scalar of NumPy; what is donated comes back as an array."""
    f = native(lambda p, x: {"t": p["t"] + 1.0, "y": p["y"] * x}, donate=0)
    p = {"t": np.float64(0.0), "y": X.copy()}
    for _ in range(4):
        p = f(p, 2.0)
    assert in_machine_code(f) and p["t"] == 4.0 and (p["y"] == 16.0 * X).all()


def test_constants_need_be_equal_not_the_same():
    f = native(lambda x, s, how: x * s[0] + (how[1] if how[0] == "plus" else 0.0), static=("s", "how"))
    seen = []
    for _ in range(4):
        same(f(X, (float("2.5"), 1000 + 1), ("".join(["pl", "us"]), 1.5)), X * 2.5 + 1.5)
        seen.append(f._quick)
    assert seen[0] is seen[-1] and in_machine_code(f)
    same(f(X, (2.5, 1001), ("plus", 2.5)), X * 2.5 + 2.5)
    same(f(X, (2.5, 1001), ("minus", 1.5)), X * 2.5)
    g = native(lambda x, zero: x * (-1.0 if str(zero)[0] == "-" else 1.0), static="zero")
    for zero in (0.0, -0.0, 0.0, 0, False):
        same(g(X, zero), -X if str(zero)[0] == "-" else X)


def test_indices_out_of_range_raise():
    f = native(lambda x, i: {"y": np.take(x, i, axis=0)})
    for _ in range(3):
        same(f(X, np.array([1, -1])), {"y": X[[1, -1]]})
    for wrong in (2, -3):
        with pytest.raises(IndexError, match="out of range"):
            f(X, np.array([0, wrong]))
        same(f(X, np.array([0, 1])), {"y": X})
    assert in_machine_code(f)


STEP = lambda p, s, x: ({"w": p["w"] - x, "b": [p["b"][0] + 1.0]}, {"t": s["t"] + 1, "rate": s["rate"], "none": None}, x.sum())  # noqa: E731


def start():
    return {"w": np.zeros(3), "b": [np.zeros(2)]}, {"t": np.asarray(0), "rate": np.asarray(0.1), "none": None}


def test_steps_that_hand_on_what_they_were_given():
    step, (p, s), x = native(STEP, donate=(0, 1)), start(), np.ones(3)
    w = p["w"]
    for k in range(1, 8):
        p, s, total = step(p, s, x)
        same((p, s, total), ({"w": np.full(3, -float(k)), "b": [np.full(2, float(k))]}, {"t": np.asarray(k), "rate": np.asarray(0.1), "none": None}, np.float64(3.0)))
        assert p["w"] is w
    assert in_machine_code(step)


def containers(x):
    return [x, *(c for part in (x.values() if isinstance(x, dict) else x) if isinstance(part, dict | list | tuple) for c in containers(part))]


@pytest.mark.parametrize("kept", ["whole", "an inner one", "nothing, but the last two", "a view of a dict"])
def test_containers_that_somebody_holds_are_not_given_out_again(kept):
    step, (p, s), x = native(STEP, donate=(0, 1)), start(), np.ones(3)
    held, shown = [], []
    for k in range(12):
        before = p, s
        p, s, _ = step(p, s, x)
        ids = {id(c) for c in containers((p, s))}
        assert not ids & {id(c) for c in containers(before)}
        held.append({"whole": (p, s), "an inner one": p["b"], "nothing, but the last two": None, "a view of a dict": p.keys()}[kept])
        shown.append(id(p))
        if k > 8 and kept == "whole":
            p["more"] = None  # one's own to change
            p, s = {name: p[name] for name in ("w", "b")}, s
        del before
    if kept == "whole":
        assert len(set(shown)) == 12
        for k, (p, s) in enumerate(held):
            assert list(p) == ["w", "b"] + ["more"] * (k > 8) and list(s) == ["t", "rate", "none"]
    if kept.startswith("nothing"):
        assert len(set(shown)) < 6  # these were used again


def test_containers_that_were_changed_are_not_given_out_again():
    step, (p, s), x = native(STEP, donate=(0, 1)), start(), np.ones(3)
    for k in range(1, 20):
        old_p, old_s = p, s
        p, s, _ = step(p, s, x)
        change = k % 5
        if change == 0:
            old_p["w"] = None
        elif change == 1:
            old_p["b"].append(3)
        elif change == 2:
            del old_s["none"]
        elif change == 3:
            old_s["rate"], old_s["t"] = old_s["t"], old_s["rate"]
        else:
            old_p["b"][0] = np.zeros(2)
        del old_p, old_s
        same((p, s), ({"w": np.full(3, -float(k)), "b": [np.full(2, float(k))]}, {"t": np.asarray(k), "rate": np.asarray(0.1), "none": None}))


def test_other_arrays_in_the_same_containers():
    step, x = native(STEP, donate=(0, 1)), np.ones(3)
    one, two = start(), start()
    for k in range(1, 10):
        one, two = step(*one, x)[:2], step(*two, x)[:2]
        same(one, two)
        assert one[0]["w"] is not two[0]["w"] and (one[0]["w"] == -k).all()
    one[0]["w"] = np.full(3, 5.0)
    same(step(*one, x)[0]["w"], np.full(3, 4.0))


def test_nothing_is_kept_alive_but_the_last_that_were_donated():
    f = native(lambda p, x: ({"p": p["p"] + x}, x * 2.0, {"x": x}), donate=0)
    p, x = {"p": np.zeros(50)}, np.ones(50)
    first = weakref.ref(p["p"])
    for _ in range(4):
        p, y, z = f(p, x)
    dead = [weakref.ref(a) for a in (x, y)]
    del x, y, z
    gc.collect()
    assert [a() for a in dead] == [None, None]
    for _ in range(2):
        p = f({"p": np.zeros(50)}, np.ones(50))[0]
    gc.collect()
    assert first() is None
    last = weakref.ref(p["p"])
    del p, f
    gc.collect()
    assert last() is None


def counts(args):
    leaves = [*tree.leaves(args), *containers(args), None, NotImplemented, np.dtype("float64"), np.dtype("int64"), "abcdefg", 12345]
    return [sys.getrefcount(x) for x in leaves]


def test_references_are_counted():
    """None, keys, dtypes, arrays, containers have as many after a thousand calls as after ten: of calls that hit, miss, and raise."""
    key = "".join(["abc", "defg"])
    f = native(lambda d, t, n, how: ({key: d[key] + t[0], "t": [t[0]]}, (d[key].sum(), None, how), n + 1, t[1]), donate=1)
    taken = native(lambda x, n: (x * 1.5, n))
    args = ({key: np.ones(3), "none": None}, (np.zeros(3), np.zeros(2)), 12345, key)

    def some(count):
        for _ in range(count):
            f(*args)
            taken(X, 12345)
            taken(X[:1], 12345)  # another program
            with pytest.raises(OverflowError):
                taken(X, 1 << 64)

    some(10)
    before = counts(args), sys.getrefcount(key), len(gc.get_objects())
    some(1000)
    after = counts(args), sys.getrefcount(key), len(gc.get_objects())
    differences = [abs(a - b) for a, b in zip([*before[0], *before[1:]], [*after[0], *after[1:]], strict=True)]
    assert max(differences) < 500  # others count None and the like, too; a reference lost or left at each call would make 1000


def test_a_hundred_thousand_calls_leak_nothing():
    step, (p, s), x = native(STEP, donate=(0, 1)), start(), np.ones(3)
    f = native(lambda d, n: ({"y": d["x"] * 2.0, "z": [d["x"].sum()]}, n + 1))
    held = None
    tracemalloc.start()
    try:
        for round_ in range(2):
            for k in range(50_000):
                p, s, total = step(p, s, x)
                y, n = f({"x": x}, 1000 + k)
                if k % 7 == 0:
                    held = p, s  # these must be made anew
            gc.collect()
            if round_ == 0:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 2000
    finally:
        tracemalloc.stop()
    assert held is not None and n == 51_000 and float(y["z"][0]) == 3.0 and s["t"] == 100_000


def test_collection_and_finalizers_in_between():
    """A collection may run anything: here a finalizer that calls the same function."""
    step, x, calls = native(STEP, donate=(0, 1)), np.ones(3), []
    other = start()

    class Cycle:
        def __init__(self):
            self.own = self

        def __del__(self):
            nonlocal other
            calls.append(1)
            other = step(*other, x)[:2]

    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        p, s = start()
        for k in range(1, 300):
            Cycle()
            held = p
            p, s, _ = step(p, s, x)
            assert (p["w"] == -k).all() and (held["w"] == -k).all() and gc.isenabled()
    finally:
        gc.set_threshold(*threshold)
    assert len(calls) > 200 and (other[0]["w"] == -len(calls)).all()
    gc.disable()
    try:
        step(p, s, x)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_threads_do_not_meet():
    step, x, wrong = native(STEP, donate=(0, 1)), np.ones(3), []
    step(*start(), x)
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def many(seed):
        p, s = start()
        for k in range(1, 3000):
            p, s, _ = step(p, s, x)
            if (p["w"] != -k).any() or s["t"] != k or list(p) != ["w", "b"]:
                wrong.append(seed)
                return

    threads = [threading.Thread(target=many, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(old)
    assert not wrong


def test_an_error_of_memory_is_raised_and_leaves_all_as_it_was():
    """Python's allocator fails at each place in turn."""
    testing = pytest.importorskip("_testcapi", reason="this Python has no _testcapi")
    f = native(lambda d, n: ({"y": d["x"] * 2.0, "z": [d["x"].sum(), (d["x"] + 1.0,)]}, n * 2.0))
    step, (p, s), x = native(STEP, donate=(0, 1)), start(), np.ones(3)
    d = {"x": np.ones(3)}
    for _ in range(3):
        f(d, 1e9)
        p, s, _ = step(p, s, x)
    failed = 0
    for function, args in ((f, (d, 1e9)), (step, (p, s, x))):
        quick = function._quick
        assert in_machine_code(function)
        for at in range(12):
            before, error = [sys.getrefcount(part) for part in (*tree.leaves(args), *containers(args))], None
            testing.set_nomemory(at, at + 1)
            try:
                quick(*args)
            except MemoryError as raised:
                error = raised
            finally:
                testing.remove_mem_hooks()
            failed += error is not None
            del error
            assert gc.isenabled()
            after = [sys.getrefcount(part) for part in (*tree.leaves(args), *containers(args))]
            assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= 2  # generations
    assert failed >= 6
    same(f(d, 1e9), ({"y": np.full(3, 2.0), "z": [np.float64(3.0), (np.full(3, 2.0),)]}, 2e9))
    assert (step(p, s, x)[0]["w"] < 0).all()


INTERRUPTED = """
import os, random, signal, sys, threading
import numpy as np
from backends import jit

n, x = int(sys.argv[1]), np.linspace(-1.0, 1.0, 50)
def f(p, x):
    w = np.tanh(p["w"] @ p["v"] * (1.0 / n) + x[:1]) + p["w"] * 0.5
    return {"w": w, "v": p["v"] * 0.999 + w.T * 1e-3, "t": p["t"] + 1}, x * 2.0
def start():
    return {"w": np.eye(n), "v": np.ones((n, n)), "t": np.asarray(0)}
step, again = (jit(f, donate=0, lowering="native") for _ in range(2))
p, q, seen = start(), start(), 0
p, _ = step(p, x)
while seen < int(sys.argv[2]):
    timer = threading.Timer(random.uniform(0.001, 0.02), os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while True:
            p, doubled = step(p, x)
    except KeyboardInterrupt:
        seen += 1
    for _ in range(2):  # as it was left; and after another step
        while q["t"] < p["t"]:
            q, _ = again(q, x)
        assert q["t"] == p["t"] and all((p[name] == q[name]).all() for name in p), "the step was torn"
        p, doubled = step(p, x)
        assert (doubled == x * 2.0).all()
assert step.traces == 1
print("whole", step.explain())
"""


@pytest.mark.skipif(not hasattr(os, "kill") or os.name != "posix", reason="this system has no SIGINT to send")
@pytest.mark.parametrize("n", [4, 300])  # one call of machine code; a program of several threads
def test_an_interrupt_waits_for_the_end_of_the_step(n):
    """Ctrl-C while a program runs: donated arrays are whole, and further steps are those of a run that was not interrupted."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, str(n), "12"], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("whole native"), done.stdout + done.stderr


def test_short_programs_of_several_threads_beside_long_ones():
    """What is called in machine code takes the workers only while nobody else has them."""
    rng, wrong = np.random.default_rng(0), []
    small, large = rng.normal(size=(60, 60)), rng.normal(size=(300, 300))
    short, long = (native(lambda x: {"y": np.tanh(x @ x) + np.exp(-x * x)}) for _ in range(2))
    meant = {f: f(x)["y"].copy() for f, x in ((short, small), (long, large))}
    runs = [next(iter(f._compiled.values())).run for f in (short, long)]
    if runs[0].threads == 1 or runs[1].threads == 1:
        pytest.skip("one thread")
    assert runs[0].brief and not runs[1].brief and in_machine_code(short) and not in_machine_code(long)
    quick = 0

    def many(f, x, count):
        nonlocal quick
        for _ in range(count):
            if (f(x)["y"] != meant[f]).any():
                wrong.append(f)
            quick += f is short and short._quick(x) is not NotImplemented

    threads = [threading.Thread(target=many, args=args) for args in [(short, small, 1500), (long, large, 100)] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    many(short, small, 100)
    assert quick > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where it has been imported
def test_a_child_process_calls_with_workers_of_its_own():
    x = np.random.default_rng(0).normal(size=(60, 60))
    f = native(lambda x: np.tanh(x @ x) + np.exp(-x * x))
    y = f(x)
    for _ in range(3):
        same(f(x), y)
    child = os.fork()
    if child == 0:
        os._exit(0 if all((f(x) == y).all() for _ in range(100)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def drawn(r, depth=0):
    """A random tree of arrays, numbers and constants."""
    kind = r.choice(["dict", "list", "tuple", "leaf", "leaf"]) if depth < 3 else "leaf"
    if depth == 0:
        kind = r.choice(["dict", "list", "tuple"])
    if kind == "leaf":
        array = lambda: np.asarray(r.normal(size=[(), (1,), (3,), (2, 3)][r.integers(4)]))  # noqa: E731
        return r.choice([array, array, array, lambda: int(r.integers(-5, 5)), lambda: float(r.normal()), lambda: None, lambda: "word", lambda: True])()
    items = [drawn(r, depth + 1) for _ in range(int(r.integers(0, 4)))]
    return dict(zip(("a", "b", 3), items, strict=False)) if kind == "dict" else tuple(items) if kind == "tuple" else items


def shaken(r, x):
    """The same tree in new containers; now and then something is otherwise."""
    if r.random() < 0.01:
        return r.choice([lambda: None, lambda: 1, lambda: 2.0, dict, lambda: (), lambda: np.zeros(2), lambda: {"a": np.ones(3)}])()
    if isinstance(x, dict):
        items = [(key, shaken(r, part)) for key, part in x.items()]
        return dict(items[::-1] if r.random() < 0.02 else items)
    if isinstance(x, list | tuple):
        return type(x)(shaken(r, part) for part in x)
    return x.copy() if hasattr(x, "copy") and r.random() < 0.3 else x


@pytest.mark.parametrize("seed", range(40))
def test_random_trees_in_and_out(seed):
    """Whatever comes, whoever holds it: the results are those of the function, and what was given out before stays as it was."""
    r = np.random.default_rng(seed)
    p, q = drawn(r), drawn(r)
    wrap = int(r.integers(0, 4))

    def f(p, q):
        new = tree.map(lambda x: x * 0.5 + 1.0 if hasattr(x, "shape") or type(x) in (int, float) else x, p)
        total = sum((x.sum() for x in tree.leaves((p, q)) if getattr(x, "shape", ())), 0.0)
        return [new, (new, total), {"new": new, "q": q, "n": [total, None, "word"]}, [[new], [], total, (q,)]][wrap]

    step = native(f, donate=0)
    held, shapes = [], []
    for _ in range(25):
        given, beside = (shaken(r, x) if r.random() < 0.5 else x for x in (p, q))
        copies = tree.map(lambda x: x.copy() if hasattr(x, "copy") else x, (given, beside))
        try:
            meant = f(*copies)
        except (TypeError, AttributeError):
            continue
        y = step(given, beside)
        close(y, meant)
        if r.random() < 0.2:
            held.append(y)
            shapes.append(repr(tree.map(lambda x: 0, y)))
        new = y["new"] if wrap == 2 else y[0] if wrap == 1 else y[0][0] if wrap == 3 else y
        p = new if r.random() < 0.8 else copies[0]
    assert shapes == [repr(tree.map(lambda x: 0, y)) for y in held]


def close(a, b):
    assert type(a) is type(b) or (np.ndim(a) == np.ndim(b) == 0 and {type(a), type(b)} <= {np.float64, np.ndarray}), (a, b)  # 0-d in donated memory
    if isinstance(a, dict | list | tuple):
        assert (list(a) == list(b)) if isinstance(a, dict) else len(a) == len(b)
        for x, y in zip(*((x.values() if isinstance(x, dict) else x) for x in (a, b)), strict=True):
            close(x, y)
    elif hasattr(a, "dtype"):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    else:
        assert a == b or abs(a - b) < 1e-12
