"""JAX's own versions of gap functions: its arrays are never assigned to, and its scatter adds equal indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.scipy.special

from backends.wrapped import join_key

Array = Any


def scatter_add(u: Array, index: Array, *, length: int) -> Array:
    return jnp.zeros((length, *u.shape[1:]), dtype=u.dtype).at[index].add(u)


def set_item(x: Array, value: Any, arrays: list[Array], *, key: Any) -> Array:
    return x.at[join_key(key, arrays)].set(value)


def gaps() -> dict[str, Callable[..., Any]]:
    special = jax.scipy.special
    return {"scatter_add": scatter_add, "set_item": set_item, "lgamma": special.gammaln, "digamma": special.digamma}
