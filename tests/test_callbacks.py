"""Callbacks: who is told what and when; what each of them does; files they write are read by other programs."""

import csv
import pickle
import re
import signal
import struct
import sys
import threading
import types
from html.parser import HTMLParser

import numpy as np
import pytest

import ann
from ann.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from ann.training.signals import Deferred
from ann.training.step import Tally
from backends import tree

rng = np.random.default_rng(0)
Y = np.arange(60) % 3
X = rng.normal(size=(60, 4)).astype("float32") + 2 * np.eye(3, 4, dtype="float32")[Y]


def model(backend=None, optimizer="adam", **keywords):
    m = ann.Model([ann.Dense(8, "relu"), ann.Dense(3)], backend=backend, seed=0, **keywords)
    m.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    return m


def fit(m, *callbacks, epochs=2, **keywords):
    return m.fit(X, Y, epochs=epochs, batch_size=20, verbose=0, callbacks=callbacks, **keywords)


class Scores(Callback):
    """Puts given values into the logs, so that the callbacks after it see them."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


# ----------------------------------------------------------------------------------------------------------- being told


class Recorder(Callback):
    def __init__(self):
        self.told = []

    def on_train_begin(self, logs=None):
        self.told.append("train")

    def on_train_end(self, logs=None):
        self.told.append("end")

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append(f"epoch {epoch}")

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(f"/epoch {epoch}: {', '.join(logs)}")

    def on_batch_begin(self, batch, logs=None):
        self.told.append(batch)

    def on_batch_end(self, batch, logs=None):
        self.told.append(f"/{batch}")


def test_events_come_in_keras_order():
    recorder = Recorder()
    fit(model(), recorder, validation_data=(X, Y))
    epochs = [[f"epoch {i}", 0, "/0", 1, "/1", 2, "/2", f"/epoch {i}: loss, accuracy, val_loss, val_accuracy"] for i in (0, 1)]
    assert recorder.told == ["train", *epochs[0], *epochs[1], "end"]
    assert recorder.params == {"epochs": 2, "steps": 3, "verbose": 0} and recorder.loop is None


def test_batch_values_are_means_so_far(backend):
    seen = []
    m = model(backend)
    fit(m, LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs)), epochs=1, shuffle=False)  # read later, they are the same
    other, losses = model(backend), []
    for i in range(3):
        losses.append(other.train_on_batch(X[20 * i : 20 * i + 20], Y[20 * i : 20 * i + 20])["loss"])
        assert seen[i]["loss"] == pytest.approx(np.mean(losses), rel=1e-6) and set(seen[i]) == {"loss", "accuracy"}


def test_nothing_is_read_from_the_device_for_a_callback_that_does_not_look(monkeypatch):
    reads = []
    read = Tally.values
    monkeypatch.setattr(Tally, "values", lambda self, whole=True: reads.append(1) or read(self, whole))
    fit(model(), Recorder(), epochs=4)
    assert len(reads) == 4  # once an epoch
    fit(model(), LambdaCallback(on_batch_end=lambda batch, logs: (logs["loss"], logs["accuracy"])), epochs=1)
    assert len(reads) == 4 + 3 + 1


def test_stop_training_ends_after_the_batch_and_the_epoch_is_evaluated():
    m = model()
    h = fit(m, LambdaCallback(on_batch_end=lambda batch, logs: setattr(m, "stop_training", batch == 1)), validation_data=(X, Y))
    assert m._now[3] == 2 and len(h) == 1 and "val_loss" in h.history


def test_keras_names_of_batch_events_are_called():
    class Old(Callback):
        count = 0

        def on_train_batch_end(self, batch, logs=None):
            self.count += 1

    old = Old()
    fit(model(), old)
    assert old.count == 6


def test_what_is_no_callback_is_refused():
    with pytest.raises(TypeError, match=r"EarlyStopping\(\)"):
        fit(model(), EarlyStopping)
    with pytest.raises(TypeError, match="derive its class"):
        fit(model(), print)
    with pytest.raises(TypeError, match="on_epoch_end"):
        LambdaCallback(on_epoch_ends=print)
    m = model()
    m.fit(X, Y, verbose=0, callbacks=TerminateOnNaN())  # one alone


# ------------------------------------------------------------------------------------------------------------ monitoring


@pytest.mark.parametrize(
    ("keywords", "values", "stops"),
    [
        ({"patience": 2}, [3, 2, 2.5, 2.4, 1.0], 3),
        ({"patience": 0}, [3, 2, 2.5, 2.4, 1.0], 2),
        ({"patience": 2}, [3, 2, 2.5, 1, 4, 5, 0], 5),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.6, 2.2, 0, 0], 1),
        ({"patience": 1, "start_from_epoch": 2}, [1, 5, 4, 3, 4, 0], 4),
        ({"patience": 2, "baseline": 1.0}, [3, 3, 0.5], 1),
        ({"patience": 2, "baseline": 1.0}, [3, 2, 0.5, 0.4], None),
        ({"patience": 1, "mode": "max"}, [1, 2, 1.5, 3, 3], 2),
        ({"patience": 3}, [3, float("nan"), float("nan"), float("nan"), 1], 3),
        ({"patience": 9}, [3, 2, 1, 2, 3], None),
    ],
)
def test_early_stopping_stops_when_nothing_improves(keywords, values, stops):
    h = fit(model(), Scores(values), EarlyStopping(**keywords), epochs=len(values))
    assert len(h) == (len(values) if stops is None else stops + 1)


def test_early_stopping_gives_the_best_weights_back(backend):
    kept = []
    m = ann.Model([ann.Dense(8, "relu"), ann.BatchNormalization(), ann.Dense(3)], backend=backend, seed=0)
    m.compile("adam", "categorical_crossentropy")
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(tree.map(backend.to_numpy, (m.params, m.state))))
    stopper = EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    fit(m, Scores([3, 1, 2, 2, 0]), keep, stopper, epochs=5)
    assert stopper.stopped_epoch == 3 and stopper.best_epoch == 1
    for a, b in zip(tree.leaves(kept[1]), tree.leaves(tree.map(backend.to_numpy, (m.params, m.state))), strict=True):
        assert np.array_equal(a, b)
    fit(m, Scores([1, 2, 3, 0]), stopper, epochs=4)  # used again, it begins anew
    assert stopper.best_epoch == 0 and stopper.stopped_epoch == 2


def test_learning_rate_falls_on_a_plateau():
    h = fit(model(optimizer=ann.SGD(0.8)), Scores([3, 2, 2, 2, 2, 2, 2, 2, 2]), ReduceLROnPlateau(factor=0.5, patience=2, cooldown=2, min_lr=0.3), epochs=9)
    # two epochs without improvement, one that does not count, two again; the rate in the History is the one the epoch was trained with
    assert h["learning_rate"] == pytest.approx([0.8] * 4 + [0.4] * 3 + [0.3] * 2)


def test_misspelt_monitor_names_what_there_is():
    for callback in (EarlyStopping("val_los"), ReduceLROnPlateau("val_los"), ModelCheckpoint("x", "val_los", save_best_only=True)):
        with pytest.raises(ValueError, match="there are loss, accuracy, val_loss, val_accuracy. Did you mean 'val_loss'"):
            fit(model(), callback, validation_data=(X, Y))
    with pytest.raises(ValueError, match="validation_data"):
        fit(model(), EarlyStopping())


def test_direction_follows_from_the_name_or_is_asked_for():
    assert EarlyStopping("val_accuracy").grows and EarlyStopping("auc").grows and not EarlyStopping("val_loss").grows
    assert not EarlyStopping("digit_mean_squared_error").grows and EarlyStopping("loss", mode="max").grows
    with pytest.raises(ValueError, match='mode="max" or mode="min"'):
        EarlyStopping("goodness").grows
    for wrong in (lambda: EarlyStopping(mode="up"), lambda: ReduceLROnPlateau(factor=1.0), lambda: ModelCheckpoint("x", save_freq=0)):
        with pytest.raises(ValueError, match="came"):
            wrong()


# -------------------------------------------------------------------------------------------------------- learning rates


@pytest.mark.parametrize("rate", [0.5, ann.schedules.ExponentialDecay(0.5, 10, 0.5)], ids=["number", "schedule"])
def test_scheduler_sets_the_rate_that_the_steps_use(backend, rate):
    m, other = model(backend, ann.SGD(rate)), model(backend, ann.SGD(0.1))
    h = fit(m, LearningRateScheduler(lambda epoch: 0.1 if epoch == 0 else 0.2))
    fit(other, epochs=1)
    other.learning_rate = 0.2
    fit(other, epochs=1)
    assert h["learning_rate"] == pytest.approx([0.1, 0.2])
    for a, b in zip(tree.leaves(m.params), tree.leaves(other.params), strict=True):
        assert np.array_equal(backend.to_numpy(a), backend.to_numpy(b))


def test_scheduler_may_take_the_present_rate():
    h = fit(model(optimizer=ann.SGD(1.0)), LearningRateScheduler(lambda epoch, rate: rate / 2), epochs=3)
    assert h["learning_rate"] == [0.5, 0.25, 0.125]
    with pytest.raises(ValueError, match="for epoch 0"):
        fit(model(), LearningRateScheduler(lambda epoch: None))


# ------------------------------------------------------------------------------------------------------------------- NaN


def exploding():
    m = ann.Model([ann.Dense(8), ann.Dense(1)], seed=0)
    m.compile(ann.SGD(1e6), "mse")
    return m


def test_a_loss_that_is_not_finite_ends_the_training_with_an_error_or_quietly(capsys):
    y = Y.astype("float32")
    with np.errstate(all="ignore"):
        m = exploding()
        with pytest.raises(FloatingPointError, match=r"not finite in epoch 1|loss is (inf|nan)"):
            m.fit(X, y, epochs=50, batch_size=20, verbose=0, callbacks=[LambdaCallback(on_batch_end=lambda batch, logs: logs["loss"])])
        quiet = exploding()
        ended = []
        quiet.fit(X, y, epochs=50, batch_size=20, verbose=0, callbacks=[TerminateOnNaN(), LambdaCallback(on_train_end=lambda logs: ended.append(1))])
    assert ended == [1] and "smaller learning rate" in capsys.readouterr().out
    assert m._now[3] == quiet._now[3] > 0  # the step before the bad one
    for a, b in zip(tree.leaves(m.params), tree.leaves(quiet.params), strict=True):
        assert np.array_equal(a, b) and np.isfinite(a).all()
    assert quiet._now[2]["t"] == quiet._now[3]


# ----------------------------------------------------------------------------------------------------------------- files


def test_checkpoints_are_models_and_weights(tmp_path):
    m = model()
    folder = tmp_path / "made" / "here"
    fit(m, ModelCheckpoint(folder / "{epoch:02d}-{val_loss:.3f}.safetensors"), validation_data=(X, Y))
    names = sorted(path.name for path in folder.iterdir())
    assert [name[:3] for name in names] == ["01-", "02-"]
    assert np.array_equal(ann.load(folder / names[1]).predict(X), m.predict(X))
    fit(m, ModelCheckpoint(tmp_path / "w", save_weights_only=True))
    other = model()
    other.predict(X)
    other.load_weights(tmp_path / "w")
    assert np.array_equal(other.predict(X), m.predict(X))
    fit(m, ModelCheckpoint(tmp_path / "b-{batch}", save_freq=2), epochs=1)
    assert (tmp_path / "b-2").exists() and not (tmp_path / "b-3").exists()
    with pytest.raises(ValueError, match="there are loss, accuracy, epoch"):
        fit(m, ModelCheckpoint(tmp_path / "{val_loss}"))


def test_only_the_best_model_is_kept(tmp_path):
    m, kept = model(), []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(np.array(m.predict(X))))
    fit(m, Scores([3, 1, 2, 2]), keep, ModelCheckpoint(tmp_path / "best", save_best_only=True), epochs=4)
    assert np.array_equal(ann.load(tmp_path / "best").predict(X), kept[1])
    fit(m, Scores([3.0]), ModelCheckpoint(tmp_path / "none", save_best_only=True, initial_value_threshold=2.0), epochs=1)
    assert not (tmp_path / "none").exists()


def test_csv_has_a_line_an_epoch(tmp_path):
    path = tmp_path / "log.csv"
    h = fit(model(), CSVLogger(path), epochs=3)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"] and [float(row["loss"]) for row in rows] == h["loss"]
    fit(model(), CSVLogger(path, append=True), epochs=1)
    assert len(path.read_text().splitlines()) == 5
    fit(model(), CSVLogger(path, separator=";"), epochs=1)
    assert path.read_text().startswith("epoch;accuracy;loss\n0;")


def events(folder):
    """(tag, step, value) of the scalars in TensorBoard's files: records of u64 length, crc, data, crc."""
    from tensorboardX.proto.event_pb2 import Event

    for path in folder.iterdir():
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
            content = content[16 + length :]


