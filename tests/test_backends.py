"""Choosing a backend, its doors, the input gate, and trees."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backends
from backends import tree

ROOT = Path(__file__).parent.parent
NUMPY = backends.get("numpy")


def test_names_that_need_a_choice_or_are_misspelt_say_what_is_usable():
    for name in ("gpu", "cuda"):
        with pytest.raises(ValueError, match='which library.*"cupy".*Usable here: "numpy"'):
            backends.get(name)
    with pytest.raises(ValueError, match='unknown backend "nunpy". Did you mean "numpy"'):
        backends.get("nunpy")
    with pytest.raises(ValueError, match='unknown backend "strict". Did you mean "array_api_strict"'):
        backends.get("strict")


def test_auto_is_a_gpu_or_numpy():
    assert backends.get("auto").name in ("cupy", "torch:cuda", "jax:gpu", "numpy")


def test_available_gives_a_reason_for_what_does_not_run():
    for name, state in backends.available().items():
        assert state.usable != bool(state.reason), name
    assert backends.available()["numpy"].usable


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment})


def test_environment_names_the_default():
    done = run("import backends; print(backends.get().name)", ANN_BACKEND="array_api_strict:device1")
    assert done.stdout.strip() == "array_api_strict:device1" or "not installed" in done.stderr


FAKE = """
class CUDARuntimeError(RuntimeError):
    status = {status}
class runtime:
    CUDARuntimeError = CUDARuntimeError
    @staticmethod
    def getDeviceCount():
        if {status}: raise CUDARuntimeError("cudaError {status}")
        return 1
    @staticmethod
    def getDevice(): return 0
class Device:
    def __init__(self, n): self.id = n
    def __enter__(self): return self
    def __exit__(self, *a): pass
class cuda:
    runtime = runtime
    Device = Device
    @staticmethod
    def is_available(): return not {status}
