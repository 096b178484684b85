"""A training that was stopped goes on as if it had not been: by an error, a signal, a kill, a full disk."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ann
from ann import files
from ann.callbacks import BackupAndRestore, Callback, CSVLogger, EarlyStopping, LambdaCallback, LearningRateScheduler, ReduceLROnPlateau

ROOT = Path(__file__).parent.parent


class Interrupt(Callback):
    """Ctrl-C in a step: it is saved."""

    def __init__(self, step):
        self.step = step

    def on_batch_begin(self, batch, logs=None):
        if self.model._now[3] == self.step - 1:
            signal.raise_signal(signal.SIGINT)


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


def fit(m, *callbacks, epochs=6, rows=90):
    x, y = data(rows)
    return m.fit(x, y, epochs=epochs, batch_size=16, validation_split=0.2, verbose=0, callbacks=callbacks)


@pytest.mark.parametrize("step", [1, 5, 14, 29])  # 5 steps an epoch
def test_stopped_anywhere_it_resumes_to_the_bit(tmp_path, step):
    check_resume(None, tmp_path, step)


def test_resumed_equals_uninterrupted_to_the_bit(backend, tmp_path):
    check_resume(backend, tmp_path, 7, epochs=3, rows=80)  # batches of one size: less to compile


def check_resume(backend, tmp_path, step, **keywords):
    (tmp_path / "whole").mkdir(), (tmp_path / "parts").mkdir()
    whole, parts = model(backend), model(backend)
    expected = fit(whole, *listeners(tmp_path / "whole"), **keywords)
    backup = tmp_path / "run.safetensors"
    with pytest.raises(InterruptedError):
        fit(parts, *listeners(tmp_path / "parts"), Stop(step), BackupAndRestore(backup, every=3), **keywords)
    again = model(backend, seed=99 if backup.exists() else 0)  # the seed, too, comes from the file
    found = fit(again, *listeners(tmp_path / "parts"), BackupAndRestore(backup, every=3), **keywords)
    assert everything(again) == everything(whole)
    assert found.history == expected.history and found.epoch == expected.epoch
    assert (tmp_path / "parts" / "log.csv").read_text() == (tmp_path / "whole" / "log.csv").read_text()
    assert not backup.exists()


SCRIPT = """
import hashlib, sys, time
import numpy as np
import ann
from ann.callbacks import BackupAndRestore, Callback, EarlyStopping

class Act(Callback):
    def on_batch_end(self, batch, logs=None):
        {act}

print("began", flush=True)
y = np.arange(90) % 3
x = np.random.default_rng(0).normal(size=(90, 4)).astype("float32") + np.eye(3, 4, dtype="float32")[y]
m = ann.Model([ann.Dense(8, "relu"), ann.BatchNormalization(), ann.Dropout(0.3), ann.Dense(3)], seed=0)
m.compile(ann.Adam(0.02), "categorical_crossentropy", metrics=["accuracy"])
calm = EarlyStopping("val_loss", patience=1000, restore_best_weights=True)
h = m.fit(x, y, epochs={epochs}, batch_size=16, validation_split=0.2, verbose=0, callbacks=[Act(), calm, BackupAndRestore({path!r}, every=2)])
digest = hashlib.sha256(repr((h.history, calm.wait, m._counters())).encode())
for path, x in sorted(m._tensors().items()):
    digest.update(path.encode() + x.tobytes())
print("done", digest.hexdigest(), flush=True)
"""


def start(path, epochs=30, act="pass"):
    code = SCRIPT.format(path=str(path), epochs=epochs, act=act)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def finish(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The digest of the training that nobody disturbs, by number of epochs."""
    found = {}

    def digest(epochs=30):
        if epochs not in found:
            code, out, err = finish(start(tmp_path_factory.mktemp("undisturbed") / "run", epochs))
            assert code == 0, err
            found[epochs] = out.split()[-1]
        return found[epochs]

    return digest


def kill_at_random_times(path, kills, epochs, seed):
    """SIGKILL again and again, each time a little later; then let it finish. The output of the last run, and how often it was killed."""
    dice = random.Random(seed)
    for killed in range(kills):
        process = start(path, epochs)
        process.stdout.readline()
        time.sleep(dice.uniform(0.0, 0.12))
        process.kill()
        _, out, _ = finish(process)
        if "done" in out:
            return out, killed
    code, out, err = finish(start(path, epochs))
    assert code == 0, err
    return out, kills


