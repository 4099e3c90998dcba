"""What a cluster has and what we may do there, asked without cluster-wide rights.

Every account that can log in may ask which kinds are served and what it may do itself; to read the
CustomResourceDefinitions it would need rights on the whole cluster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from penstock.errors import NotFoundError, UnreachableError
from serving.manifest import Manifest

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Ask(Protocol):
    """How a question is put to the API server."""

    def __call__(self, method: str, path: str, *, body: Manifest | None = None) -> Manifest:
        """Send one request and return the object in its answer, or raise what is wrong."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """A verb on a resource of a namespace; ``name`` bounds it to one object."""

    verb: str
    group: str
    plural: str
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        of = f"{self.plural}.{self.group}" if self.group else self.plural
        return f"{self.verb} {of}{f' {self.name}' if self.name else ''}"


class Discovery:
    """What one cluster tells about itself."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def version(self) -> tuple[int, int]:
        """Return the API server's major and minor version.

        Raises:
            UnreachableError: what answers does not tell one.
        """
        told = self._ask("GET", "/version")
        numbers = [re.match(r"\d+", str(told.get(part, ""))) for part in ("major", "minor")]
        if None in numbers:
            raise UnreachableError(f"no version in {told!r}: is that a Kubernetes API server?")
        major, minor = (int(number[0]) for number in numbers if number)
        return major, minor

    def versions(self, group: str) -> tuple[str, ...]:
        """Return the versions of a group that are served, the preferred one first."""
        try:
            told = self._ask("GET", f"/apis/{group}")
        except NotFoundError:
            return ()
        return tuple(str(v["version"]) for v in told.get("versions") or ())

    def resources(self, group: str, version: str) -> frozenset[str]:
        """Return the plurals that are served in a version of a group."""
        try:
            told = self._ask("GET", f"/apis/{group}/{version}" if group else f"/api/{version}")
        except NotFoundError:
            return frozenset()
        return frozenset(str(r["name"]) for r in told.get("resources") or ())

    def may(self, right: Right) -> bool:
        """Whether the account that asks has a right."""
        attributes = {
            "verb": right.verb,
            "group": right.group,
            "resource": right.plural,
            "namespace": right.namespace,
            **({"name": right.name} if right.name else {}),
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self._ask("POST", _REVIEWS, body=review)
        return bool((answer.get("status") or {}).get("allowed"))
