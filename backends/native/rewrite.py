"""What a Program is rewritten to before it is cut into steps, because loops do that better."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from backends.native.steps import CannotExpress
from backends.program.abstract import Spec
from backends.program.passes import Writer
from backends.program.program import Instruction, Program, Ref

FEW = 16  # elements that are reduced one by one
TAPS = 49  # products of windows that are
WHOLE = slice(None)
OF_NOTHING = {"sum": 0, "prod": 1, "any": False, "all": True, "mean": math.nan, "matmul": 0, "scatter_add": 0, "fold": 0}
COMBINED = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum", "any": "logical_or", "all": "logical_and"}


def without_empty(program: Program) -> Program:
    """Nothing is computed for arrays of size 0, and what reads them is what it is without: sum(x), x (0, 3)  →  0."""
    if not any(0 in spec.shape for spec in program.values):
        return program
    w = Writer(program)
    for i in program.body:
        i = replace(i, args=tuple(w.now(x) for x in i.args))
        spec = w.values[i.outs[0]]
        full = {"shape": spec.shape, "dtype": program.library.dtype(spec.dtype), "device": program.device}
        if 0 in spec.shape and len(i.outs) == 1:
            w.renamed[i.outs[0]] = w.add(i, "full", (0,), full, spec)
        elif not any(0 in w.values[r].shape for r in (*i.reads, *i.outs)):
            w.keep(i)
        elif i.name in OF_NOTHING:
            w.renamed[i.outs[0]] = w.add(i, "full", (OF_NOTHING[i.name],), full, spec)
        elif i.name == "concat":
            w.keep(replace(i, args=([x for x in i.args[0] if 0 not in w.values[x].shape],)))
        elif i.name == "set_item" and 0 not in w.values[i.args[0]].shape:
            w.renamed[i.outs[0]] = i.args[0]
        else:
            raise CannotExpress(f"{i.name} of an array of size 0")
    return w.done()


def stepwise(program: Program, carries: int) -> Program:
    """The program of a step of a scan: its first results replace its first inputs, and each result is memory of its own."""
    values, body, outputs = list(program.values), list(program.body), list(program.outputs)
    taken = set(program.inputs)
    for k, y in enumerate(outputs):
        if y in taken:
            values.append(values[y])
            outputs[k] = Ref(len(values) - 1)
            body.append(Instruction("reshape", (y,), {"shape": values[y].shape}, (outputs[k],)))
        taken.add(outputs[k])
    return replace(program, values=tuple(values), body=tuple(body), outputs=tuple(outputs), donated={k: k for k in range(carries)})


def unrolled(program: Program) -> Program:
    """Reductions of few elements over axes before the last as elementwise functions of slices: the windows of a pool in one pass.

    max(x, axis=(1, 2)), x (n, 2, 2, c)  →  maximum(maximum(x[:, 0, 0], x[:, 0, 1]), maximum(x[:, 1, 0], x[:, 1, 1]))
    sum(x·w, axis=1), x (n, 3, c), w (3, c)  →  x[:, 0]·w[0] + x[:, 1]·w[1] + x[:, 2]·w[2]
    """
    values, body = list(program.values), []
    makers = {out: i for i in program.body for out in i.outs}

    def add(like: Instruction, name: str, args: tuple[Any, ...], static: dict[str, Any], shape: tuple[int, ...]) -> Ref:
        """An instruction whose result has this shape, and the dtype of `like`'s."""
        values.append(Spec(shape, program.values[like.outs[0]].dtype))
        body.append(Instruction(name, args, static, (Ref(len(values) - 1),), like.region))
        return body[-1].outs[0]

    def in_memory(x: Any) -> bool:
        return x not in makers or makers[x].name in ("windows", "reshape", "permute_dims", "get_item", "matmul", "pad")

    def factors(x: Ref) -> tuple[Any, ...]:
        """What x is the product of, if it is one of windows; else x alone."""
        i = makers.get(x)
        found = i is not None and i.name == "multiply" and any(y in makers and makers[y].name == "windows" for y in i.args) and all(type(y) is Ref and in_memory(y) for y in i.args)
        return i.args if i is not None and found else (x,)

    def part(i: Instruction, parts: tuple[Any, ...], key: tuple[Any, ...]) -> Ref:
        """parts[0][key]·parts[1][key] …, a key of numbers and whole axes; what has fewer axes, or length 1, repeats along them."""
        made = []
        for x in parts:
            shape = program.values[x].shape
            own = tuple(0 if n == 1 and k != WHOLE else k for n, k in zip(shape, key[len(key) - len(shape) :], strict=True))
            made.append(add(i, "get_item", (x, []), {"key": own}, tuple(n for n, k in zip(shape, own, strict=True) if k == WHOLE)))
        shape = np.broadcast_shapes(*(values[y].shape for y in made))
        return made[0] if len(made) == 1 else add(i, "multiply", tuple(made), {}, shape)

    def in_order(i: Instruction, x: Ref, shape: tuple[int, ...], axes: tuple[int, ...]) -> Ref | None:
        """A product over several axes as one over one, so that one factor follows the other."""
        if i.name != "prod" or len(axes) < 2:
            return None
        order = (*(a for a in range(len(shape)) if a not in axes), *sorted(axes))
        turned = add(i, "permute_dims", (x,), {"axes": order}, tuple(shape[a] for a in order))
        kept = tuple(n for a, n in enumerate(shape) if a not in axes)
        flat = add(i, "reshape", (turned,), {}, (*kept, math.prod(shape[a] for a in axes)))
        return add(i, "prod", (flat,), {"axis": (len(kept),)}, kept)

    def by_place(i: Instruction, x: Ref, shape: tuple[int, ...], axes: tuple[int, ...]) -> Ref | None:
        """Products of windows, summed over all windows: a sum for each place in them."""
        parts, lead, places = factors(x), shape[: len(axes)], shape[len(axes) : -1]
        if i.name != "sum" or len(parts) == 1 or axes != tuple(range(len(shape) // 2)) or math.prod(places) > TAPS:
            return None
        sums = []
        for place in itertools.product(*map(range, places)):
            total = add(i, "sum", (part(i, parts, (*(WHOLE for _ in lead), *place, WHOLE)),), {"axis": axes}, shape[-1:])
            sums.append(add(i, "reshape", (total,), {}, (1, *shape[-1:])))
        return add(i, "concat", (sums,), {"axis": 0}, (len(sums), *shape[-1:]))

    def by_slices(i: Instruction, x: Ref, shape: tuple[int, ...], axes: tuple[int, ...]) -> Ref | None:
        parts, count = factors(x) if i.name == "sum" else (x,), math.prod(shape[a] for a in axes)
        most = FEW if len(parts) == 1 else TAPS
        if not 1 < count <= most or not all(map(in_memory, parts)) or not shape or len(shape) - 1 in axes or shape[-1] == 1:
            return None
        keys = itertools.product(*(range(n) if a in axes else [WHOLE] for a, n in enumerate(shape)))
        found = [part(i, parts, key) for key in keys]
        while len(found) > 1:
            ordered = i.name == "prod" or len(parts) > 1  # or in pairs, which wait less for each other
            pairs = [found[:2], *([one] for one in found[2:])] if ordered else [found[k : k + 2] for k in range(0, len(found), 2)]
            found = [pair[0] if len(pair) == 1 else add(i, COMBINED[i.name], tuple(pair), {}, values[pair[0]].shape) for pair in pairs]
        return found[0]

    for i in program.body:
        x, y = i.args[0] if i.args else None, None
        if i.name in COMBINED and type(x) is Ref and program.values[x].dtype == program.values[i.outs[0]].dtype:
            shape, axes = program.values[x].shape, i.static["axis"]
            y = next((y for way in (in_order, by_place, by_slices) if (y := way(i, x, shape, axes)) is not None), None)
        body.append(i if y is None else Instruction("reshape", (y,), {"shape": program.values[i.outs[0]].shape}, i.outs, i.region))
    return replace(program, values=tuple(values)).with_body(body, program.outputs)