@pytest.mark.parametrize(("kills", "epochs"), [(4, 30), pytest.param(40, 200, marks=pytest.mark.full)])
def test_killed_at_random_times_it_ends_with_the_same_bits(tmp_path, undisturbed, kills, epochs):
    total, seed = 0, 0
    while total < kills:
        out, killed = kill_at_random_times(tmp_path / f"run-{seed}", kills - total, epochs, seed)
        assert out.split()[-1] == undisturbed(epochs), f"seed {seed}"
        total, seed = total + killed, seed + 1
    assert list(tmp_path.iterdir()) == []  # nor a temporary file of those that were killed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)], ids=["SIGTERM", "SIGINT"])
def test_stopped_by_a_signal_it_saves_and_goes_on(tmp_path, undisturbed, number, code):
    process = start(tmp_path / "run", act="print(self.model._now[3], flush=True) or time.sleep(0.02)")
    while process.stdout.readline().strip() != "7":
        pass
    process.send_signal(number)
    found, out, err = finish(process)
    assert found == code, err
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    _, metadata = files.read(tmp_path / "run")
    reached = int((out.split() or ["7"])[-1])
    assert json.loads(metadata["ann.training"]) and f'["step", {reached}]' in metadata["ann.training"]  # the last whole step, odd or even
    code, out, err = finish(start(tmp_path / "run"))
    assert code == 0 and out.split()[-1] == undisturbed(), err


def test_the_second_signal_stops_at_once(tmp_path):
    process = start(tmp_path / "run", act="print('long', flush=True) or time.sleep(60)")
    while process.stdout.readline().strip() != "long":
        pass
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert finish(process, timeout=10)[0] == 143


def test_a_full_disk_ends_the_training_and_leaves_the_last_backup(tmp_path, undisturbed):
    pytest.importorskip("resource", reason="no resource limits on this system")
    act = "import resource; self.model._now[3] == 9 and resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    code, _, err = finish(start(tmp_path / "run", act=act))
    assert code == 1 and "OSError" in err
    assert '["step", 8]' in files.read(tmp_path / "run")[1]["ann.training"] and [path.name for path in tmp_path.iterdir()] == ["run"]
    code, out, err = finish(start(tmp_path / "run"))
    assert code == 0 and out.split()[-1] == undisturbed(), err


# ----------------------------------------------------------------------------------------------------------- what fits


def stopped(path, step=7, m=None, **keywords):
    with pytest.raises(InterruptedError):
        fit(m or model(), Stop(step), BackupAndRestore(path, every=1), **keywords)


def test_a_finished_training_removes_its_file_or_gives_its_result_again(tmp_path):
    m = model()
    h = fit(m, EarlyStopping("val_loss", restore_best_weights=True), BackupAndRestore(tmp_path / "run", delete_checkpoint=False))
    again = model(seed=5)
    started = []
    found = fit(
        again, EarlyStopping("val_loss", restore_best_weights=True), BackupAndRestore(tmp_path / "run", delete_checkpoint=False),
        LambdaCallback(on_batch_begin=lambda batch, logs: started.append(batch)),
    )  # fmt: skip
    assert everything(again) == everything(m) and found.history == h.history and not started
    longer, plain = model(), model()
    fit(plain, epochs=8)
    fit(model(), BackupAndRestore(tmp_path / "six", delete_checkpoint=False))
    fit(longer, BackupAndRestore(tmp_path / "six"), epochs=8)  # more epochs than before: the rest is trained
    assert everything(longer) == everything(plain)


def test_two_fits_of_one_script_have_files_of_their_own(tmp_path):
    def script(stop=None):
        m = model()
        fit(m, BackupAndRestore(tmp_path / "a"), epochs=2)
        m.freeze("dense")
        fit(m, BackupAndRestore(tmp_path / "b", every=1), *([Stop(stop)] if stop else []), epochs=2)
        return m

    expected = everything(script())
    with pytest.raises(InterruptedError):
        script(stop=17)
    assert everything(script()) == expected
    stopped(tmp_path / "c")
    m = model()
    fit(m, epochs=1)
    with pytest.raises(ValueError, match="belongs to another training: its start was 0, here it is 5. Give each fit a path of its own"):
        fit(m, BackupAndRestore(tmp_path / "c"))


def test_a_rate_that_a_callback_set_in_place_of_a_schedule_is_kept(tmp_path):
    def scheduled(*callbacks, seed=0):
        m = ann.Model([ann.Dense(3)], seed=seed)
        m.compile(ann.SGD(ann.schedules.CosineDecay(0.1, 50), momentum=0.9), "categorical_crossentropy")
        fit(m, LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)), *callbacks)
        return everything(m)

    expected = scheduled()
    with pytest.raises(InterruptedError):
        scheduled(Stop(13), BackupAndRestore(tmp_path / "run", every=1))
    assert scheduled(BackupAndRestore(tmp_path / "run"), seed=1) == expected


