"""A Kubernetes cluster with KServe.

Requests and answers are plain mappings; a ``Connection`` does the login, TLS and fresh tokens. A
patch is a JSON merge patch: server-side apply of a part of a spec would replace the whole of it
where KServe's minimal definitions are installed. Nothing is sent twice on its own account; the next
tick is the retry.

When something is ready is read off Deployments (KServe 0.20, Standard mode): the generations in
the status of a service or graph are not their own, and a graph is called ready too early.
"""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from penstock.errors import (
    ConflictError,
    ManifestError,
    NotFoundError,
    PenstockError,
    UnreachableError,
    UserError,
)
from serving.cluster import Cluster, Readiness
from serving.cluster.connection import JSON, Connection, Reply
from serving.cluster.direct import DirectConnection
from serving.cluster.discovery import Discovery
from serving.cluster.login import SERVICE_ACCOUNT, in_a_pod, plain_login, pod_login
from serving.cluster.requests import MERGE
from serving.cluster.resources import Catalogue, Resource
from serving.cluster.rollout import deployment_name, rolled_out
from serving.diff import Action, Change
from serving.manifest import Manifest, merge

_PAGE = 500
_ERRORS: Mapping[int, type[PenstockError]] = {
    400: ManifestError,
    401: UserError,
    403: UserError,
    404: NotFoundError,
    405: ManifestError,
    409: ConflictError,
    410: ConflictError,
    413: ManifestError,
    415: ManifestError,
    422: ManifestError,
    429: UnreachableError,
}
_HINTS: Mapping[int, str] = {
    401: "; log in again, or look at the service account's token",
    403: "; the Role of the account must allow it: see `kubectl auth can-i`",
    404: "; is it there, and is KServe installed?",
    429: "; the server is busy",
}


class KubernetesCluster:
    """Objects of the cluster at the other end of a connection.

    Args:
        connection: logged in; :func:`connect` makes one.
        timeout_s: how long one request may take, connecting and reading each.
    """

    takes_events = True
    """Kubernetes Events can be created here."""

    settle_s = 35.0
    """KServe's router serves for 30 s after it was told to stop; 5 s until it is told."""

    def __init__(self, connection: Connection, *, timeout_s: float = 10.0) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._catalogue = Catalogue()

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the live object, or ``None`` when it is not there."""
        try:
            return self._ask("GET", self._resource(kind).path(namespace, name))
        except NotFoundError:
            return None

    def list(
        self, kind: str, namespace: str, labels: Mapping[str, str]
    ) -> builtins.tuple[Manifest, ...]:
        """Return the objects that carry all of these labels, ordered by name."""
        of_kind = self._resource(kind)
        named = {"apiVersion": of_kind.api_version, "kind": kind}
        query: dict[str, Any] = {"limit": _PAGE}
        if labels:
            query["labelSelector"] = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
        found: list[Manifest] = []
        while True:
            page = self._ask("GET", of_kind.path(namespace), query=query)
            found += ({**named, **item} for item in page.get("items") or ())
            query["continue"] = (page.get("metadata") or {}).get("continue")
            if not query["continue"]:
                return tuple(sorted(found, key=lambda m: str(m["metadata"]["name"])))

    def apply(self, change: Change) -> Manifest | None:
        """Carry out one change; the object as it is then, ``None`` after a delete.

        Raises:
            ConflictError: somebody else wrote first, or it exists already.
            NotFoundError: there is nothing to patch, replace or delete.
            ManifestError: the cluster refuses the body.
            UserError: the account may not do that.
            UnreachableError: no answer came; the change may have been carried out or not.
        """
        of_kind = self._resource(change.kind)
        path, version = of_kind.path(change.namespace, change.name), change.resource_version
        fence = {"metadata": {"resourceVersion": version}} if version else {}
        if change.action is Action.CREATE:
            return self._ask("POST", of_kind.path(change.namespace), body=change.body)
        if change.action is Action.PATCH:
            return self._ask("PATCH", path, body=merge(change.body, fence), media=MERGE)
        if change.action is Action.REPLACE:
            if not version:
                live = self._ask("GET", path)
                fence = {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"]}}
            return self._ask("PUT", path, body=merge(change.body, fence))
        self._delete(path, version)
        return None

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Remove an object and what it owns; ``False`` when it was not there."""
        try:
            self._delete(self._resource(kind).path(namespace, name), None)
        except NotFoundError:
            return False
        return True

    def ready(self, kind: str, namespace: str, name: str) -> Readiness:
        """Say whether the object does its work: its Deployment is complete and is what it says."""
        live = self.get(kind, namespace, name)
        if live is None:
            return Readiness(ready=False, reason=f"{kind} {namespace}/{name} is not there")
        workload = deployment_name(kind, name)
        if workload is None:
            return Readiness(ready=True)
        return rolled_out(live, self.get("Deployment", namespace, workload))

    @property
    def discovery(self) -> Discovery:
        """What this cluster has, and what we may do there."""
        return Discovery(self._ask)

    def _delete(self, path: str, version: str | None) -> None:
        body: Manifest = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if version:
            body["preconditions"] = {"resourceVersion": version}
        self._ask("DELETE", path, body=body)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Manifest | None = None,
        query: Mapping[str, Any] | None = None,
        media: str = JSON,
    ) -> Manifest:
        """Send one request and return the object in its answer.

        Raises:
            PenstockError: see ``_ERRORS``; ``UnreachableError`` for all that is not there.
        """
        url = f"{path}?{urlencode(query)}" if query else path
        reply = self._connection.request(
            method, url, body=body, media=media, timeout_s=self._timeout_s
        )
        return _object(reply, f"{method} {path}")

    def _resource(self, kind: str) -> Resource:
        resource = self._catalogue.by_kind(kind)
        if resource is None:
            raise ManifestError(f"penstock writes no {kind!r} to a cluster")
        return resource


