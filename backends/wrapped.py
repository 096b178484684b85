"""What arrays that stand for others have in common: the operators, the attributes, the namespace, NumPy's protocols.

A traced array (it remembers how it was computed) and an abstract array (it has a shape and no data) differ only in the
functions of their namespace. Everything else is here: an operator calls the function of the namespace, `np.exp(x)` and
`x.sum()` find it by name.
"""

from __future__ import annotations

import builtins
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from backends import numpy_style
from backends.library import library_of

CONSTANTS = ("e", "inf", "nan", "newaxis", "pi")
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float32", "float64", "complex64", "complex128")  # fmt: skip
INSPECTION = ("isdtype", "finfo", "iinfo", "can_cast", "__array_namespace_info__", "broadcast_shapes")

OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip
COMPARISONS = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
UNARY = {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}


class Namespace:
    """A namespace of the standard over that of `beneath`: its dtypes, constants and inspection, and these functions."""

    def __init__(self, name: str, beneath: Any, functions: dict[str, Callable[..., Any]]):
        self.__name__ = name
        self.__array_api_version__ = getattr(beneath, "__array_api_version__", "2025.12")
        for key in (*CONSTANTS, *DTYPES, *INSPECTION):
            if hasattr(beneath, key):
                setattr(self, key, getattr(beneath, key))
        for key, f in functions.items():
            setattr(self, key, f)

    def __repr__(self) -> str:
        return f"<namespace {self.__name__}>"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self.__name__} has no {name!r}: it is not in the Array API standard")


