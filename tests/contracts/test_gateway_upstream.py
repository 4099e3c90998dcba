"""The gateway before somebody else's router, over real sockets: what it passes on and answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from serving.gateway import PublicFace
from serving.upstream import DEADLINE, RECYCLE, ForwardingGateway, Upstream
from tests.listening import listening

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Router:
    """Answers as told, and notes what it is sent and over how many connections."""

    def __init__(self, answer=None):
        self.answer = answer or self.good
        self.requests = []
        self.peers = set()

    async def handle(self, request):
        self.peers.add(request.transport.get_extra_info("peername"))
        self.requests.append((request.headers.copy(), await request.read()))
        return await self.answer(request)

    async def good(self, _request):
        return web.json_response({"outputs": [len(self.requests)]})


class Stand:
    """A gateway before a router."""

    def __init__(self, stack):
        self._stack = stack

    async def begin(self, router=None, *, url="", timeout_s=2.0, max_in_flight=64):
        enter = self._stack.enter_async_context
        self.router = router or Router()
        app = web.Application()
        app.router.add_post("/", self.router.handle)
        self.upstream = Upstream(url or await enter(listening(app)) + "/")
        self._stack.push_async_callback(self.upstream.close)
        gateway = ForwardingGateway(
            "pipe",
            namespace="shop",
            upstream=self.upstream,
            timeout_s=timeout_s,
            max_in_flight=max_in_flight,
        )
        self.url = await enter(listening(PublicFace(gateway).application())) + "/"
        self.session = await enter(aiohttp.ClientSession())
        return self

    async def post(self, path="", data=b"{}", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(self.url + path, data=data, headers=named) as response:
            return response.status, await response.read()

    async def metrics(self):
        async with self.session.get(self.url + "metrics") as response:
            return await response.text()


@pytest.fixture
async def stand():
    async with contextlib.AsyncExitStack() as stack:
        yield Stand(stack)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_body_and_answer_pass_through_and_are_counted_by_namespace(stand):
    await stand.begin()
    assert await stand.post(data=b'{"inputs": []}') == (200, b'{"outputs": [1]}')
    assert await stand.post("v2/models/pipe/infer") == (200, b'{"outputs": [2]}')
    assert stand.router.requests[0][1] == b'{"inputs": []}'
    text = await stand.metrics()
    for line in (
        'penstock_arrivals_total{namespace="shop",pipeline="pipe"} 2.0',
        'penstock_requests_total{code="200",namespace="shop",pipeline="pipe"} 2.0',
        'penstock_in_flight{namespace="shop",pipeline="pipe"} 0.0',
    ):
        assert line in text


@pytest.mark.parametrize(("status", "media"), [(404, "application/json"), (500, "text/plain")])
async def test_the_graphs_own_status_and_type_are_kept(stand, status, media):
    async def answer(_request):
        return web.Response(status=status, body=b"no", content_type=media)

    await stand.begin(Router(answer))
    async with stand.session.post(stand.url, data=b"{}") as response:
        assert (response.status, response.content_type) == (status, media)


async def test_a_router_that_is_not_there_is_502(stand):
    await stand.begin(url=f"http://127.0.0.1:{free_port()}/")
    status, body = await stand.post()
    assert (status, "cannot be reached" in json.loads(body)["error"]) == (502, True)


async def test_a_router_that_is_too_slow_is_504_in_time(stand):
    async def slow(_request):
        await asyncio.sleep(5)
        return web.Response()

    await stand.begin(Router(slow), timeout_s=0.2)
    began_s = time.monotonic()
    assert (await stand.post())[0] == 504
    assert time.monotonic() - began_s < 2


async def test_an_answer_that_breaks_off_is_502(stand):
    async def breaks_off(request):
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        request.transport.abort()
        return response

    await stand.begin(Router(breaks_off))
    status, body = await stand.post()
    assert (status, "broke off" in json.loads(body)["error"]) == (502, True)


async def test_a_router_that_hangs_up_once_is_asked_again(stand):
    async def hangs_up_first(request):
        if len(stand.router.requests) == 1:
            request.transport.abort()
        return await stand.router.good(request)

    await stand.begin(Router(hangs_up_first))
    assert (await stand.post())[0] == 200
    assert len(stand.router.requests) == 2


async def test_a_deadline_is_stamped_and_an_earlier_one_of_the_caller_kept(stand):
    await stand.begin(timeout_s=2.0)
    before_ms = time.time() * 1e3
    await stand.post(X_Request_Id="7", Authorization="secret")
    soon = str(round(time.time() * 1e3) + 500)
    await stand.post(Penstock_Deadline_Ms=soon)
    first, second = (headers for headers, _ in stand.router.requests)
    assert before_ms + 1900 < int(first[DEADLINE]) < before_ms + 3000
    assert first["X-Request-Id"] == "7"
    assert "Authorization" not in first
    assert second[DEADLINE] == soon


async def test_a_deadline_that_is_over_is_504_unasked_and_one_that_is_no_time_400(stand):
    await stand.begin()
    assert (await stand.post(Penstock_Deadline_Ms="1000"))[0] == 504
    assert (await stand.post(Penstock_Deadline_Ms="soon"))[0] == 400
    assert stand.router.requests == []


async def test_connections_are_kept_and_given_up_after_a_while(stand):
    await stand.begin()
    for _ in range(RECYCLE + 3):
        assert (await stand.post())[0] == 200
    assert len(stand.router.peers) == 2


async def test_more_than_may_wait_are_turned_away(stand):
    held = asyncio.Event()

    async def waits(request):
        await held.wait()
        return await stand.router.good(request)

    await stand.begin(Router(waits), max_in_flight=2)
    waiting = [asyncio.create_task(stand.post()) for _ in range(2)]
    while len(stand.router.requests) < 2:
        await asyncio.sleep(0.01)
    assert (await stand.post())[0] == 503
    held.set()
    assert [status for status, _ in await asyncio.gather(*waiting)] == [200, 200]


async def test_told_to_end_it_is_not_ready_and_still_answers(stand):
    await stand.begin()
    command = [sys.executable, "-m", "serving.gateway", "--pipeline", "pipe", "--port", "0"]
    command += ["--upstream", stand.upstream.url, "--drain-s", "1", "--timeout-s", "2"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=os.environ, stdout=asyncio.subprocess.PIPE
    )
    try:
        port = json.loads(await process.stdout.readline())["port"]
        stand.url = f"http://127.0.0.1:{port}/"

        async def ready():
            async with stand.session.get(stand.url + "v2/health/ready") as response:
                return response.status

        assert await ready() == 200
        process.send_signal(signal.SIGTERM)
        while await ready() != 503:
            await asyncio.sleep(0.01)
        assert (await stand.post())[0] == 200
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
