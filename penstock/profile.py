"""What was measured of the variants: profiles, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from penstock.checks import positive, require, share, unique


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePoint:
    """What one replica does at one batch size on ``cpu_cores``.

    ``latency_s`` maps quantiles in (0, 1) to seconds from a full batch's arrival to its answer;
    ``throughput_rps`` is requests (not batches) per second when the replica never idles.
    """

    batch_size: int
    cpu_cores: float
    latency_s: Mapping[float, float]
    throughput_rps: float
    samples: int = 0

    def __post_init__(self) -> None:
        positive("profile point: batch_size", self.batch_size)
        positive("profile point: cpu_cores", self.cpu_cores)
        positive("profile point: throughput_rps", self.throughput_rps)
        require(bool(self.latency_s), "profile point: no latency quantile")
        quantiles = sorted(self.latency_s)
        values = [self.latency_s[q] for q in quantiles]
        require(
            all(0 < q < 1 for q in quantiles),
            f"profile point: quantiles must lie in (0, 1), got {quantiles}",
        )
        require(
            all(math.isfinite(v) and v > 0 for v in values) and values == sorted(values),
            f"profile point: latencies must be positive and rise with the quantile, got {values}",
        )
        object.__setattr__(
            self, "latency_s", MappingProxyType(dict(zip(quantiles, values, strict=True)))
        )

    def latency_at(self, quantile: float) -> float:
        """Return the latency [s] at the smallest profiled quantile that is at least ``quantile``.

        Above the highest profiled quantile that highest one is returned: a profile never
        extrapolates.
        """
        at_least = [q for q in self.latency_s if q >= quantile]
        return self.latency_s[min(at_least) if at_least else max(self.latency_s)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one replica of a variant can do, and how that is known.

    ``provenance`` holds strings such as ``hardware``, ``measured_at``, ``runtime``; it never
    influences a plan.
    """

    stage: str
    variant: str
    points: tuple[ProfilePoint, ...]
    accuracy: float
    load_time_s: float = 0.0
    memory_mib: float = 0.0
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(bool(self.points), f"profile of {self.stage}/{self.variant} has no point")
        share(f"profile of {self.stage}/{self.variant}: accuracy", self.accuracy)
        keys = [(p.batch_size, p.cpu_cores) for p in self.points]
        unique(f"points of the profile of {self.stage}/{self.variant}", keys)
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileTable:
    """The profiles of a pipeline's variants.

    ``joint_accuracy`` maps variant names in stage order to the measured accuracy of that
    combination; it may be empty.
    """

    profiles: tuple[Profile, ...]
    joint_accuracy: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    _by_name: Mapping[tuple[str, str], Profile] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        unique("profiles", [(p.stage, p.variant) for p in self.profiles])
        by_name = {(p.stage, p.variant): p for p in self.profiles}
        object.__setattr__(self, "_by_name", MappingProxyType(by_name))
        for names, value in self.joint_accuracy.items():
            share(f"joint accuracy of {'+'.join(names)}", value)
        object.__setattr__(self, "joint_accuracy", MappingProxyType(dict(self.joint_accuracy)))

    def find(self, stage: str, variant: str) -> Profile | None:
        """Return the profile of a stage's variant, or ``None``."""
        return self._by_name.get((stage, variant))
