"""The shape and the dtype of each function's result: matrix products, `linalg` and `fft`. Rules as in shapes.py."""

from __future__ import annotations

import math
from typing import Any

from backends.program.indexing import broadcast
from backends.program.promotion import (
    COMPLEX_OF,
    FLOATING,
    NUMERIC,
    REAL_FLOATING,
    REAL_OF,
    Refusal,
    promote,
    promote_all,
)
from backends.program.shapes import (
    GAP_RULES,
    MAIN,
    SEQUENCE,
    Result,
    Rule,
    _matrices,
    accumulated,
    chosen,
    matrix_transpose,
    normal_axes,
    normal_axis,
    normal_shape,
    reduced,
    want,
)

LINALG: dict[str, Rule] = {}
FFT: dict[str, Rule] = {}


def linalg(rule: Rule) -> Rule:
    LINALG[rule.__name__] = rule
    return rule


def _square(x: Any, called: str = "x") -> None:
    want(x, FLOATING, called)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise Refusal(f"{called} has shape {x.shape}; wanted square matrices (…, n, n)")


def _complex(name: str) -> str:
    return COMPLEX_OF.get(name, name)


def _real(name: str) -> str:
    return REAL_OF.get(name, name)


# products, which are in the main namespace too


@linalg
def matmul(k: Any, x1: Any, x2: Any, /) -> Result:
    name = promote(want(x1, NUMERIC, "x1").dtype_name, want(x2, NUMERIC, "x2").dtype_name)
    s, t = x1.shape, x2.shape
    if not s or not t:
        raise Refusal(f"shapes {s} and {t}; wanted at least one axis each (xp.multiply takes scalars)")
    inner = t[-2] if len(t) > 1 else t[0]
    if s[-1] != inner:
        raise Refusal(f"shapes {s} and {t}: {s[-1]} columns meet {inner} rows; wanted (…, n, k) and (…, k, m)")
    return (*broadcast(s[:-2], t[:-2]), *s[-2:-1], *(t[-1:] if len(t) > 1 else ())), name


LINALG["matrix_transpose"] = matrix_transpose


@linalg
def tensordot(k: Any, x1: Any, x2: Any, /, *, axes: Any = 2) -> Result:
    name = promote(want(x1, NUMERIC, "x1").dtype_name, want(x2, NUMERIC, "x2").dtype_name)
    if isinstance(axes, int):
        if not 0 <= axes <= min(x1.ndim, x2.ndim):
            raise Refusal(f"axes={axes} for shapes {x1.shape} and {x2.shape}")
        left, right = tuple(range(x1.ndim - axes, x1.ndim)), tuple(range(axes))
    else:
        left, right = (
            normal_axes(tuple(a) if isinstance(a, SEQUENCE) else a, x.ndim) for a, x in zip(axes, (x1, x2), strict=True)
        )
    if [x1.shape[a] for a in left] != [x2.shape[a] for a in right]:
        raise Refusal(f"shapes {x1.shape} and {x2.shape} differ on the axes summed, {left} and {right}")
    outer_left = [n for i, n in enumerate(x1.shape) if i not in left]
    return (*outer_left, *(n for i, n in enumerate(x2.shape) if i not in right)), name


@linalg
def vecdot(k: Any, x1: Any, x2: Any, /, *, axis: int = -1) -> Result:
    name = promote(want(x1, NUMERIC, "x1").dtype_name, want(x2, NUMERIC, "x2").dtype_name)
    a, b = normal_axis(axis, x1.ndim), normal_axis(axis, x2.ndim)
    if x1.shape[a] != x2.shape[b]:
        raise Refusal(f"shapes {x1.shape} and {x2.shape} differ on axis {axis}")
    return broadcast((*x1.shape[:a], *x1.shape[a + 1 :]), (*x2.shape[:b], *x2.shape[b + 1 :])), name


MAIN.update({name: LINALG[name] for name in ("matmul", "tensordot", "vecdot")})


@linalg
def cross(k: Any, x1: Any, x2: Any, /, *, axis: int = -1) -> Result:
    name = promote(want(x1, NUMERIC, "x1").dtype_name, want(x2, NUMERIC, "x2").dtype_name)
    if axis >= 0:
        raise Refusal(f"axis {axis}: the standard counts it from the end; write axis={axis - max(x1.ndim, x2.ndim)}")
    for x in (x1, x2):
        if x.shape[normal_axis(axis, x.ndim)] != 3:
            raise Refusal(f"shapes {x1.shape} and {x2.shape}; wanted size 3 on axis {axis}")
    return broadcast(x1.shape, x2.shape), name


