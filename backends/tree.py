"""Trees: dicts, lists and tuples nested in any way, with arrays (or anything else) as leaves.

    >>> p = {"dense": {"kernel": 1, "bias": 2}, "scale": [3, 4]}
    >>> leaves(p)
    [1, 2, 3, 4]
    >>> map(lambda x: 10 * x, p)                                       # map(f, p, q) walks two trees of one shape
    {'dense': {'kernel': 10, 'bias': 20}, 'scale': [30, 40]}
    >>> fill(p, "abcd")
    {'dense': {'kernel': 'a', 'bias': 'b'}, 'scale': ['c', 'd']}
    >>> flatten(p)                                                     # unflatten reads it back as nested dicts
    {'dense/kernel': 1, 'dense/bias': 2, 'scale/0': 3, 'scale/1': 4}
    >>> split(p["dense"], "k*")
    ({'kernel': 1}, {'bias': 2})

None is an empty tree: it has no leaves and stays where it is.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

Tree = Any


def leaves(tree: Tree) -> list[Any]:
    """All leaves, in the order of the containers."""
    found: list[Any] = []
    _collect(tree, found)
    return found


def paths(tree: Tree) -> list[str]:
    """The path of each leaf, its keys joined by "/"."""
    return ["/".join(builtins.map(str, path)) for path, _ in _walk(tree, ())]


def flatten(tree: Tree) -> dict[str, Any]:
    """{path: leaf}."""
    return {"/".join(builtins.map(str, path)): leaf for path, leaf in _walk(tree, ())}


def unflatten(flat: dict[str, Any]) -> Tree:
    """Nested dicts from {path: leaf}: what `flatten` made of nested dicts."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *inner, last = path.split("/")
        branch = tree
        for key in inner:
            branch = branch.setdefault(key, {})
        branch[last] = leaf
    return tree


def map(f: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """The tree with f(leaf, leaf of the others…) at each leaf. ValueError when the trees differ in shape."""
    columns = [leaves(tree), *(_matching(tree, other) for other in others)]
    return fill(tree, [f(*row) for row in zip(*columns, strict=True)])


def fill(tree: Tree, values: Sequence[Any]) -> Tree:
    """The tree with its leaves replaced by these, in order. ValueError when the counts differ."""
    values = list(values)
    left = iter(values)
    try:
        filled = _fill(tree, left)
    except StopIteration:
        left = iter((None,))
    if next(left, left) is not left:
        raise ValueError(f"tree.fill: the tree has {len(leaves(tree))} leaves, {len(values)} values came")
    return filled


def split(tree: Tree, pattern: str) -> tuple[Tree, Tree]:
    """(inside, outside): the tree of dicts with only the leaves whose path matches the glob, and with the others."""
    flat = flatten(tree)
    inside = {path: leaf for path, leaf in flat.items() if matches(path, pattern)}
    return unflatten(inside), unflatten({path: leaf for path, leaf in flat.items() if path not in inside})


def merge(first: Tree, second: Tree) -> Tree:
    """The tree of dicts with the leaves of both. ValueError when a path is in both."""
    a, b = flatten(first), flatten(second)
    if both := a.keys() & b.keys():
        raise ValueError(f"tree.merge: both trees have {', '.join(sorted(both))}")
    return unflatten({**a, **b})


def matches(path: str, pattern: str) -> bool:
    """A glob matches a path, or any path below it: "block_*" matches "block_1/dense/kernel"."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, pattern + "/*")


def _walk(tree: Tree, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if tree is None:
        return
    if isinstance(tree, dict):
        items = iter(tree.items())
    elif isinstance(tree, list | tuple):
        items = iter(enumerate(tree)) if not hasattr(tree, "_fields") else zip(tree._fields, tree, strict=True)
    else:
        yield path, tree
        return
    for key, branch in items:
        yield from _walk(branch, (*path, key))


def _collect(tree: Tree, found: list[Any]) -> None:
    """The leaves, without their paths: several times faster than _walk, and called in every training step."""
    if isinstance(tree, dict):
        for branch in tree.values():
            _collect(branch, found)
    elif isinstance(tree, (list, tuple)):
        for branch in tree:
            _collect(branch, found)
    elif tree is not None:
        found.append(tree)


def _fill(tree: Tree, values: Iterator[Any]) -> Tree:
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {key: _fill(branch, values) for key, branch in tree.items()}
    if isinstance(tree, list):
        return [_fill(branch, values) for branch in tree]
    if isinstance(tree, tuple):
        branches = [_fill(branch, values) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
    return next(values)


def _matching(tree: Tree, other: Tree) -> list[Any]:
    """The leaves of the other tree in this tree's order (dicts are matched by key), or an error that names the place."""
    found: list[Any] = []

    def walk(a: Tree, b: Tree, path: str) -> None:
        if a is None and b is None:
            return
        if isinstance(a, dict):
            if not isinstance(b, dict) or a.keys() != b.keys():
                keys = ", ".join(builtins.map(str, b)) if isinstance(b, dict) else type(b).__name__
                raise ValueError(f"the trees differ at {path or 'the root'}: {', '.join(builtins.map(str, a))} and {keys}")
            for key in a:
                walk(a[key], b[key], f"{path}/{key}" if path else str(key))
        elif isinstance(a, list | tuple):
            if not isinstance(b, list | tuple) or len(a) != len(b):
                size = f"{len(b)} entries" if isinstance(b, list | tuple) else type(b).__name__
                raise ValueError(f"the trees differ at {path or 'the root'}: {len(a)} entries and {size}")
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                walk(x, y, f"{path}/{i}" if path else str(i))
        else:
            found.append(b)

    walk(tree, other, "")
    return found
