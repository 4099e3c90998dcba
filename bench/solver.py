"""Solve times, in process, build and solve apart: median and max over the seeds.

Names in the result: ``solve.<stages>x<variants>x<batches>[.<case>][.<mode>][.<solver>].<figure>``;
without a mode the objective is the product, without a solver it is the frontier. ``binding`` has
the SLO and the cores bind, the others the SLO. Each seed counts with its fastest of ``REPEATS``
solves (the programs and the builds of 100 stages: of one), in seconds of the wall clock and, as
``.cpu_...``, of the process's CPU: on a machine that does other work as well the second is the
steadier (a program's own process is not in it). ``build`` is ``build_problem``, ``solve`` what
follows it. ``.unproven`` counts the seeds without a proof within the time limit.

``gurobi_ipa`` is IPA's formulation in Gurobi, as coded (``bilinear``, at 5 x 5: at 6 x 6 it has
more than the 200 variables that the size-limited licence admits with quadratic terms) and with its
latency over its own AND variables (``linear``, kinder, at 9 x 9 too). Environment: ``BENCH_SEEDS``
(20), ``BENCH_GUROBI`` (a Python that has gurobipy; without it the ratios are left out),
``BENCH_QUICK=1``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from bench.instances import instance, tightened
from optimizer.fleet import Member, plan_fleet
from optimizer.problem import Problem, build_problem
from optimizer.solvers import Status, make_solver
from penstock.domain import AccuracyMode

SEEDS = int(os.environ.get("BENCH_SEEDS", "20"))
QUICK = os.environ.get("BENCH_QUICK") == "1"
MODES = (AccuracyMode.PRODUCT, AccuracyMode.SUM, AccuracyMode.MEAN)
SHAPES = ((9, 9), (10, 10), (20, 10), (100, 20), (100, 50))
MIP_LIMIT_S = 10.0
_FEW_SEEDS = 3

REPEATS = 3
_SHORT = 20
_COMMAND = "python -m bench solver"

Figures = dict[str, float]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long something took, by the wall clock and in CPU time of this process [s]."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came out, and how long it took."""

    status: Status
    timing: Timing
    choices: tuple[int, ...] = ()


def run(target: Path) -> None:
    """Measure everything and write the figures."""
    figures: Figures = {}
    started, load = time.perf_counter(), os.getloadavg()[0]
    for stages, variants in SHAPES[: 2 if QUICK else None]:
        shape_figures(figures, stages, variants)
    binding_figures(figures, 10, 10)
    warm_figures(figures, 10, 10)
    for stages, variants in ((2, 4), (3, 6), (4, 8)):
        joint_figures(figures, stages, variants)
    for stages, variants in ((3, 6), (9, 9), (10, 10)):
        mip_figures(figures, stages, variants)
    for pipelines in (20, 50):
        fleet_figures(figures, pipelines)
    gurobi_figures(figures)
    document = {
        "figures": {name: round(value, 6) for name, value in sorted(figures.items())},
        "unit": "s; ratios and counts without one",
        "n": {"seeds": SEEDS, "repeats": REPEATS, "seeds of MIPs and 50 pipelines": _FEW_SEEDS},
        "command": _COMMAND,
        "machine": (
            f"{platform.machine()}, {os.cpu_count()} cores, load average {load:.1f} before and "
            f"{os.getloadavg()[0]:.1f} after, {time.perf_counter() - started:.0f} s in all"
        ),
        "python": platform.python_version(),
    }
    target.write_text(json.dumps(document, indent=2) + "\n")
    for name, value in document["figures"].items():
        print(f"{name:55} {value:.6g}")


def shape_figures(figures: Figures, stages: int, variants: int) -> None:
    """Time the default objectives with an SLO that binds."""
    name = f"{stages}x{variants}x7"
    built: list[Timing] = []
    solved: dict[AccuracyMode, list[Answer]] = {mode: [] for mode in MODES}
    for seed in range(SEEDS):
        problem, timing = binding_problem(stages, variants, seed=seed)
        built.append(timing)
        for mode in MODES:
            solved[mode].append(timed("frontier", in_mode(problem, mode)))
    summarise(figures, f"build.{name}", built)
    for mode, answers in solved.items():
        add(figures, f"solve.{name}" + suffix(mode), answers)


def binding_figures(figures: Figures, stages: int, variants: int) -> None:
    """Time problems whose SLO and cores bind."""
    problems = [binding_problem(stages, variants, seed=seed, cores=0.5)[0] for seed in range(SEEDS)]
    for mode in MODES:
        answers = [timed("frontier", in_mode(problem, mode)) for problem in problems]
        add(figures, f"solve.{stages}x{variants}x7.binding" + suffix(mode), answers)


