"""BackupAndRestore: a training that was stopped anywhere goes on as if it had not been.

The file holds everything that the rest of a training depends on: parameters, running values, slots of the optimizer, step,
seed, place in the epoch, the means so far, the History and the state of each callback. Random numbers and shuffles are
functions of (seed, step), so nothing else is needed, and the result is that of the uninterrupted training to the bit.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ann import files, registry
from ann.callbacks.callback import Callback
from backends.__main__ import blas


class BackupAndRestore(Callback):
    """Run the same script again, and the training goes on from where it was: the same weights to the bit.

    path: one file, written at the end of each epoch, after every `every` steps, when `seconds` have passed since the last
    time, and at Ctrl-C or SIGTERM (at the end of the step; a second one stops at once). It is replaced when the new one is
    whole on the disk. When the training is done the file is removed; with delete_checkpoint=False it stays, and the script
    run again takes the result from it. Each fit of a script has a path of its own.

    ValueError when the file belongs to another training; FileError when it is damaged, or does not fit the model.
    """

    last = True  # what it saves includes what the other callbacks did

    def __init__(self, path: str | os.PathLike[str], *, every: int | None = None, seconds: float = 60.0, delete_checkpoint: bool = True):
        if every is not None and (not isinstance(every, int) or every < 1):
            raise ValueError(f"BackupAndRestore: every is a number of steps or None, {every!r} came")
        if not seconds >= 0:
            raise ValueError(f"BackupAndRestore: seconds is not negative, {seconds!r} came")
        self.path, self.every, self.seconds, self.delete_checkpoint = Path(path), every, seconds, delete_checkpoint

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._training = {"start": self.model._now[3], "optimizer": _described(self.model._compiled["optimizer"])}
        self._environment = _environment(self.model)
        self._written = time.monotonic()
        if self.path.exists():
            self.restore()

    def on_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        due = self.every is not None and self.model._now[3] % self.every == 0
        if due or time.monotonic() - self._written >= self.seconds:
            self.save()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.save()

    def on_interrupt(self) -> None:
        self.save()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the file; it ends where the loop stands."""
        fetch, arrays = self.model.backend.to_numpy, {}  # type: ignore[var-annotated]
        content = {
            "training": self._training,
            "model": self.model._counters(),
            "rate": _rate(self.model),
            "loop": self.loop.get_state(),
            "callbacks": {name: callback.get_state() for name, callback in self._others().items()},
            "environment": self._environment,
        }
        text = json.dumps(registry.encode(content, arrays))
        tensors = self.model._tensors() | {f"training/{key}": fetch(value) for key, value in arrays.items()}
        files.write(self.path, tensors, {"ann.training": text})
        self._written = time.monotonic()

    def restore(self) -> None:
        """Go on from the file, after checking it against the model."""
        model, be = self.model, self.model.backend
        tensors, metadata = files.read(self.path)
        if "ann.training" not in metadata:
            raise files.FileError(f"{self.path}: the file holds no training; BackupAndRestore wants a path of its own")
        arrays = {key.removeprefix("training/"): be.library.put(x, be.device, None) for key, x in tensors.items() if key.startswith("training/")}
        try:
            content = registry.decode(json.loads(metadata["ann.training"]), {}, arrays)
            for what, then in content["training"].items():
                if (now := self._training[what]) != then:
                    raise ValueError(
                        f"{self.path} belongs to another training: its {what} was {_show(then)}, here it is {_show(now)}. "
                        "Give each fit a path of its own; remove the file to begin anew."
                    )
            self.loop.set_state(content["loop"])
            if content["rate"] is not None and _rate(model) is None:
                model._compiled["optimizer"] = model._compiled["optimizer"].with_rate(content["rate"])  # a callback replaced the schedule
            model._fill(self.path, tensors, content["model"])
            for name, callback in self._others().items():
                if name in content["callbacks"]:
                    callback.set_state(content["callbacks"][name])
        except (LookupError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
            raise files.FileError(f"{self.path}: the description of the training is damaged: {type(error).__name__}: {error}") from error
        if self.params["verbose"]:
            print(f"going on before batch {self.loop.batch + 1} of epoch {self.loop.epoch + 1}, from {self.path}")
        then, now = content["environment"], self._environment
        if then != now:
            changed = ", ".join(f"{key} {_show(then.get(key))}, here {_show(now.get(key))}" for key in sorted(then | now) if then.get(key) != now.get(key))
            warnings.warn(f"{self.path} was written elsewhere ({changed}): the training goes on, equal to rounding, not to the bit", stacklevel=2)

    def _others(self) -> dict[str, Callback]:
        """{"EarlyStopping": …, "EarlyStopping 2": …}: the other callbacks by class and order."""
        named: dict[str, Callback] = {}
        for callback in self.loop.callbacks:
            if callback is not self:
                stem = type(callback).__name__
                count = sum(type(other).__name__ == stem for other in named.values())
                named[f"{stem} {count + 1}" if count else stem] = callback
        return named


def _rate(model: Any) -> float | None:
    """The optimizer's learning rate where it is a number, None where it is a schedule."""
    rate = getattr(model._compiled["optimizer"], "learning_rate", None)
    return None if callable(rate) else rate


def _described(optimizer: Any) -> Any:
    """The optimizer in the words of a file; its class where it holds functions that have no name."""
    try:
        return registry.encode(optimizer)
    except TypeError:
        return type(optimizer).__name__


def _environment(model: Any) -> dict[str, Any]:
    """What the bits depend on, besides the file."""
    be = model.backend
    found = {"backend": f"{be.name} {be.library.version}", "jit": model._under_jit}
    if be.library.name == "numpy":
        found |= {"BLAS": list(blas()), "native": importlib.util.find_spec("llvmlite") is not None}
    return found


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
