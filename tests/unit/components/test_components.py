from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kfp import dsl

import components
from components import image, scores
from penstock import settings

FOLDER = Path(components.__file__).parent
NAMES = (
    "train_models",
    "upload_models",
    "profile_variant",
    "assemble_profiles",
    "train_forecaster",
    "gate_forecaster",
    "optimize_plan",
    "render_manifests",
    "apply_plan",
)


def function(name: str) -> ast.FunctionDef:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return found


def component(name: str) -> Any:
    return getattr(importlib.import_module(f"components.{name}"), name)


def executor(name: str) -> Mapping[str, Any]:
    deployment = component(name).pipeline_spec.deployment_spec
    return deployment["executors"][f"exec-{name.replace('_', '-')}"]["container"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of steps, replaced: what each component hands to its step is recorded."""
    module = ModuleType("components.steps")
    module.__dict__["calls"] = calls = {}
    for name in NAMES:

        def step(*, name: str = name, **given: Any) -> dict[str, float]:
            calls[name] = given
            return {"score": 0.5}

        module.__dict__[name] = step
    monkeypatch.setitem(sys.modules, "components.steps", module)
    monkeypatch.setattr(components, "steps", module, raising=False)
    return module


def test_every_file_that_imports_kfp_is_one_component() -> None:
    declared = {p.stem for p in FOLDER.glob("*.py") if "@dsl.component" in p.read_text()}
    assert declared == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_body_is_one_import_and_one_call(name: str) -> None:
    documentation, found_import, call = function(name).body
    assert isinstance(documentation, ast.Expr)
    assert isinstance(documentation.value, ast.Constant)
    assert isinstance(found_import, ast.ImportFrom)
    assert found_import.module == "components"
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_called_by_the_component_of_its_name(name: str) -> None:
    called = {
        node.func.attr
        for node in ast.walk(function(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert called - {"record"} == {"component", name}


@pytest.mark.parametrize("name", NAMES)
def test_annotations_stand_as_kfp_reads_them(name: str) -> None:
    assert "from __future__" not in (FOLDER / f"{name}.py").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_component_runs_on_the_one_image_and_installs_nothing(name: str) -> None:
    container = executor(name)
    assert container["image"] == image.IMAGE
    assert "pip install" not in " ".join(container["command"])


@pytest.mark.parametrize("name", NAMES)
def test_every_input_is_described(name: str) -> None:
    inputs = component(name).component_spec.inputs
    assert inputs
    assert [key for key, spec in inputs.items() if not spec.description] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_the_ui_shows_has_figures_beside_it(name: str) -> None:
    outputs = component(name).component_spec.outputs or {}
    types = [spec.type for spec in outputs.values()]
    assert [kind for kind in types if "Metrics" in kind] or "system.HTML@0.0.1" not in types


def test_the_images_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("PENSTOCK_IMAGE", "registry.example/penstock:9")
        monkeypatch.setenv("PENSTOCK_PREDICTOR_IMAGE", "registry.example/predictor:9")
        assert importlib.reload(image).IMAGE == "registry.example/penstock:9"
        assert image.PREDICTOR_IMAGE == "registry.example/predictor:9"
        monkeypatch.setenv("PENSTOCK_IMAGE", " ")
        monkeypatch.delenv("PENSTOCK_PREDICTOR_IMAGE")
        assert importlib.reload(image).IMAGE == settings.IMAGE
        assert image.PREDICTOR_IMAGE == settings.PREDICTOR_IMAGE
    finally:
        monkeypatch.undo()
        importlib.reload(image)


def test_profiling_hands_over_paths_and_names(steps: ModuleType, tmp_path: Path) -> None:
    component("profile_variant").python_func(
        spec="s",
        stage="locate",
        variant="small",
        cpu="250m",
        trained=dsl.Artifact(uri=str(tmp_path / "trained")),
        catalog=dsl.Artifact(uri=str(tmp_path / "catalog")),
        profile=dsl.Artifact(uri=str(tmp_path / "profile")),
        curves=dsl.HTML(uri=str(tmp_path / "curves")),
        metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
    )
    assert steps.calls["profile_variant"] == {
        "spec": "s",
        "catalog": str(tmp_path / "catalog"),
        "dataset": str(tmp_path / "trained/dataset"),
        "stage": "locate",
        "variant": "small",
        "out": str(tmp_path / "profile"),
        "page": str(tmp_path / "curves"),
        "cpu": "250m",
    }


def test_assembling_hands_over_every_part_and_records_the_scores(
    steps: ModuleType, tmp_path: Path
) -> None:
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    component("assemble_profiles").python_func(
        spec="s",
        parts=[dsl.Artifact(uri=str(tmp_path / name)) for name in ("a", "b")],
        trained=dsl.Artifact(uri=str(tmp_path / "trained")),
        catalog=dsl.Artifact(uri=str(tmp_path / "catalog")),
        profiles=dsl.Artifact(uri=str(tmp_path / "profiles")),
        curves=dsl.HTML(uri=str(tmp_path / "curves")),
        metrics=metrics,
    )
    assert steps.calls["assemble_profiles"]["parts"] == [str(tmp_path / n) for n in ("a", "b")]
    assert metrics.metadata == {"score": 0.5}


def test_scores_are_logged_and_written_to_the_file_that_caching_needs(tmp_path: Path) -> None:
    metrics = dsl.Metrics(uri=str(tmp_path / "deep" / "metrics"))
    scores.record({"b": 2, "a": 1.5}, metrics)
    assert metrics.metadata == {"a": 1.5, "b": 2.0}
    assert json.loads(Path(metrics.path).read_text()) == {"a": 1.5, "b": 2}
