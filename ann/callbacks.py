"""Callbacks: what else happens while a model trains. fit(…, callbacks=[…]) tells each of them of every epoch and batch.

    class Halve(ann.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.learning_rate = self.model.learning_rate / 2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Callback:
    """The base of all callbacks: override what you need.

    self.model is the model, self.params {"epochs", "steps" (batches an epoch; None if unknown), "verbose"}. Epochs and
    batches count from 0. logs: the loss and the metrics by name, means since the beginning of the epoch; at the end of an
    epoch also those of the validation data ("val_loss"). Those of a batch are read from the device when they are asked for,
    so a callback that does not look costs nothing. `self.model.stop_training = True` ends the training after this batch.
    """

    model: Any
    params: dict[str, Any]
    loop: Any  # where the training stands
    last = False  # True: told after all others

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Before the first epoch; the model is built."""

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """After the last epoch; not when an error or an interrupt ended the training."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Before the first batch of an epoch."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """After the validation; what is added to logs (a dict here) goes into the History too."""

    def on_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Before a training step."""

    def on_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """After a training step."""

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Keras's longer name of on_batch_begin."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Keras's longer name of on_batch_end."""
        self.on_batch_end(batch, logs)

    @property
    def wants_batches(self) -> bool:
        """Whether it is told of batches: where one of those methods is overridden."""
        names = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
        return any(getattr(type(self), name) is not getattr(Callback, name) for name in names)


class History(Callback):
    """The values of each epoch: h["val_loss"], h.history, h.epoch. fit returns one."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        self.epoch.append(epoch)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.add(epoch, logs or {})

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


__all__ = ["Callback", "History"]
