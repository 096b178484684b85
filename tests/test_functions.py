"""The functions and their derivatives: against PyTorch and mpmath, in the tails, at the kinks, and on every backend."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from examples_table import EXAMPLES, Example

import ann
import backends
from ann import functions, losses
from backends import tree

rng = np.random.default_rng(0)
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name.replace(" ", "_"))


def arrays(backend, example, dtype="float64"):
    return [backend.asarray(a, dtype=dtype if a.dtype.kind == "f" else None) for a in example.args]


def is_float(a):
    return a.dtype.kind == "f"


def float_places(example):
    return tuple(i for i, a in enumerate(example.args) if is_float(a))


def compiled(backend, f):
    """On jax one compilation instead of one an operation."""
    return pytest.importorskip("jax").jit(f) if backend.library.name == "jax" else f


def at_floats(example, args):
    """(f, xs): the example as a function of the arguments to differentiate; the others are closed over as they are."""
    places = float_places(example)

    def f(*xs):
        full = list(args)
        for place, x in zip(places, xs, strict=True):
            full[place] = x
        return example(*full)

    return f, [args[i] for i in places]


def weights_like(y):
    draw = np.random.default_rng(1)
    return [draw.normal(size=tuple(a.shape)) for a in tree.leaves(y)]


def gradients(backend, example, args):
    """pull(dy) of random dy at the arguments that are differentiated."""
    y, pull = ann.vjp(lambda *a: example(*a), *args)
    dtype = tree.leaves(y)[0].dtype
    dy = tree.fill(y, [backend.asarray(np.asarray(w), dtype=str(dtype).rpartition(".")[2]) for w in weights_like(y)])
    pulled = pull(dy)
    pulled = (pulled,) if len(args) == 1 else pulled
    return [pulled[i] for i in float_places(example)]


def value_and_gradients(backend, example, args):
    """y and the gradients; on jax in one compiled program."""
    return compiled(backend, lambda *a: (example(*a), gradients(backend, example, a)))(*args)


# ------------------------------------------------------------------------------------- every function, from its example


def test_every_public_function_has_an_example():
    public = set(functions.__all__) - {"activation"} | {name for name in losses.__all__ if name[0].islower()}
    assert public == {example.name.split()[0] for example in EXAMPLES}
    assert all(example.function.__name__ == example.name.split()[0] for example in EXAMPLES)


@every_example
def test_value_and_gradient_are_those_of_torch(example: Example, backend):
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(a, requires_grad=is_float(a)) for a in example.args]
    truth = example.oracle(torch.nn.functional, *tensors)
    y, slopes = value_and_gradients(backend, example, arrays(backend, example))
    for ours, theirs in zip(tree.leaves(y), tree.leaves(truth), strict=True):
        np.testing.assert_allclose(backend.to_numpy(ours), theirs.detach().numpy(), rtol=1e-11, atol=1e-13)
    places = float_places(example)
    torch.autograd.backward(tree.leaves(truth), [torch.tensor(w) for w in weights_like(y)])
    for i, dx in zip(places, slopes, strict=True):
        np.testing.assert_allclose(backend.to_numpy(dx), tensors[i].grad.numpy(), rtol=1e-9, atol=1e-12)


@every_example
def test_gradient_and_its_gradient_agree_with_differences(example, eager_backend):
    f, xs = at_floats(example, arrays(eager_backend, example))
    ann.check_gradients(lambda *a: f(*a), *xs, order=2)


@every_example
def test_float32_stays_float32_and_is_right_to_rounding(example, backend):
    y, slopes = value_and_gradients(backend, example, arrays(backend, example, "float32"))
    host = backends.get("numpy")
    exact, exact_slopes = value_and_gradients(host, example, arrays(host, example))
    for ours, truth in zip(tree.leaves(y), tree.leaves(exact), strict=True):
        assert ours.dtype == backend.library.dtype("float32") and backends.of(ours).name == backend.name
        np.testing.assert_allclose(backend.to_numpy(ours), truth, rtol=2e-5, atol=2e-6)
    for dx, truth in zip(slopes, exact_slopes, strict=True):
        assert dx.dtype == backend.library.dtype("float32") and backends.of(dx).name == backend.name
        np.testing.assert_allclose(backend.to_numpy(dx), truth, rtol=2e-4, atol=2e-5)


@every_example
def test_gradient_under_jax_jit_is_that_of_jax(example, jax_backend):
    """It traces: no value is read, no shape depends on data, nothing is written to. And another library's rules agree."""
    import jax

    f, xs = at_floats(example, arrays(jax_backend, example))

    def both(*xs):
        y, pull = ann.vjp(f, *xs)
        dy = tree.map(jax.numpy.cos, y)
        return tree.leaves(pull(dy)), jax.tree.leaves(jax.vjp(f, *xs)[1](dy))

    for ours, theirs in zip(*jax.jit(both)(*xs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("device", ["device1", "no_x64"])
@every_example
def test_nothing_optional_of_the_standard_is_used(example, device):
    """No boolean indexing, no shape from data, no extension; on no_x64 no type of 64 bits."""
    strict = pytest.importorskip("array_api_strict")
    if device == "no_x64" and example.name.split()[0] == "embedding":
        pytest.skip("its gradient sorts, and array_api_strict's argsort gives int64 even there")
    be, host = backends.get(f"array_api_strict:{device}"), backends.get("numpy")
    wanted = {"f": "float64", "i": "int64", "b": "bool"} if device == "device1" else {"f": "float32", "i": "int32", "b": "bool"}
    with strict.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()):
        args = [be.asarray(a.astype(wanted[a.dtype.kind])) for a in example.args]
        y, slopes = value_and_gradients(be, example, args)
    expected, expected_slopes = value_and_gradients(host, example, arrays(host, example))
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if device == "device1" else {"rtol": 2e-4, "atol": 2e-5}
    for ours, truth in zip([*tree.leaves(y), *slopes], [*tree.leaves(expected), *expected_slopes], strict=True):
        np.testing.assert_allclose(be.to_numpy(ours), truth, **tolerance)


@every_example
def test_arguments_may_be_read_only_and_strided_and_stay_as_they_are(example):
    be = backends.get("numpy")
    args = []
    for a in example.args:
        wide = np.repeat(a, 2, axis=-1)
        view = wide[..., ::2]
        wide.flags.writeable = view.flags.writeable = False
        args.append(view)
    copies = [a.copy() for a in args]
    for ours, usual in zip(tree.leaves(example(*args)), tree.leaves(example(*arrays(be, example))), strict=True):
        np.testing.assert_allclose(ours, usual, rtol=1e-12)
    for ours, usual in zip(gradients(be, example, args), gradients(be, example, arrays(be, example)), strict=True):
        np.testing.assert_allclose(ours, usual, rtol=1e-10, atol=1e-13)
    for a, copy in zip(args, copies, strict=True):
        np.testing.assert_array_equal(a, copy)


# ------------------------------------------------------------------------------------------------- accuracy: activations

mp = mpmath.mp


def cdf(x):
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def logistic(x):
    return 1 / (1 + mpmath.exp(-x))


def tanh_of_gelu(x):
    return mpmath.sqrt(2 / mpmath.pi) * (x + 0.044715 * x**3)


TRUTHS = {
    "sigmoid": (logistic, lambda x: logistic(x) * logistic(-x)),
    "tanh": (mpmath.tanh, lambda x: mpmath.sech(x) ** 2),
    "softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), logistic),
    "log_sigmoid": (lambda x: -mpmath.log1p(mpmath.exp(-x)), lambda x: logistic(-x)),
    "silu": (lambda x: x * logistic(x), lambda x: logistic(x) * (1 + x * logistic(-x))),
    "elu": (lambda x: x if x > 0 else mpmath.expm1(x), lambda x: mpmath.mpf(1) if x > 0 else mpmath.exp(x)),
    "selu": (
        lambda x: functions.activations.SELU_SCALE * (x if x > 0 else functions.activations.SELU_ALPHA * mpmath.expm1(x)),
        lambda x: functions.activations.SELU_SCALE * (1 if x > 0 else functions.activations.SELU_ALPHA * mpmath.exp(x)),
    ),
    "celu": (lambda x: x if x > 0 else mpmath.expm1(x), lambda x: mpmath.mpf(1) if x > 0 else mpmath.exp(x)),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "exponential": (mpmath.exp, mpmath.exp),
    "mish": (
        lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
        lambda x: mpmath.tanh(mpmath.log1p(mpmath.exp(x))) + x * logistic(x) * mpmath.sech(mpmath.log1p(mpmath.exp(x))) ** 2,
    ),
    "gelu": (lambda x: x * cdf(x), lambda x: cdf(x) + x * mpmath.npdf(x)),
    "gelu tanh": (
        lambda x: x * logistic(2 * tanh_of_gelu(x)),
        lambda x: logistic(2 * tanh_of_gelu(x)) * (1 + x * logistic(-2 * tanh_of_gelu(x)) * 2 * mpmath.sqrt(2 / mpmath.pi) * (1 + 3 * 0.044715 * x * x)),
    ),
}
# relative error, of the value and of the derivative: (float64, float32)
BOUNDS = {"gelu tanh": ((5e-14, 2e-13), (1.5e-5, 5e-5)), "mish": ((1e-14, 1e-14), (1e-6, 2e-6)), "gelu": ((5e-14, 2e-13), (1.5e-5, 5e-5)), "tanh": ((1e-15, 1e-15), (1e-6, 1e-6))}
GRID = [-80.0, -30.0, -20.0, -12.0, -8.0, -5.5, -3.1, -1.9, -1.05, -0.5, -0.1, -1e-3, -1e-7, 1e-7, 1e-3, 0.1, 0.5, 1.05, 1.9, 3.1, 5.5, 8.0, 12.0, 20.0, 30.0, 80.0]  # fmt: skip
# where the derivative is not a small difference of larger numbers: 1 − y² of tanh, α·eˣ by expm1 + α, …
RANGE = {"gelu": (-12, 80), "gelu tanh": (-8, 80), "tanh": (-1, 1), "elu": (-1, 80), "celu": (-1, 80), "selu": (-1, 80)}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TRUTHS)
def test_activations_keep_their_relative_accuracy_in_the_tails(name, dtype, backend):
    value, slope = TRUTHS[name]
    low, high = (-12, 80) if name == "gelu" else (-8, 80) if name == "gelu tanh" else (-80, 80)
    grid = np.array([x for x in GRID if low <= x <= high], dtype=dtype)
    x = backend.asarray(grid)
    name_only, _, approximate = name.partition(" ")
    y, pull = getattr(functions, name_only).vjp(x, **({"approximate": approximate} if approximate else {}))
    dx = backend.to_numpy(pull(backend.xp.ones_like(x)))
    bounds = BOUNDS.get(name, ((2e-15, 4e-15), (1e-6, 2e-6)))[dtype == "float32"]
    low, high = RANGE.get(name, (-80, 80))
    with mpmath.workdps(40):
        for point, got, derivative in zip(grid, backend.to_numpy(y), dx, strict=True):
            truth, wanted = value(mpmath.mpf(float(point))), slope(mpmath.mpf(float(point)))
            assert abs(got - truth) <= bounds[0] * abs(truth), (point, got, truth)
            if low <= point <= high:
                assert abs(derivative - wanted) <= bounds[1] * abs(wanted), (point, derivative, wanted)
            else:
                assert abs(derivative - wanted) <= bounds[1]


