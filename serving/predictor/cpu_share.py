"""A share of a CPU core, held in user space where the kernel holds none.

In a pod the kernel's CFS quota stops a container that has used its share of the current period
(100 ms) until the next one begins. On a laptop the predictor keeps the same promise itself: it
accounts the CPU time of the whole process and pauses around model calls until the share is repaid.
As with CFS, work that fits into one period's quota runs at full speed, and longer work takes about
CPU time / share.
"""

from __future__ import annotations

import math

CFS_PERIOD_S = 0.1


class CpuShare:
    """The account of one process: it earns ``cores`` CPU seconds per second and pays what it uses.

    Savings end at one CFS period's quota, so that over any ``w`` seconds the process uses at most
    ``cores * (w + 0.1)`` CPU seconds plus the debt of the call that is running.
    """

    def __init__(self, cores: float, *, now_s: float, cpu_s: float) -> None:
        """Open the account with one period's quota on it.

        ``cores`` of 0 switches pacing off: every pause is 0.

        Raises:
            ValueError: ``cores`` is negative or not finite.
        """
        if not (math.isfinite(cores) and cores >= 0):
            raise ValueError(f"cores must be finite and at least 0, got {cores}")
        self._cores = cores
        self._now_s = now_s
        self._cpu_s = cpu_s
        self._balance_s = cores * CFS_PERIOD_S

    def pause_s(self, *, now_s: float, cpu_s: float) -> float:
        """Settle the account and return the seconds to pause until nothing is owed.

        ``now_s`` is any monotonic clock, ``cpu_s`` the CPU time of the process so far. Call it
        before a piece of work, so that idle time is not saved up, and after it.
        """
        if self._cores == 0:
            return 0.0
        earned = self._cores * (now_s - self._now_s)
        used = cpu_s - self._cpu_s
        self._balance_s = min(self._cores * CFS_PERIOD_S, self._balance_s + earned - used)
        self._now_s, self._cpu_s = now_s, cpu_s
        return max(0.0, -self._balance_s / self._cores)
