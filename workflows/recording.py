"""The files of a run: the values of ``workflows.recorded``, written and read back.

A run's folder holds four files, written while it runs and read back by the summary and the report::

    requests.csv     one row per request of the load
    decisions.jsonl  one line per tick of the adaptation (missing or empty for a static run)
    timeline.jsonl   what runs, about twice a second
    run.json         the run's name, objective, load curve, solver and length

The readers refuse what does not fit the values and name every fault of a file with its line, in one
answer. Keys that the values don't know are ignored, so that a newer penstock may write more.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from penstock.errors import DomainError, SpecError, UserError
from penstock.files import write_whole
from workflows.recorded import Recording, Request, RunInfo, Sample, Tick

REQUESTS = "requests.csv"
DECISIONS = "decisions.jsonl"
TIMELINE = "timeline.jsonl"
RUN = "run.json"
COLUMNS = ("scheduled_s", "latency_s", "status", "index", "correct", "total")
FAULTS_SHOWN = 20
"""A file that is broken in every line is broken for one reason; the first lines show it."""

Value = TypeVar("Value")


def read_recording(folder: Path) -> Recording:
    """Read a run's folder; only ``decisions.jsonl`` may be missing.

    Raises:
        SpecError: files are missing or have faults; all of them, with their files and lines.
    """
    faults: list[str] = []
    info = _part(folder / RUN, read_run, faults)
    requests = _part(folder / REQUESTS, read_requests, faults)
    timeline = _part(folder / TIMELINE, read_timeline, faults)
    decided = (folder / DECISIONS).exists()
    ticks = _part(folder / DECISIONS, read_decisions, faults) if decided else ()
    if info is None or faults:
        raise SpecError(str(folder), faults)
    return Recording(info=info, requests=requests or (), timeline=timeline or (), ticks=ticks or ())


def write_recording(folder: Path, recording: Recording) -> None:
    """Write a run's folder, each file whole or not at all.

    Raises:
        DomainError: a number is not finite and has no form in JSON.
        UserError: the folder can't be written.
    """
    write_text(folder / REQUESTS, format_requests(recording.requests))
    write_text(folder / TIMELINE, "".join(map(format_json, recording.timeline)))
    write_text(folder / DECISIONS, "".join(map(format_json, recording.ticks)))
    write_text(folder / RUN, format_json(recording.info, indent=2))


def read_requests(path: Path) -> tuple[Request, ...]:
    """Read ``requests.csv``, sorted by scheduled time.

    Raises:
        SpecError: it can't be read, a column is missing or a row has faults.
    """
    rows = csv.DictReader(io.StringIO(_text(path)), restkey="")
    missing = [c for c in COLUMNS if c not in (rows.fieldnames or ())]
    if missing:
        raise SpecError(str(path), [f"line 1: column missing: {', '.join(missing)}"])
    parse, checker = _Parse[Request](), TypeAdapter(Request)
    try:
        for row in rows:
            parse.take(partial(_request, checker, row), line=rows.line_num)
    except csv.Error as err:
        parse.faults.append(f"line {rows.line_num}: is not CSV: {err}")
    return tuple(sorted(parse.result(path), key=lambda request: request.scheduled_s))


def read_decisions(path: Path) -> tuple[Tick, ...]:
    """Read ``decisions.jsonl``; raises as ``read_requests``."""
    return tuple(sorted(_read_lines(path, Tick), key=lambda tick: tick.time_s))


def read_tick(text: str) -> Tick:
    """Read one tick as ``format_json`` wrote it.

    Raises:
        SpecError: it has faults, all of them.
    """
    try:
        return TypeAdapter(Tick).validate_json(text, strict=True)
    except ValidationError as err:
        raise SpecError("decision", _faults(err)) from err


def read_timeline(path: Path) -> tuple[Sample, ...]:
    """Read ``timeline.jsonl``; raises as ``read_requests``."""
    return tuple(sorted(_read_lines(path, Sample), key=lambda sample: sample.time_s))


def read_run(path: Path) -> RunInfo:
    """Read ``run.json``.

    Raises:
        SpecError: it can't be read or has faults, all of them.
    """
    text = _text(path)
    try:
        return TypeAdapter(RunInfo).validate_json(text, strict=True)
    except ValidationError as err:
        raise SpecError(str(path), _faults(err)) from err


def format_requests(requests: Iterable[Request]) -> str:
    """Write requests as the text of ``requests.csv``."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for request in requests:
        table.writerow([getattr(request, column) for column in COLUMNS])
    return text.getvalue()


