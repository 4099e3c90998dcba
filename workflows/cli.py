"""The command line: parsing and showing; the commands stand in `workflows.commands`.

Exit codes: 0 done; 2 a person must act, or ``diff`` found changes; 3 try again later; 130
interrupted.
"""

from __future__ import annotations

import signal
from typing import NoReturn

import typer

from penstock.errors import PenstockError, UserError
from penstock.process import INTERRUPTED
from workflows.commands import (
    cluster,
    fleet,
    kubeflow,
    laptop,
    planning,
    prepare,
    records,
    running,
)
from workflows.terminal import err

app = typer.Typer(
    name="penstock",
    help="Keep an ML inference pipeline at the best accuracy for the least money within its SLO.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for group in (prepare, planning, fleet, running, records, kubeflow, cluster, laptop):
    app.add_typer(group.commands)


def main() -> NoReturn:
    """Run the command line; our own errors become a message and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(standalone_mode=False)
    except typer.exceptions.TyperException as misused:
        show = getattr(misused, "show", None)  # Typer types it on subclasses only
        if show is not None:
            show()
        raise SystemExit(UserError.exit_code) from misused
    except PenstockError as problem:
        err.print(
            f"penstock: {problem}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        raise SystemExit(problem.exit_code) from problem
    if code == INTERRUPTED:  # what Typer answers to Ctrl-C
        err.print("interrupted")
    raise SystemExit(code or 0)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
