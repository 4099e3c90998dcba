from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest

from optimizer.explain import is_feasible, limits_of, relaxed
from optimizer.insight import Insight, describe, explain_plan, needed_limits
from optimizer.options import beaten_options
from optimizer.problem import build_problem
from optimizer.solvers import make_solver
from penstock.domain import Objective, Pipeline, ProfileTable, Slo
from tests.builders import pipeline, point, profile, profile_table, stage, variant


def explained(asked: Pipeline, load_rps: float = 150.0) -> Insight:
    return explain_plan(asked, profile_table(asked), load_rps, solver=make_solver())


def test_the_limit_without_which_a_better_plan_exists_binds() -> None:
    accurate = Objective(accuracy_weight=100.0, cost_weight=0.1)

    assert explained(pipeline(slo=Slo(latency_s=9.0), objective=accurate)).binding == ()
    tight = pipeline(slo=Slo(latency_s=0.05), objective=accurate)
    assert "slo.latency_s" in explained(tight).binding
    few = pipeline(slo=Slo(latency_s=9.0), objective=accurate, max_cores=3.0)
    assert explained(few).binding == ("max_cores",)


@pytest.mark.parametrize("seed", range(10))
def test_the_runner_up_is_the_best_of_all_other_choices(seed: int) -> None:
    rng = random.Random(seed)
    asked = pipeline(slo=Slo(latency_s=rng.uniform(0.04, 0.3)))
    load_rps = rng.uniform(1.0, 200.0)
    insight = explained(asked, load_rps)
    problem = build_problem(asked, profile_table(asked), load_rps)
    values = sorted(
        problem.objective_of(chosen)
        for chosen in map(problem.chosen, product(*(range(len(s.options)) for s in problem.stages)))
        if problem.is_feasible(chosen)
    )

    assert insight.outcome.plan is not None
    assert insight.outcome.plan.promise.objective == pytest.approx(values[-1])
    assert insight.runner_up is not None
    assert insight.runner_up.promise.objective == pytest.approx(values[-2])


def test_a_point_of_accuracy_is_priced_by_the_cheapest_plan_that_has_it() -> None:
    insight = explained(pipeline(objective=Objective(accuracy_weight=0.0)))
    (point_more,) = [w for w in insight.worths if "accuracy" in w.what]

    assert point_more.plan is not None
    assert point_more.accuracy >= 0.01 - 1e-6
    assert point_more.cost > 0


def test_every_option_left_out_names_one_that_beats_it() -> None:
    asked = pipeline(slo=Slo(latency_s=5.0))
    table = profile_table(asked)
    for of in asked.stages:
        kept = build_problem(asked, table, 150.0).stages[asked.stages.index(of)].options
        beaten = beaten_options(of, table, 150.0, pipeline=asked)

        assert beaten
        for each in beaten:
            assert each.by in kept
            assert each.option not in kept
            assert each.by.latency_s <= each.option.latency_s
            assert each.by.cost_cores <= each.option.cost_cores
            assert each.by.accuracy >= each.option.accuracy


def infeasible_cases(count: int) -> list[tuple[Pipeline, ProfileTable, float]]:
    """Random pipelines with limits of every kind that no plan keeps together."""
    found = []
    rng = random.Random(7)
    while len(found) < count:
        stages, profiles = [], []
        for s in range(rng.randint(1, 3)):
            variants = [variant(f"v{v}", batch_sizes=(1, 4)) for v in range(rng.randint(1, 2))]
            stages.append(stage(f"s{s}", variants=tuple(variants), max_replicas=rng.randint(1, 3)))
            for v, one in enumerate(variants):
                base_s = rng.uniform(0.005, 0.03) * (v + 1)
                points = (point(1, base_s), point(4, 2.5 * base_s))
                profiles.append(profile(f"s{s}", one.name, points=points, accuracy=0.6 + 0.2 * v))
        asked = pipeline(
            stages=tuple(stages),
            slo=Slo(latency_s=rng.uniform(0.01, 0.2)),
            max_cores=rng.choice([None, float(rng.randint(1, 8))]),
            objective=Objective(accuracy_floor=rng.choice([None, rng.uniform(0.2, 1.0)])),
        )
        table, load_rps = ProfileTable(profiles=tuple(profiles)), rng.uniform(1.0, 300.0)
        everything = build_problem(relaxed(asked, limits_of(asked)), table, load_rps)
        if is_feasible(everything) and not is_feasible(build_problem(asked, table, load_rps)):
            found.append((asked, table, load_rps))
    return found


def test_of_200_infeasible_cases_the_set_named_is_enough_and_none_of_it_can_be_left_out() -> None:
    for asked, table, load_rps in infeasible_cases(200):
        named = needed_limits(asked, table, load_rps)

        assert is_feasible(build_problem(relaxed(asked, named), table, load_rps))
        for path in named:
            fewer = [p for p in named if p != path]
            assert not is_feasible(build_problem(relaxed(asked, fewer), table, load_rps))


def test_an_insight_reads_as_lines() -> None:
    text = describe(explained(pipeline()))

    assert text.splitlines()[0].startswith("the best there is, proven by ")
    for words in ("binds: ", "runner-up: ", "+10 ms of SLO: ", "stage locate: ", "no slower"):
        assert words in text


def test_an_infeasible_load_reads_as_lines() -> None:
    asked = replace(pipeline(), objective=Objective(accuracy_floor=0.99))

    assert "has to give way: objective.accuracy_floor" in describe(explained(asked))
