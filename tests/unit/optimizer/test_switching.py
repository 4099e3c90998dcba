"""What moving costs, in numbers worked out by hand, and what follows for a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from optimizer.decide import decide
from optimizer.plan import Outcome, solve_plan
from optimizer.solvers import Status, make_solver
from optimizer.switching import (
    Running,
    expected_ruling_s,
    horizon_fault,
    known_lag_s,
    switch_cost,
    switches_from,
)
from optimizer.verify import verify
from penstock.domain import Adaptation, Forecast, Goal, Objective, Pipeline, Plan, Prices, Slo
from tests import builders as make

DECLARED = Adaptation(start_s=15.0, rollout_s=20.0, drain_s=10.0)
SOLVER = make_solver("exhaustive")


def asked(**adaptation: float | None) -> Pipeline:
    return make.pipeline(adaptation=replace(DECLARED, **adaptation))


def plan_of(*stages: dict[str, object]) -> Plan:
    names = ("locate", "classify")
    return make.plan(stages=tuple(make.option(n, **f) for n, f in zip(names, stages, strict=True)))


def cost(before: Plan, after: Plan, of: Pipeline | None = None, **loads_s: float) -> float:
    """What a move costs over 100 s."""
    of = of or asked()
    table = make.profile_table(of)
    profiles = tuple(replace(p, load_time_s=loads_s.get(p.variant, 0.0)) for p in table.profiles)
    running = Running(plan=before, ruling_s=100.0)
    return switch_cost(after, switches_from(running, of, replace(table, profiles=profiles)))


SMALL = {"variant": "small", "replicas": 2, "cpu_cores": 1.0}
LARGE = {"variant": "large", "replicas": 3, "cpu_cores": 1.0}


def test_a_stage_that_changes_its_variant_pays_what_runs_until_the_new_one_has_taken_over() -> None:
    before, after = plan_of(SMALL, SMALL), plan_of(LARGE, SMALL)
    assert cost(before, after) == pytest.approx(2 * (15 + 20 + 10) / 100)
    assert cost(before, after, large=5.0) == pytest.approx(2 * (5 + 20 + 10) / 100)
    assert cost(before, after, asked(switch_weight=3.0)) == pytest.approx(3 * 2 * 45 / 100)


def test_other_cores_are_other_pods() -> None:
    wider = plan_of({**SMALL, "cpu_cores": 2.0}, SMALL)
    assert cost(plan_of(SMALL, SMALL), wider) == pytest.approx(2 * 45 / 100)


def test_more_replicas_pay_their_start_and_fewer_pay_nothing() -> None:
    more = plan_of({**SMALL, "replicas": 5}, SMALL)
    assert cost(plan_of(SMALL, SMALL), more) == pytest.approx(3 * 15 / 100)
    assert cost(more, plan_of(SMALL, SMALL)) == 0.0


def test_another_batch_size_costs_nothing() -> None:
    assert cost(plan_of(SMALL, SMALL), plan_of({**SMALL, "batch_size": 4}, SMALL)) == 0.0


def test_a_stage_that_rests_pays_only_the_start_of_what_comes() -> None:
    resting = plan_of({**SMALL, "replicas": 0}, SMALL)
    assert cost(resting, plan_of(LARGE, SMALL)) == pytest.approx(3 * 15 / 100)


def test_with_prices_moving_costs_money() -> None:
    priced = replace(asked(), prices=Prices(cpu_core_hour=0.5))
    before, after = plan_of(SMALL, SMALL), plan_of(LARGE, SMALL)
    assert cost(before, after, priced) == pytest.approx(0.5 * 2 * 45 / 100)


def test_a_plan_of_other_stages_makes_nothing_dearer() -> None:
    other = make.plan(stages=(make.option("elsewhere"),))
    assert cost(other, plan_of(SMALL, SMALL)) == 0.0


@pytest.mark.parametrize(
    ("since_change_s", "ruling_s"), [(0.0, 90.0), (60.0, 90.0), (600.0, 600.0), (1e9, 86_400.0)]
)
def test_a_plan_is_expected_to_rule_as_long_as_the_last_one(
    since_change_s: float, ruling_s: float
) -> None:
    adaptation = Adaptation(interval_s=30.0, cooldown_s=90.0)
    assert expected_ruling_s(adaptation, since_change_s) == ruling_s


def test_the_lag_is_the_slowest_start_or_what_was_seen() -> None:
    of = asked(solve_s=1.0)
    table = make.profile_table(of)
    assert known_lag_s(of, table) == 36.0
    slow = replace(table.profiles[0], load_time_s=40.0)
    assert known_lag_s(of, replace(table, profiles=(slow, *table.profiles[1:]))) == 61.0
    assert known_lag_s(of, table, (12.0, 90.0)) == 90.0


def test_a_lag_beyond_the_horizon_is_told_with_what_to_do() -> None:
    assert horizon_fault(DECLARED, DECLARED.lag_s) == ""
    assert "raise adaptation.rollout_s by 50 s" in horizon_fault(DECLARED, 90.0)


def moved(before: Plan, of: Pipeline, load_rps: float, *, ruling_s: float) -> Outcome:
    running = Running(plan=before, ruling_s=ruling_s)
    return solve_plan(of, make.profile_table(of), load_rps, solver=SOLVER, running=running)


def best(of: Pipeline, load_rps: float) -> Plan:
    plan = solve_plan(of, make.profile_table(of), load_rps, solver=SOLVER).plan
    assert plan is not None
    return plan


def decided(before: Plan, outcome: Outcome, of: Pipeline) -> str:
    forecast = Forecast(load_rps=outcome.load_rps, horizon_s=20.0, forecaster="max")
    table = make.profile_table(of)
    return decide(
        before, outcome, forecast=forecast, pipeline=of, table=table, since_change_s=1e6
    ).reason


def test_a_gain_is_waited_for_until_it_pays_for_the_move() -> None:
    of = asked()
    before = best(of, 300.0)
    soon, late = (moved(before, of, 10.0, ruling_s=s) for s in (60.0, 6000.0))

    assert soon.plan is not None
    assert late.plan is not None
    assert soon.plan.variants == before.variants
    assert soon.plan.promise.cost_cores < before.promise.cost_cores, "scaling in is free"
    assert late.plan.variants != before.variants
    assert late.plan.promise.switch_cost > 0
    for outcome, ruling_s in ((soon, 60.0), (late, 6000.0)):
        running = Running(plan=before, ruling_s=ruling_s)
        table = make.profile_table(of)
        assert outcome.plan is not None
        assert verify(outcome.plan, of, table, running=running) == ()
        if outcome is late:
            assert verify(outcome.plan, of, table)[0].startswith("promise.switch_cost: promises ")


def test_the_reason_names_the_cost_that_kept_a_plan() -> None:
    of = asked(switch_weight=5.0)
    before = moved(best(of, 300.0), of, 10.0, ruling_s=60.0).plan
    assert before is not None
    outcome = moved(before, of, 10.0, ruling_s=60.0)

    reason = decided(before, outcome, of)

    assert reason.startswith(
        "the running plan is still the best; moving to large + large (accuracy"
    )
    assert reason.endswith("cores over the time it is expected to rule")


def test_the_reason_of_a_move_names_what_it_costs() -> None:
    of = asked()
    before = best(of, 300.0)
    reason = decided(before, moved(before, of, 10.0, ruling_s=6000.0), of)

    assert ", the change costs 0.0" in reason


def test_a_move_never_keeps_what_cannot_carry_the_load() -> None:
    of = replace(asked(switch_weight=1e9, max_step=0), max_cores=6.0)
    before = best(of, 10.0)
    outcome = moved(before, of, 300.0, ruling_s=60.0)

    assert outcome.plan is not None
    assert outcome.plan.promise.capacity_rps >= 330.0
    assert outcome.plan.variants != before.variants
    assert outcome.explanation.endswith("; none was found with max_step, 0, switches")


def test_at_most_max_step_stages_switch_when_that_carries_the_load() -> None:
    free = asked(switch_weight=0.0)
    before = best(free, 300.0)
    stepped = asked(switch_weight=0.0, max_step=1)
    outcome = moved(before, stepped, 10.0, ruling_s=60.0)

    assert outcome.plan is not None
    assert outcome.free is not None
    pairs = [zip(p.variants, before.variants, strict=True) for p in (outcome.free, outcome.plan)]
    assert [sum(a != b for a, b in pair) for pair in pairs] == [2, 1]


def test_without_weight_the_plan_is_that_of_nothing_running() -> None:
    of = asked(switch_weight=0.0)
    for load_rps in (0.0, 10.0, 150.0, 300.0):
        before = best(of, 100.0)
        assert moved(before, of, load_rps, ruling_s=60.0).plan == best(of, load_rps)


def test_the_cheapest_plan_counts_its_move() -> None:
    objective = Objective(goal=Goal.COST_FIRST)
    of = replace(asked(), objective=objective)
    before = best(replace(of, objective=Objective(goal=Goal.ACCURACY_FIRST)), 20.0)
    soon, late = (moved(before, of, 20.0, ruling_s=s).plan for s in (60.0, 1e6))

    assert soon is not None
    assert late is not None
    paid = [p.promise.cost_cores + p.promise.switch_cost for p in (soon, late)]
    assert paid[0] <= before.promise.cost_cores
    assert late.promise.cost_cores == best(of, 20.0).promise.cost_cores


def test_a_load_that_nothing_serves_says_what_the_nearest_plan_costs_to_move_to() -> None:
    of = asked()
    before = best(of, 10.0)
    outcome = moved(before, of, 4000.0, ruling_s=60.0)

    assert outcome.status is Status.INFEASIBLE
    assert outcome.nearest is not None
    assert outcome.nearest.promise.switch_cost > 0


def test_the_convolution_weighs_a_move_as_well() -> None:
    of = replace(asked(), slo=Slo(latency_s=0.5, latency_model="convolution"))
    before = best(of, 300.0)
    plan = moved(before, of, 10.0, ruling_s=60.0).plan

    assert plan is not None
    assert plan.variants == before.variants