HUGE = [-math.inf, -1e30, -1000.0, -89.0, 89.0, 1000.0, 1e30, math.inf]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in functions.activations.ACTIVATIONS if not name.endswith(("softmax", "exponential"))])
def test_activations_do_not_overflow_and_keep_nan(name, dtype, backend):
    f = functions.activation(name)
    finite = backend.asarray(np.array(HUGE[1:-1], dtype=dtype))
    y, pull = f.vjp(finite)
    assert np.isfinite(backend.to_numpy(y)).all()
    assert np.isfinite(backend.to_numpy(pull(backend.xp.ones_like(finite)))).all()
    assert np.isnan(backend.to_numpy(f(backend.asarray(np.array([math.nan], dtype=dtype))))).all()
    if name not in ("silu", "swish", "gelu", "mish", "hard_silu", "hard_swish", "softsign"):  # −∞·0
        ends = backend.to_numpy(f(backend.asarray(np.array([-math.inf, math.inf], dtype=dtype))))
        assert not np.isnan(ends).any() and ends[0] < ends[1]


def test_kinks_take_the_documented_side(backend):
    zero = backend.asarray(np.array([0.0, -0.0]))
    one = backend.xp.ones_like(zero)
    slopes = {"relu": 0.0, "relu6": 0.0, "leaky_relu": 0.01, "elu": 1.0, "celu": 1.0, "selu": 1.0507009873554805 * 1.6732632423543772}
    for name, slope in slopes.items():
        np.testing.assert_allclose(backend.to_numpy(getattr(functions, name).vjp(zero)[1](one)), slope, rtol=1e-15)
    for f, x, slope in (
        (functions.relu6, 6.0, 0.0), (functions.hard_tanh, 1.0, 0.0), (functions.hard_tanh, -1.0, 0.0), (functions.softsign, 0.0, 1.0),
        (functions.hard_sigmoid, 3.0, 0.0), (functions.hard_sigmoid, -3.0, 0.0), (functions.hard_silu, 3.0, 1.0), (functions.hard_silu, -3.0, 0.0),
    ):  # fmt: skip
        assert float(ann.grad(f)(backend.asarray(np.array(x)))) == slope


