"""A trained load predictor against the published one and the last value, on steps nobody learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from optimizer.forecast import Forecaster, make_forecaster
from optimizer.forecast.card import LstmConfig, ModelCard
from optimizer.forecast.lstm import LstmForecaster
from optimizer.forecast.score import Score, forecasts_of, score, windows_of
from optimizer.forecast.train import split
from optimizer.history import History, resample

CANDIDATE, PUBLISHED, LAST = "candidate", "published", "last"
HOLDOUT_SHARE = 0.2
"""As in training: the candidate never saw this last part of its history."""
TRACE_STEPS = 240
"""How much of the held-out history is kept to be drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What came, and what had been forecast of it, at the end of the held-out history."""

    time_s: tuple[float, ...]
    actual_rps: tuple[float, ...]
    forecast_rps: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a candidate is to be published, and on what grounds.

    ``scores`` are by entrant (``candidate``, ``last``, and ``published`` if there is one that still
    fits the pipeline), all on the same windows.
    """

    publish: bool
    reason: str
    trace: Trace
    scores: Mapping[str, Score] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", MappingProxyType(dict(self.scores)))


def judge(
    candidate: Path, published: Path | None, history: History, *, max_windows: int = 2_000
) -> Verdict:
    """Hold a candidate against the published predictor and the last value.

    It has to have the smaller error (sMAPE) than each; equal is not enough. A published one that
    was made for other steps, window or horizon can't answer the pipeline any more and does not
    count.

    Raises:
        ArtifactError: an artifact is broken.
        DomainError: the history is too short.
    """
    config = ModelCard.read(candidate).config
    blocks = resample(
        history, config.step_s, how=config.aggregate, compression=config.time_compression
    )
    _, rest = split(blocks, HOLDOUT_SHARE)
    fits = published is not None and _shape(ModelCard.read(published).config) == _shape(config)
    entrants: dict[str, Forecaster] = {CANDIDATE: LstmForecaster(candidate)}
    if published is not None and fits:
        entrants[PUBLISHED] = LstmForecaster(published)
    entrants[LAST] = make_forecaster("last", horizon_s=config.horizon_s)
    steps = {"window_steps": config.window_steps, "horizon_steps": config.horizon_steps}
    scores = {
        name: score(one, rest, **steps, max_windows=max_windows) for name, one in entrants.items()
    }
    publish, reason = _decide(scores)
    if published is not None and not fits:
        reason += "; the published one is for other steps, window or horizon, and does not count"
    trace = _trace(entrants, rest, config)
    return Verdict(publish=publish, reason=reason, scores=scores, trace=trace)


def _decide(scores: Mapping[str, Score]) -> tuple[bool, str]:
    ours = scores[CANDIDATE].smape_pct
    others = {name: one.smape_pct for name, one in scores.items() if name != CANDIDATE}
    told = ", ".join(f"{name} {error:.2f} %" for name, error in others.items())
    better = [name for name, error in others.items() if error <= ours]
    if better:
        return False, f"error {ours:.2f} % is not below that of {' and '.join(better)} ({told})"
    return True, f"error {ours:.2f} % is below that of all others ({told})"


def _shape(config: LstmConfig) -> tuple[float, int, int]:
    return config.step_s, config.window_steps, config.horizon_steps


def _trace(entrants: Mapping[str, Forecaster], rest: History, config: LstmConfig) -> Trace:
    windows, actual = windows_of(
        rest, window_steps=config.window_steps, horizon_steps=config.horizon_steps
    )
    last = np.arange(max(0, len(windows) - TRACE_STEPS), len(windows))
    return Trace(
        time_s=tuple(float((i + config.window_steps) * rest.step_s) for i in last),
        actual_rps=tuple(actual[last].tolist()),
        forecast_rps={
            name: tuple(
                made.load_rps for made in forecasts_of(one, windows, last, step_s=rest.step_s)
            )
            for name, one in entrants.items()
        },
    )
