"""Products of matrices, and the functions of the linalg extension that have a formula.

Giles 2008, "An extended collection of matrix derivative results"; Townsend 2016 for the decompositions.
"""

from __future__ import annotations

import math
from typing import Any

from ann.autodiff.rules.table import RULES, fit, fitted, plain, rule
from ann.autodiff.tape import raw
from backends import gaps as portable
from backends import namespace
from backends.gaps import device

Array = Any


@rule
def matmul(x1: Array, x2: Array) -> Any:
    """y = x₁·x₂    dx₁ = dy·x₂ᵀ    dx₂ = x₁ᵀ·dy    (vectors and stacks of matrices as the standard says)"""
    y = namespace(x1, x2).matmul(*fitted("matmul", x1, x2))

    def matrices(dy: Array) -> tuple[Array, Array, Array]:
        xp = namespace(dy, x1, x2)
        a = xp.expand_dims(x1, axis=0) if x1.ndim == 1 else x1
        b = xp.expand_dims(x2, axis=-1) if x2.ndim == 1 else x2
        if x1.ndim == 1:
            dy = xp.expand_dims(dy, axis=-1 if x2.ndim == 1 else -2)
        if x2.ndim == 1:
            dy = xp.expand_dims(dy, axis=-1)
        return a, b, dy

    def first(dy: Array) -> Array:
        a, b, d = matrices(dy)
        xp = namespace(d, b)
        return _back_to(xp.matmul(d, xp.matrix_transpose(b)), a, x1)

    def second(dy: Array) -> Array:
        a, b, d = matrices(dy)
        xp = namespace(d, a)
        return _back_to(xp.matmul(xp.matrix_transpose(a), d), b, x2)

    return y, first, second


def _back_to(g: Array, matrix: Array, x: Array) -> Array:
    """The gradient by x from that by the stack of matrices it was made into."""
    g = fit(g, matrix)
    return namespace(g).reshape(g, tuple(x.shape)) if tuple(g.shape) != tuple(x.shape) else g


@plain()
def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """y = Σ x₁*·x₂ along an axis (x₁ conjugated)."""
    xp = namespace(x1, x2)
    shape = _broadcast(tuple(x1.shape), tuple(x2.shape))
    if not -min(x1.ndim, x2.ndim) <= axis < 0:
        raise ValueError(f"vecdot: axis counts from the end and both arrays have it, so −{min(x1.ndim, x2.ndim)} to −1; {axis} came")
    if x1.shape[axis] != x2.shape[axis]:
        raise ValueError(f"vecdot: {x1.shape[axis]} and {x2.shape[axis]} entries along axis {axis}")
    x1 = xp.conj(x1) if xp.isdtype(x1.dtype, "complex floating") else x1
    product = xp.multiply(xp.broadcast_to(x1, shape), xp.broadcast_to(x2, shape))
    return xp.sum(product, axis=axis, dtype=product.dtype)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        raise ValueError(f"shapes {a} and {b} do not broadcast")
    return tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))


@plain()
def tensordot(x1: Array, x2: Array, /, *, axes: Any = 2) -> Array:
    """y = Σ over pairs of axes of both, as one product of matrices."""
    xp = namespace(x1, x2)
    if isinstance(axes, int):
        left, right = tuple(range(x1.ndim - axes, x1.ndim)), tuple(range(axes))
    else:
        left, right = ((a,) if isinstance(a, int) else tuple(a) for a in axes)
        left, right = tuple(a % x1.ndim for a in left), tuple(a % x2.ndim for a in right)
    if len(left) != len(right) or any(x1.shape[i] != x2.shape[j] for i, j in zip(left, right, strict=True)):
        raise ValueError(f"tensordot: axes {axes} of {tuple(x1.shape)} and {tuple(x2.shape)} do not agree")
    rows, cols = tuple(i for i in range(x1.ndim) if i not in left), tuple(j for j in range(x2.ndim) if j not in right)
    n, m, k = (math.prod(s) for s in ((x1.shape[i] for i in rows), (x2.shape[j] for j in cols), (x1.shape[i] for i in left)))
    a = xp.reshape(xp.permute_dims(x1, (*rows, *left)), (n, k))
    b = xp.reshape(xp.permute_dims(x2, (*right, *cols)), (k, m))
    return xp.reshape(xp.matmul(a, b), (*(x1.shape[i] for i in rows), *(x2.shape[j] for j in cols)))


