"""Choose a library and a device at run time: `get`, `available`, `of`, `move`, and the frozen value `Backend`."""

from __future__ import annotations

import functools
import importlib.util
import os
from dataclasses import dataclass, field
from typing import Any

from backends import tree
from backends.library import KNOWN, NOTHING, Library, known, library_of

Array = Any

NAMES = ("numpy", "cupy", "torch", "jax", "array_api_strict")
EXTRAS = {"cupy": "cuda12", "torch": "torch", "jax": "jax", "array_api_strict": "test"}
GPUS = ("cupy", "torch:cuda", "jax:gpu")


class BackendUnavailable(RuntimeError):
    """A backend that was asked for by name cannot run here; the message says why and what mends it."""


@dataclass(frozen=True)
class Status:
    """What `available` says of one backend."""

    usable: bool
    version: str = ""
    device: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Backend:
    """A library, a device and a working float type: a value, not a setting.

    be.xp is the library's namespace of the standard; be.asarray is the only door in, be.to_numpy the only door out.
    """

    name: str
    device: Any
    dtype: Any
    library: Library = field(repr=False)

    @property
    def xp(self) -> Any:
        """The namespace: raw numpy, array_api_compat.cupy, array_api_compat.torch, jax.numpy, array_api_strict."""
        return self.library.xp

    def asarray(self, obj: Any, *, dtype: Any = None, finite: bool = False) -> Array:
        """Anything array-like as an array of this backend, checked and normalised.

        Float dtypes are kept; Python floats take be.dtype; integers and booleans stay what they are. Byte order,
        negative strides, read-only memory and Fortran order are settled by a copy: the result never shares memory that
        its owner protects. `dtype`: a name or a dtype of the library. `finite=True` refuses NaN and infinities.
        TypeError for objects, strings, dates, complex data and other libraries' device arrays; it says what to do.
        """
        dtype = self.library.dtype(dtype) if isinstance(dtype, str) else dtype
        library = NOTHING if isinstance(obj, list | tuple) else _library_or_none(obj)
        if library is self.library:
            x = self.library.place(obj, self.device)
            x = self.xp.astype(x, dtype) if dtype is not None and x.dtype != dtype else x
            if finite and self.xp.isdtype(x.dtype, "real floating") and not bool(self.xp.all(self.xp.isfinite(x))):
                known("numpy").gate(self.to_numpy(x), finite=True)  # type: ignore[attr-defined]  # names the place
            return x
        if library not in (None, NOTHING) and library.rank:
            raise TypeError(f"backends.asarray: the array is {library.name}; only arrays with data enter")
        if library not in (None, NOTHING) and not library.on_host(obj):
            raise TypeError(
                f"x is a {library.title} array on {library.show_device(library.device_of(obj))}, this backend is {self.name}. Either bring the data "
                f'to the host first, {library.to_host.format(x="x")}, or work where they are: backends.get("{library.name}").'
            )
        host = known("numpy").gate(  # type: ignore[attr-defined]
            library.fetch(obj) if library not in (None, NOTHING) else obj, finite=finite)
        if dtype is None and _python_floats(obj):
            dtype = self.dtype
        return self.library.put(host, self.device, dtype)

    def to_numpy(self, x: Array) -> Any:
        """The values as a NumPy array: the only call that waits for the device."""
        return self.library.fetch(x)

    def __reduce__(self) -> Any:
        """Pickled by name: what reads it finds the library and the device anew, or says what is missing."""
        return _get, (self.name, "float64" if self.dtype == self.library.dtype("float64") else "float32")

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""
        self.library.synchronize(self.device)


def get(name: str | Backend | None = None, *, dtype: str = "float32") -> Backend:
    """The backend of this name, ready to run.

    "numpy", "cupy", "cupy:1", "torch", "torch:cuda:0", "jax", "jax:gpu", "array_api_strict:device1", or "auto" (the first GPU that
    runs, else NumPy). None is $ANN_BACKEND, else "numpy". `dtype`: the working float type, "float32" or "float64".
    BackendUnavailable with the reason and the next step when it cannot run here; ValueError for a name unknown.
    """
    if isinstance(name, Backend):
        return name
    return _get(name or os.environ.get("ANN_BACKEND") or "numpy", dtype)


