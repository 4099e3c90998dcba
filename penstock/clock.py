"""The Clock port: time is a parameter, so that a day of ticks can be replayed in a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol


class Clock(Protocol):
    """Where the time comes from and how it passes."""

    def now(self) -> float:
        """Return the time [s] since the Unix epoch, or since the start of a virtual run."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let that much time pass; nothing for 0 or less."""
        ...


class RealClock:
    """The wall clock."""

    def now(self) -> float:
        """Return the seconds since the Unix epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        if seconds > 0:
            time.sleep(seconds)


class VirtualClock:
    """A clock that moves only when told to: ``sleep`` returns at once and time has passed."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now(self) -> float:
        """Return the virtual time [s]."""
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Advance the virtual time."""
        self._now_s += max(0.0, seconds)


if TYPE_CHECKING:
    _real: Clock = RealClock()
    _virtual: Clock = VirtualClock()
