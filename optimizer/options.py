"""The options of one stage: what can be chosen for it at a known load, and what cannot, and why.

The load is known, so the replicas that a variant needs at a batch size are a *constant* of the
option. (Left to a solver as an integer, they take GLPK minutes instead of a fraction of a second.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optimizer.latency import (
    find_point,
    max_wait_s,
    replicas_needed,
    stage_capacity_rps,
    stage_latency_s,
    utilisation,
)
from penstock.domain import AccuracyMode, Option

if TYPE_CHECKING:
    from penstock.domain import (
        Objective,
        Pipeline,
        ProfilePoint,
        ProfileTable,
        Stage,
        Variant,
    )

TOLERANCE = 1e-6
"""A limit is kept when it is missed by no more than this share of it: a MIP solver's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A variant at a batch size that cannot be chosen, and why.

    ``replicas`` is how many the load needs.
    """

    variant: str
    batch_size: int
    replicas: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """The options of one stage, and why others are not among them; there may be none."""

    stage: str
    options: tuple[Option, ...]
    dropped: tuple[Dropped, ...] = ()

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that have an option, in the order of the options."""
        return tuple(dict.fromkeys(o.variant for o in self.options))


def exceeds(value: float, limit: float) -> bool:
    """Whether a value is above its limit by more than rounding and a solver's tolerance."""
    return value > limit * (1 + TOLERANCE)


@dataclass(frozen=True, slots=True)
class Need:
    """What every stage has to keep up with."""

    load_rps: float
    headroom: float
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A variant at a batch size, as measured."""

    stage: Stage
    variant: Variant
    point: ProfilePoint
    accuracy: float


def stage_options(stage: Stage, table: ProfileTable, need: Need) -> StageOptions:
    """Return what can be chosen for a stage whose variants are all profiled."""
    options: list[Option] = []
    dropped: list[Dropped] = []
    for candidate in _candidates(stage, table):
        fewest = _fewest_replicas(candidate, need)
        made = [
            _option(candidate, replicas, latency_s)
            for replicas, latency_s in _faster_and_faster(candidate, fewest, need)
        ]
        within = [o for o in made if not exceeds(o.latency_s, need.pipeline.slo.latency_s)]
        options += within
        if not within:
            dropped.append(_dropped(candidate, fewest, made, need))
    kept = _undominated(options, need.pipeline.objective)
    return StageOptions(stage=stage.name, options=kept, dropped=tuple(dropped))


def _candidates(stage: Stage, table: ProfileTable) -> Iterator[_Candidate]:
    for variant in stage.variants:
        profile = table.find(stage.name, variant.name)
        assert profile is not None, "require_profiles has been called"
        accuracy = profile.accuracy if variant.accuracy is None else variant.accuracy
        for batch_size in variant.batch_sizes:
            point = find_point(profile, batch_size=batch_size, cpu_cores=variant.cpu_cores)
            assert point is not None, "require_profiles has been called"
            yield _Candidate(stage, variant, point, accuracy)


def _option(candidate: _Candidate, replicas: int, latency_s: float) -> Option:
    return Option(
        stage=candidate.stage.name,
        variant=candidate.variant.name,
        batch_size=candidate.point.batch_size,
        cpu_cores=candidate.variant.cpu_cores,
        replicas=replicas,
        latency_s=latency_s,
        capacity_rps=stage_capacity_rps(
            candidate.point, replicas=replicas, visit_ratio=candidate.stage.visit_ratio
        ),
        accuracy=candidate.accuracy,
        max_wait_s=max_wait_s(candidate.point),
    )


def _dropped(candidate: _Candidate, fewest: int, made: Sequence[Option], need: Need) -> Dropped:
    if made:
        fastest = made[-1]
        reason = (
            f"takes {fastest.latency_s:.3g} s alone with {fastest.replicas} replicas, "
            f"the SLO is {need.pipeline.slo.latency_s:g} s"
        )
    else:
        reason = (
            f"needs {fewest} replicas for {need.load_rps:g} req/s, "
            f"max_replicas is {candidate.stage.max_replicas}"
        )
    return Dropped(
        variant=candidate.variant.name,
        batch_size=candidate.point.batch_size,
        replicas=fewest,
        reason=reason,
    )


def _fewest_replicas(candidate: _Candidate, need: Need) -> int:
    needed = replicas_needed(
        candidate.point,
        load_rps=need.load_rps,
        visit_ratio=candidate.stage.visit_ratio,
        headroom=need.headroom,
    )
    return max(candidate.stage.min_replicas, needed)


def _faster_and_faster(
    candidate: _Candidate, fewest: int, need: Need
) -> Iterator[tuple[int, float]]:
    """Yield replicas and latency [s]: the fewest, then each number that beats all before."""
    best_s = math.inf
    stage, point, quantile = candidate.stage, candidate.point, need.pipeline.slo.quantile
    for replicas in range(fewest, stage.max_replicas + 1):
        latency_s = stage_latency_s(
            point,
            load_rps=need.load_rps,
            visit_ratio=stage.visit_ratio,
            replicas=replicas,
            quantile=quantile,
        )
        if latency_s < best_s:
            best_s = latency_s
            yield replicas, latency_s
        rate_rps = need.load_rps * stage.visit_ratio / max(1, replicas)
        if utilisation(point, rate_rps=rate_rps) <= 1 - quantile:
            # Nothing queues at the quantile: one more replica only makes batches fill more slowly.
            return


def _undominated(options: Sequence[Option], objective: Objective) -> tuple[Option, ...]:
    """Leave out each option that another one beats in latency, cores, batch and accuracy.

    What is left out could be replaced in any choice by what beats it, with every constraint kept
    and the objective no lower. In joint mode the pipeline's accuracy depends on the variant's name,
    so only its own options can replace one.
    """
    joint = objective.mode is AccuracyMode.JOINT

    def kind(option: Option) -> tuple[int, float | str]:
        return (option.batch_size, option.variant if joint else option.accuracy)

    def is_as_good(one: tuple[int, Any], other: tuple[int, Any]) -> bool:
        return one[0] <= other[0] and (one[1] == other[1] if joint else one[1] >= other[1])

    kinds = {kind(option) for option in options}
    as_good = {other: [one for one in kinds if is_as_good(one, other)] for other in kinds}
    cheapest = dict.fromkeys(kinds, math.inf)
    kept: set[int] = set()
    # From the fastest on, so that whatever has been kept is at least as fast.
    for i, option in sorted(enumerate(options), key=lambda pair: _by_merit(pair[1])):
        if all(cheapest[one] > option.cost_cores for one in as_good[kind(option)]):
            cheapest[kind(option)] = option.cost_cores
            kept.add(i)
    return tuple(option for i, option in enumerate(options) if i in kept)


def _by_merit(option: Option) -> tuple[float, float, int, float]:
    return (option.latency_s, option.cost_cores, option.batch_size, -option.accuracy)
