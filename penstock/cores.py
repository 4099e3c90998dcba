"""Which CPU cores this process may use, and how many others are given."""

from __future__ import annotations

import os


def usable_cores() -> tuple[int, ...]:
    """Return the cores in rising order; empty where the system does not tell (macOS)."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def count_cores() -> int:
    """Return how many cores there are to use, at least 1."""
    return len(usable_cores()) or os.cpu_count() or 1


def millicores(cores: float) -> str:
    """Return cores as Kubernetes writes parts of them: in thousandths."""
    return f"{round(cores * 1000)}m"
