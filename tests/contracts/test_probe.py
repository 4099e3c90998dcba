"""What every probe promises, and what asking over HTTP adds to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from penstock.errors import ProfileError, UnreachableError
from profiles.probe import MAX_ERROR_TEXT, CallProbe, Connections, HttpProbe, Probe

pytestmark = pytest.mark.slow


class Server:
    """Answers each request with what ``answer(body)`` gives: a status and a body."""

    def __init__(self) -> None:
        self.answer: Callable[[bytes], tuple[int, bytes]] = lambda body: (200, body)
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        self.clients: set[tuple[str, int]] = set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.bodies.append(body)
                server.paths.add(self.path)
                server.clients.add(self.client_address)
                status, text = server.answer(body)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                return

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


class Asked:
    """A probe, and the number of requests that reached what it probes."""

    def __init__(self, probe: Probe, count: Callable[[], int]) -> None:
        self.probe, self.count = probe, count


@pytest.fixture(params=["call", "http"])
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    if request.param == "call":
        sizes: list[int] = []

        def call(batch_size: int) -> None:
            time.sleep(0.02)
            sizes.append(batch_size)

        yield Asked(CallProbe(call), lambda: sum(sizes))
        return
    server = request.getfixturevalue("server")

    def answer(body: bytes) -> tuple[int, bytes]:
        time.sleep(0.02)
        return 200, body

    server.answer = answer
    with HttpProbe(server.url, "m", [b"a", b"b"]) as probe:
        yield Asked(probe, lambda: len(server.bodies))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_run_is_one_batch_of_that_many_requests(asked, batch_size):
    asked.probe.run(batch_size)
    assert asked.count() == batch_size


def test_a_run_returns_the_seconds_it_took(asked):
    began_s = time.perf_counter()
    seconds = asked.probe.run(2)
    assert 0.02 <= seconds <= time.perf_counter() - began_s


def test_the_requests_of_a_batch_are_in_flight_together(server):
    together = threading.Barrier(4)

    def answer(body: bytes) -> tuple[int, bytes]:
        together.wait(timeout=10)
        return 200, body

    server.answer = answer
    with HttpProbe(server.url, "m", [b"x"]) as probe:
        probe.run(4)
    assert len(server.bodies) == 4


def test_bodies_are_taken_in_turn(server):
    with HttpProbe(server.url, "m", [b"a", b"b", b"c"]) as probe:
        probe.run(2)
        probe.run(2)
    assert sorted(server.bodies) == [b"a", b"a", b"b", b"c"]


def test_connections_are_kept(server):
    with HttpProbe(server.url, "m", [b"x"]) as probe:
        for batch_size in (1, 3, 2, 3):
            probe.run(batch_size)
    assert len(server.clients) == 3


def test_the_model_s_own_address_is_asked(server):
    with HttpProbe(f"{server.url}/", "a/b c", [b"x"]) as probe:
        probe.run(1)
    assert server.paths == {"/v2/models/a%2Fb%20c/infer"}


def test_answers_come_in_the_order_of_their_requests(server):
    def answer(body: bytes) -> tuple[int, bytes]:
        time.sleep(0.05 if body == b"slow" else 0)
        return 200, b"to " + body

    server.answer = answer
    with Connections(server.url, "m") as connections:
        assert connections.ask([b"slow", b"fast"]) == [b"to slow", b"to fast"]


@pytest.mark.parametrize("status", [400, 404, 500, 503, 302])
def test_a_refusal_shows_the_server_s_words_but_not_all_of_them(server, status):
    server.answer = lambda _: (status, b"no such tensor " + b"x" * 10_000)
    with HttpProbe(server.url, "m", [b"x"]) as probe, pytest.raises(ProfileError) as caught:
        probe.run(1)
    assert f"answered with {status}: no such tensor xxx" in str(caught.value)
    assert len(str(caught.value)) < MAX_ERROR_TEXT + 200


def test_after_a_refusal_no_answer_is_taken_for_another(server):
    server.answer = lambda body: (500 if body == b"bad" else 200, b"to " + body)
    with Connections(server.url, "m") as connections:
        with pytest.raises(ProfileError):
            connections.ask([b"bad", b"one", b"two"])
        assert connections.ask([b"three", b"four"]) == [b"to three", b"to four"]


def test_a_server_that_does_not_answer_is_given_up(server):
    def answer(body: bytes) -> tuple[int, bytes]:
        time.sleep(0.5)
        return 200, body

    server.answer = answer
    with (
        HttpProbe(server.url, "m", [b"x"], timeout_s=0.1) as probe,
        pytest.raises(UnreachableError, match=r"no answer within 0\.1 s"),
    ):
        probe.run(1)


def test_a_server_that_hangs_up_is_unreachable(server):
    server.answer = lambda _: (0, b"")
    with (
        HttpProbe(server.url, "m", [b"x"]) as probe,
        pytest.raises(UnreachableError, match="is the predictor still running"),
    ):
        probe.run(1)


def test_nobody_there_is_unreachable(server):
    server.stop()
    with HttpProbe(server.url, "m", [b"x"]) as probe, pytest.raises(UnreachableError):
        probe.run(2)


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "https://x", "ftp://x"])
def test_an_address_of_another_kind_is_refused(url):
    with pytest.raises(ProfileError, match="write http://host:port"):
        HttpProbe(url, "m", [b"x"])


def test_nothing_to_send_is_refused():
    with pytest.raises(ProfileError, match="give at least one body"):
        HttpProbe("http://127.0.0.1:1", "m", [])
