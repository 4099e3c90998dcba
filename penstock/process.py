"""How a process of ours ends: its errors become a line on stderr and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from penstock.errors import PenstockError

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""


def exit_code_of(run: Callable[[], object], *, interrupted: str = "") -> int:
    """Run to the end and return the exit code.

    ``interrupted`` is said after Ctrl-C; without it Ctrl-C is left to the caller.
    """
    try:
        run()
    except PenstockError as err:
        sys.stderr.write(f"{err}\n")
        return err.exit_code
    except KeyboardInterrupt:
        if not interrupted:
            raise
        sys.stderr.write(f"{interrupted}\n")
        return INTERRUPTED
    return 0
