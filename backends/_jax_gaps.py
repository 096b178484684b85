"""JAX's own versions of the gap functions: functional updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from backends.gaps.scatter import _check_rows
from backends.wrapped import join_key

Array = Any


def scatter_add(u: Array, index: Array, *, length: int) -> Array:
    _check_rows(u, index)
    return jnp.zeros((length, *u.shape[1:]), u.dtype).at[index].add(u)


def set_item(x: Array, value: Any, arrays: list[Array], *, key: Any) -> Array:
    return x.at[join_key(key, arrays)].set(value)


def gaps() -> dict[str, Callable[..., Any]]:
    return {"scatter_add": scatter_add, "set_item": set_item}
