"""Ctrl-C and SIGTERM while a model trains: they wait for the end of the step; the second one acts at once."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Deferred:
    """with Deferred(signal.SIGINT) as signals: …; signals.pending is what came; signals.deliver() lets it act.

    To act is what it would have done before: KeyboardInterrupt for Ctrl-C, the handler that was there, or SystemExit(128 + its
    number), which ends the process with 143 at SIGTERM. Signals that were ignored stay so. Only in the main thread, as Python's
    signals are; elsewhere nothing is deferred, and nothing arrives.
    """

    def __init__(self, *numbers: signal.Signals):
        self.numbers = numbers
        self.previous: dict[int, Any] = {}
        self.pending: int | None = None

    def __enter__(self) -> Deferred:
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                handler = signal.getsignal(number)
                if handler not in (signal.SIG_IGN, None):
                    self.previous[number] = handler
                    signal.signal(number, self._arrived)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        if self.pending is not None:
            self.deliver()

    def _arrived(self, number: int, frame: Any) -> None:
        second, self.pending = self.pending is not None, number
        if second:
            self.deliver(frame)

    def deliver(self, frame: Any = None) -> None:
        assert self.pending is not None
        number, self.pending = self.pending, None
        handler = self.previous[number]
        if handler is signal.SIG_DFL:
            raise SystemExit(128 + number)
        handler(number, frame)
