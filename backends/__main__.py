"""python -m backends: which array libraries run here, why not, and what would make NumPy faster."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from backends.backend import available, status
from backends.library import known

OLDER = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen")


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


def has_avx512() -> bool:
    """Whether the processor has AVX-512, as far as the system tells."""
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def main() -> None:
    rows = [(name, state) for name, state in available().items()]
    rows += [(name, status(name)) for name in ("torch:cuda", "jax:gpu") if status(name.partition(":")[0]).usable]
    for name, state in rows:
        print(f"{name:<18}{state.version:<14}{'yes, ' + state.device if state.usable else 'no:  ' + state.reason}")
    library, kernel, threads = blas()
    print(f"\nNumPy's products: {library}{f', kernels for {kernel}' if kernel else ''}{f', {threads} threads' if threads else ''}")
    asked = os.environ.get("OPENBLAS_CORETYPE")
    if asked and kernel in OLDER and has_avx512():
        print(f"hint: OPENBLAS_CORETYPE={asked} holds them to older kernels than this processor has; without it they can be about twice as fast.")
    if any(not state.usable for _, state in rows):
        print(f"extras: {sys.executable} -m pip install 'ann-array-api[torch]' (or jax, cuda12, cuda13)")


if __name__ == "__main__":
    main()
