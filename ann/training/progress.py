"""What fit shows and evaluate returns: the progress line, and scores that answer by name."""

from __future__ import annotations

import sys
import time
from typing import Any

from ann.callbacks.callback import Callback, scalars


class Scores(tuple):  # type: ignore[type-arg]
    """Values in order, (loss, accuracy, …), that also answer s["accuracy"], s.accuracy and dict(s)."""

    _names: tuple[str, ...]

    def __new__(cls, values: dict[str, float]) -> Scores:
        made = super().__new__(cls, values.values())
        made._names = tuple(values)
        return made

    def __getnewargs__(self) -> tuple[dict[str, float]]:
        """For pickle and copy."""
        return (dict(self),)

    def keys(self) -> tuple[str, ...]:
        return self._names

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        if key not in self._names:
            raise KeyError(f"{key!r}; there are {', '.join(self._names)}")
        return super().__getitem__(self._names.index(key))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"no score {name!r}; there are {', '.join(self._names)}")
        return self[name]

    def __repr__(self) -> str:
        return f"Scores({', '.join(f'{name}={value:.4g}' for name, value in zip(self._names, self, strict=True))})"


class Progress(Callback):
    """One line an epoch; on a terminal the line moves a few times a second. verbose: 0 silent, 1 moving, 2 lines, "auto"."""

    def __init__(self, verbose: Any):
        if verbose not in (0, 1, 2, "auto", True, False):
            raise ValueError(f'fit: verbose is "auto", 0, 1 or 2; {verbose!r} came')
        moving = verbose is True or verbose == 1 or (verbose == "auto" and sys.stdout.isatty())
        self.mode = 0 if verbose in (0, False) else 1 if moving else 2
        self.last_shown = self.started = time.perf_counter()

    @property
    def wants_batches(self) -> bool:
        return self.mode == 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.last_shown = self.started = time.perf_counter()

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.perf_counter() - self.last_shown > 0.25:
            self.show(self.loop.epoch, batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.mode:
            self.show(epoch, self.params["steps"], logs, end="\n")

    def show(self, epoch: int, batch: int, values: Any, end: str = "") -> None:
        self.last_shown = time.perf_counter()
        text = "   ".join(f"{name} {value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{name} {value:.2e}" for name, value in scalars(values).items())
        steps = f"/{self.params['steps']}" if self.params["steps"] is not None else ""
        line = f"epoch {epoch + 1}/{self.params['epochs']}   {batch}{steps}   {self.last_shown - self.started:.1f} s   {text}"
        sys.stdout.write(("\r\033[K" if self.mode == 1 else "") + line + end)
        sys.stdout.flush()
