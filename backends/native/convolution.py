"""Convolutions without their windows: sums of products held in registers, straight from an image that has its border already.

    convolve           y[n, i, j, f] = Σ x[n, i·s + u·d, j·t + v·e, c]·w[u, v, c, f] + b[f]      over u, v, c
    convolve_weights   w[u, v, c, f] = Σ x[n, i·s + u·d, j·t + v·e, c]·y[n, i, j, f]      over n, i, j
    pad                x with a number around it

`direct` puts these instructions where a Program has products of windows as a matrix; the gradient by x is a convolution too, of padded dy with the
kernel turned around. Convolve and ConvolveWeights are their kernels. Each holds a block of sums, some numbers of x times some vectors of
filters: pixels in the one, channels of neighbouring taps in the other. A block is as large as the registers allow, and blocks are nearly equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.gaps import windows
from backends.library import namespace
from backends.native.compile import lanes as machine_lanes
from backends.native.compile import registers
from backends.native.emit import SIZE, Function, Value, Variable
from backends.program.abstract import Spec
from backends.program.passes import Writer
from backends.program.program import Instruction, Program, Ref

Array = Any
Sizes = tuple[int, ...]
CACHE = 1 << 19  # bytes of a kernel that are read again for each block of pixels, at most
WASTE = 2  # times the products of the gradient by x that turning it into a convolution may cost


# ------------------------------------------------------------------------------------------------- what the instructions mean


def convolve(x: Array, w: Array, b: Array | None = None, *, strides: Sizes, dilations: Sizes) -> Array:
    """x (n, L₁ … Lᵣ, c), w (k₁ … kᵣ, c, f), b (f,) → y (n, o₁ … oᵣ, f)"""
    view = windows(x, size=tuple(w.shape[:-2]), strides=strides, dilations=dilations)
    f, xp = w.shape[-1], namespace(x, w)
    rows = math.prod(view.shape[: x.ndim - 1])
    y = xp.reshape(xp.matmul(xp.reshape(view, (rows, -1)), xp.reshape(w, (-1, f))), (*view.shape[: x.ndim - 1], f))
    return y if b is None else y + b


def convolve_weights(x: Array, y: Array, *, size: Sizes, strides: Sizes, dilations: Sizes) -> Array:
    """x (n, L₁ … Lᵣ, c), y (n, o₁ … oᵣ, f) → w (k₁ … kᵣ, c, f)"""
    view = windows(x, size=size, strides=strides, dilations=dilations)
    f, xp = y.shape[-1], namespace(x, y)
    rows = math.prod(y.shape[:-1])
    return xp.reshape(xp.matmul(xp.matrix_transpose(xp.reshape(view, (rows, -1))), xp.reshape(y, (rows, f))), (*size, x.shape[-1], f))


def pad(x: Array, number: Any, *, pads: tuple[tuple[int, int], ...]) -> Array:
    """x with so many of this number (before, after) it along each axis."""
    xp = namespace(x)
    for axis, pair in enumerate(pads):
        before, after = (xp.full((*x.shape[:axis], n, *x.shape[axis + 1 :]), number, dtype=x.dtype) for n in pair)
        x = xp.concat([before, x, after], axis=axis)
    return x


# ------------------------------------------------------------------------------------------------- where they stand in a Program


def direct(program: Program) -> Program:
    """The program with these instructions in it."""
    return _Direct(program).result


class _Direct:
    def __init__(self, program: Program):
        self.w = w = Writer(program)
        self.folds: dict[int, Instruction] = {}  # what has become a convolution
        rules = {"concat": self.concat, "matmul": self.matmul, "add": self.add, "fold": self.fold, "get_item": self.get_item}
        for i in program.body:
            i = w.entered(i)
            y = rules[i.name](i) if i.name in rules else None
            if y is None:
                w.keep(i)
            else:
                w.renamed[i.outs[0]] = y
        self.result = w.done()

    def spec(self, x: int) -> Spec:
        return self.w.values[x]

    def made(self, x: Any, name: str) -> Instruction | None:
        """What makes x, if it is an instruction of this name."""
        i = self.w.maker.get(x) if type(x) is Ref else None
        return i if i is not None and i.name == name else None

    def reshaped(self, i: Instruction, x: Ref, shape: Sizes) -> Ref:
        while (before := self.made(x, "reshape")) is not None and self.spec(x).shape != shape:
            x = before.args[0]
        return x if self.spec(x).shape == shape else self.w.add(i, "reshape", (x,), {"shape": shape}, Spec(shape, self.spec(x).dtype))

    def concat(self, i: Instruction) -> Ref | None:
        """One number around x, along this axis or several in turn."""
        axis = i.static["axis"]
        full = [self.made(x, "full") for x in i.args[0]]
        numbers = {(type(part.args[0]), str(part.args[0])): part.args[0] for part in full if part is not None}
        if full.count(None) != 1 or len(numbers) != 1:
            return None
        k, (number,) = full.index(None), numbers.values()
        x: Ref = i.args[0][k]
        before, after = (sum(self.spec(part).shape[axis] for part in parts) for parts in (i.args[0][:k], i.args[0][k + 1 :]))
        pads = [(0, 0)] * len(self.spec(x).shape)
        inner = self.made(x, "pad")
        if inner is not None and (type(inner.args[1]), str(inner.args[1])) in numbers:
            x, pads = inner.args[0], list(inner.static["pads"])
        pads[axis] = pads[axis][0] + before, pads[axis][1] + after
        return self.w.add(i, "pad", (x, number), {"pads": tuple(pads)}, self.spec(i.outs[0]))

    def rows(self, x: Any) -> Instruction | None:
        """The windows whose rows, as a matrix, x is."""
        shape = self.made(x, "reshape")
        view = self.made(shape.args[0], "windows") if shape is not None else None
        if view is None:
            return None
        seen, rank = self.spec(view.outs[0]).shape, len(view.static["size"])
        return view if self.spec(x).shape == (math.prod(seen[: 1 + rank]), math.prod(seen[1 + rank :])) else None

    def matmul(self, i: Instruction) -> Ref | None:
        """X·w, with the windows of x as rows of X; Xᵀ·y."""
        a, b = i.args
        if len(self.spec(b).shape) != 2:
            return None
        view = self.rows(a)
        if view is not None:
            x, f = view.args[0], self.spec(b).shape[1]
            if not self.suits(x, view.static, f):
                return None
            w = self.reshaped(i, b, (*view.static["size"], self.spec(x).shape[-1], f))
            y = self.convolve(i, x, w, {key: view.static[key] for key in ("strides", "dilations")})
            return self.reshaped(i, y, self.spec(i.outs[0]).shape)
        turned = self.made(a, "permute_dims")
        view = self.rows(turned.args[0]) if turned is not None and len(self.spec(a).shape) == 2 else None
        if view is not None:
            x, f, rank = view.args[0], self.spec(b).shape[1], len(view.static["size"])
            if not self.suits(x, view.static, f):
                return None
            y = self.reshaped(i, b, (*self.spec(view.outs[0]).shape[: 1 + rank], f))
            w = self.w.add(i, "convolve_weights", (x, y), view.static, Spec((*view.static["size"], self.spec(x).shape[-1], f), self.spec(x).dtype))
            return self.w.add(i, "reshape", (w,), {"shape": self.spec(i.outs[0]).shape}, self.spec(i.outs[0]))
        return None

    def add(self, i: Instruction) -> Ref | None:
        """A bias is where the sums begin."""
        for y, b in (i.args, reversed(i.args)):
            rows = self.made(y, "reshape")
            bare = self.made(rows.args[0], "convolve") if rows is not None else None
            if bare is None or len(bare.args) > 2 or type(b) is not Ref or self.spec(b) != Spec(self.spec(y).shape[-1:], self.spec(y).dtype):
                continue
            with_bias = self.w.add(i, "convolve", (*bare.args, b), bare.static, self.spec(bare.outs[0]))
            return self.reshaped(i, with_bias, self.spec(y).shape) if self.spec(y) == self.spec(i.outs[0]) else None
        return None

    def fold(self, i: Instruction) -> Ref | None:
        groups = self.made(i.args[0], "concat")
        if groups is not None and groups.static["axis"] == len(self.spec(i.args[0]).shape) - 1:  # each by itself
            shape, dtype = self.spec(i.outs[0]).shape, self.spec(i.outs[0]).dtype
            folds = [replace(i, args=(part,), outs=(self.w.value(Spec((*shape[:-1], self.spec(part).shape[-1]), dtype)),)) for part in groups.args[0]]
            return self.joined(i, [self.fold(one) for one in folds])
        y = self.turned(i, i, [(0, n) for n in i.static["shape"]])
        if y is not None:
            self.folds[y] = i
        return y

    def get_item(self, i: Instruction) -> Ref | None:
        """A part of what is folded, with whole images and all channels; of windows, some channels."""
        if (view := self.made(i.args[0], "windows")) is not None:
            return self.of_channels(i, view)
        if (joined := self.made(i.args[0], "concat")) is not None and all(part in self.folds for part in joined.args[0]):
            return self.joined(i, [self.get_item(replace(i, args=(part, []))) for part in joined.args[0]])
        fold = self.folds.get(i.args[0]) or self.made(i.args[0], "fold")
        if fold is None or i.args[1] or not isinstance(i.static["key"], tuple) or not all(isinstance(part, slice) or part is Ellipsis for part in i.static["key"]):
            return None
        shape, key = self.spec(fold.outs[0]).shape, list(i.static["key"])
        if Ellipsis in key:
            place = key.index(Ellipsis)
            key[place : place + 1] = [slice(None)] * (len(shape) - len(key) + 1)
        key += [slice(None)] * (len(shape) - len(key))
        parts = [part.indices(n) for part, n in zip(key, shape, strict=True)]
        if any(step != 1 or stop <= start for start, stop, step in parts) or parts[0][:2] != (0, shape[0]) or parts[-1][:2] != (0, shape[-1]):
            return None
        return self.turned(i, fold, [part[:2] for part in parts[1:-1]])

    def of_channels(self, i: Instruction, view: Instruction) -> Ref | None:
        """Channels of windows as windows of channels."""
        *rest, part = i.static["key"] if isinstance(i.static["key"], tuple) else (None,)
        if i.args[1] or rest != [Ellipsis] or not isinstance(part, slice):
            return None
        shape, seen, dtype = self.spec(view.args[0]).shape, self.spec(i.outs[0]).shape, self.spec(i.outs[0]).dtype
        channels = self.w.add(i, "get_item", (view.args[0], []), i.static, Spec((*shape[:-1], seen[-1]), dtype))
        return self.w.add(i, "windows", (channels,), view.static, Spec(seen, dtype))

    def joined(self, i: Instruction, parts: list[Ref | None]) -> Ref | None:
        """These parts of the channels side by side."""
        if None in parts:
            return None
        axis = len(self.spec(i.outs[0]).shape) - 1
        return self.w.add(i, "concat", (parts,), {"axis": axis}, Spec(self.spec(i.outs[0]).shape, self.spec(i.outs[0]).dtype))

    def turned(self, i: Instruction, fold: Instruction, region: list[tuple[int, int]]) -> Ref | None:
        """This region of fold(y·wᵀ), for strides of 1: dx[l] = Σ y[l − k·d]·w[k]ᵀ."""
        if (each := self.made(fold.args[0], "multiply")) is not None:
            return self.turned_channels(i, fold, each, region)
        spread = self.made(fold.args[0], "reshape")
        product = self.made(spread.args[0], "matmul") if spread is not None else None
        turned = self.made(product.args[1], "permute_dims") if product is not None else None
        if spread is None or product is None or turned is None or set(fold.static["strides"]) != {1}:
            return None
        y, b = product.args[0], turned.args[0]
        seen, rank, dilations = self.spec(spread.outs[0]).shape, len(region), fold.static["dilations"]
        (rows, f), counts, size, c = self.spec(y).shape, seen[1 : 1 + rank], seen[1 + rank : -1], seen[-1]
        if len(self.spec(b).shape) != 2 or rows != math.prod(seen[: 1 + rank]) or self.spec(b).shape != (math.prod(size) * c, f):
            return None
        pads = [((k - 1) * d - start, stop - o) for k, d, o, (start, stop) in zip(size, dilations, counts, region, strict=True)]
        if min(map(min, pads)) < 0:
            return None
        padded = Spec((seen[0], *(o + sum(pair) for o, pair in zip(counts, pads, strict=True)), f), self.spec(y).dtype)
        static = {"size": size, "strides": fold.static["strides"], "dilations": dilations}
        lost = math.prod(stop - start for start, stop in region) / math.prod(counts) * 4 * machine_lanes() / SIZE.get(padded.dtype, 1) / lanes(padded.dtype, c)
        if lost > WASTE or not suits(padded, static, c):
            return None
        image = self.reshaped(i, y, (seen[0], *counts, f))
        if padded != self.spec(image):
            image = self.w.add(i, "pad", (image, 0), {"pads": ((0, 0), *pads, (0, 0))}, padded)
        kernel = self.reshaped(i, b, (*size, c, f))
        back = (*(slice(None, None, -1) for _ in size), ...)
        kernel = self.w.add(i, "get_item", (kernel, []), {"key": back}, self.spec(kernel))
        kernel = self.w.add(i, "permute_dims", (kernel,), {"axes": (*range(rank), rank + 1, rank)}, Spec((*size, f, c), padded.dtype))
        return self.convolve(i, image, kernel, {"strides": static["strides"], "dilations": dilations})

    def turned_channels(self, i: Instruction, fold: Instruction, each: Instruction, region: list[tuple[int, int]]) -> Ref | None:
        """The same where each channel is by itself: y (n, o₁ … oᵣ, 1 …, c) times w (k₁ … kᵣ, c), folded."""
        rank, seen, dtype, dilations = len(region), self.spec(fold.args[0]).shape, self.spec(fold.args[0]).dtype, fold.static["dilations"]
        counts, size, c = seen[1 : 1 + rank], seen[1 + rank : -1], seen[-1]
        parts = {self.spec(x).shape: x for x in each.args if type(x) is Ref}
        y, w = (parts.get(shape) for shape in ((seen[0], *counts, *(1,) * rank, c), (*size, c)))
        pads = [((k - 1) * d - start, stop - o) for k, d, o, (start, stop) in zip(size, dilations, counts, region, strict=True)]
        if y is None or w is None or set(fold.static["strides"]) != {1} or min(map(min, pads)) < 0:
            return None
        image = self.reshaped(i, y, (seen[0], *counts, c))
        padded = (seen[0], *(o + sum(pair) for o, pair in zip(counts, pads, strict=True)), c)
        image = self.w.add(i, "pad", (image, 0), {"pads": ((0, 0), *pads, (0, 0))}, Spec(padded, dtype))
        kernel = self.w.add(i, "get_item", (w, []), {"key": (*(slice(None, None, -1) for _ in size), ...)}, Spec((*size, c), dtype))
        spans = tuple(stop - start for start, stop in region)
        all_ = Spec((seen[0], *spans, *size, c), dtype)
        view = self.w.add(i, "windows", (image,), {"size": size, "strides": (1,) * rank, "dilations": dilations}, all_)
        products = self.w.add(i, "multiply", (view, kernel), {}, all_)
        return self.w.add(i, "sum", (products,), {"axis": tuple(range(1 + rank, 1 + 2 * rank)), "keepdims": False}, Spec((seen[0], *spans, c), dtype))

    def suits(self, x: Ref, static: dict[str, Any], f: int) -> bool:
        return suits(self.spec(x), static, f)

    def convolve(self, i: Instruction, x: Ref, w: Ref, static: dict[str, Any]) -> Ref:
        size = self.spec(w).shape[:-2]
        counts = ((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(self.spec(x).shape[1:-1], size, static["strides"], static["dilations"], strict=True))
        return self.w.add(i, "convolve", (x, w), static, Spec((self.spec(x).shape[0], *counts, self.spec(w).shape[-1]), self.spec(x).dtype))


def suits(x: Spec, static: dict[str, Any], filters: int) -> bool:
    """Whether a convolution of x is best done here: with windows of more than one pixel, and a kernel that the cache holds."""
    size = static["size"]
    if x.dtype not in ("float32", "float64") or len(size) > 2 or 0 in x.shape or {*size, *static["strides"]} == {1}:
        return False
    return math.prod(size) * x.shape[-1] * 2 * 4 * machine_lanes() <= CACHE


# ------------------------------------------------------------------------------------------------- kernels

WORDS = ("x", "w", "b", "y", "images", "group", "rows", "x_image", "y_image")  # images, how many at once, rows of each; elements from one image to the next
UNROLL = 2


def lanes(dtype: str, filters: int) -> int:
    """Of vectors of filters: no more than there are filters for."""
    return min(4 * machine_lanes() // SIZE[dtype], 1 << (filters - 1).bit_length())


def split(n: int, most: int) -> list[tuple[int, int, int]]:
    """0 … n in as few parts as allow no more than `most` in each, nearly equal: [(where parts of one size begin, how many, the size)]."""
    count = -(-n // max(most, 1))
    size, more = divmod(n, count)
    return [part for part in ((0, more, size + 1), (more * (size + 1), count - more, size)) if part[1]]


def divisor(n: int, most: int) -> int:
    """The largest divisor of n that is no more than `most`."""
    return max(k for k in range(1, max(1, min(n, most)) + 1) if n % k == 0)


@dataclass(frozen=True)
class Geometry:
    """What a kernel is made for: the window (down, across), the columns of y, and how far apart rows of x lie, in elements."""

    dtype: str
    size: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    columns: int
    row: int
    channels: int
    filters: int

    @property
    def lanes(self) -> int:
        return lanes(self.dtype, self.filters)

    @property
    def vectors(self) -> int:
        """Of all filters."""
        return -(-self.filters // self.lanes)

    @property
    def depth(self) -> int:
        """Products in each number of y."""
        return math.prod(self.size) * self.channels

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """A row of the window as numbers that follow one another in x: [(how many, the place of the first in x, in w)]."""
        if self.dilations[1] == 1:
            return [(self.size[1] * self.channels, 0, 0)]
        return [(self.channels, v * self.dilations[1] * self.channels, v * self.channels) for v in range(self.size[1])]

    @property
    def blocks(self) -> list[tuple[int, int, int, bool]]:
        """Vectors of filters held at a time: [(the first, how many blocks, vectors in each, whether the last lanes are beyond the filters)]."""
        found = [(*part, False) for part in split(self.vectors, 3 if self.vectors == 3 else 2)]
        if self.filters % self.lanes:
            first, count, size, _ = found.pop()
            found += [(first, count - 1, size, False)] if count > 1 else []
            found.append((first + (count - 1) * size, 1, size, True))
        return found

    @property
    def numbers(self) -> int:
        """How many numbers of x a block may hold sums for."""
        vectors = max(size for _, _, size, _ in self.blocks)
        return (registers() - vectors - 2) // vectors


@dataclass
class _Block:
    """sums[p][v], p: of numbers of x at these offsets, v: of vectors of filters; masked: the last of these in part."""

    f: Function
    geometry: Geometry
    offsets: list[int]
    vectors: int
    masked: bool

    def __post_init__(self) -> None:
        g = self.geometry
        self.sums = [[Variable(self.f, g.dtype, g.lanes) for _ in range(self.vectors)] for _ in self.offsets]
        inside = ", ".join(f"i1 {str(k < g.filters % g.lanes).lower()}" for k in range(g.lanes))
        self.masks = [Value(self.f, f"<{inside}>", "bool", g.lanes) if self.masked and v == self.vectors - 1 else None for v in range(self.vectors)]

    def row(self, pointer: Value, place: int) -> list[Value]:
        """The vectors of filters from this place on."""
        g = self.geometry
        return [self.f.load(pointer, place + v * g.lanes, g.dtype, g.lanes, mask) for v, mask in enumerate(self.masks)]

    def multiply(self, x: Value, place: int, row: Sequence[Value]) -> None:
        """sums[p][v] += x[place + offsets[p]]·row[v]"""
        g = self.geometry
        for offset, sums in zip(self.offsets, self.sums, strict=True):
            number = self.f.splat(self.f.load(x, place + offset, g.dtype), g.lanes)
            for total, vector in zip(sums, row, strict=True):
                total.set(self.f.fma(number, vector, total.get()))

    def begin(self, rows: Iterator[list[Value]] | None = None) -> None:
        """From 0, or from what stands in these rows."""
        g = self.geometry
        for sums in self.sums:
            row = next(rows) if rows else [self.f.constant(0.0, g.dtype, g.lanes)] * self.vectors
            for total, x in zip(sums, row, strict=True):
                total.set(x)

    def store(self, pointer: Value, places: list[int]) -> None:
        for place, sums in zip(places, self.sums, strict=True):
            for v, (total, mask) in enumerate(zip(sums, self.masks, strict=True)):
                self.f.store(pointer, place + v * self.geometry.lanes, total.get(), mask)


@dataclass(frozen=True)
class Convolve:
    """void(table), the table as in WORDS. w: [vector][u, v, c][lane], 0 beyond the last filter. height: of y, done in multiples of `rows`."""

    geometry: Geometry
    height: int
    bias: bool

    @property
    def rows(self) -> int:
        """How many rows of y are done at once, for they are short."""
        return divisor(self.height, self.geometry.numbers // self.geometry.columns)

    def function(self, name: str) -> Function:
        g, f, high = self.geometry, Function(name, ["ptr"]), self.rows
        words = {key: f.word(i) for i, key in enumerate(WORDS)}
        x, w, b, y = (f.pointer(words[key]) for key in "xwby")
        down, across = g.strides[0] * g.row, g.strides[1] * g.channels
        with f.loop(0, words["images"], words["group"]) as start:
            stop = f.intrinsic("smin", start + words["group"], words["images"])
            for first, count, vectors, masked in g.blocks:
                with f.loop(first, first + count * vectors, vectors) as block, f.loop(start, stop) as n, f.loop(0, words["rows"], high) as i:
                    image = f.at(x, n * words["x_image"] + i * down, g.dtype)
                    result = f.at(y, n * words["y_image"] + i * (g.columns * g.filters) + block * g.lanes, g.dtype)
                    kernel = f.at(w, block * (g.depth * g.lanes), g.dtype)
                    for column, parts, wide in split(g.columns, g.numbers // high):
                        pixels = [(a, b) for a in range(high) for b in range(wide)]
                        with f.loop(column, column + parts * wide, wide) as j:
                            sums = _Block(f, g, [a * down + b * across for a, b in pixels], vectors, masked)
                            sums.begin(sums.row(f.at(b, block * g.lanes, g.dtype), 0) for _ in pixels) if self.bias else sums.begin()
                            self.window(f, sums, f.at(image, j * across, g.dtype), kernel)
                            sums.store(f.at(result, j * g.filters, g.dtype), [(a * g.columns + b) * g.filters for a, b in pixels])
        f.done()
        return f

    def window(self, f: Function, sums: _Block, x: Value, w: Value) -> None:
        g = self.geometry
        with f.loop(0, g.size[0]) as u:
            for run, seen, kept in g.runs:
                image = f.at(x, u * (g.dilations[0] * g.row) + seen, g.dtype)
                kernel = f.at(w, (u * (g.size[1] * g.channels) + kept) * g.lanes, g.dtype)
                step = divisor(run, UNROLL)
                with f.loop(0, run, step) as c:
                    here, there = f.at(image, c, g.dtype), f.at(kernel, c * g.lanes, g.dtype)
                    for k in range(step):
                        sums.multiply(here, k, [f.load(there, (v * g.depth + k) * g.lanes, g.dtype, g.lanes) for v in range(sums.vectors)])


@dataclass(frozen=True)
class ConvolveWeights:
    """void(table), the table as in WORDS. w: [u, v, c][filter]"""

    geometry: Geometry

    def function(self, name: str) -> Function:
        g, f = self.geometry, Function(name, ["ptr"])
        words = {key: f.word(i) for i, key in enumerate(WORDS)}
        x, w, y = (f.pointer(words[key]) for key in "xwy")
        with f.loop(0, g.depth * g.filters) as k:
            f.store(w, k, f.constant(0.0, g.dtype))
        tall = g.size[1] * g.channels  # numbers of w in a row of the window
        with f.loop(0, words["images"], words["group"]) as begin:
            stop = f.intrinsic("smin", begin + words["group"], words["images"])
            for first, count, vectors, masked in g.blocks:
                with f.loop(first, first + count * vectors, vectors) as block:
                    for run, seen, kept in g.runs:
                        high = divisor(g.size[0], g.numbers // run)
                        for start, parts, wide in split(run, g.numbers // high):
                            taps = [(a, b) for a in range(high) for b in range(wide)]
                            with f.loop(0, g.size[0], high) as u, f.loop(start, start + parts * wide, wide) as c:
                                sums = _Block(f, g, [a * g.dilations[0] * g.row + b for a, b in taps], vectors, masked)
                                place = f.at(w, (u * tall + kept + c) * g.filters + block * g.lanes, g.dtype)
                                places = [(a * tall + b) * g.filters for a, b in taps]
                                sums.begin(sums.row(place, at) for at in places)
                                with f.loop(begin, stop) as n:
                                    image = f.at(x, n * words["x_image"] + u * (g.dilations[0] * g.row) + seen + c, g.dtype)
                                    self.pixels(f, sums, image, f.at(y, n * words["y_image"] + block * g.lanes, g.dtype), words["rows"])
                                sums.store(place, places)
        f.done()
        return f

    def pixels(self, f: Function, sums: _Block, x: Value, y: Value, rows: Value) -> None:
        g = self.geometry
        step = divisor(g.columns, UNROLL)
        with f.loop(0, rows) as i, f.loop(0, g.columns, step) as j:
            here = f.at(x, i * (g.strides[0] * g.row) + j * (g.strides[1] * g.channels), g.dtype)
            there = f.at(y, (i * g.columns + j) * g.filters, g.dtype)
            for k in range(step):
                sums.multiply(here, k * g.strides[1] * g.channels, sums.row(there, k * g.filters))
