"""Data on their way to a model: checked once, cast to its dtype, moved to its device, cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import backends
from backends import host, library_of, namespace, tree

Array = Any
Tree = Any


def is_plain(x: Any) -> bool:
    """Whether x is host data that is no array of a library: lists, frames."""
    try:
        library_of(x)
    except TypeError:
        return True
    return isinstance(x, int | float | complex | bool) or x is None


def map_data(f: Callable[[Any, str, Any], Any], x: Any, wanted: Tree, name: str = "x") -> Tree:
    """f(array, name, Input) at each array of an input, in the structure of `wanted`, the Inputs that a network was built for.

    None wanted: a dict or a tuple of arrays is several inputs, a list is one. ValueError where x has another structure.
    """
    if wanted is None:
        if isinstance(x, dict):
            return {key: map_data(f, part, None, f"{name}[{key!r}]") for key, part in x.items()}
        if isinstance(x, tuple) and x and all(hasattr(part, "shape") for part in x):
            return tuple(f(part, f"{name}[{i}]", None) for i, part in enumerate(x))
        return f(x, name, None)
    if isinstance(wanted, dict):
        if not isinstance(x, dict) or x.keys() != wanted.keys():
            raise ValueError(f"{name} is {kind(x)}; the network takes a dict with {', '.join(wanted)}")
        return {key: map_data(f, x[key], part, f"{name}[{key!r}]") for key, part in wanted.items()}
    if isinstance(wanted, list | tuple):
        names = [getattr(part, "name", None) for part in wanted]
        if isinstance(x, dict) and x.keys() == set(names):
            return tuple(map_data(f, x[key], part, f"{name}[{key!r}]") for key, part in zip(names, wanted, strict=True))
        if not isinstance(x, list | tuple) or len(x) != len(wanted):
            named = f", or a dict with {', '.join(map(str, names))}" if None not in names else ""
            raise ValueError(f"{name} is {kind(x)}; the network takes {len(wanted)} arrays: a list or tuple of them{named}")
        return tuple(map_data(f, part, spec, f"{name}[{i}]") for i, (part, spec) in enumerate(zip(x, wanted, strict=True)))
    if isinstance(x, dict):
        raise ValueError(f"{name} is {kind(x)}; the network takes one array")
    return f(x, name, wanted)


def leaves(x: Any, wanted: Tree) -> list[Any]:
    """The arrays of an input, as they came."""
    found: list[Any] = []
    map_data(lambda part, name, spec: found.append(part), x, wanted)
    return found


def kind(x: Any) -> str:
    """What x is, for a message."""
    if isinstance(x, dict):
        return f"a dict with {', '.join(map(str, x))}"
    return f"one array of shape {tuple(x.shape)}" if hasattr(x, "shape") else f"a {type(x).__name__} of {len(x)}" if isinstance(x, list | tuple) else f"a {type(x).__name__}"


def enter(x: Any, be: backends.Backend, dtype: str, name: str, *, indices: bool = False, finite: bool = True) -> Array:
    """x on the model's device in the model's dtype; integers stay integers where they are indices.

    Host data travel silently; data of another device never do: TypeError with both ways out. ValueError for NaN and
    infinities, and for a number that overflows to infinity in the model's dtype.
    """
    library = None if is_plain(x) else library_of(x)
    if library is not None and library is not be.library and not library.on_host(x):
        raise TypeError(
            f"{name} is a {library.title} array on {library.show_device(library.device_of(x))}, this model lives on {be.name}. "
            f'model.to("{library.name_of(library.device_of(x))}") moves the model; {library.to_host.format(x=name)} moves the data.'
        )
    try:
        made = be.asarray(x, finite=finite)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error) if not str(error).startswith("x ") else name + str(error)[1:]) from None
    xp = be.xp
    if made.ndim == 0:
        raise ValueError(f"{name} is a single number; wanted: an array whose first axis counts the examples")
    if indices and not xp.isdtype(made.dtype, "real floating"):
        return made
    target = be.library.dtype(dtype)
    if made.dtype == target:
        return made
    if finite and dtype == "float32" and made.dtype == be.library.dtype("float64"):
        largest = float(xp.finfo(target).max)
        if made.shape[0] and not bool(xp.all(xp.abs(made) <= largest)):
            raise ValueError(f"{name} has values above {largest:.3g}, which overflow {dtype}; scale the data, or write Model(…, dtype='float64')")
    return xp.astype(made, target)


class OnDisk:
    """An array whose data stay where they are, in a file: the rows that a batch wants are read, then made ready by `make`."""

    def __init__(self, source: Any, make: Callable[[Any], Array]):
        self.source, self.make = source, make
        self.shape = tuple(source.shape)
        self.ndim = len(self.shape)

    def rows(self, start: int, stop: int) -> Array:
        return self.make(host.asarray(self.source[start:stop]))

    def take(self, order: Any) -> Array:
        """The rows of this index, read in the order of the file."""
        sort = host.argsort(order)
        return self.make(host.asarray(self.source[order[sort]])[host.argsort(sort)])

    def cut(self, start: int, stop: int) -> OnDisk:
        """These rows alone, still unread."""
        return OnDisk(_Part(self.source, start, stop), self.make)


class _Part:
    """Rows start … stop of something that is sliced."""

    def __init__(self, source: Any, start: int, stop: int):
        self.source, self.start, self.stop = source, start, stop
        self.shape = (stop - start, *source.shape[1:])

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self.source[self.start + key.start : min(self.start + key.stop, self.stop)]
        return self.source[key + self.start]


def on_disk(x: Any) -> bool:
    """Whether x is an np.memmap, or another thing with shape, dtype and slices that is no array: a data set of HDF5, zarr, …"""
    if isinstance(x, host.memmap):
        return True
    arrays = ("__array_namespace__", "__dlpack__", "to_numpy", "toarray")
    return all(hasattr(x, name) for name in ("shape", "dtype", "__getitem__")) and not any(hasattr(x, name) for name in arrays)


def later(make: Callable[[Any], Array], x: Any) -> Any:
    """make(x); where x is on the disk, that for each batch when it is read."""
    return OnDisk(x, make) if on_disk(x) and len(x.shape) else make(x)


def length(x: Tree, name: str) -> int:
    """The number of examples; ValueError where the arrays of a tree disagree."""
    sizes = {leaf.shape[0] for leaf in tree.leaves(x)}
    if len(sizes) > 1:
        raise ValueError(f"{name}: its arrays have {' and '.join(map(str, sorted(sizes)))} rows")
    return int(sizes.pop()) if sizes else 0


@backends.jit
def take(x: Tree, index: Array) -> Tree:
    """The rows of this index, of every array."""
    return tree.map(lambda a: namespace(a).take(a, index, axis=0), x)


def take_from_disk(x: Tree, index: Array, order: Any) -> Tree:
    """The same where some are on the disk; `order` is the index on the host."""
    return tree.map(lambda a: a.take(order) if isinstance(a, OnDisk) else namespace(a).take(a, index, axis=0), x)


def rows(x: Tree, start: int, stop: int) -> Tree:
    """Rows start … stop of every array."""
    return tree.fill(x, [a.rows(start, stop) if isinstance(a, OnDisk) else a[start:stop, ...] for a in tree.leaves(x)])


def cut(x: Tree, start: int, stop: int) -> Tree:
    """The same of the data as they are: what is on the disk is not read."""
    return tree.map(lambda a: a.cut(start, stop) if isinstance(a, OnDisk) else a[start:stop, ...], x)


def batches(n: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of each batch; the last may be short."""
    return ((i, min(i + size, n)) for i in range(0, n, size))


def permuted_index(be: backends.Backend, order: Any) -> Array:
    """A host permutation as an index array on the device, in the dtype that indexing wants there."""
    info = be.xp.__array_namespace_info__() if hasattr(be.xp, "__array_namespace_info__") else None
    index = info.default_dtypes(device=be.device)["indexing"] if info is not None else be.library.dtype("int64")
    return be.xp.astype(be.library.put(host.asarray(order), be.device, None), index)
