"""The words of penstock: what every other package says to the next one.

Every type is a frozen value, checked when it is born, so that whatever reaches the optimizer or a
cluster has already been found to make sense. Units stand in the names: ``_s`` seconds, ``_rps``
requests per second, ``_cores`` CPU cores, ``_mib`` MiB. Accuracies are shares in [0, 1]. Nothing
here reads a file, a clock or the network.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from penstock.errors import DomainError

if TYPE_CHECKING:
    from typing import Any, TypeVar

    Named = TypeVar("Named", "Variant", "Stage")


class AccuracyMode(StrEnum):
    """How the accuracies of the chosen variants become the accuracy of the pipeline."""

    PRODUCT = "product"
    """IPA's PAS: the product of the stages' accuracies. Right when their errors are independent."""
    SUM = "sum"
    """Sum over the stages; only its order means anything."""
    MEAN = "mean"
    """Mean over the stages."""
    JOINT = "joint"
    """The pipeline's accuracy as measured for each combination of variants."""
    RANKS = "ranks"
    """IPA's PAS': the sum over the stages of i / (k - 1) for the i-th least accurate of k variants,
    1 where there is one. Only its order means anything."""


class Goal(StrEnum):
    """What is best among the plans that keep every limit."""

    WEIGHTED = "weighted"
    """The highest weighted sum of accuracy, cost and batches."""
    ACCURACY_FIRST = "accuracy-first"
    """The most accurate; of those that are as accurate the cheapest, then the smallest batches.
    Under a budget this is the epsilon-constraint form of the most accuracy for the money."""
    COST_FIRST = "cost-first"
    """The cheapest; of those that cost the same the most accurate, then the smallest batches. With
    an accuracy floor this is the epsilon-constraint form of the least money for the accuracy."""


class Mode(StrEnum):
    """What a tick may do."""

    OFF = "off"
    ADVISE = "advise"
    APPLY = "apply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One model for a stage's task.

    ``artifact`` is the folder of the model: relative to the spec file, or a key of the artifact
    store. ``accuracy`` is a declared accuracy; ``None`` takes the measured one from the profile.
    ``cpu_choices`` are other cores a replica may be given, each profiled; a plan chooses among them
    and ``cpu_cores``. ``gpus`` and ``spot`` (replicas run on machines that may be taken back) only
    set the price.
    """

    name: str
    artifact: str
    batch_sizes: tuple[int, ...] = (1,)
    cpu_cores: float = 1.0
    memory_mib: int = 512
    accuracy: float | None = None
    gpus: float = 0.0
    spot: bool = False
    cpu_choices: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for cores in self.cpu_choices:
            _positive(f"variant {self.name!r}: cpu_choices", cores)
        _require(
            tuple(sorted(set(self.cpu_choices))) == self.cpu_choices,
            f"variant {self.name!r}: cpu_choices must rise without repeats, got {self.cpu_choices}",
        )
        _not_negative(f"variant {self.name!r}: gpus", self.gpus)
        _require(bool(self.batch_sizes), f"variant {self.name!r} has no batch size")
        _require(
            all(b >= 1 for b in self.batch_sizes),
            f"variant {self.name!r}: batch sizes must be at least 1, got {self.batch_sizes}",
        )
        _require(
            tuple(sorted(set(self.batch_sizes))) == self.batch_sizes,
            f"variant {self.name!r}: batch sizes must rise without repeats, got {self.batch_sizes}",
        )
        _positive(f"variant {self.name!r}: cpu_cores", self.cpu_cores)
        _positive(f"variant {self.name!r}: memory_mib", self.memory_mib)
        if self.accuracy is not None:
            _share(f"variant {self.name!r}: accuracy", self.accuracy)

    @property
    def cpu_allocations(self) -> tuple[float, ...]:
        """All cores a replica may be given, rising."""
        return tuple(sorted({self.cpu_cores, *self.cpu_choices}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One task of the pipeline and the variants that can do it.

    ``visit_ratio`` is the number of requests the stage sees per request at the pipeline's entry.
    ``min_replicas`` and ``max_replicas`` bound the replicas of the variant that is active.
    """

    name: str
    variants: tuple[Variant, ...]
    task: str = ""
    min_replicas: int = 1
    max_replicas: int = 8
    visit_ratio: float = 1.0

    def __post_init__(self) -> None:
        _require(bool(self.variants), f"stage {self.name!r} has no variant")
        _unique(f"variants of stage {self.name!r}", [v.name for v in self.variants])
        _require(
            0 <= self.min_replicas <= self.max_replicas and self.max_replicas >= 1,
            f"stage {self.name!r}: needs 0 <= min_replicas <= max_replicas and max_replicas >= 1, "
            f"got {self.min_replicas} and {self.max_replicas}",
        )
        _positive(f"stage {self.name!r}: visit_ratio", self.visit_ratio)

    def variant(self, name: str) -> Variant:
        """Return the variant of that name.

        Raises:
            DomainError: there is none; the message lists those there are.
        """
        return _named(f"stage {self.name!r} has no variant", self.variants, name)


