"""A pipeline deployed as `make deploy` does it: gateway, rights, the tick in a pod of its own."""

from __future__ import annotations

import subprocess
import urllib.parse
from typing import Any

from serving.names import GATEWAY, gateway_name, pod_labels
from tests.cluster.stand import READY_S, ROOT, SCRIPTS_MAP, Stand
from tests.kube_context import wait_until

WATCH_S = 5
ARGO = ("argoproj.io", "v1alpha1")


def start_prometheus(stand: Stand, rate_rps: float) -> None:
    """Let a pod answer the tick's questions about load, with one steady rate."""
    container = {
        "name": "prometheus",
        "image": stand.image,
        "command": ["python", "/etc/kserve/prometheus.py", str(rate_rps)],
        "volumeMounts": [{"name": "scripts", "mountPath": "/etc/kserve"}],
    }
    scripts = {"name": "scripts", "configMap": {"name": SCRIPTS_MAP}}
    pod = {"containers": [container], "volumes": [scripts]}
    metadata = {"name": "prometheus", "labels": {"app": "prometheus"}}
    stand.kube.core.create_namespaced_pod(stand.space, {"metadata": metadata, "spec": pod})
    service = {"selector": {"app": "prometheus"}, "ports": [{"port": 9090}]}
    stand.kube.core.create_namespaced_service(stand.space, {"metadata": metadata, "spec": service})
    stand.environment["PENSTOCK_PROMETHEUS_URL"] = f"http://prometheus.{stand.space}:9090"


def deploy(stand: Stand, *arguments: str) -> None:
    """Write the deployment's tree and bring it to the cluster."""
    stand.penstock("deployment", "--manifests", str(ROOT / "manifests"), *arguments)
    kubectl("apply", "-k", str(stand.out / "deploy"))


def gateway_is_up(stand: Stand) -> bool:
    deployment = stand.kube.apps.read_namespaced_deployment(gateway_name("digits"), stand.space)
    return bool(deployment.status.available_replicas == deployment.spec.replicas)


def gateway_metrics(stand: Stand) -> str:
    """Return what the gateway's pods tell Prometheus, all of them."""
    texts = []
    for pod in stand.pods(**pod_labels("digits", GATEWAY)):
        name = urllib.parse.quote(f"{pod.metadata.name}:8080")
        path = f"/api/v1/namespaces/{stand.space}/pods/{name}/proxy/metrics"
        texts.append(kubectl("get", "--raw", path))
    return "\n".join(texts)


def runs(stand: Stand) -> list[dict[str, Any]]:
    """Return the Workflows that Argo's controller made."""
    found = stand.kube.objects.list_namespaced_custom_object(*ARGO, stand.space, "workflows")
    return list(found["items"])


def wait_for_decisions(stand: Stand, more: int, timeout_s: float = READY_S) -> list[dict[str, Any]]:
    """Return the decisions once there are so many more."""
    known = {d["id"] for d in stand.decisions()}
    wait_until(
        lambda: len({d["id"] for d in stand.decisions()} - known) >= more,
        stand.troubles,
        timeout_s,
    )
    return [d for d in stand.decisions() if d["id"] not in known]


def kubectl(*arguments: str) -> str:
    ended = subprocess.run(
        ["kubectl", *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
