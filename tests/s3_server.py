"""A real S3 server on this machine: OpenStack Swift, which checks every signature."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from minio import Minio

ACCESS_KEY = "penstock:tests"
SECRET_KEY = "s3cr3t-that-must-not-show"
REGION = "us-east-1"
ENDING_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """Where it listens, on 127.0.0.1, and the folder of its disk."""

    port: int
    disk: Path

    def environment(self, **changed: str) -> dict[str, str]:
        """What a store reads to find this server."""
        return {
            "PENSTOCK_S3_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "PENSTOCK_S3_ACCESS_KEY": ACCESS_KEY,
            "PENSTOCK_S3_SECRET_KEY": SECRET_KEY,
            "PENSTOCK_S3_REGION": REGION,
            **changed,
        }

    def client(self) -> Minio:
        address = f"127.0.0.1:{self.port}"
        return Minio(address, ACCESS_KEY, SECRET_KEY, secure=False, region=REGION)

    @contextmanager
    def without_disk(self) -> Iterator[None]:
        """Take the disk away for a while: the server answers and can't keep anything."""
        aside = self.disk.with_name("aside")
        self.disk.rename(aside)
        try:
            yield
        finally:
            aside.rename(self.disk)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run the server in an empty folder; skip where it is not installed, fail in CI."""
    if importlib.util.find_spec("swift") is None:
        message = "the S3 server is not installed: make setup-dev (it exists for Linux only)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    program = Path(__file__).with_name("swift_in_one.py")
    command = [sys.executable, str(program), str(folder), ACCESS_KEY, SECRET_KEY]
    # The server is none of the code that is measured for coverage.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        try:
            yield S3Server(port=_port(process, folder / "log"), disk=folder / "disk")
        finally:
            process.kill()
            process.wait(timeout=ENDING_S)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    assert process.stdout is not None
    said = process.stdout.readline().decode()
    if not said.startswith("listening on "):
        pytest.fail(f"the S3 server did not start: {log.read_text()[-2000:]}")
    return int(said.rsplit(maxsplit=1)[1])
