"""Small problems made of a few random numbers: points of classes in the plane, and curves.

    x, y = moons(200, noise=0.1, seed=0)

All are drawn from `Stream(seed)`, so that they are the same numbers everywhere. The classes take turns, 0, 1, …, 0, 1, …:
each stretch of the rows is balanced.
"""

from __future__ import annotations

import math
from typing import Any

from backends import host
from backends.stream import Stream

Array = Any


def xor(n: int = 4, noise: float = 0.0, seed: int = 0) -> tuple[Array, Array]:
    """(x, y): the corners of {0, 1}² in turn, x (n, 2) float32 with Gaussian noise; y (n,) int64, whether their coordinates differ."""
    corner = host.arange(_count(n)) % 4
    x = host.stack([corner // 2, corner % 2], axis=1)
    return _noisy(x, noise, Stream(seed)["xor noise"]), (x[:, 0] != x[:, 1]).astype("int64")


def moons(n: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[Array, Array]:
    """(x, y): two half circles that interlock, x (n, 2) float32 with Gaussian noise, y (n,) int64 in {0, 1}."""
    y = host.arange(_count(n)) % 2
    angle = math.pi * Stream(seed)["moons"].uniform((n,), dtype="float64")
    x = host.stack([host.where(y == 0, host.cos(angle), 1 - host.cos(angle)), host.where(y == 0, host.sin(angle), 0.5 - host.sin(angle))], axis=1)
    return _noisy(x, noise, Stream(seed)["moons noise"]), y


def circles(n: int = 200, noise: float = 0.05, seed: int = 0, *, inner: float = 0.5) -> tuple[Array, Array]:
    """(x, y): a circle of radius 1 (class 0) around one of radius `inner` (class 1), x (n, 2) float32, y (n,) int64."""
    y = host.arange(_count(n)) % 2
    angle = 2 * math.pi * Stream(seed)["circles"].uniform((n,), dtype="float64")
    radius = host.where(y == 0, 1.0, inner)
    return _noisy(host.stack([radius * host.cos(angle), radius * host.sin(angle)], axis=1), noise, Stream(seed)["circles noise"]), y


def spirals(n: int = 300, noise: float = 0.05, seed: int = 0, *, classes: int = 3) -> tuple[Array, Array]:
    """(x, y): arms of a spiral within the unit circle, one a class, x (n, 2) float32, y (n,) int64."""
    y = host.arange(_count(n)) % classes
    radius = host.sqrt(Stream(seed)["spirals"].uniform((n,), dtype="float64"))
    angle = 2 * math.pi * (y / classes + 0.75 * radius)
    return _noisy(host.stack([radius * host.cos(angle), radius * host.sin(angle)], axis=1), noise, Stream(seed)["spirals noise"]), y


def blobs(n: int = 300, noise: float = 0.25, seed: int = 0, *, classes: int = 3) -> tuple[Array, Array]:
    """(x, y): round clouds about points spread evenly on the unit circle, one a class, x (n, 2) float32, y (n,) int64."""
    y = host.arange(_count(n)) % classes
    angle = 2 * math.pi * (y / classes + 0.25)
    return _noisy(host.stack([host.cos(angle), host.sin(angle)], axis=1), noise, Stream(seed)["blobs noise"]), y


CURVES = {
    "sine": lambda x: host.sin(2 * math.pi * x),
    "cubic": lambda x: 4 * x**3 - 3 * x,
    "bump": lambda x: host.exp(-10 * x**2),
    "step": lambda x: host.where(x < 0, -1.0, 1.0),
    "damped": lambda x: host.exp(-(x + 1)) * host.cos(4 * math.pi * (x + 1)),
}


def curve(n: int = 100, noise: float = 0.1, seed: int = 0, *, kind: str = "sine") -> tuple[Array, Array]:
    """(x, y): points of a curve, x (n, 1) uniform in [−1, 1), y = f(x) + Gaussian noise (n, 1), both float32.

    kind: "sine" f = sin 2πx, "cubic" 4x³ − 3x, "bump" e^(−10x²), "step" ±1 by the sign of x, "damped" e⁻ᵗ·cos 4πt with t = x + 1.
    """
    if kind not in CURVES:
        raise ValueError(f"curve: kind {kind!r} is unknown; there are {', '.join(CURVES)}")
    x = Stream(seed)["curve"].uniform((_count(n), 1), -1.0, 1.0, dtype="float64")
    return x.astype("float32"), _noisy(CURVES[kind](x), noise, Stream(seed)["curve noise"])


def _noisy(x: Array, noise: float, stream: Stream) -> Array:
    return (x + noise * stream.normal(x.shape, dtype="float64")).astype("float32")


def _count(n: int) -> int:
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n is the number of points, a positive integer; {n!r} came")
    return n