class LatencyModel(StrEnum):
    """How the stages' latencies become the pipeline's."""

    SUM = "sum-of-quantiles"
    """The stages' quantiles added up: an upper bound, and the conservative choice."""
    CONVOLUTION = "convolution"
    """The quantile of the sum of the stages' latencies, padded by what a simulation calls for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """The latency objective: that ``quantile`` of end-to-end latencies is at most ``latency_s``."""

    latency_s: float
    quantile: float = 0.99
    latency_model: LatencyModel = LatencyModel.SUM

    def __post_init__(self) -> None:
        _positive("slo: latency_s", self.latency_s)
        _require(0 < self.quantile < 1, f"slo: quantile must lie in (0, 1), got {self.quantile}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is maximised, in the form of IPA's equation 8 with its alpha, beta and delta.

    ``accuracy_weight`` x accuracy - ``cost_weight`` x cores - ``batch_weight`` x sum of batches;
    ``mode`` says what accuracy means, ``goal`` whether the weights or an order decide. Cost is in
    cores, or in money per hour where the pipeline has prices. No plan has an accuracy, in the
    mode's unit, below ``accuracy_floor``; ``accuracy_target`` is wanted but given up first when a
    load cannot be served with it.
    """

    mode: AccuracyMode = AccuracyMode.PRODUCT
    accuracy_weight: float = 10.0
    cost_weight: float = 0.5
    batch_weight: float = 1e-6
    goal: Goal = Goal.WEIGHTED
    accuracy_floor: float | None = None
    accuracy_target: float | None = None

    def __post_init__(self) -> None:
        for wanted in ("accuracy_floor", "accuracy_target"):
            if getattr(self, wanted) is not None:
                _not_negative(f"objective: {wanted}", getattr(self, wanted))
        for name in ("accuracy_weight", "cost_weight", "batch_weight"):
            value = getattr(self, name)
            _require(
                math.isfinite(value) and value >= 0,
                f"objective: {name} must be finite and at least 0, got {value}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """How often and how willingly the running plan is changed.

    ``step_s`` is the length of one load sample, ``window_steps`` how many of them a forecast sees,
    ``horizon_steps`` how many a plan must outlive (tick + solve + start of a replica). A plan is
    made for ``forecast_quantile`` of the forecast, plus ``headroom``. A plan that is better is
    taken only when it improves the objective by ``min_gain`` (share of the running plan's) and
    ``cooldown_s`` has passed since the last change; a plan that is needed to carry the forecast is
    taken at once. ``history_speedup`` is how many seconds of the load history one second of this
    pipeline stands for: 1 but for examples that live faster than the trace they learn from.
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
    history: int = 50
    history_speedup: float = 1.0

    def __post_init__(self) -> None:
        _positive("adaptation: interval_s", self.interval_s)
        _positive("adaptation: step_s", self.step_s)
        _positive("adaptation: window_steps", self.window_steps)
        _positive("adaptation: horizon_steps", self.horizon_steps)
        _positive("adaptation: history", self.history)
        _positive("adaptation: history_speedup", self.history_speedup)
        _require(
            0 < self.forecast_quantile < 1,
            f"adaptation: forecast_quantile must lie in (0, 1), got {self.forecast_quantile}",
        )
        for name in ("headroom", "min_gain", "cooldown_s"):
            value = getattr(self, name)
            _require(
                math.isfinite(value) and value >= 0,
                f"adaptation: {name} must be finite and at least 0, got {value}",
            )

    @property
    def horizon_s(self) -> float:
        """Seconds that a plan must outlive."""
        return self.step_s * self.horizon_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What one hour costs per resource class, in one currency.

    A replica on spot machines costs ``spot_share`` of the price.
    """

    cpu_core_hour: float = 0.0
    memory_gib_hour: float = 0.0
    gpu_hour: float = 0.0
    spot_share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("cpu_core_hour", "memory_gib_hour", "gpu_hour"):
            _not_negative(f"prices: {name}", getattr(self, name))
        _share("prices: spot_share", self.spot_share)

    def replica_hour(self, variant: Variant, *, cpu_cores: float) -> float:
        """Return what one replica of a variant costs per hour on so many cores."""
        full = (
            self.cpu_core_hour * cpu_cores
            + self.memory_gib_hour * variant.memory_mib / 1024
            + self.gpu_hour * variant.gpus
        )
        return full * self.spot_share if variant.spot else full


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A sequence of stages with one entry, an SLO and an objective.

    ``max_cores`` bounds the cores of all replicas together, ``max_cost_per_hour`` their price;
    ``None`` leaves them unbounded. With ``prices`` cost means money, without them cores.
    """

    name: str
    stages: tuple[Stage, ...]
    slo: Slo
    namespace: str = "default"
    objective: Objective = field(default_factory=Objective)
    adaptation: Adaptation = field(default_factory=Adaptation)
    max_cores: float | None = None
    prices: Prices | None = None
    max_cost_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.max_cost_per_hour is not None:
            _positive(f"pipeline {self.name!r}: max_cost_per_hour", self.max_cost_per_hour)
            _require(
                self.prices is not None,
                f"pipeline {self.name!r}: max_cost_per_hour needs prices",
            )
        _require(bool(self.stages), f"pipeline {self.name!r} has no stage")
        _unique(f"stages of pipeline {self.name!r}", [s.name for s in self.stages])
        if self.max_cores is not None:
            _positive(f"pipeline {self.name!r}: max_cores", self.max_cores)

    def stage(self, name: str) -> Stage:
        """Return the stage of that name.

        Raises:
            DomainError: there is none; the message lists those there are.
        """
        return _named(f"pipeline {self.name!r} has no stage", self.stages, name)


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
        _positive("profile point: batch_size", self.batch_size)
        _positive("profile point: cpu_cores", self.cpu_cores)
        _positive("profile point: throughput_rps", self.throughput_rps)
        _require(bool(self.latency_s), "profile point: no latency quantile")
        quantiles = sorted(self.latency_s)
        values = [self.latency_s[q] for q in quantiles]
        _require(
            all(0 < q < 1 for q in quantiles),
            f"profile point: quantiles must lie in (0, 1), got {quantiles}",
        )
        _require(
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
        _require(bool(self.points), f"profile of {self.stage}/{self.variant} has no point")
        _share(f"profile of {self.stage}/{self.variant}: accuracy", self.accuracy)
        keys = [(p.batch_size, p.cpu_cores) for p in self.points]
        _unique(f"points of the profile of {self.stage}/{self.variant}", keys)
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
        _unique("profiles", [(p.stage, p.variant) for p in self.profiles])
        by_name = {(p.stage, p.variant): p for p in self.profiles}
        object.__setattr__(self, "_by_name", MappingProxyType(by_name))
        for names, value in self.joint_accuracy.items():
            _share(f"joint accuracy of {'+'.join(names)}", value)
        object.__setattr__(self, "joint_accuracy", MappingProxyType(dict(self.joint_accuracy)))

    def find(self, stage: str, variant: str) -> Profile | None:
        """Return the profile of a stage's variant, or ``None``."""
        return self._by_name.get((stage, variant))


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
        _positive("load: step_s", self.step_s)
        _require(
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
        _positive("forecast: horizon_s", self.horizon_s)
        rates = [self.load_rps, *self.quantiles_rps.values()]
        _require(
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One choice for a stage, with all that follows from it at a known load.

    ``latency_s`` is the stage's share of the end-to-end latency at the SLO's quantile (waiting and
    service); ``capacity_rps`` is what its replicas carry together, counted at the pipeline's
    *entry* (visit ratio taken out). ``max_wait_s`` is how long the predictor may hold a batch that
    is not full; the latency counts on it. ``cost_per_hour`` is the price of all replicas, 0 where
    the pipeline has no prices.
    """

    stage: str
    variant: str
    batch_size: int
    cpu_cores: float
    replicas: int
    latency_s: float
    capacity_rps: float
    accuracy: float
    max_wait_s: float = 0.0
    cost_per_hour: float = 0.0

    @property
    def cost_cores(self) -> float:
        """Cores of all replicas together."""
        return self.cpu_cores * self.replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a plan promises at its load.

    ``accuracy`` is in the objective's mode; ``accuracy_product`` and ``accuracy_joint`` say both
    where both are known, because the product of stage accuracies can overstate the pipeline's by a
    third. ``headroom_rps`` is capacity less load; ``latency_model`` names how stage latencies were
    added up, and ``latency_padding`` the share by which the result was raised.
    """

    latency_s: float
    capacity_rps: float
    cost_cores: float
    accuracy: float
    accuracy_product: float
    accuracy_joint: float | None
    objective: float
    latency_model: str = "sum-of-quantiles"
    cost_per_hour: float | None = None
    latency_padding: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One option per stage, in stage order, for a load, and what the whole promises."""

    pipeline: str
    load_rps: float
    stages: tuple[Option, ...]
    promise: Promise
    solver: str = ""

    @property
    def variants(self) -> tuple[str, ...]:
        """Variant names in stage order."""
        return tuple(s.variant for s in self.stages)

    def same_choice(self, other: Plan) -> bool:
        """Whether both plans run the same variants, batch sizes, CPU and replicas."""
        return [_choice(s) for s in self.stages] == [_choice(s) for s in other.stages]


def _choice(option: Option) -> tuple[str, str, int, float, int]:
    return (option.stage, option.variant, option.batch_size, option.cpu_cores, option.replicas)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise DomainError(message)


def _positive(what: str, value: float) -> None:
    # a whole number too large for a float would make math.isfinite raise
    holds = 0 < value <= sys.float_info.max
    _require(holds, f"{what} must be finite and above 0, got {value}")


def _not_negative(what: str, value: float) -> None:
    _require(
        math.isfinite(value) and value >= 0, f"{what} must be finite and at least 0, got {value}"
    )


def _share(what: str, value: float) -> None:
    _require(0 <= value <= 1, f"{what} must lie in [0, 1], got {value}")


def _unique(what: str, names: list[Any]) -> None:
    twice = sorted(str(n) for n, count in Counter(names).items() if count > 1)
    _require(
        not twice, f"{what} must have different names; given more than once: {', '.join(twice)}"
    )


def _named(message: str, among: tuple[Named, ...], name: str) -> Named:
    for one in among:
        if one.name == name:
            return one
    raise DomainError(f"{message} {name!r}; there are {', '.join(one.name for one in among)}")
