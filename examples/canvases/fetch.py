"""Fetches a file once: resumed where it was cut off, and believed only with the right checksum."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from penstock.errors import ArtifactError, UnreachableError, UserError
from penstock.progress import Progress, Report, silent

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file somebody publishes; ``size`` in bytes."""

    name: str
    size: int
    sha256: str


def fetch(file: RemoteFile, folder: Path, *, base_url: str, report: Report = silent) -> Path:
    """Return the path of ``file`` in ``folder``, fetched from ``base_url`` unless it is there.

    A cut connection leaves ``<name>.part``, from whose end the next call goes on.

    Raises:
        UnreachableError: the server did not answer, or stopped in the middle; try again.
        ArtifactError: what came is not the file that was published.
        UserError: the URL is no HTTP URL.
    """
    if not base_url.startswith(("http://", "https://")):
        raise UserError(f"cannot fetch from {base_url!r}: must start with http:// or https://")
    target = folder / file.name
    if target.exists():
        return _checked(target, file)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{file.name}.part"
    url = f"{base_url.rstrip('/')}/{file.name}"
    if not part.exists() or part.stat().st_size < file.size:
        _download(url, part, file, report)
    return _checked(part, file).rename(target)


def _download(url: str, part: Path, file: RemoteFile, report: Report) -> None:
    have = part.stat().st_size if part.exists() else 0
    # Only http and https come here: fetch() has looked at the scheme.
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
            with part.open("ab" if resumed else "wb") as into:
                _copy(answer, into, file, report)
    except urllib.error.HTTPError as err:
        raise UnreachableError(f"{url} answered {err.code} {err.reason}") from err
    except (OSError, HTTPException) as err:
        raise UnreachableError(
            f"{url} could not be read: {err}; run this again to go on where it stopped, or put "
            f"{file.name} into {part.parent}"
        ) from err
    if part.stat().st_size < file.size:
        raise UnreachableError(
            f"{url} ended after {part.stat().st_size} of {file.size} bytes; run this again"
        )


def _copy(answer: Any, into: IO[bytes], file: RemoteFile, report: Report) -> None:
    while into.tell() <= file.size and (chunk := answer.read(_CHUNK)):
        into.write(chunk)
        report(Progress(step="data", done=into.tell(), total=file.size, note=file.name))


def _checked(path: Path, file: RemoteFile) -> Path:
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != file.sha256:
        path.unlink()
        raise ArtifactError(
            f"{path} is not {file.name} as published: SHA-256 {found}, expected {file.sha256}; "
            "it was removed, run this again or name another source"
        )
    return path
