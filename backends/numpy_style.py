"""NumPy's names and call forms, for users who write np.exp(x), np.sum(x, 0) or x.sum(0) on our arrays.

Each is one call of the standard: most differ in the name only. What has no counterpart raises TypeError with the name
of what was called. No NumPy is imported here: the functions are known by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RENAMED = {
    "absolute": "abs", "fabs": "abs", "amax": "max", "amin": "min", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin",
    "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "concatenate": "concat",
    "conjugate": "conj", "cumprod": "cumulative_prod", "cumsum": "cumulative_sum", "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift", "power": "pow", "float_power": "pow", "right_shift": "bitwise_right_shift",
    "rint": "round", "around": "round", "fix": "trunc", "true_divide": "divide", "transpose": "permute_dims", "swapaxes": "swapaxes", "fmax": "maximum", "fmin": "minimum",
}  # fmt: skip

# What functions of Python's `math` are called elsewhere, for messages; others have one name.
MATH = {
    "acos": "np.arccos", "acosh": "np.arccosh", "asin": "np.arcsin", "asinh": "np.arcsinh", "atan": "np.arctan", "atan2": "np.arctan2",
    "atanh": "np.arctanh", "pow": "np.power", "erf": "backends.gaps.erf", "erfc": "backends.gaps.erfc", "lgamma": "backends.gaps.lgamma",
}  # fmt: skip

# The keyword-only parameters of the standard that NumPy also takes by position.
POSITIONAL = {
    **dict.fromkeys(("sum", "prod"), ("axis", "dtype", "out", "keepdims")),
    **dict.fromkeys(("mean",), ("axis", "dtype", "out", "keepdims")),
    **dict.fromkeys(("max", "min", "any", "all"), ("axis", "out", "keepdims")),
    **dict.fromkeys(("argmax", "argmin"), ("axis", "out", "keepdims")),
    **dict.fromkeys(("cumulative_sum", "cumulative_prod"), ("axis", "dtype", "out")),
    **dict.fromkeys(("sort", "argsort", "concat", "stack", "flip", "take_along_axis"), ("axis",)),
    "var": ("axis", "dtype", "out", "ddof", "keepdims"),
    "std": ("axis", "dtype", "out", "ddof", "keepdims"),
    "roll": ("axis",),
    **dict.fromkeys(("take", "repeat"), ("axis",)),
    **dict.fromkeys(("tril", "triu"), ("k",)),
    "tensordot": ("axes",),
    "diff": ("n", "axis"),
}
TWO_ARRAYS = ("take", "take_along_axis", "repeat", "roll", "tensordot")


def call(xp: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """xp.<name>(*args, **kwargs), where name and arguments are NumPy's."""
    name = RENAMED.get(name, name)
    _refuse(name, kwargs.pop("out", None))
    if name in SPECIAL:
        return SPECIAL[name](xp, *args, **kwargs)
    f = getattr(xp, name, None)
    if f is None:
        raise TypeError(f"the function {name} has no counterpart in the Array API standard; write it with functions of the standard")
    if names := POSITIONAL.get(name):
        arrays = 2 if name in TWO_ARRAYS else 1
        kwargs = {**dict(zip(names, args[arrays:], strict=False)), **kwargs}
        args = args[:arrays]
    if "ddof" in kwargs:
        kwargs["correction"] = kwargs.pop("ddof")
    if "a" in kwargs:
        args = (kwargs.pop("a"), *args)
    _refuse(name, kwargs.pop("out", None))
    for key in ("dtype", "where", "initial"):
        value = kwargs.get(key)
        if value is None or (key == "where" and value is True) or type(value).__name__ == "_NoValueType":
            kwargs.pop(key, None)
    if "where" in kwargs or "initial" in kwargs:
        raise TypeError(f"np.{name} on this array takes no where= or initial=")
    kwargs = {key: value for key, value in kwargs.items() if type(value).__name__ != "_NoValueType"}
    if name in ("mean", "var", "std") and "dtype" in kwargs:
        args = (_astype(xp, args[0], kwargs.pop("dtype")), *args[1:])
    return f(*args, **kwargs)


def _refuse(name: str, out: Any) -> None:
    """Nothing else would tell that `out` stays as it was."""
    if out is not None:
        raise TypeError(
            f"np.{name}(…, out=a): a is a plain array, into which this result cannot go. Write a = a + y for a += y, and leave out= away; "
            "functions of array_api_compat.numpy that use out= themselves (clip) are to be those of ann.namespace(x)"
        )


