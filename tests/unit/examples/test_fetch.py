"""Fetching against a server on this machine that can break off, and that may not know ranges."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from examples.canvases.fetch import RemoteFile, fetch
from penstock.errors import ArtifactError, UnreachableError, UserError

pytestmark = pytest.mark.slow

CONTENT = bytes(range(256)) * 40
FILE = RemoteFile(name="x.gz", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


class Server(ThreadingHTTPServer):
    """Gives ``CONTENT``, or the first ``most`` bytes of what was asked for."""

    most = len(CONTENT)
    ranges = True
    content = CONTENT
    status = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Giver)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Giver(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.server.status:
            self.send_error(self.server.status)
            return
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.most])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_file_is_fetched_once(server: Server, tmp_path: Path):
    path = fetch(FILE, tmp_path, base_url=server.url)
    assert path.read_bytes() == CONTENT
    fetch(FILE, tmp_path, base_url=server.url)
    assert server.asked == [None]
    assert [p.name for p in tmp_path.iterdir()] == ["x.gz"]


def test_a_broken_off_file_goes_on_where_it_stopped(server: Server, tmp_path: Path):
    server.most = 1000
    with pytest.raises(UnreachableError):
        fetch(FILE, tmp_path, base_url=server.url)
    assert (tmp_path / "x.gz.part").stat().st_size == 1000
    server.most = len(CONTENT)
    assert fetch(FILE, tmp_path, base_url=server.url).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-"]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path):
    (tmp_path / "x.gz.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    assert fetch(FILE, tmp_path, base_url=server.url).read_bytes() == CONTENT


def test_another_file_is_not_believed(server: Server, tmp_path: Path):
    server.content = CONTENT[::-1]
    with pytest.raises(ArtifactError, match=r"not x\.gz as published"):
        fetch(FILE, tmp_path, base_url=server.url)
    assert list(tmp_path.iterdir()) == []


def test_more_than_was_published_is_not_read_to_the_end(server: Server, tmp_path: Path):
    server.content = CONTENT * 300
    server.most = len(server.content)
    seen: list[float] = []
    with pytest.raises(ArtifactError):
        fetch(
            FILE, tmp_path, base_url=server.url, report=lambda progress: seen.append(progress.done)
        )
    assert max(seen) < len(server.content)


def test_a_finished_part_needs_no_server(tmp_path: Path):
    (tmp_path / "x.gz.part").write_bytes(CONTENT)
    assert fetch(FILE, tmp_path, base_url="http://127.0.0.1:9").name == "x.gz"


def test_an_answer_that_is_an_error_is_told(server: Server, tmp_path: Path):
    server.status = 404
    with pytest.raises(UnreachableError, match="answered 404"):
        fetch(FILE, tmp_path, base_url=server.url)


def test_nobody_there_is_told_with_what_to_do(tmp_path: Path):
    with pytest.raises(UnreachableError, match=r"or put x\.gz into"):
        fetch(FILE, tmp_path, base_url="http://127.0.0.1:9")


def test_only_http_is_fetched_from(tmp_path: Path):
    with pytest.raises(UserError, match="must start with http"):
        fetch(FILE, tmp_path, base_url="file:///etc")