@pytest.mark.parametrize(
    ("name", "derivatives"),
    [
        ("sigmoid", [0.25, 0.0, -0.125]),
        ("softplus", [0.5, 0.25, 0.0, -0.125]),
        ("log_sigmoid", [0.5, -0.25, 0.0, 0.125]),
        ("silu", [0.5, 0.5, 0.0, -0.5]),
        ("tanh", [1.0, 0.0, -2.0]),
        ("mish", [0.6, 0.64, -0.096]),
        ("gelu", [0.5, 2 / math.sqrt(2 * math.pi), 0.0, -4 / math.sqrt(2 * math.pi)]),
        ("sigmoid squared", [0.25, 0.125, -0.125]),
        ("softplus squared", [math.log(2), 0.5 + 0.5 * math.log(2), 0.75]),
    ],
)
def test_smooth_activations_have_all_derivatives_at_zero(name, derivatives, backend):
    """A form with |x| or max is right to first order only, unless the derivative is written by hand."""
    one, _, squared = name.partition(" ")
    one = getattr(functions, one)
    f = (lambda x: one(x) * one(x)) if squared else one
    x = backend.asarray(np.array(0.0))
    for derivative in derivatives:
        f = ann.grad(f)
        assert abs(float(f(x)) - derivative) < 1e-13


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_tanh_form_of_gelu_does_not_overflow(dtype, backend):
    x = backend.asarray(np.array(HUGE[1:-1], dtype=dtype))
    y, pull = functions.gelu.vjp(x, approximate="tanh")
    np.testing.assert_array_equal(backend.to_numpy(y), np.maximum(np.array(HUGE[1:-1], dtype=dtype), 0))
    np.testing.assert_array_equal(backend.to_numpy(pull(backend.xp.ones_like(x))), [0, 0, 0, 1, 1, 1])


