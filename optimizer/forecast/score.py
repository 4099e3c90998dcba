"""How good a forecaster is on a history: through the port, window by window, as it will be used.

Arrays: ``actual`` and ``forecast`` are (steps,) req/s, one pair per window; errors are taken pair
by pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from optimizer.forecast import Forecaster
from optimizer.history import History
from penstock.domain import Forecast, Load
from penstock.errors import DomainError

Rates = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one forecaster did over ``windows`` windows.

    ``smape_pct`` and ``mae_rps`` are the errors of the point forecast, ``under_share`` how often
    it was below what came, ``excess_pct`` how much it was above on average (percent of the mean
    load: capacity bought and not needed), and ``coverage`` how often each quantile was enough.
    """

    forecaster: str
    windows: int
    smape_pct: float
    mae_rps: float
    under_share: float
    excess_pct: float
    coverage: Mapping[float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "coverage", MappingProxyType(dict(self.coverage)))

    def to_dict(self) -> dict[str, Any]:
        """Return the score as JSON can hold it."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return found | {"coverage": {f"{q:g}": share for q, share in self.coverage.items()}}


def smape_pct(actual: Rates, forecast: Rates) -> float:
    """Return the symmetric mean absolute percentage error: the mean of 200 |f - a| / (|a| + |f|).

    Where both are 0 the error is 0. The arrays must pair up: a column against a row would
    silently average every combination.

    Raises:
        DomainError: they are not two rows of the same length, or empty.
    """
    actual, forecast = _pair(actual, forecast)
    size = np.abs(actual) + np.abs(forecast)
    ratio = np.divide(np.abs(forecast - actual), size, out=np.zeros_like(size), where=size > 0)
    return float(200 * ratio.mean())


def mae_rps(actual: Rates, forecast: Rates) -> float:
    """Return the mean absolute error [req/s]; raises as ``smape_pct``."""
    actual, forecast = _pair(actual, forecast)
    return float(np.abs(forecast - actual).mean())


def under_share(actual: Rates, forecast: Rates) -> float:
    """Return the share of forecasts below what came; raises as ``smape_pct``."""
    actual, forecast = _pair(actual, forecast)
    return float((forecast < actual).mean())


def excess_pct(actual: Rates, forecast: Rates) -> float:
    """Return what was forecast too much in percent of what came, 0 without load."""
    actual, forecast = _pair(actual, forecast)
    total = actual.sum()
    return float(100 * np.maximum(forecast - actual, 0).sum() / total) if total > 0 else 0.0


def windows_of(history: History, *, window_steps: int, horizon_steps: int) -> tuple[Rates, Rates]:
    """Return every window and the highest rate of the horizon that follows it.

    Shapes: (windows, window_steps) and (windows,); both are views or small, whatever the
    history's length.

    Raises:
        DomainError: the history is shorter than one window and its horizon.
    """
    span = window_steps + horizon_steps
    if len(history.values_rps) < span:
        raise DomainError(
            f"history {history.source} has {len(history.values_rps)} steps of "
            f"{history.step_s:g} s; a window and its horizon need {span}"
        )
    spans = sliding_window_view(history.values_rps, span)
    return spans[:, :window_steps], spans[:, window_steps:].max(axis=1)


def score(
    forecaster: Forecaster,
    history: History,
    *,
    window_steps: int,
    horizon_steps: int,
    max_windows: int = 2_000,
) -> Score:
    """Return what a forecaster does on at most ``max_windows`` windows spread over a history.

    Raises:
        DomainError: the history is too short.
        PenstockError: whatever the forecaster raises; a score never skips a window.
    """
    windows, actual = windows_of(history, window_steps=window_steps, horizon_steps=horizon_steps)
    chosen = spread(len(windows), max_windows)
    made = forecasts_of(forecaster, windows, chosen, step_s=history.step_s)
    actual, point = actual[chosen], np.array([one.load_rps for one in made])
    return Score(
        forecaster=forecaster.name,
        windows=len(chosen),
        smape_pct=smape_pct(actual, point),
        mae_rps=mae_rps(actual, point),
        under_share=under_share(actual, point),
        excess_pct=excess_pct(actual, point),
        coverage=_coverage(actual, made),
    )


def forecasts_of(
    forecaster: Forecaster, windows: Rates, chosen: NDArray[np.int64], *, step_s: float
) -> list[Forecast]:
    """Return the forecasts for some of a history's windows, by their indices.

    Raises:
        PenstockError: whatever the forecaster raises.
    """
    window_steps = windows.shape[1]
    return [
        forecaster.forecast(
            Load(
                values_rps=tuple(windows[i].tolist()),
                step_s=step_s,
                end_s=float((i + window_steps) * step_s),
            )
        )
        for i in chosen
    ]


def score_table(
    forecasters: Sequence[Forecaster],
    history: History,
    *,
    window_steps: int,
    horizon_steps: int,
    max_windows: int = 2_000,
) -> tuple[Score, ...]:
    """Return one score per forecaster, all on the same windows, in the order given."""
    return tuple(
        score(
            one,
            history,
            window_steps=window_steps,
            horizon_steps=horizon_steps,
            max_windows=max_windows,
        )
        for one in forecasters
    )


def spread(count: int, at_most: int) -> NDArray[np.int64]:
    """Return at most ``at_most`` indices below ``count``, evenly spread, with both ends."""
    if count <= at_most:
        return np.arange(count, dtype=np.int64)
    return np.linspace(0, count - 1, at_most).round().astype(np.int64)


def _coverage(actual: Rates, made: Sequence[Forecast]) -> dict[float, float]:
    return {
        quantile: float(np.mean(actual <= [one.quantiles_rps[quantile] for one in made]))
        for quantile in (made[0].quantiles_rps if made else ())
    }


def _pair(actual: Rates, forecast: Rates) -> tuple[Rates, Rates]:
    actual, forecast = np.asarray(actual, np.float64), np.asarray(forecast, np.float64)
    if actual.ndim != 1 or actual.shape != forecast.shape or not len(actual):
        raise DomainError(
            f"errors need two rows of the same length, got {actual.shape} and {forecast.shape}"
        )
    return actual, forecast