@rule(into="gap")
def erf(x: Array) -> Any:
    """y = erf x    dx = dy·2/√π·exp(−x²)"""
    return portable.erf(x), lambda dy: dy * (2.0 / math.sqrt(math.pi)) * _gauss(x)


@rule(into="gap")
def erfc(x: Array) -> Any:
    """y = erfc x    dx = −dy·2/√π·exp(−x²)"""
    return portable.erfc(x), lambda dy: dy * (-2.0 / math.sqrt(math.pi)) * _gauss(x)


def _gauss(x: Array) -> Array:
    xp = namespace(x)
    z = xp.minimum(xp.maximum(x, -40.0), 40.0)  # beyond it the result is 0, and z² must not overflow
    return xp.exp(-z * z)


@rule(into="gap")
def lgamma(x: Array) -> Any:
    """y = log |Γ(x)|    dx = dy·digamma(x)"""
    return portable.lgamma(x), lambda dy: dy * portable.digamma(x)


@rule(into="gap")
def digamma(x: Array) -> Any:
    """y = d log Γ(x)/dx    dx = dy·trigamma(x)"""
    return portable.digamma(x), lambda dy: dy * portable.trigamma(x)


@rule(into="gap")
def trigamma(x: Array) -> Any:
    """y = d² log Γ(x)/dx²; its derivative is not provided"""

    def refuse(dy: Array) -> Array:
        raise NotImplementedError("the derivative of trigamma (the third of log Γ) is not provided")

    return portable.trigamma(x), refuse


def _einsum(arrays: list[Array], *, subscripts: str) -> Array:
    """einsum in calls of the standard, each with its own rule."""
    return portable.einsum.portable(arrays, subscripts=subscripts)  # type: ignore[attr-defined]


RULES["gap"]["einsum"] = _einsum

# --------------------------------------------------------------------------------------------------------------- linalg


def _t(x: Array) -> Array:
    return namespace(x).matrix_transpose(x)


def _mm(*xs: Array) -> Array:
    y = xs[0]
    for x in xs[1:]:
        y = namespace(y, x).matmul(y, x)
    return y


def _eye(x: Array, n: int) -> Array:
    return namespace(x).eye(n, dtype=x.dtype, device=device(x))


def _diag(d: Array) -> Array:
    """Diagonal matrices from vectors along the last axis."""
    return namespace(d).expand_dims(d, axis=-1) * _eye(d, d.shape[-1])


@rule(into="linalg")
def inv(x: Array) -> Any:
    """y = x⁻¹    dx = −yᵀ·dy·yᵀ"""
    y = namespace(x).linalg.inv(x)
    return y, lambda dy: -_mm(_t(y), dy, _t(y))


@rule(into="linalg")
def det(x: Array) -> Any:
    """y = |x|    dx = dy·y·x⁻ᵀ    (x must be regular)"""
    y = namespace(x).linalg.det(x)

    def back(dy: Array) -> Array:
        xp = namespace(dy, x)
        scale = xp.expand_dims(xp.expand_dims(dy * y, axis=-1), axis=-1)
        return scale * _t(xp.linalg.inv(x))

    return y, back


@rule(into="linalg")
def slogdet(x: Array) -> Any:
    """(sign, log |det x|)    dx = dlog·x⁻ᵀ"""
    y = tuple(namespace(x).linalg.slogdet(x))

    def back(dys: Any) -> Array:
        xp = namespace(dys[1], x)
        return xp.expand_dims(xp.expand_dims(dys[1], axis=-1), axis=-1) * _t(xp.linalg.inv(x))

    return y, back


