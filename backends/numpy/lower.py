"""A Program as straight-line NumPy: one line an instruction, on buffers that are planned and viewed once.

    def make():                       # for each thread that runs the program at one time
        b0 = buffer(0, (32, 10), "float32")
        def run(x0, x1):
            dot(x0, x1, b0)
            add(b0, x2, b0)
            …
            return [b0]
        return run

What a replay allocates are its results, and what NumPy has no `out` for. Runs of instructions that treat the rows of large arrays
alike are done in blocks of rows that stay in the cache. Before that, passes of NumPy's own rewrite the program; each has its file:

    sums    sums to one number in fewer calls          taps    a convolution's gradient by its input, tap by tap
    early   a bias is added to images                  slabs   large convolutions a few examples at a time
    places  parts are made where they belong           pack    the same short chains, end to end
    cells   convolutions in blocks, pools in order     first   0-d arithmetic
"""

from __future__ import annotations

import functools
from operator import is_
from typing import Any

import numpy as np

from backends.numpy.cells import cells
from backends.numpy.early import early
from backends.numpy.pack import pack
from backends.numpy.places import places
from backends.numpy.scalars import first
from backends.numpy.slabs import slabs
from backends.numpy.sums import sums
from backends.numpy.taps import taps
from backends.numpy.writer import Writer
from backends.program.passes import simplify
from backends.program.program import Program, spare

Array = Any
PASSES = (simplify, sums, early, places, cells, taps, slabs, pack, first)


class NumPyRun:
    """What runs a Program on NumPy arrays. It may be called from several threads: each call in progress has its own buffers."""

    why_not_native = ""  # the reason, for explain()

    def __init__(self, program: Program):
        self.program = functools.reduce(lambda p, step: step(p), PASSES, program)
        writer = Writer(self.program, NumPyRun)
        self.source, self.constants = writer.source()
        self.spared = writer.spared  # lines of the source before the first that writes into donated memory
        scope = dict(self.constants)
        exec(compile(self.source, "<program>", "exec"), scope)
        self._make = scope["make"]
        self._idle: list[Any] = []
        self.donated = sorted(set(self.program.donated.values()))
        self._others = [place for place in range(len(self.program.inputs)) if place not in self.donated]
        self._owned: tuple[list[Any], set[int]] = [None] * len(self.donated), set()  # donated arrays as last seen, what their memory belongs to

    def __call__(self, arrays: list[Array]) -> list[Array]:
        program = self.program
        arrays = [*arrays, *program.captured] if program.captured else arrays
        if self.donated:
            arrays = self._own(arrays)
        try:
            run = self._idle.pop()
        except IndexError:
            run = self._make()
        try:
            results: list[Array] = run(*arrays)
        except BaseException as error:
            inside = error.__traceback__.tb_next  # type: ignore[union-attr]
            if self.donated and inside is not None and inside.tb_lineno <= self.spared:
                spare(error)
            raise
        self._idle.append(run)
        return results

    def _own(self, arrays: list[Array]) -> list[Array]:
        """The arrays, copied where writing into the donated ones would be seen elsewhere.

        Of donated arrays those that are read-only, not NumPy's own memory, or share memory with another donated one; of the
        others those that share memory with a donated one.
        """
        last, roots = self._owned
        if not all(map(is_, map(arrays.__getitem__, self.donated), last)):
            arrays = list(arrays)
            roots = self._admit(arrays)
        for place in self._others:
            x = arrays[place]
            root = _root(x)
            if id(root) in roots or (not isinstance(root, np.ndarray | np.generic) and any(np.may_share_memory(x, arrays[k]) for k in self.donated)):
                arrays = list(arrays)
                arrays[place] = np.array(x, copy=True)
        return arrays

    def _admit(self, arrays: list[Array]) -> set[int]:
        """Donated arrays that were not seen before, copied where they must not be written; what the memory of all of them belongs to."""
        seen: dict[int, list[Array]] = {}
        for place in self.donated:
            x = arrays[place]
            plain = type(x) is np.ndarray and x.flags.writeable and x.dtype.isnative and isinstance(_root(x), np.ndarray)
            if not plain or any(np.may_share_memory(x, y) for y in seen.get(id(_root(x)), ())):
                x = arrays[place] = np.array(x, dtype=x.dtype.newbyteorder("="), order="C")
            seen.setdefault(id(_root(x)), []).append(x)
        roots = set(seen)
        self._owned = [arrays[place] for place in self.donated], roots
        return roots

    def explain(self) -> str:
        reason = f"; not native: {self.why_not_native}" if self.why_not_native else ""
        lines = self.source.count("\n")
        return f"numpy: {len(self.program.body)} instructions as {lines} lines of NumPy calls on planned buffers{reason}"


def _root(x: Any) -> Any:
    """What the memory of x belongs to: an array, or a foreign thing (a buffer, a tensor, a capsule) that others may hold in other ways."""
    while (base := getattr(x, "base", None)) is not None:
        x = base
    return x
