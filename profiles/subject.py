"""The predictor under test: the very server that will serve the variant, as a process of its own.

The command that starts it is a parameter, so that nothing here imports ``serving``; what is spoken
is the command line and the HTTP that any operator could use.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import selectors
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from penstock.cores import usable_cores
from penstock.errors import NotReadyError, ProfileError
from penstock.files import write_whole
from profiles.probe import Probe

MODEL = "subject"
"""The name under which the variant is served while it is profiled."""

FULL_BATCH_WAIT_S = 5.0
"""How long a batch may wait to become full. All of its requests are sent at once, so this is never
waited for; a batch that is not full would show as a sample of this size."""

_FOLLOW_TIMEOUT_S = 10.0
_FOLLOW_POLL_S = 0.02
_STOP_TIMEOUT_S = 5.0
_SHOWN_ERROR_CHARACTERS = 1500
_LIMIT = re.compile(rb"^penstock_predictor_max_batch_size(?:\{[^}]*\})? ([0-9.e+]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectSettings:
    """How a predictor is started: ``command`` is the program and its first arguments.

    It must become the predictor itself, not start it as a child: the predictor ends when the
    process that started it, which it is told, is no longer its parent.

    ``cpu_affinity`` lists cores as ``taskset`` does, empty for any. ``cpu_cores`` is the CPU share
    that the predictor keeps itself to; 0 leaves it unbounded. ``max_batch_size`` and ``max_wait_s``
    are the batch limits it starts with.
    """

    command: tuple[str, ...]
    cpu_cores: float = 0.0
    cpu_affinity: str = ""
    max_batch_size: int = 1
    max_wait_s: float = FULL_BATCH_WAIT_S
    ready_timeout_s: float = 60.0


class Subject:
    """A running predictor.

    ``load_time_s`` is what a new replica takes from the start of its process until it is ready, as
    seen from outside: the interpreter's own start is part of it.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        batch_file: Path,
        *,
        ready: bytes,
        load_time_s: float,
    ) -> None:
        try:
            self._port = int(json.loads(ready)["port"])
        except (ValueError, KeyError, TypeError) as err:
            raise ProfileError(
                f"the predictor said {ready[:200]!r} instead of one JSON line with its port; "
                "is the server command right?"
            ) from err
        self.load_time_s = load_time_s
        self._process = process
        self._batch_file = batch_file

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._port}"

    def set_batch(self, max_batch_size: int, *, max_wait_s: float = FULL_BATCH_WAIT_S) -> None:
        """Change the batch limit and wait until the running server has taken it over.

        Raises:
            NotReadyError: the server did not take it over, or is gone.
        """
        _write_batch_file(self._batch_file, max_batch_size, max_wait_s)
        ends_s = time.monotonic() + _FOLLOW_TIMEOUT_S
        while self._limit_in_force() != max_batch_size:
            if time.monotonic() > ends_s:
                raise NotReadyError(
                    f"the predictor did not take over max_batch_size {max_batch_size} from "
                    f"{self._batch_file} within {_FOLLOW_TIMEOUT_S:g} s"
                )
            time.sleep(_FOLLOW_POLL_S)

    def peak_memory_mib(self) -> float:
        """Return the most memory [MiB] that was resident at once; 0 where the system can't tell."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0.0
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(found.group(1)) / 1024 if found else 0.0

    def _limit_in_force(self) -> int | None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_FOLLOW_TIMEOUT_S)
        try:
            connection.request("GET", "/metrics")
            found = _LIMIT.search(connection.getresponse().read())
        except (OSError, http.client.HTTPException) as err:
            raise NotReadyError(f"the predictor at {self.url} is gone: {err}") from err
        finally:
            connection.close()
        return int(float(found.group(1))) if found else None


class SubjectProbe:
    """A probe that gives the predictor the limit of the batch it is about to be asked for."""

    def __init__(self, subject: Subject, inner: Probe) -> None:
        self._subject = subject
        self._inner = inner
        self._batch_size: int | None = None

    def run(self, batch_size: int) -> float:
        """Return the seconds of one full batch."""
        if batch_size != self._batch_size:
            self._subject.set_batch(batch_size)
            self._batch_size = batch_size
        return self._inner.run(batch_size)


@contextmanager
def running(model_dir: Path, settings: SubjectSettings) -> Iterator[Subject]:
    """Start a predictor on a model's folder and stop it at the end, however the end comes.

    Raises:
        ProfileError: there is no such folder or program, or the predictor ended at once, as it does
            on a broken model; its own words are repeated.
        NotReadyError: it was not ready within ``settings.ready_timeout_s``.
    """
    if not model_dir.is_dir():
        raise ProfileError(f"{model_dir} is not a folder: upload or train the model first")
    with (
        tempfile.TemporaryDirectory(prefix="penstock-profile-") as work,
        (Path(work) / "stderr").open("w+b") as errors,
    ):
        batch_file = Path(work) / "batch.json"
        _write_batch_file(batch_file, settings.max_batch_size, settings.max_wait_s)
        began_s = time.monotonic()
        process = _start(_command(model_dir, batch_file, settings), errors)
        try:
            ready = _ready_line(process, errors, settings)
            load_time_s = round(time.monotonic() - began_s, 4)
            yield Subject(process, batch_file, ready=ready, load_time_s=load_time_s)
        finally:
            _stop(process)


def last_core() -> str:
    """Return the last core this process may use, for ``cpu_affinity``; empty when it has only one.

    A predictor that is pinned to it leaves the other cores to the client that measures.
    """
    cores = usable_cores()
    return str(cores[-1]) if len(cores) > 1 else ""


def last_cores(count: int) -> str:
    """Return the last cores this process may use, for ``cpu_affinity``; empty for all there are."""
    cores = usable_cores()
    return ",".join(map(str, cores[-count:])) if len(cores) > count else ""


@contextmanager
def off_core(affinity: str) -> Iterator[None]:
    """Keep this thread off a predictor's cores (``1``, ``2,3``), if there is another one."""
    if not affinity or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before - {int(core) for core in affinity.split(",")} or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _command(model_dir: Path, batch_file: Path, settings: SubjectSettings) -> list[str]:
    options = {
        "--model-dir": str(model_dir),
        "--model-name": MODEL,
        "--host": "127.0.0.1",
        "--port": "0",
        "--batch-file": str(batch_file),
        "--cpu-cores": repr(settings.cpu_cores),
        "--drain-s": "0",
        "--parent-pid": str(os.getpid()),
    }
    if settings.cpu_affinity:
        options["--cpu-affinity"] = settings.cpu_affinity
    return [*settings.command, *(part for option in options.items() for part in option)]


