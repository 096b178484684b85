"""A scan: the kernels of one step, walked as often as there are steps, with the addresses of what each step reads and writes moved on."""

from __future__ import annotations

from dataclasses import dataclass

from backends.native.emit import Function
from backends.native.workers import walk

COUNT, LIST, MOVES, MOVE = range(4)  # words: steps; the list of kernels; how many triples follow: where a word lies, what it begins with, what is added


@dataclass(frozen=True)
class Repeat:
    """void(table)."""

    def function(self, name: str) -> Function:
        f = Function(name, ["ptr"])
        count, list_, moves = f.word(COUNT), f.word(LIST), f.word(MOVES)

        def move(begin: bool) -> None:
            with f.loop(0, moves) as i:
                where, first, step = (f.load(f.parameters[0], MOVE + i * 3 + k, "int64") for k in range(3))
                place = f.pointer(where)
                f.store(place, 0, first if begin else f.load(place, 0, "int64") + step)

        move(begin=True)
        with f.loop(0, count):
            walk(f, list_)
            move(begin=False)
        f.done()
        return f
