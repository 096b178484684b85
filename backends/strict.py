"""array_api_strict: the standard and nothing else; the backend that keeps every formula portable."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy

from backends.backend import BackendUnavailable
from backends.library import Library

CPU = array_api_strict.Device("CPU_DEVICE")
NAMES = ("CPU_DEVICE", "device1", "device2", "no_float64", "no_x64")


class Strict(Library):
    def __init__(self) -> None:
        super().__init__("array_api_strict", array_api_strict, "array_api_strict")
        self.version = array_api_strict.__version__

    def device(self, name: str) -> Any:
        if name not in ("", *NAMES):
            raise BackendUnavailable(f"no device {name!r}; there are {', '.join(NAMES)}")
        return array_api_strict.Device(name or "CPU_DEVICE")

    def name_of(self, device: Any) -> str:
        return self.name if device == CPU else f"{self.name}:{str(device)[len('array_api_strict.Device(') + 1 : -2]}"

    def check_dtype(self, name: str, device: Any) -> None:
        self.xp.zeros(1, dtype=self.dtype(name), device=device)

    def fetch(self, x: Any) -> Any:
        return numpy.asarray(x.to_device(CPU))


library = Strict()
