"""What a profiling run is given: how to measure, and the held-out requests to measure with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from penstock.cores import count_cores
from penstock.domain import Pipeline, Variant
from penstock.errors import ProfileError
from profiles.accuracy import Task
from profiles.measure import MeasurePlan
from profiles.subject import SubjectSettings, last_core, last_cores

ACCURACY_BATCH = 8
"""Requests in flight while accuracy is measured; keeps the model busy and the queue short."""


OVERHEAD_S = 4.0
"""What a variant costs beside measuring: start, changes of the batch limit, warming up, stop."""

LEAST_MEASURING_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilerSettings:
    """How to profile.

    ``server_command`` starts the predictor (see ``SubjectSettings.command``). ``measured_at`` is
    the date that is noted. ``budget_s`` bounds a whole pipeline's profiling, about: every batch
    size gets ``plan.min_samples`` even if that takes longer. At most ``max_points`` batch sizes of
    a variant are measured, the others are fitted. In a pod the kernel keeps the CPU share: then
    ``pace`` is off and the predictor does not do it as well. ``cpu_affinity`` is where a replica of
    at most one core is pinned to; empty for nowhere. ``neighbours`` keeps the other cores
    busy meanwhile (see ``profiles.neighbours``); in a pod it has no other cores to keep busy.
    """

    server_command: tuple[str, ...]
    measured_at: str
    plan: MeasurePlan = field(default_factory=MeasurePlan)
    budget_s: float = 75.0
    max_points: int = 6
    cpu_affinity: str = field(default_factory=last_core)
    pace: bool = True
    neighbours: bool = True
    ready_timeout_s: float = 60.0

    def paced(self, cpu_cores: float) -> SubjectSettings:
        """Return how a predictor is started to be timed."""
        return SubjectSettings(
            command=self.server_command,
            cpu_cores=cpu_cores if self.pace else 0.0,
            cpu_affinity=self.affinity(cpu_cores),
            ready_timeout_s=self.ready_timeout_s,
        )

    def affinity(self, cpu_cores: float) -> str:
        """Return where a replica with so many cores is pinned to: as many cores as it can use."""
        if cpu_cores <= 1 or not self.cpu_affinity:
            return self.cpu_affinity
        return last_cores(math.ceil(cpu_cores))

    def free(self) -> SubjectSettings:
        """Return how a predictor is started to be only scored: with all the CPU there is.

        Whatever waits when the model is free is taken at once, so no batch waits to fill up.
        """
        return SubjectSettings(
            command=self.server_command,
            max_batch_size=ACCURACY_BATCH,
            max_wait_s=0.0,
            ready_timeout_s=self.ready_timeout_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """Held-out requests: each stage's own, and the pipeline's at its entry."""

    stages: Mapping[str, Task]
    pipeline: Task


def require_complete(
    pipeline: Pipeline,
    models: Mapping[tuple[str, str], Path],
    tasks: Tasks,
    *,
    stages: Sequence[str],
) -> None:
    """Refuse to begin what could not be finished.

    Raises:
        ProfileError: a model's folder, the pipeline's requests or those of one of ``stages`` are
            missing, or cores to measure those stages on; all that is missing is named.
    """
    faults = [
        f"stage {name!r} has no held-out requests"
        for name in stages
        if name not in tasks.stages or not tasks.stages[name].requests
    ]
    if not tasks.pipeline.requests:
        faults.append("the pipeline has no held-out requests")
    for stage in pipeline.stages:
        for variant in stage.variants:
            if stages:
                faults += too_large(stage.name, variant)
            folder = models.get((stage.name, variant.name))
            if folder is None or not folder.is_dir():
                faults.append(f"{stage.name}/{variant.name} has no model folder, got {folder}")
    if faults:
        raise ProfileError(f"can't profile {pipeline.name!r}: {'; '.join(faults)}")


def too_large(stage: str, variant: Variant) -> tuple[str, ...]:
    """Return what keeps this machine from measuring a variant on all of its CPU allocations."""
    most, there = max(variant.cpu_allocations), count_cores()
    if most <= there:
        return ()
    return (
        f"{stage}/{variant.name} is given up to {most:g} cores, and this machine has {there}: "
        "measure it on a larger one",
    )


def spread(batch_sizes: Sequence[int], most: int) -> tuple[int, ...]:
    """Return at most that many of the batch sizes, evenly spread, smallest and largest included."""
    if len(batch_sizes) <= max(2, most):
        return tuple(batch_sizes)
    last, steps = len(batch_sizes) - 1, max(2, most) - 1
    return tuple(batch_sizes[round(i * last / steps)] for i in range(steps + 1))


def within(settings: ProfilerSettings, share_s: float) -> ProfilerSettings:
    """Return settings that measure a variant in its share [s] of the whole time, about."""
    measuring_s = max(LEAST_MEASURING_S, share_s - OVERHEAD_S)
    budget_s = min(settings.plan.budget_s, measuring_s)
    return replace(settings, plan=replace(settings.plan, budget_s=budget_s))
