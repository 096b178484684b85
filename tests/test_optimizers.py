"""Optimizers equal torch.optim to 1e-14, schedules their closed forms; clipping; descent on toy problems."""

import math

import numpy as np
import pytest

import ann
import backends
from ann import optimizers, schedules
from ann.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, Nadam, RAdam, RMSprop
from backends import tree

rng = np.random.default_rng(5)
A = rng.normal(size=(6, 6))
START = {"kernel": rng.normal(size=(2, 3)), "none": None, "deep": {"bias": rng.normal(size=(6,)), "empty": {}}}


def slope(xp, kernel, bias):
    """The gradients of a quadratic that couples both parameters."""
    return 0.5 * kernel + bias[:1] * 0.1, (bias + 0.3 * xp.sum(kernel)) * 0.7


def run(backend, optimizer, steps=20):
    params = tree.map(backend.asarray, START)
    slots = optimizer.init(params)
    for _ in range(steps):
        dk, db = slope(backend.xp, params["kernel"], params["deep"]["bias"])
        params, slots = optimizer.step(params, {"deep": {"empty": {}, "bias": db}, "none": None, "kernel": dk}, slots)
    return [backend.to_numpy(params["kernel"]), backend.to_numpy(params["deep"]["bias"])], slots


def run_torch(make, schedule=None, steps=20):
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(torch.float64)  # the running product of NAdam, too
    try:
        kernel, bias = torch.tensor(START["kernel"]), torch.tensor(START["deep"]["bias"])
        optimizer = make(torch.optim, [kernel, bias])
        for t in range(steps):
            if schedule is not None:
                for group in optimizer.param_groups:
                    group["lr"] = schedule(t)
            kernel.grad, bias.grad = slope(torch, kernel, bias)
            optimizer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    return [kernel.numpy(), bias.numpy()]


EVERY = [SGD(0.1, momentum=0.9), Adam(), AdamW(), Nadam(), RAdam(), Adamax(), Lion(), RMSprop(momentum=0.9, centered=True), Adagrad(), Adadelta()]
PAIRS = [
    (SGD(0.1), lambda o, p: o.SGD(p, 0.1)),
    (SGD(0.1, momentum=0.9), lambda o, p: o.SGD(p, 0.1, 0.9)),
    (SGD(0.1, momentum=0.9, nesterov=True), lambda o, p: o.SGD(p, 0.1, 0.9, nesterov=True)),
    (SGD(0.1, momentum=0.9, l2=0.1), lambda o, p: o.SGD(p, 0.1, 0.9, weight_decay=0.1)),
    (Adam(0.01), lambda o, p: o.Adam(p, 0.01)),
    (Adam(0.01, 0.8, 0.99, 1e-3), lambda o, p: o.Adam(p, 0.01, (0.8, 0.99), 1e-3)),
    (Adam(0.01, beta_1=0.0), lambda o, p: o.Adam(p, 0.01, (0.0, 0.999))),
    (Adam(0.3, amsgrad=True), lambda o, p: o.Adam(p, 0.3, amsgrad=True)),
    (Adam(0.01, l2=0.1), lambda o, p: o.Adam(p, 0.01, weight_decay=0.1)),
    (Adam(0.01, weight_decay=0.1), lambda o, p: o.AdamW(p, 0.01, weight_decay=0.1)),
    (AdamW(0.01, decay_vectors=True), lambda o, p: o.AdamW(p, 0.01)),
    (AdamW(0.01, weight_decay=0.2), lambda o, p: o.AdamW([{"params": p[:1]}, {"params": p[1:], "weight_decay": 0.0}], 0.01, weight_decay=0.2)),
    (RMSprop(0.01, 0.99), lambda o, p: o.RMSprop(p, 0.01)),
    (RMSprop(0.01, 0.95, 0.9), lambda o, p: o.RMSprop(p, 0.01, 0.95, momentum=0.9)),
    (RMSprop(0.01, centered=True), lambda o, p: o.RMSprop(p, 0.01, 0.9, centered=True)),
    (RMSprop(0.01, momentum=0.5, centered=True), lambda o, p: o.RMSprop(p, 0.01, 0.9, momentum=0.5, centered=True)),
    (Nadam(0.01), lambda o, p: o.NAdam(p, 0.01)),
    (Nadam(0.01, 0.8, 0.99, 1e-4, 0.1), lambda o, p: o.NAdam(p, 0.01, (0.8, 0.99), 1e-4, momentum_decay=0.1)),
    (RAdam(0.01), lambda o, p: o.RAdam(p, 0.01)),
    (RAdam(0.01, 0.8, 0.5), lambda o, p: o.RAdam(p, 0.01, (0.8, 0.5))),
    (Adamax(0.01), lambda o, p: o.Adamax(p, 0.01)),
    (Adadelta(), lambda o, p: o.Adadelta(p, 1.0)),
    (Adadelta(0.5, 0.95, 1e-3, l2=0.1), lambda o, p: o.Adadelta(p, 0.5, 0.95, 1e-3, weight_decay=0.1)),
    (RMSprop(0.01, l2=0.1), lambda o, p: o.RMSprop(p, 0.01, 0.9, weight_decay=0.1)),
    (Adagrad(0.1), lambda o, p: o.Adagrad(p, 0.1)),
    (Adagrad(0.1, initial_accumulator_value=0.1), lambda o, p: o.Adagrad(p, 0.1, initial_accumulator_value=0.1)),
]  # fmt: skip


