"""Staying on chosen CPU cores, so that those who measure and those who are measured don't mix."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.errors import UserError


def pin(text: str) -> None:
    """Stay on the cores listed in ``text`` (like ``1`` or ``1,2``), with all threads there are.

    Nothing happens for an empty text, or on a system that cannot pin (macOS).

    Raises:
        UserError: the text names no cores of this machine.
    """
    if not text or not hasattr(os, "sched_setaffinity"):
        return
    try:
        cores = {int(part) for part in text.split(",")}
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)
    except (OSError, ValueError) as err:
        raise UserError(
            f"--cpu-affinity must name cores of this machine, like 1 or 1,2; got {text!r}: {err}"
        ) from err
