"""What the CuPy backend asks of a GPU: kernels and products in a step, and nothing that waits."""

import numpy as np
import pytest
from examples_table import EXAMPLES

import ann
import backends
from backends import gaps, namespace, tree

WAITS = {"syncs", "copies"}


def test_the_probe_refuses_a_gpu_that_computes_wrongly():
    with pytest.raises(backends.BackendUnavailable, match="computes wrongly: the first sum is 0.0, not 2"):
        backends.get("cupy")
    assert not backends.available()["cupy"].usable and backends.get("auto").name == "numpy"


def test_doors(be):
    import cupy

    assert be.name == "cupy" and backends.of(cupy.ones(3)).name == "cupy" and be.dtype == np.float32
    for x in (np.arange(6.0).reshape(2, 3), np.zeros((0, 3), "float32"), np.array([True, False]), [1.0, 2.0], np.arange(6.0)[::-2], np.ones(3, ">f8")):
        y = be.asarray(x)
        assert type(y) is cupy.ndarray and backends.of(y).device == be.device
        assert np.array_equal(be.to_numpy(y), np.asarray(x))  # copies are real
    moved = backends.move({"a": np.ones(3), "b": [None, "text"]}, be)
    assert type(moved["a"]) is cupy.ndarray and moved["b"] == [None, "text"]
    assert np.array_equal(backends.move(moved, "numpy")["a"], np.ones(3))
    with pytest.raises(TypeError, match="CuPy array on .*this backend is numpy.*backends.get..cupy"):
        backends.get("numpy").asarray(moved["a"])


def test_devices_have_names_and_bounds(be):
    library = be.library
    assert library.device("") == library.device("0") == be.device and {be.device: 1}[library.device_of(be.asarray([1.0]))] == 1
    for name, message in (("3", "no GPU 3: CUDA finds 1"), ("x", "devices are numbers")):
        with pytest.raises(backends.BackendUnavailable, match=message):
            library.device(name)


def test_gap_functions_are_single_kernels(be, counted):
    x = be.asarray(np.ones((2, 6, 6, 3), "float32"))
    step = be.asarray(np.int32(3))
    for name in ("erf", "erfc", "lgamma", "digamma"):
        assert counted(lambda name=name: getattr(gaps, name)(x)) == {"launches": 1}, name
    assert counted(lambda: gaps.random_bits(step, x, key=(1, 2), draw=0, count=1001)) == {"launches": 1}
    assert counted(lambda: gaps.windows(x, size=(3, 3), strides=(1, 1), dilations=(1, 1))) == {}
    y = be.asarray(np.ones((2, 4, 4, 3, 3, 3), "float32"))
    assert counted(lambda: gaps.fold(y, shape=(6, 6), strides=(1, 1), dilations=(1, 1)))["launches"] == 6  # k₁ + k₂ additions
    assert not WAITS & counted(lambda: ann.Stream(0)["a"].at(step).bernoulli(0.5, (4, 5), like=x)).keys()
    assert not WAITS & counted(lambda: ann.Stream(0)["a"].at(step).normal((4, 5), like=x)).keys()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name.replace(" ", "_"))
def test_a_function_and_its_derivative_never_wait(be, counted, example):
    args = [be.asarray(a, dtype="float32" if a.dtype.kind == "f" else None) for a in example.args]
    targets = [be.asarray(np.ones(np.shape(a), "float32")) for a in tree.leaves(example(*example.args))]

    def both():
        y, pull = ann.vjp(lambda *a: tree.leaves(example(*a)), *args)
        return pull(targets)

    try:
        done = counted(both)
    except RuntimeError as error:
        if "CUB" not in str(error):
            raise
        pytest.skip("it sorts: CUDA code inside the wheel, which needs a real GPU")
    if example.name == "max_pool overlapping":  # CuPy joins more than eight arrays by a table of their addresses, which it copies to the GPU
        assert done.pop("copies") == done.pop("syncs") == 1
    assert not WAITS & done.keys()


def network():
    return ann.Sequential([
        ann.Conv2D(4, 3, padding="same", activation="relu"), ann.MaxPooling2D(), ann.Flatten(), ann.BatchNormalization(), ann.Dropout(0.2),
        ann.Dense(16, "gelu"), ann.LayerNormalization(), ann.Dense(10),
    ])  # fmt: skip


@pytest.mark.parametrize("optimizer", [ann.SGD(0.1, momentum=0.9), ann.AdamW(ann.schedules.CosineDecay(1e-3, 100), global_clipnorm=1.0)], ids=repr)
@pytest.mark.parametrize("wrap", [lambda f: f, ann.jit], ids=["eager", "jit"])
def test_a_training_step_launches_kernels_and_nothing_else(be, counted, optimizer, wrap):
    net, dice = network(), ann.Stream(0)["train"]
    x, y = be.asarray(np.zeros((8, 8, 8, 1), "float32")), be.asarray(np.arange(8) % 10)
    params, state = net.init(x, seed=0, backend=be)
    slots, i = optimizer.init(params), be.asarray(np.int32(1))

    @wrap
    def step(params, state, slots, x, y, i):
        def objective(p):
            z, out = net.apply_training(p, x, state=state, random=dice.at(i))
            return ann.losses.categorical_crossentropy(y, z) + out.penalty, out.state

        (loss, state), g = ann.value_and_grad(objective, has_aux=True)(params)
        return *optimizer.step(params, g, slots), state, loss

    done = counted(lambda: step(params, state, slots, x, y, i))
    assert set(done) <= {"launches", "fills", "cublasGemmEx", "cublasSgemmEx", "cublasSgemm_v2"} and done["launches"] > 50


@pytest.mark.parametrize("options", [{"jit": False}, {}], ids=["eager", "jit"])
def test_fit_waits_once_an_epoch_however_many_steps_it_has(be, options):
    import cupy_stub

    x, y = be.asarray(np.zeros((256, 64), "float32")), be.asarray(np.arange(256) % 10)
    waits = {}
    for batch_size in (64, 32, 8):  # the first run compiles
        m = ann.Model([ann.Dense(16, "relu"), ann.Dropout(0.3), ann.Dense(10)], backend=be, seed=0)
        m.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        with cupy_stub.record() as log, pytest.raises(FloatingPointError):  # flags that no kernel set say: not finite
            m.fit(x, y, batch_size=batch_size, verbose=0, **options)
        waits[batch_size] = log.calls["syncs"], log.calls["copies"]
        assert log.calls["launches"] > 50 * 256 // batch_size
    assert abs(waits[32][0] - waits[8][0]) < 8 and abs(waits[32][1] - waits[8][1]) < 8  # of 24 steps more; a reading now and then is by the clock


def test_numpy_formulas_of_a_user_never_wait(be, counted):
    x = be.asarray(np.linspace(0.1, 2.0, 12, dtype="float32"))

    def f(v):
        return np.sum(np.where(v > 1, np.exp(-v), v**2) * np.sqrt(v)) + namespace(v).mean(np.log1p(v) / v)

    assert not WAITS & counted(lambda: ann.grad(f)(x)).keys()
