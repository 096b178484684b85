"""PyTorch, as a library of arrays: its namespace is array_api_compat.torch, its own autograd is never used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import array_api_compat.torch
import numpy
import torch

from backends.backend import BackendUnavailable
from backends.library import Library, Replay
from backends.program import Ref


class Compiled:
    """A Program under torch.compile: Inductor fuses what the replay calls. It needs a C++ compiler, and seconds at the first call."""

    def __init__(self, program: Any):
        self.program = program
        self.bare = replace(program, captured=(), outputs=tuple(y for y in program.outputs if type(y) is Ref))
        self.run: Any = None

    def __call__(self, arrays: list[Any]) -> list[Any]:
        arrays = [*arrays, *self.program.captured]
        if self.run is None:  # PyTorch's own calls, read off from a replay: its tracer of Python code stops at some of ours
            from torch.fx.experimental.proxy_tensor import make_fx  # heavy

            self.run = torch.compile(make_fx(lambda *arrays: self.bare.run(arrays))(*arrays), dynamic=False)
        made = iter(self.run(*arrays))
        return [next(made) if type(y) is Ref else y for y in self.program.outputs]

    def explain(self) -> str:
        return f"torch: {len(self.program.body)} instructions under torch.compile"


class Torch(Library):
    to_host = "{x}.cpu()"

    def __init__(self) -> None:
        super().__init__("torch", array_api_compat.torch, "torch")
        self.version = torch.__version__

    def device(self, name: str) -> Any:
        try:
            device = torch.device(name or "cpu")
        except RuntimeError as error:
            raise BackendUnavailable(f"no device {name!r}: {str(error).splitlines()[0]}") from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("torch finds no CUDA GPU (torch.cuda.is_available() is False): a driver or a CUDA build of torch is missing")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        return device

    def name_of(self, device: Any) -> str:
        return self.name if device.type == "cpu" else f"torch:{device}"

    def on_host(self, x: Any) -> bool:
        return bool(x.device.type == "cpu")

    def check_dtype(self, name: str, device: Any) -> None:
        if device.type == "mps" and name == "float64":
            raise BackendUnavailable("Apple's GPU has no float64; use float32, or the backend torch:cpu")

    def put(self, host: Any, device: Any, dtype: Any) -> Any:
        return torch.tensor(host, dtype=dtype, device=device)  # copies: torch would share even read-only memory

    def place(self, x: Any, device: Any) -> Any:
        return x.detach().to(device)

    def fetch(self, x: Any) -> Any:
        x = x.detach()
        if x.dtype == torch.bfloat16:
            raise TypeError("NumPy has no bfloat16; x.to(torch.float32) first")
        return numpy.asarray(x.cpu().contiguous().resolve_conj().resolve_neg())  # conj(x) may be a view with a flag

    lowerings = ("replay", "compile")

    def compile(self, program: Any, lowering: str | None) -> Any:
        return Compiled(program) if lowering == "compile" else Replay(program)

    def synchronize(self, device: Any) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)


library = Torch()

from backends._torch_gaps import gaps  # noqa: E402

library.gaps.update(gaps())
