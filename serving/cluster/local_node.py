"""The controllers of the local cluster: what KServe's and Kubernetes' do, for one machine."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from penstock.errors import ArtifactError, ManifestError, NotFoundError, PenstockError
from serving.autoscale import Autoscaling, class_of
from serving.cluster import Cluster, Readiness
from serving.cluster.local_graphs import GraphProcess
from serving.cluster.local_manifests import ServiceSpec, read_service, write_config_map
from serving.cluster.local_services import DRAIN_TIMEOUT_S, Node, Replica, Service
from serving.cluster.local_status import (
    deployment_of,
    graph_readiness,
    service_readiness,
    status_of,
)
from serving.cluster.processes import Cores, cpu_seconds
from serving.cluster.resources import Refusal
from serving.cluster.scaling import scale_of, with_scale
from serving.diff import Action, Change
from serving.manifest import Manifest, merge
from serving.router.graph import read_graph
from serving.scale import SCALE
from serving.store import make_store

TICK_S = 0.5
BUSY_TICK_S = 0.05

Key = tuple[str, str]

_CHECKS: Mapping[str, Callable[[Manifest], object]] = {
    "InferenceService": read_service,
    "InferenceGraph": read_graph,
}
"""What raises ManifestError for an object that this machine could never run."""


class LocalNode:
    """Keeps the objects, and processes that are what the objects say; ``run`` is its loop."""

    def __init__(self, folder: Path, objects: Cluster, cores: Cores, *, gateway_port: int) -> None:
        self._objects = objects
        self._folder = folder
        self._next_port = gateway_port
        self._namespaces: set[str] = set()
        self._services: dict[Key, Service] = {}
        self._graphs: dict[Key, GraphProcess] = {}
        self._scales: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._node = Node(
            config_maps=folder / "configmaps",
            logs=folder / "logs",
            cores=cores,
            fetch=lambda uri: fetch_model(uri, folder / "models"),
            on_change=self._changed.set,
        )

    def apply(self, change: Change) -> Manifest | None:
        """Carry out a change on the objects; the processes follow.

        Raises:
            ConflictError: somebody else wrote first.
            NotFoundError: there is nothing to change.
            ManifestError: the object would make no sense, or this machine cannot run it.
        """
        if change.kind == SCALE:
            return self._scale(change)
        if (change.kind, change.action) == ("InferenceService", Action.CREATE):
            self._scales.pop((change.namespace, change.name), None)
        check = _CHECKS.get(change.kind)
        if check is not None and change.action in (Action.CREATE, Action.REPLACE):
            check(change.body)
        answer = self._objects.apply(change)
        self._namespaces.add(change.namespace)
        self._changed.set()
        return answer

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Remove an object; its processes drain and end."""
        self._changed.set()
        return self._objects.delete(kind, namespace, name)

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object with the status it has now."""
        if kind in ("Deployment", SCALE):
            found = self.list("Deployment", namespace, {})
            one = next((one for one in found if one["metadata"]["name"] == name), None)
            return scale_of(one) if one and kind == SCALE else one
        manifest = self._objects.get(kind, namespace, name)
        return None if manifest is None else self._with_status(manifest)

    def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> tuple[Manifest, ...]:
        """Return the objects that carry these labels, each with its status."""
        if kind != "Deployment":
            found = self._objects.list(kind, namespace, labels)
            return tuple(self._with_status(manifest) for manifest in found)
        services = self._objects.list("InferenceService", namespace, labels)
        deployments = [self._deployment(manifest) for manifest in services]
        return tuple(one for one in deployments if one is not None)

    def ready(self, kind: str, namespace: str, name: str) -> Readiness:
        """Say whether the processes are what the object says."""
        manifest = self._objects.get(kind, namespace, name)
        if manifest is None:
            return Readiness(ready=False, reason=f"{kind} {namespace}/{name} is not there")
        return self._readiness(manifest)

    def gateways(self) -> tuple[dict[str, Any], ...]:
        """Return the gateways that run: pipeline, namespace, URL and pid."""
        return tuple(
            {"namespace": space, "pipeline": name, "url": graph.url, "pid": graph.pid}
            for (space, name), graph in self._graphs.items()
            if graph.url
        )

    def replicas(self) -> tuple[dict[str, Any], ...]:
        """Return every replica process that has not ended."""
        return tuple(
            _described(namespace, name, replica, service)
            for (namespace, name), service in self._services.items()
            for replica in service.replicas
        )

    async def run(self) -> None:
        """Reconcile until cancelled; what the system refuses now is tried again."""
        while True:
            self._changed.clear()
            try:
                await self.reconcile()
            except OSError as err:
                sys.stderr.write(f"cannot reconcile: {err}\n")
            busy = any(service.draining() for service in self._services.values())
            # Not wait_for: in Python 3.11 it loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(BUSY_TICK_S if busy else TICK_S):
                    await self._changed.wait()

    async def reconcile(self) -> None:
        """Take one step from what runs towards what the objects say."""
        for config_map in self._all("ConfigMap"):
            write_config_map(self._node.config_maps, config_map)
        await self._reconcile_services()
        await self._reconcile_graphs()
        await self._end_drained()

    async def stop(self) -> None:
        """End everything: the gateways first, so that what they accepted is answered."""
        await asyncio.gather(*(graph.stop() for graph in self._graphs.values()))
        await asyncio.gather(*(service.stop() for service in self._services.values()))

    async def _reconcile_services(self) -> None:
        wanted = {_key(manifest): manifest for manifest in self._all("InferenceService")}
        for key in wanted.keys() - self._services.keys():
            self._services[key] = Service(self._node)
        for key, service in list(self._services.items()):
            try:
                spec = self._spec(wanted[key]) if key in wanted else None
            except ManifestError as err:
                service.fault = str(err)
                continue
            await service.reconcile(spec)
            if spec is None and not service.replicas:
                del self._services[key]

    async def _reconcile_graphs(self) -> None:
        wanted = {_key(manifest): manifest for manifest in self._all("InferenceGraph")}
        for key, manifest in wanted.items():
            if key not in self._graphs:
                self._graphs[key] = self._graph(key)
            await self._graphs[key].reconcile(manifest, self._table(key[0]))
        for key in self._graphs.keys() - wanted.keys():
            await self._graphs.pop(key).stop()

    async def _end_drained(self) -> None:
        for service in self._services.values():
            for replica in service.draining():
                if await self._is_drained(replica):
                    service.end(replica)

    async def _is_drained(self, replica: Replica) -> bool:
        """Whether nobody uses a replica: first it leaves every table, then its requests end."""
        if not replica.process.ready or replica.draining_since_s is None:
            return True
        if time.monotonic() - replica.draining_since_s > DRAIN_TIMEOUT_S:
            return True
        graphs = self._graphs
        if any(graph.names(replica.url) for graph in graphs.values()):
            return False
        if replica.fence is None:
            replica.fence = {key: graph.generation for key, graph in graphs.items()}
        try:
            older = [
                await graph.older_in_flight(replica.fence.get(key, 0))
                for key, graph in graphs.items()
            ]
        except PenstockError:
            return False
        return not any(older)

    def _graph(self, key: Key) -> GraphProcess:
        port = self._next_port
        self._next_port += 1 if port else 0
        return GraphProcess(key, folder=self._folder, port=port, on_change=self._node.on_change)

    def _table(self, namespace: str) -> dict[str, tuple[str, ...]]:
        return {
            name: service.urls()
            for (space, name), service in self._services.items()
            if space == namespace
        }

    def _all(self, kind: str) -> tuple[Manifest, ...]:
        found = [self._objects.list(kind, namespace, {}) for namespace in self._namespaces]
        return tuple(manifest for manifests in found for manifest in manifests)

    def _with_status(self, manifest: Manifest) -> Manifest:
        key = _key(manifest)
        if manifest["kind"] == "InferenceService":
            service = self._services.get(key)
            urls = service.urls() if service else ()
            return {**manifest, "status": status_of(self._readiness(manifest), _base(urls))}
        if manifest["kind"] == "InferenceGraph":
            graph = self._graphs.get(key)
            url = graph.url if graph else ""
            return {**manifest, "status": status_of(self._readiness(manifest), url)}
        return manifest

    def _readiness(self, manifest: Manifest) -> Readiness:
        key = _key(manifest)
        if manifest["kind"] == "InferenceGraph":
            return graph_readiness(manifest, self._graphs.get(key))
        if manifest["kind"] != "InferenceService":
            return Readiness(ready=True)
        try:
            return service_readiness(self._spec(manifest), self._services.get(key))
        except ManifestError as err:
            return Readiness(ready=False, reason=str(err))

    def _spec(self, manifest: Manifest) -> ServiceSpec:
        """Return what a service asks for, with the replicas that KServe leaves to others."""
        spec = read_service(manifest)
        if class_of(manifest) != Autoscaling.EXTERNAL:
            return spec
        return replace(spec, replicas=self._scales.get(_key(manifest), spec.replicas))

    def _scale(self, change: Change) -> Manifest:
        """Set the replicas of a service that nobody else owns.

        Raises:
            NotFoundError: there is no such service.
            ManifestError: it asks for no number of replicas.
        """
        live = self.get("Deployment", change.namespace, change.name)
        if live is None:
            raise NotFoundError(f'deployments.apps "{change.name}" not found')
        try:
            body = with_scale(live, merge(scale_of(live), change.body))
        except Refusal as err:
            raise ManifestError(str(err.answer.body)) from err
        key = (change.namespace, change.name.removesuffix("-predictor"))
        self._scales[key] = body["spec"]["replicas"]
        self._changed.set()
        return scale_of(body)

    def _deployment(self, manifest: Manifest) -> Manifest | None:
        service = self._services.get(_key(manifest))
        if service is None or service.spec is None:
            return None
        return deployment_of(manifest, service.spec, service)


def fetch_model(uri: str, cache: Path) -> Path:
    """Return the folder of an artifact: where it lies, or a copy fetched from its store.

    Raises:
        ArtifactError: it is not there.
        UnreachableError: its store does not answer.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        folder = Path(unquote(parts.path))
        if not folder.is_dir():
            raise ArtifactError(f"no artifact at {uri}; upload it, or check STORAGE_URI")
        return folder
    into = cache / hashlib.sha256(uri.encode()).hexdigest()[:16]
    if not into.is_dir():
        key, _, version = parts.path.strip("/").rpartition("/")
        cache.mkdir(parents=True, exist_ok=True)
        make_store(f"{parts.scheme}://{parts.netloc}").get(key, version, into)
    return into


def _key(manifest: Mapping[str, Any]) -> Key:
    metadata = manifest["metadata"]
    return metadata.get("namespace", "default"), metadata["name"]


def _base(urls: tuple[str, ...]) -> str:
    return urls[0].partition("/v2/")[0] if urls else ""


def _described(namespace: str, name: str, replica: Replica, service: Service) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "service": name,
        "pid": replica.process.pid,
        "url": replica.url if replica.process.ready else "",
        "cpu_cores": replica.spec.cpu_cores,
        "cores": list(replica.cores),
        "ready": replica.serves,
        "draining": replica.draining_since_s is not None,
        "load_time_s": replica.process.facts.get("load_time_s"),
        "cpu_seconds": cpu_seconds(replica.process.pid),
        "restarts": service.restarts,
    }
