"""sums: what is summed up whole needs fewer calls.

    Σ −x = −Σ x        Σᵢ Σⱼ x = Σᵢⱼ x        Σ a·b = a•b,  the product of two vectors, where they are small
"""

from __future__ import annotations

from dataclasses import replace

from backends.program.abstract import Spec
from backends.program.passes import Writer
from backends.program.program import Instruction, Program, Ref, size

SMALL = 1 << 12  # entries of a product of vectors: longer ones NumPy sums more exactly
FLOATS = ("float32", "float64")


def sums(program: Program) -> Program:
    """The program with sums to one number so written. Only what they alone read is left out."""
    w = Writer(program)
    readers: dict[Ref, int] = {}
    for r in (*(r for i in program.body for r in i.reads), *(y for y in program.outputs if type(y) is Ref)):
        readers[r] = readers.get(r, 0) + 1
    for i in program.body:
        i = replace(i, args=tuple(map(w.now, i.args)))
        if i.name == "sum" and w.values[i.outs[0]] == Spec((), w.values[i.args[0]].dtype) and w.values[i.outs[0]].dtype in FLOATS:
            w.renamed[i.outs[0]] = summed(w, i, i.args[0], readers)
        else:
            w.keep(i)
    return w.done()


def summed(w: Writer, i: Instruction, x: Ref, readers: dict[Ref, int]) -> Ref:
    """Σ x over all axes."""
    number = w.values[i.outs[0]]
    made = w.maker.get(x) if readers.get(x) == 1 else None
    if made is not None and made.name == "negative":
        return w.add(i, "negative", (summed(w, i, made.args[0], readers),), {}, number)
    if made is not None and made.name == "sum" and w.values[made.args[0]].dtype == number.dtype:
        return summed(w, i, made.args[0], readers)
    if made is not None and made.name == "multiply" and all(type(a) is Ref and w.values[a] == w.values[x] for a in made.args) and size(w.values[x]) <= SMALL:
        flat = [w.add(i, "reshape", (a,), {"shape": (size(w.values[x]),)}, Spec((size(w.values[x]),), number.dtype)) for a in made.args]
        return w.add(i, "matmul", tuple(flat), {}, number)
    return w.add(i, "sum", (x,), {**i.static, "axis": tuple(range(len(w.values[x].shape))), "keepdims": False}, number)