def test_the_last_finite_model_of_a_resumed_training_is_not_the_one_before_it(tmp_path):
    stopped(tmp_path / "run")

    class Spoil(Callback):
        def on_batch_begin(self, batch, logs=None):
            self.model.learning_rate = float(np.finfo("float32").max)

    again = model()
    with pytest.raises(FloatingPointError, match="those of step 6, the last"), np.errstate(all="ignore"):
        fit(again, Spoil(), BackupAndRestore(tmp_path / "run"))
    assert again._now[3] == 6


def test_another_training_is_refused_and_the_model_stays(tmp_path):
    path = tmp_path / "run"
    stopped(path)
    x, y = data()

    def refused(match, error, m, **keywords):
        m.predict(x)
        before = everything(m)
        arguments = {"epochs": 6, "batch_size": 16, "validation_split": 0.2} | keywords
        with pytest.raises(error, match=match):
            m.fit(x, y, verbose=0, callbacks=[BackupAndRestore(path)], **arguments)
        assert everything(m) == before

    other = model()
    other.compile(ann.Adam(0.01), "categorical_crossentropy")
    refused("its optimizer was .*0.02.* here it is .*0.01", ValueError, other)
    wider = ann.Model([ann.Dense(9, "relu"), ann.BatchNormalization(), ann.Dropout(0.3), ann.Dense(3)], seed=0)
    wider.compile(ann.Adam(0.02), "categorical_crossentropy")
    refused(r"dense/\w+ has shape \(.*8.*\), the model's is \(.*9.*\)", ann.FileError, wider)
    refused("begun with .*16.*now it is .*15", ValueError, model(), batch_size=15)
    model_file = tmp_path / "model"
    m = model()
    m.predict(x)
    m.save(model_file)
    with pytest.raises(ann.FileError, match="a path of its own"):
        fit(model(), BackupAndRestore(model_file))
    path.write_bytes(path.read_bytes()[:-1])
    refused("the file has", ann.FileError, model())


def test_a_backup_resumes_on_another_backend_and_says_so(backend, tmp_path):
    size = {"rows": 80, "epochs": 2}
    stopped(tmp_path / "run", **size)
    m, whole = model(backend), model()
    if backend.name == "numpy":
        fit(m, BackupAndRestore(tmp_path / "run"), **size)
    else:
        with pytest.warns(UserWarning, match="equal to rounding"):
            fit(m, BackupAndRestore(tmp_path / "run"), **size)
    fit(whole, **size)
    for a, b in zip(m._tensors().values(), whole._tensors().values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_the_contract_two_outputs_and_a_frozen_part(backend, tmp_path):
    x, y = data(n=96)

    def script(*callbacks):
        t = ann.Model(Two(ann.Dense(16, "relu"), ann.Dense(3), ann.Dense(1)), backend=backend, seed=0)
        t.compile("adam", {"digit": "categorical_crossentropy", "even": "binary_crossentropy"}, loss_weights={"even": 0.3})
        t.predict(x)
        t.freeze("body")
        t.fit(x, {"digit": y, "even": y % 2 == 0}, epochs=3, verbose=0, callbacks=callbacks)
        return everything(t)

    expected = script()
    with pytest.raises(InterruptedError):
        script(BackupAndRestore(tmp_path / "run.safetensors"), Stop(5))
    assert script(BackupAndRestore(tmp_path / "run.safetensors")) == expected


class Two(ann.Layer):
    body: ann.Layer
    a: ann.Layer
    b: ann.Layer

    def call(self, x, ctx):
        h = self.body(x, ctx)
        return {"digit": self.a(h, ctx), "even": self.b(h, ctx)}


@pytest.mark.parametrize("kind", ["list", "numbered", "steps", "generator", "once"])
def test_an_iterable_of_batches_is_resumed_at_any_of_them(tmp_path, kind):
    x, y = data()
    cut = [(x[i : i + 30], y[i : i + 30]) for i in range(0, 90, 30)]

    class Numbered:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return cut[i]

    def endless():
        while True:
            yield from cut

    def trained(*callbacks):
        m = model()
        source = {"list": cut, "numbered": Numbered(), "steps": Numbered(), "generator": endless(), "once": iter(cut)}[kind]
        h = m.fit(source, epochs=1 if kind == "once" else 3, steps_per_epoch={"steps": 2, "generator": 4}.get(kind), verbose=0, callbacks=callbacks)
        return everything(m), h.history

    expected = trained()
    for step in range(1, expected[0][1]["step"]):
        with pytest.raises(KeyboardInterrupt):
            trained(Interrupt(step), BackupAndRestore(tmp_path / "run"))
        assert trained(BackupAndRestore(tmp_path / "run")) == expected
