"""Data sets: the shipped digits are the real ones, the split is fixed, the generators are reproducible."""

import numpy as np
import pytest

import ann


def test_digits_have_their_shapes_ranges_and_a_stratified_split():
    (x, y), (x_test, y_test) = ann.datasets.digits()
    assert x.shape == (1437, 8, 8, 1) and x_test.shape == (360, 8, 8, 1) and y.shape == (1437,) and y_test.shape == (360,)
    assert x.dtype == x_test.dtype == np.float32 and y.dtype == np.int64
    assert x.min() == 0 and x.max() == 1
    counts, held_out = np.bincount(np.concatenate([y, y_test])), np.bincount(y_test)
    assert np.abs(held_out - counts / 5).max() < 1


def test_digits_are_fresh_arrays_each_time():
    first = ann.datasets.digits()[0][0]
    first[:] = 0
    assert ann.datasets.digits()[0][0].max() == 1


def test_digits_are_the_images_of_the_uci_repository():
    load_digits = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_digits
    bunch = load_digits()
    theirs = sorted(zip(map(bytes, bunch.images.astype("uint8").reshape(1797, 64)), bunch.target.tolist(), strict=True))
    (x, y), (x_test, y_test) = ann.datasets.digits()
    images = np.rint(np.concatenate([x, x_test]) * 16).astype("uint8").reshape(1797, 64)
    assert sorted(zip(map(bytes, images), np.concatenate([y, y_test]).tolist(), strict=True)) == theirs


@pytest.mark.parametrize("make", [ann.datasets.moons, ann.datasets.spirals])
def test_generated_problems_are_reproducible_and_balanced(make):
    (x, y), (again, _), (other, _) = make(120, seed=3), make(120, seed=3), make(120, seed=4)
    assert np.array_equal(x, again) and not np.array_equal(x, other)
    assert x.shape == (120, 2) and x.dtype == np.float32 and len(set(np.bincount(y))) == 1


def test_a_small_net_learns_xor(backend):
    x, y = ann.datasets.xor()
    m = ann.Model([ann.Dense(8, "tanh"), ann.Dense(1)], backend=backend, seed=0)
    m.compile(ann.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    m.fit(x, y, epochs=100, verbose=0)
    assert m.evaluate(x, y).accuracy == 1.0
