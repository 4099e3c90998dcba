"""What the frontier search rests on: dominance, bounds and the vectorised latencies."""

from __future__ import annotations

import math
import time
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from optimizer.dominance import frontier
from optimizer.latency import stage_latency_s
from optimizer.latency_grid import latency_grid_s, worth_having
from optimizer.problem import Problem
from optimizer.solvers import Status, make_solver
from optimizer.solvers.terms import terms_of
from optimizer.solvers.walk import CutShortError, Walk
from penstock.domain import AccuracyMode, ProfilePoint
from tests.problems import problems

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
    try:
        found = walk.best(-math.inf)
    except CutShortError:
        assert walk.found.choices == ()
    else:
        oracle = make_solver("exhaustive").solve(problem, time_limit_s=10)
        assert (oracle.status is Status.INFEASIBLE) == (not found.choices)
