"""A training that was stopped goes on as if it had not been: by an error, a signal, a kill, a full disk."""

import numpy as np
import pytest

import ann
from ann.callbacks import BackupAndRestore, Callback, CSVLogger, EarlyStopping, ReduceLROnPlateau


class Stop(Callback):
    """Ends the training at a step, as a power cut would."""

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, batch, logs=None):
        if self.model._now[3] == self.step:
            raise InterruptedError


def data(n=90, d=4, k=3):
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    return rng.normal(size=(n, d)).astype("float32") + np.eye(k, d, dtype="float32")[y], y


def model(backend=None, seed=0):
    m = ann.Model([ann.Dense(8, "relu"), ann.BatchNormalization(), ann.Dropout(0.3), ann.Dense(3)], backend=backend, seed=seed)
    m.compile(ann.Adam(0.02), "categorical_crossentropy", metrics=["accuracy"])
    return m


def everything(m):
    """All that training changes, as bytes."""
    return {path: (str(x.dtype), x.shape, x.tobytes()) for path, x in m._tensors().items()}, m._counters(), m.learning_rate


def listeners(folder):
    return [
        ReduceLROnPlateau("val_loss", factor=0.5, patience=1),
        EarlyStopping("val_accuracy", patience=4, restore_best_weights=True),
        CSVLogger(folder / "log.csv"),
    ]


def fit(m, *callbacks, epochs=6):
    x, y = data()
    return m.fit(x, y, epochs=epochs, batch_size=16, validation_split=0.2, verbose=0, callbacks=callbacks)


@pytest.mark.parametrize("step", [1, 5, 7, 14, 29])  # 5 steps an epoch
def test_resumed_equals_uninterrupted_to_the_bit(backend, tmp_path, step):
    (tmp_path / "whole").mkdir(), (tmp_path / "parts").mkdir()
    whole, parts = model(backend), model(backend)
    expected = fit(whole, *listeners(tmp_path / "whole"))
    backup = tmp_path / "run.safetensors"
    with pytest.raises(InterruptedError):
        fit(parts, *listeners(tmp_path / "parts"), Stop(step), BackupAndRestore(backup, every=3))
    again = model(backend, seed=99 if backup.exists() else 0)  # the seed, too, comes from the file
    found = fit(again, *listeners(tmp_path / "parts"), BackupAndRestore(backup, every=3))
    assert everything(again) == everything(whole)
    assert found.history == expected.history and found.epoch == expected.epoch
    assert (tmp_path / "parts" / "log.csv").read_text() == (tmp_path / "whole" / "log.csv").read_text()
    assert not backup.exists()
