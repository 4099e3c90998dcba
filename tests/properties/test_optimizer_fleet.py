"""Many pipelines under one budget against brute force over all of their choices together."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.fleet import Member, plan_fleet
from optimizer.problem import Problem
from optimizer.solvers import Status
from penstock.domain import Goal, Objective
from penstock.errors import DomainError
from tests.problems import options, problem, problems

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def feasible(of: Problem) -> list[tuple[float, float]]:
    """(cost, objective) of every choice within the limits."""
    indices = product(*(range(len(s.options)) for s in of.stages))
    chosen = (c for c in map(of.chosen, indices) if of.is_feasible(c))
    return [(of.cost(c), of.objective_of(c)) for c in chosen]


@st.composite
def fleets(draw: st.DrawFn) -> list[Member]:
    priced = draw(st.booleans())
    members = []
    for i in range(draw(st.integers(1, 3))):
        one = draw(problems(max_stages=2))
        named = replace(one, pipeline=f"p{i}", is_priced=priced)
        members.append(Member(problem=named, priority=draw(st.sampled_from([0.5, 1.0, 7.0]))))
    return members


@QUICK
@given(members=fleets(), budget=st.integers(1, 30).map(float))
def test_a_fleet_equals_brute_force(members: list[Member], budget: float) -> None:
    outcome = plan_fleet(members, budget)

    best = max(
        (
            sum(m.priority * value for m, (_, value) in zip(members, each, strict=True))
            for each in product(*(feasible(m.problem) for m in members))
            if sum(cost for cost, _ in each) <= budget * (1 + 1e-6)
        ),
        default=-math.inf,
    )
    assert (outcome.status is Status.OPTIMAL) == math.isfinite(best)
    if math.isfinite(best):
        assert outcome.objective == pytest.approx(best, abs=1e-9)
        assert outcome.cost <= budget * (1 + 1e-6)


def two_variants(name: str) -> Problem:
    cheap = {"variant": "cheap", "accuracy": 0.5, "cpu_cores": 1.0}
    good = {"variant": "good", "accuracy": 0.9, "cpu_cores": 4.0}
    return replace(problem(options("s", cheap, good)), pipeline=name)


def test_the_money_goes_where_the_priority_is_and_nobody_starves() -> None:
    members = [
        Member(problem=two_variants("a"), priority=0.01),
        Member(problem=two_variants("b"), priority=5.0),
    ]

    outcome = plan_fleet(members, 5.0)

    assert [p.variants for p in outcome.plans] == [("cheap",), ("good",)]


def test_a_budget_too_small_for_all_is_infeasible_and_says_by_how_much() -> None:
    outcome = plan_fleet([Member(problem=two_variants(n)) for n in "abc"], 2.0)

    assert outcome.status is Status.INFEASIBLE
    assert outcome.explanation == "needs 3 at the least, the budget is 2"


def test_a_fleet_refuses_what_it_cannot_weigh() -> None:
    with pytest.raises(DomainError, match="needs a pipeline"):
        plan_fleet([], 1.0)
    with pytest.raises(DomainError, match="priority must be above 0"):
        Member(problem=two_variants("a"), priority=0.0)
    mixed = [two_variants("a"), replace(two_variants("b"), is_priced=True)]
    with pytest.raises(DomainError, match="one unit"):
        plan_fleet([Member(problem=p) for p in mixed], 9.0)
    ordered = replace(two_variants("a"), objective=Objective(goal=Goal.COST_FIRST))
    with pytest.raises(DomainError, match="use goal weighted in a"):
        plan_fleet([Member(problem=ordered)], 9.0)
