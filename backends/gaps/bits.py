"""Random bits: Philox4x32-10, a function of (key, step, draw, place) that remembers nothing."""

from __future__ import annotations

from typing import Any

from backends.gaps.device import device
from backends.library import gap, namespace

Array = Any

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # what the key grows by each round: the golden ratio, √3 − 1
MASK = 0xFFFFFFFF


@gap
def random_bits(step: Any, like: Array, *, key: tuple[int, int], draw: int, count: int) -> Array:
    """y[4·i + j] = word j of Philox4x32-10(key; counter = (i mod 2³², i ÷ 2³², step, draw))      for 4·i + j < count

    step: an integer in 0 … 2³²−1 or a 0-d integer array; like: an array whose library and device are taken, and
    nothing else;
    key: two words of 32 bits; draw: an integer in 0 … 2³²−1 → (count,) words as uint32 (torch, where uint32 lacks
    most functions: int64 that holds 0 … 2³²−1).
    Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    return philox_words(namespace(like).uint32, step, like, key=key, draw=draw, count=count)


def philox_words(dtype: Any, step: Any, like: Array, *, key: tuple[int, int], draw: int, count: int) -> Array:
    """The same in integers of this dtype, which has at least 32 bits; no product or sum in it exceeds 32."""
    xp, where = namespace(like), device(like)
    check_address(step, key, draw, count)

    def word(value: Any) -> Array:
        if hasattr(value, "dtype"):
            return xp.reshape(xp.astype(value, dtype), (1,))
        return xp.full((1,), value, dtype=dtype, device=where)

    blocks = -(-count // 4)
    low = xp.arange(blocks, dtype=dtype, device=where)
    counter = (low, xp.zeros_like(low), word(step), word(draw))
    counter = philox(counter, key, word)
    y = xp.reshape(xp.stack(xp.broadcast_arrays(*counter), axis=-1), (-1,) if blocks else (0,))
    return y if count % 4 == 0 else y[:count]


def check_address(step: Any, key: tuple[int, int], draw: int, count: int) -> None:
    """ValueError where a word of the address does not fit 32 bits."""
    for name, value in (("step", step), ("key", key[0]), ("key", key[1]), ("draw", draw)):
        if isinstance(value, int) and not 0 <= value <= MASK:
            raise ValueError(f"random bits: {name} is {value}; wanted 0 … 2³²−1")
    if not 0 <= count <= 1 << 33:
        raise ValueError(f"random bits: {count} words; wanted 0 … 2³³ from one draw")


def philox(counter: tuple[Any, ...], key: tuple[int, int], word: Any) -> tuple[Any, ...]:
    """Ten rounds: (c₀, c₁, c₂, c₃) → (hi(M₁·c₂) ⊕ c₁ ⊕ k₀, lo(M₁·c₂), hi(M₀·c₀) ⊕ c₃ ⊕ k₁, lo(M₀·c₀))."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = product(c0, MULTIPLIERS[0])
        high1, low1 = product(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ word(k0), low1, high0 ^ c3 ^ word(k1), low0
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def product(x: Array, m: int) -> tuple[Array, Array]:
    """(high, low) words of x·m, by halves of 16 bits, so that nothing exceeds 32 bits."""
    m0, m1 = m & 0xFFFF, m >> 16
    x0, x1 = x & 0xFFFF, x >> 16
    p00, p01, p10, p11 = x0 * m0, x0 * m1, x1 * m0, x1 * m1
    middle = (p00 >> 16) + (p01 & 0xFFFF) + (p10 & 0xFFFF)
    low = ((middle & 0xFFFF) << 16) | (p00 & 0xFFFF)
    return p11 + (p01 >> 16) + (p10 >> 16) + (middle >> 16), low
