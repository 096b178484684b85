"""Files: what is written is read; what is damaged or hostile is refused; what was there is never lost."""

import json
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ann import files

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
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        (tmp_path / "y").write_bytes(damaged)
        with pytest.raises(files.FileError):
            files.read(tmp_path / "y")


def test_every_truncation_is_refused(tmp_path):
    content = small(tmp_path / "x")
    for length in range(len(content)):
        (tmp_path / "y").write_bytes(content[:length])
        with pytest.raises(files.FileError):
            files.read(tmp_path / "y")


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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.dictionaries(st.text(max_size=3), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
       lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "q"]), s, max_size=4), max_leaves=8), max_size=3))  # fmt: skip
def test_generated_headers_are_read_or_refused(tmp_path, entries):
    (tmp_path / "x").write_bytes(header(entries))
    try:
        files.read_foreign(tmp_path / "x")
    except files.FileError:
        pass


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
