"""Every command on one pipeline, in the order a newcomer types them, with real processes and HTTP.

The models are tiny, so that what is tested is the joints and not the arithmetic.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from penstock.domain import Adaptation, Pipeline, Slo
from penstock.settings import Settings
from penstock.spec import format_pipeline
from tests.builders import pipeline, stage, variant
from workflows import demo
from workflows.layout import Layout
from workflows.recording import (
    read_decisions,
    read_recording,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CHECKOUT = Path(__file__).parents[2]
PENSTOCK = (sys.executable, "-c", "from workflows.cli import main; main()")


def tiny() -> Pipeline:
    def one(of: str, name: str) -> object:
        return variant(name, artifact=f"models/{of}/{name}", batch_sizes=(1, 2), cpu_cores=0.25)

    return pipeline(
        "tiny",
        slo=Slo(latency_s=1.0),
        stages=(
            stage("locate", task="detect", variants=(one("locate", "dull"), one("locate", "keen"))),
            stage("classify", task="classify", variants=(one("classify", "fair"),)),
        ),
        adaptation=Adaptation(
            interval_s=1.0,
            step_s=1.0,
            window_steps=3,
            cooldown_s=2.0,
            solve_s=0.0,
            start_s=1.0,
            rollout_s=0.0,
            drain_s=0.0,
        ),
        max_cores=1.5,
    )


@dataclass(frozen=True, kw_only=True)
class Home:
    """A newcomer's folder, after training, upload and profiling."""

    layout: Layout

    def penstock(self, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PENSTOCK, command, str(self.layout.spec), *map(str, arguments), *self._out()],
            cwd=CHECKOUT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        return {**os.environ, "COLUMNS": "300", "PENSTOCK_SOLVER": "highs"}

    def _out(self) -> tuple[str, str]:
        return ("--out", str(self.layout.root))

    def start(self, command: str, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PENSTOCK, command, str(self.layout.spec), *map(str, arguments), *self._out()],
            cwd=CHECKOUT,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    spec = folder / "pipeline.yaml"
    spec.write_text(format_pipeline(tiny()))
    made = Home(layout=Layout(root=folder / "out", spec=spec))
    for command in (["models", "--trainer", "tests.e2e.tiny_trainer"], ["upload"], ["profile"]):
        done = made.penstock(*command)
        assert done.returncode == 0, done.stderr
    yield made
    made.penstock("down")


@pytest.fixture(scope="module")
def served(home: Home) -> Home:
    """The same, with a plan applied to the local cluster."""
    for command in (["plan", "--load", "5"], ["render"], ["apply"]):
        done = home.penstock(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return home


def processes_of(layout: Layout) -> list[str]:
    """Command lines of processes that were told of the layout's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(layout.root) in line and f"/{os.getpid()}/" not in str(path):
            found.append(line)
    return found


def test_profiling_tells_the_measured_accuracy_beside_the_product(home: Home) -> None:
    document = json.loads(home.layout.profiles.read_text())
    assert {p["variant"] for p in document["profiles"]} == {"dull", "keen", "fair"}
    assert len(document["joint_accuracy"]) == 2


def test_profiling_again_measures_nothing_anew(home: Home) -> None:
    before = home.layout.profiles.read_bytes()
    assert home.penstock("profile").returncode == 0
    assert home.layout.profiles.read_bytes() == before


def test_an_applied_plan_leaves_no_difference(served: Home) -> None:
    done = served.penstock("diff")
    assert done.returncode == 0, done.stdout
    assert "nothing to change" in done.stdout
    assert "tiny-classify-fair" in served.penstock("status").stdout


def test_a_load_is_answered_in_full(served: Home) -> None:
    done = served.penstock("load", "--rate", 5, "--seconds", 4)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"lost\s+│\s+0 ", done.stdout), done.stdout


def test_ticks_are_recorded_with_their_reasons(served: Home) -> None:
    done = served.penstock("adapt", "--watch", 0.5, "--ticks", 3)
    assert done.returncode == 0, done.stdout + done.stderr
    ticks = read_decisions(served.layout.decisions)
    assert len(ticks) >= 3
    assert all(tick.decision.reason for tick in ticks)
    assert all(tick.result is not None and tick.result.ok for tick in ticks)


def test_ctrl_c_ends_a_watch_with_130_and_leaves_the_cluster(served: Home) -> None:
    with served.start("adapt", "--watch", 1) as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        assert watch.wait(20) == 130
    assert served.penstock("diff").returncode == 0


@pytest.mark.parametrize("command", [["profile"], ["load", "--seconds", "60"]])
def test_ctrl_c_in_a_step_leaves_no_process_and_nothing_half_written(
    served: Home, command: list[str], tmp_path: Path
) -> None:
    aside = Home(layout=replace(served.layout, root=tmp_path / "out"))
    for made in (["models", "--trainer", "tests.e2e.tiny_trainer"], ["upload"]):
        assert aside.penstock(*made).returncode == 0
    if command[0] == "load":
        assert aside.penstock("plan", "--load", 5, "--out", tmp_path / "out").returncode in (0, 2)
        aside = served
    before = len(processes_of(aside.layout))
    with aside.start(*command) as step:
        time.sleep(4)
        step.send_signal(signal.SIGINT)
        assert step.wait(30) == 130
    deadline_s = time.monotonic() + 10
    while len(processes_of(aside.layout)) > before and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert len(processes_of(aside.layout)) <= before
    assert not (tmp_path / "out/profiles/profiles.json").exists()


def test_down_leaves_no_process(served: Home) -> None:
    assert served.penstock("down").returncode == 0
    assert [line for line in processes_of(served.layout) if "/cluster/" in line] == []
    assert "does not run" in served.penstock("status").stdout


def test_three_runs_under_one_load_become_a_report(home: Home) -> None:
    settings = Settings(solver="highs")
    done = demo.compare(tiny(), home.layout, settings, seconds=10)
    assert set(done.summary.runs) == {"adaptive", "lightest", "heaviest"}
    adaptive = read_recording(home.layout.runs / "adaptive")
    assert len(adaptive.ticks) >= 5
    assert adaptive.requests
    assert all(r.total for r in adaptive.requests)
    assert len({r.requests for r in done.summary.runs.values()}) == 1, "the loads differ"
    assert done.summary.runs["lightest"].ticks == 0
    assert done.report.read_text().startswith("<!doctype html>")
    # the cluster that other tests keep lies in "cluster", those of the runs in "cluster-<run>"
    assert [line for line in processes_of(home.layout) if "/cluster-" in line] == []
