"""Convolutions of the native lowering: where they are found in a Program, what they mean, and their kernels."""

import math

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra: native)")

from native_support import call, guarded
from test_lowerings import agree

import ann
from ann.functions.convolution import conv
from backends import jit, namespace
from backends.library import GAPS
from backends.native import compile as compiler
from backends.native import convolution
from backends.native.blas import Blas, blas
from backends.native.convolution import Convolve, ConvolveWeights, Geometry, direct
from backends.native.run import NativeRun
from backends.program.passes import simplify

# (images, space, channels, filters, window, strides, dilations, padding, groups, dtype), instructions that must be found where vectors have 16 numbers
BOTH, FORWARD, NONE = ("convolve", "pad"), ("convolve", "fold"), ("windows", "fold")
CASES = [
    ((3, (8, 9), 16, 40, (3, 2), 1, 1, "same", 1, "float32"), BOTH),
    ((32, (5, 34), 17, 33, (3, 3), 1, (2, 1), ((3, 1), (0, 2)), 1, "float32"), BOTH),
    ((1, (12, 12), 8, 17, (5, 5), 2, 1, "valid", 1, "float32"), FORWARD),
    ((2, (9, 9), 5, 33, (3, 3), 1, 2, "same", 1, "float64"), BOTH),
    ((4, (10,), 15, 64, (3,), 1, 1, "same", 1, "float32"), BOTH),
    ((2, (11,), 7, 6, (3,), 2, 1, "same", 1, "float32"), FORWARD),
    ((2, (28, 28), 1, 8, (5, 5), 1, 1, "valid", 1, "float32"), FORWARD),
    ((2, (8, 8), 4, 1, (3, 3), 1, 1, "same", 1, "float32"), FORWARD),
    ((1, (6, 6), 16, 16, (7, 7), 1, 1, "same", 1, "float32"), BOTH),
    ((2, (7, 9), 12, 20, (1, 1), 1, 1, "same", 1, "float32"), NONE),
    ((2, (8, 8), 4, 8, (3, 3), 1, 1, "same", 2, "float32"), FORWARD),
    ((3, (9, 7), 24, 40, (3, 2), 1, (1, 2), ((2, 1), (0, 2)), 4, "float64"), BOTH),
    ((2, (9, 9), 12, 24, (3, 3), 2, 1, "same", 3, "float32"), FORWARD),
    ((2, (4, 5, 6), 3, 4, (2, 2, 2), 1, 1, "same", 1, "float32"), NONE),
    ((3, (9, 10), 32, 32, (3, 3), 1, 1, "same", 32, "float32"), ("windows", "pad")),  # each channel by itself
    ((5, (12, 9), 20, 20, (3, 2), 1, (2, 1), "valid", 20, "float64"), ("windows", "pad")),
    ((4, (9, 9), 70, 70, (3, 3), 2, 1, "same", 70, "float32"), NONE),
    ((2, (13,), 6, 12, (5,), 1, 1, "same", 6, "float32"), ("windows", "pad")),
    ((2, (8, 8), 17, 17, (7, 7), 1, 1, "same", 17, "float32"), ("windows", "pad")),
    ((1, (3, 3), 2048, 16, (3, 3), 1, 1, "same", 1, "float32"), ("windows", "pad")),  # a kernel that no cache holds
]  # fmt: skip


def found_blas():
    if not isinstance(blas(), Blas):
        pytest.skip(str(blas()))
    return blas()


