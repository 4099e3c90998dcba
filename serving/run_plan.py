"""Make a cluster run one plan: whoever chose it, a person, a pipeline or a tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.clock import Clock
from penstock.domain import Pipeline, Plan
from serving.apply import ApplyReport, Hands, Target, apply, resume, seen_ready
from serving.intent import ApplySettings, intend, resumed_target
from serving.state import read_state, write_state

if TYPE_CHECKING:
    from serving.cluster import Cluster


def apply_plan(
    plan: Plan,
    pipeline: Pipeline,
    cluster: Cluster,
    settings: ApplySettings,
    *,
    clock: Clock,
    on_progress: Callable[[str], None] = lambda line: None,
) -> ApplyReport:
    """Make a cluster run a plan that a person chose, note it as the running one, and see it ready.

    A switch that is under way is carried on first.
    """
    hands = Hands(cluster=cluster, clock=clock, pace=settings.pace, on_progress=on_progress)
    state = read_state(cluster, pipeline.name, pipeline.namespace)
    if state.journal is not None:
        target = resumed_target(state, pipeline, cluster, settings)
        before = noted(resume(target, state, hands), target, cluster)
        if before.state.journal is not None:
            return before
        state = before.state
    intent = intend(plan, state, pipeline, cluster, settings, now_s=clock.now())
    assert intent.target is not None, "there is a plan"
    report = noted(apply(intent.target, intent.changes, state, hands), intent.target, cluster)
    return seen_ready(report, intent.target, hands)


def noted(report: ApplyReport, target: Target | None, cluster: Cluster) -> ApplyReport:
    """Note in the state that the target was applied whole, if it was."""
    if target is None or not report.ok or report.state.applied == target.digest:
        return report
    return replace(report, state=write_state(cluster, replace(report.state, applied=target.digest)))
