"""Plans by the convolved quantile, held against the simulation and against the sum."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.tail import cheapest_promised, random_case, simulated
from optimizer.plan import plan_from_json, plan_to_json, solve_plan
from optimizer.solvers import Status, make_solver
from optimizer.tail import PADDING, Flow, Visit, padded_quantile_s
from optimizer.verify import verify
from penstock.domain import LatencyModel, NodeKind, Slo
from tests.builders import pipeline, point, profile_table


@pytest.mark.parametrize("seed", range(100, 116))
def test_a_plan_by_the_convolution_keeps_its_slo_in_the_simulation(seed: int) -> None:
    asked, table, load_rps = random_case(seed, LatencyModel.CONVOLUTION)
    plan = cheapest_promised(asked, table, load_rps)
    assert plan is not None

    assert simulated(plan, asked, table, seed) >= asked.slo.quantile - 0.005
    assert verify(plan, asked, table) == ()
    assert (plan.promise.latency_model, plan.promise.latency_padding) == ("convolution", PADDING)
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize("seed", range(100, 116))
def test_the_convolution_never_costs_more_than_the_sum(seed: int) -> None:
    asked, table, load_rps = random_case(seed, LatencyModel.CONVOLUTION)
    conservative = replace(asked, slo=replace(asked.slo, latency_model=LatencyModel.SUM))
    by_sum = cheapest_promised(conservative, table, load_rps)
    by_tail = cheapest_promised(asked, table, load_rps)

    assert by_tail is not None
    if by_sum is not None:
        assert by_tail.promise.cost_cores <= by_sum.promise.cost_cores + 1e-9


def in_sequence(*visits: Visit) -> Flow:
    return Flow(kind=NodeKind.SEQUENCE, parts=visits, shares=(1.0,) * len(visits))


def test_an_idle_stage_takes_its_service_time() -> None:
    idle = Visit(point=point(1, 0.1), replicas=1, rate_rps=0.0)

    found = padded_quantile_s(in_sequence(idle, idle), quantile=0.99, slo_s=1.0)

    assert found == pytest.approx(0.2 * (1 + PADDING), rel=0.03)
    assert found >= 0.2


@pytest.mark.parametrize(("replicas", "rate_rps"), [(1, 10.0), (0, 1.0), (2, 25.0)])
def test_a_stage_that_cannot_keep_up_has_no_quantile(replicas: int, rate_rps: float) -> None:
    busy = Visit(point=point(1, 0.1), replicas=replicas, rate_rps=rate_rps)

    assert padded_quantile_s(in_sequence(busy), quantile=0.99, slo_s=1.0) == float("inf")


def test_the_quantile_rises_with_the_load_and_falls_with_the_replicas() -> None:
    def at(rate_rps: float, replicas: int) -> float:
        visit = Visit(point=point(1, 0.1), replicas=replicas, rate_rps=rate_rps)
        return padded_quantile_s(in_sequence(visit), quantile=0.99, slo_s=1.0)

    assert at(4.0, 1) < at(8.0, 1)
    assert at(8.0, 2) < at(8.0, 1)


def test_an_slo_that_nothing_keeps_is_infeasible() -> None:
    asked = pipeline(slo=Slo(latency_s=0.001, latency_model=LatencyModel.CONVOLUTION))

    outcome = solve_plan(asked, profile_table(asked), 10.0, solver=make_solver())

    assert outcome.status is Status.INFEASIBLE
    assert outcome.plan is None
    assert outcome.nearest is not None
    assert outcome.nearest.promise.latency_model == "convolution"
    assert plan_from_json(plan_to_json(outcome.nearest)) == outcome.nearest
