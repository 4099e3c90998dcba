"""The in-memory API server behind a real socket, with the faults that a network and a cluster have.

What a client meets here: kubeconfig, bearer tokens and client certificates, TLS, keep-alive, watch
streams, KServe's admission, roles, and faults: a connection cut before or after the effect of any
call, a server error, a conflict, a slow answer. Every call is noted.
"""

from __future__ import annotations

import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from serving.cluster.access import ADMIN, UNAUTHORIZED, Account, forbidden
from serving.cluster.apiserver import ApiServer
from serving.cluster.requests import read_request
from serving.cluster.resources import Answer, failure
from serving.lint import lint

WRITES = ("POST", "PUT", "PATCH", "DELETE")
ADMITTED = ("inferencegraphs", "inferenceservices")


@dataclass(frozen=True)
class Call:
    """One request: its number from 1 on, among all calls and among writes (0 for a read)."""

    number: int
    write: int
    method: str
    path: str
    user: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a call; ``after`` carries it out first and spoils only the answer."""

    status: int = 0
    cut: bool = False
    after: bool = False
    delay_s: float = 0.0
    body: bytes = b""


Faults = Callable[[Call], Fault | None]


def no_fault(call: Call) -> None:
    """Let everything through."""


def killed_at(number: int, *, after: bool) -> Faults:
    """Cut the client off at its n-th call, before or after the effect, and from then on.

    To the cluster that is what a client that is killed there looks like.
    """

    def fault(call: Call) -> Fault | None:
        if call.number < number:
            return None
        return Fault(cut=True, after=after and call.number == number)

    return fault


def fails_at(number: int, **fields: Any) -> Faults:
    """Spoil the n-th call alone."""
    return lambda call: Fault(**fields) if call.number == number else None


def storm(writes: int, *, status: int = 409) -> Faults:
    """Answer the first n writes with an error, unseen by the store."""
    return lambda call: Fault(status=status) if 0 < call.write <= writes else None


@dataclass
class Served:
    """A server that runs: where it is, what it was asked, and what is to go wrong."""

    url: str
    server: ApiServer
    on_write: Callable[[ApiServer], None]
    accounts: Mapping[str, Account]
    calls: list[Call] = field(default_factory=list)
    fault: Faults = no_fault
    lock: threading.RLock = field(default_factory=threading.RLock)
    watchers: list[tuple[str, queue.Queue[Any]]] = field(default_factory=list)
    authority: Path | None = None

    def kubeconfig(
        self, folder: Path, user: str = "admin", *, login: Mapping[str, Any] | None = None
    ) -> Path:
        """Write a kubeconfig that logs in with the user's name as token, or with another login."""
        path = folder / f"kubeconfig-{user.replace(':', '-')}"
        cluster = {"server": self.url}
        if self.authority is not None:
            cluster["certificate-authority"] = str(self.authority)
        context = {"cluster": "here", "user": user, "namespace": "default"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": context}],
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": user, "user": dict(login or {"token": user})}],
        }
        path.write_text(json.dumps(document))
        return path

    @property
    def writes(self) -> list[Call]:
        """The calls that asked for a change."""
        return [call for call in self.calls if call.write]

    def forget(self) -> None:
        """Count calls from 1 again, and end all faults."""
        with self.lock:
            self.calls.clear()
            self.fault = no_fault

    def note(self, method: str, path: str, user: str) -> tuple[Call, Fault | None]:
        with self.lock:
            write = len(self.writes) + 1 if method in WRITES else 0
            call = Call(len(self.calls) + 1, write, method, path, user)
            self.calls.append(call)
            return call, self.fault(call)

    def handle(self, method: str, path: str, **request: Any) -> Answer:
        """Answer as the API server with KServe's webhooks does; tell watchers of what changed."""
        with self.lock:
            refused = self._admission(method, path, request)
            if refused is not None:
                return refused
            before = self._seen(method, path)
            answer = self.server.handle(method, path, **request)
            if method in WRITES and answer.status < 300 and "dryRun" not in path:
                self._tell(method, path, before, answer)
                self.on_write(self.server)
            return answer

    def _admission(self, method: str, path: str, request: dict[str, Any]) -> Answer | None:
        parts = urlsplit(path).path.strip("/").split("/")
        if method not in ("POST", "PUT", "PATCH") or not set(parts) & set(ADMITTED):
            return None
        joint = "&" if "?" in path else "?"
        tried = self.server.handle(method, f"{path}{joint}dryRun=All", **request)
        if tried.status >= 300 or parts[-1] == "status":
            return None
        refusals = [f for f in lint([tried.body]) if f.refused]
        if not refusals:
            return None
        hook = f"{tried.body['kind'].lower()}.kserve-webhook-server.validator"
        message = f'admission webhook "{hook}" denied the request: {refusals[0].message}'
        return failure(403, "Forbidden", message)

    def _seen(self, method: str, path: str) -> Any:
        if method != "DELETE":
            return None
        found = self.server.handle("GET", urlsplit(path).path)
        return found.body if found.status == 200 else None

    def _tell(self, method: str, path: str, before: Any, answer: Answer) -> None:
        kind = {"POST": "ADDED", "DELETE": "DELETED"}.get(method, "MODIFIED")
        event = {"type": kind, "object": before if method == "DELETE" else answer.body}
        here = urlsplit(path).path
        for collection, events in self.watchers:
            if here.startswith(collection):
                events.put(event)


