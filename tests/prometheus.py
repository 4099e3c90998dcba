"""A real Prometheus that scrapes pods whose counters a test controls, and a faulty way to it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

SCRAPE_MS = 500
STARTUP_S = 20.0


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up early is what these tests are about."""


@contextmanager
def answering(reply: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply(self)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    with _Quiet(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


def say(handler: BaseHTTPRequestHandler, body: bytes, code: int = 200) -> None:
    handler.send_response(code)
    handler.send_header("Content-Length", str(len(body)))
    handler.send_header("Content-Type", "text/plain; version=0.0.4")
    handler.end_headers()
    handler.wfile.write(body)


class SteadyLoad:
    """Answers every query about load as Prometheus does, with one rate and nothing missing."""

    def __init__(self, rps: float = 20.0) -> None:
        self.rps = rps

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        asked = {k: v[0] for k, v in parse_qs(urlsplit(handler.path).query).items()}
        if asked["query"] == "time()":
            data = {"resultType": "scalar", "result": [time.time(), "0"]}
        else:
            rate = "0" if "up ==" in asked["query"] else str(self.rps)
            start_s, end_s, step_s = (float(asked[k]) for k in ("start", "end", "step"))
            steps = range(round((end_s - start_s) / step_s) + 1)
            values = [[start_s + i * step_s, rate] for i in steps]
            data = {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}
        say(handler, json.dumps({"status": "success", "data": data}).encode())


@dataclass
class Pod:
    """A gateway's /metrics: the rate of each pipeline is set by the test, the counters follow."""

    rates_rps: dict[str, float]
    fault: str = ""
    totals: dict[str, float] = field(default_factory=dict)
    seen_s: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, pipeline: str, rate_rps: float) -> None:
        with self.lock:
            self._count()
            self.rates_rps[pipeline] = rate_rps

    def restart(self) -> None:
        with self.lock:
            self._count()
            self.totals.clear()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        if self.fault == "down":
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        with self.lock:
            self._count()
            lines = [
                f'penstock_arrivals_total{{pipeline="{name}",namespace="default"}} '
                f"{self.totals.get(name, 0.0)}"
                for name in self.rates_rps
            ]
        if self.fault == "partial":
            lines = ["penstock_arrivals_total{pipel"]
        say(handler, ("\n".join(lines) + "\n").encode())

    def _count(self) -> None:
        now_s = time.monotonic()
        for name, rate_rps in self.rates_rps.items():
            grown = rate_rps * (now_s - self.seen_s)
            self.totals[name] = self.totals.get(name, 0.0) + grown
        self.seen_s = now_s


Spoil = Callable[[dict[str, Any]], Any]
"""Makes another answer of Prometheus' own; bytes are sent as they are."""


@dataclass
class Proxy:
    """Stands before Prometheus; ``fault`` spoils the way, ``spoil`` the answers about load."""

    upstream: str
    fault: str = ""
    spoil: Spoil | None = None

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        if self.fault == "outage":
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.fault == "timeout":
            time.sleep(0.6)
            return
        if self.fault == "5xx":
            say(handler, b"upstream is gone", 503)
            return
        with urllib.request.urlopen(f"http://{self.upstream}{handler.path}", timeout=5) as answer:
            body = answer.read()
        query = parse_qs(urlsplit(handler.path).query)["query"][0]
        if self.spoil is not None and query.startswith("sum("):
            spoilt = self.spoil(json.loads(body))
            body = spoilt if isinstance(spoilt, bytes) else json.dumps(spoilt).encode()
        say(handler, body)


@contextmanager
def prometheus(
    folder: Path, targets: Mapping[str, str], *, config: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Run Prometheus on a free port; skip where it is not installed, fail in CI.

    ``targets`` are addresses by pod; a ``config`` of one's own goes before them.
    """
    program = shutil.which("prometheus")
    if program is None:
        message = "prometheus is not installed; apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    config = config or {
        "global": {"scrape_interval": f"{SCRAPE_MS}ms", "scrape_timeout": f"{SCRAPE_MS}ms"},
        "scrape_configs": [
            {
                "job_name": "gateway",
                "static_configs": [
                    {"targets": [address], "labels": {"pod": pod}}
                    for pod, address in targets.items()
                ],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_ready(process, address, folder)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
    ends_s = time.monotonic() + STARTUP_S
    while time.monotonic() < ends_s and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"prometheus did not start: {(folder / 'prometheus.log').read_text()[-2000:]}")
