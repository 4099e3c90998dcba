"""The words of penstock: what every other package says to the next one.

Every type is a frozen value, checked when it is born, so that whatever reaches the optimizer or a
cluster has already been found to make sense. Units stand in the names: ``_s`` seconds, ``_rps``
requests per second, ``_cores`` CPU cores, ``_mib`` MiB. Accuracies are shares in [0, 1]. Nothing
here reads a file, a clock or the network. What a pipeline is stands here; the other words are
offered here too, from the module that has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from penstock.adaptation import Adaptation, Mode
from penstock.checks import not_negative, positive, require, share, unique
from penstock.errors import DomainError
from penstock.graph import Merge, Node, NodeKind, Step, require_graph, sequence, visits
from penstock.load import Forecast, Load
from penstock.objective import AccuracyMode, Goal, Objective, Prices
from penstock.plan import Option, Plan, Promise
from penstock.profile import Profile, ProfilePoint, ProfileTable

if TYPE_CHECKING:
    from typing import TypeVar

    Named = TypeVar("Named", "Variant", "Stage")

__all__ = [
    "AccuracyMode",
    "Adaptation",
    "Forecast",
    "Goal",
    "LatencyModel",
    "Load",
    "Merge",
    "Mode",
    "Node",
    "NodeKind",
    "Objective",
    "Option",
    "Pipeline",
    "Plan",
    "Prices",
    "Profile",
    "ProfilePoint",
    "ProfileTable",
    "Promise",
    "Slo",
    "Stage",
    "Step",
    "Variant",
]


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
            positive(f"variant {self.name!r}: cpu_choices", cores)
        require(
            tuple(sorted(set(self.cpu_choices))) == self.cpu_choices,
            f"variant {self.name!r}: cpu_choices must rise without repeats, got {self.cpu_choices}",
        )
        not_negative(f"variant {self.name!r}: gpus", self.gpus)
        require(bool(self.batch_sizes), f"variant {self.name!r} has no batch size")
        require(
            all(b >= 1 for b in self.batch_sizes),
            f"variant {self.name!r}: batch sizes must be at least 1, got {self.batch_sizes}",
        )
        require(
            tuple(sorted(set(self.batch_sizes))) == self.batch_sizes,
            f"variant {self.name!r}: batch sizes must rise without repeats, got {self.batch_sizes}",
        )
        positive(f"variant {self.name!r}: cpu_cores", self.cpu_cores)
        positive(f"variant {self.name!r}: memory_mib", self.memory_mib)
        if self.accuracy is not None:
            share(f"variant {self.name!r}: accuracy", self.accuracy)

    @property
    def cpu_allocations(self) -> tuple[float, ...]:
        """All cores a replica may be given, rising."""
        return tuple(sorted({self.cpu_cores, *self.cpu_choices}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One task of the pipeline and the variants that can do it.

    ``visit_ratio`` is the number of requests the stage sees per request that reaches it; in a
    Sequence all do.
    ``min_replicas`` and ``max_replicas`` bound the replicas of the variant that is active.
    """

    name: str
    variants: tuple[Variant, ...]
    task: str = ""
    min_replicas: int = 1
    max_replicas: int = 8
    visit_ratio: float = 1.0

    def __post_init__(self) -> None:
        require(bool(self.variants), f"stage {self.name!r} has no variant")
        unique(f"variants of stage {self.name!r}", [v.name for v in self.variants])
        require(
            0 <= self.min_replicas <= self.max_replicas and self.max_replicas >= 1,
            f"stage {self.name!r}: needs 0 <= min_replicas <= max_replicas and max_replicas >= 1, "
            f"got {self.min_replicas} and {self.max_replicas}",
        )
        positive(f"stage {self.name!r}: visit_ratio", self.visit_ratio)

    def variant(self, name: str) -> Variant:
        """Return the variant of that name.

        Raises:
            DomainError: there is none; the message lists those there are.
        """
        return _named(f"stage {self.name!r} has no variant", self.variants, name)


class LatencyModel(StrEnum):
    """How the stages' latencies become the pipeline's."""

    SUM = "sum-of-quantiles"
    """The stages' quantiles added up along the slowest path: the conservative choice, and an upper
    bound where nothing runs side by side."""
    CONVOLUTION = "convolution"
    """The quantile of the end-to-end latency, padded by what a simulation calls for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """The latency objective: that ``quantile`` of end-to-end latencies is at most ``latency_s``."""

    latency_s: float
    quantile: float = 0.99
    latency_model: LatencyModel = LatencyModel.SUM

    def __post_init__(self) -> None:
        positive("slo: latency_s", self.latency_s)
        require(0 < self.quantile < 1, f"slo: quantile must lie in (0, 1), got {self.quantile}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A graph of stages with one entry, an SLO and an objective.

    Without a ``graph`` the stages are called one after the other. ``max_cores`` bounds the cores of
    all replicas together, ``max_cost_per_hour`` their price; ``None`` leaves them unbounded. With
    ``prices`` cost means money, without them cores.
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
    graph: Node | None = None

    def __post_init__(self) -> None:
        if self.max_cost_per_hour is not None:
            positive(f"pipeline {self.name!r}: max_cost_per_hour", self.max_cost_per_hour)
            require(
                self.prices is not None,
                f"pipeline {self.name!r}: max_cost_per_hour needs prices",
            )
        require(bool(self.stages), f"pipeline {self.name!r} has no stage")
        unique(f"stages of pipeline {self.name!r}", [s.name for s in self.stages])
        if self.max_cores is not None:
            positive(f"pipeline {self.name!r}: max_cores", self.max_cores)
        if self.graph is not None:
            variants = {s.name: [v.name for v in s.variants] for s in self.stages}
            is_ranked = self.objective.mode is AccuracyMode.RANKS
            require_graph(f"pipeline {self.name!r}", self.graph, variants, is_ranked=is_ranked)

    @property
    def shape(self) -> Node:
        """The graph; where none is given, the Sequence of all stages."""
        return sequence([s.name for s in self.stages]) if self.graph is None else self.graph

    def visited(self, stage: Stage) -> Stage:
        """Return a stage with all that its place in the graph does to its visit ratio."""
        if self.graph is None:
            return stage
        return replace(stage, visit_ratio=stage.visit_ratio * visits(self.graph)[stage.name])

    def stage(self, name: str) -> Stage:
        """Return the stage of that name.

        Raises:
            DomainError: there is none; the message lists those there are.
        """
        return _named(f"pipeline {self.name!r} has no stage", self.stages, name)


def _named(message: str, among: tuple[Named, ...], name: str) -> Named:
    for one in among:
        if one.name == name:
            return one
    raise DomainError(f"{message} {name!r}; there are {', '.join(one.name for one in among)}")
