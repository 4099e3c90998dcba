"""A trainer that says that it has begun, and then takes longer than anybody waits."""

from __future__ import annotations

import time
from pathlib import Path

from penstock.progress import Progress, Report


def main(out: Path, report: Report) -> None:
    report(Progress(step="train models", done=0, total=1, note=f"asleep in {out.name}"))
    time.sleep(120)
