"""Steps → each thread's share of each step, and the tables that the kernels read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from backends.native import beside, blocked, convolution, gemm, small, winograd
from backends.native.beside import Beside
from backends.native.blas import Blas
from backends.native.blocked import Blocked
from backends.native.convolution import Convolve, ConvolveWeights
from backends.native.emit import SIZE
from backends.native.fuse import fuse
from backends.native.gemm import Gemm
from backends.native.groups import encoded
from backends.native.host import Host
from backends.native.loops import SHORT, Loop, Operand
from backends.native.memory import LINE, Home, Memory
from backends.native.operations import LONG, REDUCTIONS
from backends.native.philox import Philox
from backends.native.repeat import Repeat
from backends.native.small import Small
from backends.native.steps import ByNumPy, Convolution, Direct, Fused, Group, Product, RandomBits, Running, Scan, Use, layout
from backends.program.program import Program

KERNELS: dict[type, Any] = {Small: small, Blocked: blocked, Gemm: gemm}  # of products
WORTH = 1 << 14  # elements, of a group of few operations, from which it is shared among threads: of fewer, what lies in the cache of another core costs more


@dataclass(frozen=True)
class Box:
    """What a part touches in one home: `count` runs of bytes, a stride apart."""

    home: tuple[str, int]
    start: int
    run: int
    count: int
    stride: int
    writes: bool

    def meets(self, other: Box) -> bool:
        if self.home != other.home or not (self.writes or other.writes):
            return False
        gap = other.start - self.start
        if gap >= self.run + (self.count - 1) * self.stride or -gap >= other.run + (other.count - 1) * other.stride:
            return False
        if self.count > 1 and other.count > 1 and self.stride == other.stride:  # columns side by side
            return not self.run <= gap % self.stride <= self.stride - other.run
        return True


@dataclass
class Entry:
    """A kernel with its table: words, or (home, offset in bytes) for those that are addresses."""

    kernel: Any
    words: list[Any]
    boxes: list[Box]
    inner: list[Entry] = field(default_factory=list)  # the list of a Repeat; words of its table may be the address of it, or of words of these


class Plan(Memory):
    """phases: for each thread its entries, between one barrier and the next."""

    def __init__(self, program: Program, blas: Blas, threads: int, worth: int = WORTH):
        super().__init__(program, threads)
        self.blas, self.threads, self.worth = blas, threads, worth
        self.phases: list[list[list[Entry]]] = [[[] for _ in range(threads)]]
        self.since: dict[Any, list[list[Box]]] = {}  # home → what each thread has touched there since the last barrier
        self.flagged = False
        self.store()
        fuse(self)
        self.sort()
        self.place()
        for step in self.grouping.steps:
            if isinstance(step, Convolution):
                winograd.schedule(self, step)
            else:
                self.schedule(self.group(step) if isinstance(step, Group) else self.others[type(step)](self, step))

    # order

    def schedule(self, parts: list[list[Entry]]) -> None:
        """Append what each thread does, after a barrier where one would meet what another has written, or write what it has read."""
        boxes = [(t, box) for t, entries in enumerate(parts) for entry in entries for box in entry.boxes]
        if any(box.meets(other) for t, box in boxes for u, others in enumerate(self.since.get(box.home, ())) if u != t for other in others):
            self.barrier()
        for t, entries in enumerate(parts):
            self.phases[-1][t] += entries
        for t, box in boxes:
            self.since.setdefault(box.home, [[] for _ in range(self.threads)])[t].append(box)

    def barrier(self) -> None:
        self.phases.append([[] for _ in range(self.threads)])
        self.since = {}

    def alone(self, entries: list[Entry]) -> list[list[Entry]]:
        return [entries, *([] for _ in range(self.threads - 1))]

    # loops

    def group(self, g: Group) -> list[list[Entry]]:
        shape, uses = self.collapsed(g)
        axis, cuts = self.cuts(g, shape, uses)
        return self.shared(g, shape, uses, axis, cuts, self.loop(g, shape, uses, cut=axis if len(cuts) > 1 else None))

    def fused(self, f: Fused) -> list[list[Entry]]:
        p, shape = f.product, [*f.product.c.shape[1:]]
        parts = [part for _, part in self.parts(p)]
        axis = int(parts[0].rows == parts[-1].rows)
        loop = self.loop(f.group, shape, f.uses, cut=1)
        of_product = [use.root for use in f.uses].index(p.out)

        def with_product(entry: Entry, t: int) -> Entry:
            product = self.multiplied(p, t, (0, 1), parts[t])
            return Entry(replace(product.kernel, then=(loop, of_product)), product.words + entry.words, product.boxes + entry.boxes)

        return self.shared(f.group, shape, f.uses, axis, [(part.rows, part.columns)[axis] for part in parts], loop, with_product)

    def shared(
        self, g: Group, shape: list[int], uses: list[Use], axis: int, cuts: list[tuple[int, int]], loop: Loop,
        made: Callable[[Entry, int], Entry] = lambda entry, t: entry,
    ) -> list[list[Entry]]:  # fmt: skip
        """A group, of which each thread does its cut of this axis."""
        summed = [(u, uses[u]) for u, _ in g.sinks if uses[u].how]
        parts: list[list[Entry]] = []
        partial: list[tuple[Use, int]] = []
        for t, (start, stop) in enumerate(cuts):
            entries: list[Entry] = []
            mine = list(uses)
            lengths = [stop - start if a == axis else n for a, n in enumerate(shape)]
            places: dict[int, tuple[Home, int]] = {}
            if start < stop:
                mine = [use._replace(offset=use.offset + start * use.strides[axis]) for use in uses]
                for u, use in summed:
                    if t and axis in use.shared:
                        home = Home("arena", self.room(self.grouping.bases[use.root].nbytes))
                        places[u] = home, 0
                        partial.append((use, home.place))
                    entries.append(self.fill(mine[u], lengths, places.get(u), axis))
                entries.append(made(self.entry(loop, mine, lengths, places, {u for u, _ in g.sinks}, t), t))
            parts.append(entries)
        parts += [[] for _ in range(self.threads - len(parts))]
        if partial:
            self.schedule(parts)
            parts = self.alone([self.added(use, place) for use, place in partial])
        return parts

    def collapsed(self, g: Group) -> tuple[list[int], list[Use]]:
        """The shape and the uses with axes put together where all uses have them behind one another."""
        shape: list[int] = []
        kept: list[int] = []  # the axis of the group that each axis left is the last of
        merged: list[list[int]] = []
        for a, n in enumerate(g.shape):
            shared = {use.shared & {a, a - 1} for use in g.uses if use.shared}
            if a and a != g.row and all(use.strides[a - 1] == use.strides[a] * n for use in g.uses) and all(len(both) != 1 for both in shared):
                shape[-1] *= n
                kept[-1] = a
                merged[-1].append(a)
            else:
                shape.append(n)
                kept.append(a)
                merged.append([a])
        if not shape:
            return [1], [use._replace(strides=(0,)) for use in g.uses]
        return shape, [
            use._replace(strides=tuple([use.strides[a] for a in kept]), shared=frozenset([i for i, axes in enumerate(merged) if not use.shared.isdisjoint(axes)]))
            for use in g.uses
        ]

    def cuts(self, g: Group, shape: list[int], uses: list[Use]) -> tuple[int, list[tuple[int, int]]]:
        """(axis, the part of it that each thread does); one part where the work is little."""
        cost = 1 + 4 * sum(node[0] in LONG for node in g.nodes)
        last = len(shape) - 1
        whole = (0, [(0, shape[0])])
        if self.threads == 1 or math.prod(shape) * cost < 2 * self.worth:
            return whole
        summed = [use for u, _ in g.sinks if (use := uses[u]).how]
        free = [a for a in range(len(shape)) if (a < last or g.row is None) and all(a not in use.shared for use in summed)]
        if any(use.strides[a] for use in summed for a in use.shared):  # windows, which are cut between images alone
            free = [a for a in free if a == 0]
        unit = self.rows(g, shape)
        plain = all(not any(use.strides[a] for a in use.shared) and use.index is None and use.how != "prod" for use in summed)
        shared = (last > 0 or g.row is None) and plain and shape[0] >= 4 * self.threads
        for a in free:
            if a == last > 0 and shape[a] <= SHORT and shared:  # a row so short is better left whole: its sums stay in registers
                break
            step = unit if a == 0 else 16 if a == last else 1
            if shape[a] >= 2 * step * self.threads:
                return a, gemm.shares(shape[a], self.threads, step)
        if shared:
            return 0, gemm.shares(shape[0], self.threads, unit if shape[0] >= 2 * unit * self.threads else 1)
        return whole

    def rows(self, g: Group, shape: list[int]) -> int:
        """The unit in which the slowest axis is cut: 16 rows, as products are."""
        if len(g.shape) > 1 and shape[0] % g.shape[0] == 0 and g.shape[0] >= 32 * self.threads:
            return 16 * (shape[0] // g.shape[0])
        return 16 if len(shape) == 1 else 1

    def loop(self, g: Group, shape: list[int], uses: list[Use], cut: int | None = None) -> Loop:
        last = len(shape) - 1
        operands = []
        for use in uses:
            steps = "".join("0" if t == 0 else "1" if t == 1 and a == last else "s" for a, t in enumerate(use.strides))
            operands.append(Operand(use.dtype, steps, use.index[0] if use.index else None))
        sinks = tuple((u, node, uses[u].how) for u, node in g.sinks)
        row = shape[-1] if (len(shape) > 1 and shape[-1] <= SHORT and cut != last) or shape == [1] else 0
        if 1 < row <= beside.LENGTH and self.side_by_side(g, shape, uses):
            operands = [replace(o, steps=f"{o.steps[:-2]}{1 if use.strides[-2] == 1 else o.steps[-2]}{o.steps[-1]}") for o, use in zip(operands, uses, strict=True)]
            return Beside(tuple(operands), tuple(g.nodes), sinks, row)
        return Loop(tuple(operands), tuple(g.nodes), sinks, row)

    def side_by_side(self, g: Group, shape: list[int], uses: list[Use]) -> bool:
        """Whether rows are reduced, and are many; and all that is added up is so over all of them, in any order."""
        if shape[-2] < 16 or any(use.index or use.how == "prod" for use in uses) or not any(node[0] in REDUCTIONS for node in g.nodes):
            return False
        return all(not any(uses[u].strides[:-1]) if uses[u].how else uses[u].strides[-2] != 0 for u, _ in g.sinks)

    def entry(self, loop: Loop, uses: list[Use], lengths: list[int], places: dict[int, tuple[Home, int]], sunk: set[int], t: int) -> Entry:
        words: list[Any] = []
        scratch = 0
        for key in loop.words:
            what, k, *axis = key if key != "flag" else ("flag", 0)
            if what == "pointer":
                words.append(places.get(k) or self.address(uses[k].root, uses[k].offset))
            elif what == "size":
                words.append(lengths[k])
            elif what == "stride":
                words.append(uses[k].strides[axis[0]])
            elif what == "flag":
                self.flagged = True
                words.append((Home("flag", 0), 0))
            elif what == "scratch":
                words.append((Home("scratch", t), scratch))
                scratch += -(-lengths[-1] * 8 // LINE) * LINE
            else:
                words.append(uses[k].index[1 if what == "index stride" else 2])  # type: ignore[index]
        self.scratch[t] = max(self.scratch[t], scratch)
        boxes = []
        for u, use in enumerate(uses):
            if use.index is not None:  # anywhere
                home, size = self.homes[use.root], self.grouping.bases[use.root].nbytes
                boxes.append(Box((home.kind, home.place), 0, size, 1, 0, u in sunk) if home.kind != "arena" else Box(("arena", 0), home.place, size, 1, 0, u in sunk))
            else:
                boxes.append(self.box(places.get(u) or self.address(use.root, use.offset), SIZE[use.dtype], zip(lengths, use.strides, strict=True), u in sunk))
        return Entry(loop, words, boxes)

    def box(self, address: tuple[Home, int], size: int, axes: Iterable[tuple[int, int]], writes: bool) -> Box:
        home, start = address
        pairs = [(t * size, n) for n, t in axes if n > 1 and t]
        start += sum([(n - 1) * t for t, n in pairs if t < 0])
        run = size
        apart: list[tuple[int, int]] = []
        for t, n in sorted([(abs(t), n) for t, n in pairs]):
            if t <= run and not apart:
                run += (n - 1) * t
            else:
                apart.append((n, t))
        if len(apart) > 1:
            run, apart = run + sum((n - 1) * t for n, t in apart), []
        count, stride = apart[0] if apart else (1, 0)
        if home.kind == "arena":
            return Box(("arena", 0), home.place + start, run, count, stride, writes)
        return Box((home.kind, home.place), start, run, count, stride, writes)

    def bare(self, kernel: Any, words: list[Any]) -> Entry:
        return Entry(kernel, words, [])

    def whole(self, root: int, writes: bool) -> Box:
        """All of a root."""
        return self.box(self.address(root, 0), 1, [(self.grouping.bases[root].nbytes, 1)], writes)

    def transposed(self, source: int, target: int, shape: tuple[int, int, int]) -> list[list[Entry]]:
        """target[i, j, k] ← source[i, k, j]."""
        _, rows, columns = shape
        dtype, each = self.grouping.dtypes[source], rows * columns
        uses = [Use(source, dtype, 0, (each, 1, rows)), Use(target, dtype, 0, (each, columns, 1))]
        return self.group(Group(shape, None, uses, [("load", dtype, 0)], [(1, 0)]))

    def fill(self, use: Use, lengths: list[int], place: tuple[Home, int] | None, axis: int) -> Entry:
        """What changes nothing, where a part adds up."""
        name = str(use.how)
        if any(use.strides[a] for a in use.shared):  # windows: the part of the slowest axis, whole
            whole = self.grouping.bases[use.root]
            span = use.strides[0] * lengths[0] if 0 not in use.shared and use.strides[0] else whole.size
            axes = [(span, 1)]
        else:
            axes = [(n, t) for a, (n, t) in enumerate(zip(lengths, use.strides, strict=True)) if t and n > 1]
            axes = ([(use.index[2], use.index[1])] if use.index else []) + axes
        g = Group(tuple(n for n, _ in axes), None, [Use(use.root, use.dtype, use.offset, tuple(t for _, t in axes))])
        g.add("const", use.dtype, encoded(REDUCTIONS[name][1](use.dtype), use.dtype))
        g.sinks.append((0, 0))
        shape, uses = self.collapsed(g)
        return self.entry(self.loop(g, shape, uses), uses, shape, {0: place} if place else {}, {0}, 0)

    def added(self, use: Use, place: int) -> Entry:
        """What another thread has added up, added to the result."""
        size = self.grouping.bases[use.root].size
        uses = [Use(use.root, use.dtype, 0, (1 if size > 1 else 0,))] * 2
        g = Group((size,), None, uses, [("load", use.dtype, 0)], [(1, 0)])
        loop = self.loop(g, [size], [uses[0], uses[1]._replace(how=use.how)])
        return self.entry(loop, uses, [size], {0: (Home("arena", place), 0)}, {1}, 0)

    # products

    def parts(self, p: Product) -> list[tuple[tuple[int, int], gemm.Part]]:
        """For each thread its products of the stack, and its part of each."""
        batch, m, n = p.c.shape
        k = p.a.shape[-1]
        if batch > 1 and batch >= self.threads and batch * m * n * k >= 1 << 17:
            return [(share, gemm.Part((0, m), (0, n), (0, k))) for share in gemm.shares(batch, self.threads)]
        return [((0, batch), part) for part in gemm.parts(m, n, k, self.threads if batch == 1 else 1)]

    def product(self, p: Product) -> list[list[Entry]]:
        entries, partial = [], []
        dtype = self.grouping.dtypes[p.out]
        for t, (share, part) in enumerate(self.parts(p)):
            target = None
            if t and part.depth[0]:
                target = Home("arena", self.room(p.c.nbytes))
                partial.append((Use(p.out, dtype, 0, (), None, "sum"), target.place))
            entries.append([self.multiplied(p, t, share, part, target)] if share[0] < share[1] and all(s < e for s, e in (part.rows, part.columns)) else [])
        entries += [[] for _ in range(self.threads - len(entries))]
        if partial:
            self.schedule(entries)
            entries = self.alone([self.added(use, place) for use, place in partial])
        return entries

    def random(self, r: RandomBits) -> list[list[Entry]]:
        """Blocks of four words, in vectors of blocks."""
        g = self.grouping
        count, kernel = g.bases[r.out].size, Philox(g.dtypes[r.step[0]] if isinstance(r.step, tuple) else "")
        blocks, unit = -(-count // 4), kernel.lanes
        step = self.address(*r.step) if isinstance(r.step, tuple) else r.step
        parts: list[list[Entry]] = []
        for start, stop in gemm.shares(blocks, self.threads if count >= self.worth else 1, unit):
            wrote = self.box(self.address(r.out, 4 * start), 4, [(min(4 * stop, count) - 4 * start, 1)], True)
            words = [self.address(r.out, 4 * start), start, min(4 * stop, count) - 4 * start, step, *r.key, r.draw]
            parts.append([Entry(kernel, words, [wrote, *(self.whole(root, False) for root in r.reads)])] if start < stop else [])
        return parts + [[] for _ in range(self.threads - len(parts))]

    def multiplied(self, p: Product, t: int, share: tuple[int, int], part: gemm.Part, target: Home | None = None) -> Entry:
        dtype = self.grouping.dtypes[p.out]
        size = SIZE[dtype]
        (m0, m1), (n0, n1), (k0, k1) = part.rows, part.columns, part.depth
        rows, depth = gemm.blocks(m1 - m0, n1 - n0, k1 - k0)
        words: dict[str, Any] = {"gemm": self.blas.gemm(dtype), "m": m1 - m0, "n": n1 - n0, "k": k1 - k0, "rows": rows, "depth": depth, "accumulate": 0}
        words |= {"batch": share[1] - share[0], "columns": small.columns(dtype, k1 - k0)}
        boxes = []
        for name, root, sample, (r0, r1), (c0, c1) in (("a", p.a_root, p.a, part.rows, part.depth), ("b", p.b_root, p.b, part.depth, part.columns), ("c", p.out, p.c, part.rows, part.columns)):
            transposed, lead = layout(sample) or (False, 0)
            row, column = (1, lead) if transposed else (lead, 1)
            step = sample.strides[0] // size if len(sample) > 1 else 0
            offset = (sample.__array_interface__["data"][0] - self.grouping.bases[root].__array_interface__["data"][0]) // size + share[0] * step + r0 * row + c0 * column
            address = (target, 0) if name == "c" and target else self.address(root, offset)
            words |= {name: address, f"ld{name}": lead, f"{name}_batch": step, f"transpose_{name}": gemm.TRANSPOSED if transposed else gemm.PLAIN}
            words |= {f"{name}_row": row, f"{name}_column": column}
            boxes.append(self.box(address, size, [(words["batch"], step), (r1 - r0, row), (c1 - c0, column)], name == "c"))
        kernel, m, n, k = self.kernel(p, part), words["m"], words["n"], words["k"]
        if isinstance(kernel, Blocked):
            words["rows"], words["depth"] = blocked.blocks(m, k, dtype)
            words["packed_a"], words["packed_b"] = self.borrowed(t, [size * elements for elements in blocked.room(m, n, k, dtype)])
        return Entry(kernel, [words[key] for key in KERNELS[type(kernel)].WORDS], boxes)

    def kernel(self, p: Product, part: gemm.Part) -> Small | Blocked | Gemm:
        """The fastest for this part of a product."""
        dtype, (m, n, k) = self.grouping.dtypes[p.out], (stop - start for start, stop in (part.rows, part.columns, part.depth))
        (turned_a, _), (turned_b, _) = (layout(sample) or (False, 0) for sample in (p.a, p.b))
        if small.suits(dtype, m, n, k, not turned_a, turned_b):
            return small.kernel(dtype, m, k, turned_b)
        return Blocked(dtype) if blocked.suits(dtype, m, n, k, turned_b) else Gemm(dtype, self.blas.bits)

    def products(self, dtype: str, batch: int, sizes: tuple[int, int, int], places: tuple[Any, Any, Any], accumulate: bool, transposed: bool = False) -> Entry:
        """c[i] ← a[i]·b[i] (m, n, k) one behind the other at these places; or a[i]ᵀ·b[i]."""
        m, n, k = sizes
        words: dict[str, Any] = {
            "gemm": self.blas.gemm(dtype), **dict(zip("abc", places, strict=True)), "m": m, "n": n, "k": k, "rows": m, "depth": k,
            "transpose_a": gemm.TRANSPOSED if transposed else gemm.PLAIN, "transpose_b": gemm.PLAIN, "lda": m if transposed else k, "ldb": n, "ldc": n,
            "a_row": 1, "a_column": 1, "b_row": n, "batch": batch, "a_batch": m * k, "b_batch": k * n, "c_batch": m * n, "accumulate": int(accumulate),
        }  # fmt: skip
        if not accumulate and m * n * k > 10**6 and n * k <= 1 << 16 and small.suits(dtype, m, n, k, not transposed, False):  # larger ones miss the cache each time
            words |= {"a_row": 1 if transposed else k, "a_column": m if transposed else 1, "b_column": 1, "c_row": n, "columns": small.columns(dtype, k)}
            return self.bare(small.kernel(dtype, m, k, False), [words[key] for key in small.WORDS])
        return self.bare(Gemm(dtype, self.blas.bits), [words[key] for key in gemm.WORDS])

    # convolutions

    def direct(self, c: Direct) -> list[list[Entry]]:
        """Each thread does some of the images, or some rows of each."""
        (_, y), g = c.places["y"], c.kernel.geometry
        images, rows = y.shape[:2]
        unit = c.kernel.rows if isinstance(c.kernel, Convolve) else 1
        threads = self.threads if y.size * g.depth >= 1 << 17 else 1
        if images % threads == 0 or images >= 8 * threads:
            parts = [(share, (0, rows)) for share in gemm.shares(images, threads)]
        else:
            parts = [((0, images), share) for share in gemm.shares(rows, threads, unit)]
        entries: list[list[Entry]] = []
        partial = []
        for t, ((i0, i1), (r0, r1)) in enumerate(parts):
            target = None
            if i0 == i1 or r0 == r1:
                entries.append([])
                continue
            if t and isinstance(c.kernel, ConvolveWeights):
                target = Home("arena", self.room(self.grouping.bases[c.out].nbytes))
                partial.append((Use(c.out, g.dtype, 0, (), None, "sum"), target.place))
            entries.append([self.convolved(c, (i0, i1), (r0, r1), target)])
        entries += [[] for _ in range(self.threads - len(entries))]
        if partial:
            self.schedule(entries)
            entries = self.alone([self.added(use, place) for use, place in partial])
        return entries

    def convolved(self, c: Direct, images: tuple[int, int], rows: tuple[int, int], target: Home | None) -> Entry:
        g, size = c.kernel.geometry, SIZE[c.kernel.geometry.dtype]
        words: dict[str, Any] = {"b": 0, "images": images[1] - images[0], "rows": rows[1] - rows[0]}
        boxes = []
        seen = (words["rows"] - 1) * g.strides[0] + (g.size[0] - 1) * g.dilations[0] + 1  # rows of x
        for name, (root, sample) in c.places.items():
            offset = (sample.__array_interface__["data"][0] - self.grouping.bases[root].__array_interface__["data"][0]) // size
            axes: list[tuple[int, int]] = [(self.grouping.bases[root].size, 1)]
            if name in "xy":
                step, row = (t // size for t in sample.strides[:2])
                words[f"{name}_image"] = step
                offset += images[0] * step + rows[0] * row * (g.strides[0] if name == "x" else 1)
                axes = [(words["images"], step), (seen if name == "x" else words["rows"], row), (math.prod(sample.shape[2:]), 1)]
            words[name] = (target, 0) if target and name == "w" else self.address(root, offset)
            boxes.append(self.box(words[name], size, axes, root == c.out))
        words["group"] = max(1, convolution.CACHE // (words["rows"] * size * (g.strides[0] * g.row + g.columns * g.filters)))
        return Entry(c.kernel, [words[key] for key in convolution.WORDS], boxes)

    def running(self, r: Running) -> list[list[Entry]]:
        """Each thread does some of the outermost rows."""
        (outer, n, inner), size = r.shape, SIZE[r.kernel.dtype]
        root, offset = r.x
        longer = n + int(r.kernel.initial)
        parts: list[list[Entry]] = []
        for start, stop in gemm.shares(outer, self.threads if outer * n * inner >= self.worth else 1):
            x, y = self.address(root, offset + start * n * inner), self.address(r.out, start * longer * inner)
            boxes = [self.box(x, size, [((stop - start) * n * inner, 1)], False), self.box(y, size, [((stop - start) * longer * inner, 1)], True)]
            parts.append([Entry(r.kernel, [x, y, stop - start, n, inner], boxes)] if start < stop else [])
        return parts + [[] for _ in range(self.threads - len(parts))]

    # others

    def by_numpy(self, h: ByNumPy) -> list[list[Entry]]:
        """Alone: nothing else runs meanwhile."""
        g, i = self.grouping, h.instruction
        places = [*h.places.values(), *((out, 0, g.samples[out]) for out in i.outs)]

        kernel = Host(i, self.program.library, {v: sample for v, (_, _, sample) in h.places.items()}, {out: g.samples[out] for out in i.outs}, self.blas)
        boxes = [self.whole(root, root in i.outs) for root, _, _ in places]
        self.barrier()
        self.schedule(self.alone([Entry(kernel, [self.address(root, offset) for root, offset, _ in places], boxes)]))
        self.barrier()
        return []

    def scan(self, s: Scan) -> list[list[Entry]]:
        """One step planned for one thread, its arrays those of the scan."""
        step = Plan(s.program, self.blas, 1, self.worth)
        size = [SIZE[self.grouping.dtypes[root]] for root, _, _ in s.inputs]
        arrays = [(self.address(root, offset), move * n) for (root, offset, move), n in zip(s.inputs, size, strict=True)]
        arrays += [(self.address(root, 0), self.grouping.bases[root].nbytes // s.count) for root in s.stacked]
        place = {k: k for k in range(len(s.inputs))} | {k: len(s.inputs) + y for y, (k, _) in enumerate(step.results[len(s.carries) :])}
        arena, (scratch,) = self.fixed(step.arena)[0].place, self.borrowed(0, step.scratch)
        moves: list[Any] = []

        def moved(entries: list[Entry], path: tuple[int, ...]) -> list[Entry]:
            """Entries in the words of this plan."""
            for e, entry in enumerate(entries):
                moved(entry.inner, (*path, e))
                for k, word in enumerate(entry.words):
                    home, offset = word if isinstance(word, tuple) else (Home("", 0), 0)
                    if home.kind == "arena":
                        entry.words[k] = Home("arena", arena + home.place), offset
                    elif home.kind == "scratch":
                        entry.words[k] = scratch[0], scratch[1] + offset
                    elif home.kind == "array":
                        (outer, start), move = arrays[place[home.place]]
                        entry.words[k] = outer, start + offset
                        if move:
                            first = (s.count - 1) * move if s.reverse else 0
                            moves.extend([(Home("inner", (*path, e)), k), (outer, start + offset + first), -move if s.reverse else move])
                            entry.words[k] = 0
            return entries

        entries = moved([entry for phase in step.phases for entry in phase[0]], ())
        self.flagged |= step.flagged
        constants = self.grouping.constants  # those of the step are kept as long as these
        constants.update(enumerate(step.grouping.constants.values(), len(self.grouping.shapes) + len(constants)))
        boxes = [self.whole(root, root in s.writes) for root in dict.fromkeys((*s.reads, *s.writes))]
        return self.alone([Entry(Repeat(), [s.count, (Home("list", 0), 0), len(moves) // 3, *moves], boxes, entries)])

    others: ClassVar[dict[Any, Callable[[Plan, Any], list[list[Entry]]]]] = {ByNumPy: by_numpy, Product: product, Fused: fused, Direct: direct, RandomBits: random, Running: running, Scan: scan}
