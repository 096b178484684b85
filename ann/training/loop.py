"""The loop of fit: epochs of steps; who is told of them; where it stands, so that it can stop and go on anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import backends
from ann.callbacks import Callback
from ann.training import data
from backends import tree
from backends.stream import Stream

Array = Any
Tree = Any


class Rows:
    """Arrays in memory as batches, in a new order each epoch."""

    def __init__(self, be: backends.Backend, parts: tuple[Tree, ...], batch_size: int, shuffle: bool):
        self.be, self.parts, self.batch_size, self.shuffle = be, parts, batch_size, shuffle
        self.rows = data.length(parts[0], "x")
        self.count: int | None = -(-self.rows // batch_size)

    def batches(self, stream: Stream, first: int = 0) -> Iterator[tuple[int, list[Tree]]]:
        """(rows, [x, y, sample weights]) of each batch from number `first` on, in the order that the stream draws."""
        order = data.permuted_index(self.be, stream.permutation(self.rows)) if self.shuffle else None
        for start, stop in list(data.batches(self.rows, self.batch_size))[first:]:
            yield stop - start, [data.rows(part, start, stop) if order is None else data.take(part, order[start:stop]) for part in self.parts]


class Means:
    """Σ n·value / Σ n over the batches so far, on the device."""

    def __init__(self) -> None:
        self.totals: dict[str, Array] = {}
        self.count = 0

    def add(self, terms: dict[str, Array], n: int) -> None:
        weighted = tree.map(lambda value: value * float(n), terms)
        self.totals = tree.map(lambda a, b: a + b, self.totals, weighted) if self.totals else weighted
        self.count += n

    def read(self) -> dict[str, float]:
        """As Python floats; this waits for the device."""
        return {name: float(total) / self.count for name, total in self.totals.items()}


class Logs(Mapping[str, float]):
    """The means so far, read from the device when they are first asked for."""

    def __init__(self, loop: Loop):
        self.loop = loop
        self.values_read: dict[str, float] | None = None

    def __getitem__(self, name: str) -> float:
        if self.values_read is None:
            self.values_read = self.loop.read()
        return self.values_read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.loop.means.totals)

    def __len__(self) -> int:
        return len(self.loop.means.totals)

    def __repr__(self) -> str:
        return repr(dict(self))


class Loop:
    """One training: `epochs` epochs of the source's batches. It stands before batch `batch` of epoch `epoch`.

    validate() → {"val_loss": …} after each epoch. FloatingPointError when a loss that is read is not finite; the model is then
    as at the last reading that was.
    """

    def __init__(self, model: Any, source: Rows, validate: Callable[[], dict[str, float]] | None, epochs: int, callbacks: list[Callback], verbose: Any):
        self.model, self.source, self.validate, self.epochs = model, source, validate, epochs
        self.callbacks = sorted(callbacks, key=lambda callback: callback.last)
        self.epoch = self.batch = 0
        self.means = Means()
        for callback in self.callbacks:
            callback.model, callback.loop = model, self
            callback.params = {"epochs": epochs, "steps": source.count, "verbose": verbose}

    def run(self) -> None:
        self.model.stop_training = False
        self.good = self.model._now
        self.tell("on_train_begin")
        while self.epoch < self.epochs and not self.model.stop_training:
            if self.batch == 0:
                self.means = Means()
                self.tell("on_epoch_begin", self.epoch)
            self.train()
            values = self.read()
            if self.validate is not None:
                values |= self.validate()
            epoch, self.epoch, self.batch = self.epoch, self.epoch + 1, 0
            self.model._epochs += 1
            self.tell("on_epoch_end", epoch, values)
        self.tell("on_train_end")

    def train(self) -> None:
        """The rest of this epoch's steps."""
        model, stream = self.model, Stream(self.model.seed)
        listeners = [callback for callback in self.callbacks if callback.wants_batches]
        step = model._step()
        for n, batch in self.source.batches(stream["shuffle"].at(model._epochs), self.batch):
            for listener in listeners:
                listener.on_train_batch_begin(self.batch)
            if listeners:
                step = model._step()  # a callback may have changed the learning rate
            terms = model._advance(step, stream, *batch)
            self.means.add(terms, n)
            number, self.batch = self.batch, self.batch + 1
            if listeners:
                logs = Logs(self)
                for listener in listeners:
                    listener.on_train_batch_end(number, logs)
                if model.stop_training:
                    break

    def read(self) -> dict[str, float]:
        """The means so far as Python floats. FloatingPointError, and the model as it was, when the loss is not finite."""
        values = self.means.read()
        if not abs(values["loss"]) < float("inf"):
            model, step = self.model, self.model._now[3]
            try:
                rate = model.learning_rate
            except ValueError:
                rate = float("nan")
            model._now = self.good
            raise FloatingPointError(
                f"fit: the loss is {values['loss']} in epoch {self.epoch + 1}, by step {step}, at learning rate {rate:g}. The parameters are those of step "
                f"{self.good[3]}, the last that was finite. A smaller learning rate, or ann.Adam(global_clipnorm=1.0), usually helps."
            )
        self.good = self.model._now
        return values

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
