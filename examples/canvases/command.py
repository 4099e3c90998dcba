"""The command line that every example's ``train.py`` shares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from penstock.process import exit_code_of
from penstock.progress import Progress, Report


class Train(Protocol):
    """An example's ``main``."""

    def __call__(self, out: Path, progress: Report, *, force: bool = False) -> None:
        """Fill ``out`` with models and held-out requests."""
        ...


def run(train: Train, *, name: str, argv: Sequence[str] | None = None) -> int:
    """Train from the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.{name}.train",
        description=f"Train the models of the {name} pipeline and draw its held-out requests.",
    )
    parser.add_argument("--out", type=Path, default=Path("out") / name, help="output folder")
    parser.add_argument("--force", action="store_true", help="train even what is up to date")
    options = parser.parse_args(argv)
    return exit_code_of(
        lambda: train(options.out, _show, force=options.force),
        interrupted="stopped; what was finished is kept",
    )


def _show(progress: Progress) -> None:
    share = progress.done / progress.total if progress.total else 1.0
    sys.stderr.write(f"{progress.step} {share:4.0%}  {progress.note}\n")
