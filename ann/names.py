"""What a user may call by name: look-up in a table, with the nearest right name in the error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any


def choose(which: Any, table: Mapping[str, Any], kind: str, otherwise: str, fits: Callable[[Any], bool] = callable) -> Any:
    """What a user means: by a name, what the table holds (of a class one with its defaults); anything that fits as it is.

    ValueError with the nearest name; TypeError for a class, and for what does not fit. otherwise: "a function x → y".
    """
    if isinstance(which, str):
        found = find(which, table, kind, f"{otherwise} will do too")
        return found() if isinstance(found, type) else found
    if isinstance(which, type):
        raise TypeError(f"{which.__name__} is a class; write {which.__name__}()")
    if not fits(which):
        raise TypeError(f"a{'n' if kind[0] in 'aeiou' else ''} {kind} is a name, or {otherwise}; {which!r} came")
    return which


def find(name: str, table: Mapping[str, Any], kind: str, otherwise: str = "") -> Any:
    """table[name], case and hyphens aside. ValueError with the nearest name, all names, and what may be written otherwise."""
    key = snake_case(name) if name not in table else name
    key = key if key in table else name.lower().replace("-", "_")
    if key in table:
        return table[key]
    nearest = difflib.get_close_matches(key, table, 1)
    hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
    raise ValueError(f'unknown {kind} "{name}".{hint} There are {", ".join(table)}{otherwise and "; "}{otherwise}.')


def snake_case(name: str) -> str:
    """MaxPooling2D → max_pooling2d, F1Score → f1_score."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
