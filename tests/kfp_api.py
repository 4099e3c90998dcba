"""A Kubeflow Pipelines API over real HTTP, as far as its v2beta1 contract goes; it runs nothing.

It checks what the real one checks: the token, the namespace, names that are taken, references that
lead nowhere, arguments against the pipeline's parameters, schedules, and the uploaded document
against kfp's own message types. Pages are short, so that whoever forgets the next one is found out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

ROOT = "/apis/v2beta1/"
MOST_ON_A_PAGE = 2
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}
KINDS = {
    "experiments": "experiment_id",
    "pipelines": "pipeline_id",
    "runs": "run_id",
    "recurringruns": "recurring_run_id",
    "versions": "pipeline_version_id",
}
WORDS = {"versions": "pipeline_versions", "recurringruns": "recurringRuns"}
TYPES = {"STRING": str, "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool, "NUMBER_INTEGER": int}


class RefusedError(Exception):
    """A request that is answered with a status and words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class KfpServer:
    """What the server holds, and what it was asked.

    ``states`` are what a run is in, one per look at it, the last one from then on. ``faults`` are
    statuses that the next requests end with before anything is done; 0 lets one through.
    """

    token: str = ""
    may_write: bool = True
    many_users: bool = False
    states: list[dict[str, Any]] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    faults: list[int] = field(default_factory=list)
    page: bytes = b""
    asked: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    objects: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {kind: [] for kind in KINDS}
    )
    documents: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    url: str = ""

    def answer(self, method: str, path: str, body: bytes, headers: Any) -> dict[str, Any]:
        """Return the answer to a request, or raise RefusedError."""
        parts = urlsplit(path)
        self.asked.append(f"{method} {parts.path.removeprefix(ROOT)}")
        self.tokens.append(headers.get("authorization", ""))
        if self.faults and (status := self.faults.pop(0)):
            raise RefusedError(status, "a fault that was asked for")
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "Unauthenticated: Request header error")
        if method != "GET" and not self.may_write:
            raise RefusedError(403, "PermissionDenied: User is not authorized")
        if not parts.path.startswith(ROOT):
            raise RefusedError(404, "Not Found")
        names = parts.path.removeprefix(ROOT).split("/")
        return self._route(method, names, dict(parse_qsl(parts.query)), body, headers)

    def _route(
        self, method: str, names: list[str], query: dict[str, str], body: bytes, headers: Any
    ) -> dict[str, Any]:
        match (method, *names):
            case ("POST", "pipelines", "upload_version"):
                return self._upload(query, body, headers)
            case ("GET", "pipelines", of, "versions"):
                return self._list("versions", query, pipeline_id=self._find("pipelines", of))
            case ("GET", kind) if kind in KINDS:
                return self._list(kind, query)
            case ("POST", kind) if kind in KINDS:
                return self._create(kind, json.loads(body))
            case ("GET", "runs", of):
                return self._looked_at(self._find("runs", of))
            case ("GET", kind, of) if kind in KINDS:
                return self._find(kind, of)
            case ("DELETE", kind, of) if kind in KINDS:
                self.objects[kind].remove(self._find(kind, of))
                return {}
        raise RefusedError(404, "Not Found")

    def _list(
        self, kind: str, query: dict[str, str], pipeline_id: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        found = list(self.objects[kind])
        if pipeline_id is not None:
            found = [one for one in found if one["pipeline_id"] == pipeline_id["pipeline_id"]]
        elif self.many_users and not (query.get("namespace") or query.get("experiment_id")):
            raise RefusedError(400, "Invalid input error: namespace is empty in multi-user mode")
        for name in ("namespace", "experiment_id"):
            if query.get(name):
                found = [one for one in found if one.get(name) == query[name]]
        for key, value in _predicates(query.get("filter", "")):
            found = [one for one in found if one.get(key) == value]
        if query.get("sort_by") == "created_at desc":
            found.reverse()
        first = int(query.get("page_token") or 0)
        last = first + min(int(query.get("page_size") or MOST_ON_A_PAGE), MOST_ON_A_PAGE)
        more = {"next_page_token": str(last)} if last < len(found) else {}
        return {WORDS.get(kind, kind): found[first:last], "total_size": len(found), **more}

    def _create(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        if not given.get("display_name"):
            raise RefusedError(400, f"Invalid input error: {kind} needs a name")
        if kind in ("experiments", "pipelines"):
            if self.many_users and not given.get("namespace"):
                raise RefusedError(400, "Invalid input error: an empty namespace")
            self._unique(kind, given["display_name"])
        else:
            self._check_run(given)
        if kind == "recurringruns":
            self._check_schedule(given)
            given["status"] = "ENABLED" if given["mode"] == "ENABLE" else "DISABLED"
        return self._keep(kind, given)

    def _check_run(self, given: dict[str, Any]) -> None:
        self._find("experiments", given.get("experiment_id", ""))
        reference = given.get("pipeline_version_reference", {})
        version = self._find("versions", reference.get("pipeline_version_id", ""))
        if version["pipeline_id"] != reference.get("pipeline_id"):
            raise RefusedError(400, "Invalid input error: the version is of another pipeline")
        spec = version["pipeline_spec"]["pipeline_spec"]
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        for name, value in given.get("runtime_config", {}).get("parameters", {}).items():
            if name not in known:
                raise RefusedError(400, f"Invalid input error: {name} is no parameter")
            kind = known[name]["parameterType"]
            if not isinstance(value, TYPES[kind]):
                raise RefusedError(400, f"Invalid input error: parameter {name} requires {kind}")

    def _check_schedule(self, given: dict[str, Any]) -> None:
        cron = given.get("trigger", {}).get("cron_schedule", {}).get("cron", "")
        if len(cron.split()) != 6:
            raise RefusedError(400, f"Schedule cron is not supported: {cron}")
        if not 1 <= int(given.get("max_concurrency") or 0) <= 10:
            raise RefusedError(400, "The max concurrency of the recurring run is out of range")

    def _upload(self, query: dict[str, str], body: bytes, headers: Any) -> dict[str, Any]:
        pipeline = self._find("pipelines", query.get("pipelineid", ""))
        self._unique("versions", query.get("name", ""), pipeline_id=pipeline["pipeline_id"])
        head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
        (part,) = message_from_bytes(head + body).get_payload()
        if part.get_param("name", header="content-disposition") != "uploadfile":
            raise RefusedError(400, "Failed to read the pipeline from the form: no uploadfile")
        return self._keep(
            "versions",
            {
                "pipeline_id": pipeline["pipeline_id"],
                "name": query["name"],
                "display_name": query.get("display_name") or query["name"],
                "pipeline_spec": parsed(part.get_payload(decode=True)),
            },
        )

    def _looked_at(self, run: dict[str, Any]) -> dict[str, Any]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {**run, **state}

    def _find(self, kind: str, wanted: str) -> dict[str, Any]:
        for one in self.objects[kind]:
            if one[KINDS[kind]] == wanted:
                return one
        raise RefusedError(404, f"ResourceNotFoundError: {kind} {wanted!r} not found")

    def _unique(self, kind: str, name: str, **of: str) -> None:
        for one in self.objects[kind]:
            if one["display_name"] == name and of.items() <= one.items():
                raise RefusedError(409, f"Already exist error: the name {name} already exists")

    def _keep(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        number = sum(len(some) for some in self.objects.values()) + len(self.asked)
        kept = {**given, KINDS[kind]: f"{kind}-{number}", "created_at": "2026-11-20T10:00:00Z"}
        self.objects[kind].append(kept)
        return kept


def parsed(document: bytes) -> dict[str, Any]:
    """Return a compiled pipeline's documents, held against kfp's own message types."""
    try:
        specs = list(yaml.safe_load_all(document))
        json_format.ParseDict(specs[0], pipeline_spec_pb2.PipelineSpec())
        for platforms in specs[1:]:
            json_format.ParseDict(platforms, pipeline_spec_pb2.PlatformSpec())
    except (yaml.YAMLError, json_format.ParseError, IndexError, AttributeError) as err:
        raise RefusedError(400, f"InvalidInputError: unknown template format: {err}") from err
    if not specs[0].get("pipelineInfo", {}).get("name"):
        raise RefusedError(400, "InvalidInputError: the pipeline has no name")
    return {"pipeline_spec": specs[0], "platform_spec": specs[1] if len(specs) > 1 else {}}


@contextmanager
def kfp_server(**fields: Any) -> Iterator[KfpServer]:
    """Serve on a free port of this machine for the time of a ``with`` block."""
    server = KfpServer(**fields)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, kind, text = 200, "application/json", b""
            try:
                text = json.dumps(
                    server.answer(self.command, self.path, body, self.headers)
                ).encode()
            except RefusedError as refused:
                status = refused.status
                said = {"error": str(refused), "code": CODES.get(status, 2)}
                text = json.dumps({**said, "message": str(refused)}).encode()
            if server.page:
                status, kind, text = 200, "text/html", server.page
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/dex/auth")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - the standard library's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def _predicates(text: str) -> Iterator[tuple[str, str]]:
    if not text:
        return
    try:
        predicates = json.loads(text)["predicates"]
        for one in predicates:
            if one["operation"] not in ("EQUALS", 1) or one["key"] not in ("display_name", "name"):
                raise RefusedError(400, f"Invalid input error: cannot filter by {one}")
            yield one["key"], one.get("string_value") or one["stringValue"]
    except (ValueError, KeyError, TypeError) as err:
        raise RefusedError(400, f"Invalid input error: failed to parse filter: {err}") from err
