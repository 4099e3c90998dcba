"""What is decided: an option per stage, and what the whole promises."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.graph import Node, paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One choice for a stage, with all that follows from it at a known load.

    ``latency_s`` is the stage's share of the end-to-end latency at the SLO's quantile (waiting and
    service); ``capacity_rps`` is what its replicas carry together, counted at the pipeline's
    *entry* (visit ratio taken out). ``max_wait_s`` is how long the predictor may hold a batch that
    is not full; the latency counts on it. ``cost_per_hour`` is the price of all replicas, 0 where
    the pipeline has no prices. ``band`` is the fewest and the most replicas that an autoscaler may
    choose until the next plan; ``None`` where no forecast tells.
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
    band: tuple[int, int] | None = None

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
    added up, and ``latency_padding`` the share by which the result was raised. ``switch_cost`` is
    what moving to the plan cost when it was made, in the unit of the cost, spread over the time it
    was expected to rule; the objective is without it.
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
    switch_cost: float = 0.0

    @property
    def cost(self) -> float:
        """The cost as the objective counts it: money per hour where there are prices, or cores."""
        return self.cost_cores if self.cost_per_hour is None else self.cost_per_hour

    @property
    def cost_unit(self) -> str:
        """What ``cost`` is counted in, as people read it."""
        return "cores" if self.cost_per_hour is None else "per hour"


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


def slowest_path(plan: Plan, graph: Node) -> tuple[str, ...]:
    """Return the stages of the path whose latencies add up to most."""
    latencies_s = {option.stage: option.latency_s for option in plan.stages}
    return max(paths(graph), key=lambda path: sum(latencies_s[name] for name in path))