def test_gelu_forms_differ_by_less_than_5e_4(backend):
    x = backend.asarray(np.linspace(-8, 8, 401))
    gap = np.abs(backend.to_numpy(functions.gelu(x)) - backend.to_numpy(functions.gelu(x, approximate="tanh")))
    assert 4e-4 < gap.max() < 5e-4
    with pytest.raises(ValueError, match="approximate"):
        functions.gelu(x, approximate="sigmoid")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_softmax_rows_sum_to_one(dtype, backend):
    eps = np.finfo(dtype).eps
    for scale in (1.0, 1e4, 1e30):
        x = backend.asarray((rng.normal(size=(5, 7)) * scale).astype(dtype))
        assert abs(backend.to_numpy(functions.softmax(x)).sum(axis=-1) - 1).max() <= 4 * eps


def test_softmax_is_exact_for_large_gaps_and_does_not_clip(backend):
    y = backend.to_numpy(functions.softmax(backend.asarray([[50.0, 30.0], [0.0, -500.0]], dtype="float64")))
    np.testing.assert_allclose(y, [[1 / (1 + math.exp(-20)), math.exp(-20) / (1 + math.exp(-20))], [1.0, math.exp(-500)]], rtol=1e-14)


def test_log_softmax_is_finite_where_softmax_is_zero(backend):
    y = backend.to_numpy(functions.log_softmax(backend.asarray([[0.0, 1000.0], [-1e30, 1e30]], dtype="float64")))
    np.testing.assert_array_equal(y, [[-1000.0, 0.0], [-2e30, 0.0]])


