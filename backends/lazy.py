"""Names of a package that are imported when they are first asked for, so that `import` itself is about as quick as NumPy's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any


def lazily(package: str, homes: dict[str, str], stars: tuple[str, ...] = (), modules: str = "") -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """(__getattr__, __dir__) for a package: homes = {module: "its names in the package"}; of the modules in stars, all that is public.

    Its modules are attributes too, whether imported or not; __dir__ shows those in `modules`, which a user is to find.
    __all__ is what it shows without them: a star brings names. AttributeError with the nearest name for another.
    """
    at_once = [name for name in vars(sys.modules[package]) if not name.startswith("_") and name not in ("TYPE_CHECKING", "lazily")]
    home = {name: module for module, names in homes.items() for name in names.split()}
    module = sys.modules[package]

    def find(name: str) -> Any:
        if name in home:
            return getattr(importlib.import_module(home[name]), name)
        try:
            return importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{package}.{name}":
                raise  # the module is there, what it needs is not
        for star in map(importlib.import_module, stars):
            if name in star.__all__:
                return getattr(star, name)
        from difflib import get_close_matches

        nearest = get_close_matches(name, shown(), 1)
        raise AttributeError(f"module {package!r} has no attribute {name!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else ""))

    def names() -> list[str]:
        return sorted({*at_once, *home, *(name for star in map(importlib.import_module, stars) for name in star.__all__)})

    def shown() -> list[str]:
        return sorted({*names(), *modules.split()})

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            return names()
        if name.startswith("_"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = find(name)
        setattr(module, name, value)
        return value

    return __getattr__, shown
