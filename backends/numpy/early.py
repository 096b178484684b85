"""early: a bias is added to images, in the blocks of rows of what follows, where it was added to the rows of a matrix.

    reshape(f(x, b)) → f(reshape(x), b),  where b lies along the last axis and the reshape keeps that
"""

from __future__ import annotations

from dataclasses import replace

from backends.program.abstract import Spec
from backends.program.passes import ELEMENTWISE, Writer
from backends.program.program import Instruction, Program, Ref


def early(program: Program) -> Program:
    """The program with such reshapes first."""
    w = Writer(program)
    readers: dict[Ref, int] = {}
    for r in (*(r for i in program.body for r in i.reads), *(y for y in program.outputs if type(y) is Ref)):
        readers[r] = readers.get(r, 0) + 1
    for i in program.body:
        old = i.args
        i = replace(i, args=tuple(map(w.now, i.args)))
        made = w.maker.get(i.args[0]) if i.name == "reshape" and readers[old[0]] == 1 else None
        x = with_vector(w, made, w.values[i.outs[0]].shape) if made is not None else None
        if x is None or made is None:
            w.keep(i)
            continue
        out = w.values[i.outs[0]]
        image = w.add(i, "reshape", (x,), {"shape": out.shape}, Spec(out.shape, w.values[x].dtype))
        w.renamed[i.outs[0]] = w.add(made, made.name, tuple(image if a == x and type(a) is Ref else a for a in made.args), made.static, out)
    return w.done()


def with_vector(w: Writer, i: Instruction, shape: tuple[int, ...]) -> Ref | None:
    """The matrix that an elementwise function of it and a vector along its last axis takes, if such an image has that axis, too."""
    rows = w.values[i.outs[0]].shape
    whole = [x for x in i.args if type(x) is Ref and w.values[x].shape == rows]
    others = {w.values[x].shape for x in i.args if type(x) is Ref and x not in whole}
    if i.name not in ELEMENTWISE or len(whole) != 1 or others != {rows[-1:]} or len(rows) != 2 or len(shape) < 3 or shape[-1:] != rows[-1:]:
        return None
    return whole[0]
