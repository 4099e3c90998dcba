"""How much is asked of a pipeline, now and soon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from penstock.checks import positive, require


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Arrival rates at the pipeline's entry, oldest first.

    ``values_rps[i]`` holds for ``step_s`` seconds; ``end_s`` is the end of the last step. ``flags``
    names what was wrong with the data (``"stale"``, ``"gap"``, ``"nan"`` …); an empty tuple means
    that the values may be trusted, zeros included.
    """

    values_rps: tuple[float, ...]
    step_s: float
    end_s: float
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        positive("load: step_s", self.step_s)
        require(
            all(math.isfinite(v) and v >= 0 for v in self.values_rps),
            "load: rates must be finite and at least 0; a source replaces bad samples and flags it",
        )

    @property
    def last_rps(self) -> float:
        """The newest rate, 0 when there is none."""
        return self.values_rps[-1] if self.values_rps else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The highest arrival rate expected within ``horizon_s``.

    ``load_rps`` is the point forecast; ``quantiles_rps`` maps quantiles to rates and may be empty.
    ``forecaster`` names who made it; ``flags`` carries the load's flags and the forecaster's own
    (``"fallback"`` …).
    """

    load_rps: float
    horizon_s: float
    forecaster: str
    quantiles_rps: Mapping[float, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        positive("forecast: horizon_s", self.horizon_s)
        rates = [self.load_rps, *self.quantiles_rps.values()]
        require(
            all(math.isfinite(v) and v >= 0 for v in rates),
            f"forecast: rates must be finite and at least 0, got {rates}",
        )
        object.__setattr__(
            self, "quantiles_rps", MappingProxyType(dict(sorted(self.quantiles_rps.items())))
        )

    def at(self, quantile: float) -> float:
        """Return the rate at the smallest known quantile that is at least ``quantile``.

        Without such a quantile it is the highest of what is known, the point forecast included.
        """
        known = [rate for q, rate in self.quantiles_rps.items() if q >= quantile]
        return known[0] if known else max([self.load_rps, *self.quantiles_rps.values()])
