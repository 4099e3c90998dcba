"""What the in-memory API server tells about itself: its version, its kinds, one's own rights."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from serving.cluster.access import Account, Attempt, forbidden
from serving.cluster.requests import NO_SUCH_PAGE
from serving.cluster.resources import Answer, Catalogue
from serving.manifest import Manifest

VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_GROUP = re.compile(r"/apis/(?P<group>[^/]+)(?:/(?P<version>[^/]+))?|/api/(?P<core>v1)")


def page(
    method: str, path: str, body: Any, *, account: Account, catalogue: Catalogue
) -> Answer | None:
    """Return the answer to a question about the server, ``None`` when it asks for an object."""
    where = urlsplit(path).path.rstrip("/")
    if method == "GET" and where == "/version":
        return Answer(status=200, body=dict(VERSION))
    if method == "POST" and where == _REVIEWS:
        return _review(body, account)
    match = _GROUP.fullmatch(where)
    if method != "GET" or match is None:
        return None
    if match["group"] and not match["version"]:
        return _group(match["group"], catalogue)
    return _resources(match["group"] or "", match["version"] or match["core"], catalogue)


def _group(group: str, catalogue: Catalogue) -> Answer:
    versions = sorted({r.version for r in catalogue.of_group(group)})
    if not versions:
        return NO_SUCH_PAGE
    told = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    body: Manifest = {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": group,
        "versions": told,
        "preferredVersion": told[0],
    }
    return Answer(status=200, body=body)


def _resources(group: str, version: str, catalogue: Catalogue) -> Answer:
    found = [r for r in catalogue.of_group(group) if r.version == version]
    if not found:
        return NO_SUCH_PAGE
    told = [
        {"name": r.plural, "singularName": r.kind.lower(), "namespaced": True, "kind": r.kind}
        for r in sorted(found, key=lambda r: r.plural)
    ]
    body: Manifest = {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": told,
    }
    return Answer(status=200, body=body)


def _review(body: Any, account: Account) -> Answer:
    review = json.loads(body) if isinstance(body, (str, bytes)) else dict(body)
    asked = review["spec"]["resourceAttributes"]
    attempt = Attempt(
        verb=asked["verb"],
        group=asked.get("group", ""),
        plural=asked["resource"],
        namespace=asked.get("namespace", ""),
        name=asked.get("name", ""),
        subresource=asked.get("subresource", ""),
    )
    allowed = forbidden(account, attempt) is None
    return Answer(status=201, body={**review, "status": {"allowed": allowed}})
