"""What kfp's local runner writes while it works, read for steps that failed or were not needed.

kfp tells its caller no more than the name of the task that failed; the reason stands in the log
alone, as the end of the step's traceback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 15
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STARTED = re.compile(r"INFO - Executing task '(?P<step>[^']+)'")
_FAILED = re.compile(r"ERROR - Task '(?P<step>[^']+)' finished with status FAILURE")
_RETRIED = re.compile(r"Task \S+ failed \(attempt \d+/\d+\)\. Retrying in")
_CACHED = re.compile(r"Task (?P<step>\S+) cache hit \(key=")
_RAISED = re.compile(r"^ {4}(?P<error>(?:[A-Za-z_]\w*\.)*[A-Z]\w*)(?:: (?P<message>.*))?$")
_TRACEBACK = "    Traceback (most recent call last):"
_WHICH = re.compile(r'^\s+"(?P<key>stage|variant)": "(?P<value>[^"]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A step that failed for good.

    ``error`` is the exception's dotted class name, empty when the step ended without one (killed,
    for example); ``message`` its text, or the end of the step's log.
    """

    step: str
    error: str
    message: str


class StepLog:
    """A log file that is read while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._failures = 0
        self._retries = 0
        self._suspected = False

    def read(self) -> tuple[str, ...]:
        """Read what is new; return the steps that were taken from the cache."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        text = _plain(whole)
        self._failures += len(_FAILED.findall(text))
        self._retries += len(_RETRIED.findall(text))
        return tuple(found["step"] for found in _CACHED.finditer(text))

    def failed_for_good(self) -> bool:
        """Whether a step failed and is not tried again, in this and in the last look.

        kfp itself would first finish all that does not depend on the step, other variants'
        measurements included.
        """
        before, self._suspected = self._suspected, self._failures > self._retries
        return before and self._suspected

    def failure(self) -> Failure | None:
        """Return the failure that was not followed by another try, or ``None``."""
        self.read()
        if self._failures <= self._retries:
            return None
        text = _plain(self._path.read_bytes())
        ends = list(_FAILED.finditer(text))
        for end, after in zip(ends, [*(e.start() for e in ends[1:]), len(text)], strict=True):
            if not _RETRIED.search(text, end.end(), after):
                return _failure_of(end["step"], text[: end.start()])
        return None

    def tail(self) -> str:
        """Return the end of the log."""
        return "\n".join(_plain(self._path.read_bytes()).rstrip().splitlines()[-TAIL_LINES:])


def _failure_of(step: str, text: str) -> Failure:
    """Read the last block of a step, from where it started to the end of the text."""
    starts = [found.end() for found in _STARTED.finditer(text) if found["step"] == step]
    block = text[starts[-1] if starts else 0 :]
    which = {found["key"]: found["value"] for found in _WHICH.finditer(block)}
    subject = "/".join(which[key] for key in ("stage", "variant") if key in which)
    name = f"{step} ({subject})" if subject else step
    lines = block.rstrip().splitlines()[:-1] if block.rstrip() else []
    raised = _last_exception(lines)
    if raised is None:
        return Failure(step=name, error="", message="\n".join(["", *lines[-TAIL_LINES:]]))
    found, rest = raised
    message = "\n".join([found["message"] or "", *rest]).strip()
    error = found["error"]
    ours = error.startswith("penstock.")
    return Failure(step=name, error=error, message=message if ours else f"{error}: {message}")


def _last_exception(lines: list[str]) -> tuple[re.Match[str], list[str]] | None:
    """Return the line that names the last traceback's exception, and the lines after it."""
    traces = [i for i, line in enumerate(lines) if line == _TRACEBACK]
    if not traces:
        return None
    for i in range(traces[-1] + 1, len(lines)):
        found = _RAISED.match(lines[i])
        if found:
            return found, [line.removeprefix("    ") for line in lines[i + 1 :]]
    return None


def _plain(text: bytes) -> str:
    return _COLOUR.sub("", text.decode("utf-8", errors="replace"))
