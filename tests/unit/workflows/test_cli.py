"""The command line: what it says and how it exits. Whole runs are in tests/e2e."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from optimizer.plan import plan_from_json
from penstock.spec import format_pipeline
from profiles import table
from tests.builders import pipeline, profile_table
from tests.command_line import command_line
from tests.recordings import write_example
from workflows.commands import prepare

COMMANDS = [
    *("validate", "models", "upload", "profile", "train", "plan", "render", "diff", "apply"),
    *("adapt", "load", "report", "compile", "demo", "status", "down"),
    *("check-cluster", "deployment", "undeploy", "fleet"),
]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A document with shipped profiles beside it."""
    path = tmp_path / "digits" / "pipeline.yaml"
    path.parent.mkdir()
    path.write_text(format_pipeline(pipeline(max_cores=8.0)))
    table.save(profile_table(), path.parent / "profiles.json")
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run ``penstock`` with arguments; returns exit code and all that was printed, in one line."""
    for name in [n for n in os.environ if n.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    return command_line(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command: str) -> None:
    code, said = run(command, "--help")
    assert code == 0
    assert f"penstock {command}" in said
    assert "--help" in said


def test_a_good_document_is_told_in_a_line(run, spec: Path) -> None:
    code, said = run("validate", spec)
    assert code == 0
    assert "2 stages and 4 variants" in said


def test_a_bad_document_exits_2_with_every_fault(run, spec: Path) -> None:
    spec.write_text(
        spec.read_text().replace("latency_s: 0.5", "latency_s: -1").replace("kind", "kid")
    )
    code, said = run("validate", spec)
    assert code == 2
    assert "spec.slo.latency_s: must be greater than 0, got -1" in said
    assert "kid: no such key" in said


def test_a_plan_is_shown_and_written(run, spec: Path, tmp_path: Path) -> None:
    code, said = run("plan", spec, "--load", 40, "--solver", "exhaustive")
    assert code == 0
    assert "digits: plan for 40 req/s" in said
    assert "the best there is" in said
    written = plan_from_json((tmp_path / "out/digits/plan.json").read_text())
    assert written.load_rps == 40.0


def test_a_load_without_a_plan_exits_2_with_the_nearest(run, spec: Path, tmp_path: Path) -> None:
    code, said = run("plan", spec, "--load", 1e6, "--solver", "exhaustive")
    assert code == 2
    assert "the nearest plan:" in said
    assert "no plan serves 1e+06 req/s" in said
    assert not (tmp_path / "out/digits/plan.json").exists()


def test_without_profiles_the_command_that_makes_them_is_named(run, spec: Path) -> None:
    (spec.parent / "profiles.json").unlink()
    code, said = run("plan", spec, "--load", 40)
    assert code == 2
    assert f"make it with: penstock profile {spec}" in said


def test_rendering_twice_gives_the_same_bytes(run, spec: Path, tmp_path: Path) -> None:
    run("plan", spec, "--load", 40, "--solver", "exhaustive")
    assert run("render", spec)[0] == 0
    folder = tmp_path / "out/digits/manifests"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "kustomization.yaml" in first
    assert run("render", spec)[0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_rendered_manifests_can_be_printed_as_one_stream(run, spec: Path) -> None:
    run("plan", spec, "--load", 40, "--solver", "exhaustive")
    code, said = run("render", spec, "--stdout")
    assert code == 0
    assert said.count("apiVersion:") >= 4
    assert "kind: InferenceGraph" in said


def test_a_difference_exits_2_and_says_what_it_is(run, spec: Path) -> None:
    run("plan", spec, "--load", 40, "--solver", "exhaustive")
    code, said = run("diff", spec, "--cluster", "memory")
    assert code == 2
    assert "create InferenceGraph default/digits" in said


def test_a_dry_run_of_apply_tells_each_change(run, spec: Path) -> None:
    run("plan", spec, "--load", 40, "--solver", "exhaustive")
    code, said = run("apply", spec, "--cluster", "memory")
    assert code == 0
    assert "create InferenceGraph default/digits" in said
    assert "7 changes in" in said


def test_a_plan_that_is_no_plan_is_refused(run, spec: Path, tmp_path: Path) -> None:
    broken = tmp_path / "plan.json"
    broken.write_text("{")
    assert run("render", spec, "--plan", broken)[0] == 2
    assert run("render", spec, "--plan", tmp_path / "none.json")[0] == 2


def test_a_plan_must_be_made_before_it_is_rendered(run, spec: Path) -> None:
    code, said = run("render", spec)
    assert code == 2
    assert f"make it with: penstock plan {spec}" in said


def test_an_unknown_option_exits_with_its_usage(run, spec: Path) -> None:
    code, said = run("plan", spec, "--lode", 40)
    assert code == 2
    assert "--lode" in said


def test_adapting_needs_a_load(run, spec: Path) -> None:
    code, said = run("adapt", spec, "--cluster", "memory")
    assert code == 2
    assert "PENSTOCK_PROMETHEUS_URL" in said
    assert run("adapt", spec, "--once", "--watch", "2")[0] == 2


def test_a_load_curve_that_nobody_knows_is_refused(run, spec: Path) -> None:
    code, said = run("load", spec, "--curve", "square")
    assert code == 2
    assert "no load curve 'square'; there are constant, bursty" in said


def test_models_need_a_trainer(run, spec: Path) -> None:
    code, said = run("models", spec)
    assert code == 2
    assert "--trainer" in said
    code, said = run("models", spec, "--trainer", "no.such.module")
    assert code == 2
    assert "can't be imported" in said
    assert run("models", spec, "--trainer", "not a module")[0] == 2


def test_a_report_is_made_of_recorded_runs(run, spec: Path, tmp_path: Path) -> None:
    assert run("report", spec)[0] == 2
    write_example(tmp_path / "out/digits")
    code, said = run("report", spec)
    assert code == 0
    assert "report.html" in said
    summary = json.loads((tmp_path / "out/digits/summary.json").read_text())
    assert set(summary["runs"]) == {"adaptive", "lightest", "heaviest"}
    page = (tmp_path / "out/digits/report.html").read_text()
    assert (
        "the plan is not one of this document" in page
    )  # the one that was named, for want of theirs


def test_compiling_writes_both_workflows(run, spec: Path, tmp_path: Path) -> None:
    assert run("compile", spec)[0] == 0
    assert "kind: CronWorkflow" in (tmp_path / "out/digits/compiled/cron.yaml").read_text()
    assert "pipelineInfo:" in (tmp_path / "out/digits/compiled/bootstrap.yaml").read_text()


def test_a_cluster_that_does_not_run_has_no_status(run, spec: Path) -> None:
    assert "does not run" in run("status", spec)[1]
    assert run("down", spec)[0] == 0


def test_an_interrupt_exits_130(run, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "read_pipeline", interrupted)
    code, said = run("validate", spec)
    assert code == 130
    assert "interrupted" in said
