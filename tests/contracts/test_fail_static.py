"""Bad load data never take capacity away: every fault, in every state of the load.

A real Prometheus scrapes two pods; a proxy before it spoils answers. A tick of the whole line
decides what to do about that on a cluster in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from optimizer.forecast.window import MaxForecaster
from optimizer.load import PrometheusLoad
from optimizer.promql import missing_query, preset_query
from optimizer.solvers import make_solver
from penstock.clock import RealClock
from penstock.domain import Adaptation, Stage
from serving.state import read_state
from tests.builders import pipeline, profile_table, stage
from tests.prometheus import Pod, Proxy, answering, prometheus
from tests.ticks import SETTINGS, Writes
from workflows.adapt import Ports, adapt, running_plan
from workflows.recorded import Tick

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

STEP_S, STEPS = 1.0, 5
STATES = ("steady", "rising", "falling", "zero")
BEFORE_RPS = {"steady": 60.0, "rising": 60.0, "falling": 200.0, "zero": 0.0}
NOW_RPS = {"steady": 60.0, "rising": 120.0, "falling": 60.0, "zero": 0.0}
QUICK = Adaptation(step_s=STEP_S, window_steps=STEPS, horizon_steps=2, cooldown_s=0.0, min_gain=0.0)


class Offset(RealClock):
    """A clock that is wrong."""

    def __init__(self, by_s: float) -> None:
        self._by_s = by_s

    def now(self) -> float:
        return super().now() + self._by_s


@dataclass
class Stand:
    """Prometheus, what it scrapes, the way to it, and one pipeline for each state of the load."""

    pods: tuple[Pod, Pod]
    proxy: Proxy
    url: str

    def set(self, rates_rps: dict[str, float]) -> None:
        for pod in self.pods:
            for name, rate_rps in rates_rps.items():
                pod.set(name, rate_rps / 2)

    def heal(self) -> None:
        self.proxy.fault, self.proxy.spoil = "", None
        for pod in self.pods:
            pod.fault = ""


def stages() -> tuple[Stage, ...]:
    return (stage("locate", min_replicas=0), stage("classify", min_replicas=0))


class Tuned:
    """One pipeline's ticks, over and over on the same cluster."""

    def __init__(self, name: str, stand: Stand) -> None:
        self.pipeline = pipeline(name, stages=stages(), adaptation=QUICK)
        self.cluster = Writes()
        named = {"name": name, "namespace": "default"}
        self.source = PrometheusLoad(
            url=f"http://{stand.url}",
            query=preset_query("gateway", **named, range_s=2 * STEP_S),
            missing=missing_query("gateway", **named, range_s=STEPS * STEP_S),
            window_steps=STEPS,
            step_s=STEP_S,
            timeout_s=0.4,
        )

    def tick(self, clock: RealClock | None = None) -> Tick:
        around = Ports(
            source=self.source,
            forecaster=MaxForecaster(horizon_s=2.0),
            solver=make_solver("exhaustive"),
            cluster=self.cluster,
            clock=clock or RealClock(),
            record=lambda tick: None,
        )
        return adapt(self.pipeline, profile_table(self.pipeline), around, SETTINGS)

    def capacity_rps(self) -> float:
        plan = running_plan(read_state(self.cluster, self.pipeline.name, "default"))
        return plan.promise.capacity_rps if plan else 0.0

    def replicas(self) -> int:
        services = self.cluster.list("InferenceService", "default", {})
        return sum(s["spec"]["predictor"]["minReplicas"] for s in services)


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    pods = (Pod({}), Pod({}))
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        scraped = {
            name: stack.enter_context(answering(p)) for name, p in zip("ab", pods, strict=True)
        }
        proxy = Proxy(stack.enter_context(prometheus(folder, scraped)))
        yield Stand(pods, proxy, stack.enter_context(answering(proxy)))


@pytest.fixture(scope="module")
def tuned(stand):
    """Pipelines that run what their load before the fault needs; then the load takes its course."""
    stand.set(BEFORE_RPS)
    time.sleep(STEPS * STEP_S + 2)
    made = {name: Tuned(name, stand) for name in STATES}
    for one in made.values():
        record = one.tick()
        assert record.load is not None, record.decision.reason
        assert record.load.flags == ()
    stand.set(NOW_RPS)
    time.sleep(1.0)
    return made


