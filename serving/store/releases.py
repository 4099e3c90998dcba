"""Numbered releases of an artifact: which of its versions is the one in use.

A store knows versions by their content and no order among them. A release is a version under
``<key>/r<number>``; the highest number is in use. Nothing is ever moved or overwritten, so going
back to an older version is one more release.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from serving.store.content import Artifact, Limits, scan

if TYPE_CHECKING:
    from serving.store import ArtifactStore

_RELEASE = re.compile(r"r(\d{6,})")


def newest(store: ArtifactStore, key: str) -> Artifact | None:
    """Return the release of ``key`` that is in use, or ``None`` before the first.

    Of two that were made at the same moment under one number, everybody takes the same.

    Raises:
        ArtifactError: a release is damaged.
        UnreachableError: the store did not answer.
    """
    found = [(number_of(one, key), one.version, one) for one in store.list(f"{key}/r")]
    numbered = [entry for entry in found if entry[0] > 0]
    return max(numbered, key=lambda entry: entry[:2])[2] if numbered else None


def release(store: ArtifactStore, key: str, folder: Path) -> Artifact:
    """Make a folder the release in use; the one that is in use already is no new release.

    Raises:
        ArtifactError: the folder can't be an artifact.
        UnreachableError: the store did not answer; calling again resumes.
    """
    before = newest(store, key)
    if before is not None and before.version == scan(folder, Limits()).version:
        return before
    number = 1 if before is None else number_of(before, key) + 1
    return store.put(f"{key}/r{number:06d}", folder)


def number_of(artifact: Artifact, key: str) -> int:
    """Return the number of a release of ``key``; 0 when the artifact is none."""
    match = _RELEASE.fullmatch(artifact.key.removeprefix(f"{key}/"))
    return int(match.group(1)) if match else 0