def test_tensorboard_reads_the_values(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    h = fit(model(), TensorBoard(tmp_path / "logs", histogram_freq=1), validation_data=(X, Y))
    train, validation = list(events(tmp_path / "logs" / "train")), list(events(tmp_path / "logs" / "validation"))
    assert [value for tag, _, value in train if tag == "epoch_loss"] == pytest.approx(h["loss"])
    assert [(step, value) for tag, step, value in validation if tag == "epoch_accuracy"] == [(0, pytest.approx(h["val_accuracy"][0])), (1, pytest.approx(h["val_accuracy"][1]))]
    assert {tag for tag, _, _ in train} >= {"dense/kernel", "dense_1/bias"}


def test_missing_tensorboardx_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"ann-array-api\[tensorboard\]"):
        TensorBoard()


# --------------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_waits_for_the_end_of_the_step(number, error):
    told = []

    class Listener(Callback):
        def on_batch_begin(self, batch, logs=None):
            if batch == 1:
                signal.raise_signal(number)
                told.append("still here")

        def on_batch_end(self, batch, logs=None):
            told.append(self.model._now[3])

        def on_interrupt(self):
            told.append("interrupt")

    before = signal.getsignal(number)
    m = model()
    with pytest.raises(error) as caught:
        fit(m, Listener())
    assert told == [1, "still here", 2, "interrupt"] and m._now[3] == 2
    assert signal.getsignal(number) is before
    if error is SystemExit:
        assert caught.value.code == 143


