"""A function that a search evaluates many times: as it is at first, then as a compiled program."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import backends
from backends import library_of, namespace, tree

Array = Any
Tree = Any

AFTER = 20  # evaluations: a short search is over before a program is made


class Repeated:
    """f of trees of arrays, to trees. From evaluation AFTER on it runs under jit, if it can be traced and gives there what f gives."""

    def __init__(self, f: Callable[..., Tree], jit: bool):
        self.f, self.run = f, f
        self.left = AFTER if jit else 0

    def __call__(self, *args: Tree) -> Tree:
        y = self.run(*args)
        self.left -= 1
        if self.left == 0:
            program = backends.jit(self.f)
            try:
                if agree(program(*args), y):
                    self.run = program
            except Exception:  # whatever a function says to arrays without data: it looks at values, and goes on as it is
                pass
        return y


def joined(args: Tree, like: Array) -> Tree:
    """The arrays that a function closes over as a part of the trace to which `like` belongs; outside of one they are as they came."""
    library = library_of(like)
    return tree.map(lambda a: library.xp.asarray(a) if hasattr(a, "dtype") else a, args) if library.rank else args


def agree(a: Tree, b: Tree) -> bool:
    """Whether two trees of arrays are equal to rounding: √ε, relative to the largest entry."""
    for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True):
        xp = namespace(x, y)
        if xp.isdtype(y.dtype, "real floating") and 0 not in y.shape:
            size = float(xp.max(xp.abs(y)))
            if not float(xp.max(xp.abs(x - y))) <= math.sqrt(float(xp.finfo(y.dtype).eps)) * size:
                return False
    return True
