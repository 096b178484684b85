"""What abstract arrays remember of how they were made: the call, and the region of the formula it stands in."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from backends.wrapped import users_line

_serials = itertools.count()


class Call:
    """One call of a function on abstract arrays. Later calls have larger serials, so that sorting by them is the order of the text.

    arguments: the origins of arrays (Made, Input, Captured; not the arrays, which x[k] = v can rebind), numbers, None, lists.
    """

    __slots__ = ("arguments", "line", "name", "outputs", "region", "serial", "static")

    def __init__(self, name: str, arguments: tuple[Any, ...], static: dict[str, Any], outputs: list[tuple[tuple[int, ...], str]]):
        self.name = name
        self.arguments = arguments
        self.static = static
        self.outputs = outputs  # (shape, name of the dtype) of each
        self.region = _here.region
        self.serial = next(_serials)
        self.line = users_line() if _here.locating else None


class Made:
    """The origin of an array that a call made: the call, and which of its outputs it is."""

    __slots__ = ("call", "slot")

    def __init__(self, call: Call, slot: int):
        self.call, self.slot = call, slot

    @property
    def key(self) -> Any:
        """What tells origins apart."""
        return self.call.serial, self.slot

    @property
    def spec(self) -> tuple[tuple[int, ...], str]:
        return self.call.outputs[self.slot]


class Input:
    """The origin of an argument of the function that is traced."""

    __slots__ = ("path", "spec")

    def __init__(self, path: str, shape: tuple[int, ...], dtype: str):
        self.path = path
        self.spec = (shape, dtype)

    @property
    def key(self) -> Any:
        return id(self)


class Captured:
    """The origin of an array with data that the function closes over: an input by reference, read at each call."""

    __slots__ = ("array", "spec")

    def __init__(self, array: Any, dtype: str):
        self.array = array
        self.spec = (tuple(array.shape), dtype)

    @property
    def key(self) -> Any:
        return id(self.array)


Origin = Made | Input | Captured


@dataclass(frozen=True)
class Region:
    """Which formula a call belongs to: softmax, its third call, its static arguments, value or pullback; and the region around it.

    Around formulas stand layers: the path of each, and "layer" for the part.

    A lowering may take a whole region (a convolution, an attention) where it supplies all that is read outside it.
    """

    name: str
    number: int
    part: str
    static: dict[str, Any] = field(compare=False)
    outer: Region | None

    def __str__(self) -> str:
        return f"{self.name}.{self.number}{'′' if self.part == 'pullback' else ''}"


class _Here(threading.local):
    region: Region | None = None
    depth = 0  # traces under way in this thread
    locating = False


_here = _Here()
active = 0  # traces under way, in any thread: where it is 0, regions need not be noted
_counting = threading.Lock()


@contextmanager
def tracing(locating: bool = False) -> Iterator[None]:
    """A trace for a program is under way: formulas note their regions, and calls, if they are to be located, the user's line."""
    global active
    with _counting:
        active += 1
    before = _here.locating
    _here.depth, _here.locating = _here.depth + 1, locating
    try:
        yield
    finally:
        _here.depth, _here.locating = _here.depth - 1, before
        with _counting:
            active -= 1


def under_way() -> bool:
    """Whether a trace for a program is under way in this thread."""
    return _here.depth > 0


_numbers = itertools.count(1)


def new_region() -> int:
    """A number for one call of a primitive."""
    return next(_numbers)


@contextmanager
def region(name: str, number: int, part: str, static: dict[str, Any]) -> Iterator[None]:
    """Calls made inside belong to this part of this formula."""
    outer = _here.region
    _here.region = Region(name, number, part, static, outer)
    try:
        yield
    finally:
        _here.region = outer
