"""A Kubernetes cluster with KServe, through the official client.

Requests and answers are plain mappings: the client does the connection (kubeconfig or the pod's
service account, TLS, fresh tokens) and none of its model classes is used, because they differ
between its versions. A patch is a JSON merge patch: server-side apply of a part of a spec would
replace the whole of it where KServe's minimal definitions are installed. Nothing is sent twice on
its own account; the next tick is the retry.

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
    MissingToolError,
    NotFoundError,
    PenstockError,
    UnreachableError,
    UserError,
)
from serving.cluster import Cluster, Readiness
from serving.cluster.requests import JSON, MERGE
from serving.cluster.resources import Catalogue, Resource
from serving.cluster.rollout import deployment_name, rolled_out
from serving.diff import Action, Change
from serving.manifest import Manifest, merge

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_PAGE = 500
_AGENT = "penstock"
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
    """Objects of a cluster that the client's configuration reaches.

    Args:
        client: the official client; :func:`connect` makes one.
        timeout_s: how long one request may take, connecting and reading each.
    """

    takes_events = True
    """Kubernetes Events can be created here."""

    settle_s = 35.0
    """KServe's router serves for 30 s after it was told to stop; 5 s until it is told."""

    def __init__(self, client: ApiClient, *, timeout_s: float = 10.0) -> None:
        self._client = client
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
        from kubernetes.client.exceptions import ApiException, OpenApiException
        from urllib3.exceptions import HTTPError

        url = f"{path}?{urlencode(query)}" if query else path
        try:
            answer, _, _ = self._client.call_api(
                url,
                method,
                header_params={"Accept": JSON, "Content-Type": media},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=(self._timeout_s, self._timeout_s),
            )
            text = answer.read().decode()
        except ApiException as err:
            raise _translated(err.status or 0, err.reason, err.body, f"{method} {path}") from err
        except (HTTPError, OpenApiException, OSError, UnicodeDecodeError) as err:
            raise UnreachableError(
                f"the cluster did not answer {method} {path}: {err}; is it up, and is its address "
                "right?"
            ) from err
        return _object(answer.status, text, f"{method} {path}")

    def _resource(self, kind: str) -> Resource:
        resource = self._catalogue.by_kind(kind)
        if resource is None:
            raise ManifestError(f"penstock writes no {kind!r} to a cluster")
        return resource


def connect(
    *, kubeconfig: Path | None = None, context: str | None = None, timeout_s: float = 10.0
) -> KubernetesCluster:
    """Return the cluster of a pod's service account, else of the kubeconfig's (current) context.

    A kubeconfig that is named, here or in ``KUBECONFIG``, goes before the service account.

    Raises:
        MissingToolError: the client is not installed.
        UserError: there is no usable configuration.
    """
    try:
        from kubernetes import client, config
    except ImportError as err:
        raise MissingToolError("pip install kubernetes to talk to a cluster") from err
    settings = client.Configuration()
    try:
        if kubeconfig is None and context is None and _in_a_pod() and not _named():
            config.load_incluster_config(client_configuration=settings)
        else:
            file = str(kubeconfig) if kubeconfig else None
            config.load_kube_config(
                config_file=file,
                context=context,
                client_configuration=settings,
                persist_config=False,
            )
    except (config.ConfigException, OSError, ValueError) as err:
        raise UserError(
            f"no cluster to talk to: {err}; set KUBECONFIG, or run in a pod with a service account"
        ) from err
    settings.retries = False
    made = client.ApiClient(settings)
    made.user_agent = _AGENT
    return KubernetesCluster(made, timeout_s=timeout_s)


def _named() -> bool:
    return bool(os.environ.get("KUBECONFIG"))


def _in_a_pod() -> bool:
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()


def _object(status: int, text: str, asked: str) -> Manifest:
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if status >= 400:
        raise _translated(status, "", text, asked)
    if not isinstance(body, dict):
        raise UnreachableError(
            f"the cluster's answer to {asked} is no object: {text[:200]!r}; is that an API server?"
        )
    return body


def _translated(status: int, reason: str, body: str | bytes | None, asked: str) -> PenstockError:
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        said = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        said = text.strip()[:200] or reason or "nothing said why"
    return _ERRORS.get(status, UnreachableError)(
        f"the cluster answered {status} to {asked}: {said}{_HINTS.get(status, '')}"
    )


if TYPE_CHECKING:

    def _is_a_cluster(cluster: KubernetesCluster) -> Cluster:
        return cluster
