"""A connection to an API server with the standard library alone, kept open between requests.

Nothing is sent twice: a connection that the server has closed meanwhile is noticed before a request
is put on it, and one that fails under a request is not used again.
"""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import tempfile
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.errors import UnreachableError, UserError
from serving.cluster.connection import AGENT, JSON, Connection, Reply, no_answer
from serving.cluster.login import Login
from serving.manifest import Manifest


class DirectConnection:
    """Requests to one server, under a login that needs no program."""

    def __init__(self, login: Login) -> None:
        """Take a login; nothing is sent yet.

        Raises:
            UserError: its certificates or its server's address can't be used.
        """
        self._login = login
        self._idle: HTTPConnection | None = None
        try:
            parts = urlsplit(login.server)
            self._host, self._port = parts.hostname or "", parts.port
            self._tls = _trust(login) if parts.scheme == "https" else None
        except (ValueError, OSError) as err:  # ssl.SSLError is an OSError
            raise UserError(
                f"the login for {login.server} can't be used: {err}; look at its address and "
                "certificates"
            ) from err
        if parts.scheme not in ("http", "https") or not self._host:
            raise UserError(
                f"{login.server!r} is no address of an API server; write https://host:port"
            )
        self._prefix = parts.path.rstrip("/")

    def __del__(self) -> None:
        """Hang up: a connection lives as long as the cluster that it is part of."""
        if self._idle is not None:
            self._idle.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Manifest | None = None,
        media: str = JSON,
        timeout_s: float = 10.0,
    ) -> Reply:
        """Send one request, once, and return the answer."""
        headers = self._headers(media)
        data = None if body is None else json.dumps(body).encode()
        link = self._link(timeout_s)
        kept = False
        try:
            link.request(method, self._prefix + path, body=data, headers=headers)
            answer = link.getresponse()
            reply = Reply(status=answer.status, text=answer.read().decode())
            kept = True
        except (OSError, HTTPException, UnicodeDecodeError) as err:
            raise UnreachableError(no_answer(method, path, err)) from err
        finally:
            if kept:
                self._idle = link
            else:
                link.close()
        return reply

    def _headers(self, media: str) -> dict[str, str]:
        headers = {"Accept": JSON, "Content-Type": media, "User-Agent": AGENT}
        token, file = self._login.token, self._login.token_file
        if file is not None:
            try:
                token = file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as err:
                raise UserError(f"the token can't be read: {err}; is it still mounted?") from err
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _link(self, timeout_s: float) -> HTTPConnection:
        """Take the idle connection if it still stands, else one that connects when it is used."""
        link, self._idle = self._idle, None
        if link is not None:
            if link.sock is None or _is_over(link.sock):
                link.close()
            else:
                link.sock.settimeout(timeout_s)
            link.timeout = timeout_s
            return link
        if self._tls is None:
            return HTTPConnection(self._host, self._port, timeout=timeout_s)
        return HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)


def _is_over(sock: socket.socket) -> bool:
    """Whether a connection on which nothing is awaited has something to say: its end."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _trust(login: Login) -> ssl.SSLContext:
    """Return whom to believe and what to show: the authority's signatures, our certificate."""
    context = ssl.create_default_context(cadata=login.authority or None)
    # Set from Python 3.13 on; clusters' own authorities often lack the key identifiers it wants.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if login.identity:
        # OpenSSL reads a key from a file only; this one is ours alone and gone at once.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(login.identity)
            file.flush()
            context.load_cert_chain(file.name)
    return context


if TYPE_CHECKING:

    def _is_a_connection(direct: DirectConnection) -> Connection:
        return direct
