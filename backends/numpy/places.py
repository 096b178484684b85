"""places: what is put together from parts, and where each part lies in it, so that it may be made there.

    concat        y = [a b …]: slices along one axis
    interleaved   fold(stack(parts)), where windows tile an image: part q is every k-th pixel, y[n, p·k + q, c] = part_q[n, p, c]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backends.program.abstract import Spec
from backends.program.passes import Writer
from backends.program.program import Instruction, Program

TOGETHER = ("concat", "interleaved")


def places(program: Program) -> Program:
    """fold(reshape(concat(parts))) → interleaved(parts), where the windows tile the image and each part is one entry of them."""
    w = Writer(program)
    for i in program.body:
        i = replace(i, args=tuple(map(w.now, i.args)))
        parts = entries(w, i) if i.name == "fold" else None
        if parts is None:
            w.keep(i)
            continue
        part, sizes = w.values[parts[0]].shape, i.static["strides"]
        spec = Spec((*part[:-2], part[-1]), w.values[parts[0]].dtype)
        flat = [w.add(i, "reshape", (x,), {"shape": spec.shape}, spec) for x in parts]
        keys = [(slice(None), *(slice(q, None, k) for q, k in zip(place, sizes, strict=True))) for place in itertools.product(*map(range, sizes))]
        w.renamed[i.outs[0]] = w.add(i, "interleaved", (flat,), {"keys": keys, "cell": tuple(sizes)}, w.values[i.outs[0]])
    return w.done()


def entries(w: Writer, i: Instruction) -> Any:
    """The entries of the windows that a fold puts together, each (n, …counts…, 1, c); None where it is not so, or windows do not tile the image."""
    spread = w.maker.get(i.args[0])
    joined = w.maker.get(spread.args[0]) if spread is not None and spread.name == "reshape" else None
    windows, space = w.values[i.args[0]].shape, tuple(i.static["shape"])
    rank = len(space)
    counts, sizes, c = windows[1 : 1 + rank], windows[1 + rank : -1], windows[-1]
    tiled = sizes == tuple(i.static["strides"]) and set(i.static["dilations"]) == {1} and all(o * k == n for o, k, n in zip(counts, sizes, space, strict=True))
    if joined is None or joined.name != "concat" or not tiled or joined.static["axis"] != 1 + rank:
        return None
    return joined.args[0] if all(w.values[x] == Spec((*windows[: 1 + rank], 1, c), w.values[i.outs[0]].dtype) for x in joined.args[0]) else None


def keys(values: Sequence[Spec], i: Instruction) -> list[Any]:
    """Where in the result of an instruction of TOGETHER each of its parts lies."""
    if i.name == "interleaved":
        return list(i.static["keys"])
    axis = i.static["axis"]
    ends = list(itertools.accumulate((values[r].shape[axis] for r in i.args[0]), initial=0))
    return [(slice(None),) * axis + (slice(a, b),) for a, b in itertools.pairwise(ends)]