def newest(text: str) -> Callable[[dict[str, Any]], Any]:
    def spoil(answer: dict[str, Any]) -> dict[str, Any]:
        for series in answer["data"]["result"]:
            series["values"][-1][1] = text
        return answer

    return spoil


def empty(answer: dict[str, Any]) -> dict[str, Any]:
    answer["data"]["result"] = []
    return answer


def stale(answer: dict[str, Any]) -> dict[str, Any]:
    for series in answer["data"]["result"]:
        series["values"] = [[t, "0"] for t, _ in series["values"][:-2]]
    return answer


def doubled(answer: dict[str, Any]) -> dict[str, Any]:
    answer["data"]["result"] *= 2
    return answer


def warned(answer: dict[str, Any]) -> dict[str, Any]:
    for series in answer["data"]["result"]:
        series["values"] = [[t, "0"] for t, _ in series["values"]]
    return answer | {"warnings": ["a store was not reached"]}


SPOILT = {
    "malformed": lambda answer: b"<html>",
    "cut short": lambda answer: b'{"status": "succ',
    "empty vector": empty,
    "NaN": newest("NaN"),
    "negative": newest("-5"),
    "infinite": newest("+Inf"),
    "stale": stale,
    "duplicate series": doubled,
    "partial answer": warned,
}
ON_THE_WAY = ("outage", "timeout", "5xx")
CLOCKS = {"clock ahead": 3_600.0, "clock behind": -3_600.0}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("fault", [*ON_THE_WAY, *SPOILT, *CLOCKS])
def test_a_fault_between_here_and_prometheus_takes_no_capacity_away(stand, tuned, fault, state):
    one = tuned[state]
    before_rps = one.capacity_rps()
    before = one.replicas()
    stand.proxy.fault = fault if fault in ON_THE_WAY else ""
    stand.proxy.spoil = SPOILT.get(fault)
    record = one.tick(Offset(CLOCKS.get(fault, 0.0)))
    stand.heal()
    assert one.capacity_rps() >= before_rps, record
    assert one.replicas() >= before, record
    assert record.load is None or record.load.flags, record


@pytest.mark.parametrize("fault", ["missing pod", "partial scrape", "counter reset", "all missing"])
def test_a_fault_between_prometheus_and_the_pods_takes_no_capacity_away(stand, tuned, fault):
    before = {name: (one.capacity_rps(), one.replicas()) for name, one in tuned.items()}
    kind = "partial" if fault == "partial scrape" else "down"
    if fault == "counter reset":
        stand.pods[0].restart()
    else:
        stand.pods[0].fault = kind
        stand.pods[1].fault = kind if fault == "all missing" else ""
    for _ in range(3 if fault == "counter reset" else 10):  # beyond the window
        time.sleep(1.0)
        for name, one in tuned.items():
            record = one.tick()
            if name in ("steady", "zero") or fault != "counter reset":
                assert one.capacity_rps() >= before[name][0], (name, record)
                assert one.replicas() >= before[name][1], (name, record)
    stand.heal()
    time.sleep(2.5)
    for name, one in tuned.items():
        record = one.tick()
        assert record.load is not None, (name, record.decision.reason)
        assert "standing still" not in record.decision.reason


def test_after_a_fault_the_next_tick_scales_out(stand, tuned):
    one = tuned["rising"]
    stand.proxy.fault = "outage"
    assert one.tick().load is None
    stand.set({"rising": 400.0})
    time.sleep(3.0)
    stand.heal()
    record = one.tick()
    assert record.decision.kind == "move", record
    assert one.capacity_rps() >= 400.0 * 0.9


def test_a_load_that_is_truly_zero_scales_to_zero(stand, tuned):
    one = tuned["steady"]
    assert one.replicas() > 0
    stand.set({"steady": 0.0})
    time.sleep(STEPS * STEP_S + 2.5)
    record = one.tick()
    assert record.load is not None
    assert (record.load.flags, max(record.load.values_rps)) == ((), 0.0)
    assert one.replicas() == 0
