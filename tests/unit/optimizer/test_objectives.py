from __future__ import annotations

from dataclasses import replace

import pytest

from optimizer.accuracy import normalised_ranks
from optimizer.decide import Kind, decide
from optimizer.plan import Outcome, plan_from_json, plan_to_json, solve_plan
from optimizer.solvers import Status, make_solver
from optimizer.verify import verify
from penstock.domain import (
    AccuracyMode,
    Forecast,
    Goal,
    Objective,
    Pipeline,
    Prices,
    Slo,
)
from penstock.errors import DomainError
from penstock.spec import format_pipeline, parse_pipeline
from tests.builders import pipeline, profile_table, stage, variant

PRICES = Prices(cpu_core_hour=0.04, memory_gib_hour=0.005, gpu_hour=0.9, spot_share=0.3)


def planned(asked: Pipeline, load_rps: float = 150.0) -> Outcome:
    return solve_plan(asked, profile_table(asked), load_rps, solver=make_solver())


def test_a_bill_is_right_to_the_cent() -> None:
    # 3 replicas x (2 cores x 0.04 + 1.5 GiB x 0.005 + 1 GPU x 0.90) x 0.3, and 1 x (0.04 + 0.0025)
    dear = variant("dear", batch_sizes=(1,), cpu_cores=2.0, memory_mib=1536, gpus=1.0, spot=True)
    plain = variant("plain", batch_sizes=(1,), memory_mib=512)
    asked = pipeline(
        stages=(
            stage("a", variants=(dear,), min_replicas=3, max_replicas=3),
            stage("b", variants=(plain,), max_replicas=1),
        ),
        prices=PRICES,
    )

    plan = planned(asked, 1.0).plan

    assert plan is not None
    assert [round(o.cost_per_hour, 4) for o in plan.stages] == [0.8888, 0.0425]
    assert round(plan.promise.cost_per_hour or 0.0, 2) == 0.93
    assert verify(plan, asked, profile_table(asked)) == ()
    assert plan_from_json(plan_to_json(plan)) == plan


def test_a_budget_buys_the_most_accuracy_there_is() -> None:
    free = pipeline(prices=PRICES, objective=Objective(goal=Goal.ACCURACY_FIRST))
    best = planned(free).plan
    assert best is not None
    tight = replace(free, max_cost_per_hour=(best.promise.cost_per_hour or 0.0) * 0.99)

    less = planned(tight).plan

    assert less is not None
    assert less.promise.accuracy < best.promise.accuracy
    assert verify(less, tight, profile_table(tight)) == ()
    assert any(fault.startswith("cost: ") for fault in verify(best, tight, profile_table(tight)))


def test_a_floor_is_kept_at_the_least_cost() -> None:
    cheapest = pipeline(objective=Objective(goal=Goal.COST_FIRST))
    floored = pipeline(objective=Objective(goal=Goal.COST_FIRST, accuracy_floor=0.7))

    without, with_floor = planned(cheapest, 200.0).plan, planned(floored, 200.0).plan

    assert without is not None
    assert with_floor is not None
    assert without.promise.accuracy < 0.7 <= with_floor.promise.accuracy
    assert without.promise.cost_cores < with_floor.promise.cost_cores
    faults = verify(without, floored, profile_table(floored))
    assert "accuracy: 0.64, accuracy_floor is 0.7" in faults


def test_a_floor_that_no_plan_reaches_is_named() -> None:
    outcome = planned(pipeline(objective=Objective(accuracy_floor=0.9)))

    assert outcome.status is Status.INFEASIBLE
    assert outcome.binding == ("objective.accuracy_floor",)
    assert "with an accuracy of 0.9" in outcome.explanation


def test_ranks_run_from_0_to_1_and_ties_share_the_higher() -> None:
    assert normalised_ranks({"a": 0.9, "b": 0.5, "c": 0.7}) == {"a": 1.0, "b": 0.0, "c": 0.5}
    assert normalised_ranks({"a": 0.5, "b": 0.5, "c": 0.7}) == {"a": 0.5, "b": 0.5, "c": 1.0}
    assert normalised_ranks({"only": 0.3}) == {"only": 1.0}


def test_ranks_add_up_over_the_stages() -> None:
    asked = pipeline(objective=Objective(mode=AccuracyMode.RANKS, cost_weight=0.0))

    plan = planned(asked).plan

    assert plan is not None
    assert plan.promise.accuracy == 2.0
    assert verify(plan, asked, profile_table(asked)) == ()


def test_a_budget_without_prices_is_refused() -> None:
    with pytest.raises(DomainError, match="max_cost_per_hour needs prices"):
        pipeline(max_cost_per_hour=3.0)


def test_the_document_carries_prices_goal_and_floor() -> None:
    asked = pipeline(
        prices=PRICES,
        max_cost_per_hour=2.5,
        stages=(stage(variants=(variant(gpus=0.5, spot=True),)),),
        objective=Objective(goal=Goal.COST_FIRST, accuracy_floor=0.5, mode=AccuracyMode.RANKS),
    )

    assert parse_pipeline(format_pipeline(asked)) == asked


def test_a_goal_decides_what_counts_as_a_gain() -> None:
    asked = pipeline(slo=Slo(latency_s=5.0), objective=Objective(goal=Goal.ACCURACY_FIRST))
    table = profile_table(asked)
    cheap = planned(replace(asked, objective=Objective(goal=Goal.COST_FIRST))).plan

    decision = decide(
        cheap,
        planned(asked),
        forecast=Forecast(load_rps=150.0, horizon_s=20.0, forecaster="max"),
        pipeline=asked,
        table=table,
        since_change_s=1e9,
    )

    assert decision.kind is Kind.MOVE
    assert decision.gain == pytest.approx(0.85**2 / 0.8**2 - 1)
