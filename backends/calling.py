"""How a call goes where Python does it: the arguments' trees, the program, and the result's tree, in one function that is written for them.

The same in machine code is native/call.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backends.library import library_of

Tree = Any


def unknown(*args: Any) -> Any:
    """What knows no arguments yet."""
    return NotImplemented


def is_data(x: Any) -> bool:
    try:
        return library_of(x).rank == 0
    except TypeError:
        return False


def held_as(x: Any, scope: dict[str, Any]) -> str:
    """A name for x in generated code."""
    name = f"k{len(scope)}"
    scope[name] = x
    return name


def written(shape: Tree, made: Any, scope: dict[str, Any]) -> str:
    """The tree that f returned as an expression made of its containers, of arrays v, output k at v[places[k]]."""

    def write(x: Any) -> str:
        if x is None:
            return "None"
        if type(x) is dict and all(type(key) in (str, int) for key in x):
            return "{" + ", ".join(f"{key!r}: {write(part)}" for key, part in x.items()) + "}"
        if isinstance(x, dict):
            return f"dict(zip({held_as(list(x), scope)}, [{', '.join(write(part) for part in x.values())}]))"
        if isinstance(x, list):
            return "[" + ", ".join(map(write, x)) + "]"
        if isinstance(x, tuple):
            inner = "(" + "".join(write(part) + ", " for part in x) + ")"
            if hasattr(x, "_fields"):
                return f"{held_as(type(x), scope)}(*{inner})"
            return inner
        if made.places[x] is None:
            return held_as(made.program.outputs[x], scope)
        if x in made.weak:
            fetch = made.program.library.fetch
            return f"{held_as(lambda value: fetch(value).item(), scope)}(v[{made.places[x]}])"
        return f"v[{made.places[x]}]{'[()]' if x in made.scalars else ''}"

    return write(shape)


def python_call(made: Any, args: tuple[Any, ...], static: frozenset[int]) -> Callable[..., Any]:
    """call(*args) → the result for arguments like these, NotImplemented for others: `_flatten`, the program and the result in one function.

    An array that is a result of the last call, where it replaced a donated one, is known and not looked at again.
    """
    came_from = {place: n for n, place in enumerate(made.program.donated.values())}
    scope = {**made.scope, "execute": made.execute, "last": (None,) * len(came_from)}
    lines: list[str] = []
    leaves: list[str] = []

    def held(x: Any) -> str:
        return held_as(x, scope)

    def check(condition: str) -> None:
        lines.append(f"    if not ({condition}): return NotImplemented")

    def unpacked(n: int, stem: str, code: str) -> list[str]:
        names = [f"{stem}{len(lines)}_{k}" for k in range(n)]
        lines.append(f"    [{', '.join(names)}] = {code}")  # ValueError where there are more or fewer, TypeError where there are none
        return names

    def walk(x: Any, v: str) -> None:
        if isinstance(x, dict):
            keys = [repr(key) if type(key) is str else held(key) for key in x]
            names = unpacked(len(x), "q", v)
            check(" and ".join([f"type({v}) is {held(type(x))}", *map("{} == {}".format, names, keys)]))
            for key, part in zip(keys, x.values(), strict=True):
                value = f"v{len(lines)}"
                lines.append(f"    {value} = {v}[{key}]")
                walk(part, value)
        elif isinstance(x, list | tuple):
            check(f"type({v}) is {held(type(x))}")
            for part, value in zip(x, unpacked(len(x), "v", v), strict=True):
                walk(part, value)
        elif type(x) in (int, float):
            check(f"type({v}) is {type(x).__name__}")
            leaves.append(v)
        elif is_data(x):
            place = library_of(x).place_of(x)
            where = "" if place is None else f" and {held(library_of(x).place_of)}({v}) == {held(place)}"
            known_as = f"{v} is last[{came_from[len(leaves)]}] or " if len(leaves) in came_from else ""
            check(f"{known_as}type({v}) is {held(type(x))} and {v}.shape == {held(x.shape)} and {v}.dtype == {held(x.dtype)}{where}")
            leaves.append(v)
        else:
            same(x, v)

    def same(x: Any, v: str) -> None:
        """Other objects must be the very same; equal ones are looked at again by `_flatten`."""
        if type(x) is tuple:
            check(f"type({v}) is tuple")
            for part, value in zip(x, unpacked(len(x), "v", v), strict=True):
                same(part, value)
        else:
            plain = type(x) in (str, int, bool) or (type(x) is float and x)  # 0.0 is not −0.0
            check(f"type({v}) is {type(x).__name__} and {v} == {held(x)}" if plain else f"{v} is {held(x)}")

    for i, (x, v) in enumerate(zip(args, unpacked(len(args), "v", "args"), strict=True)):
        (same if i in static else walk)(x, v)
    given = "".join(f"v[{made.places[k]}], " for k in made.program.donated)
    source = ["def call(*args):", "  global last", "  try:", *lines, "  except (TypeError, ValueError): return NotImplemented"]
    source += [f"  v = execute([{', '.join(leaves)}])", *([f"  last = ({given})"] if given else []), f"  return {made.written}"]
    exec("\n".join(source), scope)
    call: Callable[..., Any] = scope.pop("call")
    return call
