"""What there is no kernel for, done by NumPy between the kernels: sorting, linear algebra, x[index array] = value, …

    host = Host(instruction, …)        a kernel like others: host.address is a void(table); the table holds the addresses of what it reads and writes

It runs while nothing else does, with the threads that the BLAS had before the program. What it raises is kept, and raised when the program has ended.
"""

from __future__ import annotations

import ctypes
from typing import Any

from backends.library import known
from backends.native.blas import Blas
from backends.native.workers import programs_under_way
from backends.program.program import Instruction, results

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Host:
    """reads, writes: value → an array of its shape, dtype and strides, in the order of the table."""

    def __init__(self, instruction: Instruction, library: Any, reads: dict[int, Any], writes: dict[int, Any], blas: Blas):
        self.instruction, self.library, self.blas, self.threads = instruction, library, blas, blas.threads
        self.forms = [(v, {"shape": x.shape, "typestr": x.dtype.str, "strides": x.strides, "version": 3}, fixed) for of, fixed in ((reads, True), (writes, False)) for v, x in of.items()]
        self.failures: list[BaseException] = []
        self.function = FUNCTION(self.run)  # kept as long as it may be called
        self.address: int = ctypes.cast(self.function, ctypes.c_void_p).value or 0

    def run(self, table: int) -> None:
        if self.failures:
            return
        try:
            addresses = (ctypes.c_int64 * len(self.forms)).from_address(table)
            arrays = {v: known("numpy").xp.asarray(_At(form | {"data": (address, fixed)})) for (v, form, fixed), address in zip(self.forms, addresses, strict=True)}
            self.use(self.threads)
            try:
                found = results(self.library, self.instruction, arrays)
            finally:
                self.use(1)
            for out, x in zip(self.instruction.outs, found, strict=True):
                arrays[out][...] = x
        except BaseException as error:  # nothing may leave a function that machine code calls
            self.failures.append(error)

    def use(self, threads: int) -> None:
        """Of the BLAS, which the program holds at one; unless another one is under way, too."""
        if self.threads > 1 and programs_under_way() == 1:
            ctypes.CFUNCTYPE(None, ctypes.c_int)(self.blas.set)(threads)


class _At:
    """Memory as NumPy takes it for an array."""

    def __init__(self, interface: dict[str, Any]):
        self.__array_interface__ = interface
