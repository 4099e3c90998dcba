"""The artifact store in an S3 bucket, on MinIO or any other server: the only door to ``minio``.

The SHA-256 of each file is kept as the object's metadata, so that a resumed upload knows without
reading an object whether it is the right one. Objects appear whole, so nothing has to be locked.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from penstock.errors import ArtifactError, UnreachableError
from serving.store.content import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    ContentFile,
    Limits,
    is_place,
)
from serving.store.shelf import ShelfStore

if TYPE_CHECKING:
    from serving.store import ArtifactStore

_CHUNK_BYTES = 2**20
# S3 takes 10 000 parts, OpenStack Swift 1000: of these, twice what an artifact may hold.
_PART_BYTES = 16 * 2**20
_SHA256_HEADER = "x-amz-meta-sha256"
_ABSENT = frozenset({"NoSuchKey", "NoSuchObject", "ResourceNotFound"})
_BUSY = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout"})
_BUSY_REMEDY = "the server is busy or lacks its disks: try again later"
_REMEDIES = {
    "NoSuchBucket": "the bucket is not there: create it first",
    "InvalidBucketName": "the bucket's name is not one that S3 allows",
    "AccessDenied": "the key may not do that: check PENSTOCK_S3_ACCESS_KEY and the bucket's policy",
    "InvalidAccessKeyId": "the access key is not known: check PENSTOCK_S3_ACCESS_KEY",
    # Some servers say so of an access key that they do not know, too.
    "SignatureDoesNotMatch": "the access key or its secret key is wrong: check "
    "PENSTOCK_S3_ACCESS_KEY and PENSTOCK_S3_SECRET_KEY",
    "AuthorizationHeaderMalformed": "the region is wrong: set PENSTOCK_S3_REGION",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Access:
    """How a server is reached; the secret stays out of every representation.

    ``endpoint`` is ``host:port`` without a scheme; ``timeout_s`` bounds each connection and each
    wait for bytes.
    """

    endpoint: str
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    secure: bool = True
    region: str = ""
    timeout_s: float = 20.0
    retries: int = 2


def access_from(environment: Mapping[str, str]) -> S3Access:
    """Return what ``PENSTOCK_S3_{ENDPOINT,ACCESS_KEY,SECRET_KEY,SECURE,REGION}`` describe.

    An endpoint with a scheme says by it whether the connection is encrypted, unless ``SECURE`` says
    otherwise.

    Raises:
        ArtifactError: there is no endpoint, or ``SECURE`` is neither true nor false.
    """
    endpoint = environment.get("PENSTOCK_S3_ENDPOINT", "").strip().rstrip("/")
    if not endpoint:
        raise ArtifactError(
            "an s3:// store needs the server: set PENSTOCK_S3_ENDPOINT (such as "
            "minio.example:9000), "
            "PENSTOCK_S3_ACCESS_KEY and PENSTOCK_S3_SECRET_KEY"
        )
    scheme, _, host = endpoint.rpartition("://")
    secure = environment.get("PENSTOCK_S3_SECURE", "").strip().lower() or (
        "false" if scheme == "http" else "true"
    )
    if secure not in ("true", "false", "1", "0"):
        raise ArtifactError(f"PENSTOCK_S3_SECURE must be true or false, got {secure!r}")
    return S3Access(
        endpoint=host,
        access_key=environment.get("PENSTOCK_S3_ACCESS_KEY", ""),
        secret_key=environment.get("PENSTOCK_S3_SECRET_KEY", ""),
        secure=secure in ("true", "1"),
        region=environment.get("PENSTOCK_S3_REGION", ""),
    )


class S3Store(ShelfStore):
    """Keeps artifacts in a bucket that exists, below a prefix."""

    def __init__(
        self, access: S3Access, *, bucket: str, prefix: str = "", limits: Limits | None = None
    ) -> None:
        super().__init__(limits=limits)
        self._access = access
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = _client(access)

    def __repr__(self) -> str:
        return f"S3Store({self._uri('')!r} at {self._access.endpoint})"

    def _uri(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}"

    def _versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        with self._translated("list", prefix):
            for entry in self._client.list_objects(
                self._bucket, prefix=f"{self._prefix}{prefix}", recursive=True
            ):
                name = str(entry.object_name).removeprefix(self._prefix)
                base, _, file = name.rpartition("/")
                key, _, version = base.rpartition("/")
                if file == MANIFEST and is_place(key, version):
                    yield key, version

    def _read(self, name: str) -> bytes | None:
        with self._translated("read", name), self._opened(name) as response:
            return None if response is None else bytes(response.read(MAX_MANIFEST_BYTES))

    def _write(self, name: str, data: bytes) -> None:
        with self._translated("write", name):
            self._client.put_object(
                self._bucket,
                self._prefix + name,
                io.BytesIO(data),
                len(data),
                content_type="application/json",
            )

    def _holds(self, name: str, file: ContentFile) -> bool:
        with self._translated("look up", name):
            try:
                found = self._client.stat_object(self._bucket, self._prefix + name)
            except S3Error as err:
                if err.code in _ABSENT:
                    return False
                raise
            return file.matches((found.metadata or {}).get(_SHA256_HEADER, ""), found.size)

    def _send(self, name: str, path: Path, file: ContentFile) -> tuple[str, int]:
        with self._translated("write", name), path.open("rb") as source:
            reader = _HashingReader(source)
            try:
                self._client.put_object(
                    self._bucket,
                    self._prefix + name,
                    reader,
                    file.size_bytes,
                    metadata={"sha256": file.sha256},
                    part_size=_PART_BYTES,
                )
            except OSError as err:
                raise ArtifactError(f"{path} could not be read to its end: {err}") from err
            return reader.hexdigest(), reader.size_bytes

    def _fetch(self, name: str, path: Path) -> bool:
        with self._translated("read", name), self._opened(name) as response:
            if response is None:
                return False
            with path.open("wb") as sink:
                for chunk in response.stream(_CHUNK_BYTES):
                    sink.write(chunk)
            return True

    @contextmanager
    def _opened(self, name: str) -> Iterator[urllib3.BaseHTTPResponse | None]:
        try:
            response = self._client.get_object(self._bucket, self._prefix + name)
        except S3Error as err:
            if err.code not in _ABSENT:
                raise
            yield None
            return
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    @contextmanager
    def _translated(self, verb: str, name: str) -> Iterator[None]:
        asked = f"can't {verb} {self._uri(name)} at {self._access.endpoint}"
        try:
            yield
        except S3Error as err:
            if err.code in _BUSY:
                raise UnreachableError(f"{asked}: {_BUSY_REMEDY} ({err.code})") from err
            reason = _REMEDIES.get(str(err.code), str(err.message))
            raise ArtifactError(f"{asked}: {reason} ({err.code})") from err
        except ServerError as err:
            raise UnreachableError(f"{asked}: {_BUSY_REMEDY} ({err.status_code})") from err
        except (HTTPError, InvalidResponseError) as err:
            raise UnreachableError(
                f"{asked}: the server does not answer as S3 does ({_cause(err)}); "
                "check PENSTOCK_S3_ENDPOINT and PENSTOCK_S3_SECURE"
            ) from err
        except (MinioException, ValueError) as err:
            raise ArtifactError(f"{asked}: {err}") from err


class _HashingReader(io.RawIOBase):
    """Reads a file and keeps the checksum of what was read, to notice a change meanwhile."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._hashed = hashlib.sha256()
        self.size_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._hashed.update(data)
        self.size_bytes += len(data)
        return data

    def hexdigest(self) -> str:
        return self._hashed.hexdigest()


def _client(access: S3Access) -> Minio:
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=min(5.0, access.timeout_s), read=access.timeout_s),
        retries=urllib3.Retry(
            total=access.retries,
            backoff_factor=0.2,
            status_forcelist=(500, 502, 503, 504),
            raise_on_status=False,  # the last answer says why
        ),
    )
    try:
        return Minio(
            access.endpoint,
            access_key=access.access_key or None,
            secret_key=access.secret_key or None,
            secure=access.secure,
            region=access.region or None,
            http_client=pool,
        )
    except ValueError as err:
        raise ArtifactError(
            f"PENSTOCK_S3_ENDPOINT {access.endpoint!r} is no server: {err}; write host:port"
        ) from err


def _cause(err: BaseException) -> str:
    reason = getattr(err, "reason", None)
    return str(reason if isinstance(reason, BaseException) else err)


if TYPE_CHECKING:
    _conforms: ArtifactStore = S3Store(S3Access(endpoint=""), bucket="")
