"""Small problems made of a few random numbers: xor, moons, spirals."""

from __future__ import annotations

import math
from typing import Any

from backends import host
from backends.stream import Stream

Array = Any


def xor() -> tuple[Array, Array]:
    """(x, y): the four points of {0, 1}², float32, and whether their coordinates differ, int64."""
    x = host.asarray([[0, 0], [0, 1], [1, 0], [1, 1]], dtype="float32")
    return x, host.asarray([0, 1, 1, 0])


def moons(n: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[Array, Array]:
    """(x, y): two half circles that interlock, x (n, 2) float32 with Gaussian noise, y (n,) int64 in {0, 1}."""
    y = host.arange(n) % 2
    angle = math.pi * Stream(seed)["moons"].uniform((n,), dtype="float64")
    x = host.stack([host.where(y == 0, host.cos(angle), 1 - host.cos(angle)), host.where(y == 0, host.sin(angle), 0.5 - host.sin(angle))], axis=1)
    return _noisy(x, noise, Stream(seed)["moons noise"]), y


def spirals(n: int = 300, classes: int = 3, noise: float = 0.05, seed: int = 0) -> tuple[Array, Array]:
    """(x, y): arms of a spiral, one a class, x (n, 2) float32, y (n,) int64."""
    y = host.arange(n) % classes
    radius = host.sqrt(Stream(seed)["spirals"].uniform((n,), dtype="float64"))
    angle = 2 * math.pi * (y / classes + 0.75 * radius)
    return _noisy(host.stack([radius * host.cos(angle), radius * host.sin(angle)], axis=1), noise, Stream(seed)["spirals noise"]), y


def _noisy(x: Array, noise: float, stream: Stream) -> Array:
    return (x + noise * stream.normal(x.shape, dtype="float64")).astype("float32")
