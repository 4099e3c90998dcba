from __future__ import annotations

import math
from dataclasses import replace

import pytest

from optimizer.decide import Decision, Kind, decide, distrusted
from optimizer.plan import Outcome, solve_plan
from optimizer.solvers import Solution, Status, make_solver
from penstock.domain import Adaptation, Forecast, Objective, Pipeline, Plan, Slo
from tests.builders import pipeline, profile_table, stage, variant

PIPELINE = pipeline(adaptation=Adaptation(min_gain=0.02, cooldown_s=60.0))
TABLE = profile_table(PIPELINE)


def outcome(load_rps: float, asked: Pipeline = PIPELINE) -> Outcome:
    return solve_plan(asked, profile_table(asked), load_rps, solver=make_solver("exhaustive"))


def plan_for(load_rps: float, asked: Pipeline = PIPELINE) -> Plan:
    plan = outcome(load_rps, asked).plan
    assert plan is not None
    return plan


def decided(
    running: Plan | None,
    proposed: Outcome,
    *,
    asked: Pipeline = PIPELINE,
    flags: tuple[str, ...] = (),
    since_change_s: float = math.inf,
) -> Decision:
    forecast = Forecast(load_rps=proposed.load_rps, horizon_s=20.0, forecaster="max", flags=flags)
    return decide(
        running,
        proposed,
        forecast=forecast,
        pipeline=asked,
        table=TABLE,
        since_change_s=since_change_s,
    )


def test_the_first_plan_is_taken_at_once() -> None:
    decision = decided(None, outcome(10.0), flags=("stale",), since_change_s=0.0)

    assert (decision.kind, decision.urgent) == (Kind.MOVE, True)
    assert decision.reason == "nothing runs yet"
    assert decision.target == outcome(10.0).plan


def test_the_same_choice_is_kept() -> None:
    running = plan_for(100.0)
    decision = decided(running, outcome(101.0))

    assert (decision.kind, decision.urgent, decision.gain) == (Kind.KEEP, False, 0.0)
    assert decision.reason == "the running plan is still the best"
    assert decision.target is running


def test_a_plan_that_cannot_carry_the_forecast_is_left_at_once() -> None:
    decision = decided(plan_for(100.0), outcome(300.0), flags=("gap",), since_change_s=0.0)

    assert (decision.kind, decision.urgent) == (Kind.MOVE, True)
    assert decision.reason == (
        "the running plan carries 133.3 req/s of the 300 forecast; moving at once"
    )


def test_a_plan_that_would_break_the_slo_is_left_at_once() -> None:
    decision = decided(plan_for(100.0), outcome(125.0), since_change_s=0.0)

    assert (decision.kind, decision.urgent) == (Kind.MOVE, True)
    assert "would take 0.591 s at 125 req/s, the SLO is 0.5 s" in decision.reason


def test_a_plan_above_a_lowered_core_limit_is_left_at_once() -> None:
    few = replace(PIPELINE, max_cores=4.0)
    decision = decided(plan_for(300.0), outcome(10.0, few), asked=few, since_change_s=0.0)

    assert decision.urgent
    assert "uses 6 cores, max_cores is 4" in decision.reason


def test_a_better_plan_waits_for_the_cooldown() -> None:
    decision = decided(plan_for(300.0), outcome(10.0), since_change_s=30.0)

    assert decision.kind is Kind.KEEP
    assert decision.reason.startswith("the last change was 30 s ago, cooldown_s is 60 (gain ")
    assert decision.gain is not None
    assert decision.gain > 0.02


def test_a_better_plan_is_taken_after_the_cooldown() -> None:
    decision = decided(plan_for(300.0), outcome(10.0), since_change_s=60.0)

    assert (decision.kind, decision.urgent) == (Kind.MOVE, False)
    assert decision.reason.startswith("improves the objective by ")
    assert "accuracy 0.640 -> 0.723, cores 6 -> 2" in decision.reason


def test_a_small_gain_is_not_worth_a_change() -> None:
    unwilling = replace(PIPELINE, adaptation=Adaptation(min_gain=5.0))
    decision = decided(plan_for(300.0), outcome(10.0), asked=unwilling)

    assert decision.kind is Kind.KEEP
    assert decision.reason.endswith("is below min_gain, 500.0%")


def test_gain_is_a_share_of_the_running_plans_objective_at_the_forecast() -> None:
    running, proposed = plan_for(300.0), outcome(10.0)
    decision = decided(running, proposed)

    assert proposed.plan is not None
    before, after = running.promise.objective, proposed.plan.promise.objective
    assert decision.gain == pytest.approx((after - before) / before)


