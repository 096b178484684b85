"""A loop over the leading axis with a state that is carried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backends import tree
from backends.library import common_library, namespace


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, *, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """carry, yₜ = f(carry, xₜ)   for t = 0 … length−1 (length−1 … 0 when reverse) → (carry, ys), yₜ at ys[t].

    xs: a tree whose leaves have one leading size; xₜ is the tree of leaf[t]. None stands for no input: then `length`
    says how often. carry, yₜ: trees; yₜ keeps its structure and shapes. ys stacks its leaves along a new axis 0.
    Under jit it is one instruction with a program of its own for the step; the carry then keeps its shapes and dtypes. The
    gradient is a scan backwards, which computes each step again: kept are the carries alone.
    ValueError when sizes differ, or when there is no step at all (the shapes of y would be unknown).

    >>> scan(lambda total, x: (total + x, total * x), np.array(0), np.array([1, 2, 3]))
    (np.int64(6), array([0, 2, 9]))
    """
    sizes = {leaf.shape[0] if leaf.shape else None for leaf in tree.leaves(xs)} | (
        {length} if length is not None else set()
    )
    if len(sizes) != 1 or None in sizes:
        raise ValueError(
            f"scan: leading sizes and length must be one number; they are {sorted(map(str, sizes)) or 'none'}"
        )
    count = sizes.pop()
    if not count:
        raise ValueError("scan: there is no step to take, the leading size is 0")
    arrays = [x for x in (*tree.leaves(carry), *tree.leaves(xs)) if hasattr(x, "dtype")]
    if native := common_library(*arrays).gaps.get("scan"):
        return native(f, carry, xs, length=count, reverse=reverse)  # type: ignore[no-any-return]
    return stepped(f, carry, xs, length=count, reverse=reverse)


def stepped(f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, *, length: int, reverse: bool) -> tuple[Any, Any]:
    """`scan` by a loop of Python."""
    ys: list[Any] = [None] * length
    for t in range(length - 1, -1, -1) if reverse else range(length):
        carry, ys[t] = f(carry, tree.map(lambda x, t=t: x[t, ...], xs))
    return carry, tree.map(lambda *parts: namespace(*parts).stack(parts, axis=0), ys[0], *ys[1:])