@functools.cache
def _get(name: str, dtype: str) -> Backend:
    if name == "auto":
        return _get(next((gpu for gpu in GPUS if status(gpu).usable), "numpy"), dtype)
    library_name, _, device_name = name.partition(":")
    if library_name not in NAMES:
        raise ValueError(_unknown(library_name))
    if dtype not in ("float32", "float64"):
        raise ValueError(f'backends.get: dtype is "float32" or "float64", {dtype!r} came')
    state = status(name)
    if not state.usable:
        raise BackendUnavailable(f'backend "{name}": {state.reason}')
    library = known(library_name)
    device = library.device(device_name)
    library.check_dtype(dtype, device)
    return Backend(name, device, library.dtype(dtype), library)


@functools.cache
def status(name: str) -> Status:
    """Whether this backend runs here: proved by a kernel that ran, step by step, with the reason where it stops."""
    library_name, _, device_name = name.partition(":")
    if importlib.util.find_spec(library_name) is None:
        extra = EXTRAS.get(library_name, library_name)
        other = ", or [cuda13], as nvidia-smi says" if library_name == "cupy" else ""
        return Status(False, reason=f"{library_name} is not installed. pip install 'ann-array-api[{extra}]'{other}")
    try:
        library = known(library_name)
    except Exception as error:  # a broken installation can raise anything at import
        return Status(False, reason=f"import {library_name} fails: {type(error).__name__}: {error}. Reinstall it.")
    try:
        device = library.device(device_name)
    except BackendUnavailable as error:
        return Status(False, library.version, reason=str(error))
    try:
        two = library.put(known("numpy").xp.ones(2, dtype="float32"), device, None)
        found = float(library.fetch(library.xp.sum(two * two)))
    except Exception as error:  # drivers, compilers and memory: each library raises its own classes
        return Status(False, library.version, str(device), library.explain(error))
    if found != 2.0:
        return Status(False, library.version, str(device), f"it computes wrongly: the first sum is {found}, not 2. Look at the device and its driver.")
    return Status(True, library.version, str(device))


def available() -> dict[str, Status]:
    """{name: Status(usable, version, device, reason)} of every backend; each is tried with a small kernel, once."""
    return {name: status(name) for name in NAMES}


def of(x: Array) -> Backend:
    """The backend that holds this array; its dtype is that of x if x is real floating, else float32."""
    library = library_of(x)
    if library is NOTHING:
        raise TypeError(f"backends.of: {type(x).__name__} {x!r} is no array")
    dtype = x.dtype if library.xp.isdtype(x.dtype, "real floating") else library.dtype("float32")
    device = library.device_of(x)
    return Backend(library.name_of(device), device, dtype, library)


def move(values: Any, backend: str | Backend | None) -> Any:
    """The tree with every array on this backend, dtypes kept. What is no array stays as it is."""
    target = get(backend)

    def one(x: Any) -> Any:
        library = _library_or_none(x)
        if library in (None, NOTHING):
            return x
        assert library is not None
        if library.rank:
            raise TypeError(f"backends.move: the array is {library.name}; only arrays with data move")
        if library is target.library:
            return library.place(x, target.device)
        return target.library.put(library.fetch(x), target.device, None)

    return tree.map(one, values)


def host_backend() -> Backend:
    """The NumPy backend, whatever the environment says."""
    return _get("numpy", "float32")


def _library_or_none(x: Any) -> Library | None:
    try:
        return library_of(x)
    except TypeError:
        return None


def _python_floats(obj: Any) -> bool:
    """Whether obj is a Python float, or a list of Python numbers with a float among them: they have no dtype of their own."""

    def kinds(part: Any) -> set[type]:
        return set().union(*map(kinds, part)) if isinstance(part, list | tuple) else {type(part)}

    found = kinds(obj)
    return float in found and found <= {int, float, bool}


def _unknown(name: str) -> str:
    usable = ", ".join(f'"{key}"' for key, state in available().items() if state.usable)
    if name in ("gpu", "cuda"):
        return f'backend "{name}": which library? "cupy", "torch:cuda", or "auto" for the first GPU that runs. Usable here: {usable}.'
    from difflib import get_close_matches

    nearest = [key for key in NAMES if name in key] or get_close_matches(name, (*NAMES, "auto"), 1)
    hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
    return f'unknown backend "{name}".{hint} Usable here: {usable}.'


__all__ = ["KNOWN", "Backend", "BackendUnavailable", "Status", "available", "get", "host_backend", "move", "of", "status"]