def warm_figures(figures: Figures, stages: int, variants: int) -> None:
    """Time the same problems from nothing, from their best choice, and from the next best."""
    starts: dict[str, list[Answer]] = {"cold": [], "warm": [], "near": []}
    for seed in range(SEEDS):
        problem, _ = binding_problem(stages, variants, seed=seed, cores=0.5)
        cold = timed("frontier", problem)
        first, *rest = problem.stages
        kept = [i for i in range(len(first.options)) if i != cold.choices[0]]
        other = replace(first, options=tuple(first.options[i] for i in kept))
        near = timed("frontier", replace(problem, stages=(other, *rest)))
        hint = (kept[near.choices[0]], *near.choices[1:]) if near.choices else ()
        starts["cold"].append(cold)
        starts["warm"].append(timed("frontier", replace(problem, incumbent=cold.choices)))
        starts["near"].append(timed("frontier", replace(problem, incumbent=hint)))
    for start, answers in starts.items():
        add(figures, f"solve.{stages}x{variants}x7.binding.from_{start}", answers)


def joint_figures(figures: Figures, stages: int, variants: int) -> None:
    """Time problems with a table of accuracies, SLO and cores binding, as the programs do them."""
    problems = [
        with_table(binding_problem(stages, variants, seed=s, cores=0.5)[0], seed=s)
        for s in range(SEEDS)
    ]
    for solver in ("frontier", "glpk", "highs"):
        few = problems if solver == "frontier" else problems[:_FEW_SEEDS]
        answers = [timed(solver, p, limit_s=MIP_LIMIT_S) for p in few]
        case = f"solve.{stages}x{variants}x7.binding.joint.{solver}"
        add(figures, case, answers)


def mip_figures(figures: Figures, stages: int, variants: int) -> None:
    """Time the programs on few seeds: they take up to the limit each."""
    for mode in (AccuracyMode.PRODUCT, AccuracyMode.SUM):
        problems = [
            in_mode(binding_problem(stages, variants, seed=s, cores=0.5)[0], mode)
            for s in range(_FEW_SEEDS)
        ]
        for solver in ("glpk", "highs"):
            answers = [timed(solver, p, limit_s=MIP_LIMIT_S) for p in problems]
            case = f"solve.{stages}x{variants}x7.binding.{mode}.{solver}"
            add(figures, case, answers)


def fleet_figures(figures: Figures, pipelines: int) -> None:
    """Time many pipelines of 3 stages x 5 variants under one budget that binds."""
    answers = []
    for seed in range(SEEDS if pipelines <= 20 else _FEW_SEEDS):
        members = [
            Member(problem=binding_problem(3, 5, seed=100 * seed + i)[0], priority=1.0 + i % 3)
            for i in range(pipelines)
        ]
        budget = 0.9 * plan_fleet(members, 1e6, time_limit_s=60).cost
        outcome, timing = fastest(partial(plan_fleet, members, budget, time_limit_s=60))
        answers.append(Answer(status=outcome.status, timing=timing))
    add(figures, f"solve.budget.{pipelines}x3x5", answers)


def gurobi_figures(figures: Figures) -> None:
    """Compare with IPA's formulation in Gurobi, run by another Python in the same run."""
    python = os.environ.get("BENCH_GUROBI")
    if not python:
        print("BENCH_GUROBI is not set: no comparison with Gurobi", file=sys.stderr)
        return
    seeds = min(SEEDS, 5)
    for size in (5, 9):
        cases = [ipa_case(size, seed) for seed in range(seeds)]
        ours = [timed("frontier", problem).timing.wall_s for problem, _ in cases]
        answer = subprocess.run(
            [python, str(Path(__file__).with_name("gurobi_ipa.py"))],
            input=json.dumps([document for _, document in cases]),
            capture_output=True,
            text=True,
            check=True,
            timeout=900,
        )
        for form, seconds in json.loads(answer.stdout).items():
            if not seconds:
                continue
            name = f"solve.{size}x{size}.gurobi_ipa.{form}"
            summarise(figures, name, [Timing(wall_s=s, cpu_s=math.nan) for s in seconds])
            ratio = statistics.median(seconds) / statistics.median(ours)
            figures[f"solve.{size}x{size}.ratio_to_gurobi_ipa.{form}"] = ratio
        kinder = figures.get(f"solve.{size}x{size}.ratio_to_gurobi_ipa.linear")
        if kinder is not None:
            figures[f"solve.{size}x{size}.ratio_to_gurobi_ipa"] = kinder


