"""What a scan does step by step without need is done for all steps at once, before it or after it.

    cₜ₊₁ = tanh(xₜ·w + cₜ·u)          xₜ·w depends on no carry: one product X·w before the loop
    dw ← dw + cₜᵀ·dzₜ                 no step reads dw: one product Cᵀ·dZ after the loop

Only where there are products of matrices to move, and the new arrays are no more than MOST times what the scan reads and gives: a loop may be there to save memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from backends.program.abstract import Spec
from backends.program.passes import ELEMENTWISE, Writer
from backends.program.program import Instruction, Program, Ref, refs, size

MOST = 8
REDUCTIONS = ("sum", "prod", "max", "min", "any", "all")
MOVED = {*ELEMENTWISE, "reshape", "permute_dims", "broadcast_to", "concat", *REDUCTIONS}


def unlooped(program: Program) -> Program:
    """The program with shorter steps."""
    if all(i.program is None for i in program.body):
        return program
    w = Writer(program)
    read = {r for i in program.body for r in i.reads} | set(refs(program.outputs))
    for i in program.body:
        i = w.entered(i)
        if i.program is None:
            w.keep(i)
        else:
            _Scan(w, i, i.program, read)
    return w.done()


class _Scan:
    """One scan, written to w in three parts. `outer` has what values of the step are outside: for all steps if they are among `rows`, else the same in each."""

    def __init__(self, w: Writer, i: Instruction, p: Program, read: set[Ref]):
        self.w, self.i, self.p, self.length = w, i, p, i.static["length"]
        carries, columns, closed = i.args
        count, first = len(carries), len(carries) + len(columns)
        self.states, self.rows = p.inputs[:count], set(p.inputs[count:first])
        self.outer: dict[int, Any] = dict(zip(p.inputs[count:], (*columns, *closed), strict=True))
        self.maker: dict[int, Instruction] = {out: made for made in p.body for out in made.outs}
        self.stacked = [k for k in range(count, len(i.outs)) if i.outs[k] in read]
        self.sums = self.unread_sums()
        self.left = [k for k in range(count) if k not in self.sums]
        self.room = MOST * sum(size(w.values[x]) for x in (*columns, *i.outs[count:]))
        self.before()
        after = self.after()
        self.loop(after)
        for made in after:
            self.move(made)
        for k, part in self.sums.items():
            w.renamed[i.outs[k]] = w.add(i, "add", (carries[k], self.summed(part)), {}, w.values[i.outs[k]])
        for k in self.stacked:
            w.renamed[i.outs[k]] = self.whole(p.outputs[k])

    def needed(self, wanted: Iterable[int]) -> set[int]:
        """These values and what they are made of in the step."""
        found, waiting = set[int](), list(wanted)
        while waiting:
            r = waiting.pop()
            if r not in found:
                found.add(r)
                waiting += self.maker[r].reads if r in self.maker and r not in self.outer else []
        return found

    def unread_sums(self) -> dict[int, Instruction]:
        """{place of a carry: what each step adds to it}, where no step reads it otherwise, and the sum over all steps is one call: aᵀ·b, or a sum."""
        uses: dict[int, int] = {}
        for r in [r for made in self.p.body for r in made.reads] + refs(self.p.outputs):
            uses[r] = uses.get(r, 0) + 1
        found = {}
        for k, (state, y) in enumerate(zip(self.states, self.p.outputs, strict=False)):
            total = self.maker.get(y)
            if total is not None and total.name == "add" and state in total.args and uses[state] == uses[y] == 1:
                part = self.maker.get(total.args[1 - total.args.index(state)])
                product = part is not None and part.name == "matmul" and all(len(self.p.values[x].shape) == 2 for x in part.reads)
                if part is not None and (product or (part.name == "sum" and not part.static.get("keepdims"))) and self.p.values[part.outs[0]] == self.p.values[y]:
                    found[k] = part
        return found

    def before(self) -> None:
        """Move what depends on no carry."""
        found = self.movable([made for made in self.p.body if self.needed(made.outs).isdisjoint(self.states)], set(self.outer))
        if any(made.name == "matmul" for made in found) and self.has_room(found):
            for made in found:
                self.move(made)

    def after(self) -> list[Instruction]:
        """What no carry depends on, and what is moved."""
        inside = self.needed(self.p.outputs[k] for k in self.left)
        parts = {part.outs[0] for part in self.sums.values()}
        late = self.needed({*parts, *(self.p.outputs[k] for k in self.stacked)}) - inside - self.outer.keys()
        free = [made for made in self.p.body if not late.isdisjoint(made.outs) and made.outs[0] not in parts]
        if not (self.sums or any(made.name == "matmul" for made in free)) or not self.has_room(free):
            return []
        found = self.movable(free, {r for r in range(len(self.p.values)) if r not in late})
        moved = {made.outs[0] for made in found}
        stay = self.needed(out for made in free if made.outs[0] not in moved for out in made.outs)
        return [made for made in found if made.outs[0] not in stay]

    def has_room(self, body: list[Instruction]) -> bool:
        """Whether their products may stand for all steps at once."""
        return self.length * sum(size(self.p.values[made.outs[0]]) for made in body if made.name == "matmul") <= self.room

    def movable(self, body: list[Instruction], known: set[int]) -> list[Instruction]:
        """Those that can be done for all steps at once, from what is known of all."""
        found = []
        for made in body:
            matrix = made.name == "matmul" and len(self.p.values[made.args[1]].shape) == 2
            if known.issuperset(made.reads) and (made.name in MOVED or matrix or (made.name == "get_item" and not made.args[1])):
                known |= set(made.outs)
                found.append(made)
        return found

    def loop(self, after: list[Instruction]) -> None:
        """The scan that is left: its steps give what comes after the arrays it reads."""
        moved = {made.outs[0] for made in after}
        asked = {*(r for made in after for r in made.reads), *(x for part in self.sums.values() for x in self.factors(part)), *(self.p.outputs[k] for k in self.stacked)}
        given = sorted(r for r in asked if r not in self.outer and r not in moved)
        outputs = [*(self.p.outputs[k] for k in self.left), *given]
        inside = self.needed(outputs)
        entering = sorted(inside & self.outer.keys())
        rows, fixed = [r for r in entering if r in self.rows], [r for r in entering if r not in self.rows]
        body = [made for made in self.p.body if not inside.isdisjoint(made.outs) and self.outer.keys().isdisjoint(made.outs)]
        inputs = (*(self.states[k] for k in self.left), *map(Ref, rows), *map(Ref, fixed))
        step = replace(self.p, inputs=inputs, body=tuple(body), outputs=tuple(map(Ref, outputs)))
        specs = [self.w.values[self.i.outs[k]] for k in self.left] + [self.of_all(r) for r in given]
        outs = tuple(Ref(len(self.w.values) + n) for n in range(len(specs)))
        self.w.values += specs
        if outs:
            args = [self.i.args[0][k] for k in self.left], [self.outer[r] for r in rows], [self.outer[r] for r in fixed]
            self.w.keep(Instruction("scan", args, self.i.static, outs, self.i.region, step))
        self.w.renamed |= {self.i.outs[k]: out for k, out in zip(self.left, outs, strict=False)}
        self.outer |= dict(zip(given, outs[len(self.left) :], strict=True))
        self.rows |= set(map(Ref, given))

    # all steps at once

    def of_all(self, r: int) -> Spec:
        return Spec((self.length, *self.p.values[r].shape), self.p.values[r].dtype)

    def shaped(self, x: Ref, *shape: int) -> Ref:
        return self.w.add(self.i, "reshape", (x,), {"shape": shape}, Spec(shape, self.w.values[x].dtype))

    def now(self, x: Any, rank: int = 0) -> Any:
        """An argument outside; what is for all steps with axes of length 1 after the first, so that it broadcasts as in a step of this rank."""
        if type(x) is list:
            return [self.now(part) for part in x]
        if type(x) is not Ref:
            return x
        missing = rank - len(self.p.values[x].shape)
        return self.shaped(self.outer[x], self.length, *(1,) * missing, *self.p.values[x].shape) if x in self.rows and missing > 0 else self.outer[x]

    def whole(self, x: Ref) -> Ref:
        """A value for all steps, repeated if it is the same in each."""
        if x in self.rows:
            return self.outer[x]  # type: ignore[no-any-return]
        one = self.shaped(self.outer[x], 1, *self.p.values[x].shape)
        return self.w.add(self.i, "broadcast_to", (one,), {"shape": self.of_all(x).shape}, self.of_all(x))

    def move(self, made: Instruction) -> None:
        """Do it outside."""
        (out,), static, varies = made.outs, dict(made.static), not self.rows.isdisjoint(made.reads)
        spec = self.of_all(out) if varies else self.p.values[out]
        args = tuple(self.now(x, len(self.p.values[out].shape) if made.name in ELEMENTWISE or made.name == "broadcast_to" else 0) for x in made.args)
        if varies:
            self.rows.add(out)
            if made.name == "matmul":
                self.outer[out] = self.product(made)
                return
            if made.name == "concat":
                args = ([self.whole(x) for x in made.args[0]],)
            if made.name == "get_item":
                static["key"] = (slice(None), *(static["key"] if isinstance(static["key"], tuple) else (static["key"],)))
            elif made.name in ("reshape", "broadcast_to"):
                static["shape"] = spec.shape
            elif made.name == "permute_dims":
                static["axes"] = (0, *(a + 1 for a in static["axes"]))
            elif made.name == "concat":
                static["axis"] += 1
            elif made.name in REDUCTIONS:
                static["axis"] = tuple(a + 1 for a in static["axis"])
        self.outer[out] = self.w.add(made, made.name, args, static, spec)

    def product(self, made: Instruction) -> Ref:
        """a·b: all rows at once where b is the same in each step."""
        (a, b), spec = made.args, self.of_all(made.outs[0])
        (*lead, n), k = self.p.values[a].shape, self.p.values[b].shape[1]
        if b in self.rows:
            rank = max(2, len(lead) + 1)
            x = self.now(a, rank) if a in self.rows or lead else self.shaped(self.outer[a], 1, n)
            shape = (self.length, *(lead or [1]), k)
            y = self.w.add(made, "matmul", (x, self.now(b, rank)), {}, Spec(shape, spec.dtype))
        else:
            rows = math.prod(lead) * self.length
            y = self.w.add(made, "matmul", (self.shaped(self.outer[a], rows, n), self.outer[b]), {}, Spec((rows, k), spec.dtype))
        return self.shaped(y, *spec.shape)

    def factors(self, part: Instruction) -> list[Ref]:
        """What the sum over all steps is made of: x of Σ x, a and b of Σ aᵀ·b."""
        if part.name == "sum":
            return [part.args[0]]
        turned = self.maker.get(part.args[0])
        return [turned.args[0] if turned is not None and turned.name == "permute_dims" else part.args[0], part.args[1]]

    def summed(self, part: Instruction) -> Ref:
        """Over all steps."""
        spec, whole = self.p.values[part.outs[0]], [self.whole(x) for x in self.factors(part)]
        if part.name == "sum":
            return self.w.add(part, "sum", (whole[0],), {**part.static, "axis": (0, *(a + 1 for a in part.static["axis"]))}, spec)
        rows, (d, k) = self.length * self.p.values[part.args[1]].shape[0], spec.shape
        if self.factors(part)[0] == part.args[0]:  # a·b, (d, n) and (n, k) in each step
            axes = (1, 0, 2)
            turned = self.w.add(part, "permute_dims", (whole[0],), {"axes": axes}, Spec((d, self.length, rows // self.length), spec.dtype))
            a = self.shaped(turned, d, rows)
        else:
            a = self.w.add(part, "permute_dims", (self.shaped(whole[0], rows, d),), {"axes": (1, 0)}, Spec((d, rows), spec.dtype))
        return self.w.add(part, "matmul", (a, self.shaped(whole[1], rows, k)), {}, spec)
