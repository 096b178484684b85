"""scan: a loop whose steps have one shape, over the leading axis of a tree of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backends import tree
from backends.library import namespace

Tree = Any


def scan(
    f: Callable[[Tree, Tree], tuple[Tree, Tree]], carry: Tree, xs: Tree, *, length: int | None = None, reverse: bool = False
) -> tuple[Tree, Tree]:
    """carry, yₜ = f(carry, xₜ) for t = 0, 1, …; returns (carry, ys) with the yₜ stacked along a new first axis.

    xs: a tree of arrays with one leading length, or None with `length` given. reverse: from the last to the first, the ys
    in the order of the xs. ValueError when the lengths differ or nothing says how long.
    """
    lengths = {x.shape[0] for x in tree.leaves(xs)} | ({length} if length is not None else set())
    if len(lengths) != 1:
        raise ValueError(f"scan: the leaves of xs and length= must agree in one length; they are {sorted(lengths) or 'none'}")
    n = lengths.pop()
    ys: list[Any] = []
    for t in reversed(range(n)) if reverse else range(n):
        carry, y = f(carry, tree.map(lambda x, t=t: x[t, ...], xs))
        ys.append(y)
    if reverse:
        ys.reverse()
    if not ys:
        return carry, None
    return carry, tree.map(lambda *rows: namespace(*rows).stack(list(rows), axis=0), *ys)
