"""What KServe's controllers do with services and graphs, as far as an applier can see it.

Called after every write. A service gets a Deployment ``<name>-predictor``, a graph one of its own
name; both are complete at once unless the name is in ``stuck``. Replicas are set by whom the
service's class says; HPA and KEDA choose what ``demand`` says, within their bounds. It notes what
must never happen, a router that names a service without a replica and two autoscalers on one
Deployment, and counts how often pods were rolled.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from serving.cluster.apiserver import ApiServer

APPS = "/apis/apps/v1/namespaces/{ns}/deployments"
ISVC = "/apis/serving.kserve.io/v1beta1/namespaces/{ns}/inferenceservices"
GRAPH = "/apis/serving.kserve.io/v1alpha1/namespaces/{ns}/inferencegraphs"
REPLICA_FIELDS = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")
CLASS = "serving.kserve.io/autoscalerClass"


class KServe:
    """The controllers of one namespace."""

    def __init__(self, namespace: str = "default") -> None:
        self.ns = namespace
        self.stuck: set[str] = set()
        self.asleep = False
        self.outages: list[str] = []
        self.templates: dict[str, list[str]] = {}
        self.demand: dict[str, int] = {}
        self.autoscalers: dict[str, set[str]] = {}

    def __call__(self, server: ApiServer) -> None:
        if self.asleep:
            return
        services = self._listed(server, ISVC)
        for service in services.values():
            self._serve(server, service)
        for graph in self._listed(server, GRAPH).values():
            self._route(server, graph)
        for name, live in self._listed(server, APPS).items():
            if "penstock.dev/role" in live["metadata"].get("labels", {}):
                continue  # somebody else's
            owner = name.removesuffix("-predictor")
            kept = services if name.endswith("-predictor") else self._listed(server, GRAPH)
            if owner not in kept:
                server.handle("DELETE", f"{self._path(APPS)}/{name}")
        self._look_for_outages(server)

    def rollouts(self) -> dict[str, int]:
        """Return how often the pods of each Deployment were made anew."""
        return {name: len(hashes) for name, hashes in self.templates.items()}

    def _serve(self, server: ApiServer, service: dict[str, Any]) -> None:
        name, predictor = service["metadata"]["name"], service["spec"]["predictor"]
        template = {
            "metadata": {k: service["metadata"].get(k) for k in ("labels", "annotations")},
            "spec": {k: v for k, v in predictor.items() if k not in REPLICA_FIELDS},
        }
        replicas = self._replicas(server, service)
        ready = self._deploy(server, f"{name}-predictor", replicas, template, name)
        if ready and not service.get("status", {}).get("address"):
            status = {
                "address": {"url": f"http://{name}-predictor.{self.ns}.svc.cluster.local"},
                "conditions": [{"type": "Ready", "status": "True"}],
            }
            self._patch(server, f"{self._path(ISVC)}/{name}/status", {"status": status})

    def _replicas(self, server: ApiServer, service: dict[str, Any]) -> int:
        """Return the replicas of a service's Deployment after its autoscaler has looked at it.

        KServe makes one replica where an autoscaler or somebody else is to choose. Its HPA goes
        when the class is ``none`` or ``external``; a ScaledObject of KEDA's never does.
        """
        name, predictor = service["metadata"]["name"], service["spec"]["predictor"]
        chosen = service["metadata"].get("annotations", {}).get(CLASS, "hpa")
        kept = self.autoscalers.setdefault(name, set())
        if chosen in ("none", "external"):
            kept.discard("hpa")
        else:
            kept.add(chosen)
        if len(kept) > 1:
            self.outages.append(f"{name} has two autoscalers: {sorted(kept)}")
        live = self._listed(server, APPS).get(f"{name}-predictor")
        running = live["spec"]["replicas"] if live else 1
        least = predictor.get("minReplicas", 1)
        if chosen == "none":
            return int(least)
        if chosen == "external":
            return int(running)
        most = max(least, predictor.get("maxReplicas", 0))
        return int(min(max(self.demand.get(name, running), least), most))

    def _route(self, server: ApiServer, graph: dict[str, Any]) -> None:
        services = self._listed(server, ISVC)
        resolved = json.loads(json.dumps(graph["spec"]))
        for node in resolved["nodes"].values():
            for step in (s for s in node["steps"] if "serviceName" in s):
                target = services.get(step["serviceName"], {}).get("status", {}).get("address")
                if not target:
                    return
                step["serviceUrl"] = f"{target['url']}/v2/models/{step['serviceName']}/infer"
        name = graph["metadata"]["name"]
        container = {"name": name, "args": ["--graph-json", json.dumps(resolved, sort_keys=True)]}
        template = {
            "metadata": {"annotations": graph["metadata"].get("annotations")},
            "spec": {"containers": [container]},
        }
        self._deploy(server, name, 1, template, name)

    def _deploy(
        self, server: ApiServer, name: str, replicas: int, template: dict[str, Any], owner: str
    ) -> bool:
        """Make the Deployment so; return whether it is complete."""
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": self.ns},
            "spec": {"replicas": replicas, "template": template},
        }
        digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
        hashes = self.templates.setdefault(name, [])
        if not hashes or hashes[-1] != digest:
            hashes.append(digest)
        path = self._path(APPS)
        if server.handle("GET", f"{path}/{name}").status == 404:
            live = server.handle("POST", path, body=body).body
        else:
            spec = {"spec": {"replicas": replicas, "template": {**template}}}
            live = self._patch(server, f"{path}/{name}", spec)
        stuck = owner in self.stuck
        generation = live["metadata"]["generation"]
        had = live.get("status", {}).get("availableReplicas", 0)
        status = {
            "observedGeneration": generation,
            "replicas": replicas,
            "updatedReplicas": 0 if stuck else replicas,
            "availableReplicas": min(had, replicas) if stuck else replicas,
        }
        self._patch(server, f"{path}/{name}/status", {"status": status})
        return not stuck

    def _look_for_outages(self, server: ApiServer) -> None:
        services = self._listed(server, ISVC)
        deployments = self._listed(server, APPS)
        for name in self._listed(server, GRAPH):
            if name not in deployments:
                continue
            container = deployments[name]["spec"]["template"]["spec"]["containers"][0]
            routed = json.loads(container["args"][1])["nodes"].values()
            steps = [step for node in routed for step in node["steps"]]
            for target in (s["serviceName"] for s in steps if "serviceName" in s):
                status = deployments.get(f"{target}-predictor", {}).get("status", {})
                if target not in services or not status.get("availableReplicas"):
                    self.outages.append(f"{name} routes to {target}, which has no replica")

    def _listed(self, server: ApiServer, path: str) -> dict[str, dict[str, Any]]:
        items = server.handle("GET", self._path(path)).body["items"]
        return {item["metadata"]["name"]: item for item in items}

    def _patch(self, server: ApiServer, path: str, body: dict[str, Any]) -> dict[str, Any]:
        media = "application/merge-patch+json"
        answer = server.handle("PATCH", path, content_type=media, body=body)
        assert answer.status == 200, answer
        return dict(answer.body)

    def _path(self, path: str) -> str:
        return path.format(ns=self.ns)
