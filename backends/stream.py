"""Random numbers that are a function of (seed, path, step, draw, element), and never of what was drawn before.

    >>> dice = Stream(0)["train"]["dropout"]
    >>> dice.at(7).integers(0, 100, 4)              # the numbers of step 7: the same on every backend, in any order, after any resume
    array([ 5, 22, 65, 45])
    >>> dice.at(7).permutation(4)
    array([2, 0, 3, 1])

Children are named, so a layer that is added does not change the numbers of another. Nothing advances: the same call gives the
same numbers; several arrays from one place take different names, or different `draw`s.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from backends.gaps.bits import MASK, product, random_bits
from backends.library import NOTHING, known, library_of, namespace

Array = Any


class Stream:
    """A place in the tree of random numbers: a seed, a path of names, a step and a draw. Immutable, hashable, a few bytes.

    seed: any integer from 0. Bits are Philox4x32-10 with key = 64 bits of blake2b(seed, path) and counter (place, step,
    draw). Two streams with different seeds or paths share a key with probability 2⁻⁶⁴.

    Methods that draw take `like`, an array or a Backend, which decides library, device and float type; None is NumPy
    and float32. Words, uniforms of [0, 1), integers, booleans and permutations are the same bits on every backend; other
    uniforms and normals agree to rounding.
    """

    __slots__ = ("draw", "path", "seed", "step")

    seed: int
    path: tuple[str, ...]
    step: Any
    draw: int

    def __init__(self, seed: int, path: Sequence[str] = (), step: Any = 0, draw: int = 0):
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise TypeError(f"Stream: the seed is an integer from 0, {type(seed).__name__} {seed!r} came")
        if seed.__index__() < 0:
            raise ValueError(f"Stream: the seed is an integer from 0, {seed} came")
        for name, value in (
            ("seed", seed.__index__()),
            ("path", tuple(path)),
            ("step", _step(step)),
            ("draw", _word(draw, "draw")),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Stream does not change; stream[name] and stream.at(step) give others")

    def __reduce__(self) -> Any:
        return Stream, (self.seed, self.path, self.step, self.draw)

    def __repr__(self) -> str:
        children = "".join(f"[{name!r}]" for name in self.path)
        at = "" if type(self.step) is int and self.step == self.draw == 0 else f".at({self.step}, draw={self.draw})"
        return f"Stream({self.seed}){children}{at}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream) or (self.seed, self.path, self.draw) != (other.seed, other.path, other.draw):
            return False
        return self.step is other.step or (
            type(self.step) is int and type(other.step) is int and self.step == other.step
        )

    def __hash__(self) -> int:
        return hash((self.seed, self.path, self.step if type(self.step) is int else id(self.step), self.draw))

    def __getitem__(self, name: str) -> Stream:
        """The child of this name, at the same step."""
        if not isinstance(name, str):
            raise TypeError(f"Stream: children have names, {type(name).__name__} {name!r} came; .at(i) is for numbers")
        return Stream(self.seed, (*self.path, name), self.step, self.draw)

    def at(self, step: Any, draw: int = 0) -> Stream:
        """The same stream at this step: an integer in 0 … 2³²−1, or a 0-d array of integers (under a jit: an input)."""
        return Stream(self.seed, self.path, step, draw)

    @property
    def key(self) -> tuple[int, int]:
        """The key of Philox: 64 bits of blake2b(seed, path), each part with its length before it."""
        return _key(self.seed, self.path)

    @property
    def state(self) -> dict[str, Any]:
        """A few numbers and names, for JSON; `from_state` reads them back."""
        return {"seed": self.seed, "path": list(self.path), "step": int(self.step), "draw": self.draw}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Stream:
        return cls(state["seed"], state["path"], state["step"], state["draw"])

    # drawing

    def bits(self, n: int, *, like: Any = None) -> Array:
        """(n,) words of 32 bits, as uint32 (torch: int64)."""
        step = self.step
        like, _ = self._like(like)
        if type(step) is not int:
            here, there = library_of(step), library_of(like)
            step = int(step) if here is not there and here.rank == there.rank == 0 else step
        return random_bits(step, like, key=self.key, draw=self.draw, count=n)

    def uniform(self, shape: Any, low: float = 0.0, high: float = 1.0, *, like: Any = None, dtype: Any = None) -> Array:
        """y = low + (high − low)·u, u uniform in [0, 1): multiples of 2⁻²⁴ (float32), 2⁻⁵³ (float64, two words each)."""
        shape = _shape(shape)
        like, dtype = self._like(like, dtype)
        u = self._unit(math.prod(shape), like, dtype)
        xp = namespace(u)
        if (low, high) != (0.0, 1.0):
            u = u * float(high - low)
            u = u + float(low) if low else u
        return _cast(xp.reshape(u, shape), dtype)

    def normal(self, shape: Any, mean: float = 0.0, std: float = 1.0, *, like: Any = None, dtype: Any = None) -> Array:
        """y = mean + std·r·cos 2πv, the next one with sin 2πv; r = √(−2·log u), u in (0, 1], v in [0, 1): Box & Muller 1958.

        Never infinite: |y − mean| ≤ 6.8·std in float32, 8.7·std in float64.
        """
        shape = _shape(shape)
        like, dtype = self._like(like, dtype)
        n = math.prod(shape)
        pairs = -(-n // 2)
        wide = _is_double(like, dtype)
        words = self.bits(pairs * (4 if wide else 2), like=like)
        xp = namespace(words)
        words = xp.reshape(words, (pairs, 4 if wide else 2))
        if wide:
            u = _double(xp, words[:, 0], words[:, 1]) + 2.0**-54  # never 0
            v = _double(xp, words[:, 2], words[:, 3])
        else:
            u = (xp.astype(words[:, 0], xp.float32) + 0.5) * 2.0**-32  # never 0
            v = _single(xp, words[:, 1])
        r = xp.sqrt(-2.0 * xp.log(u))
        angle = 2.0 * math.pi * v
        y = xp.reshape(xp.stack((r * xp.cos(angle), r * xp.sin(angle)), axis=-1), (2 * pairs,))
        y = y[:n] * float(std) + float(mean)
        return _cast(xp.reshape(y, shape), dtype)

    def integers(self, low: int, high: int, shape: Any, *, like: Any = None, dtype: Any = None) -> Array:
        """y = low + ⌊w·(high − low) / 2³²⌋ for a word w: integers in low … high−1, each probability right to 2⁻³².

        high − low at most 2³². The library's default integer type, or `dtype`.
        """
        span = high - low
        if not 0 < span <= MASK + 1:
            raise ValueError(f"integers: low {low}, high {high}; wanted low < high ≤ low + 2³²")
        shape = _shape(shape)
        words = self.bits(math.prod(shape), like=like)
        xp = namespace(words)
        if span <= MASK:
            words = product(words, span)[0]
        dtype = _default_integer(words) if dtype is None else _dtype(words, dtype)
        return xp.reshape(xp.astype(words, dtype) + low, shape)

    def bernoulli(self, p: float, shape: Any, *, like: Any = None) -> Array:
        """y = (w < p·2³²): True with probability p, rounded to a multiple of 2⁻³²; decided in integers."""
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"bernoulli: p is {p}; wanted 0 … 1")
        shape = _shape(shape)
        words = self.bits(math.prod(shape), like=like)
        xp = namespace(words)
        threshold = round(p * 2**32)
        if threshold > MASK:
            return xp.ones(shape, dtype=xp.bool, device=_device(words))
        return xp.reshape(words < xp.full((1,), threshold, dtype=words.dtype, device=_device(words)), shape)

    def permutation(self, n: int, *, like: Any = None) -> Array:
        """A random order of 0 … n−1, int64: each equally likely. Drawn on the host; a NumPy array unless `like` is given."""
        host = known("numpy").xp
        words = Stream(self.seed, self.path, int(self.step), self.draw).bits(2 * n)
        keys = words[0::2].astype("uint64") << 32 | words[1::2]
        order = host.argsort(keys)
        if (keys[order[1:]] == keys[order[:-1]]).any():  # else each kind of sorting gives this order, and this one is several times as fast
            order = host.argsort(keys, kind="stable")
        if like is None:
            return order
        like, _ = self._like(like)
        library = library_of(like)
        return library.put(order, library.device_of(like), None)

    def _like(self, like: Any, dtype: Any = None) -> tuple[Any, Any]:
        """An array of the library and on the device wanted, and the float dtype."""
        if like is None and library_of(self.step) is not NOTHING:
            like = self.step
        if like is None:
            like = _host_zero()
        elif not hasattr(like, "dtype") or not hasattr(like, "shape"):  # a Backend
            dtype = like.dtype if dtype is None else dtype
            like = like.library.put(known("numpy").xp.zeros((), "float32"), like.device, None)
        xp = namespace(like)
        if dtype is None:
            dtype = like.dtype if xp.isdtype(like.dtype, "real floating") else xp.float32
        return like, _dtype(like, dtype)

    def _unit(self, n: int, like: Any, dtype: Any) -> Array:
        wide = _is_double(like, dtype)
        words = self.bits(n * (2 if wide else 1), like=like)
        xp = namespace(words)
        return _double(xp, words[0::2], words[1::2]) if wide else _single(xp, words)


@functools.lru_cache(4096)
def _key(seed: int, path: tuple[str, ...]) -> tuple[int, int]:
    parts = [str(seed).encode(), *(name.encode() for name in path)]
    text = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    import hashlib  # here, for it loads OpenSSL

    key = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return key & MASK, key >> 32


@functools.cache
def _host_zero() -> Array:
    return known("numpy").xp.zeros((), "float32")


def _step(step: Any) -> Any:
    if hasattr(step, "dtype") and getattr(step, "shape", None) == () and library_of(step).name != "numpy":
        return step
    if hasattr(step, "dtype") and getattr(step, "shape", None) != ():
        raise ValueError(f"Stream.at: the step is one number, an array of shape {tuple(step.shape)} came")
    return _word(step, "step")


def _word(value: Any, name: str) -> int:
    if not hasattr(value, "__index__") or isinstance(value, bool):
        raise TypeError(f"Stream: {name} is an integer, {type(value).__name__} {value!r} came")
    if not 0 <= value.__index__() <= MASK:
        raise ValueError(f"Stream: {name} is {value}; wanted 0 … 2³²−1")
    return int(value.__index__())


def _shape(shape: Any) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _dtype(like: Any, dtype: Any) -> Any:
    return getattr(namespace(like), dtype) if isinstance(dtype, str) else dtype


def _is_double(like: Any, dtype: Any) -> bool:
    return bool(dtype == namespace(like).float64)


def _device(x: Any) -> Any:
    return library_of(x).device_of(x)


def _default_integer(x: Any) -> Any:
    xp = namespace(x)
    return xp.asarray(0).dtype if library_of(x).rank == 0 else xp.int64


def _single(xp: Any, words: Array) -> Array:
    return xp.astype(words >> 8, xp.float32) * 2.0**-24


def _double(xp: Any, high: Array, low: Array) -> Array:
    return (xp.astype(high, xp.float64) * 2.0**21 + xp.astype(low >> 11, xp.float64)) * 2.0**-53


def _cast(x: Array, dtype: Any) -> Array:
    return x if x.dtype == dtype else namespace(x).astype(x, dtype)
