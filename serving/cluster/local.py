"""The Cluster port on this machine: a tiny KServe of processes, for laptops and for tests.

``LocalCluster.start(folder)`` attaches to the daemon of that folder or starts one. It outlives the
process that started it, so that ``penstock apply`` and ``penstock adapt`` meet the same cluster,
unless it was started with ``tied=True``; ``stop`` ends it and everything it runs.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from penstock.errors import NotFoundError, PenstockError, UnreachableError, UserError
from serving.cluster import Cluster, Readiness
from serving.cluster.local_wire import change_to, error_from
from serving.cluster.processes import child_environment, python, socket_path, tail
from serving.diff import Change
from serving.manifest import Manifest

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 45.0
CALL_TIMEOUT_S = 30.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaUsage:
    """One replica process: what it was given (``cpu_cores``) and what it used (``cpu_seconds``).

    ``cores`` are the CPUs it is pinned to. ``cpu_seconds`` is None where the system does not tell.
    A replica that drains still costs its cores.
    """

    namespace: str
    service: str
    pid: int
    url: str
    cpu_cores: float
    cores: tuple[int, ...]
    ready: bool
    draining: bool
    restarts: int
    load_time_s: float | None = None
    cpu_seconds: float | None = None


class LocalCluster:
    """The client of one local cluster; it holds no connection and no state of its own."""

    def __init__(self, folder: Path) -> None:
        """Talk to the daemon of ``folder``; nothing is started or contacted yet."""
        self.folder = folder
        self._socket = socket_path(folder, "daemon.sock")

    @classmethod
    def start(
        cls, folder: Path, *, gateway_port: int = 0, cores: str = "", tied: bool = False
    ) -> LocalCluster:
        """Return the cluster of ``folder``, started if it does not run.

        ``gateway_port`` is for the first graph, 0 takes a free one. ``cores`` are the CPUs for
        replicas, such as ``"1"`` or ``"0,1"``; by default all, the first one last. ``tied`` ends
        the cluster with this process.

        Raises:
            UserError: it could not start: a busy port, a folder that cannot be written.
            UnreachableError: it did not answer in time.
        """
        cluster = cls(folder)
        if not cluster.running():
            cluster._launch(gateway_port=gateway_port, cores=cores, tied=tied)
        return cluster

    def running(self) -> bool:
        """Whether the daemon answers."""
        try:
            self._call("GET", "/status")
        except UnreachableError:
            return False
        return True

    def stop(self) -> None:
        """End the daemon and all it runs; returns when they are gone, at once if none runs."""
        try:
            pid = int(self._call("POST", "/stop")["pid"])
        except UnreachableError:
            return
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while _alive(pid):
            if time.monotonic() > deadline_s:
                raise UnreachableError(f"the local cluster (pid {pid}) did not stop; kill it")
            time.sleep(_POLL_S)

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the live object with its status, or ``None`` when it is not there."""
        found: Manifest | None = self._call("GET", _path("objects", kind, namespace, name))
        return found

    def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> tuple[Manifest, ...]:
        """Return the objects that carry all of these labels, ordered by name."""
        query = f"?{urlencode(labels)}" if labels else ""
        return tuple(self._call("GET", _path("objects", kind, namespace) + query))

    def apply(self, change: Change) -> Manifest | None:
        """Carry out one change.

        Raises:
            ConflictError: somebody else wrote first, or it exists already.
            NotFoundError: there is nothing to patch, replace or delete.
            ManifestError: the object makes no sense, or this machine cannot run it.
        """
        answer: Manifest | None = self._call("POST", "/changes", change_to(change))
        return answer

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Remove an object; ``False`` when it was not there. Its processes drain and end."""
        return bool(self._call("DELETE", _path("objects", kind, namespace, name)))

    def ready(self, kind: str, namespace: str, name: str) -> Readiness:
        """Say whether the processes are what the object says."""
        answer = self._call("GET", _path("ready", kind, namespace, name))
        return Readiness(ready=answer["ready"], reason=answer["reason"])

    def gateway_url(self, pipeline: str, namespace: str = "default") -> str:
        """Return the URL that a pipeline's clients post to.

        Raises:
            NotFoundError: its InferenceGraph is not there, or its gateway is not up.
        """
        gateways = self._call("GET", "/status")["gateways"]
        for gateway in gateways:
            if (gateway["namespace"], gateway["pipeline"]) == (namespace, pipeline):
                return str(gateway["url"])
        raise NotFoundError(f"no gateway runs for {namespace}/{pipeline}; apply its graph first")

    def replica_usage(self) -> tuple[ReplicaUsage, ...]:
        """Return every replica process that has not ended, those that drain included."""
        names = [one.name for one in fields(ReplicaUsage)]
        return tuple(
            ReplicaUsage(**{**{name: row[name] for name in names}, "cores": tuple(row["cores"])})
            for row in self._call("GET", "/status")["replicas"]
        )

    def _launch(self, *, gateway_port: int, cores: str, tied: bool) -> None:
        logs = self.folder / "logs"
        try:
            logs.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UserError(f"cannot write to {self.folder}: {err.strerror}") from err
        command = python("serving.cluster.local_daemon", "--dir", self.folder.absolute())
        command += ["--socket", str(self._socket), "--gateway-port", str(gateway_port)]
        command += ["--cores", cores, "--parent-pid", str(os.getpid() if tied else 0)]
        log = logs / "daemon.log"
        with log.open("ab") as out:
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=out,
                env=child_environment(),
                start_new_session=True,
            )
        self._await_start(daemon, log)

    def _await_start(self, daemon: subprocess.Popen[bytes], log: Path) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self.running():
            code = daemon.poll()
            if code is not None and not self.running():
                kind = UserError if code == UserError.exit_code else UnreachableError
                raise kind(f"the local cluster did not start: {tail(log) or f'exit code {code}'}")
            if time.monotonic() > deadline_s:
                daemon.kill()
                daemon.wait()
                raise UnreachableError(f"the local cluster did not answer; see {log}")
            time.sleep(_POLL_S)
        _children[daemon.pid] = daemon

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = _UnixConnection(self._socket)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as err:
            raise UnreachableError(
                f"no local cluster answers for {self.folder}: {err!r}; start it first"
            ) from err
        finally:
            connection.close()
        if response.status == 409:
            raise error_from(answer)
        if response.status != 200:
            raise PenstockError(f"the local cluster failed on {method} {path}: {answer}")
        return answer


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=CALL_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CALL_TIMEOUT_S)
        self.sock.connect(str(self._path))


_children: dict[int, subprocess.Popen[bytes]] = {}
"""Daemons that this process started: they have to be waited for, or they stay as zombies."""


def _alive(pid: int) -> bool:
    child = _children.get(pid)
    if child is not None:
        if child.poll() is None:
            return True
        del _children[pid]
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)


if TYPE_CHECKING:
    _local: type[Cluster] = LocalCluster
