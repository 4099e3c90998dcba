"""What it costs to move from the running plan: a constant of each option, known before any solve.

Each second of a change is charged once, by what is paid in it and not in the plan's own bill:

* a stage that changes its variant or its cores keeps what it runs until the new replicas have taken
  over: ``running cost x (start + rollout + drain)``;
* a stage that only gets more replicas pays them while they start and carry nothing:
  ``cost of the added replicas x start``. So does a stage that runs no replica.

Fewer replicas and another batch size follow at once and cost nothing. *Start* is the variant's
``load_time_s`` where the profiles have it and ``adaptation.start_s`` elsewhere.

Core-seconds become cores, and money for an hour becomes money per hour, when they are spread over
the time that the plan is expected to rule. Nobody knows it; ``expected_ruling_s`` takes as long as
the running plan has ruled, and so a gain that lasts is waited for until what waiting has lost is as
much as the change costs. That loses at most twice what hindsight would have (the break-even rule of
the ski rental problem: Karlin et al., *Competitive snoopy caching*, 1988), and an oscillation that
is too quick to pay for a change causes none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock.domain import Adaptation, Option, Pipeline, Plan, ProfileTable, Stage

    Floats = NDArray[np.float64]

_LONGEST_S = 86_400.0
"""After a day that nothing changed in, no plan is expected to rule for longer than one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The plan that runs, and how long [s] the one in its place is expected to rule."""

    plan: Plan
    ruling_s: float


def expected_ruling_s(adaptation: Adaptation, since_change_s: float) -> float:
    """Return how long [s] a plan made now is expected to rule, at least ``interval_s``.

    As long as the running one has, and no less than until the next change that is not needed.
    """
    least_s = max(adaptation.interval_s, adaptation.cooldown_s)
    return max(adaptation.interval_s, min(max(least_s, since_change_s), _LONGEST_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSwitch:
    """What a stage runs, and what each option costs to move to.

    ``start_s`` holds the seconds that a replica of each variant takes to start, ``overlap_s`` is
    rollout and drain; ``running_cost`` is that of all running replicas, in cores or money per hour;
    ``factor`` is the switch weight over the seconds that it is spread over.
    """

    running: Option
    running_cost: float
    start_s: Mapping[str, float]
    overlap_s: float
    factor: float
    is_priced: bool

    def is_switch(self, option: Option) -> bool:
        """Whether other pods have to come up for an option: another variant or other cores."""
        return self._is_other(option.variant, option.cpu_cores)

    def cost(self, option: Option) -> float:
        """Return what moving to an option costs, in the unit of the plan's cost."""
        start_s = self.start_s.get(option.variant, 0.0)
        if self.is_switch(option) and self.running.replicas:
            return self.factor * self.running_cost * (start_s + self.overlap_s)
        here = 0 if self.is_switch(option) else self.running.replicas
        if option.replicas <= here:
            return 0.0
        paid = option.cost_per_hour if self.is_priced else option.cost_cores
        return self.factor * paid * (option.replicas - here) / option.replicas * start_s

    def columns(
        self, pods: list[tuple[str, float]], unit_costs: Floats, replicas: Floats
    ) -> list[Floats]:
        """Return for many options whether each is a switch, and a measure of what it costs.

        ``pods`` has the variant and cores of each, ``unit_costs`` what one of its replicas costs.
        """
        switch = np.array([float(self._is_other(*pod)) for pod in pods])
        start_s = np.array([self.start_s.get(name, 0.0) for name, _ in pods])
        here = np.where(switch, 0, self.running.replicas)
        added = np.maximum(0.0, replicas - here) * unit_costs * start_s
        if not self.running.replicas:
            return [switch, added]
        both = self.running_cost * (start_s + self.overlap_s)
        return [switch, np.where(switch, both, added)]

    def _is_other(self, variant: str, cpu_cores: float) -> bool:
        same_cores = math.isclose(cpu_cores, self.running.cpu_cores, rel_tol=1e-9)
        return variant != self.running.variant or not same_cores


def switches_from(
    running: Running, pipeline: Pipeline, table: ProfileTable
) -> tuple[StageSwitch, ...]:
    """Return what each stage runs and what moving costs; () when a stage is not in the plan."""
    options = {option.stage: option for option in running.plan.stages}
    if any(stage.name not in options for stage in pipeline.stages):
        return ()
    adaptation = pipeline.adaptation
    return tuple(
        StageSwitch(
            running=options[stage.name],
            running_cost=_cost(options[stage.name], stage, pipeline),
            start_s=start_times_s(stage, table, adaptation),
            overlap_s=adaptation.rollout_s + adaptation.drain_s,
            factor=adaptation.switch_weight / running.ruling_s,
            is_priced=pipeline.prices is not None,
        )
        for stage in pipeline.stages
    )


def start_times_s(stage: Stage, table: ProfileTable, adaptation: Adaptation) -> dict[str, float]:
    """Return how long [s] a replica of each variant takes to start: as measured, or declared."""
    profiles = {v.name: table.find(stage.name, v.name) for v in stage.variants}
    return {
        name: (profile.load_time_s if profile is not None else 0.0) or adaptation.start_s
        for name, profile in profiles.items()
    }


def known_lag_s(pipeline: Pipeline, table: ProfileTable, changes_s: Sequence[float] = ()) -> float:
    """Return how long [s] it takes from a tick's start until its plan carries all requests.

    As declared, with the load time of the variant that takes longest to start where the profiles
    know it, and no less than any of ``changes_s``, the seconds that earlier changes took.
    """
    adaptation = pipeline.adaptation
    longest_s = max(
        max(start_times_s(stage, table, adaptation).values()) for stage in pipeline.stages
    )
    return max(adaptation.solve_s + longest_s + adaptation.rollout_s, *changes_s, 0.0)


def horizon_fault(adaptation: Adaptation, lag_s: float) -> str:
    """Say how far the forecast would have to look for such a lag; empty if it looks far enough."""
    needed_s = adaptation.interval_s + lag_s
    if needed_s <= adaptation.horizon_s * (1 + 1e-9):
        return ""
    more_s = needed_s - adaptation.horizon_s
    return (
        f"it takes {lag_s:.3g} s until a plan is in force, {adaptation.lag_s:g} s are declared: "
        f"with interval_s a plan must outlive {needed_s:.3g} s, the forecast looks "
        f"{adaptation.horizon_s:g} s ahead; raise adaptation.rollout_s by {more_s:.3g} s and train "
        "the load predictor again"
    )


def switch_cost(plan: Plan, switches: tuple[StageSwitch, ...]) -> float:
    """Return what moving to a plan costs; 0 where nothing is known to run."""
    if not switches:
        return 0.0
    return math.fsum(s.cost(o) for s, o in zip(switches, plan.stages, strict=True))


def switched_stages(plan: Plan, switches: tuple[StageSwitch, ...]) -> int:
    """Return how many stages a plan moves to another variant or other cores."""
    if not switches:
        return 0
    return sum(s.is_switch(o) for s, o in zip(switches, plan.stages, strict=True))


def _cost(option: Option, stage: Stage, pipeline: Pipeline) -> float:
    """Return what the running replicas cost now; a variant that is gone costs what it did."""
    if pipeline.prices is None:
        return option.cost_cores
    variant = next((v for v in stage.variants if v.name == option.variant), None)
    if variant is None:
        return option.cost_per_hour
    return pipeline.prices.replica_hour(variant, cpu_cores=option.cpu_cores) * option.replicas
