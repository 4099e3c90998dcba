"""KServe's router as a pod sees it, with our execution of graphs.

``--graph-json`` on 8080: ``/readyz``, every other path runs the graph. A step is called once,
without a second try. After SIGTERM it is not ready, serves on for 30 s and then ends, as KServe's
does.
"""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
from aiohttp import web

from penstock.errors import UnreachableError
from serving.lifetime import Lifetime
from serving.router.execute import Answer, GraphRun
from serving.router.graph import Step, read_graph

LINGER_S = 30.0


class Router:
    """The graph of one ``--graph-json`` behind HTTP."""

    def __init__(self, spec: dict, session: aiohttp.ClientSession) -> None:
        for node in spec["nodes"].values():
            for step in node["steps"]:
                step.pop("serviceName", None)  # it says where the URL came from
        graph = read_graph({"spec": spec})
        self._timeout = aiohttp.ClientTimeout(total=graph.timeout_s)
        self._session = session
        self._run = GraphRun(graph, self._call)
        self.ending = False

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/readyz", self._ready), web.route("*", "/{path:.*}", self._infer)])
        return app

    async def _call(self, step: Step, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                step.url, data=body, headers=headers, timeout=self._timeout
            ) as response:
                return Answer(status=response.status, body=await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            sys.stderr.write(f"{step.url}: {err!r}\n")
            raise UnreachableError(f"{step.url}: {err!r}") from err

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(status=503 if self.ending else 200)

    async def _infer(self, request: web.Request) -> web.Response:
        answer = await self._run.answer(await request.read())
        return web.Response(status=answer.status, body=answer.body)


async def serve(spec: dict) -> None:
    lifetime = Lifetime()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        router = Router(spec, session)
        runner = web.AppRunner(router.application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", 8080).start()
        await lifetime.ended()
        router.ending = True
        await lifetime.linger(LINGER_S)
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[sys.argv.index("--graph-json") + 1])))
