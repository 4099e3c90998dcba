"""How a pipeline is: what its state says, held beside what its cluster shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from optimizer.plan import plan_from_json
from penstock.domain import Option, Pipeline, Plan
from penstock.errors import NotFoundError
from serving.cluster import Readiness
from serving.cluster.rollout import deployment_name
from serving.names import gateway_name, service_name
from serving.state import State, read_state
from workflows.audit import decisions
from workflows.cron import cron_name
from workflows.schedule import next_run

if TYPE_CHECKING:
    from serving.cluster import Cluster
    from workflows.recorded import Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatus:
    """One stage of the running plan, and how many of its replicas answer."""

    option: Option
    ready: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A pipeline at one moment.

    ``plan`` is the one that runs, ``None`` before the first; ``gateway`` is its address, or what is
    wrong with it; ``next_s`` are the seconds to the next tick, where a schedule says so.
    """

    pipeline: Pipeline
    plan: Plan | None
    stages: tuple[StageStatus, ...]
    graph: Readiness
    gateway: str
    last: Tick | None
    age_s: float | None
    next_s: float | None
    paused: bool
    switching: str
    quarantined: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether all that the plan wants is there, and the last tick did what it wanted."""
        failed = self.last is not None and self.last.result is not None and not self.last.result.ok
        whole = all(stage.ready >= stage.option.replicas for stage in self.stages)
        return self.plan is not None and self.graph.ready and whole and not failed


def status_of(cluster: Cluster, pipeline: Pipeline, *, now_s: float) -> Status:
    """Return how a pipeline is.

    Raises:
        ManifestError: its state can't be read.
        UnreachableError: the cluster does not answer.
    """
    state = read_state(cluster, pipeline.name, pipeline.namespace)
    plan = plan_from_json(state.plan_json) if state.plan_json else None
    made = decisions(state)
    last = made[-1] if made else None
    return Status(
        pipeline=pipeline,
        plan=plan,
        stages=tuple(_stage(cluster, pipeline, option) for option in (plan.stages if plan else ())),
        graph=cluster.ready("InferenceGraph", pipeline.namespace, pipeline.name),
        gateway=_gateway(cluster, pipeline),
        last=last,
        age_s=now_s - last.time_s if last else None,
        next_s=_next_s(cluster, pipeline, now_s),
        paused=state.paused,
        switching=_switching(state),
        quarantined=tuple(
            f"{q.service} for {q.until_s - now_s:.0f} s more" for q in state.quarantined(now_s)
        ),
    )


def _stage(cluster: Cluster, pipeline: Pipeline, option: Option) -> StageStatus:
    name = service_name(pipeline.name, option.stage, option.variant)
    workload = deployment_name("InferenceService", name)
    live = cluster.get("Deployment", pipeline.namespace, str(workload))
    readiness = cluster.ready("InferenceService", pipeline.namespace, name)
    return StageStatus(option=option, ready=_available(live), reason=readiness.reason)


def _available(deployment: Mapping[str, Any] | None) -> int:
    return int(((deployment or {}).get("status") or {}).get("availableReplicas") or 0)


def _gateway(cluster: Cluster, pipeline: Pipeline) -> str:
    if hasattr(cluster, "gateway_url"):
        try:
            return str(cluster.gateway_url(pipeline.name, pipeline.namespace))
        except NotFoundError:
            return "not running"
    name = gateway_name(pipeline.name)
    live = cluster.get("Deployment", pipeline.namespace, name)
    if live is None:
        return "not deployed"
    wanted = int((live.get("spec") or {}).get("replicas", 1))
    url = f"http://{name}.{pipeline.namespace}.svc.cluster.local/"
    return f"{_available(live)} of {wanted} ready, {url}"


def _next_s(cluster: Cluster, pipeline: Pipeline, now_s: float) -> float | None:
    cron = cluster.get("CronWorkflow", pipeline.namespace, cron_name(pipeline.name))
    spec = (cron or {}).get("spec") or {}
    if not spec.get("schedules") or spec.get("suspend"):
        return None
    now = datetime.fromtimestamp(now_s, ZoneInfo(spec.get("timezone") or "Etc/UTC"))
    found = [run for run in (next_run(s, now) for s in spec["schedules"]) if run is not None]
    return min(run.timestamp() for run in found) - now_s if found else None


def _switching(state: State) -> str:
    if state.journal is None:
        return ""
    error = f", taken back: {state.journal.error}" if state.journal.error else ""
    return f"{state.journal.phase.value}, held by {state.journal.owner}{error}"
