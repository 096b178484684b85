"""jit: run a function of trees of arrays as one compiled program. Until the compiler lands it runs f as it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def jit(f: Callable[..., Any] | None = None, *, donate: Any = (), static: Any = (), check: bool = False) -> Any:
    """f, to be traced once for each shape and compiled; so far it is transparent: f runs eagerly, with the same results.

    donate: arguments whose memory the result may take over; static: arguments that are no arrays; check: run eagerly
    beside it and compare. They are accepted now, so that programs need no change when they begin to have an effect.
    """
    if f is None:
        return functools.partial(jit, donate=donate, static=static, check=check)
    if not callable(f):
        raise TypeError(f"jit takes a function, {type(f).__name__} came")

    @functools.wraps(f, updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)

    return run
