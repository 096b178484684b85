"""python -m backends: which array libraries run here, why not, and what would make NumPy faster."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from backends.backend import available, status
from backends.library import known
from backends.native import unavailable

# Kernel families of OpenBLAS by the instructions they use, and the flags of processors that have these.
LEVELS = {"prescott": 0, "core2": 0, "nehalem": 1, "sandybridge": 2, "haswell": 3, "zen": 3, "skylakex": 4, "cooperlake": 4, "sapphirerapids": 4}
FLAGS = {"sse4_2": 1, "avx": 2, "avx2": 3, "avx512f": 4}


def blas() -> tuple[str, str, int | None]:
    """(library, kernel family, threads) of the OpenBLAS inside NumPy's wheel; empty where there is another BLAS."""
    numpy = known("numpy").xp
    folder = Path(numpy.__file__).parent
    for file in [*folder.parent.glob("numpy.libs/*openblas*"), *folder.glob(".dylibs/*openblas*")]:
        try:
            library = ctypes.CDLL(str(file))
            name = library.scipy_openblas_get_corename64_
            threads = library.scipy_openblas_get_num_threads64_
        except (OSError, AttributeError):
            continue
        name.restype = ctypes.c_char_p
        return "OpenBLAS", name().decode(), int(threads())
    config = numpy.show_config(mode="dicts") or {}
    return str(config.get("Build Dependencies", {}).get("blas", {}).get("name", "unknown BLAS")), "", None


def processor() -> int:
    """The level of instructions that the processor has, as far as the system tells; 0 where it does not."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return 0
    return max((level for flag, level in FLAGS.items() if flag in flags), default=0)


def hint(asked: str | None, kernel: str) -> str:
    """What to say where OPENBLAS_CORETYPE holds the products to older kernels than the processor has."""
    if not asked or LEVELS.get(kernel.lower(), 9) >= processor():
        return ""
    return f"hint: OPENBLAS_CORETYPE={asked} holds them to older kernels than this processor has; without it they can be about twice as fast."


def main() -> None:
    rows = [(name, state) for name, state in available().items()]
    rows += [(name, status(name)) for name in ("torch:cuda", "jax:gpu") if status(name.partition(":")[0]).usable]
    for name, state in rows:
        print(f"{name:<18}{state.version:<14}{'yes, ' + state.device if state.usable else 'no:  ' + state.reason}")
    library, kernel, threads = blas()
    print(f"\nNumPy's products: {library}{f', kernels for {kernel}' if kernel else ''}{f', {threads} threads' if threads else ''}")
    if advice := hint(os.environ.get("OPENBLAS_CORETYPE"), kernel):
        print(advice)
    reason = unavailable()
    print(f"jit of NumPy arrays: {f'NumPy calls on planned memory; machine code is faster, but {reason}' if reason else 'machine code, by LLVM'}")
    if reason or any(not state.usable for _, state in rows):
        print(f"extras: {sys.executable} -m pip install 'ann-array-api[torch]' (or jax, native, cuda12, cuda13)")


if __name__ == "__main__":
    main()
