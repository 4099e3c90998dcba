from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from penstock.errors import SpecError, UserError
from penstock.spec import format_pipeline
from tests.builders import pipeline
from workflows.bootstrap_local import publish, run_local, store_lost_models
from workflows.layout import Layout
from workflows.parameters import Parameters


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(format_pipeline(pipeline()))
    return Layout(root=tmp_path / "out", spec=spec)


@pytest.fixture
def results(tmp_path: Path) -> dict[str, str]:
    """What a run gave: two folders, a folder with two parts, three files."""
    given = tmp_path / "kfp"
    for name in ("trained/models/m.onnx", "trained/dataset/d", "forecaster/f", "manifests/a.yaml"):
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        (given / name).write_text(name)
    for name in ("catalog", "profiles", "plan"):
        (given / name).write_text(name)
    names = ("trained", "catalog", "profiles", "forecaster", "plan", "manifests")
    return {name: str(given / name) for name in names}


def test_results_go_to_their_places(layout: Layout, results: dict[str, str]) -> None:
    publish(layout, results)
    assert (layout.models / "m.onnx").read_text() == "trained/models/m.onnx"
    assert (layout.dataset / "d").exists()
    assert layout.profiles.read_text() == "profiles"
    assert layout.plan.read_text() == "plan"
    assert [p.name for p in layout.manifests.iterdir()] == ["a.yaml"]


def test_what_an_earlier_run_left_is_replaced_whole(
    layout: Layout, results: dict[str, str]
) -> None:
    layout.manifests.mkdir(parents=True)
    (layout.manifests / "old.yaml").touch()
    publish(layout, results)
    publish(layout, results)
    assert [p.name for p in layout.manifests.iterdir()] == ["a.yaml"]
    assert not list(layout.root.glob(".*"))


def test_a_place_that_can_not_be_written_is_named(layout: Layout, results: dict[str, str]) -> None:
    layout.root.mkdir()
    (layout.root / "profiles").touch()
    with pytest.raises(UserError, match=r"profiles\.json can't be written"):
        publish(layout, results)


def test_a_faulty_document_is_refused_before_anything_starts(layout: Layout) -> None:
    layout.spec.write_text("kind: Pipeline\n")
    with pytest.raises(SpecError, match="spec: is missing"):
        run_local(layout, Parameters())
    assert not layout.root.exists()


@pytest.mark.parametrize("field", ["trainer", "store"])
def test_text_that_kfp_would_garble_is_refused(layout: Layout, field: str) -> None:
    with pytest.raises(UserError, match=f"'python3' in {field}"):
        run_local(layout, Parameters(**{field: "my-python3-things"}))


def test_a_second_run_in_the_same_folder_is_refused(layout: Layout) -> None:
    (layout.root / "kfp").mkdir(parents=True)
    with (layout.root / "kfp" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another bootstrap is running"):
            run_local(layout, Parameters())


def test_a_folder_that_can_not_be_made_is_named(layout: Layout) -> None:
    layout.root.touch()
    with pytest.raises(UserError, match="out can't be written"):
        run_local(layout, Parameters())


def test_models_gone_from_the_store_end_what_the_cache_knows(
    layout: Layout, tmp_path: Path
) -> None:
    model = {"stage": "s", "variant": "v", "key": "k", "version": "0" * 12, "digest": "", "uri": ""}
    layout.catalog.parent.mkdir()
    layout.catalog.write_text(json.dumps({"store": str(tmp_path / "store"), "models": [model]}))
    assert store_lost_models(layout.catalog)
    layout.catalog.write_text(json.dumps({"store": str(tmp_path / "store"), "models": []}))
    assert not store_lost_models(layout.catalog)
    layout.catalog.write_text("broken")
    assert store_lost_models(layout.catalog)
    layout.catalog.unlink()
    assert not store_lost_models(layout.catalog)