class Wrapped:
    """An array that stands for another: operators and attributes, all of them through the functions of its namespace."""

    __slots__ = ()
    xp: Any = None  # the namespace of the class
    weak_scalars = False  # whether NumPy's scalars (np.sqrt(2)) count as Python numbers here: over every library but NumPy
    shape: tuple[int, ...]
    dtype: Any
    device: Any
    __hash__ = None  # type: ignore[assignment]

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        if api_version is not None and api_version > self.xp.__array_api_version__:
            raise ValueError(f"this namespace follows the standard {self.xp.__array_api_version__}, not {api_version!r}")
        return self.xp

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def T(self) -> Any:
        if self.ndim != 2:
            raise ValueError(f"x.T takes a matrix, x has shape {self.shape}; x.mT or permute_dims serve other shapes")
        return self.xp.matrix_transpose(self)

    @property
    def mT(self) -> Any:
        return self.xp.matrix_transpose(self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("a 0-d array cannot be iterated")
        return (self[i] for i in range(self.shape[0]))

    def __getitem__(self, key: Any) -> Any:
        raise NotImplementedError

    def _split(self, key: Any) -> tuple[Any, list[Any]]:
        """An index as (template, arrays); lists in it are arrays of integers."""
        template, arrays = split_key(key)
        return template, [self.xp.asarray(part, device=self.device) if type(part) is list else part for part in arrays]

    def __getattr__(self, name: str) -> Any:
        method = numpy_style.METHODS.get(name)
        if method is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return lambda *args, **kwargs: method(self.xp, self, *args, **kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return numpy_style.ufunc(self.xp, ufunc.__name__, method, tuple(map(self._operand, inputs)), kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return numpy_style.function(self.xp, function, args, kwargs)

    def _operand(self, x: Any) -> Any:
        """x, or the Python number that a NumPy scalar stands for."""
        if self.weak_scalars and type(x).__module__ == "numpy" and not hasattr(x, "__setitem__"):
            return x.item()
        return x


def _binary(name: str) -> Callable[[Any, Any], Any]:
    def operator(self: Any, other: Any) -> Any:
        return getattr(self.xp, name)(self, self._operand(other)) if _is_operand(self, other) else NotImplemented

    return operator


def _reflected(name: str) -> Callable[[Any, Any], Any]:
    def operator(self: Any, other: Any) -> Any:
        return getattr(self.xp, name)(self._operand(other), self) if _is_operand(self, other) else NotImplemented

    return operator


def _unary(name: str) -> Callable[[Any], Any]:
    return lambda self: getattr(self.xp, name)(self)


def _is_operand(self: Any, other: Any) -> bool:
    """Whether an operator of self takes other: a number or an array, but none that stands above it, as a traced one does above abstract ones."""
    try:
        return other is not None and library_of(other).rank <= library_of(self).rank
    except TypeError:
        return False


for _sign, _name in OPERATORS.items():
    setattr(Wrapped, f"__{_sign}__", _binary(_name))
    setattr(Wrapped, f"__r{_sign}__", _reflected(_name))
for _sign, _name in COMPARISONS.items():
    setattr(Wrapped, f"__{_sign}__", _binary(_name))
for _sign, _name in UNARY.items():
    setattr(Wrapped, f"__{_sign}__", _unary(_name))


def split_key(key: Any) -> tuple[Any, list[Any]]:
    """An index as (template, arrays): each array in it is replaced by its place in the list, as an `Index`."""
    arrays: list[Any] = []

    def place(part: Any) -> Any:
        if part is None or part is Ellipsis or isinstance(part, int | slice):
            return part
        if type(part).__module__ == "numpy" and hasattr(part, "__index__") and part.ndim == 0:
            return int(part)  # a NumPy integer, which other libraries refuse
        arrays.append(part)
        return Index(len(arrays) - 1)

    template = tuple(map(place, key)) if isinstance(key, tuple) else place(key)
    return template, arrays


def join_key(template: Any, arrays: list[Any]) -> Any:
    """The index that `split_key` took apart, with these arrays."""
    if isinstance(template, tuple):
        return tuple(join_key(part, arrays) for part in template)
    return arrays[template.place] if isinstance(template, Index) else template


class Index:
    """The place of an index array in a template."""

    def __init__(self, place: int):
        self.place = place

    def __repr__(self) -> str:
        return f"i{self.place}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Index) and other.place == self.place

    def __hash__(self) -> int:
        return hash(("index", self.place))


def users_line() -> tuple[str, str]:
    """("script.py:12", "y = math.sin(x)"): the newest line on the stack that is the user's: neither ours nor an installed package's."""
    frame: Any = sys._getframe(1)
    found: Any = None
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("ann", "backends", "importlib", "contextlib", "functools", "numpy"):
            found = found or frame
            if "site-packages" not in frame.f_code.co_filename:
                found = frame
                break
        frame = frame.f_back
    if found is None:
        return "?", ""
    file, number = found.f_code.co_filename, found.f_lineno
    return f"{file.rpartition('/')[2]}:{number}", linecache.getline(file, number).strip()


def leaving(what: str, where: str, why: str) -> TypeError:
    """The error for a value asked of an array that must not give it: float(x) inside grad, at script.py:12."""
    place, line = users_line()
    if found := re.search(r"\bmath\.(\w+)\(", line):
        name = found[1]
        instead = numpy_style.MATH.get(name, f"np.{name}")
        return TypeError(f"{what} {where}, at {place}: math.{name}(x) needs a number; write {instead}(x).")
    if what.startswith("bool"):
        advice = "write xp.where(condition, a, b)"
    elif what.startswith("int"):
        advice = "sizes come from x.shape; an array of integers picks with xp.take(x, i, axis=0)"
    elif "np.array(" in line or "np.asarray(" in line:
        advice = "np.stack([a, b]) makes an array of a list; an array needs no np.asarray"
    else:
        advice = "write np or xp functions of x (xp = ann.namespace(x))"
    return TypeError(f"{what} {where}, at {place}: {line or 'it needs a number'}. {why}; {advice}.")


def is_number(x: Any) -> bool:
    """A Python number, which is weak: it takes the dtype of the array beside it."""
    return builtins.type(x) in (int, float, complex, bool)