def connect(
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    timeout_s: float = 10.0,
    service_account: Path = SERVICE_ACCOUNT,
) -> KubernetesCluster:
    """Return the cluster of a pod's service account, else of the kubeconfig's (current) context.

    A kubeconfig that is named, here or in ``KUBECONFIG``, goes before the service account.

    Raises:
        MissingToolError: the kubeconfig needs the official client, and that is not installed.
        UserError: there is no usable configuration.
    """
    named = str(kubeconfig or os.environ.get("KUBECONFIG", ""))
    if not named and context is None and in_a_pod(service_account):
        way: Connection = DirectConnection(pod_login(service_account))
    else:
        way = _configured(named or f"{os.environ.get('HOME', '~')}/.kube/config", context)
    return KubernetesCluster(way, timeout_s=timeout_s)


def _configured(kubeconfig: str, context: str | None) -> Connection:
    """Return the direct way where the login allows it: the official client loads for seconds."""
    login = plain_login(Path(kubeconfig), context)
    if login is not None:
        return DirectConnection(login)
    from serving.cluster.official import official_connection

    return official_connection(kubeconfig, context=context)


def _object(reply: Reply, asked: str) -> Manifest:
    try:
        body = json.loads(reply.text)
    except ValueError:
        body = None
    if not 200 <= reply.status < 300:
        raise _translated(reply, body, asked)
    if not isinstance(body, dict):
        raise UnreachableError(
            f"the cluster's answer to {asked} is no object: {reply.text[:200]!r}; is that an API "
            "server?"
        )
    return body


def _translated(reply: Reply, body: Any, asked: str) -> PenstockError:
    told = body.get("message") if isinstance(body, dict) else None
    said = told or reply.text.strip()[:200] or "nothing said why"
    return _ERRORS.get(reply.status, UnreachableError)(
        f"the cluster answered {reply.status} to {asked}: {said}{_HINTS.get(reply.status, '')}"
    )


if TYPE_CHECKING:

    def _is_a_cluster(cluster: KubernetesCluster) -> Cluster:
        return cluster
