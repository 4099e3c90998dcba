"""Server processes of the local cluster: start, readiness line, log, end; and cores for them.

Everything here is the node of the tiny KServe: what a kubelet and a scheduler do for pods.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import serving

MAX_SOCKET_PATH = 100
"""Unix sockets' paths end at 104 (macOS) or 108 bytes; some room is left for the zero."""
_TAIL_BYTES = 4096


class ServerProcess:
    """One child that says it is ready with one line of JSON on its stdout.

    It runs in a session of its own, so that Ctrl-C at a terminal reaches it only through whoever
    started it; it watches its parent itself (``--parent-pid``) and ends with it.
    """

    def __init__(
        self, name: str, argv: Sequence[str], *, log: Path, on_change: Callable[[], None]
    ) -> None:
        """Describe the process; ``on_change`` is called when it is ready and when it has ended."""
        self.name = name
        self.facts: Mapping[str, Any] = {}
        self.exit_code: int | None = None
        self._argv = tuple(argv)
        self._log = log
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process else 0

    @property
    def ready(self) -> bool:
        """Whether it has said so and still runs."""
        return bool(self.facts) and self.exit_code is None

    async def start(self) -> None:
        """Start it; its stderr goes to the log."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=child_environment(),
                start_new_session=True,
            )
        self._watcher = asyncio.create_task(self._watch(self._process))

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal if it still runs."""
        if self._process is not None and self.exit_code is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                return

    async def end(self, *, grace_s: float) -> None:
        """Ask it to end, and after ``grace_s`` make it; returns when it is gone."""
        if self._watcher is None:
            return
        self.signal()
        done, _ = await asyncio.wait([self._watcher], timeout=grace_s)
        if not done:
            self.signal(signal.SIGKILL)
        await asyncio.wait([self._watcher])

    def last_words(self) -> str:
        """Return the last line of its log, for a status message."""
        return tail(self._log)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        out = process.stdout
        while out is not None and (line := await out.readline()):
            if not self.facts:
                self.facts = _facts(line)
                self._on_change()
        self.exit_code = await process.wait()
        self._on_change()


class Cores:
    """Deals CPU cores to replicas: the one with the least work first.

    The control plane (gateway, daemon, load generator) keeps ``control`` for itself while the
    others have room: it counts as taken.
    """

    def __init__(self, usable: Sequence[int], *, control: int | None = None) -> None:
        """Deal out ``usable`` cores; ``control`` is ignored when it is the only one."""
        self._taken = dict.fromkeys(usable, 0.0)
        if control in self._taken and len(self._taken) > 1:
            self._taken[control] = 1.0

    def take(self, cpu_cores: float) -> tuple[int, ...]:
        """Return the cores for a replica that uses this much: one, or as many as it fills."""
        count = max(1, min(len(self._taken), math.ceil(cpu_cores)))
        cores = sorted(self._taken, key=lambda core: (round(self._taken[core], 6), -core))
        taken = tuple(sorted(cores[:count]))
        for core in taken:
            self._taken[core] += cpu_cores / count
        return taken

    def give_back(self, cores: Sequence[int], cpu_cores: float) -> None:
        """Note that a replica has ended."""
        for core in cores:
            self._taken[core] -= cpu_cores / len(cores)


def child_environment() -> dict[str, str]:
    """Return this environment with the path on which ``serving`` was found, and one thread."""
    root = str(Path(serving.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def python(module: str, *arguments: object) -> list[str]:
    """Return the command line of a module of ours in this interpreter."""
    return [sys.executable, "-m", module, *(str(one) for one in arguments)]


def socket_path(folder: Path, name: str) -> Path:
    """Return where the Unix socket of that name lies: in the folder, if its path is short enough.

    Otherwise it lies in the temporary folder, under a name that follows from the folder's.
    """
    path = folder.absolute() / name
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"penstock-{digest}.sock"


def tail(path: Path) -> str:
    """Return the last line of a file that may not exist."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU time [s] a process has used; None when it is gone or the system won't say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _facts(line: bytes) -> Mapping[str, Any]:
    try:
        facts = json.loads(line)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
