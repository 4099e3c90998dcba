"""What the tests on a real cluster share, and the summary of what ran and what was lacking."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests import kube_context
from tests.kube_context import Kube, lacking

IMAGE = "PENSTOCK_TEST_IMAGE"
S3 = {
    "PENSTOCK_S3_ACCESS_KEY": "someone",
    "PENSTOCK_S3_SECRET_KEY": "s3cr3t",
    "PENSTOCK_S3_REGION": "us-east-1",
}
TOLD = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TOLD] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = terminalreporter.config.stash[TOLD]
    skipped = terminalreporter.stats.get("skipped", [])
    if not told and not skipped:
        return
    terminalreporter.section("the cluster")
    for line in told:
        terminalreporter.write_line(line)
    for reason in dict.fromkeys(report.longrepr[2] for report in skipped):
        terminalreporter.write_line(f"NOT RUN: {reason}")


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest):
    """Keep a line for the summary."""
    return request.config.stash[TOLD].append


@pytest.fixture(scope="session")
def kube(tell) -> Kube:
    made = kube_context.connected()
    nodes = made.ready_nodes()
    have = [of for of in kube_context.CRDS if made.has_crds(of)]
    tell(f"Kubernetes {made.version()}, {len(nodes)} nodes ready, definitions of {have or 'none'}")
    return made


@pytest.fixture(scope="session")
def kserve_definitions(kube: Kube) -> None:
    if not kube.has_crds("KServe"):
        lacking("KServe's definitions are not installed on the cluster")


@pytest.fixture(scope="session")
def image(kube: Kube, tell) -> str:
    """The image that pods run; it must be on the nodes or in a registry they reach."""
    name = os.environ.get(IMAGE, "")
    if not name:
        lacking(f"no image for pods: name one in {IMAGE}")
    if not kube.ready_nodes():
        lacking("no node is ready, so no pod can run")
    tell(f"image {name}")
    return name


@pytest.fixture(scope="session")
def own_address(kube: Kube) -> str:
    """The address of this machine that the cluster's nodes can reach, if they can at all."""
    server = urlsplit(kube.api.configuration.host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server.hostname, server.port or 443))
        return str(probe.getsockname()[0])


@pytest.fixture(scope="session")
def s3(own_address: str) -> Iterator[dict[str, str]]:
    """An S3 server on this machine; its settings, as this process and the pods need them."""
    with socket.socket() as free:
        free.bind((own_address, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", own_address, "-p", str(port)]
    known = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "AWS"))}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=known, **quiet)
    try:
        _wait_for(f"http://{own_address}:{port}/moto-api/", server)
        yield {**S3, "PENSTOCK_S3_ENDPOINT": f"http://{own_address}:{port}"}
    finally:
        server.kill()
        server.wait()


def _wait_for(url: str, server: subprocess.Popen) -> None:
    for _ in range(300):
        assert server.poll() is None, "the S3 server ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    pytest.fail("the S3 server did not start")
