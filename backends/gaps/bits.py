"""Random bits: Philox4x32-10, a function of a key and a counter, with no state.

Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3". The same words on every library.
"""

from __future__ import annotations

from typing import Any

from backends.gaps.device import device
from backends.library import gap, namespace

Array = Any

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
WORD = 0xFFFFFFFF


@gap
def random_bits(like: Array, step: Any, *, key: tuple[int, int], draw: int, count: int) -> Array:
    """`count` words of 32 random bits: word i is word i mod 4 of Philox(counter = (i÷4, 0, step, draw), key).

    like: an array that names library and device; step: an integer, or a 0-d integer array; 1-D result of dtype uint32.
    All arithmetic is modulo 2³²; the product of two words is put together from halves of 16 bits.
    """
    xp = namespace(like, step)
    u32, where = xp.uint32, device(like)
    blocks = -(-count // 4)
    c0 = xp.arange(blocks, dtype=u32, device=where)
    c1 = xp.zeros_like(c0)
    c2 = xp.zeros_like(c0) + (xp.astype(step, u32) if hasattr(step, "dtype") else constant(xp, step & WORD, where))
    c3 = xp.zeros_like(c0) + constant(xp, draw & WORD, where)
    k0, k1 = key
    for _ in range(10):
        high0, low0 = product(xp, c0, M0, where)
        high1, low1 = product(xp, c2, M1, where)
        c0, c1, c2, c3 = high1 ^ c1 ^ constant(xp, k0, where), low1, high0 ^ c3 ^ constant(xp, k1, where), low0
        k0, k1 = (k0 + W0) & WORD, (k1 + W1) & WORD
    return xp.reshape(xp.stack([c0, c1, c2, c3], axis=-1), (-1,))[:count]


def constant(xp: Any, value: int, where: Any) -> Array:
    """A word as an array: Python integers above 2³¹ do not enter uint32 arithmetic everywhere."""
    return xp.asarray(value, dtype=xp.uint32, device=where)


def product(xp: Any, a: Array, m: int, where: Any) -> tuple[Array, Array]:
    """(high, low) words of a·m, from 16-bit halves: no partial sum leaves 32 bits."""
    sixteen, half = constant(xp, 16, where), constant(xp, 0xFFFF, where)
    m0, m1 = constant(xp, m & 0xFFFF, where), constant(xp, m >> 16, where)
    a0, a1 = a & half, a >> sixteen
    low, middle, other, high = a0 * m0, a1 * m0, a0 * m1, a1 * m1
    carry = (low >> sixteen) + (middle & half) + (other & half)
    return high + (middle >> sixteen) + (other >> sixteen) + (carry >> sixteen), (low & half) | (carry << sixteen)
