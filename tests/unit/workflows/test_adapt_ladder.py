"""The tick under a load that cannot be served as asked: the ladder, whole, on a virtual clock."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from optimizer.explain import fastest, without_slo
from optimizer.ladder import LOAD, SLO, TARGET
from optimizer.load import TraceLoad
from optimizer.problem import build_problem
from optimizer.solvers import make_solver
from penstock.domain import Objective, Pipeline, Prices, Slo
from serving.state import read_state
from tests.builders import profile_table, stage, variant
from tests.ticks import SETTINGS, Ports, calm, ports, tick
from workflows import audit
from workflows.adapt import adapt
from workflows.metrics import TickMetrics
from workflows.numbers import NUMBERS
from workflows.recorded import Tick
from workflows.recording import (
    format_json,
    read_tick,
)


def under(around: Ports, load_rps: float) -> Ports:
    return replace(around, source=TraceLoad([load_rps] * 3, step_s=1.0, window_steps=3))


def small() -> Pipeline:
    return replace(calm(), max_cores=4.0)


def test_what_is_above_the_cores_is_shed_and_the_rest_is_served() -> None:
    around = ports([20, 20, 20])
    tick(small(), around)

    record = tick(small(), under(around, 1000.0))

    assert record.decision.kind == "move"
    assert record.decision.urgent
    assert record.given_up == (LOAD,)
    assert record.status == "infeasible"
    assert record.load_rps == 1000.0
    assert record.plan is not None
    assert record.shed_rps == pytest.approx(1000.0 - record.plan.load_rps)
    assert record.plan.promise.cost_cores <= 4.0
    assert record.plan.promise.latency_s <= small().slo.latency_s
    assert "given up: load; sheds" in record.decision.reason
    assert "raise max_cores above 4" in record.decision.reason


def test_a_load_that_stays_too_high_changes_nothing_more() -> None:
    around = ports([1000, 1000, 1000])
    tick(small(), around)
    before = len(around.cluster.touched)
    for load_rps in (1001.0, 950.0, 1200.0):
        record = tick(small(), under(around, load_rps))
        assert record.decision.kind == "keep"
        assert record.decision.urgent, "a person should look"
        assert record.given_up == (LOAD,)
    assert len(around.cluster.touched) == before


def test_the_wanted_accuracy_goes_first_and_comes_back_after_the_cooldown() -> None:
    wanted = Objective(accuracy_floor=0.6, accuracy_target=0.72)
    asked = replace(calm(cooldown_s=100.0), objective=wanted, max_cores=4.0)
    around = ports([10, 10, 10])
    assert tick(asked, around).given_up == ()

    degraded = tick(asked, under(around, 170.0))
    assert degraded.given_up == (TARGET,)
    assert degraded.status == "optimal", "what is declared is kept"
    assert degraded.target is not None
    assert 0.6 <= degraded.target.promise.accuracy < 0.72

    soon = tick(asked, under(around, 10.0))
    assert (soon.decision.kind, soon.given_up) == ("keep", ())
    around.clock.sleep(101.0)
    later = tick(asked, under(around, 10.0))
    assert later.target is not None
    assert later.target.promise.accuracy >= 0.72


def test_an_slo_that_nothing_keeps_gives_the_fastest_plan() -> None:
    asked = replace(calm(), slo=Slo(latency_s=0.001))
    record = tick(asked, ports([10, 10, 10]))
    assert record.given_up == (SLO,)
    assert record.plan is not None
    boundless = build_problem(without_slo(asked), profile_table(asked), 10.0)
    lowest_s = boundless.latency_s(boundless.chosen(fastest(boundless)))
    assert lowest_s <= record.plan.promise.latency_s <= 1.011 * lowest_s
    assert f"takes {record.plan.promise.latency_s:.3g} s" in record.decision.reason


def test_below_the_floor_nothing_is_moved() -> None:
    asked = replace(calm(), objective=Objective(accuracy_floor=0.99))
    record = tick(asked, ports([10, 10, 10]))
    assert (record.plan, record.target, record.given_up) == (None, None, ())
    assert record.shed_rps is None
    assert record.decision.kind == "keep"


def test_money_may_rise_to_the_ceiling_and_no_higher() -> None:
    asked = replace(calm(), prices=Prices(cpu_core_hour=1.0), max_cost_per_hour=2.0, max_cores=None)
    around = ports([300, 300, 300])
    table = profile_table(asked)
    free = adapt(asked, table, around, SETTINGS)
    held = adapt(asked, table, ports([300] * 3), replace(SETTINGS, cost_ceiling=3.0))
    assert free.given_up == ("max_cost_per_hour",)
    assert free.plan is not None
    assert free.plan.promise.cost_cores > 3.0
    assert held.given_up == ("max_cost_per_hour", LOAD)
    assert held.plan is not None
    assert held.plan.promise.cost_cores <= 3.0


def test_what_is_given_up_is_recorded_read_back_and_solved_anew() -> None:
    around = ports([1000, 1000, 1000])
    record = tick(small(), around)
    assert read_tick(format_json(record)) == record
    (kept,) = audit.decisions(read_state(around.cluster, "digits", "default"))
    again = audit.resolved(kept, small(), profile_table(small()), make_solver("exhaustive"))
    assert again.given_up == kept.given_up
    assert audit.same_plan(again.plan, kept.plan)


def test_what_is_given_up_is_an_event_once_and_so_is_its_end() -> None:
    around = ports([1000, 1000, 1000])
    around.cluster.takes_events = True
    for load_rps in (1000.0, 1000.0, 1000.0):
        tick(small(), under(around, load_rps))
    calmed = replace(small(), max_cores=None)
    keen = replace(calmed, adaptation=replace(calmed.adaptation, min_gain=99.0))
    tick(keen, under(around, 20.0))
    events = around.cluster.list("Event", "default", {})
    assert sorted((e["type"], e["reason"]) for e in events) == [
        ("Normal", "Noticed"),
        ("Warning", "Degraded"),
    ]


def test_metrics_tell_what_is_given_up_and_shed() -> None:
    metrics = TickMetrics(small())
    record = tick(small(), ports([1000, 1000, 1000]))
    metrics.observe(record, now_s=9.0)
    value = metrics.registry.get_sample_value
    known = {"pipeline": "digits"}
    assert value("penstock_plan_shed_rps", known) == pytest.approx(record.shed_rps)
    assert value("penstock_plan_given_up", {**known, "limit": "load"}) == 1
    assert value("penstock_plan_given_up", {**known, "limit": "latency_s"}) == 0
    (number,) = [n for n in NUMBERS if n.name == "penstock_plan_given_up"]
    assert len(set(number.rows(small()))) == 4


def random_pipeline(rng: random.Random) -> Pipeline:
    variants = tuple(variant(name, batch_sizes=(1, 4)) for name in ("small", "large"))
    return replace(
        calm(min_gain=rng.choice([0.0, 0.1])),
        stages=(stage("locate", variants=variants, max_replicas=4),),
        slo=Slo(latency_s=rng.choice([0.001, 0.02, 0.04, 0.5])),
        max_cores=rng.choice([None, 2.0]),
        prices=Prices(cpu_core_hour=1.0),
        max_cost_per_hour=rng.choice([None, 3.0]),
        objective=Objective(
            accuracy_floor=rng.choice([None, 0.7]), accuracy_target=rng.choice([None, 0.85])
        ),
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_random_load_stops_a_tick_and_a_higher_one_is_served_no_less(seed: int) -> None:
    rng = random.Random(seed)
    asked = random_pipeline(rng)
    table, around = profile_table(asked), ports([0.0] * 3, solver=make_solver("frontier"))
    loads = sorted(rng.choice([rng.uniform(0, 30), rng.uniform(30, 2000)]) for _ in range(10))
    served: list[float] = []
    for load_rps in loads:
        record = adapt(asked, table, under(around, load_rps), SETTINGS)
        served.append(_served(record))
        assert record.result is None or record.result.ok
        if record.plan is not None:
            assert record.plan.promise.accuracy >= (asked.objective.accuracy_floor or 0) - 1e-6
    # The highest load that can be served is found to half a per cent.
    assert all(b >= a * 0.994 for a, b in itertools.pairwise(served))


def _served(record: Tick) -> float:
    assert record.load_rps is not None
    return 0.0 if record.shed_rps is None else record.load_rps - record.shed_rps
