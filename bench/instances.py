"""Random pipelines of IPA's shape: variants that trade speed for accuracy, batches 1, 2, 4 ... 64.

Nothing of IPA's data: the numbers are drawn so that a heavier variant is slower and more accurate,
with diminishing returns, and a larger batch is slower and carries more requests per second.
"""

from __future__ import annotations

import random
from dataclasses import replace

from optimizer.option_table import columns_of
from optimizer.problem import Problem, build_problem
from penstock.domain import (
    Objective,
    Pipeline,
    Profile,
    ProfilePoint,
    ProfileTable,
    Slo,
    Stage,
    Variant,
)

BATCHES = (1, 2, 4, 8, 16, 32, 64)
_BOUNDLESS_S = 1e9


def instance(
    stages: int,
    variants: int,
    *,
    seed: int,
    batches: tuple[int, ...] = BATCHES,
    objective: Objective | None = None,
) -> tuple[Pipeline, ProfileTable, float]:
    """Return a pipeline, its profiles and a load [req/s]; its SLO keeps everything."""
    rng = random.Random(f"{stages}x{variants}x{len(batches)}/{seed}")
    made, profiles = [], []
    for s in range(stages):
        # The errors of many stages must leave something of a product.
        worst = rng.uniform(0.05, 0.4) * min(1.0, 10 / stages)
        base_s = rng.uniform(0.005, 0.03)
        names = [f"v{v}" for v in range(variants)]
        chosen = []
        for v, name in enumerate(names):
            cores = float(rng.choice([0.5, 1.0, 2.0]))
            size = 1.45 ** (v * 9 / max(1, variants)) * rng.uniform(0.8, 1.25)
            chosen.append(
                Variant(name=name, artifact=f"m/{name}", batch_sizes=batches, cpu_cores=cores)
            )
            points = tuple(_point(b, base_s * size / cores**0.7, cores, rng) for b in batches)
            accuracy = 1 - worst * 0.75 ** (v * 9 / max(1, variants)) * rng.uniform(0.9, 1.1)
            profiles.append(Profile(stage=f"s{s}", variant=name, points=points, accuracy=accuracy))
        made.append(Stage(name=f"s{s}", variants=tuple(chosen), min_replicas=1, max_replicas=64))
    asked = Pipeline(
        name="bench",
        stages=tuple(made),
        slo=Slo(latency_s=_BOUNDLESS_S),
        objective=objective or Objective(),
    )
    return asked, ProfileTable(profiles=tuple(profiles)), rng.uniform(20.0, 100.0)


def _point(batch: int, base_s: float, cores: float, rng: random.Random) -> ProfilePoint:
    fixed = rng.uniform(0.3, 0.6)
    mean_s = base_s * (fixed + (1 - fixed) * batch) * rng.uniform(0.97, 1.03)
    tail = rng.uniform(1.05, 1.3)
    return ProfilePoint(
        batch_size=batch,
        cpu_cores=cores,
        latency_s={0.5: mean_s * 0.98, 0.95: mean_s * (1 + tail) / 2, 0.99: mean_s * tail},
        throughput_rps=batch / mean_s,
    )


def tightened(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    slo_share: float = 0.35,
    core_share: float | None = None,
) -> Pipeline:
    """Return the pipeline with limits that bind.

    ``slo_share`` and ``core_share`` say where between the least that is possible (0) and what the
    choice without limits takes (1) the SLO and ``max_cores`` are put.
    """
    loose = build_problem(pipeline, table, load_rps)
    slo_s = _between(loose, slo_share, of="latency_s")
    limited = replace(pipeline, slo=replace(pipeline.slo, latency_s=slo_s))
    if core_share is None:
        return limited
    return replace(limited, max_cores=_between(loose, core_share, of="cost_cores") * 1.3)


def _between(problem: Problem, share: float, *, of: str) -> float:
    least, free = 0.0, 0.0
    weights = problem.objective
    for stage in problem.stages:
        columns = columns_of(stage.options)
        used = getattr(columns, of)
        worth = (
            weights.accuracy_weight * columns.accuracies - weights.cost_weight * columns.cost_cores
        )
        least += float(used.min())
        free += float(used[worth.argmax()])
    return least + max(share * (free - least), 0.1 * least)
