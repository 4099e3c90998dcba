"""The load generator against real servers."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from serving.loadgen import Target, run_load
from serving.poisson import constant_arrivals
from tests.listening import listening

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def server(handle):
    app = web.Application()
    app.router.add_post("/", handle)
    async with listening(app) as url:
        yield url + "/"


async def echo(request):
    return web.Response(body=await request.read())


async def test_every_arrival_becomes_one_sample_with_its_body():
    seen = []
    async with server(echo) as url:
        result = await run_load(
            Target(url=url),
            constant_arrivals(100.0, seconds=0.5),
            [b"a", b"b"],
            on_answer=lambda sample, body: seen.append((sample.index, body)),
        )
    assert [sample.status for sample in result.samples] == [200] * 50
    assert set(seen) == {(0, b"a"), (1, b"b")}


async def test_a_server_that_stalls_is_charged_for_everybody_who_waited():
    lock = asyncio.Lock()

    async def one_at_a_time(_request):
        async with lock:
            await asyncio.sleep(0.1)
        return web.Response()

    async with server(one_at_a_time) as url:
        result = await run_load(Target(url=url), constant_arrivals(50.0, seconds=0.2), [b""])
    latencies_s = [sample.latency_s for sample in result.samples]
    assert latencies_s[-1] > 0.75
    assert latencies_s == sorted(latencies_s)


async def test_what_gets_no_2xx_answer_is_lost():
    statuses = iter([200, 500, 404])

    async def varied(_request):
        return web.Response(status=next(statuses))

    async with server(varied) as url:
        result = await run_load(Target(url=url), (0.0, 0.1, 0.2), [b""])
    refused = await run_load(Target(url=url), (0.0,), [b""])
    assert (result.lost, refused.samples[0].status) == (2, 0)


async def test_an_answer_that_takes_too_long_is_lost():
    async def slow(_request):
        await asyncio.sleep(2)
        return web.Response()

    async with server(slow) as url:
        result = await run_load(Target(url=url, timeout_s=0.1), (0.0,), [b""])
    assert result.samples[0].status == 0
    assert result.samples[0].latency_s < 1.0


async def test_progress_is_told_every_second():
    told = []
    async with server(echo) as url:
        await run_load(
            Target(url=url), constant_arrivals(20.0, seconds=2.2), [b""], on_second=told.append
        )
    assert [progress.second for progress in told] == [1, 2]
    assert told[-1].lost == 0


async def command(*arguments):
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "serving.loadgen", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_the_command_writes_samples_answers_and_totals(tmp_path):
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text('{"n": 1}\n\n{"n": 2}\n')
    out, answers = tmp_path / "out.csv", tmp_path / "answers.jsonl"
    async with server(echo) as url:
        done = await command(
            *("--url", url, "--bodies", bodies, "--rates", "30,10", "--step-s", 0.5),
            *("--out", out, "--answers", answers),
        )
    assert done.returncode == 0, done.stderr
    totals = json.loads(done.stdout.splitlines()[-1])
    rows = list(csv.DictReader(out.read_text().splitlines()))
    told = [json.loads(line) for line in answers.read_text().splitlines()]
    assert totals["lost"] == 0
    assert totals["requests"] == len(rows) == len(told) > 0
    assert {row["answer"] for row in told} == {'{"n": 1}', '{"n": 2}'}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bodies", "nowhere", "--rates", "1"), "cannot read"),
        (("--bodies", "README", "--rates", "x"), "load curve"),
    ],
)
async def test_what_cannot_be_run_ends_with_2(tmp_path, options, message):
    (tmp_path / "README").write_text("{}")
    paths = [str(tmp_path / o) if o == "README" else o for o in options]
    done = await command("--url", "http://127.0.0.1:1/", *paths)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
