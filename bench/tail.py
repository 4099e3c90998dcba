"""The latency models against the simulation: is the SLO met, and at what price.

``tail.attainment.share``: the share of random plans whose simulated attainment is at least the
target less half a point. ``tail.cost.*``: the plan's cost over that of the cheapest plan the
simulation accepts, found by simulating choices from the cheapest on. ``sum.*`` is the same for the
sum of quantiles. Environment: ``BENCH_SEEDS`` (200 plans), ``BENCH_CHEAPEST`` (20 of them priced).
"""

from __future__ import annotations

import json
import os
import random
import statistics
from dataclasses import replace
from itertools import product
from pathlib import Path

from bench.instances import instance, tightened
from optimizer.plan import solve_plan, to_plan
from optimizer.problem import build_problem
from optimizer.simulate import attainment, simulate_plan
from optimizer.solvers import Solution, Status, make_solver
from optimizer.tail_search import tail_latency_s
from penstock.domain import Goal, LatencyModel, Objective, Pipeline, Plan, ProfileTable

PLANS = int(os.environ.get("BENCH_SEEDS", "200"))
PRICED = int(os.environ.get("BENCH_CHEAPEST", "20"))
REQUESTS = 20_000
_HOPELESS = 1.8
_MOST_TRIES = 400


def run(target: Path) -> None:
    """Measure both models and write the figures."""
    figures: dict[str, float] = {}
    for model, name in ((LatencyModel.CONVOLUTION, "tail"), (LatencyModel.SUM, "sum")):
        met, ratios = [], []
        for seed in range(PLANS):
            asked, table, load_rps = random_case(seed, model)
            plan = cheapest_promised(asked, table, load_rps)
            if plan is None:
                continue
            met.append(simulated(plan, asked, table, seed))
            if len(ratios) < PRICED and len(asked.stages) <= 2:
                least = cheapest_simulated(asked, table, load_rps, plan, seed)
                ratios.append(plan.promise.cost_cores / least)
        target_share = asked.slo.quantile - 0.005
        figures[f"{name}.plans"] = float(len(met))
        figures[f"{name}.attainment.share"] = sum(a >= target_share for a in met) / len(met)
        figures[f"{name}.attainment.min"] = min(met)
        figures[f"{name}.attainment.median"] = statistics.median(met)
        figures[f"{name}.cost.median"] = statistics.median(ratios)
        figures[f"{name}.cost.mean"] = statistics.fmean(ratios)
        figures[f"{name}.cost.max"] = max(ratios)
        figures[f"{name}.cost.within_1_10"] = sum(r <= 1.10 + 1e-9 for r in ratios) / len(ratios)
    target.write_text(json.dumps({"figures": figures, "plans": PLANS}, indent=2) + "\n")
    for name, value in figures.items():
        print(f"{name:30} {value:.4g}")


def random_case(seed: int, model: LatencyModel) -> tuple[Pipeline, ProfileTable, float]:
    """Return a pipeline of one to four stages whose SLO binds, to be served for the least cores."""
    rng = random.Random(seed)
    stages = rng.choice([1, 2, 2, 3, 4])
    asked, table, load_rps = instance(stages, 3, seed=seed, batches=(1, 2, 4, 8))
    asked = tightened(asked, table, load_rps, slo_share=rng.uniform(0.05, 0.8))
    asked = replace(
        asked,
        slo=replace(asked.slo, latency_model=model),
        objective=Objective(goal=Goal.COST_FIRST),
        adaptation=replace(asked.adaptation, headroom=0.0),
    )
    return asked, table, load_rps


def cheapest_promised(asked: Pipeline, table: ProfileTable, load_rps: float) -> Plan | None:
    """Return the cheapest plan by the pipeline's latency model."""
    return solve_plan(asked, table, load_rps, solver=make_solver("frontier")).plan


def simulated(plan: Plan, asked: Pipeline, table: ProfileTable, seed: int) -> float:
    """Return the attainment of a plan in the simulation."""
    latencies = simulate_plan(plan, asked, table, requests=REQUESTS, seed=seed)
    return attainment(latencies, asked.slo.latency_s)


def cheapest_simulated(
    asked: Pipeline, table: ProfileTable, load_rps: float, promised: Plan, seed: int
) -> float:
    """Return the cores of the cheapest plan that the simulation accepts.

    Choices are simulated from the cheapest on; those whose convolved latency is far beyond the SLO
    are passed over, and none dearer than the promised plan is looked at.
    """
    loose = replace(asked, slo=replace(asked.slo, latency_s=asked.slo.latency_s * 4))
    problem = build_problem(loose, table, load_rps)
    limit = promised.promise.cost_cores
    cheaper = [
        (problem.cost_cores(problem.chosen(c)), c)
        for c in product(*(range(len(s.options)) for s in problem.stages))
    ]
    tries = 0
    for cores, choices in sorted(pair for pair in cheaper if pair[0] < limit - 1e-9):
        chosen = problem.chosen(choices)
        if tail_latency_s(chosen, asked, table, load_rps) > asked.slo.latency_s * _HOPELESS:
            continue
        solution = Solution(status=Status.FEASIBLE, choices=choices)
        tries += 1
        plan = to_plan(solution, problem)
        if simulated(plan, asked, table, seed) >= asked.slo.quantile:
            return cores
        if tries >= _MOST_TRIES:
            break
    return limit