def _start(command: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            # Ctrl-C in the terminal is for us; we stop the predictor ourselves.
            start_new_session=True,
        )
    except OSError as err:
        raise ProfileError(f"the predictor can't be started with {command[0]!r}: {err}") from err


def _ready_line(
    process: subprocess.Popen[bytes], errors: IO[bytes], settings: SubjectSettings
) -> bytes:
    output = process.stdout
    assert output is not None  # Popen was given a pipe
    ends_s = time.monotonic() + settings.ready_timeout_s
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left_s = ends_s - time.monotonic()
            if left_s <= 0 or not selector.select(left_s):
                raise NotReadyError(
                    f"the predictor was not ready after {settings.ready_timeout_s:g} s"
                    f"{_said(errors)}"
                )
            read = os.read(output.fileno(), 4096)
            if not read:
                code = process.wait(_STOP_TIMEOUT_S)
                raise ProfileError(
                    f"the predictor ended with code {code} before it was ready{_said(errors)}"
                )
            line += read
    return line


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    text = errors.read().decode(errors="replace").strip()
    return f"; it said: {text[-_SHOWN_ERROR_CHARACTERS:]}" if text else ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Reached by a second Ctrl-C too: whatever happens, it does not outlive us.
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _write_batch_file(path: Path, max_batch_size: int, max_wait_s: float) -> None:
    limits = {"max_batch_size": max_batch_size, "max_wait_s": max_wait_s}
    write_whole(path, json.dumps(limits))
