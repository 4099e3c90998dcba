"""What KServe's controllers do in Standard mode, for a cluster that has its definitions alone.

It looks at the services and graphs of one namespace again and again and makes Deployments and
Services of them, as KServe 0.20 does: the names, the labels, annotations copied to the pods, an
init container that fetches ``STORAGE_URI``, replicas enforced under the class ``none``, a router
that gets its graph as one argument. The router is ours, with the timing of KServe's. It is no
webhook: what those refuse is tested elsewhere.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tests.cluster.stand import SCRIPTS_MAP, STORE_SECRET
from tests.kube_context import Kube

SERVING = "serving.kserve.io"
ISVC = (SERVING, "v1beta1", "inferenceservices")
GRAPH = (SERVING, "v1alpha1", "inferencegraphs")
OWN_FIELDS = (
    *("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "deploymentStrategy"),
    *("annotations", "labels", "timeout", "autoScaling"),
)
POLL_S = 0.3


class KServeStandIn:
    """The controllers of one namespace, in a thread."""

    def __init__(self, kube: Kube, namespace: str, image: str) -> None:
        self._kube, self._ns, self._image = kube, namespace, image
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.faults: list[str] = []

    def __enter__(self) -> KServeStandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self._reconcile()
            except (ApiException, HTTPError) as err:
                # An object that went meanwhile, or a write beside another's: the next round.
                self.faults.append(str(err))

    def _reconcile(self) -> None:
        services = {s["metadata"]["name"]: s for s in self._listed(ISVC)}
        for service in services.values():
            self._serve(service)
        for graph in self._listed(GRAPH):
            self._route(graph, services)

    def _serve(self, service: Mapping[str, Any]) -> None:
        name = f"{service['metadata']['name']}-predictor"
        predictor = service["spec"]["predictor"]
        pod = {k: v for k, v in predictor.items() if k not in OWN_FIELDS}
        labels = {
            "app": f"isvc.{name}",
            f"{SERVING}/inferenceservice": service["metadata"]["name"],
        }
        spec = {
            "replicas": predictor.get("minReplicas", 1),
            "strategy": predictor.get("deploymentStrategy") or {"type": "RollingUpdate"},
            **self._template(service, labels, self._with_storage(pod)),
        }
        live = self._deploy(service, name, spec, labels)
        address = {"url": f"http://{name}.{self._ns}.svc.cluster.local"}
        self._tell(ISVC, service, live, {"address": address, "url": address["url"]})

    def _route(self, graph: Mapping[str, Any], services: Mapping[str, Any]) -> None:
        """Bring a graph to its router; one that names a service without address stays as it is."""
        resolved = json.loads(json.dumps(graph["spec"]))
        for node in resolved["nodes"].values():
            for step in node["steps"]:
                target = services.get(step.get("serviceName"), {})
                status = target.get("status") or {}
                if not _is_ready(status):
                    return
                path = f"/v2/models/{step['serviceName']}/infer"
                step["serviceUrl"] = status["address"]["url"] + path
        name = graph["metadata"]["name"]
        labels = {"app": name, f"{SERVING}/inferencegraph": name}
        pod = self._router(name, json.dumps(resolved, sort_keys=True))
        spec = {
            "replicas": graph["spec"].get("minReplicas", 1),
            **self._template(graph, labels, pod),
        }
        live = self._deploy(graph, name, spec, labels)
        self._tell(GRAPH, graph, live, {"url": f"http://{name}.{self._ns}.svc.cluster.local"})

    def _template(
        self, owner: Mapping[str, Any], labels: dict[str, str], pod: dict[str, Any]
    ) -> dict[str, Any]:
        metadata = owner["metadata"]
        copied = {
            "labels": {**(metadata.get("labels") or {}), **labels},
            "annotations": metadata.get("annotations") or {},
        }
        return {
            "selector": {"matchLabels": {"app": labels["app"]}},
            "template": {"metadata": copied, "spec": pod},
        }

    def _with_storage(self, pod: dict[str, Any]) -> dict[str, Any]:
        """Return the pod with what KServe's pod webhook adds for ``STORAGE_URI``."""
        pod = json.loads(json.dumps(pod))
        container = pod["containers"][0]
        uri = next(e["value"] for e in container["env"] if e["name"] == "STORAGE_URI")
        mount = {"name": "kserve-provision-location", "mountPath": "/mnt/models"}
        initializer = {
            "name": "storage-initializer",
            "image": self._image,
            "command": ["python", "/etc/kserve/fetch.py", uri, "/mnt/models"],
            "envFrom": [{"secretRef": {"name": STORE_SECRET}}],
            "securityContext": container.get("securityContext"),
            "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "1", "memory": "512Mi"}},
            "volumeMounts": [mount, _scripts_mount()],
        }
        container["volumeMounts"].append({**mount, "readOnly": True})
        pod["initContainers"] = [initializer]
        pod["volumes"] += [{"name": mount["name"], "emptyDir": {}}, _scripts_volume()]
        return pod

    def _router(self, name: str, graph_json: str) -> dict[str, Any]:
        container = {
            "name": name,
            "image": self._image,
            "command": ["python", "/etc/kserve/router.py"],
            "args": ["--graph-json", graph_json],
            "ports": [{"containerPort": 8080}],
            "readinessProbe": {
                "httpGet": {"path": "/readyz", "port": 8080},
                "initialDelaySeconds": 5,
                "periodSeconds": 5,
            },
            "resources": {
                "requests": {"cpu": "100m", "memory": "100Mi"},
                "limits": {"cpu": "1", "memory": "1Gi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "privileged": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
            },
            "volumeMounts": [_scripts_mount()],
        }
        return {
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [_scripts_volume()],
        }

    def _deploy(
        self, owner: Mapping[str, Any], name: str, spec: dict[str, Any], labels: dict[str, str]
    ) -> Any:
        """Make the Deployment and its Service so; return the Deployment as it is."""
        metadata = {"name": name, "labels": labels, "ownerReferences": [_owner(owner)]}
        apps, core = self._kube.apps, self._kube.core
        try:
            live = apps.read_namespaced_deployment(name, self._ns)
        except ApiException as err:
            if err.status != 404:
                raise
            selected = {"app": labels["app"]}
            ports = [{"port": 80, "targetPort": 8080}]
            core.create_namespaced_service(
                self._ns,
                {
                    "metadata": metadata,
                    "spec": {"selector": selected, "ports": ports},
                },
            )
            return apps.create_namespaced_deployment(
                self._ns, {"metadata": {**metadata, "annotations": _made_from(spec)}, "spec": spec}
            )
        if live.spec.replicas != spec["replicas"] or not _same(live, spec):
            wanted = {"metadata": {"annotations": _made_from(spec)}, "spec": spec}
            return apps.patch_namespaced_deployment(name, self._ns, wanted)
        return live

    def _tell(
        self,
        kind: tuple[str, str, str],
        of: Mapping[str, Any],
        deployment: Any,
        more: dict[str, Any],
    ) -> None:
        conditions = deployment.status.conditions or ()
        available = any((c.type, c.status) == ("Available", "True") for c in conditions)
        ready = {"type": "Ready", "status": "True" if available else "False"}
        status = {**more, "conditions": [ready]}
        if {k: (of.get("status") or {}).get(k) for k in status} != status:
            group, version, plural = kind
            self._kube.objects.patch_namespaced_custom_object_status(
                group, version, self._ns, plural, of["metadata"]["name"], {"status": status}
            )

    def _listed(self, kind: tuple[str, str, str]) -> list[dict[str, Any]]:
        group, version, plural = kind
        found = self._kube.objects.list_namespaced_custom_object(group, version, self._ns, plural)
        return [item for item in found["items"] if "deletionTimestamp" not in item["metadata"]]


def _is_ready(status: Mapping[str, Any]) -> bool:
    return {"type": "Ready", "status": "True"} in status.get("conditions", ())


def _made_from(spec: Mapping[str, Any]) -> dict[str, str]:
    """Note what a Deployment was made from: its own spec comes back with defaults filled in."""
    return {"test/made-from": json.dumps(spec["template"], sort_keys=True)}


def _same(live: Any, spec: Mapping[str, Any]) -> bool:
    noted = (live.metadata.annotations or {}).get("test/made-from")
    return bool(noted == _made_from(spec)["test/made-from"])


def _owner(of: Mapping[str, Any]) -> dict[str, Any]:
    named = {k: of["metadata"][k] for k in ("name", "uid")}
    return {"apiVersion": of["apiVersion"], "kind": of["kind"], "controller": True, **named}


def _scripts_mount() -> dict[str, Any]:
    return {"name": "scripts", "mountPath": "/etc/kserve", "readOnly": True}


def _scripts_volume() -> dict[str, Any]:
    return {"name": "scripts", "configMap": {"name": SCRIPTS_MAP}}
