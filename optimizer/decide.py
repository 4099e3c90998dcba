"""Whether the running plan stays: the last arrow of the optimizer, a value with its reason.

In the order in which the reasons are asked for:

1. nothing runs, or what runs no longer fits the spec: move at once;
2. no plan for the forecast: move to the nearest when that serves more, else keep and say why;
3. what runs cannot carry the forecast or would break the SLO: move at once;
4. the load data are flagged: never move to less capacity (fail static; a true zero is not flagged);
5. the last change is too young, or the gain too small: keep;
6. move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from optimizer.options import TOLERANCE, exceeds, falls_short
from optimizer.verify import evaluate
from penstock.domain import Goal
from penstock.errors import UserError

if TYPE_CHECKING:
    from optimizer.plan import Outcome
    from penstock.domain import Forecast, Pipeline, Plan, ProfileTable, Promise

__all__ = ["Decision", "Kind", "decide", "distrusted", "evaluate"]

_FORECASTER_FLAGS = frozenset({"fallback", "short", "failed", "absurd"})
"""Flags that speak of the forecaster; every other one speaks of the load data."""


class Kind(StrEnum):
    """What to do with the running plan."""

    KEEP = "keep"
    MOVE = "move"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Keep the running plan or move to the proposed one, and why.

    ``gain`` is what the proposed plan adds to the objective at the forecast, as a share of the
    size of the running plan's; ``None`` where the two cannot be compared. ``urgent`` marks a move
    that cooldown and gain had no say in, and a keep that a person should look at.
    """

    kind: Kind
    reason: str
    running: Plan | None = None
    proposed: Plan | None = None
    gain: float | None = None
    urgent: bool = False

    @property
    def target(self) -> Plan | None:
        """The plan that should run from now on; ``None`` when nothing can."""
        return self.proposed if self.kind is Kind.MOVE else self.running


def distrusted(forecast: Forecast) -> tuple[str, ...]:
    """Return the forecast's flags that say that its load data were not to be trusted."""
    return tuple(flag for flag in forecast.flags if flag not in _FORECASTER_FLAGS)


def decide(
    running: Plan | None,
    outcome: Outcome,
    *,
    forecast: Forecast,
    pipeline: Pipeline,
    table: ProfileTable,
    since_change_s: float,
) -> Decision:
    """Return what to do about the plan that was made for the forecast.

    ``outcome.load_rps`` is the load that was planned for, and the load at which both plans are
    compared. ``since_change_s`` is the time [s] since the running plan was last changed; infinite
    before the first change.
    """
    if running is None:
        return _first(outcome)
    try:
        present = evaluate(running, pipeline, table, outcome.load_rps)
    except UserError as err:
        return _misfit(running, outcome, err)
    if outcome.plan is None:
        return _without_plan(running, present, outcome, pipeline=pipeline, table=table)
    if outcome.plan.same_choice(running):
        reason = "the running plan is still the best" + _held_by_cost(present, outcome, pipeline)
        return _keep(reason, running, outcome.plan, gain=0.0)
    gain = _gain(present, outcome.plan.promise, pipeline)
    broken = _broken(present, pipeline, outcome.load_rps)
    if broken:
        return Decision(
            kind=Kind.MOVE,
            reason=f"the running plan {broken}; moving at once",
            running=running,
            proposed=outcome.plan,
            gain=gain,
            urgent=True,
        )
    against = _objection(present, outcome.plan, gain, forecast=forecast) or _unwilling(
        gain, pipeline, since_change_s
    )
    if against:
        if gain < pipeline.adaptation.min_gain:
            against += _held_by_cost(present, outcome, pipeline)
        return _keep(against, running, outcome.plan, gain=gain)
    reason = f"improves the objective by {gain:.1%}: {_difference(present, outcome.plan.promise)}"
    if outcome.plan.promise.switch_cost:
        reason += f", the change costs {_switch_cost(outcome.plan.promise)}"
    return Decision(
        kind=Kind.MOVE, reason=reason, running=running, proposed=outcome.plan, gain=gain
    )


def _held_by_cost(present: Promise, outcome: Outcome, pipeline: Pipeline) -> str:
    """Say what was not done because moving costs more than it gains; empty if that is nothing."""
    free, plan = outcome.free, outcome.plan
    if free is None or plan is None or not free.promise.switch_cost:
        return ""
    gross = replace(free.promise, switch_cost=0.0)
    return (
        f"; moving to {' + '.join(free.variants)} ({_difference(present, gross)}) would gain "
        f"{_gain(present, gross, pipeline):.1%} and cost {_switch_cost(free.promise)}"
    )


def _switch_cost(promise: Promise) -> str:
    return f"{promise.switch_cost:.3g} {promise.cost_unit} over the time it is expected to rule"


def _keep(reason: str, running: Plan, proposed: Plan | None, *, gain: float | None) -> Decision:
    return Decision(kind=Kind.KEEP, reason=reason, running=running, proposed=proposed, gain=gain)


def _first(outcome: Outcome) -> Decision:
    proposed = outcome.plan or outcome.nearest
    if proposed is None:
        reason = f"nothing runs and nothing can: {outcome.explanation}"
        return Decision(kind=Kind.KEEP, reason=reason, urgent=True)
    reason = "nothing runs yet"
    if outcome.plan is None:
        reason += f"; {outcome.explanation}; starting the nearest plan"
    return Decision(kind=Kind.MOVE, reason=reason, proposed=proposed, urgent=True)


