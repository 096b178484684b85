"""The shape of x[key]: integers, slices, None, ..., integer arrays; as NumPy has it."""

from __future__ import annotations

from typing import Any

from backends.program.promotion import INTEGER, Refusal
from backends.wrapped import Index

Shape = tuple[int, ...]


def broadcast(*shapes: Shape) -> Shape:
    """The common shape: sizes from the right, equal or 1."""
    common = shapes[0] if shapes else ()
    for shape in shapes[1:]:
        common = _broadcast(common, shape)
    return tuple(common)


def _broadcast(a: Shape, b: Shape) -> Shape:
    if a == b:
        return a
    if len(a) < len(b):
        a, b = b, a
    start = len(a) - len(b)
    sizes = list(a)
    for i, n in enumerate(b, start):
        if sizes[i] != n:
            if sizes[i] == 1:
                sizes[i] = n
            elif n != 1:
                raise Refusal(
                    f"shapes {tuple(a)} and {tuple(b)} do not broadcast: axis {i - len(a)} has {sizes[i]} and {n}; wanted equal sizes, or 1"
                )
    return tuple(sizes)


def indexed(shape: Shape, arrays: list[Any], key: Any) -> Shape:
    """The shape of x[key], where `key` is a template and the `Index`es in it stand for integer arrays.

    Arrays broadcast together. Their common shape stands where they stand, or first when a slice is between them.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    if sum(part is Ellipsis for part in parts) > 1:
        raise Refusal("an index has one ... at most", IndexError)
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if used > len(shape):
        raise Refusal(f"{used} indices for an array of {len(shape)} axes, shape {shape}", IndexError)
    whole = [slice(None)] * (len(shape) - used)
    if Ellipsis in [part for part in parts if part is Ellipsis]:
        place = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[place : place + 1] = whole
    else:
        parts += whole

    mixed = any(isinstance(part, Index) for part in parts)  # then a Python integer counts as an array of shape ()
    out: list[int] = []
    index_shapes: list[Shape] = []
    empty = False  # whether an array picks from an axis of size 0
    first, runs, inside = 0, 0, False
    axis = 0
    for part in parts:
        if part is None:
            out.append(1)
            inside = False
            continue
        n = shape[axis]
        axis += 1
        if isinstance(part, slice):
            out.append(len(range(*part.indices(n))))
            inside = False
            continue
        if isinstance(part, bool):
            raise Refusal("x[True]: the shape would depend on a value; write xp.where(condition, a, b)", TypeError)
        if isinstance(part, int):
            if not -n <= part < n:
                raise Refusal(
                    f"index {part} is out of bounds for axis {axis - 1} of size {n}, shape {shape}", IndexError
                )
            if not mixed:
                continue
            index_shapes.append(())
        else:
            x = arrays[part.place]
            if x.dtype_name not in INTEGER:
                raise Refusal(f"an index array has integers, this one has {x.dtype_name}", IndexError)
            index_shapes.append(x.shape)
            empty = empty or n == 0
        if not inside:
            first, runs, inside = (len(out) if runs == 0 else first), runs + 1, True
    if mixed:
        at = first if runs == 1 else 0
        picked = broadcast(*index_shapes)
        if empty and 0 not in picked:
            raise Refusal(f"an index array picks from an axis of size 0, shape {shape}", IndexError)
        out[at:at] = picked
    return tuple(out)
