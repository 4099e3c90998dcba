"""From a pipeline, its profiles and a load to the choice to be made: one option per stage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product, zip_longest
from types import MappingProxyType
from typing import TYPE_CHECKING

from optimizer.accuracy import combined_accuracy
from optimizer.composition import composed_accuracy, inseparable_node
from optimizer.latency import find_point
from optimizer.options import Need, StageOptions, exceeds, falls_short, stage_options
from penstock.domain import AccuracyMode
from penstock.errors import DomainError, ProfileError
from penstock.graph import is_chain, paths

if TYPE_CHECKING:
    from optimizer.switching import StageSwitch
    from penstock.domain import Node, Objective, Option, Pipeline, ProfileTable, Slo


UNMEASURED = (
    "a graph is not measured end to end: use another objective.mode, with a vote table where an "
    "Ensemble was measured, or write joint_accuracy into the profiles"
)
"""What to do about a joint accuracy that the profiler cannot know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One option per stage is to be chosen, for the highest objective within all limits.

    ``paths`` holds the indices of the stages along each way through the pipeline: the latencies of
    each path add up and the slowest path counts. ``joint_accuracy`` maps variant names in stage
    order to an accuracy, in joint mode only. ``is_priced`` says that cost means money and not
    cores. ``graph`` composes the stages' accuracies, ``None`` being the Sequence of all of them. A
    *choice* is an option index per stage, in stage order.

    ``switches`` hold what each stage runs, so that a move has a cost; () when moving is free. At
    most ``max_switches`` stages change their pods, and cost and the cost of moving together do not
    exceed ``max_paid``. ``incumbent`` is a choice to start from: a hint, which solvers are free to
    pass over.
    """

    pipeline: str
    load_rps: float
    stages: tuple[StageOptions, ...]
    paths: tuple[tuple[int, ...], ...]
    slo: Slo
    objective: Objective
    max_cores: float | None = None
    joint_accuracy: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    is_priced: bool = False
    max_cost_per_hour: float | None = None
    graph: Node | None = None
    switches: tuple[StageSwitch, ...] = ()
    max_switches: int | None = None
    max_paid: float | None = None
    incumbent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        known = range(len(self.stages))
        if not self.paths or any(
            not path or any(i not in known for i in path) for path in self.paths
        ):
            raise DomainError(
                f"needs paths, of stages 0..{len(self.stages) - 1} only, got {self.paths}"
            )
        object.__setattr__(self, "joint_accuracy", MappingProxyType(dict(self.joint_accuracy)))

    def chosen(self, choices: Sequence[int]) -> tuple[Option, ...]:
        """Return the options of a choice."""
        return tuple(s.options[i] for s, i in zip(self.stages, choices, strict=True))

    def latency_s(self, chosen: Sequence[Option]) -> float:
        """Return the latency [s] of the slowest path: the sum of its stages' latencies."""
        return max(math.fsum(chosen[i].latency_s for i in path) for path in self.paths)

    def cost_cores(self, chosen: Sequence[Option]) -> float:
        """Return the cores of all replicas together."""
        return math.fsum(o.cost_cores for o in chosen)

    def cost_per_hour(self, chosen: Sequence[Option]) -> float:
        """Return the price of all replicas together."""
        return math.fsum(o.cost_per_hour for o in chosen)

    def cost(self, chosen: Sequence[Option]) -> float:
        """Return the cost in the objective's unit: money per hour, or cores."""
        return self.cost_per_hour(chosen) if self.is_priced else self.cost_cores(chosen)

    def switch_cost(self, chosen: Sequence[Option]) -> float:
        """Return what moving to the options costs, in the unit of ``cost``."""
        if not self.switches:
            return 0.0
        return math.fsum(s.cost(o) for s, o in zip(self.switches, chosen, strict=True))

    def switched(self, chosen: Sequence[Option]) -> int:
        """Return how many stages change their variant or cores."""
        if not self.switches:
            return 0
        return sum(s.is_switch(o) for s, o in zip(self.switches, chosen, strict=True))

    def paid(self, chosen: Sequence[Option]) -> float:
        """Return the cost with that of moving."""
        return self.cost(chosen) + self.switch_cost(chosen)

    def known_choice(self) -> tuple[int, ...]:
        """Return the incumbent if it is a choice that keeps every limit, else ()."""
        known = self.incumbent
        in_range = len(known) == len(self.stages) and all(
            0 <= i < len(stage.options) for i, stage in zip(known, self.stages, strict=True)
        )
        return known if in_range and self.is_feasible(self.chosen(known)) else ()

    def accuracy(self, chosen: Sequence[Option]) -> float:
        """Return the accuracy in the objective's mode."""
        if self.objective.mode is AccuracyMode.JOINT:
            return self.joint_accuracy[tuple(o.variant for o in chosen)]
        return self._composed(chosen, self.objective.mode)

    def accuracy_product(self, chosen: Sequence[Option]) -> float:
        """Return the accuracy in product mode, whatever the objective's."""
        if self.graph is None:
            return math.prod(o.accuracy for o in chosen)
        accuracies = {s.stage: o.accuracy for s, o in zip(self.stages, chosen, strict=True)}
        variants = {s.stage: o.variant for s, o in zip(self.stages, chosen, strict=True)}
        return composed_accuracy(self.graph, accuracies, variants, AccuracyMode.PRODUCT)

    def _composed(self, chosen: Sequence[Option], mode: AccuracyMode) -> float:
        scores = [s.score(o) for s, o in zip(self.stages, chosen, strict=True)]
        if self.graph is None:
            return combined_accuracy(scores, mode)
        names = [s.stage for s in self.stages]
        variants = dict(zip(names, (o.variant for o in chosen), strict=True))
        return composed_accuracy(self.graph, dict(zip(names, scores, strict=True)), variants, mode)

    def inseparable_node(self) -> str | None:
        """Return the name of a node that keeps the accuracy from being a sum or a product.

        ``None`` when it is one, over the stages, or comes out of a table, or counts for nothing.
        """
        weights = self.objective
        is_used = weights.accuracy_weight > 0 or bool(weights.accuracy_floor)
        if self.graph is None or not is_used:
            return None
        return inseparable_node(self.graph, weights.mode)

    def objective_of(self, chosen: Sequence[Option]) -> float:
        """Return alpha x accuracy - beta x (cost, that of moving too) - delta x sum of batches."""
        weights = self.objective
        return (
            weights.accuracy_weight * self.accuracy(chosen)
            - weights.cost_weight * self.paid(chosen)
            - weights.batch_weight * sum(o.batch_size for o in chosen)
        )

    def is_feasible(self, chosen: Sequence[Option]) -> bool:
        """Whether the options keep every limit; each carries the load by its making."""
        floor = self.objective.accuracy_floor
        return (
            not exceeds(self.latency_s(chosen), self.slo.latency_s)
            and (self.max_cores is None or not exceeds(self.cost_cores(chosen), self.max_cores))
            and (
                self.max_cost_per_hour is None
                or not exceeds(self.cost_per_hour(chosen), self.max_cost_per_hour)
            )
            and (self.max_switches is None or self.switched(chosen) <= self.max_switches)
            and (self.max_paid is None or not exceeds(self.paid(chosen), self.max_paid))
            and (floor is None or not falls_short(self.accuracy(chosen), floor))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """From where a plan would have to move; without ``counts`` only where to start looking."""

    switches: tuple[StageSwitch, ...]
    counts: bool = True
    max_switches: int | None = None


def build_problem(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    headroom: float | None = None,
    move: Move | None = None,
) -> Problem:
    """Return the problem of serving ``load_rps`` [req/s at the entry] with a pipeline.

    An option is a variant at a profiled batch size with the fewest replicas that carry the load and
    ``headroom`` (a share; ``None`` takes ``pipeline.adaptation.headroom``), or with more replicas
    where they make the stage faster. Options that another one beats in everything are left out,
    which loses nothing. ``move`` says from where the pipeline would have to move, and whether that
    counts.

    Raises:
        ProfileError: profiles, batch sizes or joint accuracies are missing; it lists all of them.
        DomainError: the load is not a rate.
    """
    if not (math.isfinite(load_rps) and load_rps >= 0):
        raise DomainError(f"a load must be finite and at least 0 req/s, got {load_rps}")
    require_profiles(pipeline, table)
    share = pipeline.adaptation.headroom if headroom is None else headroom
    switches = move.switches if move and move.counts else ()
    stages = tuple(
        stage_options(stage, table, Need(load_rps, share, pipeline, switch))
        for stage, switch in zip_longest(pipeline.stages, switches)
    )
    return Problem(
        pipeline=pipeline.name,
        load_rps=load_rps,
        stages=stages,
        paths=_paths(pipeline),
        slo=pipeline.slo,
        objective=pipeline.objective,
        max_cores=pipeline.max_cores,
        joint_accuracy=table.joint_accuracy,
        is_priced=pipeline.prices is not None,
        max_cost_per_hour=pipeline.max_cost_per_hour,
        graph=pipeline.graph,
        switches=switches,
        max_switches=move.max_switches if move and switches else None,
        incumbent=_incumbent(stages, move) if move else (),
    )


def _incumbent(stages: Sequence[StageOptions], move: Move) -> tuple[int, ...]:
    """Return the running choice; where it was left out, with the fewest replicas of its kind."""
    found = []
    for stage, switch in zip(stages, move.switches, strict=False):
        kind = [
            (option.replicas, i)
            for i, option in enumerate(stage.options)
            if not switch.is_switch(option) and option.batch_size == switch.running.batch_size
        ]
        as_now = [pair for pair in kind if pair[0] == switch.running.replicas]
        found += [i for _, i in as_now or sorted(kind)[:1]]
    return tuple(found)


def _paths(pipeline: Pipeline) -> tuple[tuple[int, ...], ...]:
    if pipeline.graph is None:
        return (tuple(range(len(pipeline.stages))),)
    index = {stage.name: i for i, stage in enumerate(pipeline.stages)}
    return tuple(tuple(index[name] for name in path) for path in paths(pipeline.graph))


def require_profiles(pipeline: Pipeline, table: ProfileTable) -> None:
    """Check that everything a plan could choose has been measured.

    Raises:
        ProfileError: something has not; the message lists all of it by its path in the spec.
    """
    points = [*_missing_points(pipeline, table)]
    is_joint = pipeline.objective.mode is AccuracyMode.JOINT
    combinations = _missing_combinations(pipeline, table) if is_joint else []
    missing = points + combinations
    if missing:
        lines = [f"pipeline {pipeline.name!r}: {len(missing)} missing from the profiles"]
        lines += [f"  {line}" for line in missing]
        if points or _is_measured_whole(pipeline):
            lines.append("run `penstock profile` on the spec to measure them")
        if combinations and not _is_measured_whole(pipeline):
            lines.append(UNMEASURED)
        raise ProfileError("\n".join(lines))


def _is_measured_whole(pipeline: Pipeline) -> bool:
    """Whether the profiler can measure combinations of variants end to end."""
    return is_chain(pipeline.shape, [stage.name for stage in pipeline.stages])


def _missing_points(pipeline: Pipeline, table: ProfileTable) -> Iterator[str]:
    for i, stage in enumerate(pipeline.stages):
        for j, variant in enumerate(stage.variants):
            path, name = f"stages[{i}].variants[{j}]", f"{stage.name}/{variant.name}"
            profile = table.find(stage.name, variant.name)
            if profile is None:
                yield f"{path}: no profile of {name}"
                continue
            for (k, b), cores in product(enumerate(variant.batch_sizes), variant.cpu_allocations):
                if find_point(profile, batch_size=b, cpu_cores=cores) is None:
                    yield (
                        f"{path}.batch_sizes[{k}]: {name} is not profiled at batch size {b} "
                        f"on {cores:g} cores"
                    )


def _missing_combinations(pipeline: Pipeline, table: ProfileTable) -> list[str]:
    combinations = product(*([v.name for v in s.variants] for s in pipeline.stages))
    return [
        f"joint_accuracy: no measured accuracy of {'+'.join(names)}"
        for names in combinations
        if names not in table.joint_accuracy
    ]
