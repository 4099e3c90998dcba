"""Pipelines with loads of their own under one budget: nobody starves, shares stay within it."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from optimizer.fleet_plans import Ask, FleetPlans, plan_asks
from optimizer.ladder import LOAD
from optimizer.solvers import make_solver
from optimizer.verify import verify
from penstock.domain import AccuracyMode, Objective, Pipeline, Prices
from tests.builders import pipeline, profile_table, stage, variant

SOLVER = make_solver("frontier")


def one_stage(name: str, **fields) -> Pipeline:
    variants = tuple(variant(v, batch_sizes=(1, 4)) for v in ("small", "large"))
    return pipeline(name, stages=(stage("locate", variants=variants),), **fields)


def ask(name: str, load_rps: float, *, priority: float = 1.0, **fields) -> Ask:
    of = one_stage(name, **fields)
    return Ask(pipeline=of, table=profile_table(of), load_rps=load_rps, priority=priority)


def planned(*asks: Ask, budget: float) -> FleetPlans:
    return plan_asks(asks, budget, solver=SOLVER)


def test_with_enough_for_all_nobody_is_degraded() -> None:
    found = planned(ask("a", 40.0), ask("b", 40.0), budget=50.0)
    assert [b.degraded for b in found.berths] == [(), ()]
    assert found.load_share == 1.0
    assert found.cost <= found.budget


def test_who_counts_less_gives_up_accuracy_and_is_named() -> None:
    weights = Objective(accuracy_weight=10.0, cost_weight=0.01)
    low = ask("a", 100.0, priority=0.5, objective=weights)
    high = ask("b", 100.0, priority=5.0, objective=weights)
    alone = planned(low, high, budget=99.0)
    scarce = planned(low, high, budget=alone.cost - 1.0)
    assert "accuracy 0.8, alone 0.85" in scarce.berths[0].degraded
    assert scarce.berths[1].degraded == ()


def test_a_budget_too_small_sheds_the_same_share_of_every_load() -> None:
    found = planned(ask("a", 300.0), ask("b", 150.0), budget=4.0)
    assert 0 < found.load_share < 1
    for berth in found.berths:
        served = berth.plan.load_rps / berth.ask.load_rps
        assert served == pytest.approx(found.load_share)
        assert "the budget sheds" in berth.degraded[0]
    assert "of each pipeline's load" in found.explanation


def test_a_load_beyond_a_pipeline_s_own_limits_takes_nothing_from_the_others() -> None:
    found = planned(ask("a", 1e5, max_cores=2.0), ask("b", 40.0), budget=50.0)
    assert found.berths[0].alone.given_up == (LOAD,)
    assert found.berths[0].shed_rps > 9e4
    assert found.berths[1].degraded == ()


def test_a_budget_below_the_least_of_all_has_no_plan_and_says_why() -> None:
    found = planned(ask("a", 10.0), ask("b", 10.0), budget=0.5)
    assert found.berths == ()
    assert "needs 2 at the least, the budget is 0.5" in found.explanation


def test_a_floor_that_nothing_reaches_names_the_pipeline() -> None:
    found = planned(ask("a", 10.0, objective=Objective(accuracy_floor=0.99)), budget=9.0)
    assert found.berths == ()
    assert found.explanation.startswith("pipeline 'a': no plan serves 10 req/s")


def test_own_money_is_kept_like_the_budget() -> None:
    priced = {"prices": Prices(cpu_core_hour=1.0), "max_cost_per_hour": 2.0}
    found = planned(ask("a", 600.0, **priced), ask("b", 40.0, **priced), budget=9.0)
    assert found.berths[0].alone.given_up == (LOAD,)
    assert found.berths[0].plan.promise.cost_per_hour <= 2.0


def test_a_measured_joint_accuracy_is_weighed_too() -> None:
    of = one_stage("a", objective=Objective(mode=AccuracyMode.JOINT))
    joint = {("small",): 0.7, ("large",): 0.95}
    table = replace(profile_table(of), joint_accuracy=joint)
    joined = Ask(pipeline=of, table=table, load_rps=40.0)
    found = planned(joined, ask("b", 40.0), budget=9.0)
    assert found.berths[0].plan.promise.accuracy in joint.values()


@pytest.mark.parametrize("seed", range(12))
def test_random_fleets_keep_the_budget_and_starve_nobody(seed: int) -> None:
    rng = random.Random(seed)
    asks = [
        ask(
            f"p{i}",
            rng.choice([0.0, rng.uniform(1, 400)]),
            priority=rng.choice([0.1, 1.0, 10.0]),
            max_cores=rng.choice([None, 3.0]),
        )
        for i in range(rng.randint(1, 4))
    ]
    budget = rng.uniform(1.0, 16.0)
    found = planned(*asks, budget=budget)
    assert found.berths or budget < len(asks)
    assert found.cost <= budget * (1 + 1e-6)
    assert math.fsum(b.limit for b in found.berths) <= budget * (1 + 1e-6)
    for berth in found.berths:
        assert verify(berth.plan, berth.alone.asked, berth.ask.table) == ()
        assert berth.limit >= berth.plan.promise.cost_cores * (1 - 1e-9)
        assert berth.plan.load_rps > 0 or berth.ask.load_rps == 0 or found.load_share == 0
