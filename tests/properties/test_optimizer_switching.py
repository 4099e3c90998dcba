"""What holds whenever moving from a running plan has a cost."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from optimizer.problem import Problem
from optimizer.solvers import Status, make_solver
from optimizer.solvers.goals import goal_key, solve_goal
from tests.problems import moves, options
from tests.problems import problem as asked

QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
EACH = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def seconds_charged(problem: Problem, s: int, o: int) -> float:
    """The cost of one option's move once more, by hand."""
    then, switch = problem.stages[s].options[o], problem.switches[s]
    now = switch.running
    paid = then.cost_per_hour if problem.is_priced else then.cpu_cores * then.replicas
    ran = now.cost_per_hour if problem.is_priced else now.cpu_cores * now.replicas
    start_s = switch.start_s[then.variant]
    same = (now.variant, now.cpu_cores) == (then.variant, then.cpu_cores)
    if not same and now.replicas:
        return ran * (start_s + switch.overlap_s)
    added = then.replicas - now.replicas if same else then.replicas
    return paid / then.replicas * added * start_s if added > 0 else 0.0


def brute_force(problem: Problem) -> float:
    """The best objective of all choices; minus infinity without one."""
    plain = replace(problem, switches=(), max_switches=None)
    best = -math.inf
    for choices in product(*(range(len(s.options)) for s in problem.stages)):
        chosen = plain.chosen(choices)
        other = sum(
            (o.variant, o.cpu_cores) != (w.running.variant, w.running.cpu_cores)
            for o, w in zip(chosen, problem.switches, strict=True)
        )
        within = problem.max_switches is None or other <= problem.max_switches
        if within and plain.is_feasible(chosen):
            cost = sum(
                seconds_charged(problem, s, o) * problem.switches[s].factor
                for s, o in enumerate(choices)
            )
            value = plain.objective_of(chosen) - problem.objective.cost_weight * cost
            best = max(best, value)
    return best


@pytest.mark.parametrize("name", ["exhaustive", "frontier", "highs", "glpk"])
@EACH
@given(problem=moves(max_stages=3))
def test_every_solver_equals_brute_force_with_the_cost_of_moving(
    name: str, problem: Problem
) -> None:
    found = make_solver(name).solve(problem, time_limit_s=20)

    best = brute_force(problem)
    assert (found.status is Status.OPTIMAL) == math.isfinite(best)
    if found.choices:
        assert found.objective == pytest.approx(best, abs=1e-9)
        assert problem.is_feasible(problem.chosen(found.choices))


@pytest.mark.parametrize("name", ["frontier", "highs"])
@FEW
@given(problem=moves(max_stages=3, ordered=True))
def test_orders_count_what_moving_costs(name: str, problem: Problem) -> None:
    ours = solve_goal(make_solver(name), problem, time_limit_s=20)
    oracle = solve_goal(make_solver("exhaustive"), problem, time_limit_s=20)

    assert ours.status is oracle.status
    if oracle.choices:
        best = goal_key(problem, oracle.choices)
        assert goal_key(problem, ours.choices) == pytest.approx(best, abs=1e-9)


@QUICK
@given(problem=moves(), data=st.data())
def test_a_start_from_any_choice_ends_at_the_same_answer(
    problem: Problem, data: st.DataObject
) -> None:
    hint = tuple(data.draw(st.integers(0, len(s.options) - 1)) for s in problem.stages)
    cold = make_solver("frontier").solve(replace(problem, incumbent=()), time_limit_s=20)
    warm = make_solver("frontier").solve(replace(problem, incumbent=hint), time_limit_s=20)

    assert warm.status is cold.status
    if cold.choices:
        assert warm.objective == pytest.approx(cold.objective, abs=1e-9)
        assert problem.is_feasible(problem.chosen(warm.choices))


@FEW
@given(
    problem=moves(max_stages=3),
    factors=st.lists(st.sampled_from([0.0, 1 / 600, 1 / 60, 0.1, 1.0]), min_size=2, max_size=3),
)
def test_a_higher_weight_never_pays_more_for_moving(problem: Problem, factors: list[float]) -> None:
    # Of two weights w < v with best choices a and b, value(a) - w moved(a) >= value(b) - w moved(b)
    # and value(b) - v moved(b) >= value(a) - v moved(a); added up, moved(b) <= moved(a).
    moved = []
    for factor in sorted(set(factors)):
        weighed = weighted(problem, factor)
        found = make_solver("frontier").solve(weighed, time_limit_s=20)
        assume(found.choices)
        unit = weighted(problem, 1.0)
        moved.append(round(unit.switch_cost(unit.chosen(found.choices)), 6))
    if problem.objective.cost_weight:
        assert moved == sorted(moved, reverse=True)


def weighted(problem: Problem, factor: float) -> Problem:
    return replace(problem, switches=tuple(replace(s, factor=factor) for s in problem.switches))


@FEW
@given(problem=moves(max_stages=3))
def test_at_any_price_nothing_moves_that_can_stay(problem: Problem) -> None:
    dear = weighted(replace(problem, objective=replace(problem.objective, cost_weight=1.0)), 1e6)
    found = make_solver("frontier").solve(dear, time_limit_s=20)
    assume(found.choices)

    choices = map(dear.chosen, product(*(range(len(s.options)) for s in dear.stages)))
    least = min(dear.switch_cost(c) for c in choices if dear.is_feasible(c))
    assert dear.switch_cost(dear.chosen(found.choices)) == pytest.approx(least, abs=100.0)


@QUICK
@given(problem=moves())
def test_without_weight_the_answer_is_that_of_a_cold_start(problem: Problem) -> None:
    free = replace(weighted(problem, 0.0), max_switches=None)
    cold = replace(problem, switches=(), max_switches=None, incumbent=())
    ours, theirs = (make_solver("frontier").solve(p, time_limit_s=20) for p in (free, cold))

    assert ours.status is theirs.status
    if ours.choices:
        assert ours.objective == pytest.approx(theirs.objective, abs=1e-9)


def test_what_runs_wins_a_tie() -> None:
    same = {"latency_s": 0.1, "accuracy": 0.5}
    tied = asked(options("a", {"variant": "x", **same}, {"variant": "y", **same}))
    for hint in ((0,), (1,)):
        assert (
            make_solver("frontier").solve(replace(tied, incumbent=hint), time_limit_s=5).choices
            == hint
        )
