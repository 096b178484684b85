"""Callbacks that write the values of a training for other programs: CSV files, TensorBoard."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ann.callbacks.callback import Callback, scalars
from backends import tree


class CSVLogger(Callback):
    """A line an epoch: its number, from 0, and the values in the order of their names; the first line names them.

    append: go on at the end of an existing file, instead of replacing it. A value that an epoch lacks is NA.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False):
        self.filename, self.separator, self.append = Path(filename), separator, append

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._names: list[str] | None = None
        self._end: int | None = None  # where this training's lines end

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._end is None and (not self.append or not self.filename.exists()):
            self.filename.write_bytes(b"")
        elif self._end is not None and self.filename.stat().st_size > self._end:
            os.truncate(self.filename, self._end)  # lines after the point from which the training was resumed
        headless = self.filename.stat().st_size == 0
        self._names = self._names or ["epoch", *sorted(logs)]
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, self._names, restval="NA", extrasaction="ignore", delimiter=self.separator, lineterminator="\n")
            if headless:
                lines.writeheader()
            lines.writerow({"epoch": epoch, **logs})
        self._end = self.filename.stat().st_size

    def get_state(self) -> dict[str, Any]:
        return {"names": self._names, "end": self._end}

    def set_state(self, state: dict[str, Any]) -> None:
        self._names, self._end = state["names"], state["end"] if self.filename.exists() else None


class TensorBoard(Callback):
    """The values for TensorBoard, under the names that Keras gives them: epoch_loss in the runs `train` and `validation`.

    histogram_freq: also histograms of the parameters, every so many epochs; 0 is never. Needs the extra `tensorboard`.
    """

    def __init__(self, log_dir: str | os.PathLike[str] = "logs", histogram_freq: int = 0):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ImportError("ann.callbacks.TensorBoard needs tensorboardX: pip install 'ann-array-api[tensorboard]'") from None
        self.log_dir, self.histogram_freq, self._open = Path(log_dir), histogram_freq, SummaryWriter

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._writers: dict[str, Any] = {}
        self._first: int | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, value in scalars(logs).items():
            run, name = ("validation", name[4:]) if name.startswith("val_") else ("train", name)
            self._writer(run).add_scalar(f"epoch_{name}", value, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for path, p in tree.flatten(self.model.params).items():
                self._writer("train").add_histogram(path, self.model.backend.to_numpy(p), epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            self._writers[run] = self._open(str(self.log_dir / run), purge_step=self._first)
        return self._writers[run]

    def set_state(self, state: dict[str, Any]) -> None:
        self._first = self.loop.epoch  # what was written from here on is replaced
