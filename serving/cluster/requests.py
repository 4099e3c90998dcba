"""Reading a request: its path, its query, its body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from serving.cluster.access import Attempt
from serving.cluster.resources import Answer, Refusal, bad_request

_PATH = re.compile(
    r"/(?:api/(?P<core>[^/]+)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<subresource>[^/]+))?)?/?"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}

JSON = "application/json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_YAML = "application/yaml"

NO_SUCH_PAGE = Answer(status=404, body="404 page not found\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that has been read: what is asked for, with what, and who asks."""

    attempt: Attempt
    version: str
    content_type: str
    body: Any
    manager: str

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters."""
        return self.attempt.query

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be stored."""
        return self.query.get("dryRun") == "All"

    @property
    def strictness(self) -> str:
        """What happens to unknown fields: ``Ignore``, ``Warn`` or ``Strict``."""
        return self.query.get("fieldValidation") or "Warn"


def read_request(
    method: str, path: str, *, content_type: str | None, body: Any, user_agent: str
) -> Request:
    """Return the request in its parts.

    ``body`` is a value, or the text or bytes of one.

    Raises:
        Refusal: there is nothing at that path, or the body can't be read.
    """
    parts = urlsplit(path)
    match = _PATH.fullmatch(parts.path)
    if match is None:
        raise Refusal(NO_SUCH_PAGE)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    named = match["name"] or ""
    media = (content_type or JSON).split(";")[0].strip()
    attempt = Attempt(
        verb=_verb(method, named=bool(named)),
        group=match["group"] or "",
        plural=match["plural"],
        namespace=match["namespace"],
        name=named,
        subresource=match["subresource"] or "",
        query=query,
    )
    return Request(
        attempt=attempt,
        version=match["version"] or match["core"],
        content_type=media,
        body=_value(body, media),
        manager=query.get("fieldManager") or user_agent.split("/")[0],
    )


def _verb(method: str, *, named: bool) -> str:
    if method == "GET":
        return "get" if named else "list"
    if method == "DELETE":
        return "delete" if named else "deletecollection"
    if method not in _VERBS:
        message = "the server does not allow this method on the requested resource"
        raise Refusal(
            Answer(status=405, body={"kind": "Status", "status": "Failure", "message": message})
        )
    return _VERBS[method]


def _value(body: Any, media: str) -> Any:
    if not isinstance(body, (str, bytes)):
        return body
    if not body:
        return None
    try:
        if media in (APPLY, _YAML):
            return yaml.load(body, Loader=yaml.CSafeLoader)
        return json.loads(body)
    except (ValueError, yaml.YAMLError) as err:
        raise Refusal(bad_request(f"error decoding the body: {err}")) from err
