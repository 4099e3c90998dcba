"""The ``scale`` subresource: an object's replicas as an object of its own, as Kubernetes has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.cluster.faults import invalid, invalid_answer
from serving.cluster.resources import Refusal, Resource, bad_request
from serving.manifest import Manifest, merge

AS_SCALE = Resource(group="autoscaling", version="v1", kind="Scale", plural="scales")
_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(live: Mapping[str, Any]) -> Manifest:
    """Return the Scale of an object with ``spec.replicas``; the labels stay behind, and a 0 too."""
    replicas = live.get("spec", {}).get("replicas", 1)
    return {
        "kind": AS_SCALE.kind,
        "apiVersion": AS_SCALE.api_version,
        "metadata": {k: v for k, v in live["metadata"].items() if k in _KEPT},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {"replicas": live.get("status", {}).get("replicas", 0)},
    }


def with_scale(live: Mapping[str, Any], scale: Mapping[str, Any]) -> Manifest:
    """Return the object with the replicas and the version that a Scale asks for.

    Raises:
        Refusal: it asks for no number of replicas.
    """
    name, replicas = live["metadata"]["name"], (scale.get("spec") or {}).get("replicas") or 0
    if type(replicas) is not int:
        raise Refusal(bad_request(f"Scale.spec.replicas must be a whole number, got {replicas!r}"))
    if replicas < 0:
        fault = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise Refusal(invalid_answer(AS_SCALE, name, [fault]))
    version = scale["metadata"].get("resourceVersion")
    fence = {"metadata": {"resourceVersion": version}} if version else {}
    changed: Manifest = merge(live, {**fence, "spec": {"replicas": replicas}})
    return changed
