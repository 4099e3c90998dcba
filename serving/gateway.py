"""The process before a pipeline's graph: it counts what arrives and measures what is answered.

Before KServe's router, ``python -m serving.gateway --pipeline NAME --upstream URL`` passes requests
on to it (``serving.upstream``).

On this machine, ``python -m serving.gateway --pipeline NAME --port N --admin-socket PATH`` runs the
graph itself, and changes it without a loss. A request is bound at
its arrival to the graph and the endpoints of that moment (its *generation*) and keeps them to its
end. The admin API lives on a Unix socket: ``PUT /graph`` and ``PUT /endpoints`` put a new
generation in force and answer when every new request uses it; ``GET /drain?generation=G`` tells how
many requests of generations before G are still running, so that a replica is stopped only when
nobody needs it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter as Count
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiohttp import web

from penstock.domain import Slo
from penstock.errors import DomainError, ManifestError, UserError
from penstock.process import exit_code_of
from serving.arrivals import REMEMBERED_S, ArrivalRing
from serving.gateway_metrics import GatewayMetrics
from serving.lifetime import Lifetime
from serving.router.client import StepClient
from serving.router.endpoints import Endpoints, read_endpoints
from serving.router.execute import Answer, GraphRun
from serving.router.graph import Graph, read_graph
from serving.upstream import ForwardingGateway, Upstream

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_GRACE_S = 30.0
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The graph and the endpoints that requests arriving now are bound to."""

    number: int
    graph: Graph
    endpoints: Endpoints
    run: GraphRun


class Gateway:
    """The generations of one pipeline and the requests in flight in each."""

    def __init__(
        self, pipeline: str, *, client: StepClient, start_s: float, namespace: str = "default"
    ) -> None:
        self.pipeline = pipeline
        self.metrics = GatewayMetrics(pipeline, namespace)
        self.arrivals = ArrivalRing(start_s=start_s)
        self._client = client
        self._current: Generation | None = None
        self._in_flight: Count[int] = Count()

    @property
    def current(self) -> Generation | None:
        """The generation in force; None before the first graph."""
        return self._current

    @property
    def ready(self) -> bool:
        """Whether there is a graph to answer with."""
        return self._current is not None

    @property
    def in_flight(self) -> int:
        """Requests of all generations that are not answered yet."""
        return self._in_flight.total()

    def put(self, number: int, *, graph: Graph | None, endpoints: Endpoints) -> None:
        """Put a generation in force for every request from now on; None keeps the graph.

        Raises:
            ManifestError: there is no graph yet, or the number does not rise.
        """
        current = self._current
        if current is not None and number <= current.number:
            raise ManifestError(f"generation {number} is not newer than {current.number}")
        graph = graph or (current.graph if current else None)
        if graph is None:
            raise ManifestError("endpoints came before the first graph; PUT /graph first")
        call = partial(self._client.call, endpoints=endpoints, timeout_s=graph.timeout_s)
        run = GraphRun(graph, call)
        self._current = Generation(number=number, graph=graph, endpoints=endpoints, run=run)
        self._client.balancer.forget_all_but(endpoints)

    def older_in_flight(self, number: int) -> int:
        """Return how many requests of generations before ``number`` are still running."""
        return sum(count for generation, count in self._in_flight.items() if generation < number)

    async def answer(self, body: bytes, _headers: Mapping[str, str] = _NOTHING) -> Answer:
        """Return the graph's answer, 503 before the first one; no header is passed on to steps."""
        generation = self._current
        if generation is None:
            return Answer.error(503, "no graph has been put in force yet")
        number = generation.number
        self._in_flight[number] += 1
        self.metrics.in_flight.inc()
        try:
            return await generation.run.answer(body)
        finally:
            self.metrics.in_flight.dec()
            self._in_flight[number] -= 1
            if not self._in_flight[number]:
                del self._in_flight[number]


