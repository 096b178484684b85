"""cells: a convolution whose image is pooled has the places of a pool's window as columns of its product, never as an image.

    y (n, p, d, q, e, f)  →  (n, p, q), (d, e), f      as rows, cells and filters:  rows hold the windows of the pool

What is elementwise between the convolution and the pool, forwards and backwards, does not mind the order; the pool and its gradient
then take whole stretches of a row, where the pixels of an image are short runs with gaps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from backends.numpy.bands import ROWS, Bands, Blocks, Sizes, plain
from backends.program.abstract import Spec
from backends.program.passes import ELEMENTWISE
from backends.program.program import Instruction, Program, Ref

GAPS = 1000  # multiplications that take as long, for each place, as a pool and its gradient on the pixels of an image


def cells(program: Program) -> Program:
    """The program with such images in cells, and all convolutions in the blocks of `bands`."""
    w = Cells(program)
    for i in program.body:
        if i.name == "windows" and i.args[0] not in w.families:
            w.find(i)
    for i in program.body:
        y = w.rewritten(i)
        if y is None:
            w.keep(replace(i, args=tuple(map(w.now, i.args))))
        else:
            w.renamed[i.outs[0]] = y
    return w.done()


def tile(windows: Sizes, whole: Sizes, static: dict[str, Any]) -> Sizes | None:
    """The size of windows that cover an image, side by side."""
    rank = len(static["strides"])
    counts, sizes = windows[1 : 1 + rank], windows[1 + rank : -1]
    covers = all(o * k == n for o, k, n in zip(counts, sizes, whole[1:-1], strict=True))
    return sizes if covers and sizes == tuple(static["strides"]) and set(static["dilations"]) == {1} and math.prod(sizes) > 1 else None


@dataclass
class Family:
    """The images between a convolution and the pools that read them."""

    cell: Sizes
    images: set[Ref]
    pools: list[Instruction]
    blocks: Blocks
    view: Instruction  # the windows of the convolution

    @property
    def shape(self) -> Sizes:
        """Of an image in cells."""
        return self.blocks.matrix[0], math.prod(self.cell), math.prod(self.blocks.groups), self.blocks.f

    @property
    def pooled(self) -> Sizes:
        return self.shape[0], *self.shape[2:]


class Cells(Bands):
    """The new body."""

    def __init__(self, program: Program):
        super().__init__(program)
        self.families: dict[Ref, Family] = {}  # of images
        self.pools: dict[Ref, Family] = {}  # of the windows of a pool
        self.entries: dict[Ref, Family] = {}  # of what has the shape of a pool's result, and is computed in cells
        self.laid: dict[Ref, Ref] = {}  # what is in cells: image, entry → the new value

    # ------------------------------------------------------------------------------------------------- what is found

    def find(self, pool: Instruction) -> None:
        """The images that a pool reads and all they are joined with by elementwise functions, if cells are of use there."""
        whole = self.values[pool.args[0]].shape
        cell = tile(self.values[pool.outs[0]].shape, whole, pool.static)
        found = self.images(pool.args[0], cell) if cell is not None else None
        if cell is None or found is None:
            return
        images, pools, product = found
        view = self.windows_of(product.args[0])
        assert view is not None
        start = plain(self.values[view.outs[0]].shape, view.static["strides"], whole[-1])
        blocks = min(replace(start, b=cell, cell=cell).choices(), key=lambda s: s.cost + GAPS / s.groups[-1])
        if blocks.matrix[0] < ROWS or blocks.cost + GAPS / blocks.groups[-1] > min(s.cost for s in start.choices()) + GAPS:
            return
        family = Family(cell, images, pools, blocks, view)
        self.families.update(dict.fromkeys(images, family))
        self.pools.update(dict.fromkeys((i.outs[0] for i in pools), family))
        self.entries.update(dict.fromkeys(self.joined(j.outs[0] for i in pools for j in self.readers[i.outs[0]] if j is not None), family))

    def images(self, first: Ref, cell: Sizes) -> tuple[set[Ref], list[Instruction], Instruction] | None:
        """(images, pools, the product of the convolution) around an image; None where one of them is made or read in another way."""
        whole = self.values[first].shape
        shapes = whole, (math.prod(whole[:-1]), whole[-1])
        images: set[Ref] = set()
        pools: list[Instruction] = []
        products: list[Instruction] = []
        gradients: list[Instruction] = []
        todo = [first]
        while todo:
            x = todo.pop()
            made = self.old.get(x)
            if x in images:
                continue
            if made is None or self.values[x].shape not in shapes:
                return None
            images.add(x)
            if made.name in ELEMENTWISE or made.name == "reshape":
                todo += [r for r in made.reads if made.name == "reshape" or self.values[r].shape not in ((), whole[-1:])]
            elif made.name == "matmul":
                products.append(made)
            elif made.name != "full" and not (made.name == "interleaved" and made.static["cell"] == cell):
                return None
            for i in self.readers[x]:
                if i is None:
                    return None
                if i.name in ELEMENTWISE or i.name == "reshape":
                    todo.append(i.outs[0])
                elif i.name == "windows" and tile(self.values[i.outs[0]].shape, whole, i.static) == cell and all(self.of_pool(j) for j in self.readers[i.outs[0]]):
                    pools.append(i)
                elif i.name == "matmul":
                    gradients.append(i)
                elif i.name != "sum" or i.static["axis"] != tuple(range(len(self.values[x].shape) - 1)) or self.values[i.outs[0]] != Spec(whole[-1:], self.values[x].dtype):
                    return None
        return (images, pools, products[0]) if len(products) == 1 and self.of_one(products[0], gradients, images) else None

    def of_pool(self, i: Instruction | None) -> bool:
        """Whether windows are read as a pool and its gradient do: their largest entries, or one entry of each."""
        if i is None or i.name not in ("max", "get_item"):
            return False
        rank = len(self.values[i.args[0]].shape) // 2 - 1
        if i.name == "max":
            return i.static["axis"] == tuple(range(1 + rank, 1 + 2 * rank)) and not i.static.get("keepdims")
        key = i.static["key"]
        lead = (slice(None),) * (1 + rank)
        return not i.args[1] and len(key) == 2 + 2 * rank and (key[: 1 + rank], key[-1:]) == (lead, lead[:1]) and all(type(q) is int for q in key[1 + rank : -1])

    def of_one(self, product: Instruction, gradients: Iterable[Instruction], images: set[Ref]) -> bool:
        """Whether a product X·w is that of a convolution, and the others are Xᵀ·dy and dy·wᵀ."""
        view = self.windows_of(product.args[0])
        if view is None or not self.only_multiplied(product.args[0]) or set(view.static["dilations"]) != {1} or self.values[product.outs[0]].dtype not in ("float32", "float64"):
            return False
        for i in gradients:
            of_kernel = i.args[1] in images and i.args[0] not in images and self.source(i.args[0], "permute_dims") == product.args[0]
            spread = [self.spread_product(k) for j in self.readers[i.outs[0]] if j is not None for k in self.readers[j.outs[0]] if k is not None and k.name == "fold"]
            of_image = spread == [i] and self.source(i.args[1], "permute_dims") == product.args[1] and i.args[1] not in images
            shapes = {self.values[j.outs[0]].shape for j in self.readers[i.outs[0]] if j is not None}
            if not of_kernel and not (of_image and shapes == {self.values[view.outs[0]].shape}):
                return False
        return True

    def joined(self, first: Iterable[Ref]) -> set[Ref]:
        """The entries of pools and what elementwise functions make of them, of the same shape."""
        found: set[Ref] = set()
        todo = list(first)
        while todo:
            x = todo.pop()
            found.add(x)
            shape = self.values[x].shape
            for i in self.readers.get(x, ()):
                alike = i is not None and i.name in ELEMENTWISE and all(self.values[r].shape in (shape, shape[-1:], ()) for r in (*i.reads, *i.outs))
                if alike and i is not None and self.values[i.outs[0]].shape == shape and i.outs[0] not in found:
                    todo.append(i.outs[0])
        return found

    # ------------------------------------------------------------------------------------------------- what is written

    def rewritten(self, i: Instruction) -> Ref | None:
        out = i.outs[0] if i.outs else None
        if out in self.families:
            self.laid[out] = self.image(i, self.families[out])
            return self.laid[out]
        if out in self.pools:
            return self.laid[i.args[0]]
        if out in self.entries:
            self.laid[out] = self.entry(i, self.entries[out])
            return self.reshaped(i, self.laid[out], self.values[out].shape)
        x = next((r for r in i.reads if r in self.families), None)
        if x is not None and i.name == "sum":
            return self.add(i, "sum", (self.laid[x],), {**i.static, "axis": (0, 1, 2), "keepdims": False}, self.values[i.outs[0]])
        if x is not None and i.name == "matmul" and i.args[1] == x:
            return self.kernel_gradient(i, self.families[x].view, self.laid[x], self.families[x].blocks)
        product = self.spread_product(i)
        if product is not None and product.args[0] in self.families:
            return self.image_gradient(i, product, self.laid[product.args[0]], self.families[product.args[0]].blocks)
        return super().rewritten(i)

    def image(self, i: Instruction, family: Family) -> Ref:
        """An image of the family in cells."""
        spec = Spec(family.shape, self.values[i.outs[0]].dtype)
        if i.name == "reshape":
            return self.laid[i.args[0]]
        if i.name == "full":
            return self.add(i, "full", i.args, {**i.static, "shape": spec.shape}, spec)
        if i.name == "matmul":
            return self.reshaped(i, self.product(i, family.view, family.blocks), spec.shape)
        if i.name == "interleaved":
            parts = [self.reshaped(i, self.laid.get(x, self.now(x)), (*spec.shape[:1], 1, *spec.shape[2:])) for x in map(self.unshaped, i.args[0])]
            return self.add(i, "concat", (parts,), {"axis": 1}, spec)
        return self.add(i, i.name, tuple(self.laid.get(x, self.now(x)) if type(x) is Ref else x for x in i.args), i.static, spec)

    def entry(self, i: Instruction, family: Family) -> Ref:
        """What has the shape of a pool's result, in cells."""
        spec = Spec(family.pooled, self.values[i.outs[0]].dtype)
        if i.args[0] in self.pools:
            x = self.laid[self.old[i.args[0]].args[0]]
            if i.name == "max":
                return self.add(i, "max", (x,), {"axis": (1,), "keepdims": False}, spec)
            place = list(itertools.product(*map(range, family.cell))).index(i.static["key"][1 + len(family.cell) : -1])
            return self.add(i, "get_item", (x, []), {"key": (slice(None), place, slice(None), slice(None))}, spec)
        whole = self.values[i.outs[0]].shape
        args = [self.reshaped(i, self.laid.get(x, self.now(x)), spec.shape) if type(x) is Ref and self.values[x].shape == whole else self.now(x) for x in i.args]
        return self.add(i, i.name, tuple(args), i.static, spec)

    def unshaped(self, x: Ref) -> Ref:
        """What a reshape is a view of, where that is in cells."""
        y = x
        while y not in self.laid and self.source(y, "reshape") is not None:
            y = self.source(y, "reshape")
        return y if y in self.laid else x
