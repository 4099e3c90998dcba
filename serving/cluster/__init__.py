"""The Cluster port: manifests in, manifests out.

It takes manifests, not plans, so that a laptop, a production cluster and the dry run share one
rendering, one diff and one order of application. Each back-end is one module here; nothing heavy
is imported by this package itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from serving.diff import Change
from serving.manifest import Manifest

__all__ = ["Change", "Cluster", "Manifest", "Readiness"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether an object does its work, and why not; ``reason`` is empty when it is ready."""

    ready: bool
    reason: str = ""


class Cluster(Protocol):
    """Where the objects of a pipeline live."""

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the live object, or ``None`` when it is not there."""
        ...

    def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> tuple[Manifest, ...]:
        """Return the objects that carry all of these labels, ordered by name."""
        ...

    def apply(self, change: Change) -> Manifest | None:
        """Carry out one change; the object as it is then, ``None`` after a delete.

        Raises:
            ConflictError: somebody else wrote first, or it exists already.
            NotFoundError: there is nothing to patch, replace or delete.
            ManifestError: the cluster refuses the body.
        """
        ...

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Remove an object; ``False`` when it was not there."""
        ...

    def ready(self, kind: str, namespace: str, name: str) -> Readiness:
        """Say whether the object does its work; one that is missing is not ready."""
        ...
