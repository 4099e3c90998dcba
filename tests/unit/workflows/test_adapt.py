"""The tick, whole, on a virtual clock and the in-memory cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from optimizer.load import TraceLoad
from optimizer.problem import Problem
from optimizer.solvers import Solution, Status
from penstock.domain import Load, Mode
from penstock.errors import BrokenPromiseError, SourceError
from serving.cluster.memory import MemoryCluster
from serving.intent import Intent, intend
from serving.state import State, read_state
from tests.ticks import SETTINGS, Writes, calm, ports, services, tick
from workflows.adapt import running_plan
from workflows.recorded import Tick


class Silent:
    """A load source that is down."""

    def window(self, now_s: float) -> Load:
        raise SourceError("the metrics server did not answer; try again")


def test_the_first_tick_brings_up_a_plan_for_the_forecast() -> None:
    around = ports([10, 20, 15])
    record = tick(calm(), around)
    assert record.decision.kind == "move"
    assert record.result is not None
    assert record.result.ok
    assert record.forecast is not None
    assert record.forecast.load_rps == 20.0
    graph = around.cluster.get("InferenceGraph", "default", "digits")
    assert graph is not None
    steps = graph["spec"]["nodes"]["root"]["steps"]
    state = read_state(around.cluster, "digits", "default")
    plan = running_plan(state)
    assert plan is not None
    assert [s["serviceName"] for s in steps] == [
        f"digits-{o.stage}-{o.variant}" for o in plan.stages
    ]
    assert plan == record.plan


def test_a_second_tick_under_the_same_load_writes_nothing_but_its_record() -> None:
    around = ports([20, 20, 20])
    tick(calm(), around)
    before = len(around.cluster.touched)
    record = tick(calm(), around)
    assert record.decision.kind == "keep"
    assert record.changes == ()
    assert len(around.cluster.touched) == before


def test_a_load_that_outgrows_the_plan_moves_at_once() -> None:
    around = ports([20, 20, 20])
    tick(calm(), around)
    risen = replace(around, source=TraceLoad([400.0] * 3, step_s=1.0, window_steps=3))
    record = tick(calm(cooldown_s=1e6), risen)
    assert record.decision.kind == "move"
    assert record.decision.urgent
    assert record.plan is not None
    assert record.plan.promise.capacity_rps >= 400.0


def test_without_load_data_nothing_is_touched() -> None:
    around = ports([20, 20, 20])
    tick(calm(), around)
    before = len(around.cluster.touched)
    record = tick(calm(), replace(around, source=Silent()))
    assert record.load is None
    assert record.decision.reason.startswith("standing still: the metrics server did not answer")
    assert record.result is not None
    assert not record.result.ok
    assert len(around.cluster.touched) == before


@pytest.mark.parametrize("mode", [Mode.ADVISE, Mode.OFF])
def test_advice_is_recorded_and_never_written(mode: Mode) -> None:
    around = ports([20, 20, 20])
    record = tick(calm(mode=mode), around)
    assert record.changes
    assert record.result is None
    assert around.cluster.written == []


def test_an_object_removed_by_hand_comes_back() -> None:
    around = ports([20, 20, 20])
    tick(calm(), around)
    gone = around.cluster.list("InferenceService", "default", {})[0]["metadata"]["name"]
    around.cluster.delete("InferenceService", "default", gone)
    record = tick(calm(), around)
    assert record.decision.kind == "keep"
    assert around.cluster.get("InferenceService", "default", gone) is not None


def test_of_two_ticks_at_once_only_one_applies() -> None:
    around = ports([20, 20, 20])

    class Beaten(Writes):
        """While this tick decides, another one writes the state."""

        raced = False

        def list(self, kind: str, namespace: str, labels: Any) -> Any:
            if not self.raced:
                self.raced = True
                tick(calm(), replace(around, cluster=self))
                self.written.clear()
            return super().list(kind, namespace, labels)

    record = tick(calm(), replace(around, cluster=(cluster := Beaten())))
    assert record.result is not None
    assert not record.result.ok
    assert cluster.touched == [], "it got past the fence"


def test_a_rollout_that_never_gets_ready_is_taken_back_and_forgotten() -> None:
    around = ports([20, 20, 20])
    tick(calm(), around)
    before = running_plan(read_state(around.cluster, "digits", "default"))
    around.cluster.startable = live = services(around.cluster)
    risen = replace(around, source=TraceLoad([400.0] * 3, step_s=1.0, window_steps=3))
    record = tick(calm(), risen)
    assert record.plan is not None
    assert {f"digits-{o.stage}-{o.variant}" for o in record.plan.stages} - live
    assert record.result is not None
    assert not record.result.ok
    assert "its pods crash" in record.result.message
    assert running_plan(read_state(around.cluster, "digits", "default")) == before
    assert services(around.cluster) == live


def test_a_plan_that_breaks_its_promises_is_refused_before_anything_is_written() -> None:
    class Spendthrift:
        """Picks the dearest option everywhere and calls that optimal."""

        name = "spendthrift"

        def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
            dearest = tuple(
                max(range(len(s.options)), key=lambda i, s=s: s.options[i].cost_cores)
                for s in problem.stages
            )
            return Solution(
                status=Status.OPTIMAL,
                choices=dearest,
                objective=0.0,
                bound=0.0,
                seconds=0.0,
                solver=self.name,
            )

    around = ports([100, 100, 100], solver=Spendthrift())
    with pytest.raises(BrokenPromiseError, match="spendthrift's plan for 100 req/s does not hold"):
        tick(replace(calm(), max_cores=2.0), around)
    assert around.cluster.written == []


def test_every_tick_is_recorded_once_with_its_durations() -> None:
    records: list[Tick] = []
    around = ports([20, 20, 20], record=records.append)
    returned = tick(calm(), around)
    assert records == [returned]
    assert returned.solver == "exhaustive"
    assert returned.status == "optimal"
    assert returned.durations_s.total >= returned.durations_s.apply >= 0.0


def test_without_a_plan_nothing_changes() -> None:
    state = State(pipeline="digits")
    assert intend(None, state, calm(), MemoryCluster(), SETTINGS, now_s=0.0) == Intent()
