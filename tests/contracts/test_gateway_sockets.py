"""The gateway over real sockets: replicas that vanish, stall or break off, and its admin API."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from serving.gateway import AdminFace, Gateway, PublicFace
from serving.router.client import StepClient
from tests.listening import listening

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Replica:
    """A service that answers as told and counts what it is asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = 0

    async def handle(self, request):
        self.asked += 1
        await request.read()
        return await self.answer(request)


async def good(_request):
    return web.json_response({"outputs": []})


async def hangs_up(request):
    request.transport.abort()
    return web.Response()


async def stalls(_request):
    await asyncio.sleep(5)
    return web.Response()


class Bench:
    """A gateway on a port, its admin API on another, and replicas behind it."""

    def __init__(self, stack):
        self._stack = stack
        self.generation = 0

    async def begin(self, *, timeout_s=5.0):
        client = StepClient(timeout_s=timeout_s)
        self._stack.push_async_callback(client.close)
        gateway = Gateway("pipe", client=client, start_s=time.time())
        enter = self._stack.enter_async_context
        self.url = await enter(listening(PublicFace(gateway).application()))
        self.admin = await enter(listening(AdminFace(gateway).application()))
        self.session = await enter(aiohttp.ClientSession())
        return self

    async def replica(self, answer):
        replica = Replica(answer)
        app = web.Application()
        app.router.add_post("/infer", replica.handle)
        replica.url = await self._stack.enter_async_context(listening(app)) + "/infer"
        return replica

    async def put(self, *urls, path="/graph", **changes):
        self.generation += 1
        steps = [{"serviceName": "s", "dependency": "Hard"}]
        body = {
            "generation": self.generation,
            "graph": {"spec": {"nodes": {"root": {"routerType": "Sequence", "steps": steps}}}},
            "endpoints": {"s": list(urls)},
            **changes,
        }
        async with self.session.put(self.admin + path, json=body) as response:
            return response.status, await response.json()

    async def post(self, path="/", data=b"{}"):
        async with self.session.post(self.url + path, data=data) as response:
            return response.status, await response.read()

    async def get(self, path, base=None):
        async with self.session.get((base or self.url) + path) as response:
            return response.status, await response.text()


@pytest.fixture
async def bench():
    async with contextlib.AsyncExitStack() as stack:
        yield await Bench(stack).begin(timeout_s=0.5)


async def test_a_replica_that_is_gone_loses_no_request(bench):
    alive = await bench.replica(good)
    await bench.put(f"http://127.0.0.1:{closed_port()}/infer", alive.url)
    statuses = [(await bench.post())[0] for _ in range(10)]
    assert statuses == [200] * 10
    assert alive.asked == 10


async def test_a_replica_that_hangs_up_unanswered_loses_no_request(bench):
    dying, alive = await bench.replica(hangs_up), await bench.replica(good)
    await bench.put(dying.url, alive.url)
    assert [(await bench.post())[0] for _ in range(6)] == [200] * 6
    assert dying.asked > 0


async def test_without_any_replica_the_answer_is_kserves_500(bench):
    for urls in ((), (f"http://127.0.0.1:{closed_port()}/infer",)):
        await bench.put(*urls)
        status, body = await bench.post()
        assert status == 500
        assert json.loads(body)["error"] == "Failed to process request"


async def test_a_replica_that_stalls_is_given_up_and_not_asked_twice(bench):
    slow, other = await bench.replica(stalls), await bench.replica(good)
    await bench.put(slow.url)
    status, body = await bench.post()
    assert (status, slow.asked, other.asked) == (500, 1, 0)
    assert "did not answer in 0.5 s" in json.loads(body)["cause"]


async def test_calls_are_spread_evenly(bench):
    replicas = [await bench.replica(good) for _ in range(3)]
    await bench.put(*(replica.url for replica in replicas))
    await asyncio.gather(*(bench.post() for _ in range(30)))
    assert [replica.asked for replica in replicas] == [10, 10, 10]


async def test_the_pipelines_infer_path_is_served_too(bench):
    alive = await bench.replica(good)
    await bench.put(alive.url)
    assert (await bench.post("/v2/models/pipe/infer"))[0] == 200


async def test_it_is_ready_once_there_is_a_graph(bench):
    assert (await bench.get("/v2/health/ready"))[0] == 503
    assert (await bench.post())[0] == 503
    await bench.put("http://127.0.0.1:1/infer")
    assert (await bench.get("/v2/health/ready"))[0] == 200


async def test_metrics_count_arrivals_and_answers(bench):
    alive = await bench.replica(good)
    await bench.put(alive.url)
    await bench.post()
    _, text = await bench.get("/metrics")
    for line in (
        'penstock_arrivals_total{namespace="default",pipeline="pipe"} 1.0',
        'penstock_requests_total{code="200",namespace="default",pipeline="pipe"} 1.0',
        'penstock_request_seconds_count{namespace="default",pipeline="pipe"} 1.0',
        'penstock_in_flight{namespace="default",pipeline="pipe"} 0.0',
    ):
        assert line in text


async def test_a_body_over_the_limit_is_413(bench):
    assert (await bench.post(data=io.BytesIO(b" " * (8 * 2**20 + 1))))[0] == 413


async def test_the_load_is_told_per_second(bench):
    await bench.post()
    await asyncio.sleep(2.1)
    status, text = await bench.get("/-/load?steps=2")
    load = json.loads(text)
    assert (status, load["step_s"]) == (200, 1.0)
    assert len(load["values_rps"]) <= 2


@pytest.mark.parametrize("query", ["steps=x", "steps=0", "step_s=0", "steps=9999"])
async def test_a_load_that_cannot_be_told_is_400(bench, query):
    assert (await bench.get(f"/-/load?{query}"))[0] == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": "1"},
        {"graph": {"spec": {"nodes": {}}}},
        {"endpoints": {"s": "url"}},
        {"endpoints": None},
    ],
)
async def test_an_admin_body_that_makes_no_sense_is_400_and_changes_nothing(bench, changes):
    alive = await bench.replica(good)
    await bench.put(alive.url)
    status, answer = await bench.put(alive.url, **changes)
    assert status == 400
    assert answer["error"]
    assert (await bench.post())[0] == 200


async def test_drain_tells_when_nobody_uses_the_old_endpoints(bench):
    slow, alive = await bench.replica(stalls), await bench.replica(good)
    await bench.put(slow.url)
    old = asyncio.create_task(bench.post())
    while not slow.asked:
        await asyncio.sleep(0.01)
    await bench.put(alive.url, path="/endpoints")
    assert json.loads((await bench.get("/drain?generation=2", bench.admin))[1]) == {
        "generation": 2,
        "older_in_flight": 1,
        "in_flight": 1,
    }
    await old
    status, text = await bench.get("/drain", bench.admin)
    assert (status, json.loads(text)["older_in_flight"]) == (200, 0)


def test_a_busy_port_is_said_in_one_line_and_ends_with_2(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "serving.gateway", "--pipeline", "pipe"]
        command += ["--port", str(taken.getsockname()[1]), "--admin-socket", str(tmp_path / "a")]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 2
    assert "cannot listen on" in done.stderr
    assert "Traceback" not in done.stderr
