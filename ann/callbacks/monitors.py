"""Callbacks that follow one value from epoch to epoch: when it stops improving they stop, slow down, or keep the best."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ann.callbacks.callback import Callback, scalars
from backends import namespace, tree

LARGER_IS_BETTER = ("acc", "auc", "precision", "recall", "f1", "f_score", "r2")
SMALLER_IS_BETTER = ("loss", "error", "mse", "mae", "entropy", "learning_rate")


class Monitor(Callback):
    """Follows logs[monitor]. mode: "min", "max", or "auto": by the name, where it tells (accuracy: max; loss, error: min)."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        if mode not in ("auto", "min", "max"):
            raise ValueError(f'{type(self).__name__}: mode is "auto", "min" or "max", {mode!r} came')
        if not min_delta >= 0:
            raise ValueError(f"{type(self).__name__}: min_delta is not negative, {min_delta!r} came")
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self.best: float | None = None

    def value(self, logs: Mapping[str, float]) -> float:
        """logs[monitor]; ValueError with the names there are."""
        scores = scalars(logs)
        if self.monitor in scores:
            return scores[self.monitor]
        nearest = difflib.get_close_matches(self.monitor, list(scores), 1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        if self.monitor.startswith("val_") and not any(name.startswith("val_") for name in scores):
            hint = " Names with val_ need fit(…, validation_data=…) or validation_split."
        raise ValueError(f"{type(self).__name__}: there is no value {self.monitor!r} to monitor; there are {', '.join(scores)}.{hint}")

    def improves(self, value: float, reference: float | None) -> bool:
        """Whether a value is better than a reference by more than min_delta; every number is better than None, NaN than nothing."""
        if math.isnan(value):
            return False
        if reference is None:
            return True
        return value - self.min_delta > reference if self.grows else value + self.min_delta < reference

    @property
    def grows(self) -> bool:
        """Whether larger is better."""
        if self.mode != "auto":
            return self.mode == "max"
        grows, falls = (any(part in self.monitor for part in parts) for parts in (LARGER_IS_BETTER, SMALLER_IS_BETTER))
        if grows == falls:
            raise ValueError(f'{type(self).__name__}: whether {self.monitor!r} should grow or fall does not follow from its name; write mode="max" or mode="min"')
        return grows


class EarlyStopping(Monitor):
    """Stops when the value has not improved, by more than min_delta, for `patience` epochs.

    restore_best_weights: at the end of the training the model gets the parameters and running values of its best epoch.
    baseline: epochs count as wasted until one is better than this. start_from_epoch: earlier epochs are not looked at.
    """

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0.0, patience: int = 0, verbose: int = 0, mode: str = "auto",
        baseline: float | None = None, restore_best_weights: bool = False, start_from_epoch: int = 0,
    ):  # fmt: skip
        super().__init__(monitor, mode, abs(min_delta))
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.best, self.best_epoch, self.wait, self.stopped_epoch = None, 0, 0, 0
        self._best_weights: Any = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = self.value(logs)
        if epoch < self.start_from_epoch:
            return
        self.wait += 1
        better = self.improves(value, self.best)
        if self.restore_best_weights and (better or self._best_weights is None):
            self._best_weights = _copies(self.model._now[:2])
        if better:
            self.best, self.best_epoch = value, epoch
            if self.baseline is None or self.improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        if self.verbose and self.stopped_epoch:
            print(f"epoch {self.stopped_epoch + 1}: stopped, {self.monitor} was best, {self.best}, in epoch {self.best_epoch + 1}")
        if self._best_weights is not None:
            self.model._now = (*_copies(self._best_weights), *self.model._now[2:])

    def get_state(self) -> dict[str, Any]:
        kept = {"best": self.best, "best_epoch": self.best_epoch, "wait": self.wait, "stopped_epoch": self.stopped_epoch}
        return kept | {"weights": self._best_weights}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.wait, self.stopped_epoch = (state[name] for name in ("best", "best_epoch", "wait", "stopped_epoch"))
        self._best_weights = state["weights"]


def _copies(values: Any) -> Any:
    return tree.map(lambda a: namespace(a).asarray(a, copy=True), values)


class ReduceLROnPlateau(Monitor):
    """learning_rate ← max(factor·learning_rate, min_lr) when the value has not improved for `patience` epochs.

    cooldown: after a reduction counting begins again in epoch number `cooldown`. It replaces the optimizer's own schedule.
    """

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0, mode: str = "auto",
        min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0,
    ):  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor is at least 0 and less than 1, {factor!r} came")
        self.factor, self.patience, self.verbose, self.cooldown, self.min_lr = factor, patience, verbose, cooldown, min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.best, self.wait, self.resting = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value, rate = self.value(logs), self.model.learning_rate
        logs["learning_rate"] = rate
        if self.resting:
            self.resting -= 1
            self.wait = 0
        if self.improves(value, self.best):
            self.best, self.wait = value, 0
        elif not self.resting:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                self.model.learning_rate = max(self.factor * rate, self.min_lr)
                self.resting, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"epoch {epoch + 1}: learning rate {self.model.learning_rate:.4g}")

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait, "resting": self.resting}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best, self.wait, self.resting = state["best"], state["wait"], state["resting"]


class ModelCheckpoint(Monitor):
    """Saves the model after each epoch, or after every `save_freq` batches; with save_best_only where the value has improved.

    filepath may hold names in braces: "models/{epoch:02d}-{val_loss:.2f}.safetensors"; {epoch} and {batch} count from 1. Its
    folder is made. save_weights_only: as model.save_weights, else as model.save; both replace the old file when the new one is whole.
    initial_value_threshold: with save_best_only, the value to beat at first.
    """

    def __init__(
        self, filepath: str | os.PathLike[str], monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
        save_weights_only: bool = False, mode: str = "auto", save_freq: str | int = "epoch", initial_value_threshold: float | None = None,
    ):  # fmt: skip
        super().__init__(monitor, mode)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(f'ModelCheckpoint: save_freq is "epoch" or a number of batches, {save_freq!r} came')
        self.filepath, self.verbose, self.save_best_only = os.fspath(filepath), verbose, save_best_only
        self.save_weights_only, self.save_freq = save_weights_only, save_freq
        self.best, self._batches = initial_value_threshold, 0

    @property
    def wants_batches(self) -> bool:
        return self.save_freq != "epoch"

    def on_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._batches += 1
        if self._batches % int(self.save_freq) == 0:
            self._save({"epoch": self.loop.epoch + 1, "batch": batch + 1}, logs or {})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.save_freq == "epoch":
            self._save({"epoch": epoch + 1}, logs)

    def _save(self, place: dict[str, int], logs: Mapping[str, float]) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if not self.improves(value, self.best):
                return
            self.best = value
        names = {**logs, **place} if "{" in self.filepath else {}
        try:
            path = Path(self.filepath.format(**names))
        except (KeyError, IndexError) as error:
            raise ValueError(f"ModelCheckpoint: the path {self.filepath!r} names {error}; there are {', '.join(names)}") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose:
            print(f"epoch {place['epoch']}: saved {path}" + (f", {self.monitor} {self.best:.4g}" if self.save_best_only else ""))

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "batches": self._batches}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best, self._batches = state["best"], state["batches"]
