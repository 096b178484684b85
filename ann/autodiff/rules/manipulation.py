"""Functions that move values about: their derivative moves the gradient back."""

from __future__ import annotations

from typing import Any

from ann.autodiff.rules.table import RULES, fit, fitted_list, plain, rule
from ann.autodiff.tape import raw
from backends import gaps as portable
from backends import namespace
from backends.gaps import device

Array = Any


def _like(dy: Array, shape: tuple[int, ...]) -> Array:
    return dy if tuple(dy.shape) == tuple(shape) else namespace(dy).reshape(dy, tuple(shape))


@rule
def reshape(x: Array, *, shape: Any, copy: bool | None = None) -> Any:
    """y = x in another shape    dx = dy in the shape of x"""
    xp = namespace(x)
    y = xp.reshape(x, tuple(shape) if not isinstance(shape, int) else (shape,))
    return y, lambda dy: _like(dy, x.shape)


@rule
def expand_dims(x: Array, *, axis: Any = 0) -> Any:
    """y = x with new axes of size 1    dx = dy without them"""
    return namespace(x).expand_dims(x, axis=axis), lambda dy: _like(dy, x.shape)


@rule
def squeeze(x: Array, *, axis: Any) -> Any:
    """y = x without axes of size 1    dx = dy with them"""
    return namespace(x).squeeze(x, axis=axis), lambda dy: _like(dy, x.shape)


@rule
def permute_dims(x: Array, *, axes: Any) -> Any:
    """y = x with its axes in another order    dx = dy with them back"""
    order = tuple(a % len(axes) for a in axes)
    inverse = tuple(order.index(i) for i in range(len(order)))
    return namespace(x).permute_dims(x, tuple(axes)), lambda dy: namespace(dy).permute_dims(dy, inverse)


@rule
def matrix_transpose(x: Array) -> Any:
    """y = xᵀ of the last two axes    dx = dyᵀ"""
    return namespace(x).matrix_transpose(x), lambda dy: namespace(dy).matrix_transpose(dy)


@rule
def moveaxis(x: Array, *, source: Any, destination: Any) -> Any:
    """y = x with some axes moved    dx = dy with them moved back"""
    return namespace(x).moveaxis(x, source, destination), lambda dy: namespace(dy).moveaxis(dy, destination, source)


@rule
def flip(x: Array, *, axis: Any = None) -> Any:
    """y = x reversed    dx = dy reversed"""
    return namespace(x).flip(x, axis=axis), lambda dy: namespace(dy).flip(dy, axis=axis)


@rule
def roll(x: Array, *, shift: Any, axis: Any = None) -> Any:
    """y = x rolled round    dx = dy rolled back"""
    back = tuple(-s for s in shift) if isinstance(shift, tuple | list) else -shift
    return namespace(x).roll(x, shift, axis=axis), lambda dy: namespace(dy).roll(dy, back, axis=axis)


@rule
def broadcast_to(x: Array, *, shape: Any) -> Any:
    """y = x repeated along new axes and axes of size 1    dx = Σ dy over them"""
    return namespace(x).broadcast_to(x, tuple(shape)), lambda dy: fit(dy, x)


@plain()
def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """All arrays in their common shape."""
    xp = namespace(*arrays)
    shape = _common_shape([tuple(a.shape) for a in arrays])
    return tuple(xp.broadcast_to(a, shape) for a in arrays)


