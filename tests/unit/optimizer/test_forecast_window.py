from pathlib import Path

import pytest

from optimizer.forecast import NAMES, make_forecaster
from penstock.domain import Load
from penstock.errors import ArtifactError, DomainError, SourceError
from tests.forecaster_folders import CONFIG, handmade


def load(*values: float, **fields: object) -> Load:
    return Load(**{"values_rps": tuple(values), "step_s": 1.0, "end_s": 0.0, **fields})


@pytest.mark.parametrize(
    ("name", "expected"), [("last", 2.0), ("max", 8.0), ("mean", 4.0), ("quantile", 7.2)]
)
def test_each_forecaster_takes_its_number_of_the_window(name: str, expected: float) -> None:
    made = make_forecaster(name, horizon_s=20.0).forecast(load(2, 8, 4, 4, 2))
    # The 0.95 quantile lies at 0.95 x 4 = 3.8 steps: between 4 and 8, 4 + 0.8 x 4 = 7.2.
    assert made.load_rps == pytest.approx(expected)
    assert (made.forecaster, made.horizon_s, made.flags) == (name, 20.0, ())


@pytest.mark.parametrize(("name", "expected"), [("max", 4.0), ("mean", 3.0), ("quantile", 3.9)])
def test_a_window_can_be_shorter_than_the_load(name: str, expected: float) -> None:
    made = make_forecaster(name, horizon_s=1.0, window_steps=2).forecast(load(99, 2, 4))
    assert made.load_rps == pytest.approx(expected)


def test_the_quantile_can_be_chosen() -> None:
    median = make_forecaster("quantile", horizon_s=1.0, quantile=0.5)
    assert median.forecast(load(1, 9, 2)).load_rps == 2.0


def test_huge_rates_do_not_overflow_the_mean() -> None:
    assert make_forecaster("mean", horizon_s=1.0).forecast(load(1e308, 1e308)).load_rps == 1e308


def test_the_lstm_is_made_from_its_folder(tmp_path: Path) -> None:
    made = make_forecaster("lstm", horizon_s=CONFIG.horizon_s, folder=handmade(tmp_path))
    assert made.name == "lstm"


def test_the_lstm_needs_its_folder() -> None:
    with pytest.raises(DomainError, match="needs the folder"):
        make_forecaster("lstm", horizon_s=1.0)


def test_an_lstm_for_another_horizon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="forecasts 2 s ahead, not the 60 s"):
        make_forecaster("lstm", horizon_s=60.0, folder=handmade(tmp_path))


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(DomainError, match="last, max, mean, quantile, lstm"):
        make_forecaster("prophet", horizon_s=1.0)


@pytest.mark.parametrize(
    "fields",
    [{"horizon_s": 0.0}, {"horizon_s": float("nan")}, {"window_steps": 0}, {"quantile": 0.0}],
)
def test_parameters_that_make_no_sense_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(DomainError, match="forecaster quantile"):
        make_forecaster("quantile", **{"horizon_s": 1.0, **fields})


@pytest.mark.parametrize("name", [n for n in NAMES if n != "lstm"])
def test_a_load_without_a_step_says_nothing(name: str) -> None:
    with pytest.raises(SourceError, match="without a step"):
        make_forecaster(name, horizon_s=1.0).forecast(load())
