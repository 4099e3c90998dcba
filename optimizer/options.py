"""The options of one stage: what can be chosen for it at a known load, and what cannot, and why.

The load is known, so the replicas that a variant needs at a batch size are a *constant* of the
option. (Left to a solver as an integer, they take GLPK minutes instead of a fraction of a second.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from optimizer.accuracy import normalised_ranks, stage_accuracies
from optimizer.composition import voted_stages
from optimizer.dominance import frontier
from optimizer.latency import find_point, max_wait_s, replicas_needed, stage_capacity_rps
from optimizer.latency_grid import latency_grid_s, worth_having
from optimizer.option_table import Columns, OptionTable, columns_of
from penstock.domain import AccuracyMode, Option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optimizer.switching import StageSwitch
    from penstock.domain import Pipeline, ProfilePoint, ProfileTable, Stage, Variant

    Floats = NDArray[np.float64]

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
    """The options of one stage, and why others are not among them; there may be none.

    ``ranks`` holds the normalised rank of each variant, in ranks mode only.
    """

    stage: str
    options: Sequence[Option]
    dropped: tuple[Dropped, ...] = ()
    ranks: Mapping[str, float] = field(default_factory=dict)

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that have an option, in the order of the options."""
        return tuple(dict.fromkeys(o.variant for o in self.options))

    def scores(self) -> Floats:
        """Return ``score`` of every option."""
        if self.ranks:
            return np.array([self.score(o) for o in self.options])
        return columns_of(self.options).accuracies

    def score(self, option: Option) -> float:
        """Return what the option counts for in the accuracy: its accuracy or its rank."""
        return self.ranks.get(option.variant, option.accuracy)


def exceeds(value: float, limit: float) -> bool:
    """Whether a value is above its limit by more than rounding and a solver's tolerance."""
    return value > limit * (1 + TOLERANCE)


def falls_short(value: float, floor: float) -> bool:
    """Whether a value is below its floor by more than rounding and a solver's tolerance."""
    return value < floor * (1 - TOLERANCE)


