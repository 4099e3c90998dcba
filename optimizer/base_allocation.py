"""IPA's base allocation as a policy: fix each variant's cores before anything is planned.

A variant gets the fewest profiled cores at which some batch size carries ``threshold_rps`` within
the stage's own SLO (IPA, equation 1), and no fewer than a less accurate variant of its stage. The
default, without this policy, is free choice: cores are part of every option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.accuracy import stage_accuracies
from optimizer.latency import find_point
from penstock.errors import ProfileError

if TYPE_CHECKING:
    from penstock.domain import Pipeline, ProfilePoint, ProfileTable, Stage, Variant


def with_base_allocation(
    pipeline: Pipeline,
    table: ProfileTable,
    *,
    threshold_rps: float,
    stage_slo_s: Mapping[str, float],
    quantile: float | None = None,
) -> Pipeline:
    """Return the pipeline with one number of cores per variant, chosen by IPA's rule.

    ``stage_slo_s`` holds the SLO [s] of each stage; ``quantile`` is that of the latency held
    against it, by default the pipeline's.

    Raises:
        ProfileError: no profiled number of cores suffices for a variant; all of them are listed.
    """
    at = pipeline.slo.quantile if quantile is None else quantile
    faults: list[str] = []
    stages = []
    for stage in pipeline.stages:
        need = _Need(threshold_rps, stage_slo_s[stage.name], at)
        chosen = _allocated(stage, table, need, faults)
        stages.append(replace(stage, variants=tuple(chosen.get(v.name, v) for v in stage.variants)))
    if faults:
        raise ProfileError("\n".join(["no base allocation", *map("  {}".format, faults)]))
    return replace(pipeline, stages=tuple(stages))


@dataclass(frozen=True, slots=True)
class _Need:
    threshold_rps: float
    slo_s: float
    quantile: float

    def is_met(self, point: ProfilePoint) -> bool:
        return (
            point.throughput_rps >= self.threshold_rps
            and point.latency_at(self.quantile) <= self.slo_s
        )


def _allocated(
    stage: Stage, table: ProfileTable, need: _Need, faults: list[str]
) -> dict[str, Variant]:
    """Return the stage's variants with their cores; those without any are added to the faults."""
    least = 0.0
    chosen: dict[str, Variant] = {}
    for variant in _by_accuracy(stage, table):
        enough = [
            cores
            for cores in variant.cpu_allocations
            if cores >= least and any(map(need.is_met, _points(stage, variant, table, cores)))
        ]
        if enough:
            least = enough[0]
            chosen[variant.name] = replace(variant, cpu_cores=least, cpu_choices=())
        else:
            faults.append(
                f"{stage.name}/{variant.name}: no profiled cores carry {need.threshold_rps:g} "
                f"req/s within {need.slo_s:g} s; lower the threshold or raise the SLO"
            )
    return chosen


def _by_accuracy(stage: Stage, table: ProfileTable) -> list[Variant]:
    accuracies = stage_accuracies(stage, table)
    return sorted(stage.variants, key=lambda v: accuracies.get(v.name, 0.0))


def _points(
    stage: Stage, variant: Variant, table: ProfileTable, cores: float
) -> list[ProfilePoint]:
    profile = table.find(stage.name, variant.name)
    if profile is None:
        return []
    points = (find_point(profile, batch_size=b, cpu_cores=cores) for b in variant.batch_sizes)
    return [p for p in points if p is not None]
