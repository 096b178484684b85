"""pack: the same short chain of elementwise calls on several small arrays becomes one chain on all of them, end to end.

What a call of NumPy costs on a small array is the call. An optimizer makes the same dozen for each of its parameters:

    m₁ ← β·m₁ + (1−β)·g₁,  m₂ ← β·m₂ + (1−β)·g₂, …      becomes      [m₁ m₂ …] ← β·[m₁ m₂ …] + (1−β)·[g₁ g₂ …]
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from backends.program.abstract import Spec
from backends.program.passes import ELEMENTWISE
from backends.program.program import Instruction, Program, Ref, size

SMALL = 4096  # entries of an array that is packed
FEWEST = 3  # arrays in a pack


def pack(program: Program) -> Program:
    """The program with such chains packed."""
    values, body = program.values, program.body
    maker = {out: n for n, i in enumerate(body) for out in i.outs}
    kinds: dict[int, Any] = {}  # number of an instruction → what its chain does, the same for all that may be packed
    members: dict[Any, list[int]] = {}
    before: list[int] = []  # for each instruction, as bits, all that it depends on
    uses: dict[Ref, list[Any]] = {}
    for i in body:
        for place, x in enumerate(i.args):
            if type(x) is Ref:
                uses.setdefault(x, []).append((i.name, place))
    for n, i in enumerate(body):
        bits = 0
        for r in i.reads:
            if r in maker:
                bits |= before[maker[r]] | 1 << maker[r]
        before.append(bits)
        kind = _kind(i, values, maker, kinds)
        if kind is not None:
            kind = kinds[n] = (*kind, tuple(sorted(uses.get(i.outs[0], ()))))
            members.setdefault(kind, []).append(n)
    chosen = {kind: ns for kind, ns in members.items() if len(ns) >= FEWEST and not any(before[n] >> m & 1 for n in ns for m in ns)}
    chosen = {kind: ns for kind, ns in chosen.items() if _aligned(kind, ns, body, maker, kinds, chosen)}
    if not chosen:
        return program
    return _rebuilt(program, maker, kinds, chosen)


def _kind(i: Instruction, values: tuple[Spec, ...], maker: dict[Ref, int], kinds: dict[int, Any]) -> Any:
    """What the instruction does, written with what its arguments' instructions do; None where it cannot be packed."""
    if i.name not in ELEMENTWISE or i.name in ("astype", "where"):
        return None
    out = values[i.outs[0]]
    if not out.shape or not 0 < size(out) <= SMALL:
        return None
    parts: list[Any] = []
    for x in i.args:
        if type(x) is not Ref:
            parts.append((type(x).__name__, x))
        elif values[x].shape == ():
            parts.append(("0-d", x))
        elif values[x].shape == out.shape:
            made = kinds.get(maker[x]) if x in maker else None
            parts.append(("array", values[x].dtype, _depth(made)))
        else:
            return None
    return i.name, out.dtype, tuple(parts)


def _depth(kind: Any) -> Any:
    """A chain is told from another by what it does, to a depth that keeps keys short: by its hash."""
    return None if kind is None else hash(kind)


def _aligned(kind: Any, ns: list[int], body: tuple[Instruction, ...], maker: dict[Ref, int], kinds: dict[int, Any], chosen: dict[Any, list[int]]) -> bool:
    """Whether an argument that comes from a pack comes from all of it, member by member."""
    for place in range(len(body[ns[0]].args)):
        made = [maker.get(body[n].args[place]) if type(body[n].args[place]) is Ref else None for n in ns]
        packs = {kinds.get(m) if m is not None and kinds.get(m) in chosen else None for m in made}
        if len(packs) > 1:
            return False
        (source,) = packs
        if source is not None and chosen[source] != made:
            return False
    return True


def _rebuilt(program: Program, maker: dict[Ref, int], kinds: dict[int, Any], chosen: dict[Any, list[int]]) -> Program:
    values = list(program.values)
    body: list[Instruction] = []
    packed: dict[Any, Ref] = {}  # kind → the packed result
    laid: dict[Any, Ref] = {}  # arrays laid end to end → the result
    opened: set[int] = set()  # results of a pack that are there as arrays of their own
    leader = {n: kind for kind, ns in chosen.items() for n in ns}
    done: set[int] = set()

    def new(name: str, args: tuple[Any, ...], static: dict[str, Any], spec: Spec, like: Instruction) -> Ref:
        values.append(spec)
        out = Ref(len(values) - 1)
        body.append(Instruction(name, args, static, (out,), like.region))
        return out

    def end_to_end(refs: list[Ref], like: Instruction) -> Ref:
        key = tuple(refs)
        if key not in laid:
            flat = [new("reshape", (r,), {"shape": (size(values[r]),)}, Spec((size(values[r]),), values[r].dtype), like) if len(values[r].shape) != 1 else r for r in refs]
            total = sum(size(values[r]) for r in refs)
            laid[key] = new("concat", (flat,), {"axis": 0}, Spec((total,), values[refs[0]].dtype), like)
        return laid[key]

    def open_(r: Ref) -> None:
        """The member r of a pack as an array of its own."""
        n = maker.get(r)
        if n is None or n not in leader or r in opened:
            return
        write(n)
        opened.add(r)
        kind = leader[n]
        ns = chosen[kind]
        start = sum(size(program.values[program.body[m].outs[0]]) for m in ns[: ns.index(n)])
        spec, i = program.values[r], program.body[n]
        stop = start + size(spec)
        if len(spec.shape) == 1:
            body.append(Instruction("get_item", (packed[kind], []), {"key": (slice(start, stop),)}, (r,), i.region))
            return
        part = new("get_item", (packed[kind], []), {"key": (slice(start, stop),)}, Spec((size(spec),), spec.dtype), i)
        body.append(Instruction("reshape", (part,), {"shape": spec.shape}, (r,), i.region))

    def need(r: Any) -> None:
        if type(r) is list:
            for part in r:
                need(part)
        elif type(r) is Ref and r in maker:
            write(maker[r])
            open_(r)

    def write(n: int) -> None:
        if n in done:
            return
        kind = leader.get(n)
        if kind is None:
            done.add(n)
            for x in program.body[n].args:
                need(x)
            body.append(program.body[n])
            return
        ns = chosen[kind]
        done.update(ns)
        args: list[Any] = []
        for place, x in enumerate(program.body[n].args):
            if type(x) is not Ref:
                args.append(x)
                continue
            columns = [program.body[m].args[place] for m in ns]
            if program.values[x].shape == ():
                need(x)
                args.append(x)
            elif x in maker and maker[x] in leader:
                write(maker[x])
                args.append(packed[leader[maker[x]]])
            else:
                for r in columns:
                    need(r)
                args.append(end_to_end(columns, program.body[n]))
        first = program.body[ns[0]]
        total = sum(math.prod(program.values[program.body[m].outs[0]].shape) for m in ns)
        packed[kind] = new(first.name, tuple(args), first.static, Spec((total,), program.values[first.outs[0]].dtype), first)

    for n in range(len(program.body)):
        if n not in leader:
            write(n)
    for y in program.outputs:
        need(y)
    return replace(program, values=tuple(values)).with_body(body)