def ipa_case(size: int, seed: int) -> tuple[Problem, dict[str, Any]]:
    """Return one instance as our problem and as the numbers IPA's model reads.

    Sum of accuracies and four batch sizes: what IPA's scalability run had.
    """
    batches = (1, 2, 4, 8)
    pipeline, table, load_rps = instance(size, size, seed=seed, batches=batches)
    pipeline = tightened(pipeline, table, load_rps)
    problem = in_mode(build_problem(pipeline, table, load_rps, headroom=0.0), AccuracyMode.SUM)
    stages = [
        [
            {
                "cores": v.cpu_cores,
                "accuracy": table.find(s.name, v.name).accuracy,
                "latency_s": [p.latency_at(0.99) for p in table.find(s.name, v.name).points],
                "throughput_rps": [p.throughput_rps for p in table.find(s.name, v.name).points],
            }
            for v in s.variants
        ]
        for s in pipeline.stages
    ]
    weights = pipeline.objective
    return problem, {
        "stages": stages,
        "batches": batches,
        "load_rps": load_rps,
        "slo_s": pipeline.slo.latency_s,
        "weights": [weights.accuracy_weight, weights.cost_weight, weights.batch_weight],
        "time_limit_s": 20,
    }


def binding_problem(
    stages: int, variants: int, *, seed: int, cores: float | None = None
) -> tuple[Problem, Timing]:
    """Return a problem whose SLO binds, and the cores too if asked, and the time to build it."""
    pipeline, table, load_rps = instance(stages, variants, seed=seed)
    pipeline = tightened(pipeline, table, load_rps, core_share=cores)
    repeats = REPEATS if stages <= _SHORT else 1
    return fastest(partial(build_problem, pipeline, table, load_rps), repeats=repeats)


def in_mode(problem: Problem, mode: AccuracyMode) -> Problem:
    """Return the problem with another accuracy."""
    return replace(problem, objective=replace(problem.objective, mode=mode))


def with_table(problem: Problem, *, seed: int) -> Problem:
    """Return the problem in joint mode: the product, and up to 15 % worse or 5 % better."""
    rng = random.Random(seed)
    accuracies = [{o.variant: o.accuracy for o in stage.options} for stage in problem.stages]
    table = {
        names: min(
            1.0, math.prod(map(dict.__getitem__, accuracies, names)) * rng.uniform(0.85, 1.05)
        )
        for names in product(*accuracies)
    }
    return replace(in_mode(problem, AccuracyMode.JOINT), joint_accuracy=table)


def fastest(call: Callable[[], Result], *, repeats: int = REPEATS) -> tuple[Result, Timing]:
    """Return what a call returns and its shortest times over some repeats."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        result = call()
        walls.append(time.perf_counter() - wall_s)
        cpus.append(time.process_time() - cpu_s)
    return result, Timing(wall_s=min(walls), cpu_s=min(cpus))


def timed(solver: str, problem: Problem, *, limit_s: float = 60.0) -> Answer:
    """Return a solver's answer; a program's is asked for once, in a process of its own."""
    back_end = make_solver(solver)
    repeats = REPEATS if solver == "frontier" else 1
    solution, timing = fastest(
        partial(back_end.solve, problem, time_limit_s=limit_s), repeats=repeats
    )
    return Answer(status=solution.status, timing=timing, choices=solution.choices)


def suffix(mode: AccuracyMode) -> str:
    """Return what a mode adds to a name."""
    return "" if mode is AccuracyMode.PRODUCT else f".{mode}"


def add(figures: Figures, name: str, answers: Sequence[Answer]) -> None:
    """Add the times, and how many answers come without a proof."""
    summarise(figures, name, [a.timing for a in answers])
    proven = (Status.OPTIMAL, Status.INFEASIBLE)
    figures[f"{name}.unproven"] = float(sum(a.status not in proven for a in answers))


def summarise(figures: Figures, name: str, timings: Sequence[Timing]) -> None:
    """Add the median, the 95th percentile and the maximum; of CPU time where it is known."""
    for prefix, seconds in (
        ("", sorted(t.wall_s for t in timings)),
        ("cpu_", sorted(t.cpu_s for t in timings if not math.isnan(t.cpu_s))),
    ):
        if seconds:
            figures[f"{name}.{prefix}median_s"] = statistics.median(seconds)
            figures[f"{name}.{prefix}p95_s"] = seconds[max(0, -(-95 * len(seconds) // 100) - 1)]
            figures[f"{name}.{prefix}max_s"] = seconds[-1]
