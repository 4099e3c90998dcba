"""Where the in-memory server keeps its objects, and the one count that versions all writes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from serving.manifest import Manifest

Key = tuple[str, str, str, str]
"""Group, plural, namespace and name."""

_UID_SPACE = uuid.UUID("6f6b7e4e-0f6b-4b0e-9d53-8a1c5c1f2b11")


class ObjectStore:
    """Objects by key.

    Uids and generated names count up instead of being random, so that two runs are equal.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._objects: dict[Key, Manifest] = {}
        self._born = 0
        self.version = 0

    def find(self, key: Key) -> Manifest | None:
        """Return the stored object itself, or ``None``."""
        return self._objects.get(key)

    def all_of(self, group: str, plural: str, namespace: str) -> list[Manifest]:
        """Return the objects of a kind in a namespace, by name."""
        at = (group, plural, namespace)
        return [self._objects[key] for key in sorted(self._objects) if key[:3] == at]

    def keep(self, key: Key, body: Manifest) -> None:
        """Store an object under a new version."""
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key] = body

    def drop(self, key: Key) -> None:
        """Remove an object; that is a write, too."""
        self.version += 1
        del self._objects[key]

    def christen(self, body: Manifest, namespace: str) -> None:
        """Give a new object what it has for life: name, namespace, uid and time of creation."""
        self._born += 1
        metadata = body["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{self._born:05d}"
        metadata["namespace"] = namespace
        metadata["uid"] = str(uuid.uuid5(_UID_SPACE, str(self._born)))
        metadata["creationTimestamp"] = self.time()

    def time(self) -> str:
        """Return the time as the API writes it."""
        return datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