@rule(into="linalg")
def solve(x1: Array, x2: Array) -> Any:
    """y = x₁⁻¹·x₂    dx₂ = x₁⁻ᵀ·dy    dx₁ = −dx₂·yᵀ"""
    y = namespace(x1, x2).linalg.solve(x1, x2)
    vector = x2.ndim == 1

    def by_right(dy: Array) -> Array:
        xp = namespace(dy, x1)
        return xp.linalg.solve(_t(x1), dy)

    def by_left(dy: Array) -> Array:
        xp = namespace(dy, x1)
        g = by_right(dy)
        a = xp.expand_dims(g, axis=-1) if vector else g
        b = xp.expand_dims(y, axis=-1) if vector else y
        return fit(-_mm(a, _t(b)), x1)

    return y, by_left, lambda dy: fit(by_right(dy), x2)


@rule(into="linalg")
def cholesky(x: Array, *, upper: bool = False) -> Any:
    """x = y·yᵀ, y lower    dx = ½(S + Sᵀ), S = y⁻ᵀ·Φ(yᵀ·dy)·y⁻¹, Φ: the lower triangle with half the diagonal"""
    y = namespace(x).linalg.cholesky(x, upper=upper)

    def back(dy: Array) -> Array:
        xp = namespace(dy, y)
        low, g = (_t(y), _t(dy)) if upper else (y, dy)
        n = low.shape[-1]
        p = _mm(_t(low), xp.tril(g))
        p = xp.tril(p) * (1.0 - 0.5 * _eye(p, n))
        inverse = xp.linalg.inv(low)
        s = _mm(_t(inverse), p, inverse)
        return 0.5 * (s + _t(s))

    return y, back


def _eigh_back(w: Array, v: Array, dw: Array, dv: Array | None) -> Array:
    """dx = v·(diag dw + F∘(vᵀ·dv))·vᵀ,  Fᵢⱼ = 1/(wⱼ − wᵢ), symmetrised; equal eigenvalues get F = 0."""
    xp = namespace(dw, w, v)
    inner = _diag(dw)
    if dv is not None:
        gap = xp.expand_dims(w, axis=-2) - xp.expand_dims(w, axis=-1)
        zero = gap == 0
        f = xp.where(zero, xp.zeros_like(gap), 1.0 / xp.where(zero, xp.ones_like(gap), gap))
        inner = inner + f * _mm(_t(v), dv)
    g = _mm(v, inner, _t(v))
    return 0.5 * (g + _t(g))


@rule(into="linalg")
def eigh(x: Array) -> Any:
    """x = v·diag(w)·vᵀ for symmetric x    dx = v·(diag dw + F∘(vᵀ·dv))·vᵀ,  Fᵢⱼ = 1/(wⱼ − wᵢ)"""
    found = namespace(x).linalg.eigh(x)
    w, v = found[0], found[1]
    return (w, v), lambda dys: _eigh_back(w, v, dys[0], dys[1])


@rule(into="linalg")
def eigvalsh(x: Array) -> Any:
    """w: the eigenvalues of a symmetric matrix    dx = v·diag(dw)·vᵀ"""
    found = namespace(x).linalg.eigh(x)
    w, v = found[0], found[1]
    return w, lambda dw: _eigh_back(w, v, dw, None)


