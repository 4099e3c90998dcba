"""One InferenceService as processes: as many replicas as it asks for, replaced without a loss.

A replica that is not wanted any more first leaves the endpoints table (``draining``); it is ended
when the gateways say that no request bound to an older table is running, or after a while.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.errors import PenstockError
from serving.cluster.local_manifests import ServiceSpec
from serving.cluster.processes import Cores, ServerProcess

BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
STABLE_S = 60.0
DRAIN_TIMEOUT_S = 30.0
GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Where replicas run: folders, cores, models, and whom to tell of changes."""

    config_maps: Path
    logs: Path
    cores: Cores
    fetch: Callable[[str], Path]
    on_change: Callable[[], None]


@dataclass(slots=True, kw_only=True)
class Replica:
    """One process of a service. ``fence`` holds, per graph, the first generation without it."""

    process: ServerProcess
    spec: ServiceSpec
    cores: tuple[int, ...]
    started_s: float
    draining_since_s: float | None = None
    fence: Mapping[tuple[str, str], int] | None = None
    ending: bool = False

    @property
    def serves(self) -> bool:
        """Whether new requests may go to it."""
        return self.process.ready and self.draining_since_s is None

    @property
    def url(self) -> str:
        """Its infer URL."""
        return f"http://127.0.0.1:{self.process.facts['port']}{self.spec.infer_path}"


@dataclass(slots=True)
class Service:
    """The replicas of one InferenceService."""

    node: Node
    replicas: list[Replica] = field(default_factory=list)
    spec: ServiceSpec | None = None
    fault: str = ""
    failures: int = 0
    restarts: int = 0
    _count: int = 0
    _not_before_s: float = 0.0
    _ends: set[asyncio.Task[None]] = field(default_factory=set)

    async def reconcile(self, spec: ServiceSpec | None) -> None:
        """Take one step towards the spec; None wants no replica at all."""
        if spec is not None and (self.spec is None or spec.template != self.spec.template):
            self.failures, self._not_before_s, self.fault = 0, 0.0, ""
        self.spec = spec
        self._reap()
        template = spec.template if spec else ""
        wanted = spec.replicas if spec else 0
        current = [r for r in self._active() if r.spec.template == template]
        if spec is not None:
            await self._start(spec, wanted - len(current))
        serving = [r for r in current if r.serves]
        surplus = _surplus(current, wanted)
        if len(serving) >= wanted:
            surplus += [r for r in self._active() if r.spec.template != template]
        now_s = time.monotonic()
        for replica in surplus:
            replica.draining_since_s = now_s

    def urls(self) -> tuple[str, ...]:
        """Return the replicas that new requests may go to."""
        return tuple(r.url for r in self.replicas if r.serves)

    def draining(self) -> list[Replica]:
        """Return the replicas that are out of the table and not yet told to end."""
        return [r for r in self.replicas if r.draining_since_s is not None and not r.ending]

    def current_ready(self) -> int:
        """Return how many replicas of the newest template serve."""
        return sum(1 for r in self.replicas if r.serves and self._is_current(r))

    def end(self, replica: Replica) -> None:
        """Tell a replica to end; it is forgotten when it has."""
        replica.ending = True
        task = asyncio.create_task(replica.process.end(grace_s=GRACE_S))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def stop(self) -> None:
        """End all replicas and wait until they are gone."""
        await asyncio.gather(*(r.process.end(grace_s=GRACE_S) for r in self.replicas))
        self._reap()

    def _active(self) -> list[Replica]:
        return [r for r in self.replicas if r.draining_since_s is None]

    def _is_current(self, replica: Replica) -> bool:
        return self.spec is not None and replica.spec.template == self.spec.template

    async def _start(self, spec: ServiceSpec, missing: int) -> None:
        if missing <= 0 or time.monotonic() < self._not_before_s:
            return
        try:
            model = await asyncio.to_thread(self.node.fetch, spec.storage_uri)
        except PenstockError as err:
            self._failed(str(err))
            return
        for _ in range(missing):
            self._count += 1
            cores = self.node.cores.take(spec.cpu_cores)
            command = spec.command(
                model=model,
                config_maps=self.node.config_maps,
                cores=cores,
                parent_pid=os.getpid(),
            )
            name = f"{spec.name}-{self._count}"
            process = ServerProcess(
                name,
                command,
                log=self.node.logs / f"{spec.namespace}.{name}.log",
                on_change=self.node.on_change,
            )
            try:
                await process.start()
            except OSError as err:
                self.node.cores.give_back(cores, spec.cpu_cores)
                self._failed(f"cannot start {name}: {err}")
                return
            now_s = time.monotonic()
            self.replicas.append(Replica(process=process, spec=spec, cores=cores, started_s=now_s))

    def _reap(self) -> None:
        for replica in [r for r in self.replicas if r.process.exit_code is not None]:
            self.replicas.remove(replica)
            self.node.cores.give_back(replica.cores, replica.spec.cpu_cores)
            if replica.draining_since_s is None:
                self.restarts += 1
                if time.monotonic() - replica.started_s > STABLE_S:
                    self.failures = 0
                words = replica.process.last_words() or "it said nothing"
                self._failed(
                    f"{replica.process.name} ended with {replica.process.exit_code}: {words}"
                )
            elif replica.ending and not self.replicas:
                self.fault = ""
        if self.current_ready():
            self.fault = ""

    def _failed(self, fault: str) -> None:
        self.fault = fault
        pause_s = min(MAX_BACKOFF_S, BACKOFF_S * 2**self.failures) if self.failures else 0.0
        self.failures += 1
        self._not_before_s = time.monotonic() + pause_s


def _surplus(current: Sequence[Replica], wanted: int) -> list[Replica]:
    """Return whom to let go: first those that do not serve yet, then the youngest."""
    by_worth = sorted(current, key=lambda r: (not r.serves, r.started_s))
    return by_worth[wanted:]
