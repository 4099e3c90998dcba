"""Where the models live: folders in, immutable versions out, a directory or S3 behind one port.

Changes when the way artifacts are kept changes. It knows nothing of models: an artifact is a folder
of files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from penstock.errors import ArtifactError
from serving.store.content import Artifact, Limits

__all__ = ["Artifact", "ArtifactStore", "Limits", "make_store", "upload_models"]


class ArtifactStore(Protocol):
    """Immutable versions of folders, by key.

    Every verb raises ``UnreachableError`` when the store does not answer and ``ArtifactError`` for
    what a person has to repair.
    """

    def put(self, key: str, folder: Path) -> Artifact:
        """Upload a folder: idempotent, resumable, invisible to all others until complete."""
        ...

    def get(self, key: str, version: str, into: Path) -> Artifact:
        """Fetch a version as the folder ``into``, which appears only when it is whole."""
        ...

    def list(self, prefix: str = "") -> tuple[Artifact, ...]:
        """Return the visible versions whose keys start with ``prefix``, by key and version."""
        ...

    def stat(self, key: str, version: str) -> Artifact | None:
        """Return a visible version, or ``None``."""
        ...


def make_store(
    uri: str, *, environment: Mapping[str, str] = os.environ, limits: Limits | None = None
) -> ArtifactStore:
    """Return the store at a URI: a plain path, ``file:///path``, or ``s3://bucket/prefix``.

    An S3 server and its keys come from ``PENSTOCK_S3_*`` in ``environment``; nothing is contacted
    yet.

    Raises:
        ArtifactError: the URI is of no known kind, or the S3 settings are missing or wrong.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise ArtifactError(f"{uri!r} names no bucket: write s3://bucket or s3://bucket/prefix")
        from serving.store.s3 import S3Store, access_from

        return S3Store(
            access_from(environment), bucket=parts.netloc, prefix=parts.path, limits=limits
        )
    if parts.scheme not in ("", "file") or (parts.scheme == "file" and parts.netloc) or not uri:
        raise ArtifactError(
            f"{uri!r} is no artifact store: write a path, file:///path or s3://bucket/prefix"
        )
    from serving.store.directory import DirectoryStore

    path = unquote(parts.path) if parts.scheme else uri
    return DirectoryStore(Path(path), limits=limits)


def upload_models(
    models: Sequence[tuple[str, Path]],
    store: ArtifactStore,
    on_progress: Callable[[Artifact], None] | None = None,
) -> tuple[Artifact, ...]:
    """Upload models, given as (key, folder), and return their artifacts in the same order.

    ``on_progress`` is told of each as it becomes visible. When one fails, those before it stay
    visible and a second call sends only what is missing.

    Raises:
        ArtifactError: two models have one key, or a folder can't be uploaded.
        UnreachableError: the store did not answer.
    """
    keys = [key for key, _ in models]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ArtifactError(
            f"each model needs a key of its own; given more than once: {', '.join(twice)}"
        )
    uploaded = []
    for key, folder in models:
        uploaded.append(store.put(key, folder))
        if on_progress:
            on_progress(uploaded[-1])
    return tuple(uploaded)
