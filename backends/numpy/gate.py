"""The input gate: whatever a user holds becomes a plain NumPy array, or an error that says what to do."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

FAMILIES = {"O": "objects", "S": "bytes", "U": "strings", "T": "strings", "M": "dates", "m": "time spans", "V": "records", "c": "complex numbers"}


def gate(obj: Any, *, finite: bool = False) -> np.ndarray:
    """obj as an array of booleans, integers or floats: native byte order, aligned, C order, writeable, positive strides.

    A copy is made only where one of these needs it; data that are right already come back as they are.
    TypeError for objects, strings, dates, complex, long double, sparse, masked and matrix data; ValueError for ragged
    lists and, with finite=True, for NaN and infinities (the first place is named).
    """
    if type(obj) is not np.ndarray:
        obj = plain(obj)
    if obj.dtype.kind in FAMILIES:
        raise TypeError(_refusal(obj))
    if obj.dtype.kind == "f" and obj.dtype.itemsize > 8:
        raise TypeError(f"x has dtype {obj.dtype}: long double exists on the CPU only; x.astype('float64') keeps 53 bits")
    if not obj.dtype.isnative:
        obj = obj.astype(obj.dtype.newbyteorder("="))
    flags = obj.flags
    if not (flags.c_contiguous and flags.aligned and flags.writeable):
        obj = np.array(obj, order="C", copy=True)
    if finite and obj.dtype.kind == "f":
        refuse_nonfinite(obj, "x")
    return obj


def refuse_nonfinite(x: np.ndarray, name: str) -> None:
    """ValueError that names the first value that is NaN or infinite."""
    with np.errstate(all="ignore"):  # a signalling NaN warns
        if np.isfinite(np.sum(x, dtype="float64")) or bool(np.isfinite(x).all()):
            return
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
    count = int((~np.isfinite(x)).sum())
    raise ValueError(
        f"{name} has {count} value{'s that are' if count > 1 else ' that is'} not finite, the first at {place}: {x[place]}. "
        "Drop such rows, or fill them in, e.g. with the mean of the column."
    )


def plain(obj: Any) -> np.ndarray:
    """A NumPy array from anything array-like that is not one, or a TypeError."""
    kind = type(obj)
    module = kind.__module__.partition(".")[0]
    masked = sys.modules.get("numpy.ma")  # who holds a masked array has imported it
    if masked is not None and isinstance(obj, masked.MaskedArray):
        raise TypeError("x is a masked array: its mask would be lost. x.filled(value) says what stands for the missing values.")
    if isinstance(obj, np.matrix):
        raise TypeError("x is an np.matrix, whose * is a matrix product; np.asarray(x) is the plain array.")
    if isinstance(obj, np.memmap | np.ndarray | np.generic):
        return np.asarray(obj)
    if module == "scipy" and hasattr(obj, "toarray"):
        raise TypeError(f"x is a sparse {kind.__name__} of shape {obj.shape}; x.toarray() is its dense form.")
    if hasattr(obj, "iloc") or module == "polars":
        return _columns(obj)
    if isinstance(obj, str | bytes | dict | set) or obj is None:
        raise TypeError(f"x is a {kind.__name__}, not data for an array; wanted: an array, numbers, or nested lists of numbers.")
    if callable(obj) and not hasattr(obj, "__array__"):
        raise TypeError(f"x is a {kind.__name__}, not data for an array; of a generator function call it: {getattr(obj, '__name__', 'x')}().")
    if hasattr(obj, "__dlpack__") and hasattr(obj, "__dlpack_device__") and not hasattr(obj, "__array__"):
        if obj.__dlpack_device__()[0] != 1:
            raise TypeError(f"x is a {module}.{kind.__name__} on a device; bring its data to the host first.")
        return np.from_dlpack(obj)
    try:
        return np.asarray(obj)
    except ValueError as error:
        raise ValueError(f"x is no rectangular array of numbers: {error}") from None


def _columns(frame: Any) -> np.ndarray:
    """A pandas or polars frame or series, refused with the name of the first column that holds no numbers."""
    columns = []
    for name in getattr(frame, "columns", ()):
        columns.append(np.asarray(frame[name].to_numpy()))
        if columns[-1].dtype.kind not in "biuf":
            raise TypeError(f"column {name!r} has dtype {frame[name].dtype}, not numbers; encode it (codes or one-hot) or drop it.")
    x = np.asarray(frame.to_numpy())
    if columns and x.dtype.kind == "O":  # numbers of several kinds
        return np.stack(columns, axis=1)
    if not hasattr(frame, "columns") and x.dtype.kind not in "biuf":
        raise TypeError(f"x is a {type(frame).__name__} of dtype {frame.dtype}, not of numbers; encode them; labels as text are taken by ann.estimators.")
    return x


def _refusal(x: np.ndarray) -> str:
    family = FAMILIES[x.dtype.kind]
    first = f", the first is {x.flat[0]!r}" if x.size and x.dtype.kind in "OSU" else ""
    advice = {
        "O": "x.astype('float32') if all are numbers; lists of unequal length must be padded first",
        "c": "the real networks here take x.real and x.imag as two features",
    }.get(x.dtype.kind, "encode them as numbers; labels as text are taken by ann.estimators")
    return f"x has dtype {x.dtype}: {family}{first}. Wanted: booleans, integers or floats; {advice}."
