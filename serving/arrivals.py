"""Arrivals per second, remembered for a while: the load signal of a pipeline without Prometheus."""

from __future__ import annotations

import math
from collections import deque

from penstock.domain import Load

REMEMBERED_S = 3600


class ArrivalRing:
    """Counts arrivals into whole seconds; the time [s] is passed in and may not run backwards."""

    def __init__(self, *, start_s: float, remembered_s: int = REMEMBERED_S) -> None:
        self._first_s = math.ceil(start_s)
        self._current_s = math.floor(start_s)
        self._current = 0
        self._done: deque[int] = deque(maxlen=remembered_s)

    def count(self, *, now_s: float) -> None:
        """Note one arrival."""
        self._roll(now_s)
        self._current += 1

    def load(self, *, now_s: float, steps: int, step_s: int) -> Load:
        """Return the rates of the last ``steps`` complete steps of ``step_s`` whole seconds.

        They end with the last complete second. There are fewer of them while the ring is young: a
        second in which nobody counted is not a second without arrivals.
        """
        self._roll(now_s)
        known = min(len(self._done), self._current_s - self._first_s)
        seconds = list(self._done)[len(self._done) - known :] if known > 0 else []
        count = min(steps, len(seconds) // step_s)
        used = seconds[len(seconds) - count * step_s :]
        values = tuple(sum(used[i : i + step_s]) / step_s for i in range(0, len(used), step_s))
        return Load(values_rps=values, step_s=float(step_s), end_s=float(self._current_s))

    def _roll(self, now_s: float) -> None:
        passed = math.floor(now_s) - self._current_s
        if passed <= 0:
            return
        kept = self._done.maxlen or REMEMBERED_S
        self._done.append(self._current)
        self._done.extend([0] * min(passed - 1, kept))
        self._current_s += passed
        self._current = 0
