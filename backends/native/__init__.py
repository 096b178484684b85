"""The native lowering for NumPy arrays (extra `native`): a Program as kernels of machine code around NumPy's own BLAS, in step on our own threads.

    emit        LLVM IR as text, by arithmetic on values            operations, math    the functions of the standard on such values
    compile     a kernel's description → the address of its code    loops               Loop: an expression over strided operands, with reductions
    gemm        Gemm: a matrix product, in parts for each thread    blas                where the product is found, how many threads it has
    convolution direct: convolutions of any window, and their kernels    winograd       those of 3×3, by fewer products
    workers     Pool: threads that walk lists of kernels in step

Every kernel is void(int64_t* table). A program is, for each thread, a list of (kernel, table), closed by 0: the parts of an operation that a thread
does are tables of its own (pointers moved, lengths cut), so that kernels know nothing of threads, and the same kernel serves any shape. A barrier
is a kernel in the lists. The tables' words that point into arrays of the caller are bound at each run.

    addresses = compile.addresses([Loop(…), Gemm("float32", bits), Barrier()])
    pool(threads()).run(program, arrays)                   the program's words: workers.Run
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from typing import Any


def unavailable() -> str:
    """Why no program runs so here; empty where programs do."""
    if importlib.util.find_spec("llvmlite") is None:
        return "llvmlite is not installed; the extra `native` brings it"
    if sys.implementation.name != "cpython" or sys.maxsize < 1 << 32 or platform.system() == "Windows":
        return f"not made for {platform.python_implementation()} on {platform.system()}, {64 if sys.maxsize > 1 << 32 else 32} bits"
    from backends.native.blas import Blas, blas
    from backends.native.run import arrays_are_known

    found = blas()
    if not isinstance(found, Blas):
        return found
    return "" if arrays_are_known() else "this NumPy keeps its arrays otherwise"


def lower(program: Any) -> Any:
    """What runs the program, or in words why it cannot be run so."""
    if reason := unavailable():
        return reason
    from backends.native.blas import Blas, blas
    from backends.native.groups import CannotExpress
    from backends.native.run import NativeRun

    found = blas()
    assert isinstance(found, Blas)  # else it is unavailable
    try:
        return NativeRun(program, found)
    except CannotExpress as reason:
        return f"no kernel for {reason}"
