"""What is to be sent for a plan: rendered, held against what runs and against what others did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from penstock.domain import Pipeline, Plan
from penstock.errors import UserError
from penstock.plan_json import plan_from_json, plan_to_json
from penstock.settings import Settings
from serving.apply import Pace, Target, digest_of, live_objects
from serving.diff import Change, diff
from serving.edits import edits, respecting, told
from serving.names import service_name
from serving.quarantine import held_back
from serving.render import RenderSettings, to_apply
from serving.scale import following
from serving.state import State

if TYPE_CHECKING:
    from serving.cluster import Cluster


class Edits(StrEnum):
    """What becomes of fields that somebody else changed."""

    REVERT = "revert"
    RESPECT = "respect"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplySettings:
    """How a plan is rendered, and how long an apply waits.

    ``settle_s`` is the drain between a moved graph and the services it left; what did not come up
    is not tried again for ``quarantine_s``; after ``patience_s`` a switch is left to the next tick.
    """

    render: RenderSettings
    ready_timeout_s: float = 120.0
    settle_s: float = 0.0
    quarantine_s: float = 600.0
    patience_s: float = float("inf")
    edits: Edits = Edits.REVERT

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        render: RenderSettings,
        cluster: Cluster | None = None,
        **more: Any,
    ) -> Self:
        """Return what the settings say; the drain is what that cluster's routers need, if unset.

        ``more`` is what a subclass has besides.
        """
        settle_s = settings.settle_s
        return cls(
            render=render,
            ready_timeout_s=settings.ready_timeout_s,
            settle_s=getattr(cluster, "settle_s", 0.0) if settle_s is None else settle_s,
            quarantine_s=settings.quarantine_s,
            edits=Edits(settings.edits),
            **more,
        )

    @property
    def pace(self) -> Pace:
        """How long an apply may take."""
        return Pace(
            ready_timeout_s=self.ready_timeout_s,
            settle_s=self.settle_s,
            quarantine_s=self.quarantine_s,
            patience_s=self.patience_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is to run and what has to be sent for it; ``edits`` tells what others had changed."""

    target: Target | None = None
    changes: tuple[Change, ...] = ()
    edits: tuple[str, ...] = ()


def intend(
    plan: Plan | None,
    state: State,
    pipeline: Pipeline,
    cluster: Cluster,
    settings: ApplySettings,
    *,
    now_s: float,
) -> Intent:
    """Return what has to change for the cluster to run ``plan``: nothing when there is no plan.

    It is asked of the running plan as well, so that what somebody removed by hand comes back.
    """
    if plan is None:
        return Intent()
    live = live_objects(cluster, pipeline.name, pipeline.namespace)
    wanted = to_apply(pipeline, plan, settings.render)
    digest = digest_of(wanted)
    before = _before(state, state.applied, pipeline, settings.render)
    applied = before.manifests if before and before.digest == state.applied else ()
    found = edits(applied, live) if applied else ()
    if found and settings.edits is Edits.RESPECT:
        wanted = respecting(wanted, applied, live)
    wanted = following(wanted, live, before.manifests if before else ())
    quarantined = {q.service for q in state.quarantined(now_s)}
    wanted = held_back(wanted, live, quarantined)
    return Intent(
        target=Target(plan=plan_to_json(plan), manifests=wanted, digest=digest),
        changes=diff(wanted, live),
        edits=told(found, live),
    )


def target_of(plan_json: str, pipeline: Pipeline, settings: RenderSettings) -> Target | None:
    """Return what a plan is rendered to now; ``None`` when it no longer fits the pipeline."""
    try:
        manifests = to_apply(pipeline, plan_from_json(plan_json), settings)
    except UserError:
        return None
    return Target(plan=plan_json, manifests=manifests)


def resumed_target(
    state: State, pipeline: Pipeline, cluster: Cluster, settings: ApplySettings
) -> Target | None:
    """Return what the switch in the state is to end at, with the edits that are respected.

    Replicas that penstock writes itself end at the plan's: which of them another autoscaler had
    moved is no longer known. ``None`` when the plan no longer fits the pipeline, or there is no
    switch.
    """
    journal = state.journal
    target = target_of(journal.plan_to, pipeline, settings.render) if journal else None
    if target is None or journal is None:
        return target
    target = replace(target, manifests=following(target.manifests, (), ()))
    before = _before(state, journal.before, pipeline, settings.render)
    if settings.edits is not Edits.RESPECT or before is None or before.digest != journal.before:
        return target
    live = live_objects(cluster, pipeline.name, pipeline.namespace)
    return replace(target, manifests=respecting(target.manifests, before.manifests, live))


def running_plan(state: State) -> Plan | None:
    """Return the plan that the state says is running."""
    return plan_from_json(state.plan_json) if state.plan_json else None


def services_of(plan: Plan | None) -> frozenset[str]:
    """Return the names of the services that a plan runs."""
    stages = plan.stages if plan else ()
    return frozenset(service_name(plan.pipeline, o.stage, o.variant) for o in stages if plan)


def _before(
    state: State, applied: str, pipeline: Pipeline, settings: RenderSettings
) -> Target | None:
    """Return what the running plan is rendered to now, if anything was applied whole."""
    if not (applied and state.plan_json):
        return None
    return target_of(state.plan_json, pipeline, settings)