def _misfit(running: Plan, outcome: Outcome, err: UserError) -> Decision:
    proposed = outcome.plan or outcome.nearest
    if proposed is None:
        return Decision(
            kind=Kind.KEEP,
            reason=f"{err}; no other plan is known: {outcome.explanation}",
            running=running,
            urgent=True,
        )
    return Decision(
        kind=Kind.MOVE, reason=str(err), running=running, proposed=proposed, urgent=True
    )


def _without_plan(
    running: Plan, present: Promise, outcome: Outcome, *, pipeline: Pipeline, table: ProfileTable
) -> Decision:
    nearest = outcome.nearest
    if nearest is not None and not nearest.same_choice(running):
        then = evaluate(nearest, pipeline, table, outcome.load_rps)
        if _serves(then, outcome.load_rps) > _serves(present, outcome.load_rps):
            return Decision(
                kind=Kind.MOVE,
                reason=(
                    f"{outcome.explanation}; the nearest plan serves more than the running one: "
                    f"{_difference(present, then)}"
                ),
                running=running,
                proposed=nearest,
                gain=_gain(present, then, pipeline),
                urgent=True,
            )
    return Decision(
        kind=Kind.KEEP,
        reason=f"{outcome.explanation}; keeping the running plan, nothing known serves more",
        running=running,
        proposed=nearest,
        urgent=True,
    )


def _serves(promise: Promise, load_rps: float) -> tuple[float, float]:
    """Return what makes one overloaded plan better than another: the load carried, the speed."""
    return (min(promise.capacity_rps, load_rps), -promise.latency_s)


def _broken(present: Promise, pipeline: Pipeline, load_rps: float) -> str:
    """Say what the running plan would break at the load; empty when it breaks nothing."""
    if exceeds(load_rps, present.capacity_rps):
        return f"carries {present.capacity_rps:.4g} req/s of the {load_rps:.4g} forecast"
    if exceeds(present.latency_s, pipeline.slo.latency_s):
        return (
            f"would take {present.latency_s:.3g} s at {load_rps:.4g} req/s, "
            f"the SLO is {pipeline.slo.latency_s:g} s"
        )
    if pipeline.max_cores is not None and exceeds(present.cost_cores, pipeline.max_cores):
        return f"uses {present.cost_cores:g} cores, max_cores is {pipeline.max_cores:g}"
    budget, floor = pipeline.max_cost_per_hour, pipeline.objective.accuracy_floor
    if budget is not None and exceeds(present.cost, budget):
        return f"costs {present.cost:.2f} per hour, max_cost_per_hour is {budget:.2f}"
    if floor is not None and falls_short(present.accuracy, floor):
        return f"has an accuracy of {present.accuracy:.4g}, accuracy_floor is {floor:g}"
    return ""


def _objection(present: Promise, proposed: Plan, gain: float, *, forecast: Forecast) -> str:
    """Say why a plan with less capacity must not come from data like these."""
    flags = distrusted(forecast)
    if flags and exceeds(present.capacity_rps, proposed.promise.capacity_rps):
        return (
            f"the load data are flagged {', '.join(flags)}: not scaling in from "
            f"{present.capacity_rps:.4g} to {proposed.promise.capacity_rps:.4g} req/s"
            f" (gain {gain:.1%})"
        )
    return ""


def _unwilling(gain: float, pipeline: Pipeline, since_change_s: float) -> str:
    adaptation = pipeline.adaptation
    if gain < adaptation.min_gain:
        return f"the gain of {gain:.1%} is below min_gain, {adaptation.min_gain:.1%}"
    if since_change_s < adaptation.cooldown_s:
        return (
            f"the last change was {since_change_s:.0f} s ago, cooldown_s is "
            f"{adaptation.cooldown_s:g} (gain {gain:.1%})"
        )
    return ""


def _gain(present: Promise, proposed: Promise, pipeline: Pipeline) -> float:
    """Return the gain in what the goal puts first, or in what comes second where that is equal.

    What moving costs is taken off; the running plan's own was paid long ago.
    """
    criteria = {
        "accuracy": (present.accuracy, proposed.accuracy),
        "cost": (-present.cost, -proposed.cost - proposed.switch_cost),
    }
    goal = pipeline.objective.goal
    order = {
        Goal.ACCURACY_FIRST: ("accuracy", "cost"),
        Goal.COST_FIRST: ("cost", "accuracy"),
    }.get(goal, ())
    for name in order:
        before, after = criteria[name]
        gain = (after - before) / max(abs(before), 1e-9)
        if abs(gain) > TOLERANCE:
            return gain
    if order:
        return 0.0
    after = proposed.objective - pipeline.objective.cost_weight * proposed.switch_cost
    return (after - present.objective) / max(abs(present.objective), 1e-9)


def _difference(present: Promise, proposed: Promise) -> str:
    """Return accuracy, cores and latency, before and after."""
    before = _latency(present.latency_s)
    return (
        f"accuracy {present.accuracy:.3f} -> {proposed.accuracy:.3f}, "
        f"cores {present.cost_cores:g} -> {proposed.cost_cores:g}, "
        f"latency {before} -> {_latency(proposed.latency_s)}"
    )


def _latency(latency_s: float) -> str:
    return f"{latency_s:.3g} s" if math.isfinite(latency_s) else "without bound"
