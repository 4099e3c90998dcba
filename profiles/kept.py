"""What a profiling run has finished, kept so that the next run need not measure it again.

A file's name carries a fingerprint of all that its content depends on; a file of another model,
other requests or another machine is therefore simply not found. Profiles are kept as profile
tables, accuracies as a small JSON document. A file that can't be read counts as not there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.domain import Profile, ProfileTable
from penstock.errors import DomainError, ProfileError, SpecError
from profiles.accuracy import Accuracies
from profiles.table import load, save, write_text

if TYPE_CHECKING:
    from penstock.dataset import LabelledRequest

_FINGERPRINT_LENGTH = 16


def fingerprint(*facts: object) -> str:
    """Return a short digest of values that have a faithful ``repr``."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:_FINGERPRINT_LENGTH]


def folder_digest(folder: Path) -> str:
    """Return a digest of the names and contents of a folder's files.

    Raises:
        ProfileError: it is not a folder, or can't be read.
    """
    if not folder.is_dir():
        raise ProfileError(f"{folder} is not a folder: train or upload the model first")
    hashed = hashlib.sha256()
    try:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            hashed.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    except OSError as err:
        raise ProfileError(f"{folder} can't be read: {err}") from err
    return hashed.hexdigest()


def requests_digest(requests: Sequence[LabelledRequest]) -> str:
    """Return a digest of labelled requests: their bodies and their labels."""
    hashed = hashlib.sha256()
    for request in requests:
        hashed.update(repr(request).encode())
    return hashed.hexdigest()


class Kept:
    """A work folder of finished measurements."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def profile(self, stage: str, variant: str, fingerprint: str) -> Profile | None:
        """Return a finished profile, or ``None``."""
        try:
            return load(self._profile_path(stage, variant, fingerprint)).find(stage, variant)
        except (ProfileError, SpecError):
            return None

    def keep_profile(self, profile: Profile, fingerprint: str) -> None:
        """Keep a finished profile."""
        path = self._profile_path(profile.stage, profile.variant, fingerprint)
        save(ProfileTable(profiles=(profile,)), path)

    def accuracies(self, fingerprint: str) -> Accuracies | None:
        """Return finished accuracies, or ``None``."""
        try:
            document = json.loads(self._accuracies_path(fingerprint).read_bytes())
            return Accuracies(
                stages={(s, v): float(share) for s, v, share in document["stages"]},
                joint={tuple(names): float(share) for names, share in document["joint"]},
            )
        except (OSError, ValueError, TypeError, KeyError, DomainError):
            return None

    def keep_accuracies(self, found: Accuracies, fingerprint: str) -> None:
        """Keep finished accuracies."""
        document = {
            "stages": [[*key, share] for key, share in found.stages.items()],
            "joint": [[list(names), share] for names, share in found.joint.items()],
        }
        write_text(self._accuracies_path(fingerprint), json.dumps(document, indent=2) + "\n")

    def _profile_path(self, stage: str, variant: str, fingerprint: str) -> Path:
        return self._folder / f"{stage}-{variant}-{fingerprint}.json"

    def _accuracies_path(self, fingerprint: str) -> Path:
        return self._folder / f"accuracies-{fingerprint}.json"
