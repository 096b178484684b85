"""Convolution with 3×3 windows by Winograd's algorithm F(2×2, 3×3): 16 products for 4 results instead of 36.

    y = Aᵀ·[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]·A        for each tile: d 4×4 of the image, g 3×3 the filter, y 2×2 of the result

Summed over channels, ⊙ is 16 products of matrices (tiles × channels)·(channels × filters), done in blocks of tiles that stay in the cache. The
gradient by the image is the same with the filter turned round; by the filter it is Gᵀ·[(A·dy·Aᵀ) ⊙ (Bᵀ·d·B)]·G, summed over the tiles. In
float32 errors are about twice those of the plain sum (measured against float64: 2e-7 to 4e-7 of the largest result, the plain sum 2e-7).
Winograd 1980; Lavin & Gray 2016, "Fast algorithms for convolutional neural networks".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from backends.native.compile import lanes as machine_lanes
from backends.native.emit import SIZE, Function, Value
from backends.native.gemm import shares
from backends.native.steps import Convolution, Use
from backends.program.abstract import Spec
from backends.program.program import Instruction, Program, Ref

LEAST = 512  # channels times filters
MATRICES = {
    "image": ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),  # Bᵀ
    "filter": ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),  # G
    "result": ((1, 1, 1, 0), (0, 1, -1, -1)),  # Aᵀ
    "gradient": ((1, 0), (1, 1), (1, -1), (0, -1)),  # A
    "sum": ((1, 0.5, 0.5, 0), (0, 0.5, -0.5, 0), (0, 0.5, 0.5, 1)),  # Gᵀ
}
WORDS = ("source", "target", "zeros", "count", "channels", "first", "across", "tiles", "height", "width", "before_y", "before_x", "source_plane", "target_plane")


@dataclass(frozen=True)
class Transform:
    """void(table): for each tile and channel L·X·Lᵀ, L one of MATRICES.

    A tile is read from an image ("image", "gradient": zeros outside) or written to one ("result"), `across` of them in a row and `tiles` in an image,
    2 pixels apart from −before on; else its elements lie a plane apart: [element][tile][channel]. turned: the elements come in reverse.
    """

    matrix: str
    dtype: str
    turned: bool = False

    def function(self, name: str) -> Function:
        f, rows = Function(name, ["ptr"]), MATRICES[self.matrix]
        n, lanes = len(rows[0]), 4 * machine_lanes() // SIZE[self.dtype]
        w = {key: f.word(i) for i, key in enumerate(WORDS)}
        source, target, zeros = (f.pointer(w[key]) for key in ("source", "target", "zeros"))
        image = "source" if self.matrix in ("image", "gradient") else "target" if self.matrix == "result" else ""
        with f.loop(0, w["count"]) as t:
            size = n if image == "source" else len(rows)
            pixels = self.pixels(f, w, t, source if image == "source" else target, zeros, size) if image else []
            with f.loop(0, w["channels"], lanes) as c:
                here = t * w["channels"] + c
                x = []
                for e in range(n * n):
                    e = n * n - 1 - e if self.turned else e
                    x.append(f.load(pixels[e], c, self.dtype, lanes) if image == "source" else f.load(source, here + w["source_plane"] * e, self.dtype, lanes))
                half = [[combined(row, [x[i * n + j] for i in range(n)]) for j in range(n)] for row in rows]
                y = [combined(row, line) for line in half for row in rows]
                for e, value in enumerate(y):
                    if image == "target":
                        f.store(pixels[e], c, value)
                    else:
                        f.store(target, here + w["target_plane"] * e, value)
        f.done()
        return f

    def pixels(self, f: Function, w: dict[str, Value], t: Value, image: Value, zeros: Value, size: int) -> list[Value]:
        """The address of each pixel of a tile in the image, or of zeros outside."""
        tile = w["first"] + t
        of_image, place = tile / w["tiles"], tile % w["tiles"]
        found = []
        inside = []
        for axis, at, length in (("y", place / w["across"], w["height"]), ("x", place % w["across"], w["width"])):
            spots = [at * 2 + i - w[f"before_{axis}"] for i in range(size)]
            found.append(spots)
            inside.append([s.ge(0) & s.lt(length) for s in spots])
        pixels = []
        for y, in_y in zip(found[0], inside[0], strict=True):
            row = (of_image * w["height"] + y) * w["width"]
            for x, in_x in zip(found[1], inside[1], strict=True):
                pixels.append(f.select(in_y & in_x, f.at(image, (row + x) * w["channels"], self.dtype), zeros))
        return pixels


def combined(row: tuple[float, ...], values: list[Value]) -> Value:
    """Σ coefficient·value, with no product by 1 and no sum with 0."""
    y = None
    for k, x in zip(row, values, strict=True):
        if k:
            part = x if abs(k) == 1 else x * abs(k)
            y = (part if k > 0 else -part) if y is None else y + part if k > 0 else y - part
    assert y is not None
    return y


# ------------------------------------------------------------------------------------------------- finding them in a Program


def convolved(program: Program) -> Program:
    """matmul(windows 3×3, w) → conv3x3(image, w), its gradients likewise; zeros around the image, and what is cut off its gradient, go in."""
    makers = {out: i for i in program.body for out in i.outs}
    readers: dict[int, int] = {}
    for r in [r for i in program.body for r in i.reads] + [y for y in program.outputs if type(y) is Ref]:
        readers[r] = readers.get(r, 0) + 1

    def made(x: Any, name: str, **static: Any) -> Instruction | None:
        i = makers.get(x) if type(x) is Ref else None
        return i if i is not None and i.name == name and all(i.static.get(key) == value for key, value in static.items()) else None

    def windowed(x: Any) -> tuple[Ref, tuple[int, int], tuple[int, int]] | None:
        """(image, zeros before it, size of the result) where x is a matrix of its 3×3 windows."""
        flat = made(x, "reshape")
        seen = flat and made(flat.args[0], "windows", size=(3, 3), strides=(1, 1), dilations=(1, 1))
        if not seen or len(program.values[x].shape) != 2:
            return None
        shape = program.values[seen.outs[0]].shape
        image, before = seen.args[0], [0, 0]
        while (joined := made(image, "concat")) and joined.static["axis"] in (1, 2):
            parts = joined.args[0]
            full = [k for k, part in enumerate(parts) if not ((zero := made(part, "full")) and zero.args[0] == 0)]
            if len(full) != 1:
                break
            axis = joined.static["axis"]
            before[axis - 1] += sum(program.values[part].shape[axis] for part in parts[: full[0]])
            image = parts[full[0]]
        return image, (before[0], before[1]), (shape[1], shape[2])

    def worth(image: Ref, channels: int, filters: int, size: tuple[int, int]) -> bool:
        lanes = 4 * machine_lanes() // SIZE.get(program.values[image].dtype, 4)
        return (
            program.values[image].dtype in ("float32", "float64") and channels % lanes == 0 and filters % lanes == 0
            and channels * filters >= LEAST and size[0] % 2 == 0 and size[1] % 2 == 0
        )  # fmt: skip

    def conv(i: Instruction, name: str, args: tuple[Any, ...], before: tuple[int, int], size: tuple[int, int], turned: bool) -> Instruction:
        return replace(i, name=name, args=args, static={"before": before, "size": size, "turned": turned})

    body = []
    for i in program.body:
        if i.name == "matmul":
            a, b = i.args
            k = program.values[b].shape[-1]
            if (found := windowed(a)) and worth(found[0], program.values[found[0]].shape[-1], k, found[2]):
                body.append(conv(i, "conv3x3", (found[0], b), *found[1:], False))
                continue
            back = made(a, "permute_dims", axes=(1, 0))
            if back and (found := windowed(back.args[0])) and worth(found[0], program.values[found[0]].shape[-1], k, found[2]):
                body.append(conv(i, "conv3x3_filter", (found[0], b), *found[1:], False))
                continue
        cut = made(i.args[0], "fold", strides=(1, 1), dilations=(1, 1)) if i.name == "get_item" and not i.args[1] and readers[i.args[0]] == 1 else None
        folded = cut or (i if i.name == "fold" and made(i.outs[0], "fold", strides=(1, 1), dilations=(1, 1)) else None)
        spread = folded and made(folded.args[0], "reshape")
        product = spread and readers[spread.outs[0]] == 1 and readers[spread.args[0]] == 1 and made(spread.args[0], "matmul")
        turned = product and made(product.args[1], "permute_dims", axes=(1, 0))
        if folded and spread and product and turned and (start := _start(program, folded, i)) is not None:
            shape, out = program.values[spread.outs[0]].shape, program.values[i.outs[0]].shape
            d, w = product.args[0], turned.args[0]
            if shape[3:5] == (3, 3) and worth(d, shape[-1], program.values[d].shape[-1], (out[1], out[2])):
                image = Ref(len(program.values))
                program = replace(program, values=(*program.values, Spec((*shape[:3], program.values[d].shape[-1]), program.values[d].dtype)))
                body.append(Instruction("reshape", (d,), {"shape": program.values[image].shape}, (image,), i.region))
                body.append(conv(i, "conv3x3", (image, w), (2 - start[0], 2 - start[1]), (out[1], out[2]), True))
                continue
        body.append(i)
    return program.with_body(body)


def _start(program: Program, folded: Instruction, i: Instruction) -> tuple[int, int] | None:
    """The first row and column of the folded image that i shows, if it shows a rectangle of all images and channels."""
    if i is folded:
        return 0, 0
    key = i.static["key"]
    key = key if isinstance(key, tuple) else (key,)
    whole, shape = program.values[folded.outs[0]].shape, program.values[i.outs[0]].shape
    if Ellipsis in key:
        k = key.index(Ellipsis)
        key = (*key[:k], *[slice(None)] * (4 - len(key) + 1), *key[k + 1 :])
    key = (*key, *[slice(None)] * (4 - len(key)))
    if len(shape) != 4 or not all(isinstance(part, slice) and part.step in (None, 1) for part in key) or shape[0] != whole[0] or shape[3] != whole[3]:
        return None
    return key[1].indices(whole[1])[0], key[2].indices(whole[2])[0]




# ------------------------------------------------------------------------------------------------- a step, for each thread


def schedule(plan: Any, s: Convolution) -> None:
    """Put the kernels of a step into the plan's lists: the filter transformed, then blocks of tiles; or blocks, then their sum transformed."""
    dtype = plan.grouping.dtypes[s.out]
    size, (channels, filters), (n, height, width) = SIZE[dtype], s.depth, s.image
    across, tiles = s.size[1] // 2, s.size[0] // 2 * (s.size[1] // 2)
    block = max(32, 8192 // (channels + filters))
    zeros = plan.fixed(max(channels, filters) * size)
    plane = channels * filters
    seen = {"zeros": zeros, "across": across, "tiles": tiles, "height": height, "width": width, "before_y": s.before[0], "before_x": s.before[1]}
    result = {**seen, "height": s.size[0], "width": s.size[1], "before_y": 0, "before_x": 0}
    whole = [plan.whole(s.a[0], False), plan.whole(s.b[0], False)]

    def transform(matrix: str, source: Any, target: Any, turned: bool = False, **words: Any) -> Any:
        known = {"source": source, "target": target, "first": 0, "source_plane": 0, "target_plane": 0, **dict.fromkeys(seen, 0), "zeros": zeros, **words}
        return plan.bare(Transform(matrix, dtype, turned), [known[key] for key in WORDS])

    if not s.by_filter:
        first = s.matrices[-1]
        entry = transform("filter", plan.address(*s.b), plan.address(first, 0), s.turned, count=1, channels=plane, source_plane=plane, target_plane=plane)
        plan.schedule(plan.alone([replace(entry, boxes=[whole[1], plan.whole(first, True)])]))
        if s.turned:  # [16][filters][channels] → [16][channels][filters]
            plan.schedule(plan.transposed(first, s.matrices[0], (16, channels, filters)))
    parts, sums = [], []
    for t, (start, stop) in enumerate(shares(n * tiles, plan.threads, across)):
        v, m = plan.borrowed(t, [16 * block * channels * size, 16 * block * filters * size])
        total = plan.address(s.matrices[0], 0)
        if s.by_filter and t:
            total = plan.fixed(16 * plane * size)
            sums.append(total)
        entries = []
        for tile in range(start, stop, block):
            count = min(block, stop - tile)
            entries.append(transform("image", plan.address(*s.a), v, count=count, channels=channels, target_plane=count * channels, **{**seen, "first": tile}))
            if s.by_filter:
                entries.append(transform("gradient", plan.address(*s.b), m, count=count, channels=filters, target_plane=count * filters, **{**result, "first": tile}))
                entries.append(plan.products(dtype, 16, (channels, filters, count), (v, m, total), tile > start, transposed=True))
            else:
                entries.append(plan.products(dtype, 16, (count, filters, channels), (v, plan.address(s.matrices[0], 0), m), False))
                entries.append(transform("result", m, plan.address(s.out, 0), count=count, channels=filters, source_plane=count * filters, **{**result, "first": tile}))
        if entries:
            rows = 2 * s.size[1] * filters * size // across  # bytes of the result for each tile
            wrote = plan.box(total, 1, [(16 * plane * size, 1)], True) if s.by_filter else plan.box(plan.address(s.out, 0), 1, [((stop - start) * rows, 1)], True)
            wrote = wrote if s.by_filter else replace(wrote, start=wrote.start + start * rows)
            entries[0] = replace(entries[0], boxes=[*whole, wrote, *([] if s.by_filter else [plan.whole(s.matrices[0], False)])])
        parts.append(entries)
    plan.schedule(parts)
    if s.by_filter:
        entry = transform("sum", plan.address(s.matrices[0], 0), plan.address(s.out, 0), count=1, channels=plane, source_plane=plane, target_plane=plane)
        entry = replace(entry, boxes=[plan.whole(s.matrices[0], False), plan.whole(s.out, True)])
        plan.schedule(plan.alone([*(plan.added(Use(s.matrices[0], dtype, 0, (), None, "sum"), place[0].place) for place in sums), entry]))
