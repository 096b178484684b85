"""NumPy: the library that is always there, the host of all data, and the gate through which foreign data enter."""

from __future__ import annotations

from typing import Any

import numpy

from backends.library import Library
from backends.numpy.gate import gate, plain


class NumPy(Library):
    def __init__(self) -> None:
        super().__init__("numpy", numpy, "NumPy")
        self.version = numpy.__version__
        self.gate = gate

    def device(self, name: str) -> Any:
        if name not in ("", "cpu"):
            raise ValueError(f'backend "numpy:{name}": NumPy computes on the CPU only; write "numpy"')
        return "cpu"

    def put(self, host: Any, device: Any, dtype: Any) -> Any:
        return numpy.asarray(host, dtype=dtype)

    def place(self, x: Any, device: Any) -> Any:
        return gate(x)

    def fetch(self, x: Any) -> Any:
        return x

    def place_of(self, x: Any) -> Any:
        return None if type(x) is numpy.ndarray or isinstance(x, numpy.generic) else type(x)

    def admit(self, x: Any) -> None:
        plain(x)

    def scalar(self, number: Any, dtype: str, device: Any) -> Any:
        return numpy.asarray(number, dtype=dtype)

    lowerings = ("native", "numpy", "replay")

    def compile(self, program: Any, lowering: str | None) -> Any:
        from backends import native  # at the first jit: not at import

        run = native.lower(program) if lowering != "numpy" else ""
        if not isinstance(run, str):
            return run
        if lowering == "native":
            raise ValueError(f"jit: the native lowering cannot run this program: {run}")
        from backends.numpy.lower import NumPyRun

        made = NumPyRun(program)
        made.why_not_native = run
        return made


library = NumPy()

from backends.numpy.gaps import gaps  # noqa: E402  (the gaps dispatch on the library above)

library.gaps.update(gaps())
