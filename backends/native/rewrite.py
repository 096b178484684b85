"""What a Program is rewritten to before it is cut into steps, because loops do that better."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from backends.native.steps import CannotExpress
from backends.program.abstract import Spec
from backends.program.passes import Writer
from backends.program.program import Instruction, Program, Ref

FEW = 16  # elements that are reduced one by one
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
        if 0 in spec.shape:
            w.renamed[i.outs[0]] = w.add(i, "full", (0,), full, spec)
        elif not any(0 in w.values[r].shape for r in i.reads):
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


def unrolled(program: Program) -> Program:
    """Reductions of few elements over axes before the last as elementwise functions of slices: the windows of a pool in one pass.

    max(x, axis=(1, 2)), x (n, 2, 2, c)  →  maximum(maximum(x[:, 0, 0], x[:, 0, 1]), maximum(x[:, 1, 0], x[:, 1, 1]))
    """
    values, body = list(program.values), []
    makers = {out: i for i in program.body for out in i.outs}

    def add(like: Instruction, name: str, args: tuple[Any, ...], static: dict[str, Any], spec: Spec) -> Ref:
        values.append(spec)
        body.append(Instruction(name, args, static, (Ref(len(values) - 1),), like.region))
        return body[-1].outs[0]

    for i in program.body:
        x = i.args[0] if i.args else None
        if i.name not in COMBINED or type(x) is not Ref or program.values[x].dtype != program.values[i.outs[0]].dtype:
            body.append(i)
            continue
        shape, axes = program.values[x].shape, i.static["axis"]
        count = math.prod(shape[a] for a in axes)
        kept = tuple(n for a, n in enumerate(shape) if a not in axes)
        if i.name == "prod" and len(axes) > 1:  # one factor after the other
            order = (*(a for a in range(len(shape)) if a not in axes), *sorted(axes))
            turned = add(i, "permute_dims", (x,), {"axes": order}, Spec(tuple(shape[a] for a in order), program.values[x].dtype))
            flat = add(i, "reshape", (turned,), {"shape": (*kept, count)}, Spec((*kept, count), program.values[x].dtype))
            y = add(i, "prod", (flat,), {**i.static, "axis": (len(kept),), "keepdims": False}, Spec(kept, program.values[x].dtype))
            body.append(Instruction("reshape", (y,), {"shape": program.values[i.outs[0]].shape}, i.outs, i.region))
            continue
        views = ("windows", "reshape", "permute_dims", "get_item")
        in_memory = x not in makers or makers[x].name in views or makers[x].name == "matmul"
        if not 1 < count <= FEW or not in_memory or not shape or len(shape) - 1 in axes or shape[-1] == 1:
            body.append(i)
            continue
        parts = []
        for place in range(count):
            key: list[Any] = [slice(None)] * len(shape)
            for a in reversed(axes):
                place, key[a] = divmod(place, shape[a])
            parts.append(add(i, "get_item", (x, []), {"key": tuple(key)}, Spec(kept, program.values[x].dtype)))
        while len(parts) > 1:
            pairs = [parts[:2], *([part] for part in parts[2:])] if i.name == "prod" else [parts[k : k + 2] for k in range(0, len(parts), 2)]
            parts = [pair[0] if len(pair) == 1 else add(i, COMBINED[i.name], tuple(pair), {}, Spec(kept, program.values[x].dtype)) for pair in pairs]
        body.append(Instruction("reshape", (parts[0],), {"shape": program.values[i.outs[0]].shape}, i.outs, i.region))
    return replace(program, values=tuple(values), body=tuple(body))
