"""What fit shows and returns: the progress line, the scores of an evaluation, the history of a training."""

from __future__ import annotations

import sys
import time
from typing import Any


class Scores(tuple):  # type: ignore[type-arg]
    """Values in order, (loss, accuracy, …), that also answer s["accuracy"], s.accuracy and dict(s)."""

    _names: tuple[str, ...]

    def __new__(cls, values: dict[str, float]) -> Scores:
        made = super().__new__(cls, values.values())
        made._names = tuple(values)
        return made

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


class History:
    """The values of each epoch: h["val_loss"], h.history, h.epoch."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def add(self, epoch: int, values: dict[str, float]) -> None:
        self.epoch.append(epoch)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.history:
            raise KeyError(f"{name!r}; there are {', '.join(self.history)}")
        return self.history[name]

    def __len__(self) -> int:
        return len(self.epoch)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.history.items())
        return f"History({len(self.epoch)} epochs{': ' + last if last else ''})"

    def plot(self) -> Any:
        """A figure of every value by epoch (needs matplotlib: the extra `plot`)."""
        from ann import plot

        return plot.history(self)


class Progress:
    """One line an epoch; on a terminal the line moves a few times a second. verbose: 0 silent, 1 moving, 2 lines, "auto"."""

    def __init__(self, verbose: Any, epochs: int, batches: int):
        if verbose not in (0, 1, 2, "auto", True, False):
            raise ValueError(f'fit: verbose is "auto", 0, 1 or 2; {verbose!r} came')
        moving = verbose is True or verbose == 1 or (verbose == "auto" and sys.stdout.isatty())
        self.mode = 0 if verbose in (0, False) else 1 if moving else 2
        self.epochs, self.batches = epochs, batches
        self.last = self.started = time.perf_counter()

    def start(self) -> None:
        self.last = self.started = time.perf_counter()

    def due(self) -> bool:
        """Whether a moving line wants new values: four times a second."""
        return self.mode == 1 and time.perf_counter() - self.last > 0.25

    def show(self, epoch: int, batch: int, values: dict[str, float], end: bool = False) -> None:
        if self.mode == 0 or (self.mode == 2 and not end):
            return
        self.last = time.perf_counter()
        seconds = self.last - self.started
        text = "   ".join(f"{name} {value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{name} {value:.2e}" for name, value in values.items())
        line = f"epoch {epoch + 1}/{self.epochs}   {batch}/{self.batches}   {seconds:.1f} s   {text}"
        sys.stdout.write(("\r\033[K" if self.mode == 1 else "") + line + ("\n" if end else ""))
        sys.stdout.flush()
