"""CuPy: NumPy on NVIDIA GPUs; its namespace is array_api_compat.cupy, which supplies what CuPy lacks of the standard."""

from __future__ import annotations

import functools
from typing import Any

import array_api_compat.cupy
import cupy

from backends.backend import BackendUnavailable
from backends.library import Library


class Device(cupy.cuda.Device):  # type: ignore[misc]
    """CuPy's device, hashable: a part of the key of a compiled program."""

    def __hash__(self) -> int:
        return hash(self.id)


class CuPy(Library):
    to_host = "cupy.asnumpy({x})"

    def __init__(self) -> None:
        super().__init__("cupy", array_api_compat.cupy, "CuPy")
        self.version = cupy.__version__

    def device(self, name: str) -> Any:
        if not cupy.cuda.is_available():
            raise BackendUnavailable(_no_gpu())
        try:
            number = int(name or cupy.cuda.runtime.getDevice())
        except ValueError:
            raise BackendUnavailable(f'no device {name!r}; devices are numbers: "cupy:0"') from None
        if not 0 <= number < (count := cupy.cuda.runtime.getDeviceCount()):
            raise BackendUnavailable(f"no GPU {number}: CUDA finds {count}, counted from 0")
        return _device(number)

    def device_of(self, x: Any) -> Any:
        return _device(x.device.id)

    def show_device(self, device: Any) -> str:
        return f"cuda:{device.id}"

    def name_of(self, device: Any) -> str:
        return self.name if device.id == 0 else f"cupy:{device.id}"

    def on_host(self, x: Any) -> bool:
        return False

    def put(self, host: Any, device: Any, dtype: Any) -> Any:
        with device:
            return cupy.asarray(host, dtype=dtype)

    def place(self, x: Any, device: Any) -> Any:
        if x.device == device:
            return x
        with device:
            return cupy.array(x)

    def fetch(self, x: Any) -> Any:
        return cupy.asnumpy(x)

    def synchronize(self, device: Any) -> None:
        device.synchronize()

    def explain(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if "nvrtc" in str(error).lower() or "DynamicLib" in type(error).__name__:
            return f"CuPy finds a GPU but not NVRTC, which compiles its kernels ({text}). pip install 'ann-array-api[cuda12]' (or [cuda13]) brings it."
        if "OutOfMemory" in type(error).__name__:
            return f"the GPU has no memory left for two numbers ({text}); another process holds it"
        return f"a first kernel fails on the GPU ({text})"


@functools.cache
def _device(number: int) -> Device:
    return Device(number)


def _no_gpu() -> str:
    """Why CUDA sees no GPU: there is no driver, or the driver finds no device."""
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        status = getattr(error, "status", None)
        if status == 35:
            return f"CuPy {cupy.__version__} is installed, but this machine has no NVIDIA driver, or one too old for it ({error}). Install the driver; nvidia-smi shows it."
        return f"CuPy {cupy.__version__} is installed and the driver runs, but CUDA finds no GPU ({error}). Look at CUDA_VISIBLE_DEVICES and nvidia-smi."
    return f"CuPy {cupy.__version__} is installed, but CUDA finds no GPU"


library = CuPy()

from backends.cupy.gaps import gaps  # noqa: E402

library.gaps.update(gaps())
