"""The matrix product of the BLAS that NumPy has loaded: its address, its integers, its threads."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from backends.library import known

# (symbol, bits of its integers), the first that is there; {} is s or d
SYMBOLS = (("scipy_cblas_{}gemm64_", 64), ("cblas_{}gemm64_", 64), ("scipy_cblas_{}gemm", 32), ("cblas_{}gemm", 32))
THREADS = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")


@dataclass(frozen=True)
class Blas:
    """path: the library's file; single, double: the addresses of sgemm and dgemm; get, set: of its number of threads, 0 where it has none."""

    path: str
    bits: int
    single: int
    double: int
    get: int
    set: int

    def gemm(self, dtype: str) -> int:
        return self.single if dtype == "float32" else self.double

    @property
    def threads(self) -> int:
        """How many threads it uses now; 0 where it does not say."""
        return ctypes.CFUNCTYPE(ctypes.c_int)(self.get)() if self.get else 0


@functools.cache
def blas() -> Blas | str:
    """What NumPy multiplies matrices with, or the reason why it cannot be called from here."""
    tried = []
    for path in loaded():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        tried.append(Path(path).name)
        for symbol, bits in SYMBOLS:
            single, double = _address(library, symbol.format("s")), _address(library, symbol.format("d"))
            if single and double:
                get, set_ = (next((a for name in THREADS if (a := _address(library, name.format(what)))), 0) for what in ("get", "set"))
                return Blas(path, bits, single, double, get if set_ else 0, set_ if get else 0)
    return f"no cblas_sgemm in {', '.join(tried)}" if tried else "the BLAS that NumPy uses was not found among the loaded libraries"


def _address(library: ctypes.CDLL, name: str) -> int:
    try:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


def loaded() -> list[str]:
    """Files in which NumPy's BLAS may be: those of its wheel, then libraries of this process whose name says so."""
    folder = Path(known("numpy").xp.__file__).parent
    wheel = [str(path) for path in [*folder.parent.glob("numpy.libs/*blas*"), *folder.glob(".dylibs/*blas*"), *folder.parent.glob("numpy.libs/*mkl*")]]
    if wheel:
        return wheel
    if sys.platform == "darwin":
        return ["/System/Library/Frameworks/Accelerate.framework/Accelerate"]
    try:
        paths = {line.split(maxsplit=5)[5].strip() for line in Path("/proc/self/maps").read_text().splitlines() if line.count("/")}
    except (OSError, IndexError):
        return []
    return sorted(path for path in paths if any(word in os.path.basename(path).lower() for word in ("blas", "mkl_rt", "blis", "armpl")))


def threads() -> int:
    """How many threads a program may use: as many as the BLAS, but no more than there are cores for this process."""
    found = blas()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, found.threads or cores)) if isinstance(found, Blas) else 1
