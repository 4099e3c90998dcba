"""Graphs against their explicit form: every world of draws, every path of edges, every choice."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from itertools import combinations, permutations, product

import pytest

from optimizer.composition import composed_accuracy
from optimizer.plan import evaluate, solve_plan, verify
from optimizer.problem import Problem, build_problem
from optimizer.solvers import Status, make_solver
from penstock.domain import (
    AccuracyMode,
    Goal,
    Objective,
    Option,
    Pipeline,
    Plan,
    ProfileTable,
    Slo,
)
from penstock.edges import edge_faults, graph_of_edges
from penstock.graph import Merge, NodeKind, nodes_of, paths, visits
from tests import builders as make
from tests.graphs import Edge, random_graph, ways, worlds

STAGES = tuple("abcdefgh")
MODES = tuple(mode for mode in AccuracyMode if mode is not AccuracyMode.JOINT)


@pytest.mark.parametrize("block", range(10))
def test_of_500_graphs_latency_and_load_equal_path_enumeration(block: int) -> None:
    for seed in range(50 * block, 50 * block + 50):
        rng = random.Random(seed)
        names = STAGES[: rng.randint(1, 8)]
        graph = random_graph(rng, names)
        latencies_s = {name: rng.random() for name in names}

        explicit = worlds(graph)
        slowest_s = max(world.latency_s(latencies_s) for world in explicit)
        calls = {n: sum(w.probability * w.calls.get(n, 0.0) for w in explicit) for n in names}

        assert sum(w.probability for w in explicit) == pytest.approx(1)
        ours_s = max(sum(latencies_s[n] for n in path) for path in paths(graph))
        assert ours_s == pytest.approx(slowest_s, abs=1e-12)
        assert visits(graph) == pytest.approx(calls, abs=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_problem_and_verify_see_the_latency_and_load_of_the_paths(seed: int) -> None:
    rng = random.Random(seed)
    asked, table, load_rps = random_case(rng)
    built = build_problem(asked, table, load_rps)
    if not all(stage.options for stage in built.stages):
        load_rps = 0.0
        built = build_problem(asked, table, load_rps)
    chosen = tuple(rng.choice(stage.options) for stage in built.stages)
    real = evaluate(plan_of(chosen, asked, load_rps), asked, table, load_rps)

    latencies_s = {o.stage: o.latency_s for o in chosen}
    slowest_s = max(world.latency_s(latencies_s) for world in worlds(asked.shape))
    assert built.latency_s(chosen) == pytest.approx(slowest_s)
    assert real.latency_s == pytest.approx(slowest_s)
    assert real.accuracy == pytest.approx(built.accuracy(chosen), abs=1e-12)
    assert real.accuracy_product == pytest.approx(built.accuracy_product(chosen), abs=1e-12)
    assert real.capacity_rps == pytest.approx(min(o.capacity_rps for o in chosen))


@pytest.mark.parametrize("seed", range(100))
def test_without_a_maximum_accuracy_is_the_mean_over_the_worlds(seed: int) -> None:
    rng = random.Random(seed)
    names = STAGES[: rng.randint(2, 7)]
    graph = random_graph(rng, names, kinds=[k for k in NodeKind if k is not NodeKind.ENSEMBLE])
    scores = {name: rng.random() for name in names}

    ours = composed_accuracy(graph, scores, {}, AccuracyMode.PRODUCT)

    expected = sum(w.probability * math.prod(scores[n] for n in w.calls) for w in worlds(graph))
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["highs", "glpk", "frontier", "auto"])
@pytest.mark.parametrize("block", range(4))
def test_every_solver_finds_the_best_of_all_plans(name: str, block: int) -> None:
    solver = make_solver(name)
    for seed in range(15 * block, 15 * block + 15):
        asked, table, load_rps = random_case(random.Random(seed))

        outcome = solve_plan(asked, table, load_rps, solver=solver, time_limit_s=20)

        best = best_objective(asked, table, load_rps)
        assert (outcome.plan is None) == (best is None), f"seed {seed}: {outcome.explanation}"
        if outcome.plan is not None:
            assert outcome.status is Status.OPTIMAL
            assert outcome.plan.promise.objective == pytest.approx(best, abs=1e-9), f"seed {seed}"
            assert verify(outcome.plan, asked, table) == ()


@pytest.mark.parametrize("seed", range(200, 230))
def test_an_order_of_goals_is_kept_on_graphs(seed: int) -> None:
    asked, table, load_rps = random_case(random.Random(seed))
    goal = (Goal.ACCURACY_FIRST, Goal.COST_FIRST)[seed % 2]
    asked = replace(asked, objective=replace(asked.objective, goal=goal))
    found = [
        solve_plan(asked, table, load_rps, solver=make_solver(name)).plan
        for name in ("exhaustive", "highs", "auto")
    ]
    ranks = [plan and (plan.promise.accuracy, plan.promise.cost_cores) for plan in found]
    assert ranks[1:] == [pytest.approx(ranks[0], abs=1e-9)] * 2 or ranks == [None] * 3


@pytest.mark.parametrize("seed", range(150))
def test_edges_of_a_random_graph_lead_back_to_its_paths(seed: int) -> None:
    rng = random.Random(seed)
    names = ["entry", *STAGES[: rng.randint(1, 8)]]
    graph = random_graph(rng, names[1:], kinds=[NodeKind.SEQUENCE, NodeKind.ENSEMBLE])
    (world,) = worlds(graph)
    edges = [*world.edges, *(("entry", name) for name in world.entries)]
    rng.shuffle(edges)
    rng.shuffle(names)

    assert edge_faults(edges, names) == ()
    found = paths(graph_of_edges(edges, names))

    assert sorted(found) == sorted(tuple(way) for way in ways(edges, names))


@pytest.mark.parametrize("seed", range(300))
def test_edges_are_taken_exactly_when_they_are_series_parallel(seed: int) -> None:
    rng = random.Random(seed)
    names = list("sabcdef")[: rng.randint(3, 7)]
    chance = rng.choice([0.2, 0.4])
    edges = [e for e in combinations(names, 2) if rng.random() < chance]
    late = [b for b in names[1:] if all(end != b for _, end in edges)]
    edges += [("s", b) for b in late]

    faults = edge_faults(edges, names)

    assert (faults == ()) == is_series_parallel(edges, names)
    for fault in faults:
        i, a, b = re.match(r"edges\[(\d+)\]: (\w) -> (\w)", fault).groups()
        assert edges[int(i)] == (a, b)


def is_series_parallel(edges: list[Edge], names: list[str]) -> bool:
    """By the definition: no edge beside a longer way, no N among any four stages."""
    before = {(a, b) for way in ways(edges, names) for a, b in combinations(way, 2)}
    if any((a, k) in before and (k, b) in before for a, b in edges for k in names):
        return False
    return not any(
        {pair for pair in permutations(four, 2) if pair in before}
        == {(four[0], four[2]), (four[1], four[2]), (four[1], four[3])}
        for four in permutations(names, 4)
    )


def random_case(rng: random.Random) -> tuple[Pipeline, ProfileTable, float]:
    """A pipeline over a random graph, its profiles and a load that it may or may not carry."""
    names = STAGES[: rng.randint(2, 4)]
    mode = rng.choice(MODES)
    graph = random_graph(rng, names, variants=("low", "high"))
    if mode is AccuracyMode.RANKS and any(n.merge is Merge.VOTE for _, n in nodes_of(graph)):
        mode = AccuracyMode.MEAN
    stages = tuple(
        make.stage(
            name,
            variants=tuple(
                make.variant(v, batch_sizes=(rng.choice([1, 4]),)) for v in ("low", "high")
            ),
            max_replicas=2,
            visit_ratio=rng.choice([1.0, 1.5]),
        )
        for name in names
    )
    asked = make.pipeline(
        "graphs",
        stages=stages,
        graph=graph,
        slo=Slo(latency_s=rng.choice([0.05, 0.1, 0.2])),
        max_cores=rng.choice([None, len(names) + 1.0]),
        objective=Objective(
            mode=mode,
            cost_weight=rng.choice([0.05, 0.5]),
            accuracy_floor=rng.choice([None, 0.5]),
        ),
    )
    table = make.profile_table(asked)
    profiles = tuple(replace(p, accuracy=rng.randint(5, 20) / 20) for p in table.profiles)
    return asked, replace(table, profiles=profiles), rng.choice([0.0, 5.0, 20.0, 40.0])


def plan_of(chosen: tuple[Option, ...], asked: Pipeline, load_rps: float) -> Plan:
    return Plan(pipeline=asked.name, load_rps=load_rps, stages=chosen, promise=make.promise())


def best_objective(asked: Pipeline, table: ProfileTable, load_rps: float) -> float | None:
    """Try every variant, batch size and number of replicas; the oracle is ``evaluate``."""
    each = [
        [
            make.option(stage.name, v.name, batch_size=b, replicas=n, cpu_cores=v.cpu_cores)
            for v in stage.variants
            for b in v.batch_sizes
            for n in range(stage.min_replicas, stage.max_replicas + 1)
        ]
        for stage in asked.stages
    ]
    best = None
    for chosen in product(*each):
        real = evaluate(plan_of(chosen, asked, load_rps), asked, table, load_rps)
        floor = asked.objective.accuracy_floor or 0.0
        kept = (
            real.latency_s <= asked.slo.latency_s * (1 + 1e-6)
            and real.capacity_rps * (1 + 1e-6) >= load_rps * (1 + asked.adaptation.headroom)
            and real.cost_cores <= (asked.max_cores or math.inf) * (1 + 1e-6)
            and real.accuracy >= floor * (1 - 1e-6)
        )
        if kept and (best is None or real.objective > best):
            best = real.objective
    return best


def test_a_graph_of_many_branches_is_solved_within_seconds() -> None:
    names = [f"s{i}" for i in range(12)]
    stages = tuple(make.stage(name) for name in names)
    asked = make.pipeline(
        stages=stages,
        graph=random_graph(random.Random(7), names, kinds=[NodeKind.ENSEMBLE]),
        slo=Slo(latency_s=0.03),
        max_cores=18.0,
    )
    built: Problem = build_problem(asked, make.profile_table(asked), 20.0)
    assert len(built.paths) == 12

    assert make_solver("auto").solve(built, time_limit_s=20).status is Status.OPTIMAL
