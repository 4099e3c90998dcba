"""One InferenceGraph as a gateway process, told of every new graph and every new replica."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from penstock.errors import ManifestError, UnreachableError
from serving.cluster.local_services import GRACE_S
from serving.cluster.processes import ServerProcess, python, socket_path
from serving.router.graph import read_graph

ADMIN_TIMEOUT_S = 5.0

Table = Mapping[str, tuple[str, ...]]


class GraphProcess:
    """The gateway of one graph; ``generation`` is the newest one that it has put in force."""

    def __init__(
        self, key: tuple[str, str], *, folder: Path, port: int, on_change: Callable[[], None]
    ) -> None:
        """Describe the gateway of a graph (namespace, name).

        ``port`` 0 takes a free one and then keeps it.
        """
        self.namespace, self.name = key
        self.generation = 0
        self.port = port
        self.fault = ""
        self._in_force: tuple[str, Table] | None = None
        self._socket = socket_path(folder, f"{key[0]}.{key[1]}.sock")
        self._log = folder / "logs" / f"{key[0]}.gateway-{key[1]}.log"
        self._on_change = on_change
        self._process: ServerProcess | None = None
        self._retry_s = 0.0

    @property
    def url(self) -> str:
        """Where clients post requests; empty while there is no gateway."""
        return f"http://127.0.0.1:{self.port}" if self._process and self._process.ready else ""

    @property
    def pid(self) -> int:
        """The pid of the gateway; 0 without one."""
        return self._process.pid if self._process else 0

    def names(self, url: str) -> bool:
        """Whether the table in force sends requests to this replica."""
        return self._in_force is not None and any(
            url in urls for urls in self._in_force[1].values()
        )

    def serves(self, manifest: Mapping[str, Any]) -> bool:
        """Whether this very spec is in force and every service of it has a replica."""
        if not self.url or self._in_force is None or self._in_force[0] != _text(manifest):
            return False
        return all(self._in_force[1].values())

    async def reconcile(self, manifest: Mapping[str, Any], table: Table) -> None:
        """Take one step: start the gateway, or tell it what is new.

        A graph whose services are not all there yet is not put in force: as in KServe, the old
        one stays until they are.
        """
        await self._ensure()
        if not self.url:
            return
        try:
            services = read_graph(manifest).services()
            await self._tell(manifest, {name: table.get(name, ()) for name in services}, table)
        except (ManifestError, UnreachableError) as err:
            self.fault = str(err)

    async def older_in_flight(self, generation: int) -> int:
        """Return how many requests run that are bound to a generation before this one."""
        if not self.url:
            return 0
        answer = await self._admin("GET", f"/drain?generation={generation}")
        return int(answer["older_in_flight"])

    async def stop(self) -> None:
        """End the gateway when it has answered what it accepted."""
        if self._process is not None:
            await self._process.end(grace_s=GRACE_S)
            self._process = None

    async def _tell(self, manifest: Mapping[str, Any], wanted: Table, everything: Table) -> None:
        text = _text(manifest)
        missing = [name for name, urls in wanted.items() if not urls]
        if self._in_force is None or self._in_force[0] != text:
            if missing:
                self.fault = f"waiting for a replica of {', '.join(missing)}"
                await self._keep_endpoints(everything)
                return
            await self._put(
                "/graph", wanted, graph={"metadata": manifest["metadata"], "spec": manifest["spec"]}
            )
            self._in_force = (text, dict(wanted))
        elif self._in_force[1] != wanted:
            await self._put("/endpoints", wanted)
            self._in_force = (text, dict(wanted))
        self.fault = f"no replica of {', '.join(missing)}" if missing else ""

    async def _keep_endpoints(self, everything: Table) -> None:
        """Follow the replicas of the old graph while the new one waits."""
        if self._in_force is None:
            return
        text, old = self._in_force
        table = {name: everything.get(name, ()) for name in old}
        if table != old:
            await self._put("/endpoints", table)
            self._in_force = (text, table)

    async def _put(self, path: str, table: Table, **more: Any) -> None:
        generation = self.generation + 1
        body = {"generation": generation, "endpoints": table, **more}
        await self._admin("PUT", path, body)
        self.generation = generation

    async def _admin(self, method: str, path: str, body: Any = None) -> Any:
        timeout = aiohttp.ClientTimeout(total=ADMIN_TIMEOUT_S)
        connector = aiohttp.UnixConnector(path=str(self._socket))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.request(method, f"http://gateway{path}", json=body) as response,
            ):
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as err:
            raise UnreachableError(f"gateway {self.name} did not answer: {err!r}") from err
        if response.status != 200:
            raise ManifestError(f"gateway {self.name} refused: {answer.get('error')}")
        return answer

    async def _ensure(self) -> None:
        process = self._process
        if process is not None and process.exit_code is None:
            if process.ready:
                self.port = int(process.facts["port"])
            return
        now_s = asyncio.get_running_loop().time()
        if process is not None:
            self.fault = f"the gateway ended with {process.exit_code}: {process.last_words()}"
            if now_s < self._retry_s:
                return
        self._retry_s = now_s + 1.0
        self._in_force = None
        command = python("serving.gateway", "--pipeline", self.name, "--port", self.port)
        command += ["--namespace", self.namespace, "--admin-socket", str(self._socket)]
        command += ["--parent-pid", str(os.getpid())]
        self._process = ServerProcess(
            f"gateway-{self.name}", command, log=self._log, on_change=self._on_change
        )
        await self._process.start()


def _text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest.get("spec"), sort_keys=True)
