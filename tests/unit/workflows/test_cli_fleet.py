"""`penstock fleet`, and the shares that plans and ticks then keep."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from optimizer.plan import plan_from_json
from penstock.domain import Pipeline
from penstock.fleet import read_fleet
from penstock.spec import format_pipeline
from profiles import table as tables
from tests.builders import pipeline, profile_table
from workflows.cli import app

EXAMPLE = Path(__file__).parents[3] / "examples" / "fleet.yaml"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments)])

    return invoke


def profiled(root: Path, *pipelines: Pipeline) -> None:
    for one in pipelines:
        combinations = {tuple(s.variants[i].name for s in one.stages): 0.6 + i / 10 for i in (0, 1)}
        every = {(a.name, b.name) for a in one.stages[0].variants for b in one.stages[1].variants}
        joint = {names: combinations.get(names, 0.65) for names in every}
        path = root / one.name / "profiles" / "profiles.json"
        path.parent.mkdir(parents=True)
        tables.save(replace(profile_table(one), joint_accuracy=joint), path)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A fleet of two pipelines on four cores, profiled."""
    pipelines = (pipeline("a"), pipeline("b"))
    for one in pipelines:
        (tmp_path / f"{one.name}.yaml").write_text(format_pipeline(one))
    profiled(tmp_path / "out", *pipelines)
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "apiVersion: penstock.dev/v1\nkind: Fleet\nmetadata: {name: both}\nspec:\n"
        "  max_cores: 5.0\n  pipelines:\n    - {document: a.yaml, priority: 2.0, load_rps: 40}\n"
        "    - {document: b.yaml}\n"
    )
    return path


def test_the_example_fleet_has_a_plan_for_each_example(ask, tmp_path: Path) -> None:
    fleet = read_fleet(EXAMPLE)
    profiled(tmp_path, *(m.pipeline for m in fleet.members))
    said = ask("fleet", EXAMPLE, "--out", tmp_path)
    assert said.exit_code == 0, said.output
    plans = [
        plan_from_json((tmp_path / name / "plan.json").read_text())
        for name in ("digits", "fashion")
    ]
    assert sum(plan.promise.cost_cores for plan in plans) <= 2.0
    assert f"fleet examples: {sum(p.promise.cost_cores for p in plans):g} of 2 cores" in said.output
    assert not (tmp_path / "digits" / "share.json").exists()


def test_shares_fit_the_budget_and_the_plan_command_stays_within_its_own(
    ask, two: Path, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    said = ask("fleet", two, "--load", "b=40", "--out", root, "--apply-shares")
    assert said.exit_code == 0, said.output
    shares = [json.loads((root / n / "share.json").read_text())["max_cores"] for n in "ab"]
    assert sum(shares) == pytest.approx(5.0)

    fits = ask("plan", tmp_path / "a.yaml", "--load", "40", "--out", root / "a")
    assert fits.exit_code == 0, fits.output
    plan = plan_from_json((root / "a" / "plan.json").read_text())
    assert plan.promise.cost_cores <= shares[0] * (1 + 1e-6)

    above = ("plan", tmp_path / "a.yaml", "--load", "1000", "--out", root / "a")
    assert ask(*above).exit_code != 0
    shed = ask(*above, "--ladder")
    assert shed.exit_code == 0, shed.output
    assert "given up: load; sheds" in shed.output
    (root / "a" / "share.json").unlink()
    free = ask(*above, "--ladder")
    assert free.exit_code == 0, free.output
    assert plan_from_json((root / "a" / "plan.json").read_text()).promise.cost_cores > shares[0]


def test_a_tick_honours_the_share(ask, two: Path, tmp_path: Path, monkeypatch) -> None:
    from penstock.clock import RealClock
    from tests.ticks import ports
    from workflows import wiring
    from workflows.layout import Layout
    from workflows.recording import read_decisions

    root = tmp_path / "out"
    assert ask("fleet", two, "--load", "b=40", "--out", root, "--apply-shares").exit_code == 0
    share = json.loads((root / "a" / "share.json").read_text())["max_cores"]

    def loaded(pipeline: Pipeline, layout: Layout, settings, cluster, record):
        return ports([1000.0] * 3, cluster=cluster, record=record, clock=RealClock())

    monkeypatch.setattr(wiring, "make_ports", loaded)
    said = ask("adapt", tmp_path / "a.yaml", "--cluster", "memory", "--out", root / "a")
    assert said.exit_code == 0, said.output
    (record,) = read_decisions(root / "a" / "decisions.jsonl")
    assert record.given_up == ("load",)
    assert record.plan is not None
    assert record.plan.promise.cost_cores <= share * (1 + 1e-6)


def test_a_load_that_is_missing_and_one_for_nobody_are_told_together(ask, two: Path) -> None:
    said = ask("fleet", two, "--load", "c=1", "--load", "a=fast")
    faults = str(said.exception)
    assert "there is no pipeline 'c'" in faults
    assert "must be a rate, such as a=10" in faults
    assert "spec.pipelines[1].load_rps: is missing" in faults


def test_a_fleet_without_a_plan_says_why_and_writes_nothing(ask, two: Path, tmp_path: Path) -> None:
    two.write_text(two.read_text().replace("5.0", "1.5"))
    said = ask("fleet", two, "--load", "b=1", "--out", tmp_path / "out")
    assert "needs 4 at the least, the budget is 1.5" in str(said.exception)
    assert not (tmp_path / "out" / "a" / "plan.json").exists()


def test_a_deployment_takes_the_share_along(ask, two: Path, tmp_path: Path, monkeypatch) -> None:
    root = tmp_path / "out"
    assert ask("fleet", two, "--load", "b=40", "--out", root, "--apply-shares").exit_code == 0
    monkeypatch.setenv("PENSTOCK_STORE", "s3://models")
    monkeypatch.setenv("PENSTOCK_PROMETHEUS_URL", "http://prometheus:9090")
    manifests = EXAMPLE.parents[1] / "manifests"
    said = ask("deployment", tmp_path / "a.yaml", "--out", root / "a", "--manifests", manifests)
    assert said.exit_code == 0, said.output
    (config,) = (root / "a" / "deploy").rglob("config.yaml")
    held = yaml.safe_load(config.read_text())["data"]["share.json"]
    assert json.loads(held) == json.loads((root / "a" / "share.json").read_text())
