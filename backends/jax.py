"""JAX, as a library of arrays: its namespace is jax.numpy, its own transformations are not needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy
import numpy

from backends.backend import BackendUnavailable
from backends.library import Library
from backends.program import Ref


class Compiled:
    """A Program under jax.jit: XLA compiles what the replay calls."""

    def __init__(self, program: Any):
        self.captured = program.captured
        self.size = len(program.body)
        self.outputs = program.outputs
        bare = replace(program, captured=(), outputs=tuple(y for y in program.outputs if type(y) is Ref))
        self.run = jax.jit(lambda *arrays: bare.run(arrays))

    def __call__(self, arrays: list[Any]) -> list[Any]:
        made = iter(self.run(*arrays, *self.captured))
        return [next(made) if type(y) is Ref else y for y in self.outputs]

    def explain(self) -> str:
        return f"jax: {self.size} instructions under jax.jit"


class Jax(Library):
    to_host = "jax.device_get({x})"

    def __init__(self) -> None:
        super().__init__("jax", jax.numpy, "JAX")
        self.version = jax.__version__

    def device(self, name: str) -> Any:
        kind, _, number = name.partition(":")
        try:
            return jax.devices(kind or None)[int(number or 0)]
        except (RuntimeError, IndexError, ValueError) as error:
            raise BackendUnavailable(f"no device {name!r}: {str(error).splitlines()[0]}") from None

    def device_of(self, x: Any) -> Any:
        """None for an array inside jax.jit, which has no device."""
        device = getattr(x, "device", None)
        return device if isinstance(device, jax.Device) else None

    def name_of(self, device: Any) -> str:
        return self.name if device is None or device.platform == "cpu" else f"jax:{device.platform}:{device.id}"

    def on_host(self, x: Any) -> bool:
        device = self.device_of(x)
        return device is not None and device.platform == "cpu"

    def check_dtype(self, name: str, device: Any) -> None:
        if name == "float64" and not jax.config.jax_enable_x64:
            raise BackendUnavailable('JAX computes in float64 only after jax.config.update("jax_enable_x64", True), before its first array')

    def put(self, host: Any, device: Any, dtype: Any) -> Any:
        host = numpy.asarray(host, dtype=dtype)
        if host.dtype.itemsize == 8 and host.dtype.kind in "iuf" and not jax.config.jax_enable_x64:
            narrow = numpy.dtype(f"{host.dtype.kind}4")  # what JAX would do by itself; here an integer that does not fit is an error
            if host.dtype.kind != "f" and host.size and not numpy.array_equal(host.astype(narrow), host):
                raise ValueError(f"x has {host.dtype} values that do not fit {narrow}, and JAX runs without 64-bit types")
            host = host.astype(narrow)
        return jax.device_put(numpy.array(host, copy=True), device)

    def place(self, x: Any, device: Any) -> Any:
        return x if self.device_of(x) in (device, None) else jax.device_put(x, device)

    def fetch(self, x: Any) -> Any:
        return numpy.array(x)

    lowerings = ("jax", "replay")

    def compile(self, program: Any, lowering: str | None) -> Any:
        return Compiled(program)

    def synchronize(self, device: Any) -> None:
        jax.device_put(0.0, device).block_until_ready()


library = Jax()

from backends._jax_gaps import gaps  # noqa: E402

library.gaps.update(gaps())
