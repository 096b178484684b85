"""taps: the gradient of a convolution by its input, one product a tap of the kernel, added where the tap looks.

    dX = fold(dy·Wᵀ)  writes dy·Wᵀ, k times as large as dX, and reads it again in pieces of one row of channels;
    dX[p + q] += dy[p]·W[q]ᵀ  for each tap q writes and reads pieces of a whole row of the image.
"""

from __future__ import annotations

from dataclasses import replace

from backends.program.program import Instruction, Program, Ref


def taps(program: Program) -> Program:
    """fold(reshape(a @ b)) → one instruction, fold_product(a, b), where the product is read by the fold alone."""
    maker = {out: i for i in program.body for out in i.outs}
    readers: dict[Ref, int] = {}
    for i in program.body:
        for r in i.reads:
            readers[r] = readers.get(r, 0) + 1
    for y in program.outputs:
        if type(y) is Ref:
            readers[y] = readers.get(y, 0) + 1

    def alone(r: Ref, name: str) -> Instruction | None:
        i = maker.get(r)
        return i if i is not None and i.name == name and readers[r] == 1 else None

    body = []
    for i in program.body:
        spread = alone(i.args[0], "reshape") if i.name == "fold" else None
        product = alone(spread.args[0], "matmul") if spread is not None else None
        if product is None or any(len(program.values[r].shape) != 2 for r in product.reads) or program.values[i.outs[0]].dtype not in ("float32", "float64"):
            body.append(i)
            continue
        assert spread is not None
        windows = program.values[spread.outs[0]].shape
        body.append(replace(i, name="fold_product", args=product.args, static={**i.static, "windows": windows}))
    return program.with_body(body)
