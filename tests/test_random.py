"""Random numbers: Philox against Random123, the same bits on every backend, statistics, independence, resume."""

import hashlib
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backends
from backends.gaps import bits
from backends.gaps.bits import random_bits
from backends.stream import Stream

HOST = np.zeros((), "float32")

# Random123, kat_vectors, philox4x32 10: counter, key, result
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def slow_philox(counter: tuple, key: tuple) -> tuple:
    """The definition of Salmon et al. 2011, in Python integers."""
    a, b, c, d = counter
    k, j = key
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (q >> 32) ^ b ^ k, q & 0xFFFFFFFF, (p >> 32) ^ d ^ j, p & 0xFFFFFFFF
        k, j = (k + 0x9E3779B9) & 0xFFFFFFFF, (j + 0xBB67AE85) & 0xFFFFFFFF
    return a, b, c, d


def slow_key(seed: int, *path: str) -> tuple:
    text = b"".join(len(p.encode()).to_bytes(8, "little") + p.encode() for p in (str(seed), *path))
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


@pytest.mark.parametrize(("counter", "key", "want"), KNOWN_ANSWERS)
def test_philox_gives_random123s_known_answers(backend, counter, key, want):
    assert slow_philox(counter, key) == want
    dtype = backend.xp.int64 if backend.library.name == "torch" else backend.xp.uint32

    def word(value):
        return backend.xp.full((1,), value, dtype=dtype, device=backend.device)

    y = bits.philox(tuple(map(word, counter)), key, word)
    assert tuple(int(c[0]) for c in y) == want


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 1001])
@pytest.mark.parametrize(("step", "draw"), [(0, 0), (7, 2), (2**32 - 1, 2**32 - 1)])
def test_bits_are_the_words_of_the_counter(backend, count, step, draw):
    key = (0xDEADBEEF, 0xFFFFFFFF)
    y = backend.to_numpy(random_bits(step, backend.asarray(HOST), key=key, draw=draw, count=count))
    want = [w for i in range(-(-count // 4)) for w in slow_philox((i, 0, step, draw), key)][:count]
    assert y.tolist() == want


def test_native_bits_equal_portable_bits_across_blocks(backend):
    count = 4 * 8192 * 2 + 13
    y = random_bits(5, backend.asarray(HOST), key=(1, 2), draw=3, count=count)
    np.testing.assert_array_equal(backend.to_numpy(y), random_bits.portable(5, HOST, key=(1, 2), draw=3, count=count))


def test_first_numbers_of_a_stream_follow_from_the_definition(backend):
    words = [w for i in range(2) for w in slow_philox((i, 0, 3, 1), slow_key(42, "train", "dropout"))]
    s = Stream(42)["train"]["dropout"].at(3, draw=1)
    like = backend.asarray(HOST)
    assert backend.to_numpy(s.bits(8, like=like)).tolist() == words
    assert backend.to_numpy(s.uniform((8,), like=like)).tolist() == [(w >> 8) / 2**24 for w in words]
    assert backend.to_numpy(s.uniform((4,), like=like, dtype="float64")).tolist() == [
        ((words[2 * i] << 32 | words[2 * i + 1]) >> 11) / 2**53 for i in range(4)
    ]
    assert backend.to_numpy(s.integers(-3, 7, (2, 4), like=like)).ravel().tolist() == [
        -3 + (w * 10 >> 32) for w in words
    ]
    assert backend.to_numpy(s.bernoulli(0.3, (8,), like=like)).tolist() == [w < round(0.3 * 2**32) for w in words]
    z = [
        math.sqrt(-2 * math.log((words[i] + 0.5) / 2**32)) * f(2 * math.pi * (words[i + 1] >> 8) / 2**24)
        for i in (0, 2)
        for f in (math.cos, math.sin)
    ]
    np.testing.assert_allclose(backend.to_numpy(s.normal((4,), like=like)), z, rtol=2e-5, atol=2e-6)
    order = [i for _, i in sorted((words[2 * i] << 32 | words[2 * i + 1], i) for i in range(4))]
    assert s.permutation(4).tolist() == order


def test_numbers_are_the_same_on_every_backend(backend):
    s = Stream(2**70 + 3)["a"].at(9)
    for make in (
        lambda like: s.uniform((33, 5), like=like),
        lambda like: s.uniform((33, 5), like=like, dtype="float64"),
        lambda like: s.integers(10, 10**9, (50,), like=like),
        lambda like: s.integers(0, 2**32, (50,), like=like),
        lambda like: s.bernoulli(0.1, (999,), like=like),
        lambda like: s.permutation(100, like=like),
    ):
        np.testing.assert_array_equal(backend.to_numpy(make(backend)), np.asarray(make(None)))
    for dtype, tolerance in (("float32", 5e-6), ("float64", 1e-13)):
        y = s.normal((101,), 2.0, 3.0, like=backend, dtype=dtype)
        assert y.dtype == backend.library.dtype(dtype)
        np.testing.assert_allclose(
            backend.to_numpy(y), s.normal((101,), 2.0, 3.0, dtype=dtype), rtol=tolerance, atol=tolerance
        )
        u = s.uniform((101,), -2.0, 5.0, like=backend, dtype=dtype)
        np.testing.assert_allclose(
            backend.to_numpy(u), s.uniform((101,), -2.0, 5.0, dtype=dtype), rtol=tolerance, atol=tolerance
        )


def test_like_decides_library_device_and_dtype(backend):
    for dtype in ("float32", "float64"):
        like = backend.asarray(np.ones(2, dtype))
        for y in (Stream(0).uniform((2, 3), like=like), Stream(0).normal((2, 3), like=like)):
            assert y.dtype == like.dtype and backends.of(y) == backends.of(like) and tuple(y.shape) == (2, 3)
    assert Stream(0).uniform((2,), like=backend.asarray(np.arange(3))).dtype == backend.library.dtype("float32")
    assert backends.of(Stream(0).bernoulli(0.5, (2,), like=backend)).name == backend.name
    assert Stream(0).normal(()).shape == () and Stream(0).normal((0, 2), like=backend).shape == (0, 2)
    assert type(Stream(0).uniform((2,))) is np.ndarray and Stream(0).uniform(2).dtype == np.float32


def test_a_step_may_be_an_array(backend):
    step = backend.asarray(np.array(12))
    s = Stream(1)["x"]
    y = s.at(step).uniform((9,), like=backend)
    np.testing.assert_array_equal(backend.to_numpy(y), s.at(12).uniform((9,)))
    assert backends.of(s.at(step)["child"].uniform((2,))).name == backend.name  # like=None: where the step is
    np.testing.assert_array_equal(s.at(step).permutation(6), s.at(12).permutation(6))


def test_a_step_is_an_input_under_jax_jit():
    jax = pytest.importorskip("jax")
    be = backends.get("jax")
    traces = []

    @jax.jit
    def draw(x, i):
        traces.append(1)
        s = Stream(5)["drop"].at(i)
        return (
            s.bernoulli(0.5, x.shape, like=x),
            s["n"].normal(x.shape, like=x),
            s.uniform(x.shape),
            random_bits.portable(i, x, key=(1, 2), draw=0, count=7),
        )

    x = be.asarray(np.zeros((4, 5), "float32"))
    for i in (0, 1, 77):
        mask, noise, u, words = draw(x, be.asarray(np.array(i, "int32")))
        s = Stream(5)["drop"].at(i)
        np.testing.assert_array_equal(mask, s.bernoulli(0.5, (4, 5)))
        np.testing.assert_array_equal(u, s.uniform((4, 5)))
        np.testing.assert_array_equal(words, random_bits(i, HOST, key=(1, 2), draw=0, count=7))
        np.testing.assert_allclose(noise, s["n"].normal((4, 5)), rtol=5e-6, atol=5e-6)
    assert len(traces) == 1


def test_nothing_advances_and_children_do_not_depend_on_each_other():
    root = Stream(3)
    first = root["a"].at(1).uniform((5,))
    root["b"].at(1).uniform((100,))
    np.testing.assert_array_equal(root["a"].at(1).uniform((5,)), first)
    np.testing.assert_array_equal(root["a"].at(1).uniform((3,)), first[:3])
    places = [
        root,
        root["a"],
        root["b"],
        root["a"]["b"],
        root["ab"],
        root["a"].at(1),
        root["a"].at(0, draw=1),
        Stream(4),
        Stream(4)["a"],
        root[""],
    ]
    assert len({tuple(place.bits(4)) for place in places}) == len(places)
    u = np.stack(
        [Stream(0)[f"layer{i}"].uniform((20000,)) for i in range(6)]
        + [Stream(0).at(i).uniform((20000,)) for i in range(6)]
    )
    assert np.abs(np.corrcoef(u) - np.eye(12)).max() < 0.03  # 4.2 standard deviations


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments(dtype):
    n = 200_000
    s = Stream(7)["moments"]
    u = s.uniform((n,), dtype=dtype).astype(float)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 4 * math.sqrt(1 / 12 / n) and abs(u.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / n)
    z = s["z"].normal((n,), 1.0, 2.0, dtype=dtype).astype(float) / 2 - 0.5
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 4 * math.sqrt(variance / n)
    assert abs((z[0::2] * z[1::2]).mean()) < 4 / math.sqrt(n / 2)
    assert abs((np.abs(z) < 1).mean() - math.erf(math.sqrt(0.5))) < 4 * math.sqrt(0.22 / n)
    k = np.bincount(s["k"].integers(0, 10, (n,)), minlength=10)
    assert ((k - n / 10) ** 2 / (n / 10)).sum() < 30  # χ², 9 degrees of freedom: p = 4e-4
    for p in (0.0, 0.25, 1.0):
        assert abs(s["b"].bernoulli(p, (n,)).mean() - p) <= 4 * math.sqrt(p * (1 - p) / n)


def test_normals_of_extreme_words_are_finite(monkeypatch):
    for word in (0, 1, 0xFFFFFFFF):
        monkeypatch.setattr(Stream, "bits", lambda self, n, like=None, word=word: np.full((n,), word, np.uint32))
        for dtype in ("float32", "float64"):
            y = Stream(0).normal((8,), dtype=dtype)
            assert np.isfinite(y).all() and np.abs(y).max() < 8.8
        assert 0 <= Stream(0).integers(0, 7, ()) < 7
        assert Stream(0).bernoulli(1.0, ()) and not Stream(0).bernoulli(0.0, ())


def test_permutations_are_permutations_and_uniform():
    assert sorted(Stream(0).permutation(1000)) == list(range(1000))
    assert Stream(0).permutation(0).shape == (0,) and Stream(0).permutation(1).tolist() == [0]
    seen = [tuple(Stream(0).at(i).permutation(3)) for i in range(1200)]
    counts = [seen.count(order) for order in set(seen)]
    assert len(counts) == 6 and sum((c - 200) ** 2 / 200 for c in counts) < 20.5  # χ², 5 degrees: p = 1e-3


def test_a_stream_is_a_small_value():
    s = Stream(10**30)["a"].at(4, draw=2)
    assert Stream.from_state(json.loads(json.dumps(s.state))) == s == pickle.loads(pickle.dumps(s))
    assert hash(s) == hash(Stream(10**30)["a"].at(4, 2)) and s != s.at(5) and s != Stream(10**30)
    assert Stream(np.int64(3)) == Stream(3) and repr(s["b"]).endswith("['a']['b'].at(4, draw=2)")
    with pytest.raises(AttributeError, match="does not change"):
        s.seed = 1


@pytest.mark.parametrize(
    ("make", "error"),
    [(lambda: Stream(-1), ValueError), (lambda: Stream(1.5), TypeError), (lambda: Stream(None), TypeError),
     (lambda: Stream(True), TypeError),
     (lambda: Stream("1"), TypeError), (lambda: Stream(0)[3], TypeError), (lambda: Stream(0).at(-1), ValueError),
     (lambda: Stream(0).at(2**32), ValueError),
     (lambda: Stream(0).at(0.5), TypeError), (lambda: Stream(0).at(np.arange(2)), (TypeError, ValueError)),
     (lambda: Stream(0).at(0, draw=-1), ValueError),
     (lambda: Stream(0).bernoulli(1.1, (2,)), ValueError), (lambda: Stream(0).bernoulli(math.nan, (2,)), ValueError),
     (lambda: Stream(0).integers(3, 3, (2,)), ValueError), (lambda: Stream(0).integers(0, 2**33, (2,)), ValueError)],
)  # fmt: skip
def test_bad_addresses_and_parameters_are_refused(make, error):
    with pytest.raises(error):
        make()


def test_jax_without_64_bit_types_gives_the_same_float32_numbers():
    pytest.importorskip("jax")
    program = """
import warnings; warnings.simplefilter("error")
import numpy as np, backends
from backends import gaps
from backends.stream import Stream
be, s = backends.get("jax"), Stream(6)["x"].at(2)
assert be.xp.asarray(0).dtype == "int32"
for make, *args in ((s.uniform,), (s.integers, -5, 9), (s.bernoulli, 0.5)):
    np.testing.assert_array_equal(be.to_numpy(make(*args, shape=(9,), like=be)), make(*args, shape=(9,)))
np.testing.assert_allclose(be.to_numpy(s.normal((9,), like=be)), s.normal((9,)), rtol=1e-5, atol=1e-6)
u, i = np.linspace(-2, 3, 24, dtype="float32").reshape(12, 2), np.arange(12) % 5
for f in (gaps.scatter_add, gaps.scatter_add.portable):
    y = be.to_numpy(f(be.asarray(u), be.asarray(i), length=6))
    np.testing.assert_allclose(y, gaps.scatter_add(u, i, length=6), rtol=1e-5, atol=1e-6)
for f in (gaps.erf, gaps.erfc, gaps.lgamma, gaps.digamma, gaps.trigamma):
    np.testing.assert_allclose(be.to_numpy(f(be.asarray(u))), f(u), rtol=1e-5, atol=1e-5)
"""
    environment = {**os.environ, "JAX_ENABLE_X64": "0", "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root, env=environment, timeout=300)


def test_keys_that_are_equal_keep_the_order_of_a_stable_sort(monkeypatch):
    """Two of 64 bits are seldom so; the order is the same on every machine all the same."""
    monkeypatch.setattr(Stream, "bits", lambda self, n: (np.arange(n) // 2 % 5 * 2).astype("uint32"))
    np.testing.assert_array_equal(Stream(0).permutation(400), np.argsort(np.arange(400) % 5, kind="stable"))
