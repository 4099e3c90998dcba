from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from typer.testing import CliRunner

from optimizer.plan import plan_to_json, solve_plan
from optimizer.solvers import make_solver
from penstock.domain import Objective, Pipeline
from penstock.spec import format_pipeline
from profiles import table as tables
from tests.builders import pipeline, profile_table
from workflows.cli import app
from workflows.layout import Layout


def explained(tmp_path: Path, asked: Pipeline, load_rps: float, *more: str) -> str:
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(format_pipeline(asked))
    layout = Layout(root=tmp_path / "out", spec=spec)
    layout.profiles.parent.mkdir(parents=True, exist_ok=True)
    tables.save(profile_table(asked), layout.profiles)

    shown = CliRunner().invoke(
        app, ["explain", str(spec), "--load", str(load_rps), "--out", str(layout.root), *more]
    )

    assert shown.exit_code == 0, shown.output
    return shown.output


def test_explain_prints_what_binds_and_what_comes_next(tmp_path: Path) -> None:
    said = explained(tmp_path, pipeline(), 150.0)
    for words in ("binds: ", "runner-up: ", "one point more of accuracy: "):
        assert words in said
    assert "ladder" not in said


def test_explain_prints_the_ladder_of_a_load_that_is_too_high(tmp_path: Path) -> None:
    said = explained(tmp_path, pipeline(max_cores=4.0), 1e4)
    for words in ("has to give way: ", "as asked: no plan", "load: holds; given up: load; sheds"):
        assert words in said


def test_explain_is_of_the_plan_that_reaches_the_wanted_accuracy(tmp_path: Path) -> None:
    wanted = Objective(accuracy_target=0.72, accuracy_weight=0.0)
    said = explained(tmp_path, pipeline(objective=wanted), 150.0)
    assert "objective.accuracy_floor" in said.split("binds: ")[1].split("\n")[0]


def test_explain_says_whether_moving_from_a_plan_pays(tmp_path: Path) -> None:
    asked = pipeline()
    found = solve_plan(asked, profile_table(asked), 300.0, solver=make_solver("exhaustive")).plan
    assert found is not None
    small = replace(found, stages=tuple(replace(o, replicas=1) for o in found.stages))
    runs = tmp_path / "runs.json"
    runs.write_text(plan_to_json(small))

    soon, late = (
        explained(tmp_path, asked, 20.0, "--from", str(runs), "--since", since)
        for since in ("0", "80000")
    )

    assert "from the running plan: keep: " in soon
    assert "; moving to large + large (accuracy 0.640 -> 0.723" in soon
    assert "and cost 1.5 cores over the time it is expected to rule" in soon
    assert "from the running plan: move: improves the objective by " in late
    assert "the change costs" in late
