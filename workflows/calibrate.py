"""A load that this machine finds hard in the right way, and the static plans to compare with.

The lightest and the heaviest pipeline are the same pipeline with one variant left per stage. The
most that the heaviest carries within the budget of cores decides the load: the valleys lie below it
and the peaks above, so that no one plan is right all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from optimizer.plan import solve_plan
from penstock.domain import Pipeline, Plan, Profile, ProfileTable, Variant
from penstock.errors import UserError

if TYPE_CHECKING:
    from optimizer.solvers import Solver

VALLEY = 0.5
"""Load of the valleys, as a share of what the heaviest variants carry."""
PEAK = 1.5
"""Load of the peaks, likewise."""
LIGHT = 0.7
"""No peak is above this share of what the lightest variants carry."""
BEYOND_RPS = 1e5
"""A load that nothing here carries: asked for, the nearest plan shows the most that is carried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Rates of the demo's load, and the plans that never change."""

    valley_rps: float
    peak_rps: float
    lightest: Plan
    heaviest: Plan

    def curve(self, shape: Sequence[float]) -> tuple[float, ...]:
        """Return rates [req/s] for a shape in [0, 1]."""
        span_rps = self.peak_rps - self.valley_rps
        return tuple(self.valley_rps + span_rps * value for value in shape)


def calibrate(
    pipeline: Pipeline, table: ProfileTable, solver: Solver, *, most_rps: float
) -> Calibration:
    """Return the load for this machine: at most ``most_rps``, what its client and gateway stand.

    Raises:
        UserError: the heaviest or the lightest variants carry nothing within the SLO.
    """
    heavy, light = only(pipeline, table, heaviest=True), only(pipeline, table, heaviest=False)
    heaviest = most_carried(without_headroom(heavy), table, solver)
    light_rps = most_carried(without_headroom(light), table, solver).load_rps
    peak_rps = min(PEAK * heaviest.load_rps, LIGHT * light_rps, most_rps)
    outcome = solve_plan(light, table, peak_rps, solver=solver)
    if outcome.plan is None:
        raise UserError(outcome.explanation)
    return Calibration(
        valley_rps=min(VALLEY * heaviest.load_rps, peak_rps),
        peak_rps=peak_rps,
        lightest=outcome.plan,
        heaviest=heaviest,
    )


def only(pipeline: Pipeline, table: ProfileTable, *, heaviest: bool) -> Pipeline:
    """Return the pipeline with one variant per stage: the one whose requests cost the most CPU.

    Or the least, unless ``heaviest``.
    """
    stages = []
    for stage in pipeline.stages:
        by_cost = sorted(stage.variants, key=partial(_core_s, table, stage.name))
        stages.append(replace(stage, variants=(by_cost[-1 if heaviest else 0],)))
    return replace(pipeline, stages=tuple(stages))


def without_headroom(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline as it would be planned for a load that is known to the last request."""
    return replace(pipeline, adaptation=replace(pipeline.adaptation, headroom=0.0))


def most_carried(pipeline: Pipeline, table: ProfileTable, solver: Solver) -> Plan:
    """Return the plan for the highest load that can be served.

    Raises:
        UserError: not even a trickle can.
    """
    outcome = solve_plan(pipeline, table, BEYOND_RPS, solver=solver)
    best = outcome.plan or outcome.nearest
    if best is None or best.load_rps <= 0:
        raise UserError(outcome.explanation)
    return best


def _core_s(table: ProfileTable, stage: str, variant: Variant) -> float:
    profile: Profile | None = table.find(stage, variant.name)
    if profile is None:
        raise UserError(f"{stage}/{variant.name} was never profiled; profile the pipeline")
    return min(point.cpu_cores / point.throughput_rps for point in profile.points)
