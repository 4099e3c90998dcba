"""The process of the local cluster: its objects and controllers behind HTTP on a Unix socket.

``python -m serving.cluster.local_daemon --dir DIR --socket PATH``. The objects live in the same
in-memory API server that the dry run uses; :mod:`serving.cluster.local` speaks the API. When this
process ends, however it ends, everything it started ends with it.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from penstock.cores import count_cores, usable_cores
from penstock.errors import PenstockError, UserError
from penstock.process import exit_code_of
from serving.cluster.local_node import LocalNode
from serving.cluster.local_wire import change_from, error_to
from serving.cluster.memory import MemoryCluster
from serving.cluster.processes import Cores
from serving.lifetime import Lifetime

MAX_BODY_BYTES = 16 * 1024 * 1024


class LocalApi:
    """The daemon's routes; ``stopped`` is set when somebody asked it to stop."""

    def __init__(self, node: LocalNode) -> None:
        self._node = node
        self.stopped = asyncio.Event()

    def application(self) -> web.Application:
        """Return the application of the socket."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors])
        one = "/objects/{kind}/{namespace}/{name}"
        app.add_routes(
            [
                web.get("/status", self._status),
                web.post("/stop", self._stop),
                web.post("/changes", self._apply),
                web.get(one, self._get),
                web.delete(one, self._delete),
                web.get("/objects/{kind}/{namespace}", self._list),
                web.get("/ready/{kind}/{namespace}/{name}", self._ready),
            ]
        )
        return app

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "pid": os.getpid(),
                "gateways": self._node.gateways(),
                "replicas": self._node.replicas(),
            }
        )

    async def _stop(self, _request: web.Request) -> web.Response:
        self.stopped.set()
        return web.json_response({"pid": os.getpid()})

    async def _apply(self, request: web.Request) -> web.Response:
        return web.json_response(self._node.apply(change_from(await request.json())))

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._node.get(*_named(request)))

    async def _list(self, request: web.Request) -> web.Response:
        kind, namespace = request.match_info["kind"], request.match_info["namespace"]
        return web.json_response(self._node.list(kind, namespace, dict(request.query)))

    async def _delete(self, request: web.Request) -> web.Response:
        return web.json_response(self._node.delete(*_named(request)))

    async def _ready(self, request: web.Request) -> web.Response:
        readiness = self._node.ready(*_named(request))
        return web.json_response({"ready": readiness.ready, "reason": readiness.reason})


def main(argv: Sequence[str] | None = None) -> int:
    """Run until stopped; 0 when nothing is left behind, 2 when a person must act."""
    options = _parser().parse_args(argv)
    return exit_code_of(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    with _only_one(options.dir):
        asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    lifetime = Lifetime(parent_pid=options.parent_pid)
    check_port("127.0.0.1", options.gateway_port)
    cores = _cores(options.cores)
    node = LocalNode(options.dir, MemoryCluster(), cores, gateway_port=options.gateway_port)
    api = LocalApi(node)
    runner = web.AppRunner(api.application(), access_log=None)
    await runner.setup()
    options.socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(options.socket)).start()
    sys.stdout.write(json.dumps({"pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    tasks = [asyncio.create_task(one) for one in (node.run(), lifetime.ended(), api.stopped.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks[1:]:
            task.cancel()
        if tasks[0] in done:
            tasks[0].result()
        tasks[0].cancel()
        await asyncio.wait(tasks)
    finally:
        await node.stop()
        options.socket.unlink(missing_ok=True)
        await runner.cleanup()


def check_port(host: str, port: int) -> None:
    """Check that the gateway will be able to listen; 0 always can.

    Raises:
        UserError: somebody else listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as err:
            raise UserError(
                f"the gateway cannot listen on {host}:{port}: {err.strerror}; "
                "stop who does, or take another port"
            ) from err


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "daemon.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise UserError(f"a local cluster already runs in {folder}; stop it first") from err
        yield


def _cores(text: str) -> Cores:
    """Return the cores to deal out; the first one of several is the control plane's."""
    if text:
        try:
            return Cores([int(part) for part in text.split(",")])
        except ValueError as err:
            raise UserError(f"--cores must be like 1 or 0,1; got {text!r}") from err
    usable = usable_cores()
    if not usable:
        return Cores(range(count_cores()), control=0)
    if len(usable) > 1:
        # Inherited by the gateways; replicas are pinned to the cores they were dealt.
        os.sched_setaffinity(0, usable[:1])
    return Cores(usable, control=usable[0])


def _named(request: web.Request) -> tuple[str, str, str]:
    match: Mapping[str, str] = request.match_info
    return match["kind"], match["namespace"], match["name"]


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except PenstockError as err:
        return web.json_response(error_to(err), status=409)
    return response


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.cluster.local_daemon")
    add = parser.add_argument
    add("--dir", type=Path, required=True, help="folder of logs, sockets and fetched models")
    add("--socket", type=Path, required=True, help="Unix socket of the API")
    add("--gateway-port", type=int, default=0, help="of the first graph; 0 takes free ones")
    add("--cores", default="", help="cores for replicas, like 1 or 0,1; all but the first")
    add("--parent-pid", type=int, default=0, help="end when this parent is gone; 0: never")
    return parser


if __name__ == "__main__":
    sys.exit(main())
