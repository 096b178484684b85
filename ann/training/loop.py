"""The loop of fit: epochs of steps; who is told of them; where it stands, so that it can stop and go on anywhere."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ann.callbacks import Callback, TerminateOnNaN
from ann.training.signals import Deferred
from ann.training.source import Batches, Rows
from ann.training.step import Tally
from backends import namespace, tree
from backends.stream import Stream

Array = Any
Tree = Any


class Logs(Mapping[str, float]):
    """The losses and metrics after a batch (but those of the whole epoch), read from the device when they are first asked for."""

    def __init__(self, loop: Loop):
        self.loop, self.tally = loop, loop.tally.copy()
        self.values_read: dict[str, float] | None = None

    def __getitem__(self, name: str) -> float:
        if self.values_read is None:
            self.values_read = self.loop.read(self.tally, whole=False)
        return self.values_read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tally.names(whole=False))

    def __len__(self) -> int:
        return len(self.tally.names(whole=False))

    def __repr__(self) -> str:
        return repr(dict(self))


class NonFinite(FloatingPointError):
    """The loss or a parameter is NaN or infinite."""


class Loop:
    """One training: `epochs` epochs of the source's batches. It stands before batch `batch` of epoch `epoch`.

    validate() → {"val_loss": …} after each epoch. Where values are read they must be finite: else FloatingPointError, and the
    model is as at the last reading. Ctrl-C waits for the end of the step (or of the epoch: its validation and callbacks).
    """

    def __init__(self, model: Any, source: Rows | Batches, validate: Callable[[], dict[str, float]] | None, epochs: int, callbacks: list[Callback], verbose: Any):
        self.model, self.source, self.validate, self.epochs = model, source, validate, epochs
        self.callbacks = sorted(callbacks, key=lambda callback: callback.last)
        self.batch_listeners = [callback for callback in self.callbacks if callback.wants_batches]
        self.epoch = self.batch = 0
        self.tally = Tally(model._task)
        for callback in self.callbacks:
            callback.model, callback.loop = model, self
            callback.params = {"epochs": epochs, "steps": source.count, "verbose": verbose}

    def run(self) -> None:
        saved_on_signal = any(type(callback).on_interrupt is not Callback.on_interrupt for callback in self.callbacks)
        self.model.stop_training = False
        try:
            with Deferred(signal.SIGINT, *([signal.SIGTERM] if saved_on_signal else [])) as self.signals:
                self.tell("on_train_begin", {})
                self.good = self.model._snapshot()  # a compiled step writes in place
                try:
                    while self.epoch < self.epochs and not self.model.stop_training:
                        self.run_epoch()
                        self.rest()
                except NonFinite as error:
                    if not any(isinstance(callback, TerminateOnNaN) for callback in self.callbacks):
                        raise
                    print(error)
            self.tell("on_train_end", {})
        except BaseException as error:
            if self.model._mid_step:  # a second Ctrl-C, an index out of range: the step is half done
                error.add_note(f"fit: the step had begun to write, so the parameters are those after step {self.good[3]}, as at the last reading, not after step {self.model._now[3]}")
                self.model._now, self.model._mid_step = self.good, False
            raise
        finally:
            for callback in self.callbacks:
                callback.loop = None  # it holds the data

    def run_epoch(self) -> None:
        """The rest of this epoch: steps, validation."""
        model, stream = self.model, Stream(self.model.seed)
        if self.batch == 0:
            self.tally = Tally(model._task)
            self.tell("on_epoch_begin", self.epoch, {})
        step = model._step()
        with contextlib.closing(self.source.batches(stream["shuffle"].at(model._epochs), self.epoch, self.batch)) as batches:
            for batch in batches:
                if self.batch_listeners:
                    for listener in self.batch_listeners:
                        listener.on_train_batch_begin(self.batch, {})
                    step = model._step()  # they may have changed the learning rate
                self.tally.add(model._advance(step, *batch))
                number, self.batch = self.batch, self.batch + 1
                if self.batch_listeners:
                    logs = Logs(self)
                    for listener in self.batch_listeners:
                        listener.on_train_batch_end(number, logs)
                self.rest()
                if model.stop_training:
                    break
        values = self.read(self.tally)
        if self.validate is not None:
            values |= self.validate()
        for callback in self.callbacks:
            callback.params["steps"] = self.source.count  # of an iterable known only now
        epoch, self.epoch, self.batch = self.epoch, self.epoch + 1, 0
        model._epochs += 1
        self.tell("on_epoch_end", epoch, values)

    def rest(self) -> None:
        """Between two steps, where everything is consistent: a signal that came meanwhile acts."""
        if self.signals.pending is not None:
            self.tell("on_interrupt")
            self.signals.deliver()

    def read(self, tally: Tally, whole: bool = True) -> dict[str, float]:
        """The values as Python floats. FloatingPointError, and the model as it was, unless loss and parameters are finite."""
        model, values = self.model, tally.values(whole)
        wrong = f"the loss is {values['loss']}" if not abs(values["loss"]) < float("inf") else self._not_finite()
        if wrong:
            step, rate = model._now[3], model.learning_rate
            model._now = self.good
            raise NonFinite(
                f"fit: {wrong} in epoch {self.epoch + 1}, by step {step}, at learning rate {rate:g}. The parameters are those of step "
                f"{self.good[3]}, the last that was finite. A smaller learning rate, or ann.Adam(global_clipnorm=1.0), usually helps."
            )
        self.good = model._snapshot()
        return values

    def _not_finite(self) -> str:
        for path, p in tree.flatten(self.model._now[0]).items():
            xp = namespace(p)
            if not bool(xp.all(xp.isfinite(p))):
                return f"{path} is not finite"
        return ""

    def get_state(self) -> dict[str, Any]:
        """Where it stands, as a callback's state."""
        place = {"epoch": self.epoch, "batch": self.batch, "stopped": self.model.stop_training, "source": self.source.kind}
        return place | {"sums": self.tally.sums, "kept": self.tally.kept}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there. ValueError when the epoch was begun with other data."""
        if state["batch"] and state["source"] != self.source.kind:
            raise ValueError(f"fit: the epoch that is to be resumed was begun with {state['source']}; now it is {self.source.kind}")
        self.epoch, self.batch, self.model.stop_training = state["epoch"], state["batch"], state["stopped"]
        self.tally = Tally(self.model._task, state["sums"], state["kept"])

    def tell(self, event: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*args)


def check_callbacks(callbacks: Any) -> list[Callback]:
    """The callbacks as a list. TypeError for what is none."""
    listed = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
    for callback in listed:
        if isinstance(callback, type):
            raise TypeError(f"fit: {callback.__name__} is a class; write callbacks=[{callback.__name__}()]")
        if not isinstance(callback, Callback):
            raise TypeError(f"fit: callbacks hold ann.callbacks.Callback objects, {callback!r} came; derive its class from ann.callbacks.Callback")
    return listed