class PublicFace:
    """What clients and Prometheus see."""

    def __init__(self, gateway: Gateway | ForwardingGateway) -> None:
        self._gateway = gateway
        self.draining = False

    def application(self) -> web.Application:
        """Return the application of the public port."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.post("/", self._infer),
                web.post(f"/v2/models/{self._gateway.pipeline}/infer", self._infer),
                web.get("/v2/health/live", self._live),
                web.get("/v2/health/ready", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/-/load", self._load),
            ]
        )
        return app

    async def _infer(self, request: web.Request) -> web.Response:
        gateway = self._gateway
        began_s = time.monotonic()
        gateway.metrics.arrivals.inc()
        gateway.arrivals.count(now_s=time.time())
        response = await self._answer(request)
        gateway.metrics.answered(response.status, time.monotonic() - began_s)
        if self.draining:
            response.force_close()
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        answer = await self._gateway.answer(body, request.headers)
        return web.Response(
            body=answer.body, status=answer.status, content_type=answer.content_type
        )

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _request: web.Request) -> web.Response:
        ready = self._gateway.ready and not self.draining
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = self._gateway.metrics.render()
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _load(self, request: web.Request) -> web.Response:
        try:
            steps, step_s = (
                int(request.query.get(key, default))
                for key, default in (("steps", 60), ("step_s", 1))
            )
        except ValueError:
            return _error(400, "steps and step_s must be whole numbers")
        if steps < 1 or step_s < 1 or steps * step_s > REMEMBERED_S:
            return _error(400, f"steps and step_s start at 1; at most {REMEMBERED_S} s are kept")
        load = self._gateway.arrivals.load(now_s=time.time(), steps=steps, step_s=step_s)
        return web.json_response(
            {"step_s": load.step_s, "end_s": load.end_s, "values_rps": load.values_rps}
        )


class AdminFace:
    """What the controller of the graph sees, on a Unix socket."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def application(self) -> web.Application:
        """Return the application of the admin socket."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.put("/graph", self._put_graph),
                web.put("/endpoints", self._put_endpoints),
                web.get("/drain", self._drain),
            ]
        )
        return app

    async def _put_graph(self, request: web.Request) -> web.Response:
        return await self._put(request, with_graph=True)

    async def _put_endpoints(self, request: web.Request) -> web.Response:
        return await self._put(request, with_graph=False)

    async def _put(self, request: web.Request, *, with_graph: bool) -> web.Response:
        try:
            document = _admin_document(await request.read())
            graph = read_graph(document.get("graph") or {}) if with_graph else None
            endpoints = read_endpoints(document.get("endpoints"))
            self._gateway.put(document["generation"], graph=graph, endpoints=endpoints)
        except ManifestError as err:
            return _error(400, str(err))
        return web.json_response({"generation": document["generation"]})

    async def _drain(self, request: web.Request) -> web.Response:
        current = self._gateway.current
        try:
            number = int(request.query.get("generation", current.number if current else 0))
        except ValueError:
            return _error(400, "generation must be a whole number")
        return web.json_response(
            {
                "generation": current.number if current else None,
                "older_in_flight": self._gateway.older_in_flight(number),
                "in_flight": self._gateway.in_flight,
            }
        )


def _admin_document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as err:
        raise ManifestError(f"the body is not JSON: {err}") from err
    if not isinstance(document, dict) or type(document.get("generation")) is not int:
        raise ManifestError("generation: must be a whole number")
    return document


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to end; 0 after a drain, 2 when a person must act."""
    options = _parser().parse_args(argv)
    return exit_code_of(lambda: asyncio.run(_serve(options)))


async def _serve(options: argparse.Namespace) -> None:
    slo = _slo(options)
    lifetime = Lifetime(parent_pid=options.parent_pid)
    if options.upstream:
        upstream = Upstream(options.upstream)
        forwarding = ForwardingGateway(
            options.pipeline,
            namespace=options.namespace,
            upstream=upstream,
            timeout_s=options.timeout_s,
        )
        forwarding.metrics.hold_to(slo)
        try:
            await _serve_public(PublicFace(forwarding), lifetime, options)
        finally:
            await upstream.close()
        return
    client = StepClient(timeout_s=options.timeout_s)
    gateway = Gateway(
        options.pipeline, client=client, start_s=time.time(), namespace=options.namespace
    )
    gateway.metrics.hold_to(slo)
    admin = web.AppRunner(AdminFace(gateway).application(), access_log=None)
    await admin.setup()
    try:
        options.admin_socket.unlink(missing_ok=True)
        await _listen(web.UnixSite(admin, str(options.admin_socket)))
        await _serve_public(PublicFace(gateway), lifetime, options)
    finally:
        await admin.cleanup()
        await client.close()
        options.admin_socket.unlink(missing_ok=True)


async def _serve_public(face: PublicFace, lifetime: Lifetime, options: argparse.Namespace) -> None:
    """Listen until told to end, then be not ready and serve on for the time of the drain."""
    public = web.AppRunner(face.application(), access_log=None, shutdown_timeout=MAX_GRACE_S)
    await public.setup()
    try:
        await _listen(web.TCPSite(public, options.host, options.port))
        port = public.addresses[0][1]
        sys.stdout.write(json.dumps({"port": port, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        await lifetime.ended()
        face.draining = True
        await lifetime.linger(options.drain_s)
    finally:
        await public.cleanup()


def _slo(options: argparse.Namespace) -> Slo | None:
    if not options.slo_s:
        return None
    try:
        return Slo(latency_s=options.slo_s, quantile=options.slo_quantile)
    except DomainError as err:
        raise UserError(f"--slo-s and --slo-quantile: {err}") from err


async def _listen(site: web.BaseSite) -> None:
    try:
        await site.start()
    except OSError as err:
        raise UserError(
            f"cannot listen on {site.name}: {err.strerror}; stop who does, or take another port"
        ) from err


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.gateway", description=__doc__)
    add = parser.add_argument
    add("--pipeline", required=True, help="name of the InferenceGraph")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8080, help="0 takes a free one")
    add("--namespace", default="default", help="of the pipeline; a label of the metrics")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--admin-socket", type=Path, help="run the graph; socket of its admin API")
    way.add_argument("--upstream", help="pass requests on to this URL, KServe's router")
    add("--timeout-s", type=float, default=60.0, help="for one step's call, or one passed on")
    add("--slo-s", type=float, default=0.0, help="latency whose misses are counted; 0: none")
    add("--slo-quantile", type=float, default=0.99, help="share of requests the SLO is for")
    add("--drain-s", type=float, default=0.0, help="how long to listen on after SIGTERM")
    add("--parent-pid", type=int, default=0, help="end when this parent is gone; 0: never")
    return parser


if __name__ == "__main__":
    sys.exit(main())