def test_activation_finds_names_and_suggests_the_nearest():
    assert functions.activation(None) is functions.activation("linear") is functions.identity
    assert functions.activation("relu") is functions.relu and functions.activation(math.tanh) is math.tanh
    with pytest.raises(ValueError, match='Did you mean "relu"'):
        functions.activation("rleu")


# ----------------------------------------------------------------------------------------------------------- linear maps


def test_linear_says_which_sizes_disagree(backend):
    x, w = backend.asarray(np.ones((2, 3))), backend.asarray(np.ones((4, 64)))
    with pytest.raises(ValueError, match=r"linear: x has 3 features, w \(4, 64\) takes 4"):
        functions.linear(x, w)
    with pytest.raises(ValueError, match=r"wanted: x \(..., d\), w \(d, k\), b \(k,\)"):
        functions.linear(backend.asarray(np.ones((2, 4))), w, backend.asarray(np.ones(4)))
    with pytest.raises(ValueError, match="wanted"):
        functions.linear(backend.asarray(np.ones((2, 4))), backend.asarray(np.ones(4)))


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4), (0, 0, 4)])
def test_empty_batches_give_empty_outputs_and_zero_gradients(shape, backend):
    x, w, b = (backend.asarray(a) for a in (np.ones(shape), np.ones((4, 3)), np.ones(3)))
    y, pull = functions.linear.vjp(x, w, b)
    dx, dw, db = pull(y)
    assert y.shape == (*shape[:-1], 3) and dx.shape == shape
    assert not backend.to_numpy(dw).any() and dw.shape == (4, 3) and not backend.to_numpy(db).any()
    y, pull = functions.embedding.vjp(w, backend.asarray(np.zeros(shape[:-1], dtype="int64")))
    assert y.shape == (*shape[:-1], 3) and not backend.to_numpy(pull(y)[0]).any()
    assert functions.flatten(backend.asarray(np.ones((0, 2, 3)))).shape == (0, 6)
    assert functions.flatten(backend.asarray(np.ones((3, 0, 2)))).shape == (3, 0)


def test_no_features_are_a_sum_of_nothing(backend):
    x, w = backend.asarray(np.ones((2, 3, 0))), backend.asarray(np.ones((0, 5)))
    y, pull = functions.linear.vjp(x, w)
    assert not backend.to_numpy(y).any() and y.shape == (2, 3, 5)
    assert [g.shape for g in pull(y)] == [(2, 3, 0), (0, 5)]


