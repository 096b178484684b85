"""The standard's table of type promotion, by the names of dtypes; no library is asked."""

from __future__ import annotations

from typing import Any

BOOL = frozenset({"bool"})
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
REAL = (
    "float16",
    "bfloat16",
    "float32",
    "float64",
)  # the first two are not in the standard; libraries that have them agree
COMPLEX = ("complex64", "complex128")
INTEGER = frozenset((*SIGNED, *UNSIGNED))
REAL_FLOATING = frozenset(REAL)
COMPLEX_FLOATING = frozenset(COMPLEX)
FLOATING = REAL_FLOATING | COMPLEX_FLOATING
REAL_NUMERIC = INTEGER | REAL_FLOATING
NUMERIC = INTEGER | FLOATING
INTEGER_OR_BOOL = INTEGER | BOOL
ANY = NUMERIC | BOOL

WIDTH = {name: int("".join(c for c in name.removeprefix("b") if c.isdigit()) or 8) for name in ANY}
LIMITS = {name: (-(1 << WIDTH[name] - 1), (1 << WIDTH[name] - 1) - 1) if name in SIGNED else (0, (1 << WIDTH[name]) - 1) for name in INTEGER}
REAL_OF = {"complex64": "float32", "complex128": "float64"}
COMPLEX_OF = {"float16": "complex64", "bfloat16": "complex64", "float32": "complex64", "float64": "complex128"}

_KINDS = (
    ("bool", BOOL),
    ("integer", INTEGER),
    ("real floating", REAL_FLOATING),
    ("complex floating", COMPLEX_FLOATING),
)
_WEAK: dict[type, frozenset[str]] = {
    bool: BOOL,
    int: NUMERIC,
    float: FLOATING,
    complex: COMPLEX_FLOATING,
}  # where each scalar may stand


class Refusal(Exception):
    """What a rule of shapes or dtypes refuses; `apply` names the function and raises `error` with the message."""

    def __init__(self, message: str, error: type[Exception] = ValueError):
        super().__init__(message)
        self.error = error


def kind(name: str) -> str:
    """The kind of the dtype of this name: bool, integer, real floating or complex floating."""
    return next((title for title, names in _KINDS if name in names), name)


def dtype_name(dtype: Any) -> str:
    """float32 of numpy.dtype("float32"), numpy.float32, torch.float32, array_api_strict.float32, "float32"."""
    if isinstance(dtype, str):
        name = dtype
    elif isinstance(dtype, type) and dtype in _PYTHON:
        name = _PYTHON[dtype]
    else:
        found = getattr(dtype, "name", None)
        name = found if isinstance(found, str) else getattr(dtype, "__name__", None) or str(dtype).rpartition(".")[2]
    if name not in ANY:
        raise TypeError(f"{dtype!r} is not a dtype of the Array API standard: {', '.join(sorted(ANY))}")
    return name


_PYTHON = {bool: "bool", int: "int64", float: "float64", complex: "complex128"}
_promoted: dict[tuple[Any, Any], str] = {}


def promote(a: Any, b: Any) -> str:
    """The dtype that two operands have in common. Each is the name of a dtype, or the type of a Python number, which is weak.

    Refusal (TypeError) where the standard defines none: bool · integer, integer · float, int64 · uint64.
    """
    try:
        return _promoted[a, b]
    except KeyError:
        name = _promoted[a, b] = _promote(a, b)
        return name


def promote_all(names: list[Any]) -> str:
    """The dtype that these operands have in common."""
    strong = [name for name in names if isinstance(name, str)]
    if not strong:
        raise Refusal("takes at least one array beside Python numbers", TypeError)
    common: str = strong[0]
    for name in (*strong[1:], *(name for name in names if not isinstance(name, str))):
        common = promote(common, name)
    return common


def _promote(a: Any, b: Any) -> str:
    if a in _WEAK:
        a, b = b, a
    if a in _WEAK:
        raise Refusal(f"takes at least one array; two Python numbers came, {a.__name__} and {b.__name__}", TypeError)
    if b in _WEAK:
        if a in _WEAK[b]:
            return str(a)
        if b is complex and a in REAL_FLOATING:
            return COMPLEX_OF[a]
        raise Refusal(
            f"an array of {a} and the Python {b.__name__}: their common dtype differs from library to library. "
            f"Write xp.astype(x, {'xp.bool' if b is bool else 'xp.int32' if b is int else 'xp.float32'}) first.",
            TypeError,
        )
    if a == b:
        return str(a)
    ka, kb = kind(a), kind(b)
    wide, narrow = (a, b) if WIDTH[a] >= WIDTH[b] else (b, a)
    if ka == kb == "integer":
        if (a in SIGNED) == (b in SIGNED):
            return wide
        signed, unsigned = (a, b) if a in SIGNED else (b, a)
        if WIDTH[signed] > WIDTH[unsigned]:
            return signed
        if WIDTH[unsigned] < 64:
            return f"int{2 * WIDTH[unsigned]}"
    elif ka == kb == "real floating":
        return "float32" if WIDTH[wide] == WIDTH[narrow] else wide
    elif ka == kb == "complex floating":
        return wide
    elif {ka, kb} == {"real floating", "complex floating"}:
        return "complex128" if "float64" in (a, b) else a if ka == "complex floating" else b
    target = b if kb == "complex floating" or (kb == "real floating" and ka != "complex floating") else a
    if target in BOOL:
        target = b
    raise Refusal(
        f"arrays of {a} and {b}: their common dtype differs from library to library. Write xp.astype(x, xp.{target}) first.",
        TypeError,
    )
