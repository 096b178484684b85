"""Einstein's summation, lowered to transpositions, reshapes and matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from backends.library import gap, namespace

Array = Any
Label = Any  # a letter, or ("…", places from the right) for an axis that the ellipsis stands for


@gap
def einsum(arrays: Sequence[Array], *, subscripts: str) -> Array:
    """y[output] = Σ over the letters not in the output of Π arrays[i][letters of term i]

    einsum([a, b], subscripts="ij,jk->ik") is the matrix product. A letter twice in one term takes the diagonal; "..."
    stands for leading axes that broadcast; without "->" the output has the letters that occur once, in alphabetical
    order. Axes of size 1 broadcast. Operands are contracted left to right.
    ValueError for terms that do not fit the arrays, an unknown letter in the output, or sizes that differ.

    >>> a = np.arange(6).reshape(2, 3)
    >>> einsum([a, a], subscripts="ij,kj->ik")
    array([[ 5, 14], [14, 50]])
    >>> einsum([a @ a.T], subscripts="ii")
    np.int64(55)
    """
    xp = namespace(*arrays)
    terms, output = _parse(subscripts, [tuple(x.shape) for x in arrays])
    operands = [_diagonals(x, labels) for x, labels in zip(arrays, terms, strict=True)]
    y, labels = operands[0]
    for place, (b, others) in enumerate(operands[1:], start=2):
        needed = set(output).union(*(later for _, later in operands[place:]))
        y, labels = _contract(y, labels, b, others, needed)
    y, labels = _sum_away(y, labels, set(output))
    return xp.permute_dims(y, tuple(labels.index(label) for label in output)) if labels != output else y


def _parse(subscripts: str, shapes: list[tuple[int, ...]]) -> tuple[list[list[Label]], list[Label]]:
    """The labels of each term and of the output."""
    inputs, arrow, out = subscripts.replace(" ", "").partition("->")
    texts = inputs.split(",")
    if len(texts) != len(shapes):
        raise ValueError(f"einsum {subscripts!r}: {len(texts)} terms for {len(shapes)} arrays")
    if any(not c.isalpha() for text in (*texts, out) for c in text.replace("...", "", 1)):
        raise ValueError(f"einsum {subscripts!r}: a term has letters and at most one '...'")
    terms: list[list[Label]] = []
    sizes: dict[Label, int] = {}
    widest = 0
    for text, shape in zip(texts, shapes, strict=True):
        before, dots, after = text.partition("...")
        free = len(shape) - len(before) - len(after)
        if free < 0 or (free and not dots):
            raise ValueError(f"einsum {subscripts!r}: the term {text!r} for an array of shape {shape}")
        widest = max(widest, free)
        labels: list[Label] = [*before, *(("…", place) for place in range(free, 0, -1)), *after]
        for label, n in zip(labels, shape, strict=True):
            known = sizes.setdefault(label, n)
            if n != known and 1 not in (n, known):
                raise ValueError(
                    f"einsum {subscripts!r}: {label if isinstance(label, str) else '...'} is {known} and {n}"
                )
            sizes[label] = n if known == 1 else known
        terms.append(labels)
    ellipsis = [("…", place) for place in range(widest, 0, -1)]
    if not arrow:
        letters = inputs.replace(",", "").replace(".", "")
        return terms, [*ellipsis, *sorted(c for c in set(letters) if letters.count(c) == 1)]
    before, dots, after = out.partition("...")
    for letter in before + after:
        if letter not in sizes or (before + after).count(letter) > 1:
            raise ValueError(
                f"einsum {subscripts!r}: {letter!r} in the output must be in a term, and once in the output"
            )
    if widest and not dots:
        raise ValueError(f"einsum {subscripts!r}: the output lacks the '...' of the terms; sum those axes first")
    return terms, [*before, *(ellipsis if dots else []), *after]


def _diagonals(x: Array, labels: list[Label]) -> tuple[Array, list[Label]]:
    """x with each letter once: of axes that share a letter the diagonal is taken."""
    xp = namespace(x)
    while len(set(labels)) < len(labels):
        letter = next(label for label in labels if labels.count(label) > 1)
        i = labels.index(letter)
        j = labels.index(letter, i + 1)
        if x.shape[i] != x.shape[j]:
            raise ValueError(f"einsum: {letter!r} twice in a term, for sizes {x.shape[i]} and {x.shape[j]}")
        rest = [axis for axis in range(x.ndim) if axis not in (i, j)]
        n, shape = x.shape[i], tuple(x.shape[axis] for axis in rest)
        x = xp.reshape(xp.permute_dims(x, (i, j, *rest)), (n * n, *shape))[:: n + 1, ...]
        labels = [letter, *(labels[axis] for axis in rest)]
    return x, labels


def _sum_away(x: Array, labels: list[Label], keep: set[Label]) -> tuple[Array, list[Label]]:
    axes = tuple(i for i, label in enumerate(labels) if label not in keep)
    if axes:
        x = namespace(x).sum(x, axis=axes, dtype=x.dtype)
    return x, [label for label in labels if label in keep]


def _contract(
    a: Array, of_a: list[Label], b: Array, of_b: list[Label], needed: set[Label]
) -> tuple[Array, list[Label]]:
    """One product: letters of both that are needed later are a batch, the others are summed in a matmul."""
    xp = namespace(a, b)
    sizes_a, sizes_b = dict(zip(of_a, a.shape, strict=True)), dict(zip(of_b, b.shape, strict=True))
    narrow_a = [
        c for c in of_a if c in sizes_b and sizes_a[c] == 1 != sizes_b[c]
    ]  # broadcast: as if the letter were not there
    narrow_b = [c for c in of_b if c in sizes_a and sizes_b[c] == 1 != sizes_a[c]]
    a, of_a = _sum_away(a, of_a, (needed | set(of_b)) - set(narrow_a))
    b, of_b = _sum_away(b, of_b, (needed | set(of_a) | set(narrow_a)) - set(narrow_b))
    a, of_a = _sum_away(a, of_a, needed | set(of_b))
    b, of_b = _sum_away(b, of_b, needed | set(of_a))
    batch = [c for c in of_a if c in of_b and c in needed]
    inner = [c for c in of_a if c in of_b and c not in needed]
    left = [c for c in of_a if c not in of_b]
    right = [c for c in of_b if c not in of_a]
    a = xp.permute_dims(a, tuple(map(of_a.index, (*batch, *left, *inner))))
    b = xp.permute_dims(b, tuple(map(of_b.index, (*batch, *inner, *right))))
    shape = (*a.shape[: len(batch) + len(left)], *b.shape[len(batch) + len(inner) :])
    n, rows = a.shape[: len(batch)], a.shape[len(batch) : len(batch) + len(left)]
    cols = b.shape[len(batch) + len(inner) :]
    if not inner:
        y = xp.reshape(a, (*n, *rows, *(1 for _ in cols))) * xp.reshape(b, (*n, *(1 for _ in rows), *cols))
    else:
        k = math.prod(a.shape[len(batch) + len(left) :])
        y = xp.matmul(xp.reshape(a, (*n, math.prod(rows), k)), xp.reshape(b, (*n, k, math.prod(cols))))
        y = xp.reshape(y, shape)
    return y, [*batch, *left, *right]
