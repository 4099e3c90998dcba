"""What a PATCH makes of a live object, for each content type the API knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.cluster.managed import Path
from serving.cluster.patching import PatchError, json_patch
from serving.cluster.requests import APPLY, JSON_PATCH, MERGE, STRATEGIC, Request
from serving.cluster.resources import Answer, Refusal, Resource, bad_request, failure
from serving.manifest import Manifest, merge

# A ConfigMap consists of maps only, where a strategic merge is a plain one.
_STRATEGIC_IS_PLAIN = ("ConfigMap", "Secret")


def patched(resource: Resource, live: Manifest, content_type: str, body: Any) -> Manifest:
    """Return the live object with a patch applied; the live one is not changed.

    Raises:
        Refusal: the content type is not served for the kind, or the patch can't be applied.
    """
    strategic = content_type == STRATEGIC and resource.kind in _STRATEGIC_IS_PLAIN
    if content_type == JSON_PATCH:
        result = _json_patched(live, body)
    elif content_type == MERGE or strategic:
        if not isinstance(body, dict):
            raise Refusal(bad_request(f"error decoding patch: a mapping is needed, got {body!r}"))
        result = merge(live, body)
    else:
        raise Refusal(_unsupported(resource))
    if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
        raise Refusal(bad_request("the patch leaves no object"))
    if result["metadata"].get("name") != live["metadata"]["name"]:
        raise Refusal(bad_request("the name of the object does not match the name on the URL"))
    return result


def applied_manifest(request: Request, body: Manifest) -> Manifest:
    """Return the manifest of a server-side apply.

    Raises:
        Refusal: there is no field manager, or the names differ.
    """
    if not request.query.get("fieldManager"):
        message = "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value"
        raise Refusal(bad_request(f"{message}: is required for apply patch"))
    metadata = body.get("metadata", {})
    if metadata.get("managedFields"):
        raise Refusal(bad_request("metadata.managedFields must be nil"))
    if metadata.get("name", request.attempt.name) != request.attempt.name:
        raise Refusal(bad_request("the name of the object does not match the name on the URL"))
    return {**body, "metadata": {**metadata, "name": request.attempt.name}}


def apply_conflict(against: Sequence[tuple[Path, Manifest]]) -> Answer:
    """Return the answer to an apply that would change fields of other managers."""
    causes = []
    by_manager: dict[str, list[str]] = {}
    for path, entry in against:
        manager = f'"{entry["manager"]}" using {entry["apiVersion"]}'
        field = "." + ".".join(path)
        by_manager.setdefault(manager, []).append(field)
        causes.append(
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {manager}",
                "field": field,
            }
        )
    lines = [f"conflict with {manager}: {fields[0]}" for manager, fields in by_manager.items()]
    if len(causes) > 1:
        lines = []
        for manager, fields in by_manager.items():
            lines += [f"conflicts with {manager}:", *(f"- {f}" for f in fields)]
    count = "1 conflict" if len(causes) == 1 else f"{len(causes)} conflicts"
    message = f"Apply failed with {count}: " + "\n".join(lines)
    return failure(409, "Conflict", message, {"causes": causes})


def _json_patched(live: Manifest, body: Any) -> Any:
    if not isinstance(body, list):
        found = "object" if isinstance(body, dict) else type(body).__name__
        message = f"json: cannot unmarshal {found} into Go value of type jsonpatch.Patch"
        raise Refusal(bad_request(message))
    try:
        return json_patch(live, body)
    except PatchError as err:
        message = "the server rejected our request due to an error in our request"
        raise Refusal(failure(422, "Invalid", message, {})) from err


def _unsupported(resource: Resource) -> Answer:
    accepted = [JSON_PATCH, MERGE]
    if not resource.custom:
        accepted.append(STRATEGIC)
    accepted.append(APPLY)
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        f"{', '.join(accepted)}"
    )
    return failure(415, "UnsupportedMediaType", message)
