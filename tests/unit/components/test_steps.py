"""The steps of the bootstrap pipeline that need no process: catalog, upload, plan, rendering."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components import steps
from optimizer.plan import plan_from_json
from penstock.errors import ArtifactError, MissingToolError, UserError
from penstock.progress import Progress, parse_line
from penstock.spec import format_pipeline
from profiles import table
from tests.builders import pipeline, profile_table

SPEC = format_pipeline(pipeline(max_cores=8.0))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder for each variant; what is in them does not matter to an artifact store."""
    folder = tmp_path / "models"
    for name in ("small", "large"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.onnx").write_bytes(name.encode())
    return folder


@pytest.fixture
def catalog(models: Path, tmp_path: Path) -> Path:
    path = tmp_path / "catalog.json"
    steps.upload_models(SPEC, str(models), str(tmp_path / "store"), str(path))
    return path


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    table.save(profile_table(), tmp_path / "profiles.json")
    path = tmp_path / "plan.json"
    steps.optimize_plan(SPEC, str(tmp_path / "profiles.json"), 40.0, "exhaustive", str(path))
    return path


def test_the_catalog_names_every_variant_s_version(catalog: Path, tmp_path: Path) -> None:
    read = steps.read_catalog(catalog)
    assert [(m.stage, m.variant) for m in read.models] == [
        (s, v) for s in ("locate", "classify") for v in ("small", "large")
    ]
    small = read.find("locate", "small")
    assert small.key == "digits/locate/small"
    assert Path(small.uri.removeprefix("file://"), "model.onnx").read_bytes() == b"small"
    assert read.uris["classify/large"] == read.find("classify", "large").uri


def test_a_variant_that_was_not_uploaded_is_named(catalog: Path) -> None:
    with pytest.raises(ArtifactError, match="no model for locate/huge; upload the models"):
        steps.read_catalog(catalog).find("locate", "huge")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"models": [{}]}', '{"models": []}'])
def test_a_broken_catalog_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"catalog\.json is no catalog"):
        steps.read_catalog(path)


def test_models_that_are_not_there_upload_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="train the models first"):
        steps.upload_models(SPEC, str(tmp_path), str(tmp_path / "store"), str(tmp_path / "c.json"))
    assert not (tmp_path / "c.json").exists()
    assert not (tmp_path / "store").exists()


def test_uploading_reports_its_progress(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "progress.jsonl"
    monkeypatch.setenv("PENSTOCK_PROGRESS", str(told))
    steps.upload_models(SPEC, str(models), str(tmp_path / "store"), str(tmp_path / "c.json"))
    reports = [parse_line(line) for line in told.read_text().splitlines()]
    assert reports[-1] == Progress(step="upload", done=4, total=4, note="digits/classify/large")


def test_a_plan_is_written_with_its_figures(plan: Path) -> None:
    assert plan_from_json(plan.read_text()).load_rps == 40.0


def test_a_load_that_nothing_serves_writes_no_plan(tmp_path: Path) -> None:
    table.save(profile_table(), tmp_path / "profiles.json")
    with pytest.raises(UserError, match="no plan serves"):
        steps.optimize_plan(
            SPEC, str(tmp_path / "profiles.json"), 1e6, "exhaustive", str(tmp_path / "plan.json")
        )
    assert not (tmp_path / "plan.json").exists()


def test_manifests_name_the_uploaded_versions(plan: Path, catalog: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifests"
    steps.render_manifests(SPEC, str(plan), str(catalog), "penstock:1", str(out))
    text = "".join(path.read_text() for path in out.iterdir())
    chosen = plan_from_json(plan.read_text()).stages[0]
    assert steps.read_catalog(catalog).find(chosen.stage, chosen.variant).uri in text


@pytest.mark.parametrize(
    ("trainer", "error"),
    [("os.path", UserError), ("no.such.module", MissingToolError), ("1 + 1", UserError)],
)
def test_a_trainer_is_a_module_with_a_main(
    tmp_path: Path, trainer: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        steps.train_models(trainer, str(tmp_path))


def test_a_task_that_nobody_scores_is_refused(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps.measure, "read_dataset", lambda path: ())
    with pytest.raises(UserError, match="no scorer for the task ''; there are classify, detect"):
        steps.profile_variant(SPEC, str(catalog), str(tmp_path), "locate", "small", "unused")


def test_cpu_that_a_variant_is_never_given_is_refused() -> None:
    with pytest.raises(UserError, match=r"never given 125m CPU, only 1000m: compile the pipeline"):
        steps.profile_variant(SPEC, "-", "-", "locate", "small", "-", cpu="125m")


def test_json_is_written_whole_or_not_at_all(catalog: Path) -> None:
    assert [p.name for p in catalog.parent.glob(".*partial")] == []
    assert json.loads(catalog.read_text())["store"]
