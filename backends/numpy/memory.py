"""Whose memory a value is written in: how long it lives, and which results take the memory of donated inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from backends.numpy.places import TOGETHER, keys
from backends.numpy.rules import VIEWS, by_ufunc
from backends.program.program import Program, Ref, size


class Memory:
    """root_of: the value whose memory a value is. last_use: of each root, the last instruction that reads it through any view.

    taken: a result → the donated input in whose memory it is written.
    placed: a value → what it is a part of, and where in it (places.py): it is made there.
    held: a result → the pack of donated inputs in whose memory it is written; packs: such a pack → (output, input, where it starts).
    """

    def __init__(self, program: Program):
        self.program = program
        self.root_of: dict[Ref, Ref] = {r: r for r in program.inputs}
        self.last_use: dict[Ref, int] = {}
        self.held: dict[Ref, Ref] = {}
        self.packs: dict[Ref, list[tuple[int, int, int]]] = {}
        self.taken: dict[Ref, Ref] = {}
        self.where_it_dies()
        self.find_held()
        self.find_taken()
        self.placed: dict[Ref, tuple[Ref, Any]] = {}
        self.find_placed()

    def where_it_dies(self) -> None:
        p, root, last = self.program, self.root_of, self.last_use
        for n, i in enumerate(p.body):
            for r in i.reads:
                last[root[r]] = n
            for out in i.outs:
                root[out] = root[i.args[0]] if i.name in VIEWS and not (i.name == "get_item" and i.args[1]) else out
                last[root[out]] = n
        for y in p.outputs:
            if type(y) is Ref:
                last[root[y]] = len(p.body)

    def find_taken(self) -> None:
        """Results of ufuncs, given out for a donated input that nothing reads later."""
        p = self.program
        packed = {p.inputs[place] for views in self.packs.values() for _, place, _ in views}
        for n, i in enumerate(p.body):
            for out in i.outs:
                for k, place in p.donated.items():
                    x = p.inputs[place]
                    if p.outputs[k] == out and x not in packed and by_ufunc(p.values, i) and self.last_use.get(x, -1) <= n:
                        self.taken[out] = x

    def find_placed(self) -> None:
        """Parts that are made by a ufunc, or contiguous ones that are a product or a sum, and are not given out themselves."""
        p = self.program
        maker = {out: i for i in p.body for out in i.outs}
        for i in p.body:
            if i.name not in TOGETHER or i.outs[0] in self.packs:
                continue
            y = i.outs[0]
            whole = np.empty(p.values[y].shape, p.values[y].dtype)
            for r, key in zip(i.args[0], keys(p.values, i), strict=True):
                while r in maker and maker[r].name == "reshape":
                    r = maker[r].args[0]
                made = maker.get(r)
                if made is None or p.values[r].dtype != p.values[y].dtype or r in self.placed or r in self.held or r in p.outputs or not p.values[r].shape:
                    continue
                part = whole[key]
                if made.name in ("matmul", "sum") and part.flags.c_contiguous or (by_ufunc(p.values, made) and can_be(part, p.values[r].shape)):
                    self.placed[r] = y, key
        for r, root in self.root_of.items():
            if root in self.placed:
                self.root_of[r] = self.placed[root][0]
        for r in self.placed:
            last = self.last_use.pop(r)
            y = self.placed[r][0]
            self.last_use[y] = max(self.last_use[y], last)

    def find_held(self) -> None:
        """Packs of donated inputs whose results are given out again as such a pack: their memory stays from call to call.

        What is given out are views of it. Where the next call brings these very views back, nothing is copied.
        """
        p = self.program
        maker = {out: i for i in p.body for out in i.outs}
        place_of = {r: k for k, r in enumerate(p.inputs)}

        def through_reshape(r: Ref) -> Ref:
            return maker[r].args[0] if r in maker and maker[r].name == "reshape" else r

        def source(k: int) -> tuple[Ref, int] | None:
            """(pack, start) of output k, where it is a slice of one."""
            i = maker.get(through_reshape(p.outputs[k]))
            if i is None or i.name != "get_item" or i.args[1] or not isinstance(i.static["key"], tuple) or len(i.static["key"]) != 1:
                return None
            part, n = i.static["key"][0], size(p.values[p.outputs[k]])
            return (i.args[0], part.start) if isinstance(part, slice) and part.start is not None and part == slice(part.start, part.start + n) else None

        given = {place: (k, source(k)) for k, place in p.donated.items()}
        for n, i in enumerate(p.body):
            if i.name != "concat" or i.static["axis"] != 0 or len(p.values[i.outs[0]].shape) != 1:
                continue
            places = [place_of.get(through_reshape(r)) for r in i.args[0]]
            starts = [sum(size(p.values[r]) for r in i.args[0][:k]) for k in range(len(places))]
            found = [given.get(place) if place is not None else None for place in places]
            if not all(f is not None and f[1] is not None for f in found):
                continue
            results = {f[1][0] for f in found}  # type: ignore[index]
            if len(results) != 1 or [f[1][1] for f in found] != starts:  # type: ignore[index]
                continue
            (result,) = results
            made = maker.get(result)
            if made is None or not by_ufunc(p.values, made) or p.values[result] != p.values[i.outs[0]]:
                continue
            if self.last_use[i.outs[0]] <= p.body.index(made) and all(self.last_use[p.inputs[place]] <= n for place in places):  # type: ignore[index]
                self.held[result] = i.outs[0]
                self.packs[i.outs[0]] = [(f[0], place, start) for f, place, start in zip(found, places, starts, strict=True)]  # type: ignore[index,misc]


def can_be(x: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether the array has a view of this shape."""
    try:
        np.reshape(x, shape, copy=False)
    except ValueError:
        return False
    return True