def ufunc(xp: Any, name: str, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `ufunc.method(*inputs, **kwargs)` means."""
    if method == "__call__":
        return call(xp, name, inputs, kwargs)
    reductions = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all", "logical_or": "any"}
    if method == "reduce" and name in reductions:
        return call(xp, reductions[name], inputs, {"axis": 0, **kwargs})
    if method == "accumulate" and name in ("add", "multiply"):
        return call(xp, {"add": "cumsum", "multiply": "cumprod"}[name], inputs, {"axis": 0, **kwargs})
    if method == "outer":
        x, y = inputs
        return call(xp, name, (xp.reshape(x, (*x.shape, *(1 for _ in y.shape))), y), kwargs)
    raise TypeError(f"np.{name}.{method} has no counterpart in the Array API standard")


def function(xp: Any, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the NumPy function f means, by its name; those of numpy.linalg and numpy.fft are found there."""
    module = f.__module__ or ""
    for extension in ("linalg", "fft"):
        if module.endswith(extension):
            if extension == "linalg" and f.__name__ == "norm":
                return _norm(xp, *args, **kwargs)
            return getattr(getattr(xp, extension), f.__name__)(*args, **kwargs)
    return call(xp, f.__name__, args, kwargs)


def _reshape(xp: Any, x: Any, *shape: Any, newshape: Any = None, order: str = "C", **kwargs: Any) -> Any:
    if "shape" in kwargs or newshape is not None:
        shape = (kwargs.pop("shape", newshape),)
    if order != "C":
        raise TypeError("reshape: only order='C'")
    wanted = shape[0] if len(shape) == 1 else shape
    return xp.reshape(x, wanted if isinstance(wanted, tuple) else tuple(wanted) if isinstance(wanted, list) else (wanted,))


def _transpose(xp: Any, x: Any, *axes: Any, **kwargs: Any) -> Any:
    order = kwargs.get("axes", axes[0] if len(axes) == 1 else axes)
    return xp.permute_dims(x, tuple(order) if order else tuple(reversed(range(x.ndim))))


def _dot(xp: Any, x: Any, y: Any) -> Any:
    if getattr(x, "ndim", 0) == 0 or getattr(y, "ndim", 0) == 0:
        return xp.multiply(x, y)
    return xp.matmul(x, y) if y.ndim <= 2 else xp.tensordot(x, y, axes=((x.ndim - 1,), (y.ndim - 2,)))


def _outer(xp: Any, x: Any, y: Any) -> Any:
    return xp.multiply(xp.reshape(x, (-1, 1)), xp.reshape(y, (1, -1)))


def _clip(xp: Any, x: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None) -> Any:
    _refuse("clip", out)
    return xp.clip(x, min if a_min is None else a_min, max if a_max is None else a_max)


def _norm(xp: Any, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord is None or (axis is None and x.ndim == 1) or isinstance(axis, int):
        return xp.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=2 if ord is None else ord)
    return xp.linalg.matrix_norm(x, keepdims=keepdims, ord=ord)


def _gap(name: str) -> Callable[..., Any]:
    """A gap function, under the name that NumPy or SciPy has for it."""

    def call(xp: Any, *args: Any, **kwargs: Any) -> Any:
        from backends import gaps  # which rest on this page

        return getattr(gaps, name)(*args, **kwargs)

    return call


def _einsum(xp: Any, subscripts: str, *arrays: Any, **_: Any) -> Any:
    return _gap("einsum")(xp, list(arrays), subscripts=subscripts)


def _kron(xp: Any, x: Any, y: Any) -> Any:
    rank = max(x.ndim, y.ndim)
    x, y = (xp.reshape(a, (1,) * (rank - a.ndim) + tuple(a.shape)) for a in (x, y))
    pairs = xp.multiply(xp.reshape(x, tuple(n for m in x.shape for n in (m, 1))), xp.reshape(y, tuple(n for m in y.shape for n in (1, m))))
    return xp.reshape(pairs, tuple(m * n for m, n in zip(x.shape, y.shape, strict=True)))


def _diag(xp: Any, x: Any, k: int = 0) -> Any:
    if x.ndim == 2:
        return xp.linalg.diagonal(x, offset=k)
    size = x.shape[0] + abs(k)
    padded = xp.zeros((size,), dtype=x.dtype, device=x.device)
    padded[max(-k, 0) : size - max(k, 0)] = x
    return xp.multiply(xp.reshape(padded, (-1, 1)), xp.eye(size, k=k, dtype=x.dtype, device=x.device))


def _trapezoid(xp: Any, y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    y = xp.moveaxis(y, axis, -1)
    steps = dx if x is None else xp.diff(x)
    return xp.sum(xp.multiply(xp.add(y[..., 1:], y[..., :-1]), steps), axis=-1) / 2.0


def _squeeze(xp: Any, x: Any, axis: Any = None) -> Any:
    return xp.squeeze(x, axis=tuple(i for i, n in enumerate(x.shape) if n == 1) if axis is None else axis)


def _cumulative(name: str) -> Callable[..., Any]:
    def along(xp: Any, x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        _refuse(name, out)
        x, axis = (xp.reshape(x, (-1,)), 0) if axis is None else (x, axis)
        return getattr(xp, name)(x, axis=axis, dtype=dtype)

    return along


def _astype(xp: Any, x: Any, dtype: Any, copy: bool = True, **_: Any) -> Any:
    name = {float: "float64", int: "int64", bool: "bool"}.get(dtype)
    return xp.astype(x, getattr(xp, name) if name else dtype, copy=copy)


SPECIAL: dict[str, Callable[..., Any]] = {
    "reshape": _reshape,
    "permute_dims": _transpose,
    "dot": _dot,
    "outer": _outer,
    "inner": lambda xp, x, y: xp.tensordot(x, y, axes=((x.ndim - 1,), (y.ndim - 1,))),
    "clip": _clip,
    "squeeze": _squeeze,
    "cumulative_sum": _cumulative("cumulative_sum"),
    "cumulative_prod": _cumulative("cumulative_prod"),
    "ravel": lambda xp, x, order="C": _reshape(xp, x, -1, order=order),
    "swapaxes": lambda xp, x, a, b: xp.moveaxis(xp.moveaxis(x, a, 0), b, a) if a == b else _swap(xp, x, a, b),
    "copy": lambda xp, x, **_: xp.asarray(x, copy=True),
    "shape": lambda xp, x: x.shape,
    "ndim": lambda xp, x: x.ndim,
    "size": lambda xp, x: x.size,
    "exp2": lambda xp, x: xp.pow(2.0, x),
    "cbrt": lambda xp, x: xp.multiply(xp.sign(x), xp.pow(xp.abs(x), 1 / 3)),
    "trace": lambda xp, x, offset=0, **kw: xp.linalg.trace(x, offset=offset, **kw),
    "diagonal": lambda xp, x, offset=0, **kw: xp.linalg.diagonal(x, offset=offset, **kw),
    "vstack": lambda xp, xs: xp.concat([xp.reshape(x, (1, -1)) if x.ndim < 2 else x for x in xs], axis=0),
    "hstack": lambda xp, xs: xp.concat(list(xs), axis=0 if xs[0].ndim == 1 else 1),
    "ptp": lambda xp, x, axis=None: xp.subtract(xp.max(x, axis=axis), xp.min(x, axis=axis)),
    "cross": lambda xp, x, y, axis=-1: xp.linalg.cross(x, y, axis=axis),
    "diag": _diag,
    "einsum": _einsum,
    "erf": _gap("erf"),  # scipy.special's
    "erfc": _gap("erfc"),
    "gammaln": _gap("lgamma"),
    "psi": _gap("digamma"),
    "kron": _kron,
    "trapezoid": _trapezoid,
    "vdot": lambda xp, x, y: xp.vecdot(xp.reshape(x, (-1,)), xp.reshape(y, (-1,))),
    "atleast_1d": lambda xp, x: xp.reshape(x, (1,)) if x.ndim == 0 else x,
    "atleast_2d": lambda xp, x: xp.reshape(x, (1, -1)) if x.ndim < 2 else x,
    "append": lambda xp, x, y, axis=None: xp.concat([x, y], axis=axis),
    "column_stack": lambda xp, xs: xp.concat([xp.reshape(x, (-1, 1)) if x.ndim < 2 else x for x in xs], axis=1),
    "degrees": lambda xp, x: xp.multiply(x, 180 / xp.pi),
    "radians": lambda xp, x: xp.multiply(x, xp.pi / 180),
    "deg2rad": lambda xp, x: xp.multiply(x, xp.pi / 180),
    "rad2deg": lambda xp, x: xp.multiply(x, 180 / xp.pi),
    "average": lambda xp, x, axis=None, weights=None: xp.mean(x, axis=axis)
    if weights is None
    else xp.divide(xp.sum(xp.multiply(x, weights), axis=axis), xp.sum(weights, axis=axis)),
}


def _swap(xp: Any, x: Any, a: int, b: int) -> Any:
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return xp.permute_dims(x, tuple(order))


def _method(name: str) -> Callable[..., Any]:
    return lambda xp, x, *args, **kwargs: call(xp, name, (x, *args), kwargs)


# x.sum(0), x.reshape(2, -1), …: the methods that users of NumPy expect of an array.
METHODS: dict[str, Callable[..., Any]] = {
    name: _method(name)
    for name in (
        "all", "any", "argmax", "argmin", "argsort", "clip", "conj", "copy", "cumprod", "cumsum", "dot", "max", "mean", "min",
        "prod", "ravel", "repeat", "reshape", "round", "squeeze", "std", "sum", "swapaxes", "take", "transpose", "var",
    )
}  # fmt: skip
METHODS["flatten"] = _method("ravel")
METHODS["astype"] = _astype
