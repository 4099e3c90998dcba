"""Defects read in IPA's released optimizer, each as a test that ours does not have it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from optimizer.decide import Kind, decide
from optimizer.plan import solve_plan
from optimizer.problem import build_problem
from optimizer.solvers import Status, make_solver
from penstock.domain import (
    AccuracyMode,
    Forecast,
    LatencyModel,
    Objective,
    Pipeline,
    ProfileTable,
    Slo,
)
from penstock.errors import ProfileError
from tests.builders import pipeline, plan, point, profile, profile_table, stage, variant
from tests.problems import options, problem

SOLVERS = ["exhaustive", "frontier", "glpk", "highs"]


def one_stage(batches: dict[int, float], slo_s: float) -> tuple[Pipeline, ProfileTable]:
    """A pipeline whose only variant takes ``batches[b]`` seconds for a batch of b."""
    only = variant("m", batch_sizes=tuple(batches))
    asked = pipeline(stages=(stage("s", variants=(only,)),), slo=Slo(latency_s=slo_s))
    points = tuple(point(b, latency_s) for b, latency_s in batches.items())
    return asked, ProfileTable(profiles=(profile("s", "m", points=points),))


@pytest.mark.parametrize("solver", SOLVERS)
def test_batches_that_are_not_chosen_do_not_relax_the_slo(solver: str) -> None:
    # IPA's queue term takes (0 - 1) / load off the latency for each of them: it accepts these 2 s.
    asked, table = one_stage({1: 1.5, 2: 1.6, 8: 2.0}, slo_s=0.75)

    outcome = solve_plan(asked, table, 1.0, solver=make_solver(solver))

    assert outcome.status is Status.INFEASIBLE


def test_waiting_for_a_batch_lengthens_the_latency_and_never_shortens_it() -> None:
    asked, table = one_stage({1: 0.1, 2: 0.12, 8: 0.3}, slo_s=100.0)
    for load_rps in (0.0, 0.1, 1.0, 10.0):
        for option in build_problem(asked, table, load_rps).stages[0].options:
            served_s = {1: 0.1, 2: 0.12, 8: 0.3}[option.batch_size]

            assert option.latency_s >= served_s
            assert option.batch_size == 1 or option.latency_s > served_s


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_product_counts_the_stages_after_the_third(solver: str) -> None:
    # IPA's product enumerates three stages; the fourth came out as its cheapest, 0.2.
    stages = [
        options(
            f"s{i}",
            {"variant": "bad", "accuracy": 0.2, "cpu_cores": 1.0},
            {"variant": "good", "accuracy": 0.9, "cpu_cores": 1.1},
        )
        for i in range(5)
    ]
    weighed = problem(*stages, objective=Objective(accuracy_weight=10.0, cost_weight=0.5))

    solution = make_solver(solver).solve(weighed, time_limit_s=10)

    assert solution.choices == (1, 1, 1, 1, 1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_variant_in_two_stages_counts_in_both(solver: str) -> None:
    # IPA's accuracies are keyed by the variant's name alone, so that one of the two was lost.
    shared = [variant("shared", batch_sizes=(1,)), variant("other", batch_sizes=(1,))]
    stages = tuple(stage(name, variants=tuple(shared)) for name in ("a", "b"))
    accuracies = {
        ("a", "shared"): 0.9,
        ("a", "other"): 0.5,
        ("b", "shared"): 0.6,
        ("b", "other"): 0.5,
    }
    table = ProfileTable(
        profiles=tuple(
            profile(s, v, accuracy=accuracy, points=(point(1),))
            for (s, v), accuracy in accuracies.items()
        )
    )

    outcome = solve_plan(pipeline(stages=stages), table, 1.0, solver=make_solver(solver))

    assert outcome.plan is not None
    assert outcome.plan.variants == ("shared", "shared")
    assert outcome.plan.promise.accuracy == pytest.approx(0.9 * 0.6)


@pytest.mark.parametrize("load_rps", [0.0, 1.0, 40.0, 150.0])
def test_enumeration_keeps_the_constraints_of_the_solvers(load_rps: float) -> None:
    # IPA's brute force crashed on its result, took "<" for "<=" and knew no queue.
    asked = pipeline(slo=Slo(latency_s=0.2))
    found = [
        solve_plan(asked, profile_table(asked), load_rps, solver=make_solver(name)).plan
        for name in SOLVERS
    ]

    promises = [p.promise for p in found if p is not None]

    assert len(promises) == len(SOLVERS)
    assert max(p.objective for p in promises) - min(p.objective for p in promises) < 1e-9
    assert all(p.latency_s > 0.02 for p in promises)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_latency_that_equals_the_slo_keeps_it(solver: str) -> None:
    exact = problem(options("a", {"latency_s": 0.25}), slo=Slo(latency_s=0.25))

    assert make_solver(solver).solve(exact, time_limit_s=5).status is Status.OPTIMAL


def test_an_infeasible_load_is_said_and_explained() -> None:
    # IPA did nothing: no action, no alarm.
    asked = pipeline()
    outcome = solve_plan(asked, profile_table(asked), 4000.0, solver=make_solver("exhaustive"))

    assert outcome.status is Status.INFEASIBLE
    assert outcome.binding == ("stages[0].max_replicas", "stages[1].max_replicas")
    assert outcome.nearest is not None
    assert outcome.nearest.load_rps > 1000
    assert outcome.explanation.startswith("no plan serves 4000 req/s within 0.5 s; ")


def test_an_infeasible_load_is_acted_on() -> None:
    asked = pipeline()
    table = profile_table(asked)
    outcome = solve_plan(asked, table, 4000.0, solver=make_solver("exhaustive"))
    small = plan(stages=tuple(replace(o, replicas=1) for o in plan().stages))

    decision = decide(
        small,
        outcome,
        forecast=Forecast(load_rps=4000.0, horizon_s=20.0, forecaster="max"),
        pipeline=asked,
        table=table,
        since_change_s=math.inf,
    )

    assert (decision.kind, decision.urgent) == (Kind.MOVE, True)
    assert decision.target == outcome.nearest


def test_a_combination_that_was_not_profiled_is_missed_and_not_made_up() -> None:
    # IPA padded it with a latency of 1000 s and a throughput of 0.00001 req/s.
    asked, table = one_stage({1: 0.1}, slo_s=1.0)
    wider = replace(asked, stages=(stage("s", variants=(variant("m", batch_sizes=(1, 2)),)),))

    with pytest.raises(ProfileError, match="not profiled at batch size 2"):
        build_problem(wider, table, 1.0)


def test_a_plan_costs_what_each_stage_costs_and_not_the_product_of_the_sums() -> None:
    # IPA's video figure multiplied the sum of replicas by the sum of cores: twice the real cost.
    asked = problem(
        options("a", {"replicas": 3, "cpu_cores": 1.0}),
        options("b", {"replicas": 2, "cpu_cores": 0.5}),
    )

    assert asked.cost_cores(asked.chosen((0, 0))) == pytest.approx(3 * 1.0 + 2 * 0.5)


@pytest.mark.parametrize("mode", [AccuracyMode.RANKS, AccuracyMode.SUM, AccuracyMode.MEAN])
def test_whatever_accuracy_is_maximised_the_product_is_told_beside_it(mode: AccuracyMode) -> None:
    # IPA maximised normalised ranks, or a product, and reported the other one.
    asked = pipeline(objective=Objective(mode=mode))
    table = profile_table(asked)

    found = solve_plan(asked, table, 10.0, solver=make_solver("frontier")).plan

    assert found is not None
    assert found.promise.accuracy_product == pytest.approx(
        math.prod(option.accuracy for option in found.stages)
    )


def test_quantiles_that_are_added_up_are_called_so_and_can_be_convolved() -> None:
    # IPA added the stages' 99th percentiles up as if that were the pipeline's.
    asked = pipeline(slo=Slo(latency_s=0.5))
    tail = replace(asked, slo=replace(asked.slo, latency_model=LatencyModel.CONVOLUTION))
    table = profile_table(asked)

    by_sum, by_tail = (
        solve_plan(p, table, 10.0, solver=make_solver("frontier")).plan for p in (asked, tail)
    )

    assert by_sum is not None
    assert by_tail is not None
    assert by_sum.promise.latency_model == "sum-of-quantiles"
    assert by_tail.promise.latency_model == "convolution"
    assert by_tail.promise.latency_padding > 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_plan_never_asks_for_more_cores_than_there_are(solver: str) -> None:
    # IPA checked no capacity: its nlp pipeline asked for 500 cores.
    stages = [options(f"s{i}", {"cpu_cores": 250.0}, {"cpu_cores": 2.0}) for i in range(2)]
    asked = problem(*stages, slo=Slo(latency_s=9.0), max_cores=16.0)

    solution = make_solver(solver).solve(asked, time_limit_s=5)

    assert solution.choices == (1, 1)
