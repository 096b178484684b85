"""Which products are one step with what follows them, done in registers for each tile of the product (epilogue.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.native.emit import is_float
from backends.native.gemm import Gemm
from backends.native.memory import touched
from backends.native.operations import LONG
from backends.native.steps import Fused, Group, Product, Use
from backends.program.program import Ref

if TYPE_CHECKING:
    from backends.native.plan import Plan

# what follows may read so many matrices, the product among them, where a thread makes so many bytes of it: of less than that a loop of its own is faster, as it
# knows the length of its rows, and of more, as each of its operands comes in one stream
MATRICES, BYTES = 3, (1 << 14, 1 << 19)


def fuse(plan: Plan) -> None:
    """A product that one group alone reads is made where the group comes, and with it, if that suits both."""
    g = plan.grouping
    results = {r for r in g.results if type(r) is Ref}
    readers: dict[int, list[int]] = {}
    for s, step in enumerate(g.steps):
        for root in touched(step)[0]:
            readers.setdefault(root, []).append(s)
    for s, p in enumerate(g.steps):
        if not isinstance(p, Product) or p.out in results or len(after := readers.get(p.out, [])) != 1:
            continue
        group = g.steps[after[0]]
        if isinstance(group, Group) and (uses := tiled(plan, p, group)) is not None:
            g.steps[after[0]], g.steps[s] = Fused(p, group, uses), Group(())
    g.steps = [step for step in g.steps if not isinstance(step, Group) or step.nodes]


def tiled(plan: Plan, p: Product, g: Group) -> list[Use] | None:
    """The group's uses along the product's rows and columns; None where it is not to be computed tile by tile."""
    (batch, m, n), dtype = p.c.shape, plan.grouping.dtypes[p.out]
    if batch > 1 or g.row is not None or any(node[0] in LONG or (is_float(node[1]) and node[1] != dtype) for node in g.nodes):
        return None
    shape, uses = plan.collapsed(g)
    if shape == [m * n]:
        uses = [use._replace(strides=(n * use.strides[0], use.strides[0])) for use in uses]
    elif shape != [m, n]:
        return None
    sinks = [uses[u] for u, _ in g.sinks]
    matrices = [use for use in uses if use not in sinks and 0 not in use.strides]
    if any(use.index for use in uses) or [use[2:4] for use in matrices if use.root == p.out] != [(0, (n, 1))]:
        return None
    if any(use.strides[1] == 0 or use.how not in (None, "sum") or use.shared - {0} for use in sinks):
        return None
    parts = [part for _, part in plan.parts(p)]
    if any(isinstance(plan.kernel(p, part), Gemm) or part.depth != parts[0].depth for part in parts):
        return None
    suits = len(matrices) == 1 or (len(matrices) <= MATRICES and BYTES[0] <= p.c.nbytes // len(parts) <= BYTES[1])
    return uses if suits else None
