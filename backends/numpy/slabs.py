"""slabs: a convolution multiplies the windows of a few examples at a time, while they are in the cache.

    Y = X·w  and  dw = Xᵀ·dy,  where X, the windows of all examples as rows, is as large as many images
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backends.numpy.bands import Bands
from backends.program.program import Instruction, Program, size

Array = Any
LARGE = 1 << 22  # bytes of a matrix of windows that is not made
SLAB = 1 << 21  # bytes of the windows of a few examples


def slabs(program: Program) -> Program:
    """matmul(X, w) → slab_product(windows, w), matmul(Xᵀ, dy) → slab_gradient(windows, dy), where X is large and read by such products alone."""
    w = Bands(program)

    def rewritten(i: Instruction) -> Instruction:
        if i.name != "matmul":
            return i
        transposed = w.source(i.args[0], "permute_dims")
        x = i.args[0] if transposed is None else transposed
        view = w.windows_of(x)
        dtypes = {program.values[r].dtype for r in i.reads}
        if view is None or not w.only_multiplied(x) or len(dtypes) > 1 or dtypes & {"float32", "float64"} != dtypes:
            return i
        bytes_ = size(program.values[x]) * np.dtype(program.values[x].dtype).itemsize
        name = "slab_product" if transposed is None else "slab_gradient"
        return i if bytes_ < LARGE else replace(i, name=name, args=(view.outs[0], i.args[1]))

    return program.with_body([rewritten(i) for i in program.body])


def multiply(windows: Array, kernel: Array, y: Array, slab: Array) -> None:
    """y = X·w"""
    rows, b = len(y) // len(windows), len(slab)
    for i in range(0, len(windows), b):
        part = slab[: len(windows) - i]
        part[...] = windows[i : i + b]
        np.dot(part.reshape(-1, len(kernel)), kernel, y[i * rows : (i + b) * rows])


def gradient(windows: Array, dy: Array, dw: Array, slab: Array, term: Array) -> None:
    """dw = Xᵀ·dy"""
    rows, b = len(dy) // len(windows), len(slab)
    dw.fill(0)
    for i in range(0, len(windows), b):
        part = slab[: len(windows) - i]
        part[...] = windows[i : i + b]
        np.dot(part.reshape(-1, len(dw)).T, dy[i * rows : (i + b) * rows], term)
        np.add(dw, term, dw)
