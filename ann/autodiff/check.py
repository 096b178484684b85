"""check_gradients: does a derivative agree with differences of the function? The public gradient check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ann.autodiff.transforms import vjp
from backends import namespace, tree
from backends.stream import Stream

Tree = Any


def check_gradients(f: Callable[..., Tree], *args: Tree, order: int = 1, step: float = 1e-5, rtol: float = 1e-6) -> None:
    """AssertionError unless ⟨dy, (f(x + h·v) − f(x − h·v))/2h⟩ = ⟨pull(dy), v⟩ for random directions v and dy.

    args: trees of float64 arrays, away from kinks. Each gradient must have shape and dtype of its argument. order=2 checks
    the gradient's gradient too. One direction an argument at a time, so that the message can name it.
    """
    y, pull = vjp(f, *args)
    dice = Stream(0)["check"]
    weights = [_direction(dice["dy"].at(i), a) for i, a in enumerate(tree.leaves(y))]
    pulled = pull(tree.fill(y, weights))
    pulled = (pulled,) if len(args) == 1 else pulled

    def product(values: Tree) -> float:
        return sum(float(namespace(a, w).sum(a * w)) for a, w in zip(tree.leaves(values), weights, strict=True))

    for number, (x, dx) in enumerate(zip(args, pulled, strict=True)):
        flat = tree.flatten(x)
        slopes = tree.flatten(dx)
        for place, (path, leaf) in enumerate(flat.items()):
            g = slopes.get(path)
            if g is None:
                continue
            name = f"argument {number}" + (f", {path}" if path else "")
            if tuple(g.shape) != tuple(leaf.shape) or g.dtype != leaf.dtype:
                raise AssertionError(f"{name}: the gradient is {g.dtype} {tuple(g.shape)}, the argument {leaf.dtype} {tuple(leaf.shape)}")
            v = _direction(dice["x"].at(number, place), leaf)

            def moved(h: float, path: str = path, v: Any = v, number: int = number, x: Any = x, flat: Any = flat) -> float:
                shifted = [a + h * v if key == path else a for key, a in flat.items()]
                return product(f(*args[:number], tree.fill(x, shifted), *args[number + 1 :]))

            difference = (moved(step) - moved(-step)) / (2 * step)
            derivative = float(namespace(g, v).sum(g * v))
            if not abs(difference - derivative) <= rtol * max(1.0, abs(difference), abs(derivative)):
                raise AssertionError(f"{name}: the gradient in a random direction is {derivative:.10g}, differences give {difference:.10g}")
    if order > 1:
        seed = tree.fill(y, weights)
        check_gradients(lambda *xs: list(tree.leaves(vjp(f, *xs)[1](seed))), *args, order=order - 1, step=step, rtol=rtol * 10)


def _direction(stream: Stream, like: Any) -> Any:
    """Gaussian numbers like an array."""
    return stream.normal(tuple(like.shape), like=like)