@rule(into="linalg")
def svd(x: Array, *, full_matrices: bool = True) -> Any:
    """x = u·diag(s)·vᵀ    dx by Townsend 2016; the thin form (full_matrices=False), distinct s"""
    u, s, vt = tuple(namespace(x).linalg.svd(x, full_matrices=full_matrices))
    m, n = x.shape[-2:]

    def back(dys: Any) -> Array:
        if full_matrices and m != n:
            raise ValueError("svd: full_matrices=True fills u or v with arbitrary columns, which have no derivative; write full_matrices=False")
        du, ds, dvt = dys
        xp = namespace(du, ds, dvt, u, s, vt)
        k = s.shape[-1]
        row, col = xp.expand_dims(s, axis=-2), xp.expand_dims(s, axis=-1)
        gap = (row - col) * (row + col)
        zero = gap == 0
        f = xp.where(zero, xp.zeros_like(gap), 1.0 / xp.where(zero, xp.ones_like(gap), gap))
        a, b = _mm(_t(u), du), _mm(vt, _t(dvt))
        inner = f * (a - _t(a)) * row + col * (f * (b - _t(b))) + _diag(ds)
        dx = _mm(u, inner, vt)
        if m > k:
            dx = dx + _mm(du - _mm(u, _t(u), du), _diag(1.0 / s), vt)
        if n > k:
            dx = dx + _mm(u, _diag(1.0 / s), dvt - _mm(dvt, _t(vt), vt))
        return dx

    return (u, s, vt), back


@rule(into="linalg")
def svdvals(x: Array) -> Any:
    """s: the singular values    dx = u·diag(ds)·vᵀ"""
    u, s, vt = tuple(namespace(x).linalg.svd(x, full_matrices=False))
    return s, lambda ds: _mm(u * namespace(ds).expand_dims(ds, axis=-2), vt)


@rule(into="linalg")
def qr(x: Array, *, mode: str = "reduced") -> Any:
    """x = q·r    dx = (dq + q·copyltu(M))·r⁻ᵀ,  M = r·drᵀ − dqᵀ·q    for a matrix with at least as many rows as columns"""
    q, r = tuple(namespace(x).linalg.qr(x, mode=mode))

    def back(dys: Any) -> Array:
        dq, dr = dys
        if x.shape[-2] < x.shape[-1] or q.shape[-1] != x.shape[-1]:
            raise ValueError("qr: a derivative is there for matrices with at least as many rows as columns, in the reduced mode")
        xp = namespace(dq, dr, q, r)
        m = _mm(r, _t(dr)) - _mm(_t(dq), q)
        low = xp.tril(m)
        sym = low + _t(xp.tril(m, k=-1))
        return _t(xp.linalg.solve(r, _t(dq + _mm(q, sym))))

    return (q, r), back


@rule(into="linalg")
def pinv(x: Array, *, rtol: Any = None) -> Any:
    """y = x⁺    dx = −yᵀ·dy·yᵀ + (I − x·y)·dyᵀ… by Golub & Pereyra 1973, for constant rank"""
    xp = namespace(x)
    y = xp.linalg.pinv(x) if rtol is None else xp.linalg.pinv(x, rtol=raw(rtol))

    def back(dy: Array) -> Array:
        a, p, g = x, y, dy
        m, n = a.shape[-2:]
        one = -_mm(_t(p), g, _t(p))
        two = _mm(_eye(a, m) - _mm(a, p), _t(g), p, _t(p))
        three = _mm(_t(p), p, _t(g), _eye(a, n) - _mm(p, a))
        return one + two + three

    return y, back


@plain("linalg")
def matrix_power(x: Array, n: int, /) -> Array:
    """y = xⁿ by repeated squaring; x⁻ⁿ of the inverse."""
    xp = namespace(x)
    if n < 0:
        x, n = xp.linalg.inv(x), -n
    y = xp.broadcast_to(_eye(x, x.shape[-1]), tuple(x.shape))
    while n:
        y = xp.matmul(y, x) if n & 1 else y
        n >>= 1
        x = xp.matmul(x, x) if n else x
    return y


@rule(into="linalg")
def diagonal(x: Array, *, offset: int = 0) -> Any:
    """y = the diagonal of the last two axes    dx = dy on it"""
    xp = namespace(x)
    y = xp.linalg.diagonal(x, offset=offset)
    m, n = x.shape[-2:]

    def back(dy: Array) -> Array:
        xp = namespace(dy)
        k = y.shape[-1]
        before = max(-offset, 0)
        matrix = _diag(dy)
        left = max(offset, 0)
        lead = tuple(dy.shape[:-1])

        def zeros(a: int, b: int) -> Array:
            return xp.zeros((*lead, a, b), dtype=dy.dtype, device=device(dy))

        wide = xp.concat([zeros(k, left), matrix, zeros(k, n - left - k)], axis=-1)
        return xp.concat([zeros(before, n), wide, zeros(m - before - k, n)], axis=-2)

    return y, back


