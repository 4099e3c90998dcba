"""A cluster in memory: what the dry run and the tests run against.

Deterministic, and in its answers as close to a real API server as :mod:`serving.cluster.apiserver`
is. Nothing is started: an object is ready when it is there, unless the caller says otherwise.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import ConflictError, ManifestError, NotFoundError, PenstockError
from serving.cluster import Cluster, Readiness
from serving.cluster.apiserver import ApiServer
from serving.cluster.requests import MERGE
from serving.cluster.resources import Answer, Resource
from serving.diff import Action, Change
from serving.manifest import Manifest, merge

_READY = Readiness(ready=True)
_ERRORS: Mapping[int, type[PenstockError]] = {404: NotFoundError, 409: ConflictError}


class MemoryCluster:
    """Objects in a dictionary behind an API server's rules.

    Args:
        server: the server to ask; one without schemas by default.
        readiness: is asked about each object that is there; all are ready by default.
        user: the account that asks.
    """

    def __init__(
        self,
        server: ApiServer | None = None,
        *,
        readiness: Callable[[Manifest], Readiness] = lambda manifest: _READY,
        user: str = "admin",
    ) -> None:
        self.server = server or ApiServer()
        self._readiness = readiness
        self._user = user

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the live object, or ``None`` when it is not there."""
        answer = self._ask("GET", kind, namespace, name)
        return None if answer.status == 404 else _object(answer)

    def list(
        self, kind: str, namespace: str, labels: Mapping[str, str]
    ) -> builtins.tuple[Manifest, ...]:
        """Return the objects that carry all of these labels, ordered by name."""
        selector = ",".join(f"{k}%3D{v}" for k, v in sorted(labels.items()))
        answer = self._ask("GET", kind, namespace, query=f"labelSelector={selector}")
        of_kind = self._resource(kind)
        named = {"apiVersion": of_kind.api_version, "kind": kind}
        return tuple({**named, **item} for item in _object(answer)["items"])

    def apply(self, change: Change) -> Manifest | None:
        """Carry out one change; the object as it is then, ``None`` after a delete.

        Raises:
            ConflictError: somebody else wrote first, or it exists already.
            NotFoundError: there is nothing to patch, replace or delete.
            ManifestError: the server refuses the body or the caller.
        """
        where = (change.kind, change.namespace)
        version = change.resource_version
        fence = {"metadata": {"resourceVersion": version}} if version else {}
        if change.action is Action.CREATE:
            return _object(self._ask("POST", *where, body=change.body))
        if change.action is Action.PATCH:
            body = merge(change.body, fence)
            return _object(self._ask("PATCH", *where, change.name, body=body, content_type=MERGE))
        if change.action is Action.REPLACE:
            live = self._ask("GET", *where, change.name)
            current = _object(live)["metadata"]["resourceVersion"]
            body = merge(change.body, {"metadata": {"resourceVersion": version or current}})
            return _object(self._ask("PUT", *where, change.name, body=body))
        body = {"preconditions": {"resourceVersion": version}} if version else None
        _object(self._ask("DELETE", *where, change.name, body=body))
        return None

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Remove an object; ``False`` when it was not there."""
        answer = self._ask("DELETE", kind, namespace, name)
        return answer.status != 404 and bool(_object(answer))

    def ready(self, kind: str, namespace: str, name: str) -> Readiness:
        """Say whether the object is there, and what the caller's hook thinks of it."""
        live = self.get(kind, namespace, name)
        if live is None:
            return Readiness(ready=False, reason=f"{kind} {namespace}/{name} is not there")
        return self._readiness(live)

    def _ask(
        self,
        method: str,
        kind: str,
        namespace: str,
        name: str = "",
        **request: Any,
    ) -> Answer:
        resource = self._resource(kind)
        path = resource.path(namespace, name)
        query = request.pop("query", "")
        path += f"?{query}" if query else ""
        return self.server.handle(method, path, user=self._user, user_agent="penstock", **request)

    def _resource(self, kind: str) -> Resource:
        resource = self.server.catalogue.by_kind(kind)
        if resource is None:
            raise ManifestError(
                f"this cluster has no kind {kind!r}; name a folder that has its definition"
            )
        return resource


def _object(answer: Answer) -> Manifest:
    """Return the body of an answer that went well.

    Raises:
        PenstockError: it did not; the class follows from the HTTP status.
    """
    body: Manifest = answer.body if isinstance(answer.body, dict) else {"message": answer.body}
    if answer.status >= 400:
        raise _ERRORS.get(answer.status, ManifestError)(str(body.get("message")))
    return body


if TYPE_CHECKING:
    _memory: Cluster = MemoryCluster()