def _common_shape(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that these broadcast to; ValueError where they do not."""
    rank = max((len(s) for s in shapes), default=0)
    result = []
    for axis in range(rank):
        sizes = {s[axis - rank + len(s)] for s in shapes if axis - rank + len(s) >= 0} - {1}
        if len(sizes) > 1:
            raise ValueError(f"shapes {', '.join(map(str, shapes))} do not broadcast")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


@rule
def concat(arrays: list[Array], *, axis: int | None = 0) -> Any:
    """y = the arrays one after the other    dxᵢ = its part of dy"""
    xp = namespace(*arrays)
    arrays = fitted_list("concat", arrays)
    y = xp.concat(list(arrays), axis=axis)

    def back(dy: Array) -> list[Array]:
        parts, start = [], 0
        along = 0 if axis is None else axis % dy.ndim
        for x in arrays:
            n = _size(x) if axis is None else x.shape[along]
            part = dy[(slice(None),) * along + (slice(start, start + n), ...)]
            parts.append(fit(_like(part, x.shape), x))
            start += n
        return parts

    return y, back


@rule
def stack(arrays: list[Array], *, axis: int = 0) -> Any:
    """y = the arrays along a new axis    dxᵢ = dy at i"""
    xp = namespace(*arrays)
    y = xp.stack(list(fitted_list("stack", arrays)), axis=axis)
    along = axis % y.ndim
    return y, lambda dy: [fit(dy[(slice(None),) * along + (i, ...)], x) for i, x in enumerate(arrays)]


@rule
def unstack(x: Array, *, axis: int = 0) -> Any:
    """yᵢ = x at i along an axis    dx = the dyᵢ stacked"""
    y = tuple(namespace(x).unstack(x, axis=axis))
    return y, lambda dys: namespace(*dys).stack(list(dys), axis=axis) if dys else namespace(x).zeros_like(x)


@rule
def repeat(x: Array, repeats: Any, *, axis: int | None = None) -> Any:
    """y = each entry several times    dx = Σ dy over its copies"""
    xp = namespace(x)
    y = xp.repeat(x, repeats, axis=axis)

    def back(dy: Array) -> Array:
        along = 0 if axis is None else axis % x.ndim
        flat = x if axis is not None else xp.reshape(x, (-1,))
        where = xp.repeat(_positions(flat, flat.shape[along]), repeats, axis=0)
        moved = namespace(dy).moveaxis(dy, along, 0)
        summed = portable.scatter_add(moved, where, length=flat.shape[along])
        return _like(namespace(dy).moveaxis(summed, 0, along), x.shape)

    return y, back, None


@plain()
def tile(x: Array, repetitions: Any, /) -> Array:
    """y = copies of x side by side: a concat for each axis."""
    xp = namespace(x)
    reps = tuple(repetitions) if not isinstance(repetitions, int) else (repetitions,)
    rank = max(x.ndim, len(reps))
    reps = (1,) * (rank - len(reps)) + reps
    x = xp.reshape(x, (1,) * (rank - x.ndim) + tuple(x.shape))
    for axis, n in enumerate(reps):
        if n == 0:
            x = x[(slice(None),) * axis + (slice(0, 0), ...)]
        elif n > 1:
            x = xp.concat([x] * n, axis=axis)
    return x


@plain()
def meshgrid(*arrays: Array, indexing: str = "xy") -> tuple[Array, ...]:
    """Coordinate matrices of vectors."""
    xp = namespace(*arrays)
    if indexing not in ("xy", "ij"):
        raise ValueError(f'meshgrid: indexing is "xy" or "ij", {indexing!r} came')
    n = len(arrays)
    grids = [xp.reshape(a, (1,) * i + (-1,) + (1,) * (n - i - 1)) if _size(a) else xp.reshape(a, (1,) * i + (0,) + (1,) * (n - i - 1)) for i, a in enumerate(arrays)]
    shape = _common_shape([tuple(g.shape) for g in grids])
    grids = [xp.broadcast_to(g, shape) for g in grids]
    if indexing == "xy" and n >= 2:
        grids = [xp.moveaxis(g, 0, 1) for g in grids]
    return tuple(grids)


@rule
def tril(x: Array, *, k: int = 0) -> Any:
    """y = the lower triangle    dx = the lower triangle of dy"""
    return namespace(x).tril(x, k=k), lambda dy: namespace(dy).tril(dy, k=k)


@rule
def triu(x: Array, *, k: int = 0) -> Any:
    """y = the upper triangle    dx = the upper triangle of dy"""
    return namespace(x).triu(x, k=k), lambda dy: namespace(dy).triu(dy, k=k)


@plain()
def diff(x: Array, /, *, axis: int = -1, n: int = 1, prepend: Array | None = None, append: Array | None = None) -> Array:
    """yᵢ = xᵢ₊₁ − xᵢ along an axis, n times."""
    xp = namespace(x, prepend, append)
    if prepend is not None or append is not None:
        x = xp.concat([part for part in (prepend, x, append) if part is not None], axis=axis)
    along = axis % x.ndim
    lead = (slice(None),) * along
    for _ in range(n):
        x = xp.subtract(x[(*lead, slice(1, None), ...)], x[(*lead, slice(0, max(x.shape[along] - 1, 0)), ...)])
    return x


def _size(x: Array) -> int:
    n = 1
    for size in x.shape:
        n *= size
    return n


def _positions(like: Array, n: int) -> Array:
    """0 … n − 1 in the dtype that indexing wants there."""
    xp, where = namespace(like), device(like)
    return xp.arange(n, dtype=xp.__array_namespace_info__().default_dtypes(device=where)["indexing"], device=where)


# -------------------------------------------------------------------------------------------------------------- indexing


@rule
def take(x: Array, indices: Array, *, axis: int | None = None) -> Any:
    """y = the entries of x at the indices along an axis    dx = Σ dy over equal indices"""
    xp = namespace(x, indices)
    along = 0 if axis is None else axis % x.ndim
    y = xp.take(x, indices, axis=along)

    def back(dy: Array) -> Array:
        n, dp = x.shape[along], namespace(dy)
        flat = xp.reshape(indices, (-1,))
        flat = xp.where(flat < 0, flat + n, flat)
        count = indices.ndim
        moved = dp.moveaxis(dy, tuple(range(along, along + count)), tuple(range(count)))
        rest = tuple(moved.shape[count:])
        summed = portable.scatter_add(dp.reshape(moved, (_size(indices), *rest)), flat, length=n)
        return dp.moveaxis(summed, 0, along)

    return y, back, None


@rule
def take_along_axis(x: Array, indices: Array, *, axis: int = -1) -> Any:
    """y = x at its own index for each entry    dx = Σ dy over equal places"""
    xp = namespace(x, indices)
    y = xp.take_along_axis(x, indices, axis=axis)

    def back(dy: Array) -> Array:
        grid = xp.reshape(_positions(x, _size(x)), tuple(x.shape))
        places = xp.reshape(xp.take_along_axis(grid, indices, axis=axis), (-1,))
        return _gather_back(dy, places, x)

    return y, back, None


def _gather_back(dy: Array, places: Array, x: Array) -> Array:
    """dx from dy by the place of each entry of dy in x."""
    dp = namespace(dy)
    return dp.reshape(portable.scatter_add(dp.reshape(dy, (_size(dy),)), places, length=_size(x)), tuple(x.shape))


@rule(into="gap")
def get_item(x: Array, arrays: list[Array], *, key: Any) -> Any:
    """y = x[key]    dx = zeros with dy at key; equal index entries add"""
    y = portable.get_item(x, arrays, key=key)

    def back(dy: Array) -> Array:
        if not arrays:
            return portable.set_item(_zeros(dy, x), dy, [], key=key)
        xp = namespace(x)
        grid = xp.reshape(_positions(x, _size(x)), tuple(x.shape))
        places = xp.reshape(portable.get_item(grid, arrays, key=key), (-1,))
        return _gather_back(dy, places, x)

    return y, back, None


def _zeros(dy: Array, x: Array) -> Array:
    return namespace(dy).zeros(tuple(x.shape), dtype=x.dtype, device=device(dy))


@rule(into="gap")
def set_item(x: Array, value: Any, arrays: list[Array], *, key: Any) -> Any:
    """y = x with y[key] = value    dx = dy with 0 at key    dvalue = dy[key]"""
    y = portable.set_item(x, value, arrays, key=key)
    return (
        y,
        lambda dy: portable.set_item(dy, 0.0, arrays, key=key),
        lambda dy: fit(portable.get_item(dy, arrays, key=key), value),
        None,
    )


@rule(into="gap")
def scatter_add(u: Array, index: Array, *, length: int) -> Any:
    """y[j] = Σ u[i] over index[i] = j    du = dy[index]"""
    return portable.scatter_add(u, index, length=length), lambda dy: namespace(dy, index).take(dy, index, axis=0), None


@rule(into="gap")
def windows(x: Array, *, size: Any, strides: Any, dilations: Any) -> Any:
    """y = sliding windows    dx = fold(dy)"""
    y = portable.windows(x, size=size, strides=strides, dilations=dilations)
    return y, lambda dy: portable.fold(dy, shape=tuple(x.shape[1:-1]), strides=strides, dilations=dilations)


@rule(into="gap")
def fold(y: Array, *, shape: Any, strides: Any, dilations: Any) -> Any:
    """x = Σ of overlapping windows    dy = windows(dx)"""
    size = tuple(y.shape[1 + len(shape) : 1 + 2 * len(shape)])
    x = portable.fold(y, shape=shape, strides=strides, dilations=dilations)
    return x, lambda dx: portable.windows(dx, size=size, strides=strides, dilations=dilations)


@rule(into="gap")
def to_device(x: Array, *, device: Any) -> Any:
    """y = x on another device    dx = dy on the device of x"""
    home = portable.device(x)
    return x.to_device(device), lambda dy: dy.to_device(home)


# --------------------------------------------------------------------------------------------------------------- sorting


@rule
def sort(x: Array, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """y = x sorted along an axis    dx = dy in the order of x"""
    xp = namespace(x)
    if x.ndim == 0:
        return x, lambda dy: dy
    order = _order(x, axis, descending)
    y = xp.take_along_axis(x, order, axis=axis)
    return y, lambda dy: namespace(dy, order).take_along_axis(dy, namespace(order).argsort(order, axis=axis), axis=axis)


def _order(x: Array, axis: int, descending: bool) -> Array:
    """The stable argsort. NumPy's own has no `descending`: there it is the reversed order of the reversed array."""
    xp = namespace(x)
    if not descending:
        return xp.argsort(x, axis=axis, stable=True)
    return x.shape[axis] - 1 - xp.flip(xp.argsort(xp.flip(x, axis=axis), axis=axis, stable=True), axis=axis)


def argsort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The indices that sort x along an axis: integers, so nothing is differentiated."""
    x = raw(x)
    return namespace(x).argsort(x, axis=axis) if x.ndim == 0 else _order(x, axis, descending)


RULES[""]["argsort"] = argsort  # of constants too: NumPy's own has no `descending`


# ------------------------------------------------------------------------------------------------------------ unique values


def _unique(name: str) -> None:
    def body(x: Array) -> Any:
        found = getattr(namespace(x), name)(x)
        several = isinstance(found, tuple)

        def back(dy: Any) -> Array:
            dy = dy[0] if several else dy
            xp, dp = namespace(x), namespace(dy, x)
            inverse, counts = xp.unique_inverse(x)[1], xp.unique_counts(x)[1]
            return _like(dp.take(dy / dp.astype(counts, dy.dtype), dp.reshape(inverse, (-1,)), axis=0), x.shape)

        return tuple(found) if several else found, back

    body.__name__ = body.__qualname__ = name
    body.__doc__ = "y = the different values of x, and their places or counts    dx = dy at the value, shared evenly by the entries that equal it"
    rule(body)


for _name in ("unique_all", "unique_counts", "unique_inverse", "unique_values"):
    _unique(_name)
