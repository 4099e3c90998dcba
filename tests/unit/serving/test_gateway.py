from __future__ import annotations

import asyncio

import pytest

from penstock.errors import ManifestError
from serving.arrivals import ArrivalRing
from serving.gateway import Gateway
from serving.router.endpoints import Endpoints
from serving.router.execute import Answer
from serving.router.graph import read_graph


class HeldServices:
    """Stands for the step client: every call waits until it is let go, then says who it called."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.balancer = self

    def forget_all_but(self, endpoints):
        self.kept = endpoints

    async def call(self, step, _body, endpoints, *, timeout_s):
        await self.gate.wait()
        return Answer(status=200, body=endpoints.of(step.service)[0].encode())


def graph(service="s"):
    steps = [{"serviceName": service}]
    return read_graph({"spec": {"nodes": {"root": {"routerType": "Sequence", "steps": steps}}}})


def table(url, service="s"):
    return Endpoints(urls={service: (url,)})


def gateway_of(services):
    return Gateway("pipe", client=services, start_s=0.0)


async def test_a_request_keeps_the_generation_it_arrived_in():
    services = HeldServices()
    gateway = gateway_of(services)
    gateway.put(1, graph=graph(), endpoints=table("old"))
    early = asyncio.create_task(gateway.answer(b"{}"))
    await asyncio.sleep(0)
    gateway.put(2, graph=None, endpoints=table("new"))
    late = asyncio.create_task(gateway.answer(b"{}"))
    await asyncio.sleep(0)
    services.gate.set()
    assert [(await one).body for one in (early, late)] == [b"old", b"new"]


async def test_drain_counts_only_requests_of_older_generations():
    services = HeldServices()
    gateway = gateway_of(services)
    gateway.put(1, graph=graph(), endpoints=table("old"))
    task = asyncio.create_task(gateway.answer(b"{}"))
    await asyncio.sleep(0)
    gateway.put(2, graph=None, endpoints=table("new"))
    assert (gateway.older_in_flight(1), gateway.older_in_flight(2)) == (0, 1)
    services.gate.set()
    await task
    assert (gateway.older_in_flight(2), gateway.in_flight) == (0, 0)


async def test_a_request_that_is_cancelled_is_not_counted_for_ever():
    gateway = gateway_of(HeldServices())
    gateway.put(1, graph=graph(), endpoints=table("old"))
    task = asyncio.create_task(gateway.answer(b"{}"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert gateway.in_flight == 0


async def test_before_the_first_graph_the_answer_is_503():
    gateway = gateway_of(HeldServices())
    assert (await gateway.answer(b"{}")).status == 503
    with pytest.raises(ManifestError, match="PUT /graph first"):
        gateway.put(1, graph=None, endpoints=table("u"))


async def test_a_generation_that_does_not_rise_is_refused():
    gateway = gateway_of(HeldServices())
    gateway.put(2, graph=graph(), endpoints=table("u"))
    with pytest.raises(ManifestError, match="not newer than 2"):
        gateway.put(2, graph=None, endpoints=table("u"))


def test_arrivals_are_counted_into_whole_seconds():
    ring = ArrivalRing(start_s=10.0)
    for now_s in (10.1, 10.9, 12.0, 12.5, 12.9, 13.2):
        ring.count(now_s=now_s)
    load = ring.load(now_s=13.9, steps=60, step_s=1)
    assert load.values_rps == (2.0, 0.0, 3.0)
    assert load.end_s == 13.0


def test_the_second_in_which_counting_began_is_left_out():
    ring = ArrivalRing(start_s=10.5)
    ring.count(now_s=10.6)
    ring.count(now_s=11.5)
    assert ring.load(now_s=12.0, steps=5, step_s=1).values_rps == (1.0,)


def test_steps_of_several_seconds_are_averages_of_complete_ones():
    ring = ArrivalRing(start_s=0.0)
    for second in range(7):
        for _ in range(second):
            ring.count(now_s=second + 0.5)
    load = ring.load(now_s=7.0, steps=2, step_s=3)
    assert load.values_rps == (2.0, 5.0)
    assert load.step_s == 3.0


def test_a_quiet_hour_is_zeros_and_costs_no_memory():
    ring = ArrivalRing(start_s=0.0, remembered_s=10)
    ring.count(now_s=0.5)
    load = ring.load(now_s=1e9, steps=60, step_s=1)
    assert load.values_rps == (0.0,) * 10


def test_a_clock_that_steps_back_loses_no_arrival():
    ring = ArrivalRing(start_s=0.0)
    ring.count(now_s=1.5)
    ring.count(now_s=0.9)
    assert ring.load(now_s=2.0, steps=2, step_s=1).values_rps == (0.0, 2.0)