def test_the_second_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), Deferred(signal.SIGINT) as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.pending == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal did nothing")


def test_handlers_of_the_user_are_called_and_those_that_ignore_stay():
    arrived = []
    old = signal.signal(signal.SIGINT, lambda number, frame: arrived.append(number))
    try:
        m = model()
        fit(m, LambdaCallback(on_batch_begin=lambda batch, logs: signal.raise_signal(signal.SIGINT)), epochs=1)
        assert arrived == [signal.SIGINT] * 3 and m._now[3] == 3  # the handler returned, and the training went on
        with Deferred(signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
        assert len(arrived) == 4  # one that came after the last step
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with Deferred(signal.SIGINT) as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.pending is None
    finally:
        signal.signal(signal.SIGINT, old)


def test_fit_runs_in_a_thread_too():
    m = model()
    thread = threading.Thread(target=fit, args=(m,))
    thread.start()
    thread.join()
    assert m._now[3] == 6


# ------------------------------------------------------------------------------------------------------------- notebooks


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_notebook_output_is_one_escaped_table():
    bad = "<script>alert(1)</script>"
    m = ann.Model([ann.Input(4), ann.Dense(3, name=bad.replace("/", "")), ann.Dense(2)], name=bad, seed=0)
    h = ann.History()
    h.add(0, {bad: 1.0, "loss": 0.25})
    unbuilt = ann.Model([ann.Dense(3, name=bad.replace("/", ""))])
    for shown in (m, h, unbuilt):
        tags = Tags(shown._repr_html_())
        assert tags.tags.count("table") == 1 and "script" not in tags.tags
        assert any(re.search("<script>", text) for text in tags.texts)
    assert "23 parameters" in "".join(Tags(m._repr_html_()).texts) and "0.25" in Tags(h._repr_html_()).texts


def test_metrics_that_give_several_numbers_are_kept_and_not_drawn(tmp_path, capsys):
    m = ann.Model([ann.Dense(3)], seed=0)
    m.compile("adam", "categorical_crossentropy", metrics=[ann.metrics.Recall(average=None), "accuracy"])
    h = m.fit(X, Y, epochs=2, verbose=1, callbacks=[TensorBoard(tmp_path), CSVLogger(tmp_path / "log.csv")])
    assert np.shape(h["recall"]) == (2, 3) and "recall" not in repr(h) + capsys.readouterr().out and "accuracy" in repr(h)
    assert str(h["recall"][0]) in "".join(Tags(h._repr_html_()).texts)
    with pytest.raises(ValueError, match="no value 'recall' to monitor; there are loss, accuracy"):
        m.fit(X, Y, verbose=0, callbacks=EarlyStopping("recall"))
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    h.plot()


def test_history_is_pickled_without_the_model():
    h = fit(model())
    again = pickle.loads(pickle.dumps(h))
    assert again.history == h.history and again.epoch == [0, 1] and not hasattr(again, "model")
    assert isinstance(repr(again), str) and isinstance(types.SimpleNamespace(h=h).h["loss"][0], float)