__version__ = "14.2.0"
def ElementwiseKernel(*a, **k): return None
def asarray(*a, **k): raise RuntimeError("libnvrtc.so.13: cannot open shared object file")
"""


@pytest.mark.parametrize(("status", "reason"), [(35, "no NVIDIA driver"), (100, "CUDA finds no GPU"), (0, "not NVRTC")])
def test_cupy_that_cannot_run_says_why(tmp_path, status, reason):
    (tmp_path / "cupy" / "lib").mkdir(parents=True)
    (tmp_path / "cupy" / "__init__.py").write_text(FAKE.format(status=status))
    (tmp_path / "cupy" / "lib" / "__init__.py").touch()
    (tmp_path / "cupy" / "lib" / "stride_tricks.py").write_text("as_strided = None\n")
    (tmp_path / "cupyx").mkdir()
    (tmp_path / "cupyx" / "__init__.py").touch()
    (tmp_path / "cupyx" / "scipy.py").write_text("class special: erf = erfc = gammaln = digamma = None\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport types, cupy\n"
        "fake = types.ModuleType('array_api_compat.cupy'); fake.__getattr__ = lambda n: (lambda *a, **k: None)\n"
        "import array_api_compat; sys.modules['array_api_compat.cupy'] = fake; array_api_compat.cupy = fake\n"
        "import backends\ntry: backends.get('cupy')\nexcept backends.BackendUnavailable as e: print(e)"
    )
    done = run(code)
    assert reason in done.stdout, done.stdout + done.stderr


def test_missing_library_names_the_extra(monkeypatch):
    from backends import backend

    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    backend.status.cache_clear()
    try:
        state = backend.status("cupy")
        assert not state.usable and "ann-array-api[cuda12]" in state.reason
    finally:
        backend.status.cache_clear()


def test_module_prints_every_library():
    done = run("import runpy; runpy.run_module('backends', run_name='__main__')")
    assert done.returncode == 0 and all(name in done.stdout for name in ("numpy", "cupy", "torch", "jax", "array_api_strict", "NumPy's products", "jit of NumPy arrays"))


@pytest.mark.parametrize(("kernel", "flags", "told"), [
    ("Haswell", "avx avx2 avx512f", True), ("Zen", "avx avx2", False), ("Prescott", "sse4_2 avx avx2", True), ("SkylakeX", "avx avx2 avx512f", False),
    ("neoversen1", "", False),
])  # fmt: skip
def test_older_kernels_than_the_processor_has_are_hinted_at(monkeypatch, kernel, flags, told):
    main = importlib.import_module("backends.__main__")
    monkeypatch.setattr(main, "processor", lambda: max((main.FLAGS[flag] for flag in flags.split()), default=0))
    assert main.hint(None, kernel) == ""
    assert bool(main.hint(kernel, kernel)) == told


def test_values_survive_the_doors(backend):
    for x in (np.arange(6.0).reshape(2, 3), np.float32(2.5), np.zeros((0, 3), dtype="float32"), np.array([True, False]), np.arange(3)):
        y = backend.to_numpy(backend.asarray(x))
        assert np.array_equal(y, x) and y.shape == np.shape(x) and y.dtype == np.asarray(x).dtype


def test_python_floats_take_the_working_dtype(backend):
    assert backend.asarray([1.0, 2]).dtype == backend.dtype
    assert backends.get(backend.name, dtype="float64").asarray(1.5).dtype == backend.library.dtype("float64")
    assert backend.asarray(np.ones(2)).dtype == backend.library.dtype("float64")


def test_arrays_move_and_know_where_they_are(backend):
    values = {"a": np.arange(3.0), "b": [np.ones((2, 2), dtype="float32"), None, "text", 3]}
    moved = backends.move(values, backend)
    assert backends.of(moved["a"]).library is backend.library and backends.of(moved["a"]).device == backend.device
    back = backends.move(moved, "numpy")
    assert np.array_equal(back["a"], values["a"]) and back["b"][2:] == ["text", 3]


def test_arrays_of_two_libraries_are_named():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="two libraries meet: numpy and array_api_strict"):
        backends.namespace(np.ones(2), strict.ones(2))
    with pytest.raises(TypeError, match="no array among"):
        backends.namespace(1.0, None)
    with pytest.raises(TypeError, match="is not an array"):
        backends.namespace("text")


class Frame:
    """Column data as pandas has it."""

    columns = ["a", "b"]
    iloc = None

    def __init__(self, **columns):
        self.data = columns

    def __getitem__(self, name):
        column = self.data[name]
        return type("Column", (), {"dtype": column.dtype, "to_numpy": lambda self: column})()

    def to_numpy(self):
        return np.stack(list(self.data.values()), axis=1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([[1, "a"]], dtype=object), "objects"),
        (np.array(["a"]), "strings"),
        (np.array([b"a"]), "bytes"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "dates"),
        (np.ones(2, dtype=complex), "complex"),
        (np.ones(2, dtype=np.longdouble), "long double"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), "masked"),
        ([[1.0, 2.0], [3.0]], "rectangular"),
        ("text", "not data for an array"),
        (None, "not data for an array"),
        ({"a": 1}, "not data for an array"),
        (Frame(a=np.ones(2), b=np.array(["x", "y"])), "column 'b'"),
    ],
)
def test_the_gate_refuses_and_explains(bad, message):
    with pytest.raises((TypeError, ValueError), match=message):
        NUMPY.asarray(bad)


def test_the_gate_refuses_matrix_and_sparse():
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1.0]])
    with pytest.raises(TypeError, match="np.matrix"):
        NUMPY.asarray(matrix)
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    with pytest.raises(TypeError, match="toarray"):
        NUMPY.asarray(sparse.csr_array(np.eye(2)))


def test_the_gate_refuses_a_function():
    def batches():
        yield from ()

    with pytest.raises(TypeError, match=r"x is a function, not data for an array; of a generator function call it: batches\(\)"):
        NUMPY.asarray(batches)


def test_the_gate_names_the_first_value_that_is_not_finite():
    with pytest.raises(ValueError, match=r"2 values that are not finite, the first at \(0, 1\): nan"):
        NUMPY.asarray(np.array([[1, np.nan], [np.inf, 0]]), finite=True)
    assert np.isnan(NUMPY.asarray([np.nan])[0])


def test_the_gate_settles_memory_and_never_writes_to_it(backend):
    base = np.arange(12.0).reshape(3, 4)
    frozen = base.copy()
    frozen.flags.writeable = False
    for odd in (base[::-1], base.T, base[:, ::2], base.astype(">f8"), frozen, np.asfortranarray(base), Frame(a=base[0], b=base[1])):
        expected = np.array(odd.to_numpy() if isinstance(odd, Frame) else odd)
        x = backend.asarray(odd)
        assert np.array_equal(backend.to_numpy(x), expected)
    with pytest.raises(ValueError, match="read-only"):
        frozen[0, 0] = 1.0
    settled = NUMPY.asarray(frozen)
    settled[0, 0] = 99.0
    assert frozen[0, 0] == 0.0


# ---------------------------------------------------------------------------------------------------------------- trees


def test_trees_have_leaves_paths_and_are_filled():
    p = {"a": [1, (2, None)], "b": {"c": 3}, "d": {}}
    assert tree.leaves(p) == [1, 2, 3] and tree.paths(p) == ["a/0", "a/1/0", "b/c"]
    assert tree.map(lambda x: x * 10, p) == {"a": [10, (20, None)], "b": {"c": 30}, "d": {}}
    assert tree.fill(p, "xyz") == {"a": ["x", ("y", None)], "b": {"c": "z"}, "d": {}}
    with pytest.raises(ValueError, match="3 leaves, 1 values"):
        tree.fill(p, [1])


def test_trees_are_matched_by_key_and_differences_are_located():
    assert tree.map(lambda a, b: a - b, {"x": 5, "y": 7}, {"y": 2, "x": 1}) == {"x": 4, "y": 5}
    with pytest.raises(ValueError, match="differ at b: c and d"):
        tree.map(max, {"b": {"c": 1}}, {"b": {"d": 1}})
    with pytest.raises(ValueError, match="differ at a: 2 entries and 1 entries"):
        tree.map(max, {"a": [1, 2]}, {"a": [1]})


def test_trees_split_and_merge_by_glob():
    p = {"conv1": {"w": 1}, "conv2": {"w": 2}, "dense": {"w": 3}}
    inside, outside = tree.split(p, "conv*")
    assert inside == {"conv1": {"w": 1}, "conv2": {"w": 2}} and tree.merge(inside, outside) == p
    assert tree.unflatten(tree.flatten(p)) == p
    with pytest.raises(ValueError, match="both trees have conv1/w"):
        tree.merge(p, inside)
