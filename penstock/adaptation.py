"""How often and how willingly the running plan is changed, and what a change takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from penstock.checks import not_negative, positive, require


class Mode(StrEnum):
    """What a tick may do."""

    OFF = "off"
    ADVISE = "advise"
    APPLY = "apply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """How often and how willingly the running plan is changed.

    ``step_s`` is the length of one load sample, ``window_steps`` how many of them a forecast sees.
    A plan rules until the next tick's plan is in force, ``interval_s`` and ``lag_s`` from now:
    that is how far a forecast looks, and no less than ``horizon_steps``. A plan is made for
    ``forecast_quantile`` of the forecast, plus ``headroom``.

    A change takes ``solve_s``, then ``start_s`` until a new replica is ready (where the profiles
    have no load time), ``rollout_s`` until all requests go to the new ones, and ``drain_s`` until
    the old ones are gone. The resources that takes are a cost in the objective, times
    ``switch_weight``. In one tick at most ``max_step`` stages change their variant or cores (any
    number when ``None``), unless more have to.

    A plan that is better is taken only when it improves the objective by ``min_gain`` (share of
    the running plan's) and ``cooldown_s`` has passed since the last change; a plan that is needed
    to carry the forecast is taken at once. An autoscaler between two ticks may move within what
    the ``band_quantiles`` of the forecast need.

    ``history_speedup`` is how many seconds of the load history one second of this pipeline stands
    for: 1 but for examples that live faster than the trace they learn from.
    """

    mode: Mode = Mode.APPLY
    interval_s: float = 60.0
    step_s: float = 10.0
    window_steps: int = 12
    horizon_steps: int = 2
    forecast_quantile: float = 0.9
    headroom: float = 0.1
    min_gain: float = 0.02
    cooldown_s: float = 60.0
    solve_s: float = 1.0
    start_s: float = 15.0
    rollout_s: float = 20.0
    drain_s: float = 10.0
    switch_weight: float = 1.0
    max_step: int | None = None
    band_quantiles: tuple[float, float] = (0.5, 0.99)
    history: int = 50
    history_speedup: float = 1.0

    def __post_init__(self) -> None:
        for name in (
            *("interval_s", "step_s", "window_steps", "horizon_steps"),
            *("history", "history_speedup"),
        ):
            positive(f"adaptation: {name}", getattr(self, name))
        for name in (
            *("headroom", "min_gain", "cooldown_s", "switch_weight"),
            *("solve_s", "start_s", "rollout_s", "drain_s"),
        ):
            not_negative(f"adaptation: {name}", getattr(self, name))
        require(
            0 < self.forecast_quantile < 1,
            f"adaptation: forecast_quantile must lie in (0, 1), got {self.forecast_quantile}",
        )
        low, high = self.band_quantiles
        require(
            0 < low <= high < 1,
            f"adaptation: band_quantiles must rise within (0, 1), got {self.band_quantiles}",
        )
        require(
            self.max_step is None or self.max_step >= 0,
            f"adaptation: max_step must be at least 0, got {self.max_step}",
        )

    @property
    def lag_s(self) -> float:
        """Seconds from a tick's start until its plan carries all requests, as declared."""
        return self.solve_s + self.start_s + self.rollout_s

    @property
    def steps_ahead(self) -> int:
        """Steps of the load that a plan must outlive: those of ``interval_s`` and ``lag_s``."""
        ruled_s = self.interval_s + self.lag_s
        return max(self.horizon_steps, math.ceil(ruled_s / self.step_s * (1 - 1e-9)))

    @property
    def horizon_s(self) -> float:
        """Seconds that a plan must outlive."""
        return self.step_s * self.steps_ahead
