"""One adaptation cycle: the story of penstock, top to bottom.

``adapt`` is the page to open first. Its statements are the arrows of the reading line

    load → forecast → problem → solve → plan → decide → render → diff → apply → record

and every collaborator is passed in, so that the same cycle runs on a cluster, on a laptop, and on
a virtual clock in tests. Everything up to ``changes`` is values; only ``carry_out`` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizer.decide import Decision, Kind, decide
from optimizer.plan import Outcome, plan_from_json, plan_to_json, solve_plan, verify
from penstock.domain import Mode, Pipeline, Plan, ProfileTable
from penstock.errors import BrokenPromiseError, RetryLaterError
from serving.apply import apply
from serving.diff import Change, diff
from serving.names import pipeline_labels
from serving.render import RenderSettings, render
from serving.state import State, read_state, write_state
from workflows.ticklog import TickLog

if TYPE_CHECKING:
    from optimizer.forecast import Forecaster
    from optimizer.load import LoadSource
    from optimizer.solvers import Solver
    from penstock.clock import Clock
    from serving.apply import ApplyReport
    from serving.cluster import Cluster
    from workflows.recording import Tick

KINDS = ("ConfigMap", "InferenceService", "InferenceGraph")
"""The kinds that a plan is rendered to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything a tick talks to."""

    source: LoadSource
    forecaster: Forecaster
    solver: Solver
    cluster: Cluster
    clock: Clock
    record: Callable[[Tick], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TickSettings:
    """How a tick renders and waits.

    ``settle_s`` is the drain between a moved graph and the services it left. Times in records count
    from ``origin_s``.
    """

    render: RenderSettings
    time_limit_s: float = 10.0
    ready_timeout_s: float = 120.0
    settle_s: float = 0.0
    origin_s: float = 0.0


def adapt(pipeline: Pipeline, table: ProfileTable, ports: Ports, settings: TickSettings) -> Tick:
    """Run one tick and return its record, which ``ports.record`` is given as well.

    What a next tick may mend (no load data, a conflict, a rollout that does not get ready) ends in
    the record and leaves the running plan as it is.

    Raises:
        UserError: the pipeline, its profiles or the cluster's objects need a person.
    """
    log = TickLog(pipeline, ports.clock, origin_s=settings.origin_s)
    try:
        with log.timed("load"):
            load = log.load(ports.source.window(log.started_s))
        with log.timed("forecast"):
            forecast = log.forecast(ports.forecaster.forecast(load))
        with log.timed("solve"):
            load_rps = forecast.at(pipeline.adaptation.forecast_quantile)
            outcome = log.outcome(_solve(pipeline, table, load_rps, ports, settings))
        state = read_state(ports.cluster, pipeline.name, pipeline.namespace)
        decision = log.decision(
            decide(
                running_plan(state),
                outcome,
                forecast=forecast,
                pipeline=pipeline,
                table=table,
                since_change_s=log.started_s - state.last_change_s,
            )
        )
        changes = log.changes(changes_to(decision.target, pipeline, ports.cluster, settings.render))
        with log.timed("apply"):
            log.result(carry_out(decision, changes, state, pipeline, ports, settings))
    except RetryLaterError as err:
        log.stand_still(err)
    record = log.record()
    ports.record(record)
    return record


def running_plan(state: State) -> Plan | None:
    """Return the plan that the state says is running."""
    return plan_from_json(state.plan_json) if state.plan_json else None


def changes_to(
    plan: Plan | None, pipeline: Pipeline, cluster: Cluster, settings: RenderSettings
) -> tuple[Change, ...]:
    """Return what has to change for the cluster to run ``plan``: nothing when there is no plan.

    It is asked of the running plan as well, so that what somebody removed by hand comes back.
    """
    if plan is None:
        return ()
    labels = pipeline_labels(pipeline.name)
    live = [one for kind in KINDS for one in cluster.list(kind, pipeline.namespace, labels)]
    return diff(render(pipeline, plan, settings), live)


def carry_out(
    decision: Decision,
    changes: Sequence[Change],
    state: State,
    pipeline: Pipeline,
    ports: Ports,
    settings: TickSettings,
) -> ApplyReport | None:
    """Do what was decided, unless the pipeline's mode only advises; return what was done.

    The state is written first, with the version that was read: of two ticks at once only one gets
    past that line. When the changes were taken back, so is the plan in the state.
    """
    if pipeline.adaptation.mode is not Mode.APPLY or decision.target is None:
        return None
    if decision.kind is Kind.MOVE:
        text = plan_to_json(decision.target)
        claimed = write_state(ports.cluster, state.with_plan(text, now_s=ports.clock.now()))
    else:
        claimed = state
    report = apply(
        changes,
        ports.cluster,
        ports.clock,
        ready_timeout_s=settings.ready_timeout_s,
        settle_s=settings.settle_s,
    )
    if report.rolled_back and decision.kind is Kind.MOVE and decision.running is not None:
        text = plan_to_json(decision.running)
        write_state(ports.cluster, claimed.with_plan(text, now_s=ports.clock.now()))
    return report


def apply_plan(
    plan: Plan,
    pipeline: Pipeline,
    cluster: Cluster,
    settings: TickSettings,
    *,
    clock: Clock,
    on_progress: Callable[[str], None] = lambda line: None,
) -> ApplyReport:
    """Make a cluster run a plan that a person chose, and note it as the running one."""
    report = apply(
        changes_to(plan, pipeline, cluster, settings.render),
        cluster,
        clock,
        ready_timeout_s=settings.ready_timeout_s,
        settle_s=settings.settle_s,
        on_progress=on_progress,
    )
    if report.ok:
        state = read_state(cluster, pipeline.name, pipeline.namespace)
        write_state(cluster, state.with_plan(plan_to_json(plan), now_s=clock.now()))
    return report


def _solve(
    pipeline: Pipeline, table: ProfileTable, load_rps: float, ports: Ports, settings: TickSettings
) -> Outcome:
    """Solve for the load, and believe no plan before its promises were recomputed.

    Raises:
        BrokenPromiseError: they do not hold.
    """
    outcome = solve_plan(
        pipeline, table, load_rps, solver=ports.solver, time_limit_s=settings.time_limit_s
    )
    if outcome.plan is not None:
        broken = verify(outcome.plan, pipeline, table)
        if broken:
            raise BrokenPromiseError(
                f"{ports.solver.name}'s plan for {load_rps:g} req/s does not hold: "
                + "; ".join(broken)
            )
    return outcome
