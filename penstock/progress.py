"""Progress of long work, as values that cross a process border.

A step reports to a callable and does not know who looks. In the terminal that is a bar; a step
that Kubeflow started in its own process appends lines to the file named by ``PENSTOCK_PROGRESS``,
which the command that waits for it reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

PROGRESS_VARIABLE = "PENSTOCK_PROGRESS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """``done`` of ``total`` units of ``step`` are finished; ``note`` says what is done now."""

    step: str
    done: float
    total: float
    note: str = ""


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Drop the report: nobody looks."""


def from_environment(environment: Mapping[str, str] = os.environ) -> Report:
    """Return who to report to: the file named by ``PENSTOCK_PROGRESS``, else nobody."""
    path = environment.get(PROGRESS_VARIABLE)
    return to_file(Path(path)) if path else silent


def to_file(path: Path) -> Report:
    """Return a report that appends one JSON line per call; short lines keep writers apart."""

    def report(progress: Progress) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(progress)) + "\n")

    return report


def parse_line(line: str) -> Progress | None:
    """Read one line back; ``None`` for a line that is still being written."""
    try:
        return Progress(**json.loads(line))
    except (ValueError, TypeError):
        return None