@linalg
def outer(k: Any, x1: Any, x2: Any, /) -> Result:
    name = promote(want(x1, NUMERIC, "x1").dtype_name, want(x2, NUMERIC, "x2").dtype_name)
    if x1.ndim != 1 or x2.ndim != 1:
        raise Refusal(f"shapes {x1.shape} and {x2.shape}; wanted one axis each")
    return (*x1.shape, *x2.shape), name


# of one matrix


@linalg
def cholesky(k: Any, x: Any, /, *, upper: bool = False) -> Result:
    _square(x)
    return x.shape, x.dtype_name


@linalg
def inv(k: Any, x: Any, /) -> Result:
    _square(x)
    return x.shape, x.dtype_name


@linalg
def matrix_power(k: Any, x: Any, /, *, n: int) -> Result:
    _square(x)
    return x.shape, x.dtype_name


@linalg
def det(k: Any, x: Any, /) -> Result:
    _square(x)
    return x.shape[:-2], x.dtype_name


@linalg
def slogdet(k: Any, x: Any, /) -> list[Result]:
    _square(x)
    return [(x.shape[:-2], x.dtype_name), (x.shape[:-2], _real(x.dtype_name))]


@linalg
def eigh(k: Any, x: Any, /) -> list[Result]:
    _square(x)
    return [(x.shape[:-1], _real(x.dtype_name)), (x.shape, x.dtype_name)]


@linalg
def eigvalsh(k: Any, x: Any, /) -> Result:
    return eigh(k, x)[0]  # type: ignore[no-any-return]


@linalg
def eig(k: Any, x: Any, /) -> list[Result]:
    _square(x)
    return [(x.shape[:-1], _complex(x.dtype_name)), (x.shape, _complex(x.dtype_name))]


@linalg
def eigvals(k: Any, x: Any, /) -> Result:
    return eig(k, x)[0]  # type: ignore[no-any-return]


@linalg
def solve(k: Any, x1: Any, x2: Any, /) -> Result:
    _square(x1, "x1")
    name = promote(x1.dtype_name, want(x2, FLOATING, "x2").dtype_name)
    n = x1.shape[-1]
    if x2.ndim == 0 or x2.shape[0 if x2.ndim == 1 else -2] != n:
        raise Refusal(f"x1 has shape {x1.shape}, x2 {x2.shape}; wanted x2 (…, {n}, k) or ({n},)")
    if x2.ndim == 1:
        return (*x1.shape[:-2], n), name
    return (*broadcast(x1.shape[:-2], x2.shape[:-2]), n, x2.shape[-1]), name


@linalg
def diagonal(k: Any, x: Any, /, *, offset: int = 0) -> Result:
    _matrices(x)
    rows, cols = x.shape[-2:]
    return (*x.shape[:-2], max(0, min(rows, cols - offset) if offset >= 0 else min(rows + offset, cols))), x.dtype_name


@linalg
def trace(k: Any, x: Any, /, *, offset: int = 0, dtype: Any = None) -> Result:
    _matrices(want(x, NUMERIC))
    return x.shape[:-2], chosen(dtype, accumulated(k, x.dtype_name))