def test_bilinear_says_which_sizes_disagree(backend):
    a = lambda *shape: backend.asarray(np.ones(shape))  # noqa: E731
    for x, u, w in ((a(2, 3), a(2, 4), a(3, 5, 6)), (a(2, 3), a(3, 4), a(3, 4, 6)), (a(2, 3), a(2, 4), a(3, 4))):
        with pytest.raises(ValueError, match=r"bilinear: x \(2, 3\).*wanted: x \(..., d\), u \(..., e\), w \(d, e, k\)"):
            functions.bilinear(x, u, w)
    assert functions.bilinear(a(0, 3), a(0, 4), a(3, 4, 6)).shape == (0, 6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_unit_normalization_neither_overflows_nor_divides_by_zero(dtype, backend):
    big = np.finfo(dtype).max / 4
    x = backend.asarray(np.array([[big, -big], [0.0, 0.0], [1e-30, 0.0]], dtype=dtype))
    y, pull = functions.unit_normalization.vjp(x)
    np.testing.assert_allclose(backend.to_numpy(y), [[0.5**0.5, -(0.5**0.5)], [0, 0], [1, 0]], rtol=1e-6)
    dx = backend.to_numpy(pull(backend.xp.ones_like(y)))
    assert np.isfinite(dx).all() and not dx[1].any()


def test_embedding_adds_the_gradients_of_equal_indices(backend):
    w, i = backend.asarray(np.arange(8.0).reshape(4, 2)), backend.asarray(np.array([[1, 1, 3]]))
    y, pull = functions.embedding.vjp(w, i)
    np.testing.assert_array_equal(backend.to_numpy(y), [[[2, 3], [2, 3], [6, 7]]])
    np.testing.assert_array_equal(backend.to_numpy(pull(backend.xp.ones_like(y))[0]), [[0, 0], [2, 2], [0, 0], [1, 1]])
    assert functions.embedding(w, backend.asarray(np.array(2))).shape == (2,)
    with pytest.raises(TypeError, match="integers"):
        functions.embedding(w, backend.asarray(np.array([1.0])))


def test_dropout_of_rate_one_gives_zeros_and_of_rate_zero_nothing(backend):
    x, mask = backend.asarray(np.array([1.0, -2.0])), backend.asarray(np.array([True, False]))
    np.testing.assert_array_equal(backend.to_numpy(functions.dropout(x, mask, rate=1.0)), [0, 0])
    np.testing.assert_array_equal(backend.to_numpy(functions.dropout(x, mask, rate=0.75)), [4, 0])
    with pytest.raises(ValueError, match="from 0 to 1"):
        functions.dropout(x, mask, rate=1.5)
    with pytest.raises(ValueError, match="must agree"):
        functions.dropout(x, mask[:1], rate=0.5)


# ----------------------------------------------------------------------------------------------- convolution and pooling

SPACE = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}
SIZE = {1: (3,), 2: (3, 2), 3: (2, 1, 3)}
PADDINGS = ("valid", 1, "pairs")
# an orthogonal array: each pair of settings meets, in a third of the cases
MATRIX = [
    (rank, stride, PADDINGS[j], dilation, (1, 2, 4)[k])
    for rank, stride, j, dilation, k in itertools.product((1, 2, 3), (1, 2, 3), range(3), (1, 2), range(3))
    if (stride + j + k) % 3 == 0 and (rank < 3 or dilation == 1 + j % 2)
]


