"""The shape and the dtype of each function's result: the functions of the standard's main namespace.

A rule has the function's name. Its positional parameters are arrays, lists of arrays, Python numbers or None, its
keyword-only ones are static; `k` is the class of the abstract arrays, which knows the library's default dtypes.
It returns (shape, name of the dtype), or a list of such pairs where the function returns several arrays.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

from backends.gaps.window import check_fold, window_counts
from backends.program.indexing import Shape, broadcast, indexed
from backends.program.promotion import (
    ANY,
    BOOL,
    COMPLEX_FLOATING,
    FLOATING,
    INTEGER,
    INTEGER_OR_BOOL,
    LIMITS,
    NUMERIC,
    REAL_FLOATING,
    REAL_NUMERIC,
    REAL_OF,
    UNSIGNED,
    WIDTH,
    Refusal,
    dtype_name,
    kind,
    promote,
    promote_all,
)

Rule = Callable[..., Any]
Result = tuple[Shape, str]
MAIN: dict[str, Rule] = {}
GAP_RULES: dict[str, Rule] = {}

_TITLES = {
    NUMERIC: "numbers", FLOATING: "floats", REAL_NUMERIC: "real numbers", REAL_FLOATING: "real floats", INTEGER: "integers",
    INTEGER_OR_BOOL: "integers or bools", BOOL: "bools", COMPLEX_FLOATING: "complex numbers", ANY: "arrays",
}  # fmt: skip
NUMBERS = (int, float, complex, bool)
SEQUENCE = (tuple, list)


def main(rule: Rule) -> Rule:
    """A rule of the main namespace."""
    MAIN[rule.__name__.rstrip("_")] = rule
    return rule


def gap_rule(rule: Rule) -> Rule:
    """A rule of a gap function."""
    GAP_RULES[rule.__name__] = rule
    return rule


# what the rules share


def want(x: Any, allowed: frozenset[str] = ANY, called: str = "x") -> Any:
    """x, an array whose dtype is allowed."""
    if not hasattr(x, "dtype_name"):
        raise Refusal(f"{called} is {type(x).__name__} {x!r}; wanted an array", TypeError)
    if x.dtype_name not in allowed:
        target = "bool" if allowed == BOOL else "int32" if allowed <= INTEGER_OR_BOOL else "float32"
        raise Refusal(
            f"{called} has {x.dtype_name}, the standard defines this for {_TITLES[allowed]}. Write xp.astype({called}, xp.{target}) first.",
            TypeError,
        )
    return x


def operand(x: Any) -> Any:
    """What `promote` takes: the name of an array's dtype, or the type of a Python number."""
    if type(x) in NUMBERS:
        return type(x)
    return want(x).dtype_name


def fitting(name: str, *numbers: Any) -> str:
    """The name of a dtype. Refusal where one of these is a Python integer that an array of this dtype cannot hold."""
    if name in INTEGER:
        low, high = LIMITS[name]
        for x in numbers:
            if type(x) is int and not low <= x <= high:
                raise Refusal(f"{x} does not fit {name}, which goes from {low} to {high}", OverflowError)
    return name


def shape_of_operand(x: Any) -> Shape:
    return () if type(x) in NUMBERS else x.shape  # type: ignore[no-any-return]


def normal_axis(axis: Any, ndim: int) -> int:
    """axis counted from 0."""
    if not hasattr(axis, "__index__"):
        raise Refusal(f"axis is {axis!r}; wanted an integer", TypeError)
    axis = axis.__index__()
    if not -ndim <= axis < ndim:
        raise Refusal(f"axis {axis} is out of range for {ndim} axes")
    return axis + ndim if axis < 0 else axis  # type: ignore[no-any-return]


