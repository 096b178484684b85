"""One rule an instruction: the lines of NumPy calls that do it, on memory that the Writer plans.

A rule answers whether it wrote them: where it has none for these shapes and dtypes, the library's own function is called.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backends.numpy import slabs
from backends.numpy.lines import CONSTANT, Line, Value
from backends.numpy.places import TOGETHER, keys
from backends.program.passes import ELEMENTWISE
from backends.program.program import Instruction, Ref, size
from backends.program.promotion import FLOATING
from backends.wrapped import join_key

if TYPE_CHECKING:
    from backends.numpy.bands import Blocks
    from backends.numpy.writer import Writer
    from backends.program.abstract import Spec

NARROW, TILE, MANY = 64, 1024, 1 << 14  # a vector so short is laid end to end to this length, where it is added to so many entries
WHOLE = 4096  # entries of an array that a number becomes
SHORT = 32  # entries of rows whose extremes are those of columns in a copy
PART = 1 << 19  # entries of a part of the gradient of a convolution's image
FEW = 32  # entries that an elementwise extreme of slices is taken of
REDUCTIONS = {"sum": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply, "any": np.logical_or, "all": np.logical_and}
VIEWS = ("reshape", "permute_dims", "broadcast_to", "get_item", "windows")


def ufunc(name: str) -> Any:
    return np.absolute if name == "abs" else getattr(np, name, None)


def by_ufunc(specs: Sequence[Spec], i: Instruction) -> bool:
    """Whether the instruction is one call of a ufunc, on arrays of one dtype or of floats, into memory that is planned."""
    strong = {specs[x].dtype for x in i.reads}
    return i.name in ELEMENTWISE and isinstance(ufunc(i.name), np.ufunc) and (len(strong) == 1 or strong <= FLOATING)


def elementwise(w: Writer, i: Instruction) -> bool:
    common = np.result_type(*(w.specs[x].dtype for x in i.reads), *(np.complex64 for x in i.args if type(x) is complex)).name
    reads = [w.operand(x, common) for x in i.args]
    y = w.storage(i.outs[0])
    u = w.constant(ufunc(i.name), "u_")
    y, *reads = tiled(w, i, y, reads)
    arguments = ", ".join(f"{{{k + 1}}}" for k in range(len(reads)))
    out_of = "out=" if i.name in ("maximum", "minimum") else ""  # these take it by keyword alone
    w.lines.append(Line(f"{u}({arguments}, {out_of}{{0}})", [y], reads, w.rows(y)))
    return True


def tiled(w: Writer, i: Instruction, y: Value, reads: list[Value]) -> list[Value]:
    """y and what an elementwise call reads, in shapes for long inner loops.

    A short vector along the last axis is laid end to end. A number becomes a vector for maximum and minimum, which are several times as slow with numbers.
    """
    shape, c = y.sample.shape, y.sample.shape[-1:]
    short = [v for v in reads if v.sample.shape == c and c[0] <= NARROW] if len(shape) > 1 and y.sample.size >= MANY else []
    numbers = [v for v in reads if v.root == CONSTANT and not v.sample.ndim] if i.name in ("maximum", "minimum") and y.sample.dtype.kind == "f" else []
    if not short and not numbers or not all(v.sample.flags.c_contiguous and v.sample.shape == shape for v in (y, *reads) if v not in short and v.sample.ndim):
        return [y, *reads]
    if not short and y.sample.size <= WHOLE:
        return [y, *(w.operand(v.sample.item(), v.sample.dtype.name, shape) if v in numbers else v for v in reads)]
    lead = shape[:1] if len(shape) > 2 or (len(shape) == 2 and not short and c[0] > NARROW) else ()
    inner, unit = math.prod(shape[len(lead) :]), c[0] if short else 1
    run = max((m for m in range(unit, TILE + 1, unit) if inner % m == 0), default=1)
    if run <= unit:
        return [y, *reads]

    def long(v: Value) -> Value:
        if v in numbers:
            return w.operand(v.sample.item(), v.sample.dtype.name, (run,))
        if v not in short:
            return w.flat(v, (*lead, inner // run, run)) if v.sample.ndim else v
        t = w.scratch((run,), v.sample.dtype)
        w.lines.append(Line("{0}[...] = {1}", [w.flat(t, (run // unit, unit))], [v]))
        return t

    return [long(v) for v in (y, *reads)]


def astype(w: Writer, i: Instruction) -> bool:
    if "complex" in w.specs[i.args[0]].dtype:
        return False
    x = w.solid(i.args[0])
    y = w.storage(i.outs[0])
    w.lines.append(Line("{0}[...] = {1}", [y], [x], w.rows(y)))
    return True


def where(w: Writer, i: Instruction) -> bool:
    """y = b ⊕ ((a ⊕ b) & mask) on the bits: exact, and without a branch a processor could guess wrong."""
    out = w.specs[i.outs[0]]
    strong = {w.specs[x].dtype for x in i.args[1:] if type(x) is Ref}
    if strong - {out.dtype}:
        return False
    c = w.operand(i.args[0])
    a, b = w.operand(i.args[1], out.dtype), w.operand(i.args[2], out.dtype)
    width = np.dtype(out.dtype).itemsize
    small = size(out) <= 512 or width not in (4, 8)
    if small or c.local or a.local or b.local or any(v.sample.shape not in ((), out.shape) for v in (a, b)) or c.sample.shape != out.shape:
        y = w.storage(i.outs[0])
        w.constants.setdefault("where", np.where)
        w.lines.append(Line("{0}[...] = where({1}, {2}, {3})", [y], [c, a, b], w.rows(y)))
        return True
    bits = f"int{8 * width}"
    y = w.storage(i.outs[0])
    if y.root in (a.root, b.root) or y.local:
        w.constants.setdefault("where", np.where)
        w.lines.append(Line("{0}[...] = where({1}, {2}, {3})", [y], [c, a, b], w.rows(y)))
        return True

    def as_bits(v: Value) -> Value:
        name = f"i_{v.name}_{width}"
        if v.root == CONSTANT:
            w.constants.setdefault(name, v.sample.view(bits))
            return Value(name, w.constants[name], v.root, False)
        return w.view(v, f"{{}}.view('{bits}')", v.sample.view(bits), name)

    ya, aa, bb = as_bits(y), as_bits(a), as_bits(b)
    n = w.rows(y)
    mask = w.scratch(out.shape, bits)
    signs = w.view(c, "{}.view('int8')", c.sample.view("int8"), f"i_{c.name}_1")
    for name, u in (("u_negative", np.negative), ("u_xor", np.bitwise_xor), ("u_and", np.bitwise_and)):
        w.constants.setdefault(name, u)
    w.lines.append(Line("u_negative({1}, {0})", [mask], [signs], n))
    zero = type(i.args[2]) is not Ref and i.args[2] == 0 and math.copysign(1, i.args[2]) > 0
    if zero or (type(i.args[2]) is Ref and w.numbers.get(i.args[2], 1) == 0):
        w.lines.append(Line("u_and({1}, {2}, {0})", [ya], [aa, mask], n))
        return True
    w.lines.append(Line("u_xor({1}, {2}, {0})", [ya], [aa, bb], n))
    w.lines.append(Line("u_and({1}, {2}, {0})", [ya], [ya, mask], n))
    w.lines.append(Line("u_xor({1}, {2}, {0})", [ya], [ya, bb], n))
    return True


def reduction(w: Writer, i: Instruction) -> bool:
    x, out = w.solid(i.args[0]), w.specs[i.outs[0]]
    axes, keep = i.static["axis"], i.static.get("keepdims", False)
    shape = x.sample.shape
    if i.name in ("sum", "prod") and w.specs[i.args[0]].dtype != out.dtype:
        return False
    if i.name in ("max", "min") and 0 in shape:
        return False
    if i.name in ("max", "min") and len(shape) - 1 not in axes and math.prod(shape[a] for a in axes) <= FEW and size(out) > 512:
        slices(w, i, x, axes, keep)
        return True
    y = w.storage(i.outs[0])
    k, n = shape[-1] if shape else 1, x.sample.size // max(shape[-1] if shape else 1, 1)
    leading, rest = math.prod(shape[: len(axes)]), math.prod(shape[len(axes) :])
    solid = x.sample.flags.c_contiguous
    products = i.name == "sum" and out.dtype in ("float32", "float64") and solid
    within = solid and axes == (len(shape) - 1,) and len(shape) > 1
    if products and axes == tuple(range(len(axes))) and rest > 1 and leading > 8:
        w.dot(w.operand(1, out.dtype, (leading,)), w.flat(x, (leading, rest)), w.flat(y, (rest,)))
    elif products and within and 1 < k <= 64:
        w.dot(w.flat(x, (n, k)), w.operand(1, out.dtype, (k,)), w.flat(y, (n,)), w.rows(x) if len(shape) == 2 else 0)
    elif i.name in ("max", "min") and within and 1 < k <= SHORT and n >= 16:
        columns = w.scratch((k, n), x.sample.dtype)
        w.lines.append(Line("{0}[...] = {1}.T", [columns], [w.flat(x, (n, k))]))
        w.lines.append(Line(f"{w.constant(REDUCTIONS[i.name].reduce, 'reduce_')}({{1}}, 0, None, {{0}})", [w.flat(y, (n,))], [columns]))
    else:
        u = w.constant(REDUCTIONS[i.name].reduce, "reduce_")
        axis: Any = axes[0] if len(axes) == 1 else axes if len(axes) != len(shape) else None
        where = w.rows(x) if 0 not in axes and out.shape[:1] == shape[:1] else 0
        w.lines.append(Line(f"{u}({{1}}, {axis}, None, {{0}}, {keep})", [y], [x], where))
    return True


def slices(w: Writer, i: Instruction, x: Value, axes: tuple[int, ...], keep: bool) -> None:
    """The extreme over short axes, one axis after the other, as an elementwise extreme of slices: long inner loops."""
    u = w.constant(REDUCTIONS[i.name], "u_")
    for number, axis in enumerate(axes):
        k = x.sample.shape[axis]
        lead = (slice(None),) * axis
        last = number == len(axes) - 1
        shape = (*x.sample.shape[:axis], 1, *x.sample.shape[axis + 1 :])
        if last:
            y = w.storage(i.outs[0])
            y = y if y.sample.shape == shape else w.flat(y, shape)
        else:
            y = w.scratch(shape, x.sample.dtype)
        parts = [w.part(x, (*lead, slice(q, q + 1))) for q in range(k)]
        if k == 1:
            w.lines.append(Line("{0}[...] = {1}", [y], parts))
        for q in range(1, k):
            w.lines.append(Line(f"{u}({{1}}, {{2}}, out={{0}})", [y], [y if q > 1 else parts[0], parts[q]]))
        x = y


def matmul(w: Writer, i: Instruction) -> bool:
    a, b = w.solid(i.args[0]), w.solid(i.args[1])
    out = w.specs[i.outs[0]]
    if w.specs[i.args[0]].dtype != w.specs[i.args[1]].dtype or out.dtype not in FLOATING or 0 in (*a.sample.shape, *b.sample.shape):
        return False
    if a.sample.ndim == b.sample.ndim == 1 and out.dtype in ("float32", "float64"):
        w.constants.setdefault("dot", np.dot)
        w.scalars[i.outs[0]] = f"s{i.outs[0]}"
        w.lines.append(Line(f"s{i.outs[0]} = float(dot({{0}}, {{1}}))", [], [a, b]))
        return True
    y = w.storage(i.outs[0])
    if b.sample.ndim == 2 and a.sample.ndim >= 2 and (a.sample.ndim == 2 or a.sample.flags.c_contiguous):
        k, m = b.sample.shape
        w.dot(w.flat(a, (a.sample.size // k, k)), b, w.flat(y, (a.sample.size // k, m)))
    elif a.sample.ndim == 1 and b.sample.ndim <= 2 and out.shape:
        w.dot(a, b, y)
    else:
        w.constants.setdefault("matmul", np.matmul)
        w.lines.append(Line("matmul({1}, {2}, {0})", [y], [a, b]))
    return True


def viewed(w: Writer, i: Instruction) -> bool:
    if i.args[0] in w.numbers or (i.name == "get_item" and i.args[1]):
        return False
    x, out = w.solid(i.args[0]), w.specs[i.outs[0]]
    name = f"w{i.outs[0]}"
    if i.name == "permute_dims":
        axes = i.static["axes"]
        w.values[i.outs[0]] = w.view(x, f"{{}}.transpose({axes})", x.sample.transpose(axes), name)
    elif i.name == "broadcast_to":
        w.constants.setdefault("broadcast_to", np.broadcast_to)
        w.values[i.outs[0]] = w.view(x, f"broadcast_to({{}}, {out.shape})", np.broadcast_to(x.sample, out.shape), name)
    elif i.name == "get_item":
        key = join_key(i.static["key"], [])
        sample = x.sample[key] if out.shape else x.sample[(*key, ...) if isinstance(key, tuple) and Ellipsis not in key else key]
        whole = key if out.shape or (isinstance(key, tuple) and Ellipsis in key) else (*(key if isinstance(key, tuple) else (key,)), ...)
        w.values[i.outs[0]] = w.view(x, f"{{}}[{w.constant(whole)}]", np.asarray(sample), name)
    elif i.name == "windows":
        windows = w.program.library.gaps["windows"]
        f = w.constant(functools.partial(windows, **i.static), "windows")
        w.values[i.outs[0]] = w.view(x, f"{f}({{}})", windows(x.sample, **i.static), name)
    else:
        try:
            sample = np.reshape(x.sample, out.shape, copy=False)
        except ValueError:
            y = w.storage(i.outs[0])
            source = w.view(y, f"{{}}.reshape({x.sample.shape})", y.sample.reshape(x.sample.shape), f"{name}_from")
            w.lines.append(Line("{0}[...] = {1}", [source], [x]))
            return True
        w.values[i.outs[0]] = w.view(x, f"{{}}.reshape({out.shape})", sample, name)
    return True


def together(w: Writer, i: Instruction) -> bool:
    """concat, interleaved: each part is copied to its place, if it was not made there."""
    if any(w.specs[x].dtype != w.specs[i.outs[0]].dtype for x in i.args[0]):
        return False
    parts = [w.operand(x) for x in i.args[0]]
    y = w.values.get(i.outs[0]) or w.storage(i.outs[0])
    for part, key in zip(parts, keys(w.specs, i), strict=True):
        place = w.part(y, key)
        if place.sample.size and not place.same(part):
            w.lines.append(Line("{0}[...] = {1}", [place], [part]))
    return True


def take(w: Writer, i: Instruction) -> bool:
    axis = i.static.get("axis")
    x, index = w.solid(i.args[0]), w.solid(i.args[1])
    out = w.specs[i.outs[0]]
    y = w.values[i.outs[0]] = Value(f"v{i.outs[0]}", np.empty(out.shape, out.dtype), int(i.outs[0]), True)
    w.lines.append(Line(f"{{0}} = {{1}}.take({{2}}, {axis})", [y], [x, index]))
    return True


def set_item(w: Writer, i: Instruction) -> bool:
    x, value, arrays = i.args
    if arrays or (type(value) is Ref and w.specs[value].dtype != w.specs[i.outs[0]].dtype):
        return False
    base = None if x in w.numbers else w.solid(x)
    part = w.operand(value, w.specs[i.outs[0]].dtype)
    y = w.storage(i.outs[0])
    w.lines.append(Line(f"{{0}}.fill({w.constant(w.numbers[x], 'n')})", [y], []) if base is None else Line("{0}[...] = {1}", [y], [base]))
    w.lines.append(Line(f"{{0}}[{w.constant(join_key(i.static['key'], []))}] = {{1}}", [y], [part]))
    return True


def fold(w: Writer, i: Instruction) -> bool:
    shape, strides, dilations = i.static["shape"], i.static["strides"], i.static["dilations"]
    x, out = w.solid(i.args[0]), w.specs[i.outs[0]]
    r = len(shape)
    counts, sizes = x.sample.shape[1 : 1 + r], x.sample.shape[1 + r : 1 + 2 * r]
    if 0 in x.sample.shape or 0 in out.shape:
        return False
    y = w.storage(i.outs[0])
    if sizes == tuple(strides) and set(dilations) == {1} and all(o * k == n for o, k, n in zip(counts, sizes, shape, strict=True)):
        n, c = out.shape[0], out.shape[-1]
        split = (n, *(m for pair in zip(counts, sizes, strict=True) for m in pair), c)
        order = (0, *(m for pair in zip(range(1, 1 + r), range(1 + r, 1 + 2 * r), strict=True) for m in pair), 1 + 2 * r)
        w.made += 1
        target = w.flat(y, split)
        source = w.view(x, f"{{}}.transpose({order})", x.sample.transpose(order), f"p{w.made}")
        w.lines.append(Line("{0}[...] = {1}", [target], [source]))
        return True
    w.constants.setdefault("u_add", np.add)
    for axis in range(r - 1, -1, -1):
        o, k, s, d = counts[axis], sizes[axis], strides[axis], dilations[axis]
        full = (*x.sample.shape[: 1 + axis], shape[axis], *x.sample.shape[2 + axis : -2], x.sample.shape[-1])
        target = y if axis == 0 else w.scratch(full, out.dtype)
        w.lines.append(Line("{0}.fill(0)", [target], []))
        for q in range(k):
            place = w.part(target, (slice(None),) * (1 + axis) + (slice(q * d, q * d + (o - 1) * s + 1, s),))
            part = w.part(x, (..., q, slice(None)))
            w.lines.append(Line("u_add({1}, {2}, {0})", [place], [place, part]))
        x = target
    return True


def fold_product(w: Writer, i: Instruction) -> bool:
    """x[n, p·s + q·d, c] += Σ_f a[n, p, f]·b[f, q, c]  for each tap q: a row of positions at a time (taps.py).

    Where the last axis has fewer places p than taps, a product for all of its taps is added place by place.
    """
    windows, strides, dilations = i.static["windows"], i.static["strides"], i.static["dilations"]
    a, b = w.solid(i.args[0]), w.solid(i.args[1])
    rank = len(i.static["shape"])
    n, counts, sizes, c = windows[0], windows[1 : 1 + rank], windows[1 + rank : -1], windows[-1]
    by_place = counts[-1] < sizes[-1]
    taps, together = (sizes[:-1], sizes[-1]) if by_place else (sizes, 1)
    s, d = strides[-1], dilations[-1]
    ends = [((slice(p * s, p * s + (sizes[-1] - 1) * d + 1, d),), p) for p in range(counts[-1])] if by_place else [((), slice(None))]
    columns = [w.part(b, (slice(None), slice(k, k + together * c))) for k in range(0, b.sample.shape[1], together * c)]
    places = math.prod(counts)
    few = min(n, max(1, PART // (places * together * c), -(-n // 16)))  # examples at a time, whose products stay in the cache
    x = w.storage(i.outs[0])
    whole = w.scratch((few * places, together * c), x.sample.dtype)
    w.constants.setdefault("u_add", np.add)
    w.lines.append(Line("{0}.fill(0)", [x], []))
    for first in range(0, n, few):
        some = slice(first, min(first + few, n))
        rows = a if few == n else w.part(a, (slice(some.start * places, some.stop * places),))
        part = whole if few == n else w.part(whole, (slice((some.stop - some.start) * places),))
        placed = w.flat(part, (some.stop - some.start, *counts, together, c))
        for tap, factor in zip(itertools.product(*map(range, taps)), columns, strict=True):
            w.dot(rows, factor, part)
            seen = tuple(slice(q * d, q * d + (o - 1) * s + 1, s) for q, o, s, d in zip(tap, counts, strides, dilations, strict=False))
            for along, p in ends:
                place = w.part(x, (some, *seen, *along))
                added = w.part(placed, (..., p, slice(None) if by_place else 0, slice(None)))
                w.lines.append(Line("u_add({1}, {2}, {0})", [place], [place, added]))
    return True


def slab_product(w: Writer, i: Instruction) -> bool:
    """y = X·w or dw = Xᵀ·dy, where the rows of X are windows (slabs.py)"""
    windows, right = w.solid(i.args[0]), w.solid(i.args[1])
    y = w.storage(i.outs[0])
    n, *one = windows.sample.shape
    slab = w.scratch((min(n, max(1, slabs.SLAB // (math.prod(one) * windows.sample.itemsize))), *one), windows.sample.dtype)
    if i.name == "slab_product":
        w.constants["multiply"] = slabs.multiply
        w.lines.append(Line("multiply({2}, {3}, {0}, {1})", [y, slab], [windows, right]))
    else:
        w.constants["gradient"] = slabs.gradient
        w.lines.append(Line("gradient({3}, {4}, {0}, {1}, {2})", [y, slab, w.scratch(y.sample.shape, y.sample.dtype)], [windows, right]))
    return True


def banded(w: Writer, i: Instruction) -> bool:
    """t[m, c, r, f] = w[m − r·s, c, f], 0 outside of w (bands.py)"""
    s = i.static["blocks"]
    kernel = w.solid(i.args[0])
    t = w.storage(i.outs[0])
    w.lines.append(Line("{0}.fill(0)", [t], []))
    w.lines.append(Line("{0}[...] = {1}", [band(w, t, s)], [w.flat(kernel, (*s.kernel, s.windows[-1], *(1,) * 2 * s.rank, s.f))]))
    return True


def diagonals(w: Writer, i: Instruction) -> bool:
    """dw[q, c, f] = Σ_r dt[r·s + q, c, r, f] (bands.py)"""
    s = i.static["blocks"]
    dt = band(w, w.solid(i.args[0]), s)
    dw = w.flat(w.storage(i.outs[0]), (*s.kernel, s.windows[-1], s.f))
    places = tuple(range(1 + s.rank, 1 + 3 * s.rank))
    w.lines.append(Line(f"{w.constant(np.add.reduce, 'reduce_')}({{1}}, {places}, None, {{0}})", [dw], [dt]))
    return True


def band(w: Writer, t: Value, s: Blocks) -> Value:
    """t, contiguous, as (…q…, c, …d…, …g…, f): the taps of each place r = g·cell + d of a block."""
    dense = t.sample.reshape(*s.long, s.windows[-1], *s.cell, *s.groups, s.f).strides
    across, d, g = dense[: s.rank], dense[1 + s.rank : 1 + 2 * s.rank], dense[1 + 2 * s.rank : -1]
    moved = [stride * a for stride, a in zip(s.strides, across, strict=True)]
    shape = (*s.kernel, s.windows[-1], *s.cell, *s.groups, s.f)
    strides = (*dense[: 1 + s.rank], *(x + y for x, y in zip(d, moved, strict=True)), *(x + c * y for x, c, y in zip(g, s.cell, moved, strict=True)), dense[-1])
    w.constants.setdefault("as_strided", np.lib.stride_tricks.as_strided)
    w.made += 1
    return w.view(t, f"as_strided({{}}, {shape}, {strides})", np.lib.stride_tricks.as_strided(t.sample, shape, strides), f"p{w.made}")


def argmax(w: Writer, i: Instruction) -> bool:
    axis = i.static.get("axis")
    if axis is None or w.specs[i.outs[0]].dtype != "int64":
        return False
    x = w.solid(i.args[0])
    y = w.storage(i.outs[0])
    f = w.constant(getattr(np, i.name), i.name)
    w.lines.append(Line(f"{f}({{1}}, {axis}, {{0}}, keepdims={i.static.get('keepdims', False)})", [y], [x]))
    return True


RULES: dict[str, Callable[[Writer, Instruction], bool]] = {
    **dict.fromkeys(VIEWS, viewed), **dict.fromkeys(REDUCTIONS, reduction), "astype": astype, "where": where,
    "matmul": matmul, **dict.fromkeys(TOGETHER, together), "set_item": set_item, "take": take, "fold": fold, "fold_product": fold_product,
    **dict.fromkeys(("slab_product", "slab_gradient"), slab_product), "banded": banded, "diagonals": diagonals, "argmax": argmax, "argmin": argmax,
}  # fmt: skip
