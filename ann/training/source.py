"""Where batches come from: arrays, of which rows are drawn, or an iterable of batches; made ready by a thread where that takes time."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import backends
from ann.training import data
from backends import tree
from backends.stream import Stream

Array = Any
Tree = Any


class Rows:
    """Arrays as batches, in a new order each epoch. Of data that stay on the disk only the rows of a batch are read."""

    def __init__(self, be: backends.Backend, parts: tuple[Tree, ...], batch_size: int, shuffle: bool):
        self.be, self.parts, self.batch_size, self.shuffle = be, parts, batch_size, shuffle
        self.rows = data.length(parts[0], "x")
        self.count: int | None = -(-self.rows // batch_size)
        self.on_disk = any(isinstance(leaf, data.OnDisk) for leaf in tree.leaves(list(parts)))

    @property
    def kind(self) -> dict[str, Any]:
        """What batch number i depends on, besides the stream."""
        return {"rows": self.rows, "batch_size": self.batch_size, "shuffle": self.shuffle}

    def batches(self, stream: Stream | None = None, epoch: int = 0, first: int = 0) -> Generator[list[Tree], None, None]:
        """[x, y, sample weights] of each batch from number `first` on, in the order that the stream draws."""
        made = self._batches(stream, first)
        return prefetched(made) if self.on_disk else made

    def _batches(self, stream: Stream | None, first: int) -> Generator[list[Tree], None, None]:
        order = stream.permutation(self.rows) if self.shuffle and stream is not None else None
        index: Any = None if order is None else data.permuted_index(self.be, order)
        parts = list(self.parts)
        for start, stop in list(data.batches(self.rows, self.batch_size))[first:]:
            if order is None:
                yield data.rows(parts, start, stop)
            elif self.on_disk:
                yield data.take_from_disk(parts, index[start:stop], order[start:stop])
            else:
                yield data.take(parts, index[start:stop])


class Batches:
    """An iterable of batches, each passed through `ready` by a thread.

    What can begin anew does so in each pass; an iterator goes on where it was. With `steps` a pass is that many batches, and
    goes on where the last one ended (round and round, if it can begin anew), or with anew=True begins anew all the same.
    """

    def __init__(self, given: Any, ready: Callable[[Any], Any], *, steps: int | None = None, anew: bool = False, name: str = "x"):
        if steps is not None and (not isinstance(steps, int) or steps < 1):
            raise ValueError(f"the number of steps is a positive integer, {steps!r} came")
        self.given, self.ready, self.steps, self.anew, self.name = given, ready, steps, anew, name
        self.once = hasattr(given, "__next__")
        self.count = steps if steps is not None else _length(given)
        self.iterator: Iterator[Any] | None = None
        self.taken = 0  # batches since the iterator began

    @property
    def kind(self) -> dict[str, Any]:
        return {"batches": type(self.given).__name__, "steps": self.steps}

    def peek(self) -> Any:
        """The first batch as it came; it stays the first."""
        self.iterator = self._begin()
        for batch in self.iterator:
            self.iterator = itertools.chain([batch], self.iterator)
            return batch
        raise ValueError(f"{self.name} gave no batches")

    def batches(self, stream: Stream | None = None, epoch: int = 0, first: int = 0) -> Generator[Any, None, None]:
        """The batches of this epoch from number `first` on."""
        each = self.steps is None or self.anew
        if each and self.taken and not self.once:
            self.iterator, self.taken = None, 0
        if self.iterator is None:
            self.iterator = self._begin()
        goal = first if each or self.steps is None else epoch * self.steps + first
        for _ in self._pull(goal - self.taken, epoch):  # resuming: what was seen is passed by
            pass
        return prefetched(map(self.ready, self._pull(None if self.steps is None else self.steps - first, epoch, rest=first > 0)))

    def _begin(self) -> Iterator[Any]:
        given = self.given
        return iter(given) if hasattr(given, "__iter__") else (given[i] for i in range(len(given)))

    def _pull(self, number: int | None, epoch: int, rest: bool = False) -> Iterator[Any]:
        """The next batches as they come: this many, or all; of the rest of an epoch there may be none."""
        pulled, empty = 0, False
        while number is None or pulled < number:
            assert self.iterator is not None
            try:
                batch = next(self.iterator)
            except StopIteration:
                none = not pulled and not rest
                if self.once and (number is not None or none) and self.taken:
                    raise ValueError(
                        f"{self.name} is a {type(self.given).__name__} and ran dry after {self.taken} batches, in epoch {epoch + 1}. For more epochs hand in "
                        "an object that begins anew each time (with __iter__, or a list of batches), or an endless generator and steps_per_epoch."
                    ) from None
                if empty or (none and (number is None or not self.taken)):
                    raise ValueError(f"{self.name} gave no batches") from None
                if number is None or self.anew:
                    self.count = self.taken
                    return
                self.iterator, empty = self._begin(), True
                continue
            self.taken, pulled, empty = self.taken + 1, pulled + 1, False
            yield batch


def is_batches(x: Any) -> bool:
    """Whether x is an iterable of batches, where no y is given beside it: no array, frame or dict; a list of tuples is."""
    if isinstance(x, list):
        return bool(x) and all(isinstance(part, tuple) for part in x)
    if isinstance(x, dict | tuple | str | bytes) or hasattr(x, "shape") or x is None:
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__len__") and hasattr(x, "__getitem__"))


def prefetched(items: Iterator[Any], ahead: int = 2) -> Generator[Any, None, None]:
    """The same items in the same order, made by a thread that is up to `ahead` items ahead.

    What is raised there is raised here, with its traceback. The thread ends with the items, or when this generator is closed.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(ahead)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in items:
                ready.put(("item", item))
                if stop.is_set():
                    return
            ready.put(("end", None))
        except BaseException as error:  # whatever it is, the one who waits must hear of it
            ready.put(("error", error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="ann: next batches", daemon=True)

    def wait() -> Generator[Any, None, None]:
        thread.start()
        try:
            while True:
                kind, value = ready.get()
                if kind == "error":
                    raise value
                if kind == "end":
                    return
                yield value
        finally:
            stop.set()
            while thread.is_alive():
                with contextlib.suppress(queue.Empty):
                    ready.get_nowait()
                thread.join(0.01)

    return wait()


def _length(given: Any) -> int | None:
    try:
        return len(given)
    except TypeError:  # no __len__, or one that does not know
        return None


__all__ = ["Batches", "Rows", "is_batches", "prefetched"]
