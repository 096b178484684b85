"""Rules: the functions of the Array API standard made differentiable, one or two lines each.

`differentiable_namespace` puts them together over any library: functions with a rule, functions whose result has no
derivative (they pass through and stop the gradient), and functions that create arrays.
"""

from __future__ import annotations

import functools
import inspect
from collections import namedtuple
from collections.abc import Callable
from typing import Any

from ann.autodiff.rules.table import PLAIN, RULES
from ann.autodiff.tape import CONSTANT, Traced, raw
from backends.library import GAPS, Library, library_of
from backends.wrapped import Namespace, users_line

from ann.autodiff.rules import algebra, creation, elementwise, loop, manipulation, reductions  # noqa: F401, isort: skip  (they fill the table)

for _table, _names in ((RULES, ("matmul", "matrix_transpose")), (PLAIN, ("tensordot", "vecdot"))):  # the standard has them in both places
    _table["linalg"] |= {_name: _table[""][_name] for _name in _names}

# Functions of the standard with no derivative, or whose result does not depend on a float input smoothly.
STEPS = (
    "all", "any", "argmax", "argmin", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "ceil", "count_nonzero", "equal", "floor", "floor_divide", "greater",
    "greater_equal", "isfinite", "isin", "isinf", "isnan", "less", "less_equal", "logical_and", "logical_not", "logical_or",
    "logical_xor", "nonzero", "not_equal", "result_type", "round", "searchsorted", "sign", "signbit", "trunc", "imag",
)  # fmt: skip
NAMED = {  # the tuples whose fields the standard names
    "eig": namedtuple("EigResult", ("eigenvalues", "eigenvectors")),
    "eigh": namedtuple("EighResult", ("eigenvalues", "eigenvectors")),
    "qr": namedtuple("QRResult", ("Q", "R")),
    "slogdet": namedtuple("SlogdetResult", ("sign", "logabsdet")),
    "svd": namedtuple("SVDResult", ("U", "S", "Vh")),
    "unique_all": namedtuple("UniqueAllResult", ("values", "indices", "inverse_indices", "counts")),
    "unique_counts": namedtuple("UniqueCountsResult", ("values", "counts")),
    "unique_inverse": namedtuple("UniqueInverseResult", ("values", "inverse_indices")),
}
# Functions that create arrays: from a shape (and the dtype of x); from values, which `VALUED` ones take as numbers.
CREATION = ("empty", "empty_like", "eye", "ones", "ones_like", "zeros", "zeros_like")
VALUED = ("arange", "from_dlpack", "full", "full_like", "linspace")
COMPLEX = ("eig", "eigvals")  # of linalg, and all of fft: results are complex, which are not differentiated


