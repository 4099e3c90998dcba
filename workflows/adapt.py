"""One adaptation cycle: the story of penstock, top to bottom.

``adapt`` is the page to open first. Its statements are the arrows of the reading line

    load → forecast → problem → solve → plan → decide → render → diff → apply → record

and every collaborator is passed in, so that the same cycle runs on a cluster, on a laptop, and on
a virtual clock in tests. Everything up to ``changes`` is values; only ``carry_out`` writes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.band import with_band
from optimizer.decide import decide, distrusted
from optimizer.ladder import Climb, climb
from optimizer.plan import evaluate, verify
from optimizer.switching import Running, expected_ruling_s, known_lag_s
from penstock.domain import Mode, Pipeline, ProfileTable
from penstock.errors import BrokenPromiseError, RetryLaterError, UnderWayError, UserError
from serving.apply import Hands, apply, resume
from serving.autoscale import Autoscaling
from serving.intent import (
    ApplySettings,
    Intent,
    intend,
    resumed_target,
    running_plan,
    services_of,
)
from serving.quarantine import offered
from serving.run_plan import noted
from serving.state import State, read_state
from workflows.audit import changes_s, fingerprint, keep
from workflows.ticklog import TickLog

if TYPE_CHECKING:
    from optimizer.decide import Decision
    from optimizer.forecast import Forecaster
    from optimizer.load import LoadSource
    from optimizer.solvers import Solver
    from penstock.clock import Clock
    from penstock.domain import Forecast, Plan
    from serving.apply import ApplyReport
    from serving.cluster import Cluster
    from workflows.recorded import Tick

__all__ = ["Ports", "TickSettings", "adapt", "running_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TickSettings(ApplySettings):
    """How a tick plans, within a time limit [s], and then renders and waits.

    ``cost_ceiling`` is what ``max_cost_per_hour`` may rise to rather than shed load.
    """

    time_limit_s: float = 10.0
    cost_ceiling: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything a tick talks to."""

    source: LoadSource
    forecaster: Forecaster
    solver: Solver
    cluster: Cluster
    clock: Clock
    record: Callable[[Tick], None]


def adapt(pipeline: Pipeline, table: ProfileTable, ports: Ports, settings: TickSettings) -> Tick:
    """Run one tick and return its record, which ``ports.record`` is given as well.

    What a next tick may mend (no load data, a conflict, a rollout that does not get ready) ends in
    the record and leaves the running plan as it is.

    Raises:
        UserError: the pipeline, its profiles or the cluster's objects need a person.
    """
    log = TickLog(pipeline, ports.clock)
    log.inputs(fingerprint(pipeline, table))
    try:
        state = read_state(ports.cluster, pipeline.name, pipeline.namespace)
        mode = log.mode(allowed(pipeline, state))
        with log.timed("resume"):
            state = carry_on(state, mode, pipeline, ports, settings, log)
        log.lag(known_lag_s(pipeline, table, changes_s(state)))
        with log.timed("load"):
            load = log.load(ports.source.window(log.started_s))
        with log.timed("forecast"):
            forecast = log.forecast(ports.forecaster.forecast(load))
        with log.timed("solve"):
            load_rps = forecast.at(pipeline.adaptation.forecast_quantile)
            on_offer = available(pipeline, state, log)
            running = log.running(running_now(state, pipeline, log.started_s))
            climbed = log.climb(_solve(on_offer, table, load_rps, ports, settings, running))
        since_change_s = log.started_s - state.last_change_s
        decision = log.decision(
            decide(
                running_plan(state),
                climbed.outcome,
                forecast=forecast,
                pipeline=_still_asked(pipeline, climbed, since_change_s),
                table=table,
                since_change_s=since_change_s,
            ),
            climbed,
        )
        target = log.target(banded(decision, forecast, pipeline, table, settings))
        intent = log.intent(
            intend(target, state, pipeline, ports.cluster, settings, now_s=log.started_s)
        )
        with log.timed("apply"):
            log.result(carry_out(intent, state, mode, ports, settings))
    except RetryLaterError as err:
        log.stand_still(err)
    record = log.record()
    keep(record, pipeline, ports.cluster, now_s=ports.clock.now())
    ports.record(record)
    return record


