"""How every store keeps its promises: the order of what is sent, the checks on what comes back.

A back-end knows only how to keep, send and fetch single files; that a broken upload is never seen
and that a fetched folder is whole follows from the order here, once for all back-ends.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from penstock.errors import ArtifactError
from serving.store.content import (
    MANIFEST,
    Artifact,
    Content,
    ContentFile,
    Limits,
    check_key,
    check_version,
    digest_of,
    parse_manifest,
    render_manifest,
    scan,
)


class ShelfStore(ABC):
    """An ``ArtifactStore`` over a place that keeps files under ``<key>/<version>/<path>``."""

    def __init__(self, *, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()

    def put(self, key: str, folder: Path) -> Artifact:
        """Upload a folder; files that are already there are not sent again, the manifest goes last.

        Raises:
            ArtifactError: the folder can't be an artifact, changed while it was sent, or the store
                holds something else under its version.
            UnreachableError: the store did not answer; calling again resumes.
        """
        check_key(key)
        content = scan(folder, self._limits)
        base = f"{key}/{content.version}"
        with self._exclusive(base):
            visible = self._visible(key, content.version)
            if visible is None:
                for file in content.files:
                    self._send_if_missing(base, folder, file)
                self._write(f"{base}/{MANIFEST}", render_manifest(key, content))
            elif visible != content or not self._holds_all(base, content):
                raise ArtifactError(
                    f"{self._uri(base)} holds other content than {folder}: a version is never "
                    "overwritten; remove it by hand if it was damaged"
                )
        return content.artifact(key, self._uri(base))

    def get(self, key: str, version: str, into: Path) -> Artifact:
        """Fetch a version as the folder ``into``, which appears only when every checksum is right.

        A folder that already holds exactly this version is left as it is.

        Raises:
            ArtifactError: there is no such version, it is damaged, or ``into`` holds something
                else.
            UnreachableError: the store did not answer.
        """
        check_key(key)
        check_version(version)
        base = f"{key}/{version}"
        content = self._visible(key, version)
        if content is None:
            raise ArtifactError(f"{self._uri(base)} is not there: {self._known(key)}")
        if _occupied(into):
            self._require_same(into, content)
        else:
            with _appearing(into) as partial:
                for file in content.files:
                    self._fetch_checked(base, file, partial / file.path)
        return content.artifact(key, self._uri(base))

    def list(self, prefix: str = "") -> tuple[Artifact, ...]:
        """Return what is visible and has a key that starts with ``prefix``, by key and version.

        Raises:
            ArtifactError: a manifest is damaged.
            UnreachableError: the store did not answer.
        """
        found = []
        for key, version in sorted(set(self._versions(prefix))):
            content = self._visible(key, version)
            if content is not None:
                found.append(content.artifact(key, self._uri(f"{key}/{version}")))
        return tuple(found)

    def stat(self, key: str, version: str) -> Artifact | None:
        """Return a visible version, or ``None``.

        Raises:
            ArtifactError: its manifest is damaged.
            UnreachableError: the store did not answer.
        """
        check_key(key)
        check_version(version)
        content = self._visible(key, version)
        return content.artifact(key, self._uri(f"{key}/{version}")) if content else None

    @abstractmethod
    def _uri(self, name: str) -> str:
        """Where a name is kept."""

    @abstractmethod
    def _versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Key and version of every manifest below keys that start with ``prefix``."""

    @abstractmethod
    def _read(self, name: str) -> bytes | None:
        """The bytes of a small file, ``None`` when it is not there."""

    @abstractmethod
    def _write(self, name: str, data: bytes) -> None:
        """Write a small file so that it appears whole."""

    @abstractmethod
    def _holds(self, name: str, file: ContentFile) -> bool:
        """Whether the file is there with the right size and checksum."""

    @abstractmethod
    def _send(self, name: str, path: Path, file: ContentFile) -> tuple[str, int]:
        """Send a file so that it appears whole; returns checksum and size of what was sent."""

    @abstractmethod
    def _fetch(self, name: str, path: Path) -> bool:
        """Fetch a file to a path; ``False`` when it is not there."""

    def _exclusive(self, base: str) -> AbstractContextManager[None]:
        """Hold others off while a version is written; nothing where each write is atomic."""
        return nullcontext()

    def _visible(self, key: str, version: str) -> Content | None:
        name = f"{key}/{version}/{MANIFEST}"
        data = self._read(name)
        if data is None:
            return None
        return parse_manifest(data, key=key, version=version, source=self._uri(name))

    def _send_if_missing(self, base: str, folder: Path, file: ContentFile) -> None:
        name = f"{base}/{file.path}"
        if not self._holds(name, file) and not file.matches(
            *self._send(name, folder / file.path, file)
        ):
            raise ArtifactError(
                f"{folder / file.path} changed while it was uploaded: upload again when nothing "
                "writes to it"
            )

    def _holds_all(self, base: str, content: Content) -> bool:
        return all(self._holds(f"{base}/{file.path}", file) for file in content.files)

    def _require_same(self, into: Path, content: Content) -> None:
        if not into.is_dir() or scan(into, self._limits).digest != content.digest:
            raise ArtifactError(
                f"{into} exists and holds something else: name a folder that is not there yet"
            )

    def _fetch_checked(self, base: str, file: ContentFile, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = self._fetch(f"{base}/{file.path}", path)
        if not there or not file.matches(*digest_of(path)):
            raise self._broken(f"{base}/{file.path}")

    def _broken(self, name: str) -> ArtifactError:
        return ArtifactError(
            f"{self._uri(name)} is missing or does not have the checksum of its manifest: the "
            "version is damaged; "
            "remove it from the store and upload it again"
        )

    def _known(self, key: str) -> str:
        versions = [a.version for a in self.list(key) if a.key == key]
        return f"the store has {', '.join(versions)}" if versions else f"the store has no {key}"


def _occupied(into: Path) -> bool:
    return into.exists() and not (into.is_dir() and not any(into.iterdir()))


@contextmanager
def _appearing(into: Path) -> Iterator[Path]:
    """A folder beside ``into`` that becomes ``into`` when the block ends well, and else is gone."""
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=into.parent, prefix=f".{into.name}.partial-", ignore_cleanup_errors=True
        ) as partial:
            # The temporary folder is private to its owner; the one in it has any new folder's
            # rights.
            content = Path(partial) / "content"
            content.mkdir()
            yield content
            content.replace(into)
    except OSError as err:
        raise ArtifactError(f"{into} can't be written: {err}") from err