@plain("linalg")
def trace(x: Array, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """y = Σ of the diagonal."""
    xp = namespace(x)
    d = xp.linalg.diagonal(x, offset=offset)
    return xp.sum(d, axis=-1) if dtype is None else xp.sum(d, axis=-1, dtype=dtype)


@plain("linalg")
def outer(x1: Array, x2: Array, /) -> Array:
    """yᵢⱼ = x₁ᵢ·x₂ⱼ"""
    xp = namespace(x1, x2)
    return xp.expand_dims(x1, axis=-1) * xp.expand_dims(x2, axis=0)


@plain("linalg")
def cross(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """y = x₁ × x₂ of vectors of three along an axis."""
    xp = namespace(x1, x2)
    shape = _broadcast(tuple(x1.shape), tuple(x2.shape))
    if shape[axis] != 3 or x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(f"cross: vectors have three entries along axis {axis}; x1 has shape {tuple(x1.shape)}, x2 {tuple(x2.shape)}")
    a, b = xp.moveaxis(xp.broadcast_to(x1, shape), axis, -1), xp.moveaxis(xp.broadcast_to(x2, shape), axis, -1)
    a0, a1, a2 = (a[..., i] for i in range(3))
    b0, b1, b2 = (b[..., i] for i in range(3))
    return xp.moveaxis(xp.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-1), -1, axis)


@rule(into="linalg")
def vector_norm(x: Array, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """y = (Σ |x|ᵖ)^(1/p)    dx = dy·sign x·(|x|/y)^(p−1), 0 where y = 0; for p = ±∞ the extreme entries share"""
    from ann.autodiff.rules.reductions import axes_of, back_in

    y = namespace(x).linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)

    def back(dy: Array) -> Array:
        xp = namespace(dy, x, y)
        big, d = back_in(y, x, axis, keepdims), back_in(dy, x, axis, keepdims)
        sign = xp.astype(x > 0, x.dtype) - xp.astype(x < 0, x.dtype)
        if ord == 0:
            return xp.zeros_like(x)
        if ord == 1:
            return d * sign
        safe = xp.where(big > 0, big, xp.ones_like(big))
        if ord == 2:
            return d * (x / safe)
        size = xp.abs(x)
        if ord in (math.inf, -math.inf):
            chosen = xp.astype(size == big, x.dtype)
            return d * sign * chosen / xp.sum(chosen, axis=axes_of(x, axis), keepdims=True)
        used = size > 0
        ratio = xp.where(used, size / safe, xp.ones_like(size))
        return xp.where(used, d * sign * xp.pow(ratio, ord - 1.0), xp.zeros_like(x))

    return y, back


@plain("linalg")
def matrix_norm(x: Array, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """y = a norm of matrices: Frobenius, nuclear, ±1, ±2 or ±∞."""
    xp = namespace(x)
    if ord == "fro":
        return xp.linalg.vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        s = xp.linalg.svdvals(x)
        y = xp.sum(s, axis=-1) if ord == "nuc" else xp.max(s, axis=-1) if ord == 2 else xp.min(s, axis=-1)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = xp.sum(xp.abs(x), axis=-2 if abs(ord) == 1 else -1)
        y = xp.max(sums, axis=-1) if ord > 0 else xp.min(sums, axis=-1)
    else:
        raise ValueError(f'matrix_norm: ord is "fro", "nuc", 1, −1, 2, −2, inf or −inf; {ord!r} came')
    return xp.expand_dims(xp.expand_dims(y, axis=-1), axis=-1) if keepdims else y
