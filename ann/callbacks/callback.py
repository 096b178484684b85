"""What a callback is, and the simple ones.

    class Halve(ann.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.learning_rate = self.model.learning_rate / 2

    model.fit(x, y, epochs=5, callbacks=[Halve()])
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from ann import markup

EVENTS = (
    "on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end",
    "on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end", "on_interrupt",
)  # fmt: skip


class Callback:
    """The base of all callbacks: override what you need.

    self.model is the model, self.params {"epochs", "steps" (batches an epoch; None if unknown), "verbose"}. Epochs and
    batches count from 0. logs: the loss and the metrics by name, means since the beginning of the epoch; at the end of an
    epoch also those of the validation data ("val_loss"). Those of a batch are read from the device when they are asked for,
    so a callback that does not look costs nothing. `self.model.stop_training = True` ends the training after this batch.

    What must survive a resume by BackupAndRestore goes through get_state and set_state.
    """

    model: Any
    params: dict[str, Any]
    loop: Any = None  # where the training stands
    last = False  # True: told after all others

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Before the first epoch; the model is built."""

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """After the last epoch; not when an error or an interrupt ended the training."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Before the first batch of an epoch; not again for an epoch that is resumed midway."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After the validation. What is added to logs, a dict here, goes to those told later and into the History."""

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

    def on_interrupt(self) -> None:
        """After Ctrl-C (or SIGTERM, if some callback overrides this method), at the end of the step or epoch; then fit ends."""

    def get_state(self) -> dict[str, Any]:
        """What a resume needs: numbers, strings, None, lists and dicts of them, and arrays."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state; called after on_train_begin."""

    def __getstate__(self) -> dict[str, Any]:
        """A pickle or a copy leaves the training behind."""
        return {name: value for name, value in self.__dict__.items() if name not in ("model", "loop")}

    @property
    def wants_batches(self) -> bool:
        """Whether it is told of batches: where one of those methods is overridden."""
        return any(_overrides(self, name) for name in EVENTS if "batch" in name)


def scalars(logs: Mapping[str, Any]) -> dict[str, float]:
    """The values that are single numbers; a metric may also give one a class, or a matrix."""
    return {name: value for name, value in logs.items() if isinstance(value, Real)}  # type: ignore[misc]


def _overrides(callback: Callback, event: str) -> bool:
    return getattr(type(callback), event) is not getattr(Callback, event)


class History(Callback):
    """The values of each epoch: h["val_loss"], h.history, h.epoch. fit returns one."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        self.epoch.append(epoch)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.add(epoch, logs or {})

    def get_state(self) -> dict[str, Any]:
        return {"epoch": list(self.epoch), "history": {name: list(values) for name, values in self.history.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        self.epoch, self.history = state["epoch"], state["history"]

    def __getstate__(self) -> dict[str, Any]:
        return self.get_state()  # a pickle or a copy leaves the model behind

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.history:
            raise KeyError(f"{name!r}; there are {', '.join(self.history)}")
        return self.history[name]

    def __len__(self) -> int:
        return len(self.epoch)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={value:.4g}" for name, value in scalars({name: values[-1] for name, values in self.history.items()}).items())
        return f"History({len(self.epoch)} epochs{': ' + last if last else ''})"

    def _repr_html_(self) -> str:
        rows = [
            [str(epoch + 1), *(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)]
            for epoch, *values in zip(self.epoch, *self.history.values(), strict=False)
        ]
        return markup.table(["epoch", *self.history], rows)

    def plot(self) -> Any:
        """A figure of every value by epoch (needs matplotlib: the extra `plot`)."""
        from ann import plot

        return plot.history(self)


class LambdaCallback(Callback):
    """Functions as callbacks: LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))."""

    def __init__(self, **functions: Callable[..., None]):
        for event, function in functions.items():
            if event not in EVENTS:
                nearest = difflib.get_close_matches(event, EVENTS, 1)
                raise TypeError(f"LambdaCallback: no event {event!r}.{f' Did you mean {nearest[0]!r}?' if nearest else ''} There are {', '.join(EVENTS)}.")
            setattr(self, event, function)
        self._batches = any("batch" in event for event in functions)

    @property
    def wants_batches(self) -> bool:
        return self._batches


class LearningRateScheduler(Callback):
    """learning_rate = schedule(epoch, learning_rate) before each epoch; or schedule(epoch). It replaces the optimizer's own schedule.

    A rate that changes from step to step is a schedule of the optimizer: ann.Adam(ann.schedules.CosineDecay(1e-3, 1000)).
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        self.schedule, self.verbose = schedule, verbose
        count = sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in inspect.signature(schedule).parameters.values())
        self._takes_rate = count > 1

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        rate = self.schedule(epoch, self.model.learning_rate) if self._takes_rate else self.schedule(epoch)
        if not (hasattr(rate, "__float__") and 0 <= float(rate) < float("inf")):
            raise ValueError(f"LearningRateScheduler: the schedule gave {rate!r} for epoch {epoch}; a non-negative number is wanted")
        self.model.learning_rate = float(rate)
        if self.verbose:
            print(f"epoch {epoch + 1}: learning rate {float(rate):.4g}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["learning_rate"] = self.model.learning_rate


class TerminateOnNaN(Callback):
    """Ends the training where fit otherwise raises FloatingPointError: when the loss is not finite.

    It looks after every step, which waits for the device; the model is then as before the bad step. on_train_end is told,
    and the epoch that broke off is not in the History.
    """

    def on_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        assert logs is not None
        logs["loss"]
