"""For each instruction of a Program, how it enters the groups: nodes and sinks, views of memory, or a step of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backends.native.convolution import Convolve, ConvolveWeights, Geometry
from backends.native.cumulative import Cumulative
from backends.native.emit import is_float
from backends.native.groups import SMALL, Grouping, encoded
from backends.native.operations import OPERATIONS, REDUCTIONS
from backends.native.steps import Axes, CannotExpress, Convolution, Direct, Group, Product, RandomBits, Running, Scan, Use, merges
from backends.program.program import Instruction, Ref, call
from backends.program.promotion import promote_all
from backends.wrapped import Index, join_key

OF_OPERANDS = frozenset("equal not_equal less less_equal greater greater_equal isnan isinf isfinite signbit logical_not".split())  # whose result has another dtype


def arguments(self: Grouping, i: Instruction, dtypes: list[str]) -> list[int]:
    """The arguments of an instruction as values, numbers as uniform ones of these dtypes."""
    values = []
    for x, dtype in zip(i.args, dtypes, strict=True):
        if type(x) is not Ref:
            v = len(self.shapes)
            self.shapes[v], self.dtypes[v], self.numbers[v] = (), dtype, x
            x = v
        values.append(x)
    return values


def elementwise(self: Grouping, i: Instruction) -> None:
    """Functions of equal places; the arguments are brought to one dtype first."""
    out, name = i.outs[0], i.name
    dtype = self.dtypes[out]
    kinds = [self.dtypes[x] if type(x) is Ref else type(x) for x in i.args]
    common = dtype if name not in OF_OPERANDS else promote_all(kinds)
    if any("complex" in k for k in [common, *(k for k in kinds if isinstance(k, str))]):
        raise CannotExpress("complex numbers")
    if name == "clip":
        _clip(self, i)
        return
    dtypes = ["bool", dtype, dtype] if name == "where" else [common] * len(i.args)
    if name == "pow" and not is_float(dtype):
        _power(self, i)
        return

    def build(g: Group, nodes: list[int], axes: Axes) -> None:
        nodes = [_cast(g, node, d) for node, d in zip(nodes, dtypes, strict=True)]
        self.keep(g, out, nodes[0] if name == "astype" else g.add(name, dtype, *nodes), axes)

    self.own(out)
    self.made[out] = self.join(self.shapes[out], arguments(self, i, dtypes), build)


def _cast(g: Group, node: int, dtype: str) -> int:
    name, held, *rest = g.nodes[node]
    if held == dtype:
        return node
    if name == "const" and (is_float(dtype) or not is_float(held)):
        return g.add("const", dtype, encoded(decoded(rest[0]), dtype))
    return g.add("cast", dtype, node)


def decoded(number: Any) -> Any:
    return float.fromhex(number) if isinstance(number, str) else number


def _power(self: Grouping, i: Instruction) -> None:
    """xᵏ of integers for a number k ≥ 0, by squares: xᵏ = x^(k mod 2)·(x²)^⌊k/2⌋"""
    x, k = i.args
    k, out = self.numbers.get(k) if type(k) is Ref else k, i.outs[0]
    if type(k) is not int or k < 0:
        raise CannotExpress("powers of integers whose exponents are an array, or negative")
    dtype = self.dtypes[out]

    def build(g: Group, nodes: list[int], axes: Axes) -> None:
        y, square = g.add("const", dtype, 1), _cast(g, nodes[0], dtype)
        for bit in reversed(f"{k:b}"):
            y = g.add("multiply", dtype, y, square) if bit == "1" else y
            square = g.add("multiply", dtype, square, square)
        self.keep(g, out, y, axes)

    self.own(out)
    self.made[out] = self.join(self.shapes[out], [x], build)


def _clip(self: Grouping, i: Instruction) -> None:
    x, *bounds = i.args
    for name, bound in zip(("maximum", "minimum"), bounds, strict=False):
        if bound is not None:
            y = len(self.shapes)
            self.shapes[y], self.dtypes[y] = self.shapes[i.outs[0]], self.dtypes[i.outs[0]]
            elementwise(self, Instruction(name, (bound, x), {}, (Ref(y),)))  # x where they are equal
            x = Ref(y)
    elementwise(self, Instruction("astype", (x,), {}, i.outs))


def reduction(self: Grouping, i: Instruction) -> None:
    """Rows are reduced within their group; what is added up over slower axes is a sink, and known after it."""
    (x,), out = arguments(self, i, [self.dtypes[i.outs[0]]]), i.outs[0]
    shape, dtype = self.shapes[x], self.dtypes[out]
    reduced = [p for p, n in enumerate(shape) if p in i.static["axis"] and n != 1]
    kept = [p for p, n in enumerate(shape) if p not in i.static["axis"] and n != 1]
    whole = [p for p, n in enumerate(shape) if n != 1]

    def rowwise(g: Group, axes: Axes, loads: list[Any]) -> int | None:
        """Where the row begins if the reduction is one of rows, known within the group."""
        over = [a for p, a in zip(whole, axes, strict=True) if p in reduced]
        if len(axes) < len(g.shape) or not over or over != list(range(over[0], len(g.shape))) or (over[0] == 0 and g.size > SMALL):
            return None
        return over[0] if all(merges(use.strides[over[0] :], g.shape[over[0] :]) for use in (*g.uses, *loads) if isinstance(use, Use)) else None

    def last(g: Group, axes: Axes) -> bool:
        """Whether the fastest axis is among those reduced, though the others are not all behind one another."""
        return len(axes) == len(g.shape) and bool(reduced) and reduced[-1] == whole[-1]

    def target(g: Group, axes: Axes) -> Axes:
        """The strides of the result where it is a sink."""
        place = dict(zip(whole, axes, strict=True))
        strides, step = [0] * len(g.shape), 1
        for p in reversed(kept):
            strides[place[p]] = step
            step *= shape[p]
        return tuple(strides)

    def limit(g: Group, axes: Axes, loads: list[Any]) -> bool:
        row = rowwise(g, axes, loads)
        if row is None and not g.fits(target(g, axes)):
            return False
        if row is None and last(g, axes):
            row = len(g.shape) - 1
        return row is None or g.row in (row, None)

    def build(g: Group, nodes: list[int], axes: Axes) -> None:
        node = _cast(g, nodes[0], dtype)
        row = rowwise(g, axes, [])
        if row is not None:
            g.row = row
            self.keep(g, out, g.add(i.name, dtype, node), tuple(range(row)))
            return
        if last(g, axes):
            g.row = len(g.shape) - 1
            node = g.add(i.name, dtype, node)
        shared = frozenset(a for p, a in zip(whole, axes, strict=True) if p in reduced)
        use = Use(out, dtype, 0, target(g, axes), None, i.name, shared)
        g.sinks.append((g.use(use), node))

    self.own(out)
    self.made[out] = self.join(shape, [x], build, limit)


def largest(self: Grouping, i: Instruction) -> None:
    """argmax and argmin: the least column that holds the extreme, or NaN, where the axis is the last, or looked at as if it were."""
    x, out, axis = self.solid(i.args[0]), i.outs[0], i.static.get("axis")
    if (math.prod(self.shapes[x]) if axis is None else self.shapes[x][axis]) == 1:
        self.numbers[out] = 0
        return
    if axis is None and len(self.shapes[x]) > 1:
        root, sample = self.matrix(x, self.samples[x], (1, 1, -1))
        x = self.look(root, sample[0, 0])
    elif axis not in (None, -1, len(self.shapes[x]) - 1):
        x = self.look(x, np.moveaxis(self.samples[x], axis, -1))
    shape, dtype = self.shapes[x], self.dtypes[x]

    def limit(g: Group, axes: Axes, loads: list[Any]) -> bool:
        row = len(g.shape) - 1
        return len(axes) == len(g.shape) and g.row in (None, row) and (row > 0 or g.size <= SMALL or not g.nodes)

    def build(g: Group, nodes: list[int], axes: Axes) -> None:
        g.row = len(g.shape) - 1
        extreme = g.add(i.name[3:], dtype, nodes[0])
        found = g.add("equal", "bool", nodes[0], extreme)
        if is_float(dtype):
            found = g.add("logical_or", "bool", found, g.add("isnan", "bool", nodes[0]))
        place = g.add("where", "int64", found, g.add("column", "int64"), g.add("const", "int64", shape[-1]))
        self.keep(g, out, g.add("min", "int64", place), tuple(range(g.row)))

    self.own(out)
    self.made[out] = self.join(shape, [x], build, limit)


def view(self: Grouping, i: Instruction) -> None:
    """Another look at the same memory; where there is none, a copy in the new order."""
    x, out = i.args[0], i.outs[0]
    if x in self.numbers:
        self.numbers[out] = self.numbers[x]
        return
    sample = self.samples[x]
    if i.name == "get_item" and i.args[1]:
        picked(self, i)
        return
    if i.name == "reshape":
        try:
            y = np.reshape(sample, self.shapes[out], copy=False)
        except ValueError:
            c = self.new(self.shapes[x], self.dtypes[x])
            self.copy(x, c, self.samples[c])
            x, y = c, self.samples[c].reshape(self.shapes[out])
    elif i.name == "permute_dims":
        y = sample.transpose(i.static["axes"])
    elif i.name == "broadcast_to":
        y = np.broadcast_to(sample, self.shapes[out])
    elif i.name == "windows":
        y = self.program.library.gaps["windows"](sample, **i.static)
    else:
        key = join_key(i.static["key"], [])
        y = sample[(*key, ...) if isinstance(key, tuple) and Ellipsis not in key else key if isinstance(key, tuple) else (key, ...)]
    self.samples[out], self.roots[out] = y, self.roots[x]
    self.trails[out] = self.trail(i, x, out)


def picked(self: Grouping, i: Instruction) -> None:
    """x[…, index, …]: take along one axis."""
    x, out = i.args[0], i.outs[0]
    key, arrays = i.static["key"], i.args[1]
    key = key if isinstance(key, tuple) else (key,)
    axes = [p for p, part in enumerate(key) if isinstance(part, Index)]
    others = [part for part in key if not isinstance(part, Index)]
    if len(axes) != 1 or any(part != slice(None) and not (part is Ellipsis and key[-1] is Ellipsis) for part in others):
        raise CannotExpress("x[key] with several index arrays, or with slices beside one")
    indexed(self, self.solid(x), self.solid(arrays[0]), axes[0], out, along=False)


def take(self: Grouping, i: Instruction) -> None:
    x, index = (self.solid(v) for v in i.args)
    rank = len(self.shapes[x])
    axis = i.static.get("axis")
    if axis is None and rank != 1 and i.name == "take":
        raise CannotExpress("take without an axis")
    axis = (-1 if i.name == "take_along_axis" else 0) if axis is None else axis
    indexed(self, x, index, axis % rank, i.outs[0], along=i.name == "take_along_axis")


def indexed(self: Grouping, x: int, index: int, axis: int, out: int, along: bool) -> None:
    """y[…, j, …] = x[…, index[j], …]; or, along an axis, with an index of the shape of y."""
    if self.dtypes[index] == "bool" or "int" not in self.dtypes[index]:
        raise CannotExpress(f"indices of dtype {self.dtypes[index]}")
    shape, rank = self.shapes[out], len(self.shapes[index])
    (x_offset, x_steps), (offset, steps) = self.spot(x), self.spot(index)
    if along:
        steps_of = dict(enumerate(steps))
        moving = {p: t if self.shapes[x][p] != 1 else 0 for p, t in enumerate(x_steps) if p != axis}
    else:
        steps_of = {axis + p: t for p, t in enumerate(steps)}
        moving = {p if p < axis else p + rank - 1: t for p, t in enumerate(x_steps) if p != axis}
    whole = [p for p, n in enumerate(shape) if n != 1]

    def spread(of: dict[int, int], g: Group, axes: Axes) -> Axes:
        strides = [0] * len(g.shape)
        for p, a in zip(whole, axes, strict=True):
            strides[a] = of.get(p, 0)
        return tuple(strides)

    def build(g: Group, nodes: list[int], axes: Axes) -> None:
        where = g.use(Use(self.roots[index], self.dtypes[index], offset, spread(steps_of, g, axes)))
        place = (where, x_steps[axis], self.shapes[x][axis])
        use = g.use(Use(self.roots[x], self.dtypes[x], x_offset, spread(moving, g, axes), place))
        self.keep(g, out, g.add("load", self.dtypes[x], use), axes)

    self.own(out)
    fits = lambda g, axes, loads: g.fits(spread(steps_of, g, axes)) and g.fits(spread(moving, g, axes))  # noqa: E731
    self.made[out] = self.join(shape, [], build, fits, after=[x, index])


def scatter_add(self: Grouping, i: Instruction) -> None:
    """Row j of u is added to row index[j]."""
    u, out = i.args[0], i.outs[0]
    index = self.solid(i.args[1])
    shape, dtype = self.shapes[u], self.dtypes[out]
    whole = [p for p, n in enumerate(shape) if n != 1]
    if whole[-1:] in ([], [0]):
        raise CannotExpress("scatter_add of rows of length 1")
    offset, (step,) = self.spot(index)
    row = math.prod(shape[1:])

    def build(g: Group, nodes: list[int], axes: Axes) -> None:
        strides, steps, inner = [0] * len(g.shape), [0] * len(g.shape), 1
        for p, a in reversed(list(zip(whole, axes, strict=True))):
            if p == 0:
                steps[a] = step
            else:
                strides[a] = inner
                inner *= shape[p]
        where = g.use(Use(self.roots[index], self.dtypes[index], offset, tuple(steps)))
        shared = frozenset(a for p, a in zip(whole, axes, strict=True) if p == 0)
        g.sinks.append((g.use(Use(out, dtype, 0, tuple(strides), (where, row, i.static["length"]), "sum", shared)), _cast(g, nodes[0], dtype)))

    self.own(out)
    self.made[out] = self.join(shape, [u], build, lambda g, axes, loads: len(axes) == len(g.shape) and g.row is None, after=[index])


def fold(self: Grouping, i: Instruction) -> None:
    """Windows back in their places: each is added where it was seen; where none overlap, and they cover all, it is a copy."""
    y, out = i.args[0], i.outs[0]
    shape, strides, dilations = i.static["shape"], i.static["strides"], i.static["dilations"]
    r, seen = len(shape), self.shapes[y]
    sample = self.own(out)
    lengths = [t // sample.itemsize for t in sample.strides]
    counts, sizes = seen[1 : 1 + r], seen[1 + r : 1 + 2 * r]
    steps = [lengths[0], *(t * s for t, s in zip(lengths[1:], strides, strict=False)), *(t * d for t, d in zip(lengths[1:], dilations, strict=False)), lengths[-1]]
    if tuple(sizes) == tuple(strides) and set(dilations) == {1} and all(o * k == n for o, k, n in zip(counts, sizes, shape, strict=True)):
        self.copy(y, out, np.lib.stride_tricks.as_strided(sample, seen, [t * sample.itemsize for t in steps]))
        return
    whole = [p for p, n in enumerate(seen) if n != 1]

    def build(g: Group, nodes: list[int], axes: Axes) -> None:
        target = [0] * len(g.shape)
        for p, a in zip(whole, axes, strict=True):
            target[a] = steps[p]
        shared = frozenset(a for p, a in zip(whole, axes, strict=True) if 1 <= p <= 2 * r)
        g.sinks.append((g.use(Use(out, self.dtypes[out], 0, tuple(target), None, "sum", shared)), nodes[0]))

    self.made[out] = self.join(seen, [y], build, lambda g, axes, loads: len(axes) == len(g.shape) and g.row is None)


def concat(self: Grouping, i: Instruction) -> None:
    out, axis = i.outs[0], i.static["axis"]
    sample, start = self.own(out), 0
    for x in i.args[0]:
        n = self.shapes[x][axis]
        self.copy(x, out, sample[(slice(None),) * axis + (slice(start, start + n),)])
        start += n


def set_item(self: Grouping, i: Instruction) -> None:
    x, value, arrays = i.args
    if arrays:
        raise CannotExpress("x[index array] = value")
    out = i.outs[0]
    sample = self.own(out)
    self.copy(x, out, sample)
    key = i.static["key"]
    place = sample[(*key, ...) if isinstance(key, tuple) and Ellipsis not in key else key if isinstance(key, tuple) else (key, ...)]
    (value,) = arguments(self, Instruction("", (value,), {}, ()), [self.dtypes[out]])
    self.shapes[value] = self.shapes[value] or (1,) * place.ndim
    self.copy(value, out, place, alone=True)


def matmul(self: Grouping, i: Instruction) -> None:
    """Products of matrices, of stacks of them, and of vectors as matrices of one row or column."""
    out, dtype = i.outs[0], self.dtypes[i.outs[0]]
    if dtype not in ("float32", "float64") or any(self.dtypes[x] != dtype for x in i.args):
        raise CannotExpress(f"matmul of {' and '.join(self.dtypes[x] for x in i.args)}")
    a, b = (self.solid(x) for x in i.args)
    c, x, y = self.own(out), self.samples[a], self.samples[b]
    if x.ndim == 1:
        x, c = x[None], c[..., None, :] if y.ndim > 1 else c[None]
    if y.ndim == 1:
        y, c = y[:, None], c[..., None]
    if y.ndim == 2:  # all rows at once
        c = c.reshape(1, -1, c.shape[-1])
        a, x = self.matrix(a, x, (1, -1, x.shape[-1]))
        b, y = self.matrix(b, y, (1, *y.shape))
    else:
        batch, c = c.shape[:-2], c.reshape(-1, *c.shape[-2:])
        a, x = self.matrix(a, np.broadcast_to(x, (*batch, *x.shape[-2:])), (-1, *x.shape[-2:]))
        b, y = self.matrix(b, np.broadcast_to(y, (*batch, *y.shape[-2:])), (-1, *y.shape[-2:]))
    self.steps.append(Product(out, a, b, c, x, y))
    self.made[out] = len(self.steps) - 1


def pad(self: Grouping, i: Instruction) -> None:
    (x, number), out = i.args, i.outs[0]
    inside = self.own(out)
    (value,) = arguments(self, Instruction("", (number,), {}, ()), [self.dtypes[out]])
    for axis, (before, after) in enumerate(i.static["pads"]):
        n = inside.shape[axis]
        for start, stop in ((0, before), (n - after, n)):
            if start < stop:
                edge = inside[(slice(None),) * axis + (slice(start, stop),)]
                self.shapes[value] = edge.shape
                self.copy(value, out, edge)
        inside = inside[(slice(None),) * axis + (slice(before, n - after),)]
    self.copy(x, out, inside)


def winograd(self: Grouping, i: Instruction) -> None:
    """A step of its own; its matrices are values of our own."""
    out, dtype = i.outs[0], self.dtypes[i.outs[0]]
    a, b = (self.contiguous(x) for x in i.args)
    n, height, width, channels = self.shapes[i.args[0]]
    weights = i.name == "conv3x3_filter"
    filters = self.shapes[i.args[1]][-1]
    if i.static["turned"]:
        filters = self.shapes[i.args[1]][0] // 9
    self.own(out)
    depth = (channels, filters)
    scratch = [self.new((16, *depth), dtype)]
    if i.static["turned"]:
        scratch.append(self.new((16, *reversed(depth)), dtype))
    self.steps.append(Convolution(out, a, b, (n, height, width), depth, i.static["before"], i.static["size"], i.static["turned"], weights, scratch))
    for v in (out, *scratch):
        self.made[v] = len(self.steps) - 1


def convolve(self: Grouping, i: Instruction) -> None:
    out = i.outs[0]
    y, (x, image) = self.own(out), self.image(i.args[0])
    w = self.solid(i.args[1])
    kernel = self.samples[w]
    rank, f = kernel.ndim - 2, kernel.shape[-1]
    geometry = geometry_of(image, y, kernel.shape[:rank], i.static)
    count, wide = geometry.vectors, geometry.lanes
    if f % wide:  # the filters that are missing in the last vector are 0
        whole = self.new((*kernel.shape[:-1], count * wide), self.dtypes[out])
        pad(self, Instruction("pad", (Ref(w), 0), {"pads": (*((0, 0) for _ in kernel.shape[:-1]), (0, count * wide - f))}, (Ref(whole),)))
        w, kernel = whole, self.samples[whole]
    packed = self.new((count, *kernel.shape[:-1], wide), self.dtypes[out])
    look = self.look(w, np.moveaxis(kernel.reshape(*kernel.shape[:-1], count, wide), -2, 0))
    self.copy(look, packed, self.samples[packed])
    y, image = (x[:, None] if rank == 1 else x for x in (y, image))
    places = {"x": (x, image), "w": (packed, self.samples[packed]), "y": (out, y)}
    if len(i.args) > 2:
        places["b"] = self.image(i.args[2], whole=True)
    self.steps.append(Direct(out, Convolve(geometry, y.shape[1], "b" in places), places))
    self.made[out] = len(self.steps) - 1


def convolve_weights(self: Grouping, i: Instruction) -> None:
    out = i.outs[0]
    w, (x, image), (y, dy) = self.own(out), self.image(i.args[0]), self.image(i.args[1], whole=True)
    geometry = geometry_of(image, dy, i.static["size"], i.static)
    dy, image = (x[:, None] if len(i.static["size"]) == 1 else x for x in (dy, image))
    self.steps.append(Direct(out, ConvolveWeights(geometry), {"x": (x, image), "w": (out, w), "y": (y, dy)}))
    self.made[out] = len(self.steps) - 1


def geometry_of(x: Any, y: Any, size: Sequence[int], static: dict[str, Any]) -> Geometry:
    """Of a convolution in one or two dimensions, from samples of x and y."""
    size, strides, dilations = ((*(1,) * (2 - len(size)), *pair) for pair in (size, static["strides"], static["dilations"]))
    return Geometry(str(x.dtype), size, strides, dilations, y.shape[-2], x.strides[-3] // x.itemsize, x.shape[-1], y.shape[-1])


def random_bits(self: Grouping, i: Instruction) -> None:
    step, out = i.args[0], i.outs[0]
    if type(step) is Ref:
        step = self.numbers.get(step, step)
    place = self.contiguous(step) if type(step) is Ref else int(step)
    self.own(out)
    self.steps.append(RandomBits(out, place, i.static["key"], i.static["draw"]))
    self.made[out] = len(self.steps) - 1


def running(self: Grouping, i: Instruction) -> None:
    """Sums or products up to each element; x is brought to the dtype of the result first."""
    x, out, dtype = i.args[0], i.outs[0], self.dtypes[i.outs[0]]
    if self.dtypes[x] != dtype:
        cast = self.new(self.shapes[x], dtype)
        self.copy(x, cast, self.samples[cast])
        x = cast
    shape, place = self.shapes[x], self.contiguous(x)
    axis = (i.static.get("axis") or 0) % len(shape)
    outer, n, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    self.own(out)
    kernel = Cumulative(dtype, "sum" if i.name == "cumulative_sum" else "prod", bool(i.static.get("include_initial")), inner > 1)
    self.steps.append(Running(out, place, kernel, (outer, n, inner)))
    self.made[out] = len(self.steps) - 1


def scan(self: Grouping, i: Instruction) -> None:
    """The carry lies where the last one will; each step takes it from there and puts it there."""
    carries, columns, closed = i.args
    assert i.program is not None
    outs, stacked = [*map(int, i.outs[: len(carries)])], [*map(int, i.outs[len(carries) :])]
    for y in stacked:
        self.own(y)
    for x, y in zip(carries, outs, strict=True):
        self.copy(x, y, self.own(y))
    inputs: list[tuple[int, int, int]] = [(y, 0, 0) for y in outs]
    inputs += [(*self.contiguous(x), math.prod(self.shapes[x][1:])) for x in columns]
    inputs += [(*self.contiguous(x), 0) for x in closed]
    self.steps.append(Scan(i.program, i.static["length"], i.static["reverse"], inputs, outs, stacked))
    for y in i.outs:
        self.made[y] = len(self.steps) - 1


def constant(self: Grouping, i: Instruction) -> None:
    """Arrays that depend on no input."""
    out = i.outs[0]
    value = np.ascontiguousarray(i.static["value"] if i.name == "constant" else call(self.program.library, i, list(i.args)), dtype=self.dtypes[out])
    if value.ndim == 0:
        self.numbers[out] = value.item()
        return
    self.own(out)
    self.constants[out], self.made[out] = value, -1


def full(self: Grouping, i: Instruction) -> None:
    self.numbers[i.outs[0]] = i.args[0]


RULES: dict[str, Callable[[Grouping, Instruction], None]] = {
    **dict.fromkeys([*OPERATIONS, "astype", "clip"], elementwise),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(("argmax", "argmin"), largest),
    **dict.fromkeys(("reshape", "permute_dims", "broadcast_to", "get_item", "windows"), view),
    **dict.fromkeys(("take", "take_along_axis"), take),
    **dict.fromkeys(("arange", "linspace", "eye", "constant"), constant),
    **dict.fromkeys(("cumulative_sum", "cumulative_prod"), running),
    "full": full, "concat": concat, "pad": pad, "convolve": convolve, "convolve_weights": convolve_weights, "fold": fold, "matmul": matmul, "scatter_add": scatter_add, "set_item": set_item,
    "conv3x3": winograd, "conv3x3_filter": winograd, "random_bits": random_bits, "scan": scan,
}  # fmt: skip
