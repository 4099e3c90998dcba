"""The part of a Kubernetes API server (1.36) that penstock leans on, in memory, without a socket.

It exists so that the dry run and the tests meet what a real server does: who may write, what is
pruned, which words a refusal has, when a generation rises, which write comes too late. Checked
against answers recorded from a real server. Kinds: those of ``resources.BUILT_IN``, and custom
resources, whose schemas come from a folder the caller names. There are no controllers: a status
changes when somebody writes it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.cluster import managed, served
from serving.cluster.access import ADMIN, UNAUTHORIZED, Account, forbidden
from serving.cluster.faults import invalid, invalid_answer, invalid_patch_answer
from serving.cluster.listing import page, token
from serving.cluster.managed import Writer
from serving.cluster.objects import (
    content,
    decoded,
    refusal_of,
    require_kind,
    same,
    shaped,
    unknown_in,
    unreadable,
    warnings_about,
    with_server_fields,
)
from serving.cluster.patches import applied_manifest, apply_conflict, patched
from serving.cluster.requests import APPLY, NO_SUCH_PAGE, Request, read_request
from serving.cluster.resources import (
    Answer,
    Catalogue,
    Refusal,
    Resource,
    bad_request,
    conflict,
    details_of,
    failure,
    not_found,
)
from serving.cluster.scaling import AS_SCALE, scale_of, with_scale
from serving.cluster.store import Key, ObjectStore
from serving.manifest import Manifest

_MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)
_PYTHON = "Python-urllib/3.11"


class ApiServer:
    """A server with its store.

    Args:
        crd_folders: folders with CustomResourceDefinition files; without any, KServe's and Argo's
            kinds are served without a schema: everything is accepted and nothing pruned.
        accounts: who may log in, by the name given to :meth:`handle`; ``admin`` alone by default.
        now: the time [s since the epoch], for timestamps; 0 by default, so that runs are equal.
    """

    def __init__(
        self,
        *crd_folders: Path,
        accounts: Mapping[str, Account] | None = None,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.catalogue = Catalogue(*crd_folders)
        self._accounts = {"admin": ADMIN} if accounts is None else dict(accounts)
        self._store = ObjectStore(now)

    def handle(
        self,
        method: str,
        path: str,
        *,
        content_type: str | None = None,
        body: Any = None,
        user: str = "admin",
        user_agent: str = _PYTHON,
    ) -> Answer:
        """Answer one request.

        ``path`` holds the query; ``body`` is a value or its text. The manager of changed fields is
        the query's ``fieldManager``, or else what stands before the slash of the user agent.
        """
        account = self._accounts.get(user)
        if account is None:
            return UNAUTHORIZED
        told = served.page(method, path, body, account=account, catalogue=self.catalogue)
        if told is not None:
            return told
        try:
            request = read_request(
                method, path, content_type=content_type, body=body, user_agent=user_agent
            )
            return copy.deepcopy(self._answer(account, request))
        except Refusal as refusal:
            return refusal.answer

    def _answer(self, account: Account, request: Request) -> Answer:
        attempt = request.attempt
        denied = forbidden(account, attempt)
        if denied:
            return denied
        resource = self.catalogue.by_path(attempt.group, request.version, attempt.plural)
        if resource is None or attempt.subresource not in _subresources(resource):
            return NO_SUCH_PAGE
        if attempt.verb == "patch" and request.content_type == APPLY:
            return self._server_side_apply(account, resource, request)
        if attempt.subresource == "scale":
            return self._scale(resource, request)
        verbs: dict[str, Callable[[Resource, Request], Answer]] = {
            "get": lambda r, q: Answer(status=200, body=self._live(r, q)),
            "list": self._list,
            "create": self._create,
            "update": self._put,
            "patch": self._patch,
            "delete": self._delete,
        }
        act = verbs.get(attempt.verb)
        return act(resource, request) if act else NO_SUCH_PAGE

    def _list(self, resource: Resource, request: Request) -> Answer:
        found = self._store.all_of(resource.group, resource.plural, request.attempt.namespace)
        result = page(resource, found, request.query)
        last = result["metadata"].get("continue")
        if last:
            result["metadata"]["continue"] = token(last, self._store.version)
        result["metadata"]["resourceVersion"] = str(self._store.version)
        return Answer(status=200, body=result)

    def _create(self, resource: Resource, request: Request) -> Answer:
        body = require_kind(resource, request.body)
        given = body.get("metadata", {})
        where = request.attempt.namespace
        if given.get("namespace", where) != where:
            message = "the namespace of the provided object does not match the namespace sent"
            raise Refusal(bad_request(f"{message} on the request"))
        if given.get("resourceVersion"):
            raise Refusal(bad_request("resourceVersion should not be set on objects to be created"))
        warnings = decoded(resource, body, request.strictness)
        body = self._new(resource, request, body)
        refused = refusal_of(resource, body)
        if refused:
            return replace(refused, warnings=warnings)
        name = body["metadata"]["name"]
        if self._store.find(_key(resource, body)):
            message = f'{resource.qualified} "{name}" already exists'
            return failure(409, "AlreadyExists", message, details_of(resource, name))
        body["metadata"]["managedFields"] = managed.after_update(
            {}, body, self._writer(resource, request)
        )
        return self._stored(resource, request, body, status=201, warnings=warnings)

    def _put(self, resource: Resource, request: Request) -> Answer:
        body = require_kind(resource, request.body)
        named = body.get("metadata", {}).get("name", "")
        if named != request.attempt.name:
            message = (
                f"the name of the object ({named}) does not match the name on the URL "
                f"({request.attempt.name})"
            )
            raise Refusal(bad_request(message))
        live = self._live(resource, request)
        warnings = decoded(resource, body, request.strictness)
        if resource.custom and not body["metadata"].get("resourceVersion"):
            fault = invalid("metadata.resourceVersion", 0, "must be specified for an update")
            return invalid_answer(resource, request.attempt.name, [fault])
        return self._update(resource, request, live, body, warnings)

    def _patch(self, resource: Resource, request: Request) -> Answer:
        live = self._live(resource, request)
        body = patched(resource, live, request.content_type, request.body)
        problem = unreadable(resource, body)
        unknown = unknown_in(resource, body)
        if unknown and request.strictness == "Strict":
            problem = problem or f"strict decoding error: {', '.join(unknown)}"
        if problem:
            return invalid_patch_answer(body, problem)
        return self._update(
            resource, request, live, body, warnings_about(unknown, request.strictness)
        )

    def _scale(self, resource: Resource, request: Request) -> Answer:
        live, verb = self._live(resource, request), request.attempt.verb
        if verb == "get":
            return Answer(status=200, body=scale_of(live))
        if verb not in ("patch", "update"):
            return NO_SUCH_PAGE
        asked = (
            patched(AS_SCALE, scale_of(live), request.content_type, request.body)
            if verb == "patch"
            else require_kind(AS_SCALE, request.body)
        )
        answer = self._update(resource, request, live, with_scale(live, asked), ())
        return replace(answer, body=scale_of(answer.body)) if answer.status == 200 else answer

    def _server_side_apply(self, account: Account, resource: Resource, request: Request) -> Answer:
        body = applied_manifest(request, require_kind(resource, request.body))
        warnings = decoded(resource, body, request.strictness)
        applied = shaped(resource, body, defaults=False)  # a manager owns only what it said
        writer = replace(self._writer(resource, request), operation="Apply")
        live = self._store.find(_key_asked(resource, request))
        if live is None:
            denied = forbidden(account, replace(request.attempt, verb="create"))
            if denied:
                return denied
            fresh = self._new(resource, request, applied)
            fresh["metadata"]["managedFields"] = managed.after_apply({}, fresh, applied, writer)
            refused = refusal_of(resource, fresh)
            return refused or self._stored(resource, request, fresh, status=201, warnings=warnings)
        against = managed.conflicts(live, applied, writer)
        if against and request.query.get("force") != "true":
            return apply_conflict(against)
        body = managed.apply_fields(live, applied, writer)
        entries = managed.after_apply(live, body, applied, writer)
        return self._update(resource, request, live, body, warnings, entries=entries)

    def _update(
        self,
        resource: Resource,
        request: Request,
        live: Manifest,
        body: Manifest,
        warnings: tuple[str, ...],
        *,
        entries: Sequence[Manifest] | None = None,
    ) -> Answer:
        """Store ``body`` in the place of ``live``, if that is allowed and changes anything."""
        name = request.attempt.name
        for field in ("resourceVersion", "uid"):
            asked = body["metadata"].get(field)
            if asked and asked != live["metadata"][field]:
                return conflict(resource, name, _MODIFIED)
        body = with_server_fields(_part(resource, request, live, shaped(resource, body)), live)
        refused = refusal_of(resource, body, live)
        if refused:
            return replace(refused, warnings=warnings)
        if entries is None:
            entries = managed.after_update(live, body, self._writer(resource, request))
        if same(live, body) and _who(entries) == _who(live["metadata"].get("managedFields", ())):
            return Answer(status=200, body=live, warnings=warnings)
        body["metadata"]["managedFields"] = list(entries)
        if resource.counts_generations and content(body) != content(live):
            body["metadata"]["generation"] = live["metadata"]["generation"] + 1
        return self._stored(resource, request, body, status=200, warnings=warnings)

    def _delete(self, resource: Resource, request: Request) -> Answer:
        live = self._live(resource, request)
        metadata = live["metadata"]
        asked = (request.body or {}).get("preconditions") or {}
        for field in ("resourceVersion", "uid"):
            if asked.get(field, metadata[field]) != metadata[field]:
                return conflict(resource, metadata["name"], "the precondition does not hold")
        if not request.dry_run:
            self._store.drop(_key(resource, live))
        details = {**details_of(resource, metadata["name"]), "uid": metadata["uid"]}
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Answer(status=200, body={**body, "details": details})

    def _live(self, resource: Resource, request: Request) -> Manifest:
        found = self._store.find(_key_asked(resource, request))
        if found is None:
            raise Refusal(not_found(resource, request.attempt.name))
        return found

    def _new(self, resource: Resource, request: Request, body: Manifest) -> Manifest:
        fresh = shaped(resource, body)
        if resource.custom and resource.has_status:
            fresh.pop("status", None)
        self._store.christen(fresh, request.attempt.namespace)
        metadata = fresh["metadata"]
        metadata.pop("managedFields", None)
        metadata.pop("generation", None)
        if resource.counts_generations:
            metadata["generation"] = 1
        return fresh

    def _stored(
        self,
        resource: Resource,
        request: Request,
        body: Manifest,
        *,
        status: int,
        warnings: tuple[str, ...],
    ) -> Answer:
        if not request.dry_run:
            self._store.keep(_key(resource, body), body)
        return Answer(status=status, body=body, warnings=warnings)

    def _writer(self, resource: Resource, request: Request) -> Writer:
        return Writer(
            manager=request.manager,
            operation="Update",
            api_version=resource.api_version,
            time=self._store.time(),
            subresource=request.attempt.subresource,
        )


def _subresources(resource: Resource) -> tuple[str, ...]:
    return (
        "",
        *(["status"] if resource.has_status else []),
        *(["scale"] if resource.has_scale else []),
    )


def _key(resource: Resource, body: Manifest) -> Key:
    metadata = body["metadata"]
    return (resource.group, resource.plural, metadata["namespace"], metadata["name"])


def _key_asked(resource: Resource, request: Request) -> Key:
    attempt = request.attempt
    return (resource.group, resource.plural, attempt.namespace, attempt.name)


def _part(resource: Resource, request: Request, live: Manifest, body: Manifest) -> Manifest:
    """Return what the request may change: the status through its own URL, the rest through this."""
    if not resource.has_status:
        return body
    if request.attempt.subresource == "status":
        kept = {k: v for k, v in live.items() if k != "status"}
        return {**kept, **({"status": body["status"]} if "status" in body else {})}
    kept = {k: v for k, v in body.items() if k != "status"}
    return {**kept, **({"status": live["status"]} if "status" in live else {})}


def _who(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [{k: v for k, v in e.items() if k != "time"} for e in entries]