@contextmanager
def serve(
    *crd_folders: Path,
    accounts: Mapping[str, Account] | None = None,
    on_write: Callable[[ApiServer], None] = lambda server: None,
    tls: Path | None = None,
) -> Iterator[Served]:
    """Run the server on a free port; the bearer token is the account's name.

    ``tls`` is a PEM file with a key and a certificate, which is also the authority of clients'
    certificates; their common name is the account's name.
    """
    known = {"admin": ADMIN, **(accounts or {})}
    api = ApiServer(*crd_folders, accounts=known, now=time.time)
    for kind in ("InferenceService", "InferenceGraph"):
        api.catalogue.by_kind(kind)  # reads megabytes of YAML; not in the time of a first request
    served = Served(url="", server=api, on_write=on_write, accounts=known, authority=tls)

    class Handler(_Handler):
        cluster = served

    with _Quiet(("127.0.0.1", 0), Handler) as httpd:
        served.url = f"http{'s' if tls else ''}://127.0.0.1:{httpd.server_port}"
        if tls is not None:
            httpd.socket = _trust(tls).wrap_socket(httpd.socket, server_side=True)
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served
        finally:
            for _, events in served.watchers:
                events.put(None)
            httpd.shutdown()
            thread.join()


def _trust(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.load_verify_locations(pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is cut off is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Served
    # Without it every answer waits for the client's delayed acknowledgement, 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        user = token or self._certified() or "anonymous"
        call, fault = self.cluster.note(self.command, self.path, user)
        if fault is None:
            self._answer_to(call, body)
            return
        time.sleep(fault.delay_s)
        spoilt = fault.cut or fault.status or fault.body
        if fault.after or not spoilt:
            answer = self._ask(call, body)
            if not spoilt:
                self._say(answer.status, answer.body)
                return
        if fault.cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault.body:
            self._send(200, "application/json", fault.body)
        else:
            reasons = {409: "Conflict", 500: "InternalError", 503: "ServiceUnavailable"}
            refusal = failure(fault.status, reasons.get(fault.status, "Unknown"), "injected")
            self._say(refusal.status, refusal.body)

    def _certified(self) -> str:
        """Return the common name of the client's certificate."""
        if not isinstance(self.connection, ssl.SSLSocket):
            return ""
        shown = self.connection.getpeercert() or {}
        return dict(part[0] for part in shown.get("subject", ())).get("commonName", "")

    def _answer_to(self, call: Call, body: bytes | None) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if call.method == "GET" and query.get("watch", ["false"])[0] in ("true", "True", "1"):
            refused = self._may_watch(call)
            if refused is None:
                self._watch()
            else:
                self._say(refused.status, refused.body)
            return
        answer = self._ask(call, body)
        self._say(answer.status, answer.body)

    def _ask(self, call: Call, body: bytes | None) -> Answer:
        return self.cluster.handle(
            call.method,
            call.path,
            content_type=self.headers.get("Content-Type"),
            body=body,
            user=call.user,
            user_agent=self.headers.get("User-Agent") or "",
        )

    def _say(self, status: int, body: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        media = "text/plain" if isinstance(body, str) else "application/json"
        self._send(status, media, text.encode())

    def _send(self, status: int, media: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _may_watch(self, call: Call) -> Answer | None:
        account = self.cluster.accounts.get(call.user)
        if account is None:
            return UNAUTHORIZED
        asked = read_request("GET", call.path, content_type=None, body=None, user_agent="").attempt
        return forbidden(account, replace(asked, verb="watch"))

    def _watch(self) -> None:
        """Stream what changes from now on, one JSON object a line, until the server ends."""
        events: queue.Queue[Any] = queue.Queue()
        self.cluster.watchers.append((urlsplit(self.path).path, events))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        for event in iter(events.get, None):
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""
