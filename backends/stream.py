"""Stream: random numbers as a function of (seed, path, step, draw, element), never of what was drawn before.

    dice = Stream(0)["dropout"]
    mask = dice.at(step).bernoulli(0.9, (32, 64), like=x)

The same numbers on every library; a child by name, so that adding a layer does not change another's numbers; to resume,
the step is enough.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

from backends.gaps import random_bits
from backends.library import known, library_of, namespace

Array = Any
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stream:
    """Random numbers that are addressed, not advanced: Stream(seed)["name"]["child"].at(step, draw).

    seed: a non-negative integer. step: an integer or a 0-d integer array; draw: an integer that tells several draws of
    one place and step apart.
    """

    seed: int
    path: tuple[str, ...] = ()
    step: Any = 0
    draw: int = 0

    def __post_init__(self) -> None:
        if type(self.seed) is not int or self.seed < 0:
            raise ValueError(f"Stream: seed is a non-negative integer, {self.seed!r} came")

    def __getitem__(self, name: str) -> Stream:
        """The stream of this name below this one; its step and draw are kept."""
        if not isinstance(name, str) or not name:
            raise TypeError(f'Stream: a child has a name, stream["dropout"]; {name!r} came. For steps: stream.at(i).')
        return replace(self, path=(*self.path, name))

    def at(self, step: Any, draw: int = 0) -> Stream:
        """The numbers of this step. The step may be a 0-d array: in a compiled step it is an input."""
        if isinstance(step, int):
            if step < 0:
                raise ValueError(f"Stream.at: step is a non-negative integer, {step} came")
        elif not hasattr(step, "dtype"):
            raise TypeError(f"Stream.at: step is an integer or a 0-d integer array, {type(step).__name__} came")
        return replace(self, step=step, draw=draw)

    @property
    def key(self) -> tuple[int, int]:
        """Two words: blake2b of seed and path, 64 bits."""
        digest = hashlib.blake2b("/".join((str(self.seed), *(part.replace("/", "//") for part in self.path))).encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")

    def bits(self, count: int, like: Any = None) -> Array:
        """`count` words of 32 random bits: uint32 (torch: int64)."""
        like = known("numpy").xp.zeros((), dtype="float32") if like is None else like
        return random_bits(like, self.step, key=self.key, draw=self.draw, count=count)

    def uniform(self, shape: Shape, low: float = 0.0, high: float = 1.0, *, like: Any = None, dtype: Any = None) -> Array:
        """Uniform in [low, high): the top 24 bits of a word · 2⁻²⁴ in float32, 53 bits of two words in float64.

        like: an array that names library, device and float dtype; without it the result is NumPy's, float32.
        """
        u = self._unit(_count(shape), like, dtype)
        y = u if low == 0.0 and high == 1.0 else low + (high - low) * u
        return namespace(y).reshape(y, shape)

    def normal(self, shape: Shape, mean: float = 0.0, std: float = 1.0, *, like: Any = None, dtype: Any = None) -> Array:
        """Gaussian by Box and Muller 1958: √(−2 log u₁)·cos 2πu₂ and sin, u₁ in (0, 1]: never infinite."""
        n = _count(shape)
        half = -(-n // 2)
        u = self._unit(2 * half, like, dtype)
        xp = namespace(u)
        radius = xp.sqrt(-2.0 * xp.log(1.0 - u[:half]))
        angle = 2.0 * math.pi * u[half:]
        z = xp.concat([radius * xp.cos(angle), radius * xp.sin(angle)], axis=0)[:n]
        return xp.reshape(mean + std * z, shape)

    def integers(self, low: int, high: int, shape: Shape, *, like: Any = None) -> Array:
        """Integers in [low, high), of dtype int32 (int64 where the range asks for it), high − low below 2³².

        ⌊word·(high − low)/2³²⌋: no value is more likely than another by more than (high − low)·2⁻³².
        """
        span = high - low
        if not 0 < span < 1 << 32:
            raise ValueError(f"integers: [{low}, {high}) must hold 1 to 2³² − 1 values")
        words = self.bits(_count(shape), like)
        xp = namespace(words)
        wide = -(1 << 31) <= low and high <= 1 << 31
        if "int64" in str(words.dtype):
            high_word = ((words >> 16) * span + (((words & 0xFFFF) * span) >> 16)) >> 16
        else:
            high_word = _high_word(xp, words, span)
        dtype = xp.int32 if wide else xp.int64
        return xp.reshape(xp.astype(high_word, dtype) + low, shape)

    def bernoulli(self, p: float, shape: Shape, *, like: Any = None) -> Array:
        """True with probability p: word < p·2³², compared as integers."""
        if not 0 <= p <= 1:
            raise ValueError(f"bernoulli: p is a probability, {p!r} came")
        words = self.bits(_count(shape), like)
        xp = namespace(words)
        threshold = round(p * 4294967296)
        if threshold >= 1 << 32:
            y = words == words
        elif "int64" in str(words.dtype):
            y = words < threshold
        else:
            y = words < xp.asarray(threshold, dtype=xp.uint32, device=library_of(words).device_of(words))
        return xp.reshape(y, shape)

    def permutation(self, n: int) -> Any:
        """A random order of 0 … n − 1, drawn on the host: a NumPy array of int64."""
        words = self.bits(2 * n)
        xp = namespace(words)
        keys = xp.astype(words[:n], xp.uint64) * 4294967296 + xp.astype(words[n:], xp.uint64)
        return xp.argsort(keys, stable=True)

    def _unit(self, count: int, like: Any, dtype: Any) -> Array:
        """Uniform in [0, 1)."""
        double = _is_double(like, dtype)
        words = self.bits(2 * count if double else count, like)
        xp = namespace(words)
        if not double:
            return xp.astype(_right(words, 8), xp.float32) * 2.0**-24
        a, b = xp.astype(_right(words[:count], 5), xp.float64), xp.astype(_right(words[count:], 6), xp.float64)
        return (a * 67108864.0 + b) * 2.0**-53


def _right(words: Array, n: int) -> Array:
    """words >> n, whatever integer type they have."""
    xp = namespace(words)
    return xp.bitwise_right_shift(words, xp.asarray(n, dtype=words.dtype, device=library_of(words).device_of(words)))


def _high_word(xp: Any, words: Array, m: int) -> Array:
    from backends.gaps.bits import product

    return product(xp, words, m, library_of(words).device_of(words))[0]


def _is_double(like: Any, dtype: Any) -> bool:
    if dtype is not None:
        return str(dtype).rpartition(".")[2].rstrip("'>") == "float64"
    return like is not None and "float64" in str(like.dtype)


def _count(shape: Shape) -> int:
    return math.prod(shape)