def differentiable_namespace(library: Library, cls: type[Traced]) -> Namespace:
    """The namespace of traced arrays over this library."""

    def wrap(y: Any) -> Any:
        if isinstance(y, tuple | list):
            parts = [wrap(part) for part in y]
            return type(y)(*parts) if hasattr(y, "_fields") else tuple(parts)
        return cls(y, CONSTANT) if not isinstance(y, Traced) and hasattr(y, "dtype") and hasattr(y, "shape") else y

    def through(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        """f on the values beneath; its result is a constant."""

        @functools.wraps(f)
        def constant(*args: Any, **kwargs: Any) -> Any:
            y = wrap(f(*map(_peeled, args), **{key: _peeled(value) for key, value in kwargs.items()}))
            return NAMED[name](*y) if name in NAMED else y

        return constant

    def constants_only(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        """f on the values beneath, of which none may depend on a differentiated input: its gradient would be lost."""
        passed = through(name, f)

        @functools.wraps(f)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if _depends((args, tuple(kwargs.values()))):
                raise TypeError(
                    f"{name}: an argument depends on a differentiated input (at {users_line()[0]}), and this function has no derivative here. "
                    "ann.stop_gradient(x) makes it a constant."
                )
            return passed(*args, **kwargs)

        return guarded

    def table(part: str, beneath: Any) -> dict[str, Callable[..., Any]]:
        rules = {name: _signed(f, None if library.rank else getattr(beneath, name), wrap) for name, f in RULES[part].items() if hasattr(beneath, name)}
        steps = {"": (*STEPS, *CREATION), "linalg": ("matrix_rank",), "fft": ()}[part]
        others = {"": VALUED, "linalg": COMPLEX, "fft": [name for name in dir(beneath) if not name.startswith("_")]}[part]
        passing = {name: through(name, getattr(beneath, name)) for name in steps if hasattr(beneath, name)}
        plain = {name: either(through(name, getattr(beneath, name)), f) for name, f in PLAIN[part].items() if hasattr(beneath, name)}
        return passing | {name: constants_only(name, f) for name in others if callable(f := getattr(beneath, name, None))} | plain | rules

    def either(constant: Callable[..., Any], body: Callable[..., Any]) -> Callable[..., Any]:
        """The library's function for constants, the body where an argument depends on a differentiated input."""

        @functools.wraps(constant)
        def function(*args: Any, **kwargs: Any) -> Any:
            return (body if _depends((args, tuple(kwargs.values()))) else constant)(*args, **kwargs)

        return function

    functions = table("", library.xp)
    functions |= {name: through(name, getattr(library.xp, name)) for name in ("finfo", "iinfo", "can_cast")}  # arrays are asked too
    functions["asarray"] = functools.partial(_asarray, library, cls)
    functions["to_device"] = RULES["gap"]["to_device"]
    functions["get_item"], functions["set_item"] = RULES["gap"]["get_item"], RULES["gap"]["set_item"]
    made = Namespace(f"{library.name}, differentiable (pass every array as an argument)", library.xp, functions)
    for name, body in creation.BODIES.items():
        setattr(made, name, either(functions[name], functools.partial(body, made)))
    for extension in ("linalg", "fft"):
        if (beneath := getattr(library.xp, extension, None)) is not None:
            setattr(made, extension, Namespace(f"{library.name}.{extension}, differentiable", beneath, table(extension, beneath)))
    return made


def differentiable(xp: Any) -> Any:
    """The differentiable namespace over a namespace of the standard (array_api_strict, array_api_compat.torch, …), or a backend's name.

    It is itself a namespace of the standard; its arrays are constants until ann.grad or ann.vjp differentiates by them.
    """
    from ann.autodiff.tape import traced_class
    from backends import get

    library = get(xp).library if isinstance(xp, str) else library_of(xp.zeros((), dtype=xp.float32))
    return traced_class(library).xp


def gap_rules() -> dict[str, Callable[..., Any]]:
    """The gap functions on traced arrays: by rule, or through (integers) where they have no derivative."""
    return {**{name: functools.partial(_gap_through, GAPS[name]) for name in ("random_bits", "device") if name in GAPS}, **RULES["gap"]}


def _gap_through(f: Callable[..., Any], *args: Any, **static: Any) -> Any:
    return f(*map(_peeled, args), **{key: _peeled(value) for key, value in static.items()})


def _depends(x: Any) -> bool:
    """Whether a differentiated input is behind x, or behind a member of it."""
    return any(map(_depends, x)) if isinstance(x, list | tuple) else isinstance(x, Traced) and x.depends


def _peeled(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return type(x)(map(_peeled, x)) if not hasattr(x, "_fields") else x
    return raw(x)


def _signed(f: Callable[..., Any], beneath: Callable[..., Any] | None, wrap: Callable[[Any], Any]) -> Callable[..., Any]:
    """The rule, with the signature of the library's function if there is one; of arrays without a trace it makes constants of this namespace."""

    @functools.wraps(f)
    def function(*args: Any, **kwargs: Any) -> Any:
        y = f(*args, **kwargs)
        y = y if isinstance(y, Traced) else wrap(y)
        return NAMED[f.__name__](*y) if f.__name__ in NAMED else y

    if beneath is not None:
        try:
            function.__signature__ = inspect.signature(beneath)  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            pass
    return function


def _asarray(library: Library, cls: type[Traced], obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    """xp.asarray: a traced array stays traced; a list with traced numbers in it is stacked."""
    xp = cls.xp
    if isinstance(obj, Traced):
        y = obj if dtype is None or obj.dtype == dtype else xp.astype(obj, dtype)
        y = y if device is None or y.device == device else y.to_device(device)
        return xp.positive(y) if copy and y is obj and xp.isdtype(y.dtype, "numeric") else y
    if isinstance(obj, list | tuple) and _holds_traced(obj):
        return xp.stack([_asarray(library, cls, part, dtype=dtype, device=device) for part in obj])
    return cls(library.xp.asarray(obj, dtype=dtype, device=device, copy=copy), CONSTANT)


def _holds_traced(obj: Any) -> bool:
    return any(isinstance(part, Traced) or (isinstance(part, list | tuple) and _holds_traced(part)) for part in obj)
