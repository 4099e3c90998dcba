"""What an artifact is made of: files, their checksums, and the version that follows from them.

A version is derived from content alone, so the same folder has the same version in every store, and
a version can never mean two things. Nothing here knows where a store keeps its files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from penstock.errors import ArtifactError

MANIFEST = "manifest.json"
"""The file that makes a version visible; written last."""

VERSION_LENGTH = 12
"""Hex digits of the digest that make the version."""

MAX_MANIFEST_BYTES = 4 * 2**20

_CHUNK_BYTES = 2**20
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(rf"[0-9a-f]{{{VERSION_LENGTH}}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one artifact may hold."""

    max_files: int = 1000
    max_bytes: int = 8 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One immutable version of one key.

    ``files`` maps relative paths to sizes in bytes. ``digest`` is the SHA-256 (hex) over the sorted
    lines ``path sha256 size`` of its files, ``version`` its first 12 digits, ``uri`` where the
    store keeps the files.
    """

    key: str
    version: str
    digest: str
    files: Mapping[str, int]
    uri: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", MappingProxyType(dict(sorted(self.files.items()))))

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(self.files.values())


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ContentFile:
    """One file: its path below the folder (parts separated by ``/``), checksum and size."""

    path: str
    sha256: str
    size_bytes: int

    def matches(self, sha256: str, size_bytes: int) -> bool:
        """Whether that checksum and that size are this file's."""
        return (self.sha256, self.size_bytes) == (sha256, size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The files of an artifact in the order of their paths."""

    files: tuple[ContentFile, ...]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the sorted lines ``path sha256 size``."""
        lines = [f"{f.path} {f.sha256} {f.size_bytes}\n" for f in sorted(self.files)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def version(self) -> str:
        """The first digits of the digest."""
        return self.digest[:VERSION_LENGTH]

    def artifact(self, key: str, uri: str) -> Artifact:
        """Return the artifact that this content is under a key at a place."""
        files = {f.path: f.size_bytes for f in self.files}
        return Artifact(key=key, version=self.version, digest=self.digest, files=files, uri=uri)


def check_key(key: str) -> None:
    """Refuse a key that could leave the store, or be taken for a version.

    Raises:
        ArtifactError: the key is not made of plain names separated by ``/``.
    """
    parts = key.split("/")
    plain = all(_SEGMENT.fullmatch(part) for part in parts)
    if not plain or any(_VERSION.fullmatch(part) for part in parts):
        raise ArtifactError(
            f"{key!r} can't be the key of an artifact: use names of letters, digits, '.', '_' and "
            "'-' that "
            f"start with a letter or digit, separated by '/', none of them {VERSION_LENGTH} hex "
            "digits "
            "(such as digits/locate/small)"
        )


def check_version(version: str) -> None:
    """Refuse what is not a version.

    Raises:
        ArtifactError: it is not 12 lower-case hex digits.
    """
    if not _VERSION.fullmatch(version):
        raise ArtifactError(
            f"{version!r} is no version of an artifact: versions are {VERSION_LENGTH} lower-case "
            "hex digits; "
            "list the store to see those there are"
        )


def is_place(key: str, version: str) -> bool:
    """Whether an artifact could lie under that key and version."""
    try:
        check_key(key)
        check_version(version)
    except ArtifactError:
        return False
    return True


def scan(folder: Path, limits: Limits) -> Content:
    """Return the content of a folder.

    Raises:
        ArtifactError: there is no such folder, it is empty, holds something that is not a plain
            file, or too much.
    """
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder: an artifact is a folder of files")
    found: list[tuple[str, Path]] = []
    for name, path in _walk(folder):
        found.append((_checked_path(name, str(folder)), path))
        if len(found) > limits.max_files:
            raise ArtifactError(
                f"{folder} holds more than {limits.max_files} files: is it a model's folder?"
            )
    if not found:
        raise ArtifactError(f"{folder} holds no file: an artifact has at least one")
    total = sum(path.stat().st_size for _, path in found)
    if total > limits.max_bytes:
        raise ArtifactError(
            f"{folder} holds {total} bytes; an artifact may have {limits.max_bytes}"
        )
    return Content(files=tuple(sorted(_described(name, path) for name, path in found)))


def digest_of(path: Path) -> tuple[str, int]:
    """Return the SHA-256 (hex) and the size [bytes] of a file."""
    hashed, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hashed.update(chunk)
            size += len(chunk)
    return hashed.hexdigest(), size


def render_manifest(key: str, content: Content) -> bytes:
    """Return the manifest of a version; the same content gives the same bytes."""
    document = {
        "key": key,
        "version": content.version,
        "digest": content.digest,
        "files": {f.path: {"sha256": f.sha256, "size": f.size_bytes} for f in content.files},
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def parse_manifest(data: bytes, *, key: str, version: str, source: str) -> Content:
    """Return the content that a manifest names.

    Raises:
        ArtifactError: it is no manifest, is not the manifest of that key and version, or names a
            path that would leave the folder.
    """
    try:
        document = json.loads(data)
        content = Content(files=tuple(sorted(_files(document["files"], source))))
        stated = (document["key"], document["version"], document["digest"])
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise _damaged(source, f"it is no manifest ({err!r})") from err
    if stated != (key, version, content.digest) or version != content.version:
        raise _damaged(source, f"it does not describe {key} {version}")
    return content


def _files(listed: Mapping[str, Mapping[str, Any]], source: str) -> Iterator[ContentFile]:
    for path, facts in listed.items():
        sha256, size = facts["sha256"], facts["size"]
        if not (isinstance(size, int) and size >= 0 and _SHA256.fullmatch(sha256)):
            raise _damaged(source, f"its entry {path!r} has no size and checksum")
        yield ContentFile(path=_checked_path(path, source), sha256=sha256, size_bytes=size)


def _damaged(source: str, why: str) -> ArtifactError:
    return ArtifactError(f"{source} is damaged: {why}; remove that version and upload it again")


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ArtifactError(
                f"{path} is not a plain file: links and devices can't be part of an artifact"
            )
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _described(name: str, path: Path) -> ContentFile:
    sha256, size = digest_of(path)
    return ContentFile(path=name, sha256=sha256, size_bytes=size)


def _checked_path(path: str, source: str) -> str:
    """Return a relative path that stays below its folder on every system.

    Raises:
        ArtifactError: it does not, or it is the manifest's own name.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or not path.isprintable() or "\\" in path:
        raise ArtifactError(f"{source}: {path!r} can't be the path of a file in an artifact")
    if path == MANIFEST:
        raise ArtifactError(f"{source}: the name {MANIFEST} belongs to the store; rename that file")
    return path
