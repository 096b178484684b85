"""Where an array is."""

from __future__ import annotations

from typing import Any

from backends.library import gap, library_of


@gap
def device(x: Any) -> Any:
    """The device of x, to be handed to `device=` of a creation function; None where it has none (inside jax.jit)."""
    return library_of(x).device_of(x)
