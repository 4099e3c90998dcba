"""Busy neighbours: the conditions under which a replica will have to keep what its profile says.

Two virtual cores are often two threads of one physical core, and a processor slows down as more of
its cores work. A replica that was measured on an otherwise idle machine then carries much less on
the day of the peak, when the others are busy too. So the other cores are kept busy while a variant
is measured; at the lowest priority, so that the client that measures is not held up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.cores import usable_cores

_SPIN = """
import os, sys
parent, core = int(sys.argv[1]), int(sys.argv[2])
os.sched_setaffinity(0, {core})
os.nice(19)
rows = [float(i) for i in range(1000)]
while os.getppid() == parent:
    for _ in range(200):
        rows = [0.5 * a + 0.25 for a in rows]
"""


@contextmanager
def busy_neighbours(affinity: str) -> Iterator[int]:
    """Keep every core but those in ``affinity`` (``"1"``, ``"2,3"``) busy; yields how many.

    None are where the system does not tell which cores there are. The spinning processes end with
    the block, and by themselves when this process dies.
    """
    processes = [_spin(core) for core in _others(affinity)]
    try:
        yield len(processes)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def _others(affinity: str) -> list[int]:
    own = {int(core) for core in affinity.split(",")} if affinity else set(usable_cores())
    return [core for core in usable_cores() if core not in own]


def _spin(core: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-S", "-c", _SPIN, str(os.getpid()), str(core)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
