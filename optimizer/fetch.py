"""A bounded HTTP GET: whatever the other side does, it ends in time, with bytes or a fault."""

from __future__ import annotations

import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Protocol

from penstock.errors import DomainError, SourceError

CHUNK_BYTES = 64 * 1024
EXCERPT_CHARACTERS = 200


class FetchJson(Protocol):
    """How a load source gets a JSON object: ``fetch_json``, or a stand-in for it."""

    def __call__(
        self,
        url: str,
        *,
        timeout_s: float,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the object; raises ``SourceError``."""
        ...


def require_http(url: str) -> str:
    """Return ``url`` if it is an http or https address with a host.

    Raises:
        DomainError: it is anything else (``file:`` would let a setting read any file).
    """
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise DomainError(f"load source: {url!r} is no address; write http://host:port")
    return url


def fetch_bytes(
    url: str, *, timeout_s: float, max_bytes: int, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return the body of a GET.

    ``timeout_s`` bounds the whole exchange, so that a server that sends one byte a second cannot
    hold up a tick.

    Raises:
        SourceError: no connection, a status that is not 2xx, more than ``max_bytes``, or too slow.
    """
    shown = _without_secrets(url)
    deadline_s = time.monotonic() + timeout_s
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with _opener(url).open(request, timeout=timeout_s) as response:
            return _read_all(response, shown, deadline_s=deadline_s, max_bytes=max_bytes)
    except urllib.error.HTTPError as err:
        with err:
            said = _excerpt(err)
        raise SourceError(f"GET {shown} answered {err.code}: {said or err.reason}") from err
    except TimeoutError as err:
        raise SourceError(f"GET {shown} gave no whole answer in {timeout_s:g} s") from err
    except (OSError, http.client.HTTPException, ValueError) as err:
        raise SourceError(
            f"GET {shown} failed: {err}; is the address right, the server up?"
        ) from err


def fetch_json(
    url: str, *, timeout_s: float, max_bytes: int, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the JSON object that a GET answers.

    Raises:
        SourceError: as ``fetch_bytes``, or the body is no JSON object.
    """
    body = fetch_bytes(url, timeout_s=timeout_s, max_bytes=max_bytes, headers=headers)
    shown = _without_secrets(url)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as err:
        start = body[:EXCERPT_CHARACTERS].decode(errors="replace")
        raise SourceError(f"GET {shown} answered no JSON but {start!r}: {err}") from err
    if not isinstance(found, dict):
        raise SourceError(f"GET {shown} answered a JSON {type(found).__name__}, not an object")
    return found


def _read_all(
    response: http.client.HTTPResponse, shown: str, *, deadline_s: float, max_bytes: int
) -> bytes:
    body = bytearray()
    while chunk := response.read1(CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise SourceError(f"GET {shown} answered more than {max_bytes} bytes; narrow the query")
        if time.monotonic() > deadline_s:
            raise TimeoutError
    # read1 does not notice a body that ends before its Content-Length.
    if response.length:
        raise SourceError(f"GET {shown} broke off {response.length} bytes before its end")
    return bytes(body)


def _excerpt(err: urllib.error.HTTPError) -> str:
    try:
        return err.read(EXCERPT_CHARACTERS).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException):
        return ""


def _opener(url: str) -> urllib.request.OpenerDirector:
    """A proxy set for the internet has no business between us and a server on this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    if _is_loopback(host):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_secrets(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))
