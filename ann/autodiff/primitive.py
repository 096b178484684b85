"""A primitive: a formula and its derivative in one body.

    @primitive
    def square(x):
        "y = x²    dx = 2·x·dy"
        return x * x, lambda dy: 2.0 * x * dy

The body takes arrays and returns (y, *pullbacks), one a positional parameter: pullback i maps dy, the gradient of some
number by y, to dx, its gradient by parameter i. Positional parameters are arrays, lists of arrays, Python numbers or
None; keyword-only ones are static. A pullback is None where nothing is ever differentiated (labels, indices).

    square(x)        the value; nothing is kept
    square.vjp(x)    (y, pull), to apply by hand
    ann.grad(f)      differentiates any f that calls square
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, overload

from ann.autodiff.tape import Traced, is_traced, record
from backends.program import calls

Array = Any


class Primitive:
    """A function of arrays whose body also gives its pullbacks. Made by the decorator `primitive`."""

    def __init__(self, body: Callable[..., Any], joint: bool):
        self.body = body
        self.joint = joint
        functools.update_wrapper(self, body)
        parameters = inspect.signature(body).parameters.values()
        self.positional = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.keywords = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    def __repr__(self) -> str:
        return f"<primitive {self.__name__}>"  # type: ignore[attr-defined]

    def __reduce__(self) -> str:
        return str(self.__qualname__)  # type: ignore[attr-defined]  # pickled by name, as functions are

    def __call__(self, *args: Any, **static: Any) -> Any:
        if len(args) > len(self.positional) or (static and not static.keys() <= set(self.keywords)):
            args, static = self._bind(args, static)
        for x in args:
            if isinstance(x, Traced) or (type(x) in (list, tuple) and any(map(is_traced, x))):
                return record(self, args, static)
        if calls.active:
            with calls.region(self.__name__, calls.new_region(), "value", static):  # type: ignore[attr-defined]
                return self.body(*args, **static)[0]
        return self.body(*args, **static)[0]

    def vjp(self, *args: Any, **static: Any) -> tuple[Any, Callable[[Any], Any]]:
        """(y, pull): pull(dy) is dx for one array argument, else a tuple with an entry for each argument given."""
        args, static = self._bind(args, static)
        y, *pulls = self.body(*args, **static)

        def pull(dy: Any) -> Any:
            if self.joint:
                gradients = tuple(pulls[0](dy))[: len(args)]
            else:
                gradients = tuple(p(dy) if p and x is not None else None for p, x in zip(pulls, args, strict=False))
            return gradients[0] if len(args) == 1 else gradients

        return y, pull

    def _bind(self, args: tuple[Any, ...], static: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Extra positional arguments go to the keyword-only parameters in order; positional ones may come by keyword."""
        name = self.__name__  # type: ignore[attr-defined]
        count = len(self.positional)
        extra = dict(zip(self.keywords, args[count:], strict=False))
        if len(args) > count + len(self.keywords) or extra.keys() & static.keys():
            raise TypeError(f"{name} takes {', '.join((*self.positional, *self.keywords))}; {len(args)} positional arguments came")
        static = {**static, **extra}
        args = args[:count]
        given = {key: static.pop(key) for key in self.positional[len(args) :] if key in static}
        if given:
            bound = inspect.signature(self.body).bind_partial(*args, **given)
            bound.apply_defaults()
            args = tuple(bound.arguments[key] for key in self.positional if key in bound.arguments)
        if unknown := static.keys() - set(self.keywords):
            raise TypeError(f"{name} has no parameter {', '.join(sorted(unknown))}; it takes {', '.join((*self.positional, *self.keywords))}")
        return args, static


@overload
def primitive(body: Callable[..., Any]) -> Primitive: ...
@overload
def primitive(*, joint: bool) -> Callable[[Callable[..., Any]], Primitive]: ...
def primitive(body: Callable[..., Any] | None = None, *, joint: bool = False) -> Any:
    """Make a formula differentiable: its body returns (y, *pullbacks), or with joint=True (y, back), back(dy) → tuple.

    Under a trace the body runs on the values beneath, so a pullback written in Array API calls can be differentiated
    itself, to any order. dx has the shape and the dtype of x. y is an array or a tuple of arrays; dy has its structure,
    with zeros filled in.
    """
    if body is None:
        return lambda f: Primitive(f, joint)
    return Primitive(body, joint)
