"""Which library an array belongs to: one `Library` for each, found from the type of an array."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import NoneType
from typing import Any

Array = Any  # an array of any library that follows the standard


class Library:
    """One array library: its namespace, its native gap functions, and the doors in and out.

    A subclass is written for each library that the package knows; this class serves every other one that follows the
    standard: everything in it is portable.
    """

    name: str = ""
    title: str = ""  # as messages write it
    to_host: str = "backends.of({x}).to_numpy({x})"  # how a user brings {x} to the host, as messages write it
    rank = 0  # `namespace` prefers 2 (traced) over 1 (abstract) over 0 (arrays with data)

    def __init__(self, name: str, xp: Any, title: str = ""):
        self.name = name
        self.title = title or name
        self.xp = xp
        self.version = ""
        self.gaps: dict[str, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        return f"<library {self.name}>"

    def dtype(self, name: str) -> Any:
        """The library's dtype of this name: "float32"."""
        return getattr(self.xp, name)

    def check_dtype(self, name: str, device: Any) -> None:
        """Raise where the device cannot compute with this float type."""

    # devices

    def device(self, name: str) -> Any:
        """The device of this name ("" is the default one); BackendUnavailable where there is none."""
        raise NotImplementedError

    def device_of(self, x: Array) -> Any:
        """The device of x, in the words of its library."""
        return getattr(x, "device", None)

    def show_device(self, device: Any) -> str:
        """The device, as messages write it: "cuda:0"."""
        return str(device)

    def name_of(self, device: Any) -> str:
        """The backend's name for this device: "cupy:1"."""
        return self.name

    def on_host(self, x: Array) -> bool:
        """Whether the data of x lie in the host's memory."""
        return True

    def synchronize(self, device: Any) -> None:
        """Wait for the device."""

    def explain(self, error: Exception) -> str:
        """Why a first kernel failed, and what to do."""
        return f"a first computation fails: {type(error).__name__}: {error}"

    # programs

    lowerings: tuple[str, ...] = ("replay",)  # the names that jit(lowering=) takes

    def lower(self, program: Any, lowering: str | None = None) -> Callable[[list[Array]], list[Array]]:
        """What runs a Program on arrays of this library: the lowering of this name, or None for what the library takes by itself."""
        if lowering is not None and lowering not in self.lowerings:
            raise ValueError(f"jit: {self.name} has the lowerings {', '.join(self.lowerings)}; {lowering!r} came")
        return Replay(program) if lowering == "replay" else self.compile(program, lowering)

    def compile(self, program: Any, lowering: str | None) -> Callable[[list[Array]], list[Array]]:
        """One of the library's own lowerings; here there is none, and the replay serves."""
        return Replay(program)

    def place_of(self, x: Array) -> Any:
        """What besides type, shape and dtype tells programs apart: the device, hashable."""
        return self.device_of(x)

    def admit(self, x: Array) -> None:
        """TypeError where x is more than its values, of which a program would know nothing: masked, a matrix."""

    def scalar(self, number: Any, dtype: str, device: Any) -> Array:
        """A Python number as a 0-d array."""
        return self.xp.asarray(number, dtype=self.dtype(dtype), device=device)

    # doors

    def put(self, host: Any, device: Any, dtype: Any) -> Array:
        """A NumPy array (already through the gate) as an array here."""
        return self.xp.asarray(host, dtype=dtype, device=device, copy=True)

    def place(self, x: Array, device: Any) -> Array:
        """x, an array of this library, on this device."""
        return x if self.device_of(x) == device else x.to_device(device)

    def fetch(self, x: Array) -> Any:
        """The values as a NumPy array."""
        return known("numpy").xp.asarray(x)


class Replay:
    """A Program run by its library's own functions, in order."""

    def __init__(self, program: Any):
        self.program = program

    def __call__(self, arrays: list[Array]) -> list[Array]:
        return self.program.run(arrays)  # type: ignore[no-any-return]

    def explain(self) -> str:
        return f"{self.program.library.name}: plain replay, {len(self.program.body)} instructions by the library's own functions"