@pytest.mark.parametrize(("rank", "stride", "padding", "dilation", "groups"), MATRIX)
def test_convolution_is_that_of_torch(rank, stride, padding, dilation, groups, backend):
    torch = pytest.importorskip("torch")
    pads = {"valid": ((0, 0),) * rank, 1: ((1, 1),) * rank, "pairs": ((2, 1), (0, 3), (1, 0))[:rank]}[padding]
    filters = 4 if rank == 2 else 8
    x, w, b = rng.normal(size=(2, *SPACE[rank], 4)), rng.normal(size=(*SIZE[rank], 4 // groups, filters)), rng.normal(size=filters)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    padded = torch.nn.functional.pad(tensors[0].movedim(-1, 1), [n for pair in reversed(pads) for n in pair])
    conv = getattr(torch.nn.functional, f"conv{rank}d")
    truth = conv(padded, tensors[1].movedim((-1, -2), (0, 1)), tensors[2], stride=stride, dilation=dilation, groups=groups).movedim(1, -1)

    def both(x, w, b, dy):
        y, pull = functions.conv.vjp(
            x, w, b, strides=stride, padding=padding if padding != "pairs" else pads, dilations=dilation, groups=groups
        )
        return y, pull(dy)

    dy = rng.normal(size=tuple(truth.shape))
    truth.backward(torch.tensor(dy))
    y, gradients = compiled(backend, both)(*map(backend.asarray, (x, w, b, dy)))
    np.testing.assert_allclose(backend.to_numpy(y), truth.detach().numpy(), rtol=1e-11, atol=1e-12)
    for ours, theirs in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(backend.to_numpy(ours), theirs.grad.numpy(), rtol=1e-11, atol=1e-12)


def test_same_padding_puts_the_odd_zero_at_the_end(backend):
    """As Keras; symmetric padding would give [210, 432]."""
    x = backend.asarray(np.arange(1.0, 5.0).reshape(1, 4, 1))
    w = backend.asarray(np.array([1.0, 10.0, 100.0]).reshape(3, 1, 1))
    y = functions.conv(x, w, strides=2, padding="same")
    np.testing.assert_array_equal(backend.to_numpy(y).ravel(), [321, 43])


def test_same_padding_gives_as_many_windows_as_strides_fit():
    for size, length, stride, dilation in itertools.product((1, 2, 3, 5), (1, 4, 7), (1, 2, 3), (1, 2)):
        x, w = np.ones((1, length, 1)), np.ones((size, 1, 1))
        assert functions.conv(x, w, strides=stride, padding="same", dilations=dilation).shape == (1, -(-length // stride), 1)


def test_empty_batches_convolve_and_pool(backend):
    x, w = backend.asarray(np.ones((0, 5, 5, 2))), backend.asarray(np.ones((3, 3, 2, 4)))
    y, pull = functions.conv.vjp(x, w)
    dx, dw = pull(y)
    assert y.shape == (0, 3, 3, 4) and dx.shape == x.shape and not backend.to_numpy(dw).any()
    for pool in (functions.max_pool, functions.average_pool):
        y, pull = pool.vjp(x, size=2)
        assert y.shape == (0, 2, 2, 2) and pull(y).shape == x.shape


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (r"conv: x \(1, 5, 5, 3\), w \(3, 3, 2, 4\)", lambda a: functions.conv(a(1, 5, 5, 3), a(3, 3, 2, 4))),
        (r"2 groups; wanted", lambda a: functions.conv(a(1, 5, 5, 4), a(3, 3, 2, 3), groups=2)),
        ("the window spans 5", lambda a: functions.conv(a(1, 4, 4, 1), a(3, 3, 1, 1), dilations=2)),
        ("strides is a positive integer or a tuple of 2", lambda a: functions.conv(a(1, 4, 4, 1), a(3, 3, 1, 1), strides=(1, 2, 3))),
        ('padding is "valid", "same"', lambda a: functions.conv(a(1, 4, 4, 1), a(3, 3, 1, 1), padding="full")),
        ("non-negative integers", lambda a: functions.conv(a(1, 4, 4, 1), a(3, 3, 1, 1), padding=-1)),
        (r"conv2d: w has shape \(3, 1, 1\)", lambda a: functions.conv2d(a(1, 4, 4, 1), a(3, 1, 1))),
        ("not smaller than the window", lambda a: functions.max_pool(a(1, 4, 4, 1), size=2, padding=2)),
        (r"max_pool: x has shape \(4, 4\)", lambda a: functions.max_pool(a(4, 4), size=2)),
        ("has no examples", lambda a: functions.batch_normalization(a(0, 3))),
        ("x has 3 features|has 3 features", lambda a: functions.layer_normalization(a(2, 3), a(4))),
    ],
)
def test_wrong_shapes_are_refused_with_what_was_wanted(message, call):
    with pytest.raises(ValueError, match=message):
        call(lambda *shape: np.ones(shape))


POOLS = [case for case in itertools.product((1, 2, 3), (2, 3), (1, 2, 3), (0, 1)) if sum(case) % 2]


@pytest.mark.parametrize(("rank", "size", "stride", "padding"), POOLS)
def test_pooling_is_that_of_torch(rank, size, stride, padding, backend):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x = rng.permutation(2.0 * math.prod(SPACE[rank]) * 3 + np.arange(math.prod((2, *SPACE[rank], 3)))).reshape(2, *SPACE[rank], 3) / 100 - 3
    for ours, theirs in (
        (functions.max_pool, lambda t: getattr(F, f"max_pool{rank}d")(t, size, stride, padding)),
        (functions.average_pool, lambda t: getattr(F, f"avg_pool{rank}d")(t, size, stride, padding, count_include_pad=False)),
    ):
        t = torch.tensor(x, requires_grad=True)
        truth = theirs(t.movedim(-1, 1)).movedim(1, -1)

        def both(x, dy, ours=ours):
            y, pull = ours.vjp(x, size=size, strides=stride, padding=padding)
            return y, pull(dy)

        dy = rng.normal(size=tuple(truth.shape))
        truth.backward(torch.tensor(dy))
        y, dx = compiled(backend, both)(backend.asarray(x), backend.asarray(dy))
        np.testing.assert_allclose(backend.to_numpy(y), truth.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(backend.to_numpy(dx), t.grad.numpy(), rtol=1e-11, atol=1e-13)


def test_max_pooling_takes_the_first_of_equal_maxima(backend):
    x = backend.asarray(np.zeros((1, 2, 2, 1)))
    y, pull = functions.max_pool.vjp(x, size=2)
    np.testing.assert_array_equal(backend.to_numpy(pull(backend.xp.ones_like(y))).ravel(), [1, 0, 0, 0])


def test_padding_never_wins_a_maximum_and_does_not_count_in_an_average(backend):
    x = backend.asarray(-np.ones((1, 3, 3, 1)))
    for pool in (functions.max_pool, functions.average_pool):
        np.testing.assert_array_equal(backend.to_numpy(pool(x, size=3, strides=2, padding="same")), -np.ones((1, 2, 2, 1)))


# --------------------------------------------------------------------------------------------------------- normalization


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e4])
@pytest.mark.parametrize("name", ["layer_normalization", "batch_normalization"])
def test_variance_survives_a_large_mean_in_float32(name, mean, backend):
    """E[x²] − E[x]² would be off by 12 at 1e3 and negative at 1e4."""
    x32 = (rng.normal(size=(64, 64)) + mean).astype("float32")
    axis = -1 if name == "layer_normalization" else 0
    wide = x32.astype("float64")
    truth = (wide - wide.mean(axis, keepdims=True)) / np.sqrt(wide.var(axis, keepdims=True) + 1e-5)
    y = getattr(functions, name)(backend.asarray(x32))
    y = y[0] if isinstance(y, tuple) else y
    np.testing.assert_allclose(backend.to_numpy(y), truth, atol=5e-6)


def test_constant_rows_normalize_to_zero_with_a_finite_gradient(backend):
    x = backend.asarray(np.full((3, 4), 7.0, dtype="float32"))
    for f in (functions.layer_normalization, lambda x: functions.batch_normalization(x)[0]):
        y, pull = ann.vjp(f, x)
        assert not backend.to_numpy(y).any() and np.isfinite(backend.to_numpy(pull(backend.xp.ones_like(y)))).all()


def test_inference_with_the_batch_statistics_is_the_training_form(backend):
    x, w, b = (backend.asarray(rng.normal(size=s)) for s in ((5, 2, 3), (3,), (3,)))
    y, mean, variance = functions.batch_normalization(x, w, b)
    again = functions.batch_normalization_inference(x, w, b, mean, variance)
    np.testing.assert_allclose(backend.to_numpy(again), backend.to_numpy(y), rtol=1e-12, atol=1e-14)
