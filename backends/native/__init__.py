"""The native lowering for NumPy arrays (extra `native`): a Program as kernels of machine code, on threads of our own.

Matrix products are our own, too, where those are faster, and else those of NumPy's BLAS.

How a Program gets there, each file one step:

    rewrite, convolution.direct, winograd.convolved      what loops or kernels do better is written so
    rules, groups → steps       groups that one Loop computes, products, convolutions, random bits; views are places in memory
    fuse                        a product with what follows it in its tiles is one step
    memory                      the order of the steps, and where what they read and write lies
    plan                        each thread's share; a new phase where one would meet what another wrote
    run                         tables, and what happens at a run
    call                        trees of arguments → run → tree of results, as one function

and what a kernel is made of:

    emit                        LLVM IR as text, by arithmetic on values
    operations, math            the functions of the standard on such values
    loops, beside, gemm, small, blocked, epilogue, convolution, winograd, philox, cumulative, repeat      kernels: hashable descriptions, with function(name) → the IR
    host                        what has no kernel, done by NumPy between kernels: only what has a dtype without kernels (complex) cannot be run so
    compile                     descriptions → addresses of code, kept for the process and on disk
    blas                        where NumPy's matrix product is found, how many threads it has
    workers                     Pool: threads that take the tasks of phases

Every kernel is void(int64_t* table). What a thread does of a step is a table of its own (pointers moved, lengths cut), so that kernels know nothing
of threads, and the same code serves any shape. Tables are absolute but for the words that point into the caller's arrays, which are bound at each call.

To add a kernel: a frozen dataclass with function(name); a step in steps.py with `reads` and `writes`; a rule that makes it; a method of Plan that
gives, for each thread, Entries of kernel, words and the memory touched.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from typing import Any

LEAST = (0, 45)  # of llvmlite: LLVM 20


def unavailable() -> str:
    """Why no program runs so here; empty where programs do."""
    if importlib.util.find_spec("llvmlite") is None:
        return "llvmlite is not installed; the extra `native` brings it"
    import llvmlite

    if tuple(map(int, llvmlite.__version__.split(".")[:2])) < LEAST:
        return f"llvmlite {llvmlite.__version__} is too old; the extra `native` brings {'.'.join(map(str, LEAST))} or later"
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
    from backends.native.run import NativeRun
    from backends.native.steps import CannotExpress

    found = blas()
    assert isinstance(found, Blas)  # else it is unavailable
    try:
        return NativeRun(program, found)
    except CannotExpress as reason:
        return f"no kernel for {reason}"
