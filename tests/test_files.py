"""Files: what is written is read; what is damaged or hostile is refused; what was there is never lost."""

import dataclasses
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ann
import backends
from ann import files, registry

ROOT = Path(__file__).parent.parent
TENSORS = {"a/kernel": np.arange(6, dtype="float32").reshape(2, 3), "b": np.asarray(3.5), "empty": np.zeros((0, 4), dtype="int64"), "flag": np.array([True, False])}


def test_what_is_written_is_read(tmp_path):
    odd = {**TENSORS, "transposed": np.arange(12.0).reshape(3, 4).T, "strided": np.arange(10)[::2], "reversed": np.arange(5.0)[::-1], "big": np.arange(3, dtype=">f4")}
    odd["strided"].flags.writeable = False
    files.write(tmp_path / "x", odd, {"note": "höher"})
    tensors, metadata = files.read(tmp_path / "x")
    assert metadata == {"note": "höher"} and set(tensors) == set(odd)
    for name, x in odd.items():
        assert np.array_equal(tensors[name], x) and tensors[name].shape == x.shape and tensors[name].dtype == x.dtype.newbyteorder("=")
        assert tensors[name].flags.writeable


def small(path):
    files.write(path, {"w": np.arange(4, dtype="float32"), "s": np.asarray(1, dtype="int64")}, {"k": "v"})
    return path.read_bytes()


