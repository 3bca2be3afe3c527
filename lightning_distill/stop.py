"""Signals that ask a run to end: SIGTERM, and SIGUSR1 as SLURM sends it ahead of a time limit or a preemption."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopRequested(Exception):
    """A run has ended because a signal asked for it; its last checkpoint is on the disk.

    Attributes:
        signal: Which one.
        exit_code: 128 plus the signal's number, as a shell reports it: 143 for SIGTERM, 138 for SIGUSR1.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        self.exit_code = 128 + number
        super().__init__(f"stopped by {self.signal.name}")


class Stop:
    """Notes a signal instead of dying of it; whoever listens ends at the next point where nothing is lost.

    A second signal of the same kind is not noted but does what it did before: SIGTERM twice ends the process at once.

    Args:
        signals: Which.
        at_once: Raise :class:`StopRequested` where the signal finds the process, for work that has nothing to save.

    Example:
        >>> stop = Stop()
        >>> stop.listen()
        >>> signal.raise_signal(signal.SIGTERM)
        >>> stop.ignore()
        >>> stop.request()
        StopRequested('stopped by SIGTERM')
    """

    def __init__(self, signals: Iterable[int] = SIGNALS, at_once: bool = False) -> None:
        self.signals = tuple(signals)
        self.at_once = at_once
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """From here on. Only a process's main thread can; elsewhere signals do what they did."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self.signals:
            self._before[number] = signal.signal(number, self._note)

    def ignore(self) -> None:
        """Signals do again what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def request(self) -> StopRequested:
        """What to raise for the signal that came."""
        return StopRequested(self.signal if self.signal is not None else signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)
        if self.at_once:
            raise self.request()
