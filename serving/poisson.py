"""When requests arrive: a Poisson process whose rate follows a curve; pure, seeded.

It is drawn by thinning (Lewis and Shedler, 1979), so that a second's requests are spread over the
second as independent users would spread them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from penstock.errors import DomainError


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCurve:
    """Arrival rates over time: ``rates_rps[i]`` holds for the i-th ``step_s`` seconds."""

    rates_rps: tuple[float, ...]
    step_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.rates_rps or not all(math.isfinite(r) and r >= 0 for r in self.rates_rps):
            raise DomainError("load curve: needs rates that are finite and at least 0")
        if not (math.isfinite(self.step_s) and self.step_s > 0):
            raise DomainError(f"load curve: step_s must be positive, got {self.step_s}")

    @property
    def seconds(self) -> float:
        """How long the curve is."""
        return len(self.rates_rps) * self.step_s

    def at(self, time_s: float) -> float:
        """Return the rate at a time from the start; 0 outside."""
        index = math.floor(time_s / self.step_s)
        return self.rates_rps[index] if 0 <= index < len(self.rates_rps) else 0.0


def poisson_arrivals(curve: LoadCurve, *, seed: int) -> tuple[float, ...]:
    """Draw arrival times [s] from the start: a Poisson process with the curve's rate."""
    draw = random.Random(seed)
    peak_rps = max(curve.rates_rps)
    times: list[float] = []
    time_s = 0.0
    while peak_rps > 0:
        time_s += draw.expovariate(peak_rps)
        if time_s >= curve.seconds:
            break
        if draw.random() * peak_rps < curve.at(time_s):
            times.append(time_s)
    return tuple(times)


def constant_arrivals(rate_rps: float, *, seconds: float) -> tuple[float, ...]:
    """Return evenly spaced arrival times [s]."""
    if not (math.isfinite(rate_rps) and rate_rps > 0):
        raise DomainError(f"constant arrivals: the rate must be positive, got {rate_rps}")
    return tuple(i / rate_rps for i in range(math.floor(rate_rps * seconds)))