def normal_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """axis — None, an integer or several — as axes counted from 0, none twice."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(normal_axis(a, ndim) for a in (axis if isinstance(axis, SEQUENCE) else (axis,)))
    if len(set(axes)) < len(axes):
        raise Refusal(f"axis {axis} names an axis twice")
    return axes


def normal_shape(shape: Any) -> Shape:
    """A shape, or one size, as a tuple of integers of at least 0."""
    sizes = tuple(n.__index__() for n in (shape if isinstance(shape, SEQUENCE) else (shape,)))
    if any(n < 0 for n in sizes):
        raise Refusal(f"shape {sizes} has a negative size")
    return sizes


def reduced(shape: Shape, axis: Any, keepdims: bool) -> Shape:
    axes = normal_axes(axis, len(shape))
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def chosen(dtype: Any, otherwise: str) -> str:
    return otherwise if dtype is None else dtype_name(dtype)


def accumulated(k: Any, name: str) -> str:
    """The dtype in which sums and products are kept: integers take at least the library's default width."""
    default: str = k.default_uint if name in UNSIGNED else k.default_int
    return default if name in INTEGER and WIDTH[name] < WIDTH[default] else name


def nonempty(x: Any, axes: tuple[int, ...]) -> None:
    if any(x.shape[a] == 0 for a in axes):
        raise Refusal(f"x has shape {x.shape}: there is no extreme among 0 values")


# elementwise


def unary(allowed: frozenset[str], result: Callable[[str], str] | None = None) -> Rule:
    def rule(k: Any, x: Any, /) -> Result:
        name = want(x, allowed).dtype_name
        return x.shape, result(name) if result else name

    return rule


PROMOTING = {"where", "clip"}  # functions in which Python numbers take the dtype of the arrays beside them


def binary(names: str, allowed: frozenset[str], result: str | None = None) -> None:
    def rule(k: Any, x1: Any, x2: Any, /) -> Result:
        a = x1.dtype_name if type(x1) is k else operand(x1)
        b = x2.dtype_name if type(x2) is k else operand(x2)
        name = promote(a, b)
        if name not in allowed:
            number = x1 if a not in ANY else x2 if b not in ANY else None
            if number is not None and (a in allowed or b in allowed):
                raise Refusal(
                    f"with the Python number {number!r}; the standard defines this for {_TITLES[allowed]}", TypeError
                )
            for x, came, called in ((x1, a, "x1"), (x2, b, "x2")):
                if came in ANY:
                    want(x, allowed, called)
        s = x1.shape if isinstance(a, str) else ()
        t = x2.shape if isinstance(b, str) else ()
        return s if s == t or t == () else broadcast(s, t), result or fitting(name, x1, x2)

    MAIN.update(dict.fromkeys(names.split(), rule))
    PROMOTING.update(names.split())


def _truth(name: str) -> str:
    return "bool"


def _real(name: str) -> str:
    return REAL_OF.get(name, name)


def _register() -> None:
    floats = (
        "acos acosh asin asinh atan atanh cos cosh exp expm1 log log10 log1p log2 reciprocal sin sinh sqrt tan tanh"
    )
    for name in floats.split():
        MAIN[name] = unary(FLOATING)
    for name in "negative positive round sign square conj".split():
        MAIN[name] = unary(NUMERIC)
    for name in "ceil floor trunc".split():
        MAIN[name] = unary(REAL_NUMERIC)
    for name in "isfinite isinf isnan".split():
        MAIN[name] = unary(NUMERIC, _truth)
    MAIN["abs"] = unary(NUMERIC, _real)
    MAIN["real"] = unary(NUMERIC, _real)
    MAIN["imag"] = unary(COMPLEX_FLOATING, _real)
    MAIN["signbit"] = unary(REAL_FLOATING, _truth)
    MAIN["bitwise_invert"] = unary(INTEGER_OR_BOOL)
    MAIN["logical_not"] = unary(BOOL)
    binary("add subtract multiply pow", NUMERIC)
    binary("floor_divide remainder maximum minimum", REAL_NUMERIC)
    binary("atan2 copysign hypot logaddexp nextafter", REAL_FLOATING)
    binary("bitwise_and bitwise_or bitwise_xor", INTEGER_OR_BOOL)
    binary("bitwise_left_shift bitwise_right_shift", INTEGER)
    binary("logical_and logical_or logical_xor", BOOL)
    binary("less less_equal greater greater_equal", REAL_NUMERIC, "bool")
    binary("equal not_equal", ANY, "bool")
    binary("divide", FLOATING)
    for name in "erf erfc lgamma digamma trigamma".split():
        GAP_RULES[name] = unary(REAL_FLOATING)


_register()


