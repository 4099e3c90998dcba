"""Tick after tick on a virtual clock: how often a plan switches, and that it always serves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from optimizer.decide import decide
from optimizer.plan import evaluate, solve_plan
from optimizer.solvers import make_solver
from optimizer.switching import Running, expected_ruling_s
from penstock.domain import Adaptation, Forecast, Pipeline, Plan
from tests import builders as make

RISING = tuple(10.0 * n for n in range(1, 31))
FALLING = RISING[::-1]
SWINGING = (20.0, 20.0, 260.0, 260.0) * 8
SLOW = Adaptation(min_gain=0.0, cooldown_s=0.0, rollout_s=150.0)


def of(**adaptation: float | None) -> Pipeline:
    return make.pipeline(adaptation=replace(SLOW, **adaptation), max_cores=8.0)


def lived(loads_rps: Sequence[float], asked: Pipeline) -> list[Plan]:
    """The plan in force after each tick; every one carries its load within the SLO."""
    table, solver = make.profile_table(asked), make_solver("exhaustive")
    plan: Plan | None = None
    now_s, changed_s, found = 0.0, -math.inf, []
    for load_rps in loads_rps:
        running = plan and Running(
            plan=plan, ruling_s=expected_ruling_s(asked.adaptation, now_s - changed_s)
        )
        outcome = solve_plan(asked, table, load_rps, solver=solver, running=running)
        target = decide(
            plan,
            outcome,
            forecast=Forecast(load_rps=load_rps, horizon_s=60.0, forecaster="x"),
            pipeline=asked,
            table=table,
            since_change_s=now_s - changed_s,
        ).target
        assert target is not None
        promise = evaluate(target, asked, table, load_rps)
        assert promise.latency_s <= asked.slo.latency_s
        assert promise.capacity_rps >= load_rps
        changed_s = changed_s if plan is not None and target.same_choice(plan) else now_s
        plan = target
        found.append(target)
        now_s += asked.adaptation.interval_s
    return found


def switches(plans: Sequence[Plan]) -> int:
    return sum(
        a.variant != b.variant
        for before, after in itertools.pairwise(plans)
        for a, b in zip(before.stages, after.stages, strict=True)
    )


@pytest.mark.parametrize(
    ("loads_rps", "free", "weighed"),
    [(RISING, 2, 1), (FALLING, 2, 2), (SWINGING, 30, 2)],
    ids=["rising", "falling", "swinging"],
)
def test_what_moving_costs_keeps_a_swinging_load_from_swinging_the_plan(
    loads_rps: tuple[float, ...], free: int, weighed: int
) -> None:
    counts = [switches(lived(loads_rps, of(switch_weight=weight))) for weight in (0.0, 1.0)]
    assert counts == [free, weighed]


def test_a_gain_that_lasts_is_taken_when_waiting_has_cost_as_much_as_the_move() -> None:
    plans = lived([260.0] + [20.0] * 30, of())
    variants = [set(plan.variants) for plan in plans]
    assert variants[1] == {"small"}
    assert variants[-1] == {"large"}


def test_one_stage_at_a_time_gets_there_too() -> None:
    plans = lived([260.0] + [20.0] * 4, of(switch_weight=0.0, max_step=1))
    steps = [switches(pair) for pair in itertools.pairwise(plans)]
    assert steps == [1, 1, 0, 0]
