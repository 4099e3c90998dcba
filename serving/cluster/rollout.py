"""Whether a rollout is over, read off the Deployment that KServe keeps for a service or graph.

A Deployment may be complete and yet be the old one: KServe writes it some time after the object
changes. It counts only when it also says what the object says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from serving.autoscale import class_of
from serving.cluster import Readiness
from serving.manifest import Manifest

_CONTAINER_FIELDS = ("image", "command", "args")
_AUTOSCALED = ("hpa", "keda")
_GRAPH_ARGUMENT = "--graph-json"
_CONTROLLER_AT_WORK = "KServe has not brought it to the Deployment yet"


def deployment_name(kind: str, name: str) -> str | None:
    """Return the name of the Deployment that does the work, ``None`` when there is no such."""
    names = {"InferenceService": f"{name}-predictor", "InferenceGraph": name, "Deployment": name}
    return names.get(kind)


def rolled_out(live: Manifest, deployment: Manifest | None) -> Readiness:
    """Say whether what ``live`` asks for runs, whole and alone; the reason names what is amiss."""
    kind = live.get("kind")
    name = live["metadata"]["name"]
    if deployment is None:
        return Readiness(ready=False, reason=f"{name}: no Deployment yet")
    lags = list(_lags(live, deployment)) if kind != "Deployment" else []
    amiss = [*lags, *_incomplete(deployment)]
    if not amiss and kind == "InferenceService" and not _has_address(live):
        amiss = ["KServe has not given it an address yet"]
    return Readiness(ready=not amiss, reason=f"{name}: {amiss[0]}" if amiss else "")


def _incomplete(deployment: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps a Deployment from being complete, as ``kubectl rollout status`` sees it."""
    generation = deployment["metadata"].get("generation", 0)
    status = deployment.get("status") or {}
    wanted = _replicas(deployment)
    for condition in status.get("conditions") or ():
        if (condition.get("type"), condition.get("status")) == ("Progressing", "False"):
            yield f"the rollout stopped: {condition.get('message') or condition.get('reason')}"
    if status.get("observedGeneration", 0) < generation:
        yield "the Deployment's change has not been seen yet"
    there, updated, available = (
        status.get(f) or 0 for f in ("replicas", "updatedReplicas", "availableReplicas")
    )
    if updated < wanted:
        yield f"{updated} of {wanted} pods are up to date"
    if there > updated:
        yield f"{there - updated} old pods are still there"
    if available < wanted:
        yield f"{available} of {wanted} pods are available"


def _lags(live: Mapping[str, Any], deployment: Mapping[str, Any]) -> Iterator[str]:
    """Yield in what the Deployment is not yet what the object says."""
    template = deployment.get("spec", {}).get("template", {}).get("spec", {})
    containers = {c.get("name"): c for c in template.get("containers") or ()}
    if live.get("kind") == "InferenceGraph":
        yield from _graph_lags(live, containers.values())
        return
    predictor = live.get("spec", {}).get("predictor", {})
    for wanted in predictor.get("containers") or ():
        if not _carries(containers.get(wanted.get("name"), {}), wanted):
            yield _CONTROLLER_AT_WORK
    chosen, least = class_of(live), predictor.get("minReplicas", 1)
    if chosen == "none" and _replicas(deployment) != least:
        yield _CONTROLLER_AT_WORK
    if chosen in _AUTOSCALED and _replicas(deployment) < least:
        # KServe makes the Deployment with one replica, and leaves the rest to the autoscaler.
        yield f"its autoscaler has brought it to {_replicas(deployment)} of {least} replicas"


def _carries(have: Mapping[str, Any], want: Mapping[str, Any]) -> bool:
    """Whether a container is the wanted one; what KServe adds to it does not matter."""
    env = {e.get("name"): e.get("value") for e in have.get("env") or ()}
    return all(have.get(f) == want[f] for f in _CONTAINER_FIELDS if f in want) and all(
        env.get(e["name"]) == e["value"] for e in want.get("env") or () if "value" in e
    )


def _graph_lags(live: Mapping[str, Any], containers: Any) -> Iterator[str]:
    """Compare the steps that the router was started with to those of the graph."""
    wanted = _targets(live.get("spec", {}))
    for container in containers:
        arguments = container.get("args") or []
        if _GRAPH_ARGUMENT not in arguments[:-1]:
            continue
        try:
            routed = json.loads(arguments[arguments.index(_GRAPH_ARGUMENT) + 1])
        except ValueError:
            continue
        if _targets(routed) != wanted:
            yield _CONTROLLER_AT_WORK


def _targets(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        name: [str(s.get("serviceName") or s.get("nodeName") or "") for s in node.get("steps", ())]
        for name, node in (spec.get("nodes") or {}).items()
    }


def _replicas(deployment: Mapping[str, Any]) -> int:
    wanted = deployment.get("spec", {}).get("replicas", 1)
    return 1 if wanted is None else int(wanted)


def _has_address(live: Mapping[str, Any]) -> bool:
    status = live.get("status") or {}
    return bool((status.get("address") or {}).get("url"))
