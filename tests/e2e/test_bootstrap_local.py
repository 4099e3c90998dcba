"""The unchanged bootstrap pipeline under kfp's local runner, with real steps and tiny models."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.steps import read_catalog
from optimizer.plan import plan_from_json
from penstock.domain import Adaptation, Pipeline
from penstock.errors import UserError
from penstock.progress import Progress
from penstock.spec import format_pipeline
from profiles import table
from serving.store import make_store
from serving.store.releases import newest
from tests.builders import pipeline, stage, variant
from workflows.bootstrap_local import TITLES, UNCHANGED, run_local
from workflows.layout import Layout
from workflows.parameters import Parameters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

CHECKOUT = Path(__file__).parents[2]
STARTER = """
import sys
from pathlib import Path
from workflows.bootstrap_local import run_local
from workflows.layout import Layout
from workflows.parameters import Parameters

layout = Layout(root=Path(sys.argv[1]), spec=Path(sys.argv[2]))
parameters = Parameters(trainer="tests.e2e.sleeping_trainer", store=sys.argv[3])
run_local(layout, parameters, report=lambda progress: print(progress.note, flush=True))
"""


@dataclass(frozen=True, kw_only=True)
class Ran:
    layout: Layout
    parameters: Parameters
    reports: list[Progress]


def tiny() -> Pipeline:
    def one(of: str, name: str) -> object:
        return variant(name, artifact=f"models/{of}/{name}", batch_sizes=(1, 2), cpu_cores=0.5)

    locate = (one("locate", "dull"), one("locate", "keen"))
    return pipeline(
        "tiny",
        stages=(
            stage("locate", task="detect", variants=locate),
            stage("classify", task="classify", variants=(one("classify", "fair"),)),
        ),
        adaptation=Adaptation(
            window_steps=4, interval_s=5.0, solve_s=1.0, start_s=2.0, rollout_s=2.0
        ),
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A whole run; the tests below look at it, run again beside it, or fail beside it."""
    folder = tmp_path_factory.mktemp("bootstrap")
    spec = folder / "pipeline.yaml"
    spec.write_text(format_pipeline(tiny()))
    layout = Layout(root=folder / "out", spec=spec)
    parameters = Parameters(
        trainer="tests.e2e.tiny_trainer",
        store=str(folder / "store"),
        load_rps=5.0,
        apply=True,
        cluster="memory",
    )
    reports: list[Progress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(CHECKOUT)
        run_local(layout, parameters, report=reports.append)
    return Ran(layout=layout, parameters=parameters, reports=reports)


@pytest.fixture(autouse=True)
def _checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)


def processes_of(layout: Layout) -> list[str]:
    """Command lines of processes that were told of the layout's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if str(layout.root) in command and re.search(r"workflows\.bootstrap |kfp\.dsl", command):
            found.append(command)
    return found


def test_the_models_of_the_trainer_are_uploaded_and_measured(ran: Ran) -> None:
    catalog = read_catalog(ran.layout.catalog)
    profiles = table.load(ran.layout.profiles)
    accuracies = {(p.stage, p.variant): p.accuracy for p in profiles.profiles}
    assert [(m.stage, m.variant) for m in catalog.models] == list(accuracies)
    assert accuracies["locate", "keen"] == 1.0
    assert accuracies["locate", "dull"] == pytest.approx(2 / 3)
    assert profiles.joint_accuracy == {("dull", "fair"): 0.5, ("keen", "fair"): 1.0}


def test_the_plan_carries_the_load_and_its_manifests_are_rendered(ran: Ran) -> None:
    plan = plan_from_json(ran.layout.plan.read_text())
    assert plan.load_rps == 5.0
    assert plan.promise.capacity_rps >= 5.0
    rendered = {path.name for path in ran.layout.manifests.iterdir()}
    assert "inferencegraph-tiny.yaml" in rendered
    assert "kustomization.yaml" in rendered
    assert list(ran.layout.forecaster.glob("*.onnx"))


def test_steps_told_their_progress(ran: Ran) -> None:
    finished = {one.step for one in ran.reports if one.done == one.total}
    assert {"train models", "upload", "train load predictor", "gate", "solve"} <= finished
    assert {"render", "apply"} <= finished


def test_nothing_is_left_behind_but_the_results(ran: Ran) -> None:
    assert processes_of(ran.layout) == []
    assert not (ran.layout.root / "kfp" / "scratch").exists()
    assert not list(ran.layout.root.glob(".*"))


def test_the_load_predictor_that_is_in_use_lies_in_the_store(ran: Ran) -> None:
    (gate,) = [one.note for one in ran.reports if one.step == "gate"]
    assert gate.startswith("published: ")
    published = newest(make_store(ran.parameters.store), "tiny/load_forecaster")
    assert published is not None
    assert published.key == "tiny/load_forecaster/r000001"


def test_a_second_run_repeats_only_what_looks_beyond_its_inputs(ran: Ran) -> None:
    before = ran.layout.profiles.read_bytes()
    reports: list[Progress] = []
    run_local(ran.layout, ran.parameters, report=reports.append)
    again = {one.step for one in reports if one.note != UNCHANGED}
    assert again == {"gate", "render", "apply"}
    assert [one.step for one in reports].count("profile") == 3
    assert {one.step for one in reports} == set(TITLES.values())
    assert ran.layout.profiles.read_bytes() == before


def test_a_failing_step_is_named_with_its_reason_and_changes_nothing(ran: Ran) -> None:
    before = {path: path.stat().st_mtime_ns for path in ran.layout.models.rglob("*")}
    parameters = Parameters(trainer="tests.e2e.no_such_trainer", store=ran.parameters.store)
    with pytest.raises(UserError) as caught:
        run_local(ran.layout, parameters)
    assert "step train-models failed: trainer 'tests.e2e.no_such_trainer'" in str(caught.value)
    assert str(ran.layout.logs / "bootstrap.log") in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in ran.layout.models.rglob("*")} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_a_killed_parent_leave_no_process(ran: Ran, number: signal.Signals) -> None:
    command = [sys.executable, "-c", STARTER]
    command += [str(ran.layout.root), str(ran.layout.spec), ran.parameters.store]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        assert any("asleep" in line for line in iter(parent.stdout.readline, ""))
        assert processes_of(ran.layout)
        parent.send_signal(number)
        parent.wait(timeout=20)
    assert parent.returncode != 0
    deadline_s = time.monotonic() + 10
    while processes_of(ran.layout) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert processes_of(ran.layout) == []