def allowed(pipeline: Pipeline, state: State) -> Mode:
    """Return what a tick may do: what the pipeline says, but no more than advise while paused."""
    mode = pipeline.adaptation.mode
    return Mode.ADVISE if state.paused and mode is Mode.APPLY else mode


def carry_on(
    state: State,
    mode: Mode,
    pipeline: Pipeline,
    ports: Ports,
    settings: TickSettings,
    log: TickLog,
) -> State:
    """Finish or take back a switch that an earlier tick had begun; return the state then.

    Raises:
        UnderWayError: it is not over; no other decision is made meanwhile.
    """
    if state.journal is None:
        return state
    if mode is not Mode.APPLY:
        raise UnderWayError(
            f"a switch is in phase {state.journal.phase}, and nothing may be written"
        )
    target = resumed_target(state, pipeline, ports.cluster, settings)
    report = noted(
        resume(target, state, _hands(ports.cluster, ports.clock, settings)), target, ports.cluster
    )
    log.resumed(report)
    if report.state.journal is not None:
        raise UnderWayError(report.error)
    return report.state


def available(pipeline: Pipeline, state: State, log: TickLog) -> Pipeline:
    """Return the pipeline with the variants that may be tried now."""
    quarantined = state.quarantined(log.started_s)
    running = services_of(running_plan(state))
    log.offer(quarantined, running)
    return offered(pipeline, {q.service for q in quarantined}, running)


def carry_out(
    intent: Intent, state: State, mode: Mode, ports: Ports, settings: TickSettings
) -> ApplyReport | None:
    """Do what was decided, unless the mode only advises; return what was done."""
    if mode is not Mode.APPLY or intent.target is None:
        return None
    hands = _hands(ports.cluster, ports.clock, settings)
    return noted(apply(intent.target, intent.changes, state, hands), intent.target, ports.cluster)


def _hands(cluster: Cluster, clock: Clock, settings: TickSettings) -> Hands:
    return Hands(cluster=cluster, clock=clock, pace=settings.pace)


def _still_asked(pipeline: Pipeline, climbed: Climb, since_change_s: float) -> Pipeline:
    """Return what both plans are held to: the pipeline without what had to be given up.

    A wanted accuracy that can be had again is no reason to move before the cooldown is over.
    """
    asked = climbed.asked
    objective = asked.objective
    if since_change_s < pipeline.adaptation.cooldown_s:
        objective = replace(objective, accuracy_floor=pipeline.objective.accuracy_floor)
    return replace(
        pipeline,
        slo=asked.slo,
        objective=objective,
        max_cost_per_hour=asked.max_cost_per_hour,
    )


def running_now(state: State, pipeline: Pipeline, now_s: float) -> Running | None:
    """Return the plan that runs, and how long one in its place is expected to rule."""
    plan = running_plan(state)
    if plan is None:
        return None
    ruling_s = expected_ruling_s(pipeline.adaptation, now_s - state.last_change_s)
    return Running(plan=plan, ruling_s=ruling_s)


def banded(
    decision: Decision,
    forecast: Forecast,
    pipeline: Pipeline,
    table: ProfileTable,
    settings: TickSettings,
) -> Plan | None:
    """Return the plan that is to run, with a band if an autoscaler moves within one.

    A plan that no longer fits the pipeline stays as it is.
    """
    plan = decision.target
    if plan is None or settings.render.autoscaling is Autoscaling.FIXED:
        return plan
    with suppress(UserError):
        evaluate(plan, pipeline, table, forecast.load_rps)
        return with_band(plan, forecast, pipeline, table, trusted=not distrusted(forecast))
    return plan


def _solve(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    ports: Ports,
    settings: TickSettings,
    running: Running | None,
) -> Climb:
    """Solve for the load, and believe no plan before its promises were recomputed.

    A plan is held to all that was not given up for it, at the load that it is to serve.

    Raises:
        BrokenPromiseError: they do not hold.
    """
    climbed = climb(
        pipeline,
        table,
        load_rps,
        solver=ports.solver,
        time_limit_s=settings.time_limit_s,
        cost_ceiling=settings.cost_ceiling,
        running=running,
    )
    if climbed.plan is not None:
        broken = verify(climbed.plan, climbed.asked, table, climbed.served_rps, running=running)
        if broken:
            raise BrokenPromiseError(
                f"{ports.solver.name}'s plan for {climbed.served_rps:g} req/s does not hold: "
                + "; ".join(broken)
            )
    return climbed