@linalg
def matrix_norm(k: Any, x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Result:
    _matrices(want(x, FLOATING))
    return reduced(x.shape, (-2, -1), keepdims), _real(x.dtype_name)


@linalg
def vector_norm(k: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Result:
    return reduced(want(x, FLOATING).shape, axis, keepdims), _real(x.dtype_name)


@linalg
def matrix_rank(k: Any, x: Any, rtol: Any = None, /) -> Result:
    _matrices(want(x, NUMERIC))
    return x.shape[:-2], k.default_index


@linalg
def pinv(k: Any, x: Any, rtol: Any = None, /) -> Result:
    want(x, FLOATING)
    return matrix_transpose(k, x)  # type: ignore[no-any-return]


@linalg
def qr(k: Any, x: Any, /, *, mode: str = "reduced") -> list[Result]:
    _matrices(want(x, FLOATING))
    if mode not in ("reduced", "complete"):
        raise Refusal(f'mode is "reduced" or "complete", {mode!r} came')
    *batch, rows, cols = x.shape
    inner = min(rows, cols) if mode == "reduced" else rows
    return [((*batch, rows, inner), x.dtype_name), ((*batch, inner, cols), x.dtype_name)]


@linalg
def svd(k: Any, x: Any, /, *, full_matrices: bool = True) -> list[Result]:
    _matrices(want(x, FLOATING))
    *batch, rows, cols = x.shape
    inner = min(rows, cols)
    u, v = (rows, cols) if full_matrices else (inner, inner)
    return [
        ((*batch, rows, u), x.dtype_name),
        ((*batch, inner), _real(x.dtype_name)),
        ((*batch, v, cols), x.dtype_name),
    ]


@linalg
def svdvals(k: Any, x: Any, /) -> Result:
    return svd(k, x)[1]  # type: ignore[no-any-return]


def einsum(k: Any, arrays: Any, /, *, subscripts: str) -> Result:
    """ "ij,jk->ik"; "..." stands for axes that broadcast."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(arrays):
        raise Refusal(f"{subscripts!r} has {len(terms)} terms, {len(arrays)} arrays came")
    sizes: dict[str, int] = {}
    batch: tuple[int, ...] = ()
    for term, x in zip(terms, arrays, strict=True):
        before, dots, after = term.partition("...")
        free = want(x, NUMERIC).ndim - len(before) - len(after)
        if free < 0 or (free and not dots):
            raise Refusal(f"{subscripts!r}: the term {term!r} for shape {x.shape}")
        batch = broadcast(batch, x.shape[len(before) : len(before) + free])
        for letter, n in zip(before + after, (*x.shape[: len(before)], *x.shape[len(before) + free :]), strict=True):
            if sizes.setdefault(letter, n) != n:
                if 1 not in (n, sizes[letter]):
                    raise Refusal(f"{subscripts!r}: {letter!r} is {sizes[letter]} and {n}")
                sizes[letter] = max(n, sizes[letter])
    if not arrow:
        letters = inputs.replace(",", "").replace(".", "")
        output = "..." + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    if unknown := [letter for letter in output.replace("...", "") if letter not in sizes]:
        raise Refusal(f"{subscripts!r}: {unknown[0]!r} of the result is in no term")
    before, dots, after = output.partition("...")
    return (*(sizes[i] for i in before), *(batch if dots else ()), *(sizes[i] for i in after)), promote_all(
        [x.dtype_name for x in arrays]
    )


GAP_RULES["einsum"] = einsum


# fft


def _transform(kind: str, hermitian: str = "") -> Rule:
    def rule(k: Any, x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Result:
        want(x, REAL_FLOATING if kind == "forward" else FLOATING)
        a = normal_axis(axis, x.ndim)
        shape = list(x.shape)
        points = _points(shape[a], n, kind)
        shape[a] = points // 2 + 1 if kind == "forward" else points
        return tuple(shape), _real(x.dtype_name) if kind == "backward" else _complex(x.dtype_name)

    return rule


def _points(size: int, n: int | None, kind: str) -> int:
    points = (2 * (size - 1) if kind == "backward" else size) if n is None else int(n)
    if points < 1:
        raise Refusal(f"{points} points; wanted at least 1")
    return points


def _transform_many(kind: str) -> Rule:
    def rule(k: Any, x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Result:
        want(x, REAL_FLOATING if kind == "forward" else FLOATING)
        if axes is None and s is not None:
            axes = tuple(range(x.ndim - len(s), x.ndim))
        places = normal_axes(None if axes is None else tuple(axes), x.ndim)
        if not places and (kind != "plain" or x.dtype_name in REAL_FLOATING):
            raise Refusal(f"x has shape {x.shape}; wanted at least one axis to transform")
        if s is not None and len(s) != len(places):
            raise Refusal(f"s={s} and axes={axes} differ in length")
        shape = list(x.shape)
        for i, a in enumerate(places):
            last = i == len(places) - 1
            points = _points(shape[a], None if s is None or s[i] == -1 else s[i], kind if last else "plain")
            shape[a] = points // 2 + 1 if kind == "forward" and last else points
        return tuple(shape), _real(x.dtype_name) if kind == "backward" else _complex(x.dtype_name)

    return rule


for _name in ("fft", "ifft"):
    FFT[_name], FFT[_name + "n"] = _transform("plain"), _transform_many("plain")
FFT["rfft"], FFT["rfftn"], FFT["ihfft"] = _transform("forward"), _transform_many("forward"), _transform("forward")
FFT["irfft"], FFT["irfftn"], FFT["hfft"] = _transform("backward"), _transform_many("backward"), _transform("backward")


def _shift(k: Any, x: Any, /, *, axes: Any = None) -> Result:
    if not normal_axes(axes, want(x, FLOATING).ndim):
        raise Refusal(f"x has shape {x.shape}; wanted at least one axis to shift")
    return x.shape, x.dtype_name


FFT["fftshift"] = FFT["ifftshift"] = _shift


def fftfreq(k: Any, /, *, n: int, d: float = 1.0, dtype: Any = None, device: Any = None) -> Result:
    return normal_shape(n), chosen(dtype, k.default_float)


def rfftfreq(k: Any, /, *, n: int, d: float = 1.0, dtype: Any = None, device: Any = None) -> Result:
    return normal_shape(math.floor(n / 2) + 1), chosen(dtype, k.default_float)


FFT["fftfreq"], FFT["rfftfreq"] = fftfreq, rfftfreq
