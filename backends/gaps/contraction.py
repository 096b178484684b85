"""einsum in calls of the standard: permute, reshape and batched matrix products."""

from __future__ import annotations

import math
from typing import Any

from backends.library import gap, namespace

Array = Any


@gap
def einsum(arrays: list[Array], *, subscripts: str) -> Array:
    """y by Einstein's convention: einsum([a, b], subscripts="ij,jk->ik") is the matrix product.

    Letters name axes; a letter that the result lacks is summed; a letter twice in one operand takes the diagonal; "..."
    stands for axes that broadcast. Operands are contracted from left to right. ValueError names what does not fit.
    """
    xp = namespace(*arrays)
    terms, result = _parse(subscripts, arrays)
    operands = [_diagonals(xp, x, term) for x, term in zip(arrays, terms, strict=True)]
    x, term = operands[0]
    for i, (y, other) in enumerate(operands[1:], 1):
        needed = set(result).union(*(later for _, later in operands[i + 1 :]))
        x, term = _pair(xp, x, term, y, other, needed)
    gone = tuple(i for i, letter in enumerate(term) if letter not in result)
    if gone:
        x, term = xp.sum(x, axis=gone), "".join(letter for letter in term if letter in result)
    return xp.permute_dims(x, tuple(term.index(letter) for letter in result)) if result else x


def _parse(subscripts: str, arrays: list[Array]) -> tuple[list[str], str]:
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(arrays):
        raise ValueError(f"einsum {subscripts!r}: {len(terms)} operands are named, {len(arrays)} came")
    spare = [chr(c) for c in range(0x3B1, 0x3B1 + 24)]  # Greek letters stand for the axes of "..."
    widest = max((x.ndim - len(t.replace("...", "")) for x, t in zip(arrays, terms, strict=True) if "..." in t), default=0)
    full = []
    for x, term in zip(arrays, terms, strict=True):
        extra = x.ndim - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise ValueError(f"einsum {subscripts!r}: {term!r} names {len(term.replace('...', ''))} axes, the array has shape {tuple(x.shape)}")
        full.append(term.replace("...", "".join(spare[widest - extra : widest])))
    dots = "".join(spare[:widest])
    if arrow:
        right = right.replace("...", dots)
    else:
        letters = "".join(full)
        right = dots + "".join(sorted(c for c in set(letters) - set(dots) if letters.count(c) == 1))
    sizes: dict[str, int] = {}
    for x, term in zip(arrays, full, strict=True):
        for n, letter in zip(x.shape, term, strict=True):
            if sizes.setdefault(letter, n) != n and 1 not in (sizes[letter], n):
                raise ValueError(f"einsum {subscripts!r}: axis {letter!r} has {sizes[letter]} and {n} entries")
            sizes[letter] = max(sizes[letter], n) if 0 not in (sizes[letter], n) else 0
    if unknown := set(right) - set("".join(full)):
        raise ValueError(f"einsum {subscripts!r}: the result names {', '.join(sorted(unknown))}, which no operand has")
    if len(set(right)) != len(right):
        raise ValueError(f"einsum {subscripts!r}: the result names an axis twice")
    return full, right


def _diagonals(xp: Any, x: Array, term: str) -> tuple[Array, str]:
    """The operand with each letter once: repeated ones are their diagonal."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i = term.index(letter)
            j = term.index(letter, i + 1)
            n = x.shape[i]
            x = xp.moveaxis(x, (i, j), (0, 1))
            rest = x.shape[2:]
            x = xp.reshape(x, (n * n, *rest))[:: n + 1, ...] if n else xp.reshape(x, (0, *rest))
            term = letter + "".join(c for k, c in enumerate(term) if k not in (i, j))
    return x, term


def _pair(xp: Any, x: Array, a: str, y: Array, b: str, needed: set[str]) -> tuple[Array, str]:
    """Contract two operands: axes of both that are still needed are the batch, the others of both the sum of a product."""
    for term, other, which in ((a, b, 0), (b, a, 1)):
        alone = tuple(i for i, c in enumerate(term) if c not in other and c not in needed)
        if alone and which == 0:
            x, a = xp.sum(x, axis=alone), "".join(c for i, c in enumerate(a) if i not in alone)
        elif alone:
            y, b = xp.sum(y, axis=alone), "".join(c for i, c in enumerate(b) if i not in alone)
    both = [c for c in a if c in b]
    size = {c: max(x.shape[a.index(c)], y.shape[b.index(c)]) for c in both}
    x = xp.broadcast_to(x, tuple(size.get(c, n) for c, n in zip(a, x.shape, strict=True)))
    y = xp.broadcast_to(y, tuple(size.get(c, n) for c, n in zip(b, y.shape, strict=True)))
    batch, summed = [c for c in both if c in needed], [c for c in both if c not in needed]
    left, right = [c for c in a if c not in b], [c for c in b if c not in a]
    size |= {c: x.shape[a.index(c)] for c in left} | {c: y.shape[b.index(c)] for c in right}

    def count(letters: list[str]) -> int:
        return math.prod(size[c] for c in letters)

    x = xp.permute_dims(x, tuple(a.index(c) for c in (*batch, *left, *summed)))
    y = xp.permute_dims(y, tuple(b.index(c) for c in (*batch, *summed, *right)))
    x = xp.reshape(x, (count(batch), count(left), count(summed)))
    y = xp.reshape(y, (count(batch), count(summed), count(right)))
    z = xp.matmul(x, y)
    return xp.reshape(z, tuple(size[c] for c in (*batch, *left, *right))), "".join((*batch, *left, *right))
