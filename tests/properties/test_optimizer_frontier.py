"""What the frontier search rests on: dominance, bounds and the vectorised latencies."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from optimizer.dominance import frontier
from optimizer.latency import stage_latency_s
from optimizer.latency_grid import latency_grid_s, worth_having
from optimizer.problem import Problem
from optimizer.solvers import Status, make_solver
from optimizer.solvers.goals import goal_key, solve_goal
from optimizer.solvers.labels import CutShortError
from optimizer.solvers.terms import terms_of
from optimizer.solvers.walk import Effort, Walk
from penstock.domain import AccuracyMode, Goal, Objective, ProfilePoint, Slo
from tests.problems import options, problems
from tests.problems import problem as asked

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(seed=st.integers(0, 10_000), width=st.integers(1, 5), count=st.integers(0, 900))
def test_the_frontier_is_what_no_row_beats(seed: int, width: int, count: int) -> None:
    rows = np.random.default_rng(seed).integers(0, 12, size=(count, width)).astype(float)

    kept = rows[frontier(rows)]

    beaten = [any(np.all(k <= row) for k in kept) for row in rows]
    assert all(beaten)
    for i, row in enumerate(kept):
        assert not any(np.all(k <= row) for j, k in enumerate(kept) if j != i)


@QUICK
@given(problem=problems(max_stages=4))
def test_no_choice_within_the_limits_exceeds_the_bound(problem: Problem) -> None:
    assume(problem.objective.mode is not AccuracyMode.JOINT)
    walk = Walk(terms_of(problem), deadline_s=math.inf)
    indices = product(*(range(len(s.options)) for s in problem.stages))
    values = [
        problem.objective_of(chosen)
        for chosen in map(problem.chosen, indices)
        if problem.is_feasible(chosen)
    ]

    assert max(values, default=-math.inf) <= walk.bound + 1e-9


@QUICK
@given(
    batch=st.sampled_from([1, 2, 8, 64]),
    mean_s=st.floats(1e-4, 2.0),
    tail=st.floats(1.0, 6.0),
    load_rps=st.just(0.0) | st.floats(1e-12, 1e4),
    quantile=st.sampled_from([0.3, 0.5, 0.95, 0.99, 0.999]),
)
def test_the_grid_of_latencies_is_the_formula(
    batch: int, mean_s: float, tail: float, load_rps: float, quantile: float
) -> None:
    measured = ProfilePoint(
        batch_size=batch,
        cpu_cores=1.0,
        latency_s={0.5: mean_s, 0.99: mean_s * tail},
        throughput_rps=batch / mean_s,
    )
    replicas = np.arange(0, 20)

    grid = latency_grid_s([measured], replicas=replicas, load_rps=load_rps, quantile=quantile)[0]

    for n in replicas:
        expected = stage_latency_s(
            measured, load_rps=load_rps, visit_ratio=1.0, replicas=int(n), quantile=quantile
        )
        assert grid[n] == pytest.approx(expected, rel=1e-12)


def test_a_number_of_replicas_is_worth_having_when_it_is_faster_than_all_lower_ones() -> None:
    measured = ProfilePoint(batch_size=1, cpu_cores=1.0, latency_s={0.5: 0.1}, throughput_rps=10.0)
    latency_s = np.array([[math.inf, 0.5, 0.6, 0.4, 0.4]])

    worth = worth_having(
        latency_s, points=[measured], replicas=np.arange(1, 6), load_rps=9.0, quantile=0.99
    )

    assert worth.tolist() == [[False, True, False, True, False]]


@QUICK
@given(problem=problems(max_stages=4))
def test_a_walk_without_time_claims_nothing_it_does_not_know(problem: Problem) -> None:
    assume(problem.objective.mode is not AccuracyMode.JOINT)
    walk = Walk(terms_of(problem), deadline_s=time.perf_counter() - 1)
    oracle = make_solver("exhaustive").solve(problem, time_limit_s=10)
    try:
        found = walk.best(-math.inf)
    except CutShortError:
        known = walk.found.choices
        assert not known or problem.is_feasible(problem.chosen(known))
        assert oracle.objective <= walk.bound + 1e-9
    else:
        assert (oracle.status is Status.INFEASIBLE) == (not found.choices)
        assert found.value == pytest.approx(oracle.objective, abs=1e-9)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(max_stages=4))
def test_however_narrow_its_walks_a_search_finds_the_best(problem: Problem) -> None:
    assume(problem.objective.mode is not AccuracyMode.JOINT)
    oracle = make_solver("exhaustive").solve(problem, time_limit_s=10)
    hard = Effort(widths=(1, 2), few=0)

    found = Walk(terms_of(problem), deadline_s=math.inf, effort=hard).best(-math.inf)

    assert bool(found.choices) == (oracle.status is Status.OPTIMAL)
    if found.choices:
        assert problem.is_feasible(problem.chosen(found.choices))
        assert found.value == pytest.approx(oracle.objective, abs=1e-9)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), mode=st.sampled_from([AccuracyMode.PRODUCT, AccuracyMode.SUM]))
def test_costs_in_steps_and_products_cut_into_levels_lose_nothing(
    seed: int, mode: AccuracyMode
) -> None:
    problem = stepped(random.Random(seed), mode)
    oracle = make_solver("exhaustive").solve(problem, time_limit_s=10)
    hard = Effort(widths=(1, 2), few=0)

    found = Walk(terms_of(problem), deadline_s=math.inf, effort=hard).best(-math.inf)

    assert bool(found.choices) == (oracle.status is Status.OPTIMAL)
    if found.choices:
        assert found.value == pytest.approx(oracle.objective, abs=1e-9)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), few=st.sampled_from([0.0, 1e5]))
def test_what_no_choice_beats_in_cost_and_worth_is_all_found(seed: int, few: float) -> None:
    problem = stepped(random.Random(seed), AccuracyMode.PRODUCT)
    terms = terms_of(problem)
    size = sum(max(o.cost_cores for o in stage.options) for stage in problem.stages)
    watched = replace(
        terms,
        stages=tuple(
            replace(
                stage,
                uses=np.column_stack([stage.uses, [o.cost_cores / size for o in of.options]]),
            )
            for stage, of in zip(terms.stages, problem.stages, strict=True)
        ),
    )
    walk = Walk(watched, deadline_s=math.inf, keep=terms.limits, effort=Effort(few=few))

    found = [problem.chosen(c) for c in walk.all_unbeaten(-math.inf)]

    everything = map(problem.chosen, product(*(range(len(s.options)) for s in problem.stages)))
    for chosen in filter(problem.is_feasible, everything):
        cost, worth = problem.cost(chosen), problem.objective_of(chosen)
        assert any(
            problem.cost(f) <= cost + 1e-9 and problem.objective_of(f) >= worth - 1e-9
            for f in found
        )


def stepped(rng: random.Random, mode: AccuracyMode) -> Problem:
    """Options that trade cost in half cores for latency and accuracy, under an SLO that binds."""
    stages = []
    for s in range(4):
        rows: list[dict[str, Any]] = []
        for _ in range(rng.randint(2, 7)):
            replicas, accuracy = rng.randint(1, 6), rng.uniform(0.6, 1.0)
            rows.append(
                {
                    "variant": f"v{len(rows)}",
                    "replicas": replicas,
                    "cpu_cores": 0.5,
                    "accuracy": accuracy,
                    "latency_s": accuracy * rng.uniform(0.1, 0.3) / replicas**0.5,
                }
            )
        stages.append(options(f"s{s}", *rows))
    return asked(
        *stages,
        slo=Slo(latency_s=rng.uniform(0.3, 0.6)),
        max_cores=rng.choice([None, 6.0]),
        objective=Objective(
            mode=mode,
            accuracy_weight=10.0,
            cost_weight=rng.choice([0.1, 0.5]),
            batch_weight=1e-6,
        ),
    )


def dear_or_slow(rng: random.Random) -> dict[str, Any]:
    """An option that is fast for many cores or slow for few: little beats anything."""
    replicas, cores = rng.randint(1, 8), rng.choice([0.25, 0.5, 1.0])
    return {
        "variant": rng.choice("abc"),
        "latency_s": round(rng.uniform(0.05, 0.2) / (replicas * cores) ** 0.7, 3),
        "replicas": replicas,
        "cpu_cores": cores,
        "batch_size": rng.choice([1, 2, 4]),
        "cost_per_hour": round(replicas * cores * rng.uniform(0.8, 1.2), 1),
    }


@st.composite
def tables(draw: st.DrawFn) -> Problem:
    """Problems with a joint table, many options a variant and limits between all and nothing.

    The table has no order: a combination may be better than both of its betters, or as good.
    """
    rng = random.Random(draw(st.integers(0, 10**9)))
    stages = [
        options(f"s{s}", *(dear_or_slow(rng) for _ in range(rng.randint(1, 14))))
        for s in range(rng.randint(2, 3))
    ]
    spread = rng.choice([0.001, 0.01, 0.1])
    values = {
        names: round(0.5 + spread * rng.choice([0.0, 1.0, rng.random()]), 6)
        for names in product("abc", repeat=len(stages))
    }
    return asked(
        *stages,
        slo=Slo(latency_s=round(rng.uniform(0.03, 0.15) * len(stages), 3)),
        max_cores=rng.choice([None, float(rng.randint(1, 12))]),
        objective=Objective(
            mode=AccuracyMode.JOINT,
            accuracy_weight=draw(st.sampled_from([0.0, 1.0, 10.0])),
            cost_weight=draw(st.sampled_from([0.0, 0.05, 0.5])),
            batch_weight=draw(st.sampled_from([0.0, 1e-6, 0.01])),
            goal=draw(st.sampled_from([Goal.WEIGHTED, *Goal])),
            accuracy_floor=draw(st.none() | st.sampled_from([0.5, 0.505, 0.55, 0.7])),
        ),
        is_priced=rng.random() < 0.3,
        max_cost_per_hour=rng.choice([None, None, float(rng.randint(2, 12))]),
        joint_accuracy=values,
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=tables())
def test_a_joint_table_is_searched_as_if_choice_by_choice(problem: Problem) -> None:
    ours = solve_goal(make_solver("frontier"), problem, time_limit_s=20)
    oracle = solve_goal(make_solver("exhaustive"), problem, time_limit_s=20)

    assert ours.status is oracle.status
    if oracle.choices:
        assert problem.is_feasible(problem.chosen(ours.choices))
        best = goal_key(problem, oracle.choices)
        assert goal_key(problem, ours.choices) == pytest.approx(best, abs=1e-9)


@QUICK
@given(problem=tables())
def test_a_walk_finds_nothing_above_the_best_there_is(problem: Problem) -> None:
    summed = replace(problem, objective=replace(problem.objective, mode=AccuracyMode.SUM))
    walk = Walk(terms_of(summed), deadline_s=math.inf)
    best = walk.best(-math.inf)

    assert not walk.best(best.value).choices