class _Nothing(Library):
    """What Python scalars and None belong to: no library, so they are ignored."""

    rank = -1


NOTHING = _Nothing("python", None)

# The modules in which the classes of arrays live, and ours that know those libraries.
KNOWN = {
    "numpy": "backends.numpy",
    "cupy": "backends.cupy",
    "torch": "backends.torch",
    "jax": "backends.jax",
    "jaxlib": "backends.jax",
    "array_api_strict": "backends.strict",
}

_by_type: dict[type, Library] = dict.fromkeys((int, float, complex, bool, NoneType), NOTHING)


def register(array_type: type, library: Library) -> None:
    """Arrays of exactly this type belong to this library."""
    _by_type[array_type] = library


def known(name: str) -> Library:
    """The Library object of one that the package knows, by its name; importing it is the caller's risk."""
    library: Library = importlib.import_module(KNOWN[name]).library
    return library


@functools.cache
def _foreign(xp: Any) -> Library:
    return Library(getattr(xp, "__name__", type(xp).__name__), xp)


def library_of(x: Any) -> Library:
    """The library x belongs to. TypeError when x is no array."""
    try:
        return _by_type[type(x)]
    except KeyError:
        pass
    for ancestor in type(x).__mro__:
        root = ancestor.__module__.partition(".")[0]
        if root in KNOWN and hasattr(x, "dtype"):
            library = known(root)
            break
    else:
        if not hasattr(x, "__array_namespace__"):
            raise TypeError(
                f"{_show(x)} is not an array. Wanted: an array of numpy, cupy, torch, jax or another library of the "
                "Array API standard. backends.get().asarray(x) makes one of lists and other data."
            )
        library = _foreign(x.__array_namespace__())
    register(type(x), library)
    return library


def common_library(*arrays: Any) -> Library:
    """The library that these arguments have in common: traced before abstract before arrays with data."""
    found: Library = NOTHING
    for x in arrays:
        try:
            library = _by_type[type(x)]
        except KeyError:
            library = library_of(x)
        if library is not found:
            if library.rank > found.rank:
                found = library
            elif library.rank == found.rank:
                raise TypeError(
                    f"arrays of two libraries meet: {found.name} and {library.name}. "
                    "backends.move(tree, backend) takes all of them to one."
                )
    return found


def namespace(*arrays: Any) -> Any:
    """The namespace of the standard that these arrays have in common; None and Python scalars are ignored.

    xp = namespace(x, w, b) is the first line of every formula. It costs a dictionary look-up an argument.
    TypeError when there is no array among them, or arrays of two libraries.
    """
    library = common_library(*arrays)
    if library is NOTHING:
        raise TypeError(f"namespace: no array among the arguments {', '.join(map(_show, arrays)) or '()'}")
    return library.xp


def _show(x: Any) -> str:
    text = repr(x)
    return f"{type(x).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def gap(portable: Callable[..., Any]) -> Callable[..., Any]:
    """A function that the standard lacks. The decorated body, in standard calls, is its specification.

    A call looks up the library of its positional arguments (lists of arrays count) and takes, from `library.gaps`, the
    native version, the rule of a traced array, or the one instruction of an abstract one; else it runs the body.
    """
    name = portable.__name__

    @functools.wraps(portable)
    def call(*args: Any, **static: Any) -> Any:
        library: Library = NOTHING
        for x in args:
            found = common_library(*x) if type(x) in (list, tuple) else common_library(x)
            if found.rank > library.rank:
                library = found
        return library.gaps.get(name, portable)(*args, **static)

    call.portable = portable  # type: ignore[attr-defined]
    GAPS[name] = call
    return call


GAPS: dict[str, Callable[..., Any]] = {}
