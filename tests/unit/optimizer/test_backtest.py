"""The gate: who is published, and on which grounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from optimizer.forecast.backtest import TRACE_STEPS, judge
from optimizer.forecast.card import CARD_FILE, ModelCard
from optimizer.history import History
from tests.forecaster_folders import CONFIG, handmade

UP_AND_DOWN = History(values_rps=[10.0, 20.0] * 1000, step_s=1.0, source="test")  # type: ignore[arg-type]
"""The window's maximum is always right here, the last value half of the time."""

RIGHT, SO_SO, WRONG = (1.0, 1.1, 1.2, 1.4), (1.1, 1.2, 1.3, 1.4), (2.0, 2.1, 2.2, 2.4)


def folder(at: Path, factors: tuple[float, ...]) -> Path:
    return handmade(at, factors=factors)


def test_a_candidate_that_beats_the_last_value_is_published(tmp_path: Path) -> None:
    verdict = judge(folder(tmp_path / "new", RIGHT), None, UP_AND_DOWN)
    assert verdict.publish
    assert verdict.scores["candidate"].smape_pct == pytest.approx(0, abs=1e-4)
    assert verdict.scores["last"].smape_pct == pytest.approx(100 / 3, rel=0.01)
    assert verdict.reason == "error 0.00 % is below that of all others (last 33.25 %)"


def test_a_candidate_that_the_last_value_beats_is_not(tmp_path: Path) -> None:
    verdict = judge(folder(tmp_path / "new", WRONG), None, UP_AND_DOWN)
    assert not verdict.publish
    assert "is not below that of last" in verdict.reason


@pytest.mark.parametrize(
    ("new", "old", "publish"), [(RIGHT, SO_SO, True), (SO_SO, RIGHT, False), (SO_SO, SO_SO, False)]
)
def test_a_candidate_has_to_beat_the_published_one_too(
    tmp_path: Path, new: tuple[float, ...], old: tuple[float, ...], publish: bool
) -> None:
    verdict = judge(folder(tmp_path / "new", new), folder(tmp_path / "old", old), UP_AND_DOWN)
    assert verdict.publish is publish
    assert set(verdict.scores) == {"candidate", "published", "last"}
    assert len({score.windows for score in verdict.scores.values()}) == 1


def test_a_published_one_for_another_horizon_does_not_count(tmp_path: Path) -> None:
    old = folder(tmp_path / "old", RIGHT)
    card = ModelCard.read(old)
    other = replace(card, config=replace(CONFIG, horizon_steps=5))
    (old / CARD_FILE).write_text(other.to_json())
    verdict = judge(folder(tmp_path / "new", SO_SO), old, UP_AND_DOWN)
    assert verdict.publish
    assert "published" not in verdict.scores
    assert "for other steps, window or horizon" in verdict.reason


def test_the_trace_is_the_end_of_what_nobody_learnt_from(tmp_path: Path) -> None:
    trace = judge(folder(tmp_path / "new", RIGHT), None, UP_AND_DOWN).trace
    assert len(trace.time_s) == len(trace.actual_rps) == TRACE_STEPS
    assert set(trace.actual_rps) == {20.0}
    assert trace.forecast_rps["candidate"] == pytest.approx(trace.actual_rps)
    assert set(trace.forecast_rps["last"]) == {10.0, 20.0}
