"""Lists of objects: label selectors, and pages with a continue token."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence

from serving.cluster.resources import Refusal, Resource, bad_request
from serving.manifest import Manifest

_SET_TERM = re.compile(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)")  # codespell:ignore notin
_PAGE_VERSION = "meta.k8s.io/v1"


def matches(labels: Mapping[str, str], selector: str) -> bool:
    """Whether labels fulfil every term of a selector (``a=b,c!=d,e,!f,g in (x,y)``)."""
    terms = [t.strip() for t in re.split(r",(?![^(]*\))", selector) if t.strip()]
    return all(_term_holds(labels, term) for term in terms)


def page(resource: Resource, objects: Sequence[Manifest], query: Mapping[str, str]) -> Manifest:
    """Return the page of a list that the query asks for; ``objects`` are ordered by name.

    The returned list lacks its ``resourceVersion`` alone, which only the server knows.
    """
    selector = query.get("labelSelector", "")
    chosen = [o for o in objects if matches(o["metadata"].get("labels", {}), selector)]
    field, value = _field_term(query.get("fieldSelector", ""))
    chosen = [o for o in chosen if not field or o["metadata"].get(field) == value]
    start = _start(query.get("continue", ""))
    chosen = [o for o in chosen if o["metadata"]["name"] >= start]
    limit = _limit(query) or len(chosen)
    metadata: Manifest = {"continue": ""}
    if len(chosen) > limit:
        metadata["continue"] = chosen[limit - 1]["metadata"]["name"]
        if not selector:
            metadata["remainingItemCount"] = len(chosen) - limit
    elif not resource.custom:
        metadata = {}
    return {
        "apiVersion": resource.api_version,
        "kind": f"{resource.kind}List",
        "metadata": metadata,
        "items": chosen[:limit],
    }


def token(name: str, resource_version: int) -> str:
    """Return the continue token of a page that ends with ``name``."""
    content = {"v": _PAGE_VERSION, "rv": resource_version, "start": f"{name}\0"}
    text = json.dumps(content, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _start(continued: str) -> str:
    if not continued:
        return ""
    try:
        padded = continued + "=" * (-len(continued) % 4)
        return str(json.loads(base64.urlsafe_b64decode(padded))["start"])
    except (binascii.Error, ValueError, KeyError, TypeError) as err:
        message = f"continue key is not valid: {err}"
        raise Refusal(bad_request(message)) from err


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", "0")
    if not text.isdecimal():
        raise Refusal(bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax'))
    return int(text)


def _field_term(selector: str) -> tuple[str, str]:
    """Return the metadata field a selector names and its value; nothing for an empty one."""
    field, _, value = selector.replace("==", "=").partition("=")
    if selector and field not in ("metadata.name", "metadata.namespace"):
        raise Refusal(bad_request(f"field label not supported: {field}"))
    return field.removeprefix("metadata."), value


def _term_holds(labels: Mapping[str, str], term: str) -> bool:
    inclusion = _SET_TERM.fullmatch(term)
    if inclusion:
        key, operator, listed = inclusion.groups()
        inside = labels.get(key) in [v.strip() for v in listed.split(",")]
        return inside == (operator == "in")
    if "!=" in term:
        key, value = (t.strip() for t in term.split("!=", 1))
        return labels.get(key) != value
    if "=" in term:
        key, value = (t.strip() for t in term.replace("==", "=").split("=", 1))
        return labels.get(key) == value
    return term[1:].strip() not in labels if term.startswith("!") else term in labels