@dataclass(frozen=True, slots=True)
class Need:
    """What every stage has to keep up with; ``switch`` is what one of them runs already."""

    load_rps: float
    headroom: float
    pipeline: Pipeline
    switch: StageSwitch | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A variant at a batch size on so many cores, as measured; ``fewest`` replicas carry the load.

    ``score`` is what it counts for in the accuracy, ``replica_hour`` what a replica costs.
    """

    variant: Variant
    point: ProfilePoint
    accuracy: float
    score: float
    fewest: int
    cpu_cores: float
    replica_hour: float


@dataclass(frozen=True, slots=True)
class _Grid:
    """The candidates of a stage with every number of replicas.

    latency_s: (candidates, max_replicas) at 1, 2, ... replicas
    is_made: (candidates, max_replicas) enough, and faster than all fewer
    """

    candidates: tuple[_Candidate, ...]
    first: int
    latency_s: Floats
    is_made: NDArray[np.bool_]


def stage_options(stage: Stage, table: ProfileTable, need: Need) -> StageOptions:
    """Return what can be chosen for a stage whose variants are all profiled."""
    stage = need.pipeline.visited(stage)
    grid = _grid(stage, _candidates(stage, table, need), need)
    slo_s = need.pipeline.slo.latency_s
    is_within = grid.is_made & (grid.latency_s <= slo_s * (1 + TOLERANCE))
    rows, columns = np.nonzero(is_within)
    merits = _merits(grid, rows, columns, need)
    kept = _undominated(grid, rows, merits, by_name=_counts_by_name(stage, need.pipeline))
    dropped = [_dropped(stage, grid, int(i), need) for i in np.flatnonzero(~is_within.any(axis=1))]
    return StageOptions(
        stage=stage.name,
        options=_options(stage, grid, rows[kept], columns[kept]),
        dropped=tuple(dropped),
        ranks=_ranks(stage, table, need.pipeline),
    )


def _counts_by_name(stage: Stage, pipeline: Pipeline) -> bool:
    """Whether the accuracy depends on which variant the stage runs and not on a score alone."""
    return pipeline.objective.mode is AccuracyMode.JOINT or stage.name in voted_stages(
        pipeline.graph
    )


def _ranks(stage: Stage, table: ProfileTable, pipeline: Pipeline) -> dict[str, float]:
    if pipeline.objective.mode is not AccuracyMode.RANKS:
        return {}
    return normalised_ranks(stage_accuracies(stage, table))


def _candidates(stage: Stage, table: ProfileTable, need: Need) -> tuple[_Candidate, ...]:
    made = []
    accuracies, ranks = stage_accuracies(stage, table), _ranks(stage, table, need.pipeline)
    prices = need.pipeline.prices
    for variant in stage.variants:
        profile = table.find(stage.name, variant.name)
        assert profile is not None, "require_profiles has been called"
        accuracy = accuracies[variant.name]
        for batch_size, cores in product(variant.batch_sizes, variant.cpu_allocations):
            point = find_point(profile, batch_size=batch_size, cpu_cores=cores)
            assert point is not None, "require_profiles has been called"
            needed = replicas_needed(
                point,
                load_rps=need.load_rps,
                visit_ratio=stage.visit_ratio,
                headroom=need.headroom,
            )
            made.append(
                _Candidate(
                    variant=variant,
                    point=point,
                    accuracy=accuracy,
                    score=ranks.get(variant.name, accuracy),
                    fewest=max(stage.min_replicas, needed),
                    cpu_cores=cores,
                    replica_hour=(
                        0.0 if prices is None else prices.replica_hour(variant, cpu_cores=cores)
                    ),
                )
            )
    return tuple(made)


def _grid(stage: Stage, candidates: tuple[_Candidate, ...], need: Need) -> _Grid:
    first = min(stage.max_replicas, *(c.fewest for c in candidates))
    replicas = np.arange(first, stage.max_replicas + 1)
    points = [c.point for c in candidates]
    load_rps = need.load_rps * stage.visit_ratio
    quantile = need.pipeline.slo.quantile
    latency_s = latency_grid_s(points, replicas=replicas, load_rps=load_rps, quantile=quantile)
    is_enough = replicas[None, :] >= np.array([c.fewest for c in candidates])[:, None]
    latency_s = np.where(is_enough, latency_s, np.inf)
    is_made = worth_having(
        latency_s, points=points, replicas=replicas, load_rps=load_rps, quantile=quantile
    )
    return _Grid(candidates, first, latency_s, is_made & is_enough)


def _options(
    stage: Stage, grid: _Grid, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> OptionTable:
    of, replicas = grid.candidates, grid.first + columns
    return OptionTable(
        Columns(
            latency_s=grid.latency_s[rows, columns],
            cost_cores=np.array([c.cpu_cores for c in of])[rows] * replicas,
            cost_per_hour=np.array([c.replica_hour for c in of])[rows] * replicas,
            batch_sizes=np.array([float(c.point.batch_size) for c in of])[rows],
            accuracies=np.array([c.accuracy for c in of])[rows],
        ),
        lambda i: _option(stage, grid, int(rows[i]), int(columns[i])),
    )


def _option(stage: Stage, grid: _Grid, row: int, column: int) -> Option:
    candidate, replicas = grid.candidates[row], grid.first + column
    return Option(
        stage=stage.name,
        variant=candidate.variant.name,
        batch_size=candidate.point.batch_size,
        cpu_cores=candidate.cpu_cores,
        replicas=replicas,
        latency_s=float(grid.latency_s[row, column]),
        capacity_rps=stage_capacity_rps(
            candidate.point, replicas=replicas, visit_ratio=stage.visit_ratio
        ),
        accuracy=candidate.accuracy,
        max_wait_s=max_wait_s(candidate.point),
        cost_per_hour=candidate.replica_hour * replicas,
    )


def _dropped(stage: Stage, grid: _Grid, row: int, need: Need) -> Dropped:
    candidate = grid.candidates[row]
    made = np.flatnonzero(grid.is_made[row])
    if len(made):
        reason = (
            f"takes {grid.latency_s[row, made[-1]]:.3g} s alone with "
            f"{grid.first + made[-1]} replicas, the SLO is {need.pipeline.slo.latency_s:g} s"
        )
    else:
        reason = (
            f"needs {candidate.fewest} replicas for {need.load_rps:g} req/s, "
            f"max_replicas is {stage.max_replicas}"
        )
    return Dropped(
        variant=candidate.variant.name,
        batch_size=candidate.point.batch_size,
        replicas=candidate.fewest,
        reason=reason,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Beaten:
    """An option that keeps the SLO and was left out, and the one that beats it."""

    option: Option
    by: Option


def beaten_options(
    stage: Stage, table: ProfileTable, load_rps: float, *, pipeline: Pipeline
) -> tuple[Beaten, ...]:
    """Return every option of a stage that another one beats, and which one does."""
    need = Need(load_rps, pipeline.adaptation.headroom, pipeline)
    stage = pipeline.visited(stage)
    grid = _grid(stage, _candidates(stage, table, need), need)
    slo_s = pipeline.slo.latency_s
    rows, columns = np.nonzero(grid.is_made & (grid.latency_s <= slo_s * (1 + TOLERANCE)))
    by_name = _counts_by_name(stage, pipeline)
    merits = _merits(grid, rows, columns, need)
    kept = _undominated(grid, rows, merits, by_name=by_name)
    found = []
    for i in np.setdiff1d(np.arange(len(rows)), kept):
        beats = np.all(merits[kept] <= merits[i], axis=1)
        if by_name:
            own = grid.candidates[rows[i]].variant
            beats &= np.array([grid.candidates[rows[k]].variant is own for k in kept])
        best = kept[int(np.argmax(beats))]
        found.append(
            Beaten(
                option=_option(stage, grid, int(rows[i]), int(columns[i])),
                by=_option(stage, grid, int(rows[best]), int(columns[best])),
            )
        )
    return tuple(found)


def _merits(grid: _Grid, rows: NDArray[np.intp], columns: NDArray[np.intp], need: Need) -> Floats:
    """Return what counts for each option, less being better: (options, merits)."""
    of = grid.candidates
    replicas = grid.first + columns
    merits = [
        grid.latency_s[rows, columns],
        np.array([c.cpu_cores for c in of])[rows] * replicas,
        np.array([float(c.point.batch_size) for c in of])[rows],
        np.array([-c.score for c in of])[rows],
    ]
    if any(c.replica_hour for c in of):
        merits.insert(1, np.array([c.replica_hour for c in of])[rows] * replicas)
    if need.switch is not None:
        pods = [(of[i].variant.name, of[i].cpu_cores) for i in rows]
        unit = [c.replica_hour if need.switch.is_priced else c.cpu_cores for c in of]
        merits += need.switch.columns(pods, np.array(unit)[rows], replicas.astype(float))
    return np.column_stack(merits)


def _undominated(
    grid: _Grid, rows: NDArray[np.intp], points: Floats, *, by_name: bool
) -> NDArray[np.intp]:
    """Leave out each option that another one beats in latency, price, cores, batch and accuracy.

    And in what it costs to move to, where that counts.

    What is left out could be replaced in any choice by what beats it, with every constraint kept
    and the objective no lower, for no accuracy falls when a stage's rises. Where it depends on the
    variant's name only its own options can replace one.
    """
    if not by_name:
        return np.sort(frontier(points))
    names = np.array([c.variant.name for c in grid.candidates])[rows]
    own = [np.flatnonzero(names == name) for name in dict.fromkeys(names)]
    return np.sort(np.concatenate([which[frontier(points[which])] for which in own] or [rows]))
