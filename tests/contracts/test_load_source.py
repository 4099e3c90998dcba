"""What every load source promises, over real sockets: usable rates or a SourceError, in time."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from optimizer.counter_load import CounterLoad, CounterQuery
from optimizer.load import GatewayLoad, LoadSource, PrometheusLoad, TraceLoad
from penstock.errors import SourceError

NOW_S = 1_000.0
STEPS = 4
Reply = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(reply: Reply) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply(self)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up early is what some of these tests are about."""

    with Quiet(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


def says(body: bytes, *, code: int = 200, length: int | None = None, **headers: str) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def drips(handler: BaseHTTPRequestHandler) -> None:
    """One byte at a time, each well within a socket's own timeout, for ten seconds."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def prometheus_answer(handler: BaseHTTPRequestHandler) -> None:
    values = [[NOW_S - 3 + i, str(v)] for i, v in enumerate((1, 0, 3, 4))]
    data = {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}
    says(json.dumps({"status": "success", "data": data}).encode())(handler)


def gateway_answer(handler: BaseHTTPRequestHandler) -> None:
    answer = {"step_s": 1.0, "end_s": NOW_S, "values_rps": [1, 0, 3, 4]}
    says(json.dumps(answer).encode())(handler)


class Counting:
    """A /metrics whose counter grows by 1, 0, 3, 4 from one scrape to the next."""

    def __init__(self) -> None:
        self._totals = iter((0, 1, 1, 4, 8))

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        says(f"penstock_arrivals_total {next(self._totals)}\n".encode())(handler)


def prometheus(url: str) -> LoadSource:
    return PrometheusLoad(
        url=url, query="up", window_steps=STEPS, step_s=1.0, timeout_s=0.5, max_bytes=4_000
    )


def gateway(url: str) -> LoadSource:
    return GatewayLoad(url=url, window_steps=STEPS, timeout_s=0.5, max_bytes=4_000)


def counter(url: str) -> CounterLoad:
    query = CounterQuery(url=url, timeout_s=0.5, max_bytes=4_000)
    return CounterLoad(query, window_steps=STEPS, step_s=1.0)


def scraped_counter(url: str) -> LoadSource:
    source = counter(url)
    for back_s in (4, 3, 2, 1):
        source.sample(NOW_S - back_s)
    return source


def trace(url: str) -> LoadSource:
    return TraceLoad([9, 1, 0, 3, 4], step_s=1.0, start_s=NOW_S - 5, window_steps=STEPS)


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        pytest.param(prometheus, prometheus_answer, id="prometheus"),
        pytest.param(gateway, gateway_answer, id="gateway"),
        pytest.param(scraped_counter, Counting(), id="counter"),
        pytest.param(trace, hangs_up, id="trace"),
    ],
)
def test_every_source_gives_the_same_load_for_the_same_arrivals(
    make: Callable[[str], LoadSource], answer: Reply
) -> None:
    with server(answer) as url:
        load = make(url).window(NOW_S)
    assert load.values_rps == (1.0, 0.0, 3.0, 4.0)
    assert (load.step_s, load.end_s, load.flags) == (1.0, NOW_S, ())


FAULTS = {
    "error": (says(b"overloaded", code=503), "answered 503: overloaded"),
    "not-found": (says(b"", code=404), "answered 404"),
    "not-json": (says(b"<html>"), "no JSON|does not serve metrics"),
    "not-an-object": (says(b"[1]"), "JSON list|does not serve metrics"),
    "not-utf8": (says(b"\xff\xfe\xff"), "no JSON|does not serve metrics"),
    "nested": (says(b"[" * 3_900), "no JSON|does not serve metrics"),
    "empty": (says(b""), "no JSON|has no penstock_arrivals_total"),
    "too-large": (says(b" " * 5_000), "more than 4000 bytes"),
    "truncated": (says(b'{"status"', length=100), "broke off"),
    "slow": (drips, "no whole answer in 0.5 s"),
    "hangs-up": (hangs_up, "failed"),
    "to-a-file": (says(b"", code=302, Location="file:///etc/hostname"), "answered 302|failed"),
}


@pytest.mark.parametrize("make", [prometheus, gateway, counter])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_every_fault_of_a_server_is_a_source_error_in_time(
    make: Callable[[str], LoadSource], fault: str
) -> None:
    reply, said = FAULTS[fault]
    with server(reply) as url:
        started_s = time.monotonic()
        with pytest.raises(SourceError, match=said) as caught:
            make(url).window(NOW_S)
    assert time.monotonic() - started_s < 3
    assert url in str(caught.value)


@pytest.mark.parametrize("make", [prometheus, gateway, counter])
def test_a_server_that_is_not_there_is_a_source_error(make: Callable[[str], LoadSource]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SourceError, match="is the address right"):
            make(url).window(NOW_S)


def test_credentials_in_an_address_do_not_show_in_an_error() -> None:
    with server(says(b"", code=500)) as url:
        source = gateway(url.replace("http://", "http://user:secret@"))
        with pytest.raises(SourceError) as caught:
            source.window(NOW_S)
    assert "secret" not in str(caught.value)


def test_a_proxy_for_the_internet_is_not_asked_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with server(gateway_answer) as url:
        assert gateway(url).window(NOW_S).last_rps == 4.0
