"""When to close a batch: pure queue logic, the time is passed in.

A batch closes when it is full, or when its oldest request has waited long enough. While the model
is busy nobody asks, so that a queue which grew meanwhile is taken at once, up to the limit.
"""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How many requests one model call may carry, and how long [s] the first may wait for more."""

    max_batch_size: int = 1
    max_wait_s: float = 0.0

    def __post_init__(self) -> None:
        if type(self.max_batch_size) is not int or self.max_batch_size < 1:
            raise ValueError(f"max_batch_size must be a whole number from 1: {self.max_batch_size}")
        if not (math.isfinite(self.max_wait_s) and self.max_wait_s >= 0):
            raise ValueError(f"max_wait_s must be finite and at least 0: {self.max_wait_s}")


class BatchQueue(Generic[Item]):
    """The requests that wait for the model; bounded, first come first served."""

    def __init__(self, limits: BatchLimits, *, max_queue: int = 256) -> None:
        self.limits = limits
        self._max_queue = max_queue
        self._waiting: deque[tuple[float, Item]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next request has to be turned away."""
        return len(self._waiting) >= self._max_queue

    def put(self, item: Item, *, now_s: float) -> bool:
        """Queue a request; False when the queue is full and it was not taken."""
        if self.full:
            return False
        self._waiting.append((now_s, item))
        return True

    def take(self, *, now_s: float) -> list[tuple[float, Item]]:
        """Return the batch that is due now, each item with the seconds it waited; empty if none."""
        if not self.due(now_s=now_s):
            return []
        size = min(len(self._waiting), self.limits.max_batch_size)
        batch = [self._waiting.popleft() for _ in range(size)]
        return [(now_s - since_s, item) for since_s, item in batch]

    def due(self, *, now_s: float) -> bool:
        """Whether a batch would close now."""
        if len(self._waiting) >= self.limits.max_batch_size:
            return True
        closes_s = self.closes_s()
        return closes_s is not None and now_s >= closes_s

    def closes_s(self) -> float | None:
        """Return the time at which the batch that is filling closes by itself; None without one."""
        return self._waiting[0][0] + self.limits.max_wait_s if self._waiting else None


class BatchFile:
    """The file that the limits are followed from; on Kubernetes a mounted ConfigMap key.

    ``faults`` counts the contents that were refused; the limits in force stay as they were.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.faults = 0

    def poll(self) -> BatchLimits | None:
        """Return the new limits if the file changed since the last look and makes sense."""
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen == self._seen:
                return None
            content = self._path.read_bytes()
        except OSError:
            return None
        self._seen = seen
        try:
            return _limits(json.loads(content))
        except (TypeError, ValueError, OverflowError):
            self.faults += 1
            return None


def _limits(document: object) -> BatchLimits:
    if not isinstance(document, dict):
        raise TypeError("the batch file must hold an object")
    wait_s = document.get("max_wait_s", 0.0)
    if isinstance(wait_s, bool) or not isinstance(wait_s, int | float):
        raise TypeError(f"max_wait_s must be a number, got {wait_s!r}")
    return BatchLimits(max_batch_size=document.get("max_batch_size", 1), max_wait_s=float(wait_s))