@pytest.mark.parametrize("flag", ["stale", "gap", "nan", "something-new"])
def test_flagged_load_data_never_scale_in(flag: str) -> None:
    decision = decided(plan_for(300.0), outcome(0.0), flags=("fallback", flag))

    assert decision.kind is Kind.KEEP
    assert f"the load data are flagged {flag}: not scaling in from" in decision.reason


def test_a_true_zero_scales_in() -> None:
    assert decided(plan_for(300.0), outcome(0.0)).kind is Kind.MOVE


def test_a_forecaster_that_fell_back_may_scale_in() -> None:
    decision = decided(plan_for(300.0), outcome(0.0), flags=("fallback", "short"))

    assert decision.kind is Kind.MOVE


def test_flagged_load_data_do_not_stop_a_gain_of_capacity() -> None:
    # A larger batch makes the plan dearer than needed, so there is a gain at more capacity.
    costly = replace(PIPELINE, objective=Objective(batch_weight=5.0))
    running = plan_for(100.0)
    better = replace(outcome(100.0), plan=plan_for(150.0, replace(costly, slo=Slo(latency_s=0.3))))
    assert better.plan is not None
    assert better.plan.promise.capacity_rps > running.promise.capacity_rps

    decision = decided(running, better, asked=costly, flags=("gap",))

    assert decision.kind is Kind.MOVE
    assert not decision.urgent


def test_flags_of_the_forecaster_are_not_flags_of_the_data() -> None:
    forecast = Forecast(
        load_rps=1.0, horizon_s=1.0, forecaster="lstm", flags=("gap", "fallback", "absurd")
    )

    assert distrusted(forecast) == ("gap",)


def test_without_a_plan_the_nearest_is_taken_when_it_serves_more() -> None:
    decision = decided(plan_for(100.0), outcome(4000.0), since_change_s=0.0)

    assert (decision.kind, decision.urgent) == (Kind.MOVE, True)
    assert decision.target == outcome(4000.0).nearest
    assert "the nearest plan serves more than the running one" in decision.reason


def test_without_a_plan_what_serves_as_much_is_kept() -> None:
    infeasible = outcome(4000.0)
    assert infeasible.nearest is not None
    for running in (infeasible.nearest, plan_for(1100.0)):
        decision = decided(running, infeasible)

        assert (decision.kind, decision.urgent) == (Kind.KEEP, True)
        assert decision.reason.endswith("keeping the running plan, nothing known serves more")
        assert decision.target is running


def test_without_a_plan_another_plan_that_serves_as_much_is_kept() -> None:
    few = replace(PIPELINE, max_cores=3.0)
    infeasible = outcome(300.0, few)
    assert infeasible.nearest is not None
    first, second = infeasible.nearest.stages
    running = replace(infeasible.nearest, stages=(replace(first, replicas=2), second))

    assert decided(running, infeasible, asked=few).kind is Kind.KEEP


def test_a_solver_that_failed_keeps_the_running_plan_and_calls_somebody() -> None:
    failed = Outcome(
        status=Status.FAILED,
        load_rps=10.0,
        plan=None,
        solution=Solution(status=Status.FAILED),
        explanation="glpk found no plan",
    )
    running = plan_for(100.0)

    for before, kept in ((running, running), (None, None)):
        decision = decided(before, failed)

        assert (decision.kind, decision.urgent, decision.target) == (Kind.KEEP, True, kept)
        assert "glpk found no plan" in decision.reason


def test_the_nearest_plan_is_started_when_nothing_runs() -> None:
    decision = decided(None, outcome(4000.0))

    assert decision.kind is Kind.MOVE
    assert decision.reason.endswith("starting the nearest plan")


def test_a_plan_that_no_longer_fits_the_spec_is_left_at_once() -> None:
    renamed = stage("locate", variants=(variant("tiny"), variant("large")))
    changed = replace(PIPELINE, stages=(renamed, PIPELINE.stages[1]))
    running, proposed = plan_for(100.0), outcome(100.0, changed)

    decision = decided(running, proposed, asked=changed)

    assert (decision.kind, decision.urgent, decision.gain) == (Kind.MOVE, True, None)
    assert "stage 'locate' has no variant 'small'" in decision.reason


def test_a_misfit_without_another_plan_is_kept_and_calls_somebody() -> None:
    renamed = stage("locate", variants=(variant("tiny"), variant("large")))
    changed = replace(PIPELINE, stages=(renamed, PIPELINE.stages[1]), max_cores=1.0)
    running = plan_for(100.0)

    decision = decided(running, outcome(100.0, changed), asked=changed)

    assert (decision.kind, decision.urgent) == (Kind.KEEP, True)
    assert "no other plan is known" in decision.reason
