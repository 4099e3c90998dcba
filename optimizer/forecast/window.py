"""The forecasters that need no training: one number of the window stands for the horizon."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from penstock.domain import Forecast, Load
from penstock.errors import DomainError, SourceError

if TYPE_CHECKING:
    from optimizer.forecast import Forecaster


class _WindowForecaster(ABC):
    """What the four share: which steps are looked at, and how the answer is made."""

    name = "window"

    def __init__(self, horizon_s: float, *, window_steps: int | None = None) -> None:
        if not (math.isfinite(horizon_s) and horizon_s > 0):
            raise DomainError(f"forecaster {self.name}: horizon_s must be above 0, got {horizon_s}")
        if window_steps is not None and window_steps < 1:
            raise DomainError(
                f"forecaster {self.name}: window_steps must be at least 1, got {window_steps}"
            )
        self._horizon_s = horizon_s
        self._window_steps = window_steps

    def forecast(self, load: Load) -> Forecast:
        """Return the window's number as the forecast; the load's flags are passed on.

        Raises:
            SourceError: the load has no step.
        """
        window = load.values_rps[-self._window_steps :] if self._window_steps else load.values_rps
        if not window:
            raise SourceError(
                f"forecaster {self.name} got a load without a step; has the pipeline just started?"
            )
        return Forecast(
            load_rps=self._number(window),
            horizon_s=self._horizon_s,
            forecaster=self.name,
            flags=load.flags,
        )

    @abstractmethod
    def _number(self, window: tuple[float, ...]) -> float: ...


class LastForecaster(_WindowForecaster):
    """The newest step: what a purely reactive scaler assumes."""

    name = "last"

    def _number(self, window: tuple[float, ...]) -> float:
        return window[-1]


class MaxForecaster(_WindowForecaster):
    """The highest step of the window: careful, slow to let go; the usual backup."""

    name = "max"

    def _number(self, window: tuple[float, ...]) -> float:
        return max(window)


class MeanForecaster(_WindowForecaster):
    """The mean of the window: smooth, and below the peaks by construction."""

    name = "mean"

    def _number(self, window: tuple[float, ...]) -> float:
        # Divided first, so that huge rates cannot overflow; clipped, because rounding can leave
        # the window.
        mean_rps = math.fsum(value / len(window) for value in window)
        return min(max(mean_rps, min(window)), max(window))


class QuantileForecaster(_WindowForecaster):
    """A quantile of the window, linear between steps (type 7 of Hyndman and Fan 1996)."""

    name = "quantile"

    def __init__(
        self, horizon_s: float, *, quantile: float = 0.95, window_steps: int | None = None
    ) -> None:
        super().__init__(horizon_s, window_steps=window_steps)
        if not 0 < quantile <= 1:
            raise DomainError(f"forecaster quantile: must lie in (0, 1], got {quantile}")
        self._quantile = quantile

    def _number(self, window: tuple[float, ...]) -> float:
        ordered = sorted(window)
        place = self._quantile * (len(ordered) - 1)
        low = ordered[math.floor(place)]
        high = ordered[math.ceil(place)]
        return min(high, low + (high - low) * (place - math.floor(place)))


if TYPE_CHECKING:
    _last: Forecaster = LastForecaster(1.0)
    _max: Forecaster = MaxForecaster(1.0)
    _mean: Forecaster = MeanForecaster(1.0)
    _quantile: Forecaster = QuantileForecaster(1.0)
