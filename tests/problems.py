"""Makers of problems for solvers: by hand for a case, at random for a property."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from hypothesis import strategies as st

from optimizer.accuracy import normalised_ranks
from optimizer.options import StageOptions
from optimizer.problem import Problem
from optimizer.switching import StageSwitch
from penstock.domain import AccuracyMode, Goal, Objective, Slo
from tests import builders


def options(stage: str, *rows: Mapping[str, Any]) -> StageOptions:
    """A stage's options; each row overrides the fields of ``builders.option``."""
    return StageOptions(
        stage=stage, options=tuple(builders.option(stage, **dict(row)) for row in rows)
    )


def problem(*stages: StageOptions, **fields: Any) -> Problem:
    """A sequence of stages under an SLO of 1 s, accuracy only."""
    known = {
        "pipeline": "digits",
        "load_rps": 10.0,
        "stages": stages,
        "paths": (tuple(range(len(stages))),),
        "slo": Slo(latency_s=1.0),
        "objective": Objective(accuracy_weight=1.0, cost_weight=0.0, batch_weight=0.0),
    }
    return Problem(**{**known, **fields})


def hard_problem(*, stages: int = 50, options_each: int = 4, seed: int = 0) -> Problem:
    """A subset sum: every choice takes an even number of cores, the limit is odd.

    Branching alone cannot close the last gap without going through an exponential number of nodes.
    """
    rng = random.Random(seed)
    made = []
    for s in range(stages):
        cores = [0] + [2 * rng.randint(10, 100) for _ in range(options_each - 1)]
        rows = [
            {"variant": f"v{i}", "cpu_cores": 1.0, "replicas": n, "accuracy": n / 200}
            for i, n in enumerate(cores)
        ]
        made.append(options(f"s{s}", *rows))
    half = sum(max(o.replicas for o in stage.options) for stage in made) // 2
    return problem(
        *made,
        slo=Slo(latency_s=1.0 * stages),
        max_cores=float(half // 2 * 2 + 1),
        objective=Objective(
            mode=AccuracyMode.SUM, accuracy_weight=1.0, cost_weight=0.0, batch_weight=0.0
        ),
    )


# On a grid, so that no sum of latencies misses a limit by less than the solvers' tolerance.
_MILLI = st.integers(1, 400).map(lambda n: n / 1000)


def _rows(names: Sequence[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    row = st.fixed_dictionaries(
        {
            "variant": st.sampled_from(names),
            "latency_s": _MILLI,
            "replicas": st.integers(0, 4),
            "cpu_cores": st.sampled_from([0.25, 0.5, 1.0, 2.0]),
            "batch_size": st.sampled_from([1, 2, 4, 8]),
            "cost_per_hour": st.integers(0, 30).map(lambda n: n / 20),
        }
    )
    return st.lists(row, min_size=1, max_size=4)


@st.composite
def problems(draw: st.DrawFn, *, max_stages: int = 5, ordered: bool = False) -> Problem:
    """Small problems of every accuracy mode.

    All stages choose among the same three variant names, so that names are shared; accuracies come
    from a short list, so that there are ties.
    """
    names = ("a", "b", "c")
    mode = draw(st.sampled_from(AccuracyMode))
    stages = []
    for s in range(draw(st.integers(1, max_stages))):
        accuracy = {n: draw(st.sampled_from([0.0, 0.3, 0.5, 0.75, 0.9, 1.0])) for n in names}
        rows = [{**row, "accuracy": accuracy[row["variant"]]} for row in draw(_rows(names))]
        ranks = normalised_ranks(accuracy) if mode is AccuracyMode.RANKS else {}
        stages.append(replace(options(f"s{s}", *rows), ranks=ranks))
    seed = draw(st.integers(0, 99))
    joint = {
        combination: round(random.Random(f"{seed}{combination}").random(), 3)
        for combination in product(names, repeat=len(stages))
    }
    return problem(
        *stages,
        slo=Slo(latency_s=draw(st.integers(1, 1500)) / 1000),
        max_cores=draw(st.none() | st.integers(1, 24).map(float)),
        objective=Objective(
            mode=mode,
            accuracy_weight=draw(st.sampled_from([0.0, 1.0, 10.0])),
            cost_weight=draw(st.sampled_from([0.0, 0.125, 0.5])),
            batch_weight=draw(st.sampled_from([0.0, 1e-6, 0.01])),
            goal=draw(st.sampled_from(Goal)) if ordered else Goal.WEIGHTED,
            accuracy_floor=draw(st.none() | st.sampled_from([0.0, 0.11, 0.33, 0.62, 1.03])),
        ),
        is_priced=draw(st.booleans()),
        max_cost_per_hour=draw(st.none() | st.integers(1, 40).map(lambda n: n / 10)),
        joint_accuracy=joint if mode is AccuracyMode.JOINT else {},
    )


@st.composite
def moves(draw: st.DrawFn, *, max_stages: int = 4, ordered: bool = False) -> Problem:
    """Problems where something runs: one of the options, or what is no option any more."""
    asked = draw(problems(max_stages=max_stages, ordered=ordered))
    running = [
        replace(
            draw(st.sampled_from(stage.options)),
            variant=draw(st.sampled_from("abcd")),
            replicas=draw(st.integers(0, 4)),
        )
        if draw(st.booleans())
        else draw(st.sampled_from(stage.options))
        for stage in asked.stages
    ]
    start_s = {name: draw(st.sampled_from([0.0, 5.0, 20.0])) for name in "abc"}
    factor = draw(st.sampled_from([0.0, 1 / 600, 1 / 60, 1.0]))
    switches = tuple(
        StageSwitch(
            running=option,
            running_cost=option.cost_per_hour if asked.is_priced else option.cost_cores,
            start_s=start_s,
            overlap_s=draw(st.sampled_from([0.0, 30.0])),
            factor=factor,
            is_priced=asked.is_priced,
        )
        for option in running
    )
    hint = tuple(draw(st.integers(0, len(stage.options))) for stage in asked.stages)
    return replace(
        asked,
        switches=switches,
        max_switches=draw(st.none() | st.integers(0, len(asked.stages))),
        incumbent=draw(st.sampled_from([(), hint])),
    )