def example(n, space, c, f, size, strides, dilations, padding, groups, dtype):
    """(f, arrays): y, and the value and gradients of Σ tanh(y) at an x that is computed."""
    r = np.random.default_rng(0)
    arrays = [(r.normal(size=shape) / s).astype(dtype) for shape, s in (((n, *space, c), 1), ((*size, c // groups, f), math.sqrt(math.prod(size) * c)), ((f,), 1))]

    def function(x, w, b):
        def loss(x, w, b):
            y = conv(x, w, b, strides=strides, padding=padding, dilations=dilations, groups=groups)
            return namespace(y).sum(ann.tanh(y)), y

        return ann.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(ann.tanh(x), w, b)

    return function, arrays


@pytest.mark.parametrize(("case", "wanted"), CASES)
def test_a_program_with_convolutions_keeps_its_meaning(case, wanted, monkeypatch):
    monkeypatch.setattr(convolution, "machine_lanes", lambda: 16)
    function, arrays = example(*case)
    program = jit(function, lowering="replay").trace(*arrays)
    after = direct(simplify(program))
    names = {i.name for i in after.body}
    assert set(wanted) <= names
    assert "windows" in wanted or "windows" not in names
    assert "fold" in wanted or "fold" not in names
    for name in ("convolve", "convolve_weights", "pad"):
        monkeypatch.setitem(GAPS, name, getattr(convolution, name))
    agree(after.run(arrays), program.run(arrays), case[-1])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("case", [case for case, _ in CASES])
def test_convolutions_agree_with_the_reference_interpreter(case, threads):
    function, arrays = example(*case)
    program = jit(function, lowering="replay").trace(*arrays)
    run, meant = NativeRun(program, found_blas(), threads, worth=1), program.run(arrays)
    for _ in range(2):
        given = [x.copy() for x in arrays]
        agree(run(given), meant, case[-1])
        for x, y in zip(given, arrays, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("strides", "padding", "dilations"), [(1, 1, 1), (2, 0, 1), (1, 2, 2)])
def test_convolutions_agree_with_torch(strides, padding, dilations):
    torch = pytest.importorskip("torch")
    found_blas()
    r = np.random.default_rng(0)
    x, w, b = (r.normal(size=shape).astype("f") for shape in ((3, 13, 11, 12), (3, 3, 12, 20), (20,)))
    loss = lambda x, w, b: namespace(x).sum(ann.tanh(conv(x, w, b, strides=strides, padding=padding, dilations=dilations)))
    value, gradients = jit(ann.value_and_grad(loss, argnums=(0, 1, 2)), lowering="native")(x, w, b)
    theirs = [torch.tensor(np.ascontiguousarray(a), requires_grad=True) for a in (x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), b)]
    total = torch.tanh(torch.nn.functional.conv2d(*theirs, stride=strides, padding=padding, dilation=dilations)).sum()
    total.backward()
    np.testing.assert_allclose(value, total.item(), rtol=1e-4)
    for a, t, axes in zip(gradients, theirs, ((0, 2, 3, 1), (2, 3, 1, 0), (0,)), strict=True):
        np.testing.assert_allclose(a, t.grad.numpy().transpose(axes), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("donate", [(0,), (0, 1), (1,)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_convolution_reads_what_was_donated_before_it_is_written_to(donate, threads):
    def function(x, w):
        y = conv(x, w, padding="same")
        z = conv(y, w, padding="same")
        return x * 2.0 + z, w + namespace(y).sum(y)

    r = np.random.default_rng(0)
    x, w = r.normal(size=(2, 9, 7, 16)).astype("f"), (r.normal(size=(3, 3, 16, 16)) / 12).astype("f")
    program = jit(function, donate=donate, lowering="replay").trace(x, w)
    agree(NativeRun(program, found_blas(), threads, worth=1)([x.copy(), w.copy()]), program.run([x.copy(), w.copy()]), "float32")


def test_one_array_may_be_image_and_part_of_another():
    found_blas()
    whole = np.random.default_rng(0).normal(size=(4, 8, 8, 16)).astype("f")
    w = np.random.default_rng(1).normal(size=(3, 3, 16, 16)).astype("f")
    function = lambda a, b: conv(a, w, padding="same") + conv(b[:, ::2, 1:5], w, padding=((2, 4), (2, 4)))
    np.testing.assert_allclose(jit(function, lowering="native")(whole[:2], whole[1:3]), function(whole[:2], whole[1:3]), rtol=1e-3, atol=1e-4)


def test_no_image_gives_no_image():
    w = np.ones((3, 3, 4, 8), np.float32)
    assert jit(lambda x: conv(x, w, padding="same"))(np.zeros((0, 5, 5, 4), np.float32)).shape == (0, 5, 5, 8)


@pytest.mark.parametrize("pool", [ann.functions.max_pool, ann.functions.average_pool])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pools_agree_with_the_reference_interpreter(pool, dtype):
    def function(x):
        loss = lambda x: namespace(x).sum(pool(ann.tanh(x), 2) ** 2)
        return pool(x, (3, 2), strides=2, padding="same"), ann.value_and_grad(loss)(x)

    x = np.random.default_rng(0).normal(size=(2, 7, 8, 5)).astype(dtype)
    x[0, 3, 3, 1] = np.nan
    program = jit(function, lowering="replay").trace(x)
    agree(NativeRun(program, found_blas(), 2, worth=1)([x]), program.run([x]), dtype)


# kernels

SHAPES = [(3, (9, 12), (3, 3), (1, 1), (1, 1), 17, 40), (1, (10, 34), (2, 3), (2, 1), (1, 2), 3, 5), (2, (28, 28), (5, 5), (1, 1), (1, 1), 1, 8), (1, (4, 9), (3, 1), (1, 2), (1, 1), 20, 48)]


def words(kernel, x, w, b, y):
    arrays = {"x": x, "w": w, "b": b, "y": y}
    numbers = {"images": y.shape[0], "group": 2, "rows": y.shape[1], "x_image": math.prod(x.shape[1:]), "y_image": math.prod(y.shape[1:])}
    return [arrays[key].ctypes.data if key in arrays else numbers[key] for key in convolution.WORDS]


def run_kernels(n, space, size, strides, dilations, c, f, dtype):
    """Both kernels between pages that may not be touched, against the formula."""
    r = np.random.default_rng(0)
    x, w, b = guarded(r.normal(size=(n, *space, c)).astype(dtype)), r.normal(size=(*size, c, f)).astype(dtype), guarded(r.normal(size=f).astype(dtype))
    y = convolution.convolve(x, w, b, strides=strides, dilations=dilations)
    g = Geometry(dtype, size, strides, dilations, y.shape[2], space[1] * c, c, f)
    packed = np.zeros((*size, c, g.vectors * g.lanes), dtype)
    packed[..., :f] = w
    packed = guarded(np.moveaxis(packed.reshape(*size, c, g.vectors, g.lanes), -2, 0))
    found = guarded(np.full_like(y, np.nan))
    kernel = Convolve(g, y.shape[1], bias=True)
    call(kernel, words(kernel, x, packed, b, found))
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(found, y, rtol=tolerance, atol=tolerance)
    dw = guarded(np.full_like(w, np.nan))
    call(ConvolveWeights(g), words(ConvolveWeights(g), x, dw, b, guarded(y)))
    np.testing.assert_allclose(dw, convolution.convolve_weights(x, y, size=size, strides=strides, dilations=dilations), rtol=tolerance, atol=tolerance * 100)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_touch_their_arrays_alone(shape, dtype):
    run_kernels(*shape, dtype)


@pytest.mark.parametrize(("lanes", "registers"), [(8, 16), (4, 32), (4, 16)])
def test_kernels_are_made_for_narrower_machines_too(lanes, registers, monkeypatch):
    monkeypatch.setenv("ANN_NATIVE_CACHE", "off")
    monkeypatch.setattr(convolution, "machine_lanes", lambda: lanes)
    monkeypatch.setattr(convolution, "registers", lambda: registers)
    for c in (1, 6):
        run_kernels(1, (7, 13 + lanes + registers), (3, 3), (1, 1), (1, 1), c, 21, "float32")  # a shape that no other test compiles
    assert compiler.registers() in (16, 32)


def test_lengths_are_split_evenly():
    for n in range(1, 70):
        for most in (1, 6, 14):
            parts = convolution.split(n, most)
            assert sum(count * size for _, count, size in parts) == n
            assert max(size for _, _, size in parts) <= most
            assert sum(count for _, count, _ in parts) == -(-n // most)
            ends = [(first, first + count * size) for first, count, size in parts]
            assert ends[0][0] == 0 and all(a[1] == b[0] for a, b in zip(ends, ends[1:], strict=False))