@main
def clip(k: Any, x: Any, min: Any = None, max: Any = None) -> Result:
    want(x, REAL_NUMERIC)
    for bound in (min, max):
        if bound is not None:
            promote(x.dtype_name, operand(bound))
    return broadcast(x.shape, *(shape_of_operand(b) for b in (min, max) if b is not None)), x.dtype_name


@main
def where(k: Any, condition: Any, x1: Any, x2: Any, /) -> Result:
    want(condition, BOOL, "condition")
    return broadcast(condition.shape, shape_of_operand(x1), shape_of_operand(x2)), fitting(promote(operand(x1), operand(x2)), x1, x2)


# creation


def _filled(k: Any, *, shape: Any, dtype: Any = None, device: Any = None) -> Result:
    return normal_shape(shape), chosen(dtype, k.default_float)


MAIN.update(dict.fromkeys(("zeros", "ones", "empty"), _filled))


def _filled_like(k: Any, x: Any, /, *, dtype: Any = None, device: Any = None) -> Result:
    return want(x).shape, chosen(dtype, x.dtype_name)


MAIN.update(dict.fromkeys(("zeros_like", "ones_like", "empty_like"), _filled_like))


@main
def full(k: Any, fill_value: Any, *, shape: Any, dtype: Any = None, device: Any = None) -> Result:
    return normal_shape(shape), fitting(chosen(dtype, k.of_number(fill_value)), fill_value)


@main
def full_like(k: Any, x: Any, fill_value: Any, /, *, dtype: Any = None, device: Any = None) -> Result:
    k.of_number(fill_value)
    return want(x).shape, fitting(chosen(dtype, x.dtype_name), fill_value)


@main
def arange(k: Any, /, *, start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, device: Any = None) -> Result:
    bounds: tuple[Any, Any] = (0, start) if stop is None else (start, stop)
    for number in (*bounds, step):
        if hasattr(number, "dtype_name"):
            raise Refusal("the length would depend on a value; it takes Python numbers", TypeError)
    if step == 0:
        raise Refusal("step is 0")
    name = k.default_int if all(isinstance(n, int) for n in (*bounds, step)) else k.default_float
    if all(isinstance(n, int) for n in (*bounds, step)):
        length = len(range(bounds[0], bounds[1], step))
    else:
        length = max_(0, math.ceil((bounds[1] - bounds[0]) / step))
    return (length,), chosen(dtype, name)


max_ = builtins.max