def test_every_optimizer_is_compared():
    public = {getattr(optimizers, name) for name in optimizers.__all__} - {optimizers.Optimizer}
    assert public == {type(ours) for ours, _ in PAIRS} | {Lion} == set(optimizers.OPTIMIZERS.values()) == {type(o) for o in EVERY}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[repr(ours) for ours, _ in PAIRS])
def test_twenty_steps_equal_torch(ours, theirs, backend):
    for a, b in zip(run(backend, ours)[0], run_torch(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-14)


def test_lion_equals_optax():
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    be = backends.get("jax")
    ours = run(be, Lion(0.01, 0.8, 0.95, weight_decay=0.1))[0]
    theirs = optax.lion(0.01, 0.8, 0.95, weight_decay=0.1)
    params = [jax.numpy.asarray(START["kernel"]), jax.numpy.asarray(START["deep"]["bias"])]
    state = theirs.init(params)
    for _ in range(20):
        updates, state = theirs.update(list(slope(jax.numpy, *params)), state, params)
        params = optax.apply_updates(params, updates)
    for a, b in zip(ours, params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (lambda s: SGD(s, momentum=0.9), lambda o, p: o.SGD(p, 1.0, 0.9)),
        (lambda s: SGD(s, momentum=0.9, nesterov=True), lambda o, p: o.SGD(p, 1.0, 0.9, nesterov=True)),
        (lambda s: Adam(s), lambda o, p: o.Adam(p, 1.0)),
        (lambda s: AdamW(s, decay_vectors=True), lambda o, p: o.AdamW(p, 1.0)),
    ],
    ids=["momentum", "nesterov", "adam", "adamw"],
)
def test_twenty_steps_with_a_schedule_equal_torch(make, theirs, backend):
    """The two forms of momentum part when the learning rate changes; ours is torch's."""
    ours = make(schedules.ExponentialDecay(0.1, 1, 0.8))
    for a, b in zip(run(backend, ours)[0], run_torch(theirs, lambda t: 0.1 * 0.8**t), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("optimizer", [SGD(0.1, weight_decay=0.5), SGD(0.1, momentum=0.9, weight_decay=0.5), Adam(0.1, weight_decay=0.5), RMSprop(0.1, weight_decay=0.5)], ids=repr)
def test_weight_decay_is_decoupled_from_the_gradient(optimizer, backend):
    p = {"w": backend.asarray(np.array([2.0, -4.0]))}
    new, _ = optimizer.step(p, tree.map(backend.xp.zeros_like, p), optimizer.init(p))
    np.testing.assert_allclose(backend.to_numpy(new["w"]), [2 * 0.95, -4 * 0.95], rtol=1e-15)


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_slots_are_beside_the_parameters_and_count_exactly(optimizer, backend):
    params = {"w": backend.asarray(rng.normal(size=(2, 3)), dtype="float32")}
    slots = optimizer.init(params)
    assert slots["t"].shape == slots["learning_rate"].shape == () and int(slots["t"]) == 0
    kept = {path: backend.to_numpy(x).copy() for path, x in tree.flatten((params, slots)).items()}
    after, new = optimizer.step(params, params, slots)
    assert int(new["t"]) == 1 and new["t"].dtype == backend.library.dtype("int32")
    assert optimizer.rate(new) == pytest.approx(optimizer.learning_rate)
    for x in [*tree.leaves(after), *tree.leaves(new)]:
        assert backends.of(x).name == backend.name and x.dtype in (backend.library.dtype("float32"), backend.library.dtype("int32"))
    for path, x in tree.flatten((params, slots)).items():
        np.testing.assert_array_equal(backend.to_numpy(x), kept[path])
    late = {**new, "t": backend.xp.full_like(new["t"], 2**24)}  # where float32 stops counting
    assert int(optimizer.step(after, params, late)[1]["t"]) == 2**24 + 1


def test_a_tree_without_parameters_is_left_alone():
    for empty in ({}, {"a": None, "b": {}}):
        slots = Adam().init(empty)
        assert Adam().step(empty, empty, slots)[0] == empty


def test_gradients_are_matched_by_name_not_by_order():
    p, g = {"a": np.array([1.0]), "b": np.array([1.0])}, {"b": np.array([0.0]), "a": np.array([1.0])}
    new, _ = SGD(0.5).step(p, g, SGD(0.5).init(p))
    assert new["a"] == 0.5 and new["b"] == 1.0


@pytest.mark.parametrize("optimizer", [SGD(schedules.CosineDecayRestarts(0.1, 10), momentum=0.9), Adam(global_clipnorm=1.0), *EVERY[2:]], ids=lambda o: type(o).__name__)
def test_steps_trace_under_jax_jit(optimizer):
    jax = pytest.importorskip("jax")
    be = backends.get("jax")
    params = {"w": be.asarray(rng.normal(size=(3, 2))), "b": be.asarray(rng.normal(size=(2,)))}
    slots = optimizer.init(params)
    fast, eager = (params, slots), (params, slots)
    step = jax.jit(lambda p, g, s: optimizer.step(p, g, s))
    for _ in range(3):
        fast, eager = step(fast[0], fast[0], fast[1]), optimizer.step(eager[0], eager[0], eager[1])
    compiled = tree.flatten(fast)  # jax.jit sorts dicts
    for path, b in tree.flatten(eager).items():
        np.testing.assert_allclose(compiled[path], b, rtol=1e-12, atol=1e-15)


# ------------------------------------------------------------------------------------------------------------- clipping


def moved(backend, optimizer, grads):
    """The gradients that SGD(1.0) applies, read off the parameters."""
    g = tree.map(backend.asarray, grads)
    p = tree.map(backend.xp.zeros_like, g)
    return tree.map(lambda x: -backend.to_numpy(x), optimizer.step(p, g, optimizer.init(p))[0])


def test_clipping_by_value_norm_and_global_norm(backend):
    g = {"a": np.array([3.0, 4.0]), "b": np.array([0.0, 12.0])}
    np.testing.assert_array_equal(moved(backend, SGD(1.0, clipvalue=3.5), g)["a"], [3, 3.5])
    clipped = moved(backend, SGD(1.0, clipnorm=6.0), g)
    np.testing.assert_allclose(clipped["a"], [3, 4], rtol=1e-15)
    np.testing.assert_allclose(clipped["b"], [0, 6], rtol=1e-15)
    clipped = moved(backend, SGD(1.0, global_clipnorm=1.3), g)
    np.testing.assert_allclose([*clipped["a"], *clipped["b"]], [0.3, 0.4, 0, 1.2], rtol=1e-15)
    kept = moved(backend, SGD(1.0, global_clipnorm=13.0), g)
    np.testing.assert_array_equal(kept["b"], [0, 12])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_global_norm_neither_overflows_nor_divides_by_zero(dtype, backend):
    big = {"a": np.full(4, 1e30, dtype=dtype), "b": np.zeros((0, 2), dtype=dtype)}
    np.testing.assert_allclose(moved(backend, SGD(1.0, global_clipnorm=1.0), big)["a"], 0.5, rtol=1e-6)
    none = {"a": np.zeros(4, dtype=dtype)}
    assert not moved(backend, SGD(1.0, global_clipnorm=1.0), none)["a"].any()
    nothing = {"b": np.zeros((0, 2), dtype=dtype)}
    assert moved(backend, SGD(1.0, global_clipnorm=1.0), nothing)["b"].shape == (0, 2)


# -------------------------------------------------------------------------------------------------------------- descent

PROBLEMS = {
    "bowl": (lambda xp, p: xp.sum(p * p), np.array([1.0, -2.0]), 1e-2),
    "valley": (lambda xp, p: 0.5 * p[0] ** 2 + 10.0 * p[1] ** 2, np.array([2.0, 1.0]), 5e-2),
    "rosenbrock": (lambda xp, p: (1.0 - p[0]) ** 2 + 100.0 * (p[1] - p[0] ** 2) ** 2, np.array([-1.0, 1.0]), 0.3),
    "logistic": (lambda xp, p: xp.sum(xp.log1p(xp.exp(-p))) / 2.0 + 0.05 * xp.sum(p * p), np.array([-3.0, 2.0]), 0.57),
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("make", [lambda r: SGD(r / 20), lambda r: SGD(r / 50, momentum=0.9), lambda r: SGD(r / 50, momentum=0.9, nesterov=True), lambda r: Adam(r), lambda r: Adam(r, amsgrad=True), lambda r: AdamW(r, weight_decay=1e-4), lambda r: RMSprop(r / 4), lambda r: Adagrad(5 * r), lambda r: Nadam(r), lambda r: RAdam(r, global_clipnorm=1.0), lambda r: Adamax(r), lambda r: Lion(r / 4), lambda r: Adadelta(20 * r)], ids=["sgd", "momentum", "nesterov", "adam", "amsgrad", "adamw", "rmsprop", "adagrad", "nadam", "radam", "adamax", "lion", "adadelta"])  # fmt: skip
def test_every_optimizer_descends_on_every_problem(make, problem):
    f, start, goal = PROBLEMS[problem]
    optimizer = make(0.02 if problem == "rosenbrock" else 0.2)
    params = {"p": start.copy()}
    slots = optimizer.init(params)
    step = ann.value_and_grad(lambda q: f(ann.namespace(q["p"]), q["p"]))
    for _ in range(300 if problem in ("bowl", "valley") else 1500):
        value, g = step(params)
        params, slots = optimizer.step(params, g, slots)
    assert value < goal


# ------------------------------------------------------------------------------------------------------------- schedules


def at(backend, schedule, times, dtype="float64"):
    return [float(schedule(backend.asarray(np.array(t, dtype=dtype)))) for t in times]


def test_schedules_are_their_closed_forms(backend):
    def same(schedule, form, times=range(0, 25, 3)):
        np.testing.assert_allclose(at(backend, schedule, times), [form(t) for t in times], rtol=1e-13, atol=1e-16)

    cosine = lambda t, n: 0.5 * (1 + math.cos(math.pi * min(t / n, 1)))  # noqa: E731
    same(schedules.Constant(0.3), lambda t: 0.3)
    same(schedules.Warmup(0.3, 10), lambda t: 0.3 * min(t / 10, 1))
    same(schedules.CosineDecay(0.3, 10), lambda t: 0.3 * cosine(t, 10))
    same(schedules.CosineDecay(0.3, 10, alpha=0.1), lambda t: 0.3 * (0.9 * cosine(t, 10) + 0.1))
    same(
        schedules.CosineDecay(0.1, 10, alpha=0.1, warmup_target=0.3, warmup_steps=5),
        lambda t: 0.1 + 0.2 * t / 5 if t < 5 else 0.3 * (0.9 * cosine(t - 5, 10) + 0.1),
    )
    same(schedules.CosineDecay(0.3, 10, warmup_steps=4), lambda t: 0.3 * t / 4 if t < 4 else 0.3 * cosine(t - 4, 10))
    same(schedules.ExponentialDecay(0.3, 5, 0.5), lambda t: 0.3 * 0.5 ** (t / 5))
    same(schedules.ExponentialDecay(0.3, 5, 0.5, staircase=True), lambda t: 0.3 * 0.5 ** (t // 5))
    same(schedules.PolynomialDecay(0.3, 10, 0.01, power=2.0), lambda t: 0.29 * (1 - min(t / 10, 1)) ** 2 + 0.01)
    same(schedules.InverseTimeDecay(0.3, 5, 0.5), lambda t: 0.3 / (1 + 0.5 * t / 5))
    same(schedules.InverseTimeDecay(0.3, 5, 0.5, staircase=True), lambda t: 0.3 / (1 + 0.5 * (t // 5)))
    same(schedules.StepDecay(0.3, 5, 0.2), lambda t: 0.3 * 0.2 ** (t // 5))
    same(schedules.PolynomialDecay(0.3, 10, 0.01, power=2.0, cycle=True), lambda t: 0.29 * (1 - t / (10 * max(math.ceil(t / 10), 1))) ** 2 + 0.01)
    same(schedules.PiecewiseConstantDecay([6, 12], [1.0, 0.5, 0.1]), lambda t: 1.0 if t <= 6 else 0.5 if t <= 12 else 0.1)


def test_schedules_are_those_of_torch():
    torch = pytest.importorskip("torch")
    be = backends.get("numpy")
    for ours, theirs in (
        (schedules.CosineDecay(0.3, 12), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12)),
        (schedules.ExponentialDecay(0.3, 1, 0.9), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)),
        (schedules.PolynomialDecay(0.3, 12, 0.0, 2.0), lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 12, 2.0)),
    ):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
        scheduler = theirs(optimizer)
        for t in range(12):
            assert at(be, ours, [t])[0] == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12, abs=1e-15)
            optimizer.step()
            scheduler.step()


@pytest.mark.parametrize(("t_mul", "m_mul", "alpha"), [(1.0, 1.0, 0.0), (2.0, 1.0, 0.0), (2.0, 0.5, 0.1), (3.0, 0.9, 0.0)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cosine_restarts_start_again_at_their_step(t_mul, m_mul, alpha, dtype, backend):
    """In float32, a restart found by a logarithm alone would come a step late at some of these."""
    schedule = schedules.CosineDecayRestarts(0.3, 10, t_mul, m_mul, alpha)
    wanted, start, length, peak = [], 0, 10, 1.0
    for t in range(10 * 31):
        if t == start + length:
            start, length, peak = t, round(length * t_mul), peak * m_mul
        wanted.append(0.3 * ((1 - alpha) * 0.5 * peak * (1 + math.cos(math.pi * (t - start) / length)) + alpha))
    found = schedule(backend.asarray(np.arange(10 * 31), dtype=dtype))
    np.testing.assert_allclose(backend.to_numpy(found), wanted, rtol=1e-11 if dtype == "float64" else 1e-4, atol=1e-12 if dtype == "float64" else 1e-6)


def test_cosine_restarts_are_those_of_torch():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 7, 2)
    ours = schedules.CosineDecayRestarts(0.3, 7)
    for t in range(60):
        assert at(backends.get("numpy"), ours, [t])[0] == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=1e-15)
        optimizer.step()
        theirs.step()


def test_every_schedule_is_tested_and_traces_under_jax_jit():
    jax = pytest.importorskip("jax")
    every = [
        schedules.Constant(0.3), schedules.Warmup(0.3, 10), schedules.CosineDecay(0.3, 10, warmup_steps=3), schedules.CosineDecayRestarts(0.3, 10),
        schedules.ExponentialDecay(0.3, 5, 0.5, True), schedules.StepDecay(0.3, 5), schedules.PolynomialDecay(0.3, 10, cycle=True),
        schedules.InverseTimeDecay(0.3, 5, 0.5), schedules.PiecewiseConstantDecay((6,), (1.0, 0.1)),
    ]  # fmt: skip
    assert {type(s).__name__ for s in every} == set(schedules.__all__)
    for schedule in every:
        t = jax.numpy.asarray(12.0)
        assert jax.jit(schedule)(t) == pytest.approx(float(schedule(t)), rel=1e-12)


def test_the_first_update_uses_the_value_at_zero(backend):
    opt = SGD(schedules.PiecewiseConstantDecay((0,), (1.0, 100.0)))
    p = {"w": backend.asarray(np.array([0.0]))}
    new, slots = opt.step(p, {"w": backend.asarray(np.array([1.0]))}, opt.init(p))
    assert float(new["w"][0]) == -1.0 and opt.rate(slots) == 100.0


def test_schedules_keep_float32(backend):
    for schedule in (schedules.CosineDecay(0.3, 10, warmup_steps=2), schedules.ExponentialDecay(0.3, 5, 0.5), schedules.PiecewiseConstantDecay((3,), (1.0, 0.1))):
        assert schedule(backend.asarray(np.array(1.0, dtype="float32"))).dtype == backend.library.dtype("float32")


def test_bad_settings_are_refused():
    for make, message in (
        (lambda: SGD(-1.0), "learning_rate is a non-negative number"),
        (lambda: SGD("fast"), "learning_rate is a non-negative number"),
        (lambda: Adam(beta_1=1.0), "beta_1 is at least 0 and less than 1"),
        (lambda: Adam(epsilon=-1.0), "epsilon is not negative"),
        (lambda: SGD(weight_decay=-1.0), "weight_decay is not negative"),
        (lambda: SGD(clipnorm=0.0), "clipnorm is positive"),
        (lambda: schedules.PiecewiseConstantDecay((1, 2), (1.0,)), "2 boundaries need 3 values"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_optimizers_are_found_by_name():
    assert optimizers.get("adam") == Adam() and optimizers.get("AdamW") == AdamW() and optimizers.get(opt := SGD()) is opt
    with pytest.raises(ValueError, match='Did you mean "adamw"'):
        optimizers.get("adanw")
    with pytest.raises(TypeError, match=r"write Adam\(\)"):
        optimizers.get(Adam)
    with pytest.raises(TypeError, match="init and step"):
        optimizers.get(3)
