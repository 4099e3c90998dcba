"""The status that KServe would show, from what runs here; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.cluster import Readiness
from serving.cluster.local_graphs import GraphProcess
from serving.cluster.local_manifests import ServiceSpec
from serving.cluster.local_services import Service
from serving.manifest import Manifest

NOT_SEEN = Readiness(ready=False, reason="the local cluster has not looked at it yet")


def service_readiness(spec: ServiceSpec, service: Service | None) -> Readiness:
    """Say whether all replicas of this very spec serve, and no older ones do."""
    if service is None or service.spec != spec:
        return NOT_SEEN
    ready = service.current_ready()
    older = len(service.urls()) - ready
    if ready == spec.replicas and not older:
        return Readiness(ready=True)
    reason = f"{ready} of {spec.replicas} replicas ready"
    if older > 0:
        reason += f", {older} to be replaced"
    return Readiness(ready=False, reason=f"{reason}; {service.fault}" if service.fault else reason)


def graph_readiness(manifest: Mapping[str, Any], graph: GraphProcess | None) -> Readiness:
    """Say whether this very graph answers requests and each of its services has a replica."""
    if graph is None:
        return NOT_SEEN
    if graph.serves(manifest):
        return Readiness(ready=True)
    return Readiness(ready=False, reason=graph.fault or "the gateway is starting")


def status_of(readiness: Readiness, url: str) -> dict[str, Any]:
    """Return the ``status`` of an InferenceService or an InferenceGraph."""
    condition = {"type": "Ready", "status": "True" if readiness.ready else "False"}
    if readiness.reason:
        condition |= {"reason": "NotReady", "message": readiness.reason}
    status: dict[str, Any] = {"conditions": [condition], "deploymentMode": "Standard"}
    if url:
        status |= {"url": url, "address": {"url": url}}
    return status


def deployment_of(manifest: Mapping[str, Any], spec: ServiceSpec, service: Service) -> Manifest:
    """Return the Deployment that KServe would keep for a service, with its replica counts."""
    metadata = manifest["metadata"]
    running = [r for r in service.replicas if r.draining_since_s is None]
    counts = {
        "observedGeneration": metadata.get("generation", 1),
        "replicas": len(running),
        "updatedReplicas": sum(1 for r in running if r.spec.template == spec.template),
        "readyReplicas": len(service.urls()),
        "availableReplicas": len(service.urls()),
        "unavailableReplicas": max(0, spec.replicas - len(service.urls())),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"{spec.name}-predictor",
            "namespace": spec.namespace,
            "labels": dict(metadata.get("labels") or {}),
            "generation": metadata.get("generation", 1),
        },
        "spec": {"replicas": spec.replicas},
        "status": counts,
    }
