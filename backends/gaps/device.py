"""The device of an array, for creation calls."""

from __future__ import annotations

from typing import Any

from backends.library import library_of


def device(x: Any) -> Any:
    """The device x is on; None where its library has none to name (an array inside jax.jit)."""
    return library_of(x).device_of(x)
