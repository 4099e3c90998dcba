"""What the accuracies of the stages' variants make of the pipeline's, by mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.domain import AccuracyMode
from penstock.errors import DomainError

if TYPE_CHECKING:
    from penstock.domain import ProfileTable, Stage


def combined_accuracy(scores: Sequence[float], mode: AccuracyMode) -> float:
    """Return the pipeline's accuracy from the scores of *all* its stages: product, sum or mean.

    A stage's score is its accuracy, and in ranks mode its normalised rank.

    Raises:
        DomainError: the mode is joint, which is measured and not computed.
    """
    match mode:
        case AccuracyMode.PRODUCT:
            return math.prod(scores)
        case AccuracyMode.SUM | AccuracyMode.RANKS:
            return math.fsum(scores)
        case AccuracyMode.MEAN:
            return math.fsum(scores) / len(scores)
        case AccuracyMode.JOINT:
            raise DomainError("a joint accuracy is looked up per combination of variants")


def stage_accuracies(stage: Stage, table: ProfileTable) -> dict[str, float]:
    """Return the accuracy of each variant that is known: declared, or else measured."""
    known = {}
    for variant in stage.variants:
        profile = table.find(stage.name, variant.name)
        if variant.accuracy is not None:
            known[variant.name] = variant.accuracy
        elif profile is not None:
            known[variant.name] = profile.accuracy
    return known


def normalised_ranks(accuracies: dict[str, float]) -> dict[str, float]:
    """Return i / (k - 1) for the i-th least accurate of k variants from 0 on; 1 for a single one.

    Variants that are as accurate share the higher rank, so that the order they are listed in does
    not decide between them.
    """
    if len(accuracies) == 1:
        return dict.fromkeys(accuracies, 1.0)
    values = list(accuracies.values())
    return {
        name: (sum(other <= accuracy for other in values) - 1) / (len(values) - 1)
        for name, accuracy in accuracies.items()
    }
