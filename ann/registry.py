"""Names for what a file may describe: layers, losses, optimizers, schedules and functions, from a closed list.

A file holds numbers, strings and these names. Nothing is imported or executed by a name from a file; what is not in the
list, or among the `custom` things that the caller hands over, is refused.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
from typing import Any

from ann import constraints, functions, initializers, layers, losses, metrics, optimizers, regularizers, schedules


class UnknownName(ValueError, TypeError):
    """A file names a class or function that is not known here."""


def known(custom: Any = ()) -> dict[str, Any]:
    """{name: class or function} of everything public that a configuration can hold, and of the custom things: one, several, or a dict of them as in Keras."""
    found: dict[str, Any] = {}
    for module in (initializers, regularizers, constraints, metrics, schedules, optimizers, losses, functions, layers):
        for name in getattr(module, "__all__", dir(module)):
            value = getattr(module, name)
            if not name.startswith("_") and callable(value):
                key = f"{module.__name__.rpartition('.')[2]}.{name}"
                found[key] = value
    if callable(custom):
        custom = (custom,)
    for value in custom.values() if isinstance(custom, dict) else custom:
        if not hasattr(value, "__name__"):
            raise TypeError(f"custom holds classes and functions; {value!r} came")
        found[f"custom.{value.__name__}"] = value
    return found


def encode(value: Any, arrays: dict[str, Any] | None = None) -> Any:
    """A configuration as JSON values; arrays go to the dict that is given. TypeError for what a file could not describe."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}  # JSON has no name for it
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, numbers.Integral):  # of NumPy
        return int(value)
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [encode(part, arrays) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, arrays), encode(part, arrays)] for key, part in value.items()]}
    if arrays is not None and hasattr(value, "shape") and hasattr(value, "dtype"):
        key = str(len(arrays))
        arrays[key] = value
        return {"array": key}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        config = {item.name: encode(getattr(value, item.name), arrays) for item in dataclasses.fields(value) if item.init}
        return {"class": name_of(type(value)), "config": config}
    if callable(value):
        return {"function": name_of(value)}
    raise TypeError(f"save: {value!r} cannot be written to a file; layers, functions, numbers, strings, tuples and dicts can")


def decode(value: Any, names: dict[str, Any], arrays: dict[str, Any] | None = None) -> Any:
    """What `encode` wrote, with these names. UnknownName says which to pass in `custom`; KeyError or TypeError what no encode wrote."""
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise TypeError("a list without its kind")
        return value
    if value.keys() == {"class", "config"}:
        made = _found(value["class"], names)
        if not (isinstance(made, type) and dataclasses.is_dataclass(made)):
            raise TypeError(f"{value['class']!r} is no class of configuration")
        return made(**{name: decode(part, names, arrays) for name, part in value["config"].items()})
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(decode(part, names, arrays) for part in content)
    if kind == "list":
        return [decode(part, names, arrays) for part in content]
    if kind == "dict":
        return {decode(key, names, arrays): decode(part, names, arrays) for key, part in content}
    if kind == "float":
        return float(content)
    if kind == "array" and arrays is not None:
        return arrays[content]
    if kind == "function":
        return _found(content, names)
    raise KeyError(kind)


def _found(key: str, names: dict[str, Any]) -> Any:
    if key not in names:
        short = str(key).rpartition(".")[2]
        raise UnknownName(f"the file uses {short!r}, which is not part of ann; pass it: ann.load(path, custom=[{short}])")
    return names[key]


def name_of(thing: Any) -> str:
    """The name of a class or function in the list; "custom.…" for one of the user's own. TypeError for a lambda."""
    for key, value in known().items():
        if value is thing:
            return key
    name = getattr(thing, "__name__", "")
    if not name.isidentifier() or not (inspect.isclass(thing) or callable(thing)):
        raise TypeError(f"save: {thing!r} has no name to find it again; write it as a function with def, and pass custom=[it] to ann.load")
    return f"custom.{name}"