def test_every_flipped_bit_is_refused(tmp_path):
    content = small(tmp_path / "x")
    with open(tmp_path / "x", "r+b", buffering=0) as file:
        for position in range(8 * len(content)):
            byte = content[position // 8]
            os.pwrite(file.fileno(), bytes([byte ^ 1 << position % 8]), position // 8)
            with pytest.raises(files.FileError):
                files.read(tmp_path / "x")
            os.pwrite(file.fileno(), bytes([byte]), position // 8)
    assert files.read(tmp_path / "x")[1] == {"k": "v"}


def test_every_truncation_is_refused(tmp_path):
    content = small(tmp_path / "x")
    for length in reversed(range(len(content))):
        os.truncate(tmp_path / "x", length)
        with pytest.raises(files.FileError):
            files.read(tmp_path / "x")


def header(entries, body=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


HOSTILE = {
    "huge shape": header({"x": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 4]}}, b"1234"),
    "zero times huge": header({"x": {"dtype": "F32", "shape": [0, 1 << 61, 1 << 61], "data_offsets": [0, 0]}}),
    "hole": header({"x": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}, b"12"),
    "overlap": header({"x": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}, "y": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}, b"12"),
    "tail": header({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, b"12"),
    "negative": header({"x": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}}, b"1"),
    "true as a size": header({"x": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, b"1"),
    "float size": header({"x": {"dtype": "U8", "shape": [1.0], "data_offsets": [0, 1]}}, b"1"),
    "unknown dtype": header({"x": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, b"12345678"),
    "list as dtype": header({"x": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    "extra key": header({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1], "path": "/etc/passwd"}}, b"1"),
    "twice": struct.pack("<Q", 96) + b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'[:96].ljust(96) + b"1",
    "deep": struct.pack("<Q", 20000) + b'{"a":' + b"[" * 19995,
    "long header": struct.pack("<Q", 1 << 62) + b"{}",
    "no object": struct.pack("<Q", 2) + b"[]",
    "many digits": struct.pack("<Q", 6008) + b'{"x":' + b"9" * 6002 + b"}",
    "two deep metadata": header({"__metadata__": {"a": {"b": 1}}}),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused(tmp_path, case):
    (tmp_path / "x").write_bytes(HOSTILE[case])
    for reader in (files.read, files.read_foreign):
        with pytest.raises(files.FileError):
            reader(tmp_path / "x")


def test_a_newer_format_is_refused_by_its_name(tmp_path):
    content = small(tmp_path / "x").replace(b"ann-1", b"ann-2")
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(files.FileError, match="'ann-2', of a newer ann; this one reads 'ann-1': pip install -U"):
        files.read(tmp_path / "x")


UNDER_A_LIMIT = """
import json, os, random, resource, signal, struct, sys
import numpy as np
from hypothesis import given, settings, strategies as st
import ann
from ann import files, registry

path, os.fsync = sys.argv[1], lambda descriptor: None
signal.alarm(100)

size = st.sampled_from([0, 1, 2, 3, 1 << 30, 1 << 40, (1 << 61) + 1, 1 << 63, -1, 1.0, True, None])
entry = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "U8", "BOOL", "BF16", "C64", 3]),
    "shape": st.lists(size, max_size=4) | st.just([1] * 33),
    "data_offsets": st.lists(size, max_size=3),
}) | st.recursive(size | st.text(max_size=4), lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "q"]), s, max_size=3), max_leaves=6)

@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(entries=st.dictionaries(st.text(max_size=3) | st.just("__metadata__"), entry, max_size=3), body=st.binary(max_size=12), claimed=size.filter(lambda n: type(n) is int and n > 3))
def headers(entries, body, claimed):
    text = json.dumps(entries).encode()
    for length in (len(text), claimed):
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", length % (1 << 64)) + text + body)
        for reader in (files.read, files.read_foreign):
            try:
                reader(path)
            except files.FileError:
                pass

def spots(node):
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        yield from spots(node[key])

def configurations(count):
    # a model's file with one place of its description replaced, and all checksums right
    m = ann.Model([ann.Conv2D(3, 3, activation="relu"), ann.MaxPooling2D(), ann.Flatten(), ann.BatchNormalization(), ann.Dense(3, ann.gelu)], seed=0)
    m.compile(ann.AdamW(ann.schedules.CosineDecay(1e-2, 100)), "categorical_crossentropy", metrics=["accuracy"])
    m.fit(np.zeros((9, 8, 8, 1), "float32"), np.arange(9) % 3, verbose=0)
    m.save(path)
    tensors, metadata = files.read(path)
    junk = [10**12, -1, 2**70, 0, "x", None, [], {}, True, 1e308, {"class": "layers.Dense", "config": {"units": 10**12}}, {"class": "layers.Context", "config": {}},
            {"function": "losses.huber"}, {"float": "nan"}, {"dict": []}, {"class": "os.system", "config": {}}, {"function": "layers.Dense"}]
    dice, seen = random.Random(0), {}
    for _ in range(count):
        config = json.loads(metadata["ann.model"])
        node, key = dice.choice(list(spots(config)))
        node[key] = dice.choice(junk)
        files.write(path, tensors, {"ann.model": json.dumps(config)})
        try:
            ann.load(path)
            result = "read"
        except (files.FileError, registry.UnknownName) as error:
            result = type(error).__name__
        seen[result] = seen.get(result, 0) + 1
    return seen

@settings(max_examples=1, database=None)
@given(st.text())
def nothing(text):
    pass

nothing()
configurations(0)  # what is loaded and built once does not count
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (200 << 20),) * 2)  # what a file claims is not allocated, or this is a MemoryError
headers()
np.seterr(all="ignore")
print(json.dumps(configurations(300)))
"""


def test_no_generated_file_takes_memory_time_or_another_error(tmp_path):
    pytest.importorskip("resource", reason="no resource limits on this system")
    run = subprocess.run([sys.executable, "-c", UNDER_A_LIMIT, str(tmp_path / "x")], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["FileError"] > 100


def test_the_safetensors_package_reads_ours_and_we_read_theirs(tmp_path):
    package = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    files.write(tmp_path / "ours", TENSORS, {})
    for name, x in package.load_file(tmp_path / "ours").items():
        assert np.array_equal(x, TENSORS[name])
    package.save_file({name: np.array(x, order="C") for name, x in TENSORS.items()}, tmp_path / "theirs")
    with pytest.raises(files.FileError, match="read_foreign"):
        files.read(tmp_path / "theirs")
    for name, x in files.read_foreign(tmp_path / "theirs")[0].items():
        assert np.array_equal(x, TENSORS[name])


def test_bfloat16_of_other_programs_becomes_float32(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    package = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    x = torch.tensor([1.5, -3e38, 1e-40, float("inf")], dtype=torch.bfloat16)
    package.save_file({"x": x}, tmp_path / "theirs")
    assert np.array_equal(files.read_foreign(tmp_path / "theirs")[0]["x"], x.float().numpy())


def test_unwritable_dtypes_are_refused(tmp_path):
    with pytest.raises(TypeError, match="complex128"):
        files.write(tmp_path / "x", {"z": np.zeros(2, dtype=complex)}, {})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(tmp_path):
    pytest.importorskip("resource", reason="no resource limits on this system")
    files.write(tmp_path / "x", TENSORS, {"k": "old"})
    code = (
        "import resource, numpy as np; from ann import files; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"try: files.write({str(tmp_path / 'x')!r}, {{'w': np.zeros(10000)}}, {{}})\nexcept OSError: print('full')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.strip() == "full", run.stderr
    assert files.read(tmp_path / "x")[1] == {"k": "old"} and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_links_and_odd_names_are_written_through(tmp_path):
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "a[1]*?", tmp_path / "link"
    link.symlink_to(real)
    (tmp_path / "folder" / "a[1]*?.tmp-4194999").write_bytes(b"left by a dead process")
    (tmp_path / "folder" / "a1x.tmp-4194999").write_bytes(b"of another file")
    files.write(link, TENSORS, {})
    assert link.is_symlink() and set(files.read(real)[0]) == set(TENSORS)
    assert sorted(path.name for path in real.parent.iterdir()) == ["a1x.tmp-4194999", "a[1]*?"]


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    code = (
        "import numpy as np; from ann import files\ni = 0\nwhile True:\n"
        f"    i += 1; files.write({str(tmp_path / 'x')!r}, {{'w': np.full(200000, float(i))}}, {{'i': str(i)}})\n    print(i, flush=True)"
    )
    for round_ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
        process.stdout.readline()
        time.sleep(0.02 + 0.013 * round_)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        tensors, metadata = files.read(tmp_path / "x")
        assert np.all(tensors["w"] == float(metadata["i"]))
    files.write(tmp_path / "x", TENSORS, {})
    assert [p.name for p in tmp_path.iterdir()] == ["x"]  # what dead writers left is swept


# ---------------------------------------------------------------------------------------------------------------- models


@ann.primitive
def cube_root_ish(x):
    """y = x/(1 + x²)    dx = dy·(1 − x²)/(1 + x²)²"""
    d = 1.0 + x * x
    return x / d, lambda dy: dy * (1.0 - x * x) / (d * d)


def small_weights(w):
    xp = backends.namespace(w)
    return 1e-3 * xp.sum(w * w)


class Gate(ann.Layer):
    inner: ann.Layer
    strength: float = 0.5

    def call(self, x, ctx):
        return x * (1.0 - self.strength) + self.strength * self.inner(x, ctx)


CUSTOM = [cube_root_ish, small_weights, Gate]
X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")
Y = {"class": np.arange(48) % 3, "size": X[:, :1]}


def rich(backend=None):
    """Schedules, regularizers, a constraint, a custom activation and layer, two outputs, shared weights, a frozen part, running values, dropout."""
    x = ann.Input(6)
    shared = ann.Dense(6, cube_root_ish, kernel_regularizer=small_weights, name="shared")
    h = Gate(ann.Dense(6, "tanh", kernel_regularizer=ann.L1L2(1e-4, 1e-3), kernel_constraint=ann.MaxNorm(2.0)), strength=0.25)(shared(shared(x))) * 2.0 + x
    h = ann.Dropout(0.2)(ann.BatchNormalization()(h))
    m = ann.Model(x, {"class": ann.Dense(3)(h), "size": ann.Dense(1, trainable=False)(h)}, backend=backend, seed=3, name="rich")
    rate = ann.schedules.PiecewiseConstantDecay([3, 6], [0.01, 0.005, 0.002])
    m.compile(ann.AdamW(rate, amsgrad=True, global_clipnorm=1.0), {"class": "categorical_crossentropy", "size": ann.losses.Huber()}, {"class": ["accuracy"]}, {"size": 0.5})
    m.freeze("gate*")
    return m


def same(a, b):
    """Whether two models are equal in all that a file holds."""
    assert a._counters() == b._counters() and a.name == b.name and a.dtype == b.dtype
    assert registry.encode(a.net) == registry.encode(b.net) and registry.encode(a._compiled) == registry.encode(b._compiled)
    mine, others = a._tensors(), b._tensors()
    return mine.keys() == others.keys() and all(x.dtype == others[path].dtype and np.array_equal(x, others[path]) for path, x in mine.items())


def test_a_rich_model_round_trips_and_trains_on_to_the_bit(backend, tmp_path):
    m = rich(backend)
    m.fit(X, Y, epochs=2, batch_size=24, verbose=0)
    m.save(tmp_path / "m")
    again = ann.load(tmp_path / "m", backend=backend, custom=CUSTOM)
    assert same(m, again)
    assert all(np.array_equal(y, again.predict(X)[name]) for name, y in m.predict(X).items())
    assert m.fit(X, Y, epochs=2, batch_size=24, verbose=0).history == again.fit(X, Y, epochs=2, batch_size=24, verbose=0).history
    assert same(m, again)


def test_a_model_of_one_backend_loads_on_another(backend, tmp_path):
    there, here = rich(backend), rich("numpy")
    for m, other in ((there, "numpy"), (here, backend)):
        m.fit(X, Y, batch_size=24, verbose=0)
        m.save(tmp_path / "m")
        loaded = ann.load(tmp_path / "m", backend=other, custom=CUSTOM)
        assert same(m, loaded) and loaded.backend.library is backends.get(other).library
        expected = m.predict(X)
        for name, y in loaded.predict(X).items():
            np.testing.assert_allclose(y, expected[name], rtol=1e-4, atol=1e-5)
        loaded.fit(X, Y, batch_size=24, verbose=0)


def test_custom_things_are_handed_over_and_never_imported(tmp_path):
    rich().save(tmp_path / "m")
    assert same(ann.load(tmp_path / "m", custom={thing.__name__: thing for thing in CUSTOM}), ann.load(tmp_path / "m", custom=CUSTOM))
    with pytest.raises(TypeError, match="custom holds classes and functions; 3 came"):
        ann.load(tmp_path / "m", custom=[3])
    with pytest.raises(registry.UnknownName, match=r"'\w+', which is not part of ann; pass it: ann.load\(path, custom=\["):
        ann.load(tmp_path / "m", custom=CUSTOM[:1])
    m = ann.Model([ann.Input(6), ann.Dense(3, lambda x: x)])
    (tmp_path / "m").write_bytes(old := (tmp_path / "m").read_bytes())
    with pytest.raises(TypeError, match="write it as a function with def"):
        m.save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == old


@pytest.mark.parametrize(
    "value",
    [
        {"class": "layers.Context", "config": {"run": None}},  # a class, but no configuration
        {"class": "functions.relu", "config": {"x": 1}},  # a file calls no functions
        {"class": "os.system", "config": {"command": "true"}},
        {"function": "layers.graph"},
        {"class": "layers.Operator", "config": {"sign": "attrgetter"}},
        {"array": "0"},
        {"tuple": [], "list": []},
        {},
        [1],
    ],
    ids=str,
)
def test_only_configuration_is_made_from_a_file(value):
    with pytest.raises((KeyError, TypeError, ValueError)):
        registry.decode(value, registry.known())


def test_whatever_a_model_can_be_made_of_is_known():
    known = set(map(id, registry.known().values()))
    modules = (ann.layers, ann.losses, ann.optimizers, ann.schedules, ann.initializers, ann.metrics, ann.regularizers, ann.constraints)
    public = [value for module in (ann, *modules) for name, value in vars(module).items() if not name.startswith("_")]
    configurations = [value for value in public if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__.startswith("ann.")]
    not_in_files = {"Fit", "LBFGS", "Training", "Custom"}
    assert len(configurations) > 40
    assert not [value.__name__ for value in configurations if id(value) not in known and value.__name__ not in not_in_files]


def test_non_finite_numbers_survive_a_description():
    value = {"a": (float("inf"), [-float("inf"), 0.1, None]), 3: "text"}
    assert registry.decode(json.loads(json.dumps(registry.encode(value))), {}) == value
    assert np.isnan(registry.decode(registry.encode(float("nan")), {})) and type(registry.encode(np.int64(3))) is int
    with pytest.raises(TypeError, match="cannot be written"):
        registry.encode(object())


def test_weights_that_do_not_fit_are_refused_and_the_model_stays(tmp_path):
    m = ann.Model([ann.Input(6), ann.Dense(4), ann.Dense(3)], seed=0)
    wider = ann.Model([ann.Input(6), ann.Dense(5), ann.Dense(3)], seed=1)
    longer = ann.Model([ann.Input(6), ann.Dense(4), ann.Dense(3), ann.Dense(2)], seed=1)
    before = m._tensors()
    for other, message in ((wider, r"dense/kernel has shape \(6, 5\), the model's is \(6, 4\)"), (longer, "the file has .*dense_2/bias.*, the model needs")):
        other.save_weights(tmp_path / "w")
        with pytest.raises(ann.FileError, match=message):
            m.load_weights(tmp_path / "w")
    for replaced, message in ((np.full((6, 4), np.nan, "float32"), "dense/kernel is not finite"), (np.ones((6, 4), "int32"), "dense/kernel is int32")):
        files.write(tmp_path / "w", before | {"params/dense/kernel": replaced}, {})
        with pytest.raises(ann.FileError, match=message):
            m.load_weights(tmp_path / "w")
    assert all(np.array_equal(x, before[path]) for path, x in m._tensors().items())
    longer.save_weights(tmp_path / "w")
    m.load_weights(tmp_path / "w", only="dense_1")
    assert np.array_equal(m.params["dense_1"]["kernel"], longer.params["dense_1"]["kernel"]) and np.array_equal(m.params["dense"]["kernel"], before["params/dense/kernel"])
    with pytest.raises(ann.FileError, match="load_weights"):
        ann.load(tmp_path / "w")


def test_everything_frozen_saves_and_loads(tmp_path):
    m = ann.Model([ann.Input(6), ann.Dense(3)], seed=0)
    m.compile("adam", "categorical_crossentropy")
    m.freeze("*")
    m.fit(X, Y["class"], verbose=0)
    m.save(tmp_path / "m")
    again = ann.load(tmp_path / "m")
    assert same(m, again)
    again.unfreeze("*")
    again.fit(X, Y["class"], verbose=0)
