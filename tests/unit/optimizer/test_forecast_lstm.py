import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from optimizer.forecast.card import CARD_FILE, MODEL_FILE, LstmConfig, ModelCard
from optimizer.forecast.lstm import LstmForecaster
from penstock.domain import Load
from penstock.errors import ArtifactError, DomainError, MissingToolError, SourceError
from tests.forecaster_folders import CONFIG, card, handmade, with_model


def load(*values: float, step_s: float = 1.0, flags: tuple[str, ...] = ()) -> Load:
    return Load(values_rps=values, step_s=step_s, end_s=0.0, flags=flags)


def changed(folder: Path, **fields: Any) -> Path:
    """The handmade artifact with other fields in its card."""
    path = handmade(folder) / CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def test_the_graphs_answer_becomes_point_and_quantiles(tmp_path: Path) -> None:
    made = LstmForecaster(handmade(tmp_path)).forecast(load(99, 5, 10, 6, 7, flags=("clock",)))
    assert made.load_rps == 10.0
    assert dict(made.quantiles_rps) == pytest.approx({0.5: 10.0, 0.9: 11.0, 0.95: 12.0, 0.99: 14.0})
    assert (made.forecaster, made.horizon_s, made.flags) == ("lstm", 2.0, ("clock",))


def test_the_point_can_be_another_quantile(tmp_path: Path) -> None:
    config = dataclasses.asdict(CONFIG) | {"point_quantile": 0.95}
    made = LstmForecaster(changed(tmp_path, config=config)).forecast(load(5, 10, 6, 7))
    assert made.load_rps == pytest.approx(12.0)


def test_a_load_shorter_than_the_window_is_not_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="needs 4 steps of load, got 3"):
        LstmForecaster(handmade(tmp_path)).forecast(load(5, 10, 6))


def test_steps_of_another_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="trained on steps of 1 s, the load has 10 s"):
        LstmForecaster(handmade(tmp_path)).forecast(load(5, 10, 6, 7, step_s=10.0))


@pytest.mark.parametrize("factors", [(1.0, 1.1, 1.2, -1.4), (1.0, float("nan"), 1.0, 1.0), (1.0,)])
def test_an_answer_that_is_no_rate_is_refused(tmp_path: Path, factors: tuple[float, ...]) -> None:
    with pytest.raises(ArtifactError, match="answered no rates"):
        LstmForecaster(handmade(tmp_path, factors=factors)).forecast(load(5, 10, 6, 7))


def test_a_rate_beyond_single_precision_is_refused_without_a_warning(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="answered no rates"):
        LstmForecaster(handmade(tmp_path)).forecast(load(1e300, 1, 1, 1))


@pytest.mark.parametrize("missing", [MODEL_FILE, CARD_FILE])
def test_half_an_artifact_is_no_artifact(tmp_path: Path, missing: str) -> None:
    (handmade(tmp_path) / missing).unlink()
    with pytest.raises(ArtifactError, match=missing):
        LstmForecaster(tmp_path)


def test_weights_that_are_not_the_cards_are_refused(tmp_path: Path) -> None:
    (handmade(tmp_path) / MODEL_FILE).write_bytes(b"cut off")
    with pytest.raises(ArtifactError, match="its card says"):
        LstmForecaster(tmp_path)


@pytest.mark.parametrize("model", [b"", b"no graph at all", b"\x08\x0a" * 40])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, model: bytes) -> None:
    with pytest.raises(ArtifactError, match="no model that ONNX Runtime can load"):
        LstmForecaster(with_model(tmp_path, model))


def test_a_graph_for_another_window_is_refused(tmp_path: Path) -> None:
    config = dataclasses.asdict(CONFIG) | {"window_steps": 5}
    with pytest.raises(ArtifactError, match="windows of 5 steps"):
        LstmForecaster(changed(tmp_path, config=config))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 1}', '{"format": 1, "config": {"units": "many"}}', "[" * 5_000],
)
def test_a_card_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (handmade(tmp_path) / CARD_FILE).write_text(text)
    with pytest.raises(ArtifactError, match="is no card"):
        ModelCard.read(tmp_path)


@pytest.mark.parametrize("fields", [{"unknown": 1}, {"config": {"epochs": 0}}, {"scores": 7}])
def test_a_card_with_other_fields_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="is no card"):
        ModelCard.read(changed(tmp_path, **fields))


def test_a_card_of_another_format_asks_for_a_new_training(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="train the forecaster again"):
        ModelCard.read(changed(tmp_path, format=2))


def test_a_card_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = dataclasses.replace(card(), scores=({"forecaster": "last", "smape_pct": 9.4},))
    (tmp_path / CARD_FILE).write_text(written.to_json())
    assert ModelCard.read(tmp_path) == written


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"units": 0}, "units must be a whole number"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"step_s": 0.0}, "step_s must be finite and above 0"),
        ({"time_compression": float("inf")}, "time_compression must be finite"),
        ({"quantiles": (0.9, 0.5)}, "quantiles must rise"),
        ({"quantiles": (0.5, 1.0)}, "quantiles must rise"),
        ({"point_quantile": 0.7}, "point_quantile must be among"),
        ({"aggregate": "sum"}, "aggregate must be"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(DomainError, match=said):
        LstmConfig(**fields)


def test_every_fault_of_a_configuration_is_named_at_once() -> None:
    with pytest.raises(DomainError, match=r"units.*step_s"):
        LstmConfig(units=0, step_s=0.0)


def test_a_missing_onnx_runtime_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingToolError, match="ONNX Runtime"):
        LstmForecaster(handmade(tmp_path))


@pytest.mark.slow
def test_forecasting_never_imports_what_trains(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from optimizer.forecast.lstm import LstmForecaster\n"
        f"LstmForecaster(pathlib.Path({str(handmade(tmp_path))!r}))\n"
        "print([m for m in ('keras', 'jax', 'onnx') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
