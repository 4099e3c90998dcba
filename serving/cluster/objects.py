"""The checks and the bookkeeping that an API server does on every object it stores."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from serving.cluster import faults
from serving.cluster.faults import Fault
from serving.cluster.resources import Answer, Refusal, Resource, bad_request
from serving.cluster.schemas import check, fill_defaults, prune, unknown_fields
from serving.manifest import Manifest

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_SUBDOMAIN = 253
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    r"for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_MAX_LABEL = 63
_LABEL_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value', "
    r" or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_SERVER_FIELDS = ("uid", "creationTimestamp", "generation", "resourceVersion", "managedFields")
_TEXT_MAPS = ("data", "binaryData")
_METADATA_FIELDS = (
    *_SERVER_FIELDS,
    *("name", "namespace", "generateName", "labels", "annotations", "finalizers"),
    *("ownerReferences", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"),
)


def require_kind(resource: Resource, body: Any) -> Manifest:
    """Return the body if it is an object of the resource.

    Raises:
        Refusal: it is not.
    """
    if not isinstance(body, dict) or not isinstance(body.get("metadata", {}), dict):
        raise Refusal(bad_request("the object provided is unrecognized (must be a mapping)"))
    for field, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        found = body.get(field)
        if found != expected:
            what = "API version" if field == "apiVersion" else "kind"
            raise Refusal(
                bad_request(
                    f"the {what} in the data ({found}) does not match the expected {what} "
                    f"({expected})"
                )
            )
    return body


def unknown_in(resource: Resource, body: Manifest) -> list[str]:
    """Return what the strict decoder says about fields that the kind does not have."""
    paths: list[str] = []
    if resource.schema:
        paths += unknown_fields(body, resource.schema)
    metadata = body.get("metadata", {})
    paths += [f"metadata.{k}" for k in sorted(metadata) if k not in _METADATA_FIELDS]
    return [f'unknown field "{p}"' for p in paths]


def unreadable(resource: Resource, body: Manifest) -> str:
    """Say why a built-in kind's Go type can't hold the body; empty when it can."""
    if resource.kind != "ConfigMap":
        return ""
    for field in _TEXT_MAPS:
        for value in (body.get(field) or {}).values():
            if not isinstance(value, str):
                found = _GO_NAMES.get(type(value), "number")
                where = f"{resource.kind}.{field} of type string"
                return f"json: cannot unmarshal {found} into Go struct field {where}"
    return ""


def decoded(resource: Resource, body: Manifest, strictness: str) -> tuple[str, ...]:
    """Return the warnings about a body that is sent whole.

    Raises:
        Refusal: the kind's type can't hold it, or it has unknown fields and the decoder is strict.
    """
    problem = unreadable(resource, body)
    unknown = unknown_in(resource, body)
    if unknown and strictness == "Strict":
        problem = problem or f"strict decoding error: {', '.join(unknown)}"
    if problem:
        subject = f'{resource.kind} in version "{resource.version}"'
        raise Refusal(bad_request(f"{subject} cannot be handled as a {resource.kind}: {problem}"))
    return warnings_about(unknown, strictness)


def warnings_about(unknown: Sequence[str], strictness: str) -> tuple[str, ...]:
    """Return the warning headers about unknown fields."""
    if strictness != "Warn":
        return ()
    return tuple("299 - " + '"{}"'.format(u.replace('"', '\\"')) for u in unknown)


def shaped(resource: Resource, body: Manifest, *, defaults: bool = True) -> Manifest:
    """Return the body pruned and with the schema's defaults; a copy where there is no schema."""
    result: Manifest = copy.deepcopy(body)
    if resource.schema:
        result = prune(result, resource.schema)
        result = fill_defaults(result, resource.schema) if defaults else result
    # Go leaves out what is empty in metadata, and in the data of a ConfigMap.
    metadata = {k: v for k, v in result.get("metadata", {}).items() if k in _METADATA_FIELDS and v}
    bare = {k: v for k, v in result.items() if resource.custom or v or k not in _TEXT_MAPS}
    return {**bare, "metadata": metadata}


def refusal_of(resource: Resource, body: Manifest, old: Manifest | None = None) -> Answer | None:
    """Return the 422 answer that lists what is wrong with an object, or ``None``."""
    name = body["metadata"].get("name", "")
    found = list(_metadata_faults(body["metadata"]))
    if resource.schema:
        found += check(body, resource.schema, old)
    return faults.invalid_answer(resource, name, found) if found else None


def with_server_fields(body: Manifest, live: Manifest) -> Manifest:
    """Return the body with the metadata that only the server sets taken from ``live``."""
    kept = {k: v for k, v in live["metadata"].items() if k in _SERVER_FIELDS}
    own = {k: v for k, v in body["metadata"].items() if k not in _SERVER_FIELDS}
    fixed = {k: live["metadata"][k] for k in ("name", "namespace")}
    return {**body, "metadata": {**own, **fixed, **kept}}


def content(body: Mapping[str, Any]) -> Manifest:
    """Return what a generation counts: everything but metadata and status."""
    return {k: v for k, v in body.items() if k not in ("metadata", "status")}


def same(one: Manifest, other: Manifest) -> bool:
    """Whether two objects differ in nothing but who manages their fields."""
    return _unmanaged(one) == _unmanaged(other)


def _unmanaged(body: Manifest) -> Manifest:
    metadata = {k: v for k, v in body["metadata"].items() if k != "managedFields" and v != {}}
    return {**body, "metadata": metadata}


def _metadata_faults(metadata: Mapping[str, Any]) -> list[Fault]:
    name = metadata.get("name", "")
    found: list[Fault] = []
    if not name:
        found.append(faults.required("metadata.name", "name or generateName is required"))
    elif not _SUBDOMAIN.fullmatch(name):
        found.append(faults.invalid("metadata.name", name, _NAME_RULE))
    if len(name) > _MAX_SUBDOMAIN:
        detail = f"must be no more than {_MAX_SUBDOMAIN} bytes"
        found.append(faults.invalid("metadata.name", name, detail))
    for value in (metadata.get("labels") or {}).values():
        if len(value) > _MAX_LABEL:
            detail = f"must be no more than {_MAX_LABEL} bytes"
            found.append(faults.invalid("metadata.labels", value, detail))
        if not _LABEL_VALUE.fullmatch(value):
            found.append(faults.invalid("metadata.labels", value, _LABEL_RULE))
    return found


_GO_NAMES = {bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
