"""A cold tick on the Kubernetes path: from the start of its process to its last API call.

Each run is a new process of ``penstock adapt --once --cluster kubernetes`` on the digits example,
from bytecode, against the tests' API server (over TLS) and a Prometheus' answers, both served by
this process. ``nochange`` finds what runs good, ``replicas`` sends another number of
replicas. Names in the result: ``tick.<case>.last_call_s.<p50|max>`` seconds from the process's
start to the arrival of its last API call, ``.exit_s`` to its end, ``.cpu_s`` CPU time of it all,
``.peak_rss_mb`` (10^6 bytes), ``.calls`` API calls. A cluster's network and its admission come on
top. Environment: ``BENCH_RUNS`` (20) per case.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.spec import format_pipeline, read_pipeline
from tests.api_http import Call, Served, serve
from tests.certificates import self_signed
from tests.kserve import KServe
from tests.prometheus import SteadyLoad, answering

RUNS = int(os.environ.get("BENCH_RUNS", "20"))
EXAMPLE = Path("examples/digits")
LOADS_RPS = (130.0, 145.0)
"""Loads whose best plans differ in replicas alone."""

_START = """
import atexit, pathlib, sys

def note():
    text = pathlib.Path("/proc/self/status").read_text()
    pathlib.Path("peak").write_text(text.split("VmHWM:")[1].split()[0])
    pathlib.Path("loaded").write_text(" ".join(sys.modules))

atexit.register(note)
from workflows.cli import main
main()
"""
"""The peak is read inside: ``ru_maxrss`` starts with that of the process that forked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One tick's process: times from its start [s], its peak and its API calls."""

    last_call_s: float
    exit_s: float
    cpu_s: float
    peak_rss_mb: float
    calls: int
    changed: tuple[str, ...]


@dataclass(slots=True)
class Stand:
    """What a tick talks to, and a folder for its files."""

    folder: Path
    served: Served
    load: SteadyLoad
    environment: dict[str, str]
    last_s: float = 0.0

    @property
    def loaded(self) -> frozenset[str]:
        """The modules that the last tick's process had imported."""
        return frozenset((self.folder / "loaded").read_text().split())

    def tick(self) -> Run:
        """Run one tick in a new process.

        Raises:
            RuntimeError: it failed.
        """
        self.served.forget()
        self.served.fault = self._note
        command = ["adapt", "pipeline.yaml", "--once", "--cluster", "kubernetes"]
        started_s = time.perf_counter()
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, *command],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
            _, status, used = os.wait4(process.pid, 0)
        ended_s = time.perf_counter()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError((self.folder / "log").read_text())
        decision = json.loads((self.folder / "out/digits/decision.json").read_text())
        return Run(
            last_call_s=self.last_s - started_s,
            exit_s=ended_s - started_s,
            cpu_s=used.ru_utime + used.ru_stime,
            peak_rss_mb=int((self.folder / "peak").read_text()) * 1024 / 1e6,
            calls=len(self.served.calls),
            changed=tuple(decision["changes"]),
        )

    def _note(self, call: Call) -> None:
        self.last_s = time.perf_counter()


def run(target: Path) -> None:
    """Measure both cases and write the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
        stand(Path(folder)) as made,
    ):
        made.load.rps = LOADS_RPS[0]
        for _ in range(2):  # brings the services up; the second one finds nothing to do
            made.tick()
        figures = {
            **summary("tick.nochange", unchanged(made)),
            **summary("tick.replicas", rescaled(made)),
        }
    document = {
        "figures": {name: round(value, 4) for name, value in sorted(figures.items())},
        "runs": RUNS,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    target.write_text(json.dumps(document, indent=2) + "\n")
    for name, value in document["figures"].items():
        print(f"{name:40} {value:.4g}")


def unchanged(made: Stand) -> list[Run]:
    """Run ticks that find nothing to change."""
    runs = [made.tick() for _ in range(RUNS)]
    assert not any(r.changed for r in runs), runs
    return runs


def rescaled(made: Stand) -> list[Run]:
    """Run ticks that change a number of replicas each."""
    runs = []
    for i in range(RUNS):
        made.load.rps = LOADS_RPS[(i + 1) % 2]
        runs.append(made.tick())
    assert all(len(r.changed) == 1 for r in runs), runs
    return runs


def summary(case: str, runs: list[Run]) -> dict[str, float]:
    """Return the median and the maximum of each figure."""
    figures = {}
    for name in ("last_call_s", "exit_s", "cpu_s", "peak_rss_mb", "calls"):
        values = [float(getattr(r, name)) for r in runs]
        figures[f"{case}.{name}.p50"] = statistics.median(values)
        figures[f"{case}.{name}.max"] = max(values)
    return figures


@contextmanager
def stand(root: Path) -> Iterator[Stand]:
    """Serve a cluster and a load, and write the example's files into the folder.

    The login is a pod's: an authority, and a token in a file.
    """
    load = SteadyLoad()
    asked = read_pipeline(EXAMPLE / "pipeline.yaml")
    calm = replace(asked.adaptation, min_gain=0.0, cooldown_s=0.0)
    roomy = replace(asked, max_cores=4.0, adaptation=calm)
    (root / "pipeline.yaml").write_text(format_pipeline(roomy))
    (root / "profiles.json").write_bytes((EXAMPLE / "profiles.json").read_bytes())
    pem = self_signed(root)
    (root / "token").write_text("admin")
    with serve(on_write=KServe(), tls=pem) as served, answering(load) as address:
        other = ("PENSTOCK_", "KUBE", "PYTHON")
        known = {k: v for k, v in os.environ.items() if not k.startswith(other)}
        environment = known | {
            "KUBECONFIG": str(served.kubeconfig(root, login={"tokenFile": "token"})),
            "PENSTOCK_PROMETHEUS_URL": f"http://{address}",
            "PENSTOCK_SETTLE_S": "0.1",
            "PYTHONPATH": str(Path.cwd()),
            "PYTHONPYCACHEPREFIX": str(root / "compiled"),
        }
        yield Stand(folder=root, served=served, load=load, environment=environment)