@main
def linspace(
    k: Any, start: Any, stop: Any, /, *, num: int, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Result:
    complexes = isinstance(start, complex) or isinstance(stop, complex)
    return normal_shape(num), chosen(dtype, k.default_complex if complexes else k.default_float)


@main
def eye(
    k_: Any, /, *, n_rows: int, n_cols: int | None = None, k: int = 0, dtype: Any = None, device: Any = None
) -> Result:
    return normal_shape((n_rows, n_rows if n_cols is None else n_cols)), chosen(dtype, k_.default_float)


@main
def asarray(k: Any, obj: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Result:
    shape, name = _nested(k, obj)
    return shape, chosen(dtype, name)


def _nested(k: Any, obj: Any) -> Result:
    if hasattr(obj, "dtype_name"):
        return obj.shape, obj.dtype_name
    if not isinstance(obj, list | tuple):
        return (), k.of_number(obj)
    if any(hasattr(part, "dtype_name") for part in obj):
        raise Refusal("a list of arrays without data; write xp.stack([…])", TypeError)
    parts = [_nested(k, part) for part in obj]
    if not parts:
        return (0,), k.default_float
    if len({shape for shape, _ in parts}) > 1:
        raise Refusal(
            f"the list is ragged: its entries have shapes {', '.join(str(s) for s in sorted({s for s, _ in parts}))}"
        )
    order = ("bool", k.default_int, k.default_float, k.default_complex)
    return (len(parts), *parts[0][0]), builtins.max((name for _, name in parts), key=order.index)


@main
def from_dlpack(k: Any, x: Any, /, *, device: Any = None, copy: Any = None) -> Result:
    return want(x).shape, x.dtype_name


@main
def tril(k_: Any, x: Any, /, *, k: int = 0) -> Result:
    _matrices(x)
    return x.shape, x.dtype_name


MAIN["triu"] = tril


@main
def meshgrid(k: Any, *arrays: Any, indexing: str = "xy") -> list[Result]:
    if indexing not in ("xy", "ij"):
        raise Refusal(f'indexing is "xy" or "ij", {indexing!r} came')
    for x in arrays:
        if want(x).ndim > 1:
            raise Refusal(f"takes arrays of one axis; one has shape {x.shape}")
    sizes = [math.prod(x.shape) for x in arrays]
    if indexing == "xy" and len(sizes) > 1:
        sizes[:2] = sizes[1], sizes[0]
    return [(tuple(sizes), x.dtype_name) for x in arrays]


@main
def astype(k: Any, x: Any, /, *, dtype: Any, copy: bool = True, device: Any = None) -> Result:
    name = dtype_name(dtype)
    if want(x).dtype_name in COMPLEX_FLOATING and name not in COMPLEX_FLOATING:
        raise Refusal(f"{x.dtype_name} to {name} drops the imaginary part; write xp.real(x) first", TypeError)
    return x.shape, name


@main
def to_device(k: Any, x: Any, /, *, device: Any) -> Result:
    return x.shape, x.dtype_name


# manipulation


@main
def broadcast_arrays(k: Any, *arrays: Any) -> list[Result]:
    shape = broadcast(*(want(x).shape for x in arrays))
    return [(shape, x.dtype_name) for x in arrays]


@main
def broadcast_to(k: Any, x: Any, /, *, shape: Any) -> Result:
    wanted = normal_shape(shape)
    if broadcast(want(x).shape, wanted) != wanted:
        raise Refusal(f"shape {x.shape} does not broadcast to {wanted}")
    return wanted, x.dtype_name


@main
def concat(k: Any, arrays: Any, /, *, axis: int | None = 0) -> Result:
    if not arrays:
        raise Refusal("takes at least one array")
    name = promote_all([want(x).dtype_name for x in arrays])
    if axis is None:
        return (sum_(math.prod(x.shape) for x in arrays),), name
    first = arrays[0].shape
    a = normal_axis(axis, len(first))
    for x in arrays:
        if len(x.shape) != len(first) or x.shape[:a] != first[:a] or x.shape[a + 1 :] != first[a + 1 :]:
            raise Refusal(f"shapes {first} and {x.shape} along axis {axis}; wanted equal sizes on every other axis")
    return (*first[:a], sum_(x.shape[a] for x in arrays), *first[a + 1 :]), name


sum_ = builtins.sum


@main
def stack(k: Any, arrays: Any, /, *, axis: int = 0) -> Result:
    if not arrays:
        raise Refusal("takes at least one array")
    name = promote_all([want(x).dtype_name for x in arrays])
    first = arrays[0].shape
    for x in arrays:
        if x.shape != first:
            raise Refusal(f"shapes {first} and {x.shape}; wanted one shape")
    a = normal_axis(axis, len(first) + 1)
    return (*first[:a], len(arrays), *first[a:]), name


@main
def unstack(k: Any, x: Any, /, *, axis: int = 0) -> list[Result]:
    a = normal_axis(axis, want(x).ndim)
    return [((*x.shape[:a], *x.shape[a + 1 :]), x.dtype_name)] * x.shape[a]


@main
def expand_dims(k: Any, x: Any, /, *, axis: Any) -> Result:
    count = len(axis) if isinstance(axis, SEQUENCE) else 1
    axes = normal_axes(axis, want(x).ndim + count)
    sizes = iter(x.shape)
    return tuple(1 if i in axes else next(sizes) for i in range(x.ndim + count)), x.dtype_name


@main
def squeeze(k: Any, x: Any, /, *, axis: Any) -> Result:
    axes = normal_axes(axis, want(x).ndim)
    if wide := [a for a in axes if x.shape[a] != 1]:
        raise Refusal(f"axis {wide[0]} of shape {x.shape} has size {x.shape[wide[0]]}, not 1")
    return tuple(n for i, n in enumerate(x.shape) if i not in axes), x.dtype_name


@main
def flip(k: Any, x: Any, /, *, axis: Any = None) -> Result:
    normal_axes(axis, want(x).ndim)
    return x.shape, x.dtype_name


@main
def roll(k: Any, x: Any, /, *, shift: Any, axis: Any = None) -> Result:
    if axis is not None:
        axes = axis if isinstance(axis, SEQUENCE) else (axis,)
        for a in axes:
            normal_axis(a, want(x).ndim)
        if isinstance(shift, SEQUENCE) and len(shift) != len(axes):
            raise Refusal(f"shift {shift} and axis {axis} differ in length")
    return want(x).shape, x.dtype_name


@main
def moveaxis(k: Any, x: Any, /, *, source: Any, destination: Any) -> Result:
    old, new = normal_axes(source, want(x).ndim), normal_axes(destination, x.ndim)
    if len(old) != len(new):
        raise Refusal(f"source {source} and destination {destination} differ in length")
    order = [i for i in range(x.ndim) if i not in old]
    for place, a in sorted(zip(new, old, strict=True)):
        order.insert(place, a)
    return tuple(x.shape[i] for i in order), x.dtype_name


@main
def permute_dims(k: Any, x: Any, /, *, axes: Any) -> Result:
    order = normal_axes(tuple(axes), want(x).ndim)
    if len(order) != x.ndim:
        raise Refusal(f"axes {tuple(axes)} for shape {x.shape}; wanted every axis once")
    return tuple(x.shape[i] for i in order), x.dtype_name


@main
def repeat(k: Any, x: Any, repeats: Any, /, *, axis: int | None = None) -> Result:
    if not isinstance(repeats, int):
        raise Refusal("the size of the result would depend on values; repeats is a Python integer", TypeError)
    if repeats < 0:
        raise Refusal(f"repeats is {repeats}; wanted at least 0")
    if axis is None:
        return (math.prod(want(x).shape) * repeats,), x.dtype_name
    a = normal_axis(axis, want(x).ndim)
    return (*x.shape[:a], x.shape[a] * repeats, *x.shape[a + 1 :]), x.dtype_name


@main
def tile(k: Any, x: Any, /, *, repetitions: Any) -> Result:
    times = normal_shape(repetitions)
    ndim = builtins.max(len(times), want(x).ndim)
    times = (1,) * (ndim - len(times)) + times
    shape = (1,) * (ndim - x.ndim) + x.shape
    return tuple(n * t for n, t in zip(shape, times, strict=True)), x.dtype_name


@main
def reshape(k: Any, x: Any, /, *, shape: Any, copy: Any = None) -> Result:
    wanted = tuple(n.__index__() for n in (shape if isinstance(shape, SEQUENCE) else (shape,)))
    size = math.prod(want(x).shape)
    open_ = [i for i, n in enumerate(wanted) if n == -1]
    known = math.prod(n for n in wanted if n != -1)
    if len(open_) > 1 or any(n < -1 for n in wanted):
        raise Refusal(f"shape {wanted}: sizes are at least 0, and one of them may be -1")
    if open_ and known and size % known == 0:
        wanted = (*wanted[: open_[0]], size // known, *wanted[open_[0] + 1 :])
    elif open_ or known != size:
        raise Refusal(f"x has shape {x.shape}, that is {size} values; they do not fill shape {wanted}")
    return wanted, x.dtype_name


def _matrices(x: Any) -> None:
    if want(x).ndim < 2:
        raise Refusal(f"takes matrices (…, rows, columns); x has shape {x.shape}")


@main
def matrix_transpose(k: Any, x: Any, /) -> Result:
    _matrices(x)
    return (*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype_name


# indexing


@main
def take(k: Any, x: Any, indices: Any, /, *, axis: int | None = None) -> Result:
    want(indices, INTEGER, "indices")
    if axis is None and want(x).ndim != 1:
        raise Refusal(f"x has shape {x.shape}: for more than one axis, name the axis")
    a = normal_axis(0 if axis is None else axis, want(x).ndim)
    if x.shape[a] == 0 and 0 not in indices.shape:
        raise Refusal(f"axis {a} of x has size 0: there is nothing to take", IndexError)
    return (*x.shape[:a], *indices.shape, *x.shape[a + 1 :]), x.dtype_name


@main
def take_along_axis(k: Any, x: Any, indices: Any, /, *, axis: int = -1) -> Result:
    want(indices, INTEGER, "indices")
    if want(x).ndim != indices.ndim:
        raise Refusal(f"x has shape {x.shape}, indices {indices.shape}; wanted as many axes")
    a = normal_axis(axis, x.ndim)
    there = list(x.shape)
    there[a] = 1
    around = list(indices.shape)
    around[a] = 1
    shape = list(broadcast(tuple(there), tuple(around)))
    shape[a] = indices.shape[a]
    if x.shape[a] == 0 and 0 not in shape:
        raise Refusal(f"axis {a} of x has size 0: there is nothing to take", IndexError)
    return tuple(shape), x.dtype_name


@gap_rule
def get_item(k: Any, x: Any, arrays: Any, /, *, key: Any) -> Result:
    if any(want(i).dtype_name == "bool" for i in arrays):
        raise Refusal(
            f"x[mask]: {k.unknown('the number of values kept', 'write xp.where(mask, x, 0) and sum with the mask')}",
            TypeError,
        )
    return indexed(x.shape, arrays, key), x.dtype_name


@gap_rule
def set_item(k: Any, x: Any, value: Any, arrays: Any, /, *, key: Any) -> Result:
    """x with value at key: its shape and its dtype; the value is cast, to a kind that holds it."""
    fits = {"bool": BOOL, "integer": INTEGER_OR_BOOL, "real floating": ANY - COMPLEX_FLOATING, "complex floating": ANY}
    name = _number_name(value) if type(value) in NUMBERS else want(value, called="value").dtype_name
    if name not in fits[kind(x.dtype_name)]:
        raise Refusal(
            f"x[k] = v: v has {name}, x has {x.dtype_name}. Write xp.astype(v, xp.{x.dtype_name}) first.", TypeError
        )
    fitting(x.dtype_name, value)
    masks = [i for i in arrays if want(i).dtype_name == "bool"]
    if masks:
        if shape_of_operand(value) != ():
            raise Refusal(
                f"x[mask] = v: {k.unknown('the number of values set', 'write x = xp.where(mask, v, x)')}", TypeError
            )
        if len(masks) > 1 or isinstance(key, tuple) or masks[0].shape != x.shape[: masks[0].ndim]:
            raise Refusal(
                f"x[mask] = v: the mask has shape {masks[0].shape}, x {x.shape}; wanted x's first axes, and no other index",
                IndexError,
            )
        return x.shape, x.dtype_name
    there = indexed(x.shape, arrays, key)
    came = shape_of_operand(value)
    while len(came) > len(there) and came[0] == 1:
        came = came[1:]
    if broadcast(there, came) != there:
        raise Refusal(
            f"x[k] = v: x[k] has shape {there}, v has {shape_of_operand(value)}; wanted one that broadcasts to it"
        )
    return x.shape, x.dtype_name


def _number_name(value: Any) -> str:
    return {bool: "bool", int: "int8", float: "float32", complex: "complex64"}[type(value)]


# searching, sorting, sets


def _arg_extreme(k: Any, x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Result:
    want(x, REAL_NUMERIC)
    nonempty(x, normal_axes(axis if axis is None else normal_axis(axis, x.ndim), x.ndim))
    return reduced(x.shape, axis, keepdims), k.default_index


MAIN["argmax"] = MAIN["argmin"] = _arg_extreme


@main
def count_nonzero(k: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Result:
    return reduced(want(x).shape, axis, keepdims), k.default_index


@main
def searchsorted(k: Any, x1: Any, x2: Any, /, sorter: Any = None, *, side: str = "left") -> Result:
    if want(x1, REAL_NUMERIC, "x1").ndim != 1:
        raise Refusal(f"x1 has shape {x1.shape}; wanted one axis, sorted")
    if side not in ("left", "right"):
        raise Refusal(f'side is "left" or "right", {side!r} came')
    promote(x1.dtype_name, operand(x2))
    return shape_of_operand(x2), k.default_index


@main
def isin(k: Any, x1: Any, x2: Any, /, *, invert: bool = False) -> Result:
    promote(operand(x1), operand(x2))
    return shape_of_operand(x1), "bool"


@main
def sort(k: Any, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Result:
    want(x, REAL_NUMERIC)
    normal_axis(axis, x.ndim)
    return x.shape, x.dtype_name


@main
def argsort(k: Any, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Result:
    want(x, REAL_NUMERIC)
    normal_axis(axis, x.ndim)
    return x.shape, k.default_index


def _data_dependent(what: str, instead: str) -> Rule:
    def rule(k: Any, *args: Any, **static: Any) -> Result:
        raise Refusal(k.unknown(what, instead), TypeError)

    return rule


MAIN["nonzero"] = _data_dependent("the number of indices", "write xp.where(condition, a, b)")
for _name in ("unique_all", "unique_counts", "unique_inverse", "unique_values"):
    MAIN[_name] = _data_dependent(
        "the number of different values", "compute it before, on arrays with data, and pass the result as an argument"
    )


# statistics


def _sum(k: Any, x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Result:
    want(x, NUMERIC)
    return reduced(x.shape, axis, keepdims), chosen(dtype, accumulated(k, x.dtype_name))


MAIN["sum"] = MAIN["prod"] = _sum


@main
def mean(k: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Result:
    want(x, FLOATING)
    return reduced(x.shape, axis, keepdims), x.dtype_name


@main
def var(k: Any, x: Any, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Result:
    want(x, REAL_FLOATING)
    return reduced(x.shape, axis, keepdims), x.dtype_name


MAIN["std"] = var


def _extreme(k: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Result:
    want(x, REAL_NUMERIC)
    nonempty(x, normal_axes(axis, x.ndim))
    return reduced(x.shape, axis, keepdims), x.dtype_name


MAIN["max"] = MAIN["min"] = _extreme


def _quantified(k: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Result:
    return reduced(want(x).shape, axis, keepdims), "bool"


MAIN["all"] = MAIN["any"] = _quantified


@main
def cumulative_sum(
    k: Any, x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Result:
    if axis is None and want(x).ndim != 1:
        raise Refusal(f"x has shape {x.shape}: for more than one axis, name the axis")
    a = normal_axis(0 if axis is None else axis, want(x, NUMERIC).ndim)
    shape = (*x.shape[:a], x.shape[a] + bool(include_initial), *x.shape[a + 1 :])
    return shape, chosen(dtype, accumulated(k, x.dtype_name))


MAIN["cumulative_prod"] = cumulative_sum


@main
def diff(k: Any, x: Any, prepend: Any = None, append: Any = None, /, *, axis: int = -1, n: int = 1) -> Result:
    a = normal_axis(axis, want(x, NUMERIC).ndim)
    parts = [part for part in (prepend, x, append) if part is not None]
    shape, name = concat(k, parts, axis=a)
    return (*shape[:a], builtins.max(0, shape[a] - n), *shape[a + 1 :]), name


# gaps (set_item and get_item stand with the indexing)


@gap_rule
def scatter_add(k: Any, u: Any, index: Any, /, *, length: int) -> Result:
    want(index, INTEGER, "index")
    if index.ndim != 1 or want(u, NUMERIC, "u").ndim < 1 or u.shape[0] != index.shape[0]:
        raise Refusal(f"u is {u.shape}, index {index.shape}; wanted (m, …) and (m,)")
    return (length, *u.shape[1:]), u.dtype_name


@gap_rule
def windows(k: Any, x: Any, /, *, size: Shape, strides: Shape, dilations: Shape) -> Result:
    counts = window_counts(want(x).shape[1:-1], size, strides, dilations)
    return (x.shape[0], *counts, *size, x.shape[-1]), x.dtype_name


@gap_rule
def fold(k: Any, y: Any, /, *, shape: Shape, strides: Shape, dilations: Shape) -> Result:
    check_fold(want(y, NUMERIC, "y").shape, shape, strides, dilations)
    return (y.shape[0], *shape, y.shape[-1]), y.dtype_name


@gap_rule
def random_bits(k: Any, step: Any, like: Any, /, *, key: tuple[int, int], draw: int, count: int) -> Result:
    if type(step) is not int and (want(step, INTEGER, "step").shape != ()):
        raise Refusal(f"step has shape {step.shape}; wanted an integer or a 0-d array of integers")
    return (count,), "int64" if k.library.name == "torch" else "uint32"  # torch has no arithmetic on uint32
