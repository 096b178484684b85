"""Data of every kind reach the model: the same rows give the same training, wherever they come from."""

import itertools
import threading
import traceback

import numpy as np
import pytest

import ann
from backends import tree

RNG = np.random.default_rng(0)
N = 50
Y = np.arange(N) % 3
X = (RNG.normal(size=(N, 4)) + 2.0 * np.eye(3, 4)[Y]).astype("float32")
W = RNG.uniform(0.5, 2, size=N).astype("float32")


def model(backend=None):
    m = ann.Model([ann.Dense(6, "relu"), ann.Dense(3)], backend=backend, seed=0)
    m.compile(ann.Adam(1e-2), "categorical_crossentropy", metrics=["accuracy"])
    return m


def batches(size=16):
    return [(X[i : i + size], Y[i : i + size]) for i in range(0, N, size)]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "ann: next batches"]


def endless():
    while True:
        yield from batches()


class Anew:
    """Begins anew each time it is asked."""

    def __iter__(self):
        return iter(batches())


class Numbered:
    """Keras's Sequence: batches by number."""

    def __len__(self):
        return len(batches())

    def __getitem__(self, i):
        if not 0 <= i < len(self):
            raise AssertionError("asked beyond its length")
        return batches()[i]


class OnDisk:
    """A data set that is sliced, as those of HDF5 and zarr; it counts the rows that are read at once."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.most = values, values.shape, values.dtype, 0

    def __len__(self):
        return len(self.values)

    def __getitem__(self, key):
        found = self.values[key]
        if not isinstance(key, slice):
            assert np.all(np.diff(key) > 0)  # what HDF5 insists on
        self.most = max(self.most, len(found))
        return found


def on_disk(tmp_path, values, name):
    held = np.memmap(tmp_path / name, dtype=values.dtype, mode="w+", shape=values.shape)
    held[:] = values
    held.flush()
    return np.memmap(tmp_path / name, dtype=values.dtype, mode="r", shape=values.shape)


def test_files_on_the_disk_train_as_arrays_do(backend, tmp_path):
    x, y = on_disk(tmp_path, X, "x"), on_disk(tmp_path, Y, "y")
    options = {"epochs": 2, "batch_size": 10, "validation_split": 0.2, "sample_weight": W, "class_weight": {0: 1.0, 1: 2.0, 2: 1.0}, "verbose": 0}
    expected = model(backend)
    h = expected.fit(X, Y, **options)
    m = model(backend)
    assert m.fit(x, y, **options).history == h.history
    assert m.evaluate(x, y, batch_size=10) == expected.evaluate(X, Y, batch_size=10)
    p = m.predict(x, batch_size=10)
    assert isinstance(p, np.ndarray) and np.array_equal(p, expected.predict(X, batch_size=10))
    assert m.predict(x[:0]).shape == (0, 3) and not threads()


def test_no_more_than_a_batch_is_read_at_once():
    x, y = OnDisk(X), OnDisk(Y)
    m = model()
    m.fit(x, y, batch_size=8, epochs=2, validation_data=(x, y), verbose=0)
    m.evaluate(x, y, batch_size=8)
    assert m.predict(x, batch_size=8).shape == (N, 3)
    assert x.most == y.most == 8


def test_bad_rows_on_the_disk_are_found_when_they_are_read():
    bad = X.copy()
    bad[30, 2] = np.nan
    with pytest.raises(ValueError, match="x has 1 value that is not finite"):
        model().fit(OnDisk(bad), Y, batch_size=8, verbose=0)
    with pytest.raises(ValueError, match="labels 0…7 for 3 outputs"):
        model().fit(X, OnDisk(np.where(np.arange(N) == 30, 7, Y)), batch_size=64, verbose=0)
    assert not threads()


def test_iterables_of_batches_train_as_arrays_do(backend):
    trains_as_arrays_do(Anew(), backend)


@pytest.mark.parametrize("source", [Numbered(), batches()], ids=["numbered", "list"])
def test_iterables_of_all_kinds_train_as_arrays_do(source):
    trains_as_arrays_do(source, "numpy")
    assert model().fit(OnDisk(X), Y.tolist(), verbose=0).history == model().fit(X, Y, verbose=0).history


def trains_as_arrays_do(source, backend):
    expected = model(backend)
    h = expected.fit(X, Y, epochs=2, batch_size=16, shuffle=False, validation_data=(X, Y), verbose=0)
    m = model(backend)
    found = m.fit(source, epochs=2, validation_data=source, verbose=0)
    np.testing.assert_allclose([found[key] for key in h.history], list(h.history.values()), rtol=1e-6)
    assert found["loss"] == h["loss"]
    assert m.evaluate(source)[1] == expected.evaluate(X, Y)[1]
    if not isinstance(source, list):
        assert isinstance(m.predict(source), np.ndarray)
        np.testing.assert_allclose(m.predict(source), expected.predict(X), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(m.predict(x for x, _ in batches()), m.predict(source))
    assert not threads()


def test_a_loader_of_torch_is_an_iterable(backend):
    if backend.name != "torch":
        pytest.skip("torch's own class")
    import torch

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=16)
    h = model("numpy").fit(loader, epochs=2, verbose=0)
    assert h["loss"] == model("numpy").fit(X, Y, epochs=2, batch_size=16, shuffle=False, verbose=0)["loss"]
    m = ann.Model([ann.Dense(3)])
    m.compile("sgd", "categorical_crossentropy")
    m.fit(loader, verbose=0)
    assert m.backend.name == "torch" and isinstance(m.predict(loader), np.ndarray)


def test_weights_come_with_the_batches():
    h = model().fit(X, Y, batch_size=16, shuffle=False, sample_weight=W * np.where(Y == 1, 3, 1), verbose=0)
    given = [(x, y, W[16 * i : 16 * i + 16]) for i, (x, y) in enumerate(batches())]
    assert model().fit(iter(given), class_weight={0: 1.0, 1: 3.0, 2: 1.0}, verbose=0)["loss"] == pytest.approx(h["loss"], rel=1e-6)


def test_evaluate_and_predict_take_as_many_steps_of_an_iterable_as_are_asked_for():
    m = model()
    first = list(itertools.islice(endless(), 3))
    x, y = (np.concatenate([batch[k] for batch in first]) for k in (0, 1))
    p = m.predict(endless(), steps=3)
    np.testing.assert_allclose(p, m.predict(x), rtol=1e-5)
    assert m.evaluate(endless(), steps=3) == pytest.approx(m.evaluate(x, y), rel=1e-5)
    assert len(m.predict(Anew(), steps=1000)) == len(m.predict(Anew()))  # there are no more
    for use in (lambda: m.predict(x, steps=2), lambda: m.evaluate(x, y, steps=2)):
        with pytest.raises(ValueError, match="steps is for an iterable of batches"):
            use()


def test_a_generator_serves_one_epoch_or_steps_per_epoch():
    m = model()
    h = m.fit((batch for batch in batches()), verbose=0)
    assert len(h) == 1
    with pytest.raises(ValueError, match=r"x is a generator and ran dry after 4 batches, in epoch 2.*steps_per_epoch"):
        m.fit((batch for batch in batches()), epochs=2, verbose=0)
    with pytest.raises(ValueError, match="ran dry after 4 batches, in epoch 2"):
        m.fit((batch for batch in batches()), epochs=2, steps_per_epoch=3, verbose=0)
    with pytest.raises(ValueError, match="gave no batches"):
        m.fit(iter([]), verbose=0)
    expected = model().fit(X, Y, epochs=2, batch_size=16, shuffle=False, verbose=0)["loss"]
    assert model().fit(endless(), epochs=2, steps_per_epoch=4, verbose=0)["loss"] == expected
    assert model().fit(Anew(), epochs=2, steps_per_epoch=4, verbose=0)["loss"] == expected  # round and round
    uneven = model().fit(Anew(), epochs=4, steps_per_epoch=3, verbose=0)
    assert uneven["loss"] == model().fit(endless(), epochs=4, steps_per_epoch=3, verbose=0)["loss"]
    h = model().fit(X, Y, epochs=2, verbose=0, validation_data=endless(), validation_steps=4)
    assert len(h["val_loss"]) == 2 and not threads()


class Broken(Exception):
    pass


def test_an_error_in_the_source_surfaces_with_its_traceback_and_the_thread_ends():
    def fails_in_the_third():
        yield from batches()[:2]
        raise Broken("the disk is gone")

    m = model()
    with pytest.raises(Broken, match="the disk is gone") as caught:
        m.fit(fails_in_the_third(), verbose=0)
    assert "fails_in_the_third" in "".join(traceback.format_tb(caught.value.__traceback__))
    assert not threads() and m._now[3] == 2  # the steps before it were taken


def test_the_thread_ends_when_the_training_does():
    class Stop(ann.callbacks.Callback):
        def __init__(self, act):
            self.act = act

        def on_batch_end(self, batch, logs=None):
            self.act(self.model)

    def interrupt(m):
        raise KeyboardInterrupt

    def stop(m):
        m.stop_training = True

    m = model()
    with pytest.raises(KeyboardInterrupt):
        m.fit(Anew(), epochs=3, verbose=0, callbacks=[Stop(interrupt)])
    assert not threads()
    assert len(m.fit(Anew(), epochs=3, verbose=0, callbacks=[Stop(stop)])) == 1 and not threads()


def test_the_thread_stays_a_few_batches_ahead():
    asked, trained = [], []

    def watched():
        for i, batch in enumerate(batches(2)):
            asked.append(i)
            yield batch

    class Count(ann.callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            trained.append(batch)
            assert len(asked) <= len(trained) + 4

    model().fit(watched(), verbose=0, callbacks=[Count()])
    assert asked == list(range(25)) and trained == list(range(25))


def test_an_epoch_of_an_iterable_resumes_in_the_middle(tmp_path):
    class Crash(ann.callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            if self.model._now[3] == 6:
                raise Broken

    for source, steps in ((Anew, None), (Anew, 3), (endless, 3)):
        expected = model()
        h = expected.fit(source(), epochs=3, steps_per_epoch=steps, verbose=0)
        m, backup = model(), ann.callbacks.BackupAndRestore(tmp_path / "run", every=1)
        with pytest.raises(Broken):
            m.fit(source(), epochs=3, steps_per_epoch=steps, verbose=0, callbacks=[backup, Crash()])
        m = model()
        resumed = m.fit(source(), epochs=3, steps_per_epoch=steps, verbose=0, callbacks=[ann.callbacks.BackupAndRestore(tmp_path / "run", every=1)])
        assert resumed.history == h.history
        for path, p in tree.flatten(expected.params).items():
            assert np.array_equal(p, tree.flatten(m.params)[path])


def test_frames_and_series_train_as_arrays_do(backend):
    pandas = pytest.importorskip("pandas")
    frame, labels = pandas.DataFrame(X, columns=list("abcd")), pandas.Series(Y, name="class")
    m = model(backend)
    assert m.fit(frame, labels, verbose=0).history == model(backend).fit(X, Y, verbose=0).history
    p = m.predict(frame)
    assert isinstance(p, np.ndarray) and np.array_equal(p, m.predict(X.tolist()))
    for names in (pandas.Series(list("abc"))[Y % 3], np.array(list("abc"))[Y % 3], np.array(list("abc"))[Y % 3].tolist()):
        with pytest.raises(TypeError, match=r"y .*estimators"):
            m.fit(frame, names)
    with pytest.raises(TypeError, match="column 'b'"):
        m.fit(frame.assign(b="text"), labels)
    mixed, numbers = frame.assign(b=Y > 0, c=Y), np.column_stack([X[:, 0], Y > 0, Y, X[:, 3]])
    for given in (mixed, mixed.astype({"a": "Float32", "c": "Int64"})):  # columns of several dtypes, nullable ones too
        np.testing.assert_array_equal(model(backend).predict(given), backend.to_numpy(model(backend).predict(backend.asarray(numbers.astype("float32")))))
    with pytest.raises(ValueError, match=r"x has 1 value that is not finite, the first at \(0, 2\)"):
        m.predict(mixed.assign(c=pandas.array([None, *Y[1:]], dtype="Int64")))


def test_one_batch_at_a_time(backend):
    a, b = model(backend), model(backend)
    scores = [a.train_on_batch(*batch, class_weight={0: 1.0, 1: 2.0, 2: 1.0}) for batch in batches()]
    h = b.fit(batches(), class_weight={0: 1.0, 1: 2.0, 2: 1.0}, verbose=0)
    assert scores[0].keys() == ("loss", "accuracy") and all(isinstance(value, float) for value in scores[0])
    for path, p in tree.flatten(a.params).items():
        assert np.array_equal(backend.to_numpy(p), backend.to_numpy(tree.flatten(b.params)[path]))
    assert min(s.loss for s in scores) <= h["loss"][0] <= max(s.loss for s in scores)


@pytest.mark.parametrize(
    ("message", "act"),
    [
        (r"x: a batch is \(x, y\) or \(x, y, sample_weight\); one array of shape \(16, 4\) came", lambda: model().fit(iter([X[:16]]))),
        ("batch x has 16 rows, batch y has 15", lambda: model().fit(iter([(X[:16], Y[:15])]))),
        ("sample weights come with them", lambda: model().fit(Anew(), sample_weight=W)),
        ("steps_per_epoch is for an iterable", lambda: model().fit(X, Y, steps_per_epoch=3)),
        ("positive integer, 0 came", lambda: model().fit(Anew(), steps_per_epoch=0)),
        ("validation_data is", lambda: model().fit(X, Y, validation_data=X)),
        ("y is None", lambda: model().fit(X)),
        ("validation x has 3 rows, validation y has 4", lambda: model().fit(X, Y, validation_data=(X[:3], Y[:4]))),
    ],
)
def test_what_is_no_data_is_explained(message, act):
    with pytest.raises((ValueError, TypeError), match=message):
        act()
    assert not threads()
