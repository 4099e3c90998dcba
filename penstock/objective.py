"""What a plan is to be good at: accuracy and cost, what they mean and what each weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from penstock.checks import not_negative, require, share

if TYPE_CHECKING:
    from penstock.domain import Variant


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
                not_negative(f"objective: {wanted}", getattr(self, wanted))
        for name in ("accuracy_weight", "cost_weight", "batch_weight"):
            value = getattr(self, name)
            require(
                math.isfinite(value) and value >= 0,
                f"objective: {name} must be finite and at least 0, got {value}",
            )


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
            not_negative(f"prices: {name}", getattr(self, name))
        share("prices: spot_share", self.spot_share)

    def replica_hour(self, variant: Variant, *, cpu_cores: float) -> float:
        """Return what one replica of a variant costs per hour on so many cores."""
        full = (
            self.cpu_core_hour * cpu_cores
            + self.memory_gib_hour * variant.memory_mib / 1024
            + self.gpu_hour * variant.gpus
        )
        return full * self.spot_share if variant.spot else full
