"""The artifact store in a folder: a laptop's, or a volume that several machines mount."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import ArtifactError, UnreachableError
from serving.store.content import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    ContentFile,
    Limits,
    digest_of,
    is_place,
)
from serving.store.shelf import ShelfStore

if TYPE_CHECKING:
    from serving.store import ArtifactStore

_CHUNK_BYTES = 2**20


class DirectoryStore(ShelfStore):
    """Keeps artifacts under a root folder, which is made by the first upload."""

    def __init__(self, root: Path, *, limits: Limits | None = None) -> None:
        super().__init__(limits=limits)
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - a link to the root stays as the user named it

    def __repr__(self) -> str:
        return f"DirectoryStore({str(self._root)!r})"

    def _uri(self, name: str) -> str:
        return (self._root / name).as_uri()

    def _versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        with _translated(self._root):
            for path in self._root.rglob(MANIFEST):
                key, _, version = path.parent.relative_to(self._root).as_posix().rpartition("/")
                if key.startswith(prefix) and is_place(key, version):
                    yield key, version

    def _read(self, name: str) -> bytes | None:
        path = self._root / name
        with _translated(path):
            try:
                with path.open("rb") as file:
                    return file.read(MAX_MANIFEST_BYTES)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def _write(self, name: str, data: bytes) -> None:
        path = self._root / name
        with _translated(path), _replacing(path) as part:
            part.write_bytes(data)

    def _holds(self, name: str, file: ContentFile) -> bool:
        path = self._root / name
        with _translated(path):
            # The size first: it spares reading a file that was cut short.
            return (
                path.is_file()
                and path.stat().st_size == file.size_bytes
                and file.matches(*digest_of(path))
            )

    def _send(self, name: str, path: Path, file: ContentFile) -> tuple[str, int]:
        target = self._root / name
        hashed, size = hashlib.sha256(), 0
        with (
            _translated(target),
            _replacing(target) as part,
            path.open("rb") as source,
            part.open("wb") as sink,
        ):
            while chunk := source.read(_CHUNK_BYTES):
                hashed.update(chunk)
                size += len(chunk)
                sink.write(chunk)
        return hashed.hexdigest(), size

    def _fetch(self, name: str, path: Path) -> bool:
        source = self._root / name
        with _translated(source):
            try:
                shutil.copyfile(source, path)
            except FileNotFoundError:
                return False
            return True

    @contextmanager
    def _exclusive(self, base: str) -> Iterator[None]:
        # Two uploads of one version would write the same part files; the lock goes when its holder
        # dies.
        folder = self._root / base
        with _translated(folder):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A part file that takes the place of ``path`` once it is safely on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        _sync(part)
        part.replace(path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as err:
        raise ArtifactError(
            f"{path} may not be used: {err.strerror}; change its rights or the store's place"
        ) from err
    except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError) as err:
        raise ArtifactError(f"{path} can't be part of the store: {err}") from err
    except OSError as err:
        raise UnreachableError(f"the store in {path} does not answer: {err}") from err


if TYPE_CHECKING:
    _conforms: ArtifactStore = DirectoryStore(Path())
