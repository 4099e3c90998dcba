"""The gateway of a pipeline on Kubernetes: in front of the graph, at least two, never none.

KServe makes no route for a graph in Standard mode and its router counts nothing, so this is both a
pipeline's address and where its load is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.domain import Pipeline
from penstock.settings import Settings
from serving.manifest import Manifest
from serving.names import GATEWAY, gateway_name, pod_labels
from serving.pods import container_security, replaced_first, spread_over_nodes
from serving.settings import RenderSettings

PORT = 8080
DRAIN_S = 15
"""How long a gateway that was told to stop still serves: until every proxy has learned of it."""


def gateway(pipeline: Pipeline, settings: Settings, *, replicas: int) -> tuple[Manifest, ...]:
    """Return the gateway's Deployment, Service and PodDisruptionBudget."""
    name, labels = gateway_name(pipeline.name), pod_labels(pipeline.name, GATEWAY)
    metadata = {"name": name, "namespace": pipeline.namespace, "labels": labels}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": dict(metadata),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": labels},
            "strategy": replaced_first(),
            "template": {
                "metadata": {"labels": labels},
                "spec": _gateway_pod(pipeline, settings, labels),
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": dict(metadata),
        "spec": {
            "selector": labels,
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": dict(metadata),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
    }
    return deployment, service, budget


def _gateway_pod(
    pipeline: Pipeline, settings: Settings, labels: Mapping[str, str]
) -> dict[str, Any]:
    timeout_s = _timeout_s(pipeline, settings)
    return {
        "automountServiceAccountToken": False,
        "containers": [_gateway_container(pipeline, settings, timeout_s)],
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccountName": settings.service_account,
        "terminationGracePeriodSeconds": DRAIN_S + timeout_s + 5,
        "topologySpreadConstraints": [spread_over_nodes(labels)],
    }


def _gateway_container(pipeline: Pipeline, settings: Settings, timeout_s: int) -> dict[str, Any]:
    graph_url = f"http://{pipeline.name}.{pipeline.namespace}.svc.cluster.local/"
    given = {
        "--pipeline": pipeline.name,
        "--namespace": pipeline.namespace,
        "--host": "0.0.0.0",
        "--port": str(PORT),
        "--upstream": graph_url,
        "--timeout-s": str(timeout_s),
        "--slo-s": f"{pipeline.slo.latency_s:g}",
        "--slo-quantile": f"{pipeline.slo.quantile:g}",
        "--drain-s": str(DRAIN_S),
    }
    return {
        "name": GATEWAY,
        "image": settings.predictor_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "serving.gateway"],
        "args": [word for pair in given.items() for word in pair],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "96Mi"},
            "limits": {"cpu": "1", "memory": "256Mi"},
        },
        # No preStop: told to stop, the process is no longer ready and serves on for --drain-s.
        "readinessProbe": {
            "httpGet": {"path": "/v2/health/ready", "port": "http"},
            "periodSeconds": 2,
            "timeoutSeconds": 1,
            "failureThreshold": 2,
        },
        "livenessProbe": {
            "httpGet": {"path": "/v2/health/live", "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
        },
        "startupProbe": {
            "httpGet": {"path": "/v2/health/live", "port": "http"},
            "periodSeconds": 1,
            "failureThreshold": 30,
        },
        "securityContext": container_security(),
    }


def _timeout_s(pipeline: Pipeline, settings: Settings) -> int:
    """Return a second more than KServe's router takes to give up, so that its own error arrives."""
    render = RenderSettings(image=settings.predictor_image, store_uri=settings.store)
    each_s = render.router_timeout_s(pipeline.slo.latency_s)
    return each_s * len(pipeline.stages) + 2