def append_line(path: Path, value: Tick | Sample) -> None:
    """Add one line to ``decisions.jsonl`` or ``timeline.jsonl``; it is not lost if we are killed.

    Raises:
        DomainError: a number is not finite and has no form in JSON.
        UserError: the file can't be written.
    """
    line = format_json(value)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as err:
        raise _unwritable(path, err) from err


def format_json(value: object, *, indent: int | None = None) -> str:
    """Write a value of ``workflows.recorded`` as JSON text with a newline at its end.

    Raises:
        DomainError: a number is not finite and has no form in JSON.
    """
    try:
        return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as err:
        raise DomainError(f"{type(value).__name__}: a number is not finite: {value}") from err


def write_text(path: Path, text: str) -> None:
    """Write a text file that is never seen half-written; its folder is made when it is missing.

    Raises:
        UserError: it can't be written.
    """
    try:
        write_whole(path, text)
    except OSError as err:
        raise _unwritable(path, err) from err


def _part(path: Path, read: Callable[[Path], Value], faults: list[str]) -> Value | None:
    try:
        return read(path)
    except SpecError as err:
        faults.extend(f"{path.name}: {fault}" for fault in err.faults)
        return None


def _request(checker: TypeAdapter[Request], row: Mapping[str, Any]) -> Request:
    """Make a request of a CSV row; empty cells are what is not known."""
    request = checker.validate_python({c: row[c] or None for c in COLUMNS})
    if request.correct is not None and (request.total is None or request.correct > request.total):
        raise DomainError(f"correct: must be at most total, got {row['correct']} of {row['total']}")
    if not request.lost and request.total is not None and request.correct is None:
        raise DomainError("correct: an answered request with a total must have it")
    return request


def _read_lines(path: Path, of: type[Value]) -> list[Value]:
    parse, checker = _Parse[Value](), TypeAdapter(of)
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            parse.take(partial(checker.validate_json, line, strict=True), line=number)
    return parse.result(path)


class _Parse(Generic[Value]):
    """Collects the values of a file's lines, and what is wrong with the others."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._found: list[Value] = []

    def take(self, read: Callable[[], Value], *, line: int) -> None:
        try:
            self._found.append(read())
        except ValidationError as err:
            self.faults.extend(f"line {line}: {fault}" for fault in _faults(err))
        except DomainError as err:
            self.faults.append(f"line {line}: {err}")

    def result(self, path: Path) -> list[Value]:
        more = len(self.faults) - FAULTS_SHOWN
        if self.faults:
            rest = [f"and {more} more"] if more > 0 else []
            raise SpecError(str(path), self.faults[:FAULTS_SHOWN] + rest)
        return self._found


def _faults(err: ValidationError) -> list[str]:
    return [
        f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}".removeprefix(": ")
        for fault in err.errors(include_url=False, include_context=False)
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as err:
        raise SpecError(str(path), [f"can't be read: {err.strerror or err}"]) from err
    except UnicodeDecodeError as err:
        raise SpecError(str(path), [f"is not UTF-8 text: {err}"]) from err


def _unwritable(path: Path, err: OSError) -> UserError:
    return UserError(f"{path} can't be written: {err.strerror or err}; choose another folder")


def _plain(value: object) -> object:
    """Turn frozen values into what ``json`` knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value
