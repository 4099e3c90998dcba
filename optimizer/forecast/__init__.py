"""From a window of load to the highest load expected over the horizon.

``Forecaster`` is the port; ``make_forecaster`` imports a back-end only when it is asked for, so
that this package costs milliseconds and a tick never imports a training library. ``WithFallback``
wraps any of them and is what runs.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.domain import Forecast, Load
from penstock.errors import DomainError, PenstockError

logger = logging.getLogger(__name__)

NAMES = ("last", "max", "mean", "quantile", "lstm")


class Forecaster(Protocol):
    """Says how high the load will be at most within the horizon."""

    @property
    def name(self) -> str:
        """The name under which it was made."""
        ...

    def forecast(self, load: Load) -> Forecast:
        """Return the forecast for the horizon that follows ``load``; it passes on the load's flags.

        Raises:
            SourceError: the load is too short to say anything.
        """
        ...


class WithFallback:
    """A forecaster that answers with ``backup`` wherever ``primary`` must not be trusted.

    That is when the load is flagged or has fewer than ``window_steps`` steps, when ``primary``
    raises one of our errors, and when a rate it gives is ``absurd_factor`` times above the
    window's maximum or below its minimum. The flags then hold ``fallback`` and the reason:
    ``short``, ``failed`` or ``absurd`` (or the load's own flags).
    """

    def __init__(
        self,
        primary: Forecaster,
        backup: Forecaster,
        *,
        window_steps: int,
        absurd_factor: float = 5.0,
    ) -> None:
        if window_steps < 1 or not absurd_factor > 1:
            raise DomainError(
                "fallback: needs window_steps >= 1 and absurd_factor > 1, "
                f"got {window_steps} and {absurd_factor}"
            )
        self._primary = primary
        self._backup = backup
        self._window_steps = window_steps
        self._absurd_factor = absurd_factor

    @property
    def name(self) -> str:
        """The name of the forecaster that is guarded."""
        return self._primary.name

    def forecast(self, load: Load) -> Forecast:
        """Return the primary's forecast, or the backup's flagged ``fallback``.

        Raises:
            SourceError: the backup could not say anything either.
        """
        if load.flags:
            return self._fall_back(load)
        if len(load.values_rps) < self._window_steps:
            return self._fall_back(load, "short")
        try:
            made = self._primary.forecast(load)
        except PenstockError as err:
            logger.warning(
                "forecaster %s failed, %s answers: %s", self.name, self._backup.name, err
            )
            return self._fall_back(load, "failed")
        return self._fall_back(load, "absurd") if self._is_absurd(made, load) else made

    def _fall_back(self, load: Load, *reasons: str) -> Forecast:
        made = self._backup.forecast(load)
        return replace(made, flags=merged(made.flags, ("fallback", *reasons)))

    def _is_absurd(self, made: Forecast, load: Load) -> bool:
        window = load.values_rps[-self._window_steps :]
        # An idle pipeline may see a first request: zeros allow as much as 1 req/s does.
        ceiling_rps = self._absurd_factor * max(*window, 1.0)
        floor_rps = min(window) / self._absurd_factor
        rates = (made.load_rps, *made.quantiles_rps.values())
        return max(rates) > ceiling_rps or made.load_rps < floor_rps


def make_forecaster(
    name: str,
    *,
    horizon_s: float,
    window_steps: int | None = None,
    quantile: float = 0.95,
    folder: Path | None = None,
) -> Forecaster:
    """Return the forecaster of that name, one of ``NAMES``.

    ``window_steps`` limits how much of the load is looked at (``None``: all of it), ``quantile``
    is for ``quantile`` only, ``folder`` is the artifact of ``lstm``, which brings its own window
    and whose horizon must be ``horizon_s``.

    Raises:
        DomainError: no such name, or a parameter that makes no sense.
        ArtifactError: the LSTM's artifact is missing, broken, or made for another horizon.
    """
    if name == "lstm":
        from optimizer.forecast.lstm import LstmForecaster

        if folder is None:
            raise DomainError("forecaster 'lstm' needs the folder that `penstock train` wrote")
        return LstmForecaster(folder, horizon_s=horizon_s)
    from optimizer.forecast import window

    if name == "last":
        return window.LastForecaster(horizon_s)
    if name == "max":
        return window.MaxForecaster(horizon_s, window_steps=window_steps)
    if name == "mean":
        return window.MeanForecaster(horizon_s, window_steps=window_steps)
    if name == "quantile":
        return window.QuantileForecaster(horizon_s, quantile=quantile, window_steps=window_steps)
    raise DomainError(f"no forecaster {name!r}; there are {', '.join(NAMES)}")


def merged(*flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return all flags, each once, in the order of first mention."""
    return tuple(dict.fromkeys(flag for some in flags for flag in some))


if TYPE_CHECKING:

    def _conforms(some: Forecaster) -> Forecaster:
        return WithFallback(some, some, window_steps=1)
