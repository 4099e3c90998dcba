"""What planning does with graphs: forms of accuracy, tails, refusals, ladder and words."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from optimizer.composition import inseparable_node, is_plain_product, linear_weights
from optimizer.explain import fastest
from optimizer.fleet import Member, plan_fleet
from optimizer.insight import describe, explain_plan
from optimizer.ladder import climb
from optimizer.plan import solve_plan, verify
from optimizer.problem import build_problem
from optimizer.simulate import attainment, simulate_plan
from optimizer.solvers import Status, make_solver
from optimizer.solvers.tabulated import tabulated
from optimizer.tail import PADDING, Visit, flow_of, padded_quantile_s
from penstock.domain import AccuracyMode, LatencyModel, Objective, Pipeline, Slo
from penstock.errors import DomainError
from penstock.graph import Merge, Node, NodeKind, Step, sequence
from tests import builders as make

ENSEMBLE = Node(kind=NodeKind.ENSEMBLE, steps=(Step(to="b"), Step(to="c")))
SPLITTER = Node(kind=NodeKind.SPLITTER, steps=(Step(to="b", weight=80), Step(to="c", weight=20)))


def behind(node: Node) -> Node:
    return Node(kind=NodeKind.SEQUENCE, steps=(Step(to="a"), Step(to=node)))


def asked(graph: Node, **fields: object) -> Pipeline:
    stages = tuple(make.stage(name) for name in graph.stages())
    return make.pipeline("graphs", stages=stages, graph=graph, **fields)


def test_a_sum_of_means_is_linear_and_a_product_of_them_is_not() -> None:
    weights = {"a": 1.0, "b": pytest.approx(0.8), "c": pytest.approx(0.2)}
    assert linear_weights(behind(SPLITTER), AccuracyMode.SUM) == weights
    assert linear_weights(behind(ENSEMBLE), AccuracyMode.MEAN) == {"a": 0.5, "b": 0.25, "c": 0.25}
    assert linear_weights(behind(SPLITTER), AccuracyMode.PRODUCT) is None
    assert linear_weights(SPLITTER, AccuracyMode.PRODUCT) is not None
    assert is_plain_product(behind(sequence("bc")), AccuracyMode.PRODUCT)


def test_the_node_that_is_neither_sum_nor_product_is_named() -> None:
    best = behind(replace(ENSEMBLE, merge=Merge.MAX))
    assert inseparable_node(best, AccuracyMode.SUM) == "ensemble-2 (Ensemble, max)"
    assert inseparable_node(behind(ENSEMBLE), AccuracyMode.PRODUCT) == "root (Sequence)"
    assert inseparable_node(best, AccuracyMode.JOINT) is None


def test_a_table_too_large_for_the_frontier_goes_to_a_mip() -> None:
    names = [f"s{i}" for i in range(13)]
    fork = Node(kind=NodeKind.ENSEMBLE, steps=tuple(Step(to=n) for n in names[1:]))
    graph = Node(kind=NodeKind.SEQUENCE, steps=(Step(to=names[0]), Step(to=fork)))
    wide = asked(graph, max_cores=20.0)
    problem = build_problem(wide, make.profile_table(wide), 30.0)

    with pytest.raises(DomainError, match=r"node root \(Sequence\).*8192 combinations.*'mip'"):
        tabulated(problem)
    solution = make_solver("auto").solve(problem, time_limit_s=20)
    assert (solution.status, solution.solver) == (Status.OPTIMAL, "highs")


def test_a_fleet_takes_graphs_that_are_sums_and_others_too() -> None:
    summed = asked(behind(SPLITTER), objective=Objective(mode=AccuracyMode.MEAN))
    table = make.profile_table(summed)
    found = plan_fleet([Member(problem=build_problem(summed, table, 10.0))] * 2, budget=8.0)
    assert found.status is Status.OPTIMAL
    alone = solve_plan(replace(summed, max_cores=4.0), table, 10.0, solver=make_solver("highs"))
    assert found.objective == pytest.approx(2 * alone.plan.promise.objective)

    product = asked(behind(SPLITTER))
    mixed = plan_fleet([Member(problem=build_problem(product, table, 10.0))], budget=4.0)
    best = solve_plan(replace(product, max_cores=4.0), table, 10.0, solver=make_solver("highs"))
    assert mixed.objective == pytest.approx(best.plan.promise.objective)


def test_the_fastest_choice_over_several_paths_keeps_the_cores() -> None:
    wanted = asked(behind(ENSEMBLE), max_cores=5.0)
    problem = build_problem(wanted, make.profile_table(wanted), 80.0)
    chosen = problem.chosen(fastest(problem))
    assert problem.cost_cores(chosen) <= 5.0
    free = replace(problem, max_cores=None)
    assert free.latency_s(free.chosen(fastest(free))) <= problem.latency_s(chosen)


def test_an_infeasible_graph_is_explained_and_the_ladder_still_plans() -> None:
    wanted = asked(behind(ENSEMBLE), max_cores=4.0)
    table = make.profile_table(wanted)
    insight = explain_plan(wanted, table, 500.0, solver=make_solver())
    assert insight.outcome.status is Status.INFEASIBLE
    assert "has to give way" in describe(insight)

    climbed = climb(wanted, table, 500.0, solver=make_solver())
    assert climbed.plan is not None
    assert climbed.given_up == ("load",)
    assert verify(climbed.plan, wanted, table) == ()


@pytest.mark.parametrize(
    ("graph", "seconds"),
    [(behind(ENSEMBLE), 0.4), (behind(SPLITTER), 0.4), (sequence("abc"), 0.6)],
)
def test_the_tail_of_idle_stages_follows_the_graph(graph: Node, seconds: float) -> None:
    points = {"a": 0.1, "b": 0.2, "c": 0.3}
    visits = {
        name: Visit(point=make.point(1, latency_s), replicas=1, rate_rps=0.0)
        for name, latency_s in points.items()
    }
    found = padded_quantile_s(flow_of(graph, visits), quantile=0.9, slo_s=1.0)
    assert found == pytest.approx(seconds * (1 + PADDING), rel=0.02)


def test_a_branch_that_is_taken_less_often_than_the_tail_does_not_count() -> None:
    visits = {
        name: Visit(point=make.point(1, latency_s), replicas=1, rate_rps=0.0)
        for name, latency_s in {"b": 0.1, "c": 0.5}.items()
    }
    at = {
        q: padded_quantile_s(flow_of(SPLITTER, visits), quantile=q, slo_s=1.0) for q in (0.75, 0.85)
    }
    assert at[0.75] == pytest.approx(0.1 * (1 + PADDING), rel=0.03)
    assert at[0.85] == pytest.approx(0.5 * (1 + PADDING), rel=0.03)


@pytest.mark.parametrize("node", [ENSEMBLE, SPLITTER])
def test_a_plan_by_the_convolution_keeps_its_slo_in_the_simulation(node: Node) -> None:
    slo = Slo(latency_s=0.12, quantile=0.95, latency_model=LatencyModel.CONVOLUTION)
    wanted = asked(behind(node), slo=slo)
    table = make.profile_table(wanted)
    outcome = solve_plan(wanted, table, 60.0, solver=make_solver())
    assert outcome.plan is not None
    assert verify(outcome.plan, wanted, table) == ()

    latencies_s = simulate_plan(outcome.plan, wanted, table, requests=10_000, seed=1)

    assert attainment(latencies_s, slo.latency_s) >= slo.quantile - 0.005
    assert math.isfinite(outcome.plan.promise.latency_s)


def test_the_simulation_refuses_a_fan_out() -> None:
    crops = Node(kind=NodeKind.SEQUENCE, steps=(Step(to="a"), Step(to="b", fan_out=2.0)))
    wanted = asked(crops)
    plan = make.plan(stages=(make.option("a"), make.option("b")))
    with pytest.raises(DomainError, match="fan-outs of 1"):
        simulate_plan(plan, wanted, make.profile_table(wanted), requests=10, seed=1)


@pytest.mark.parametrize(
    ("branches", "mode", "solver"), [(3, "product", "frontier"), (9, "mean", "highs")]
)
def test_auto_gives_small_tables_to_the_frontier_and_many_paths_to_a_mip(
    branches: int, mode: str, solver: str
) -> None:
    names = [f"s{i}" for i in range(branches + 1)]
    fork = Node(kind=NodeKind.ENSEMBLE, steps=tuple(Step(to=n) for n in names[1:]))
    graph = Node(kind=NodeKind.SEQUENCE, steps=(Step(to=names[0]), Step(to=fork)))
    wide = asked(graph, max_cores=20.0, objective=Objective(mode=AccuracyMode(mode)))
    problem = build_problem(wide, make.profile_table(wide), 30.0)

    ours = make_solver("auto").solve(problem, time_limit_s=20)

    assert (ours.status, ours.solver) == (Status.OPTIMAL, solver)
    other = make_solver("highs" if solver == "frontier" else "frontier")
    assert ours.objective == pytest.approx(other.solve(problem, time_limit_s=20).objective)
