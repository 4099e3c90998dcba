"""Who owns the replicas of a service between two ticks.

``none``: KServe writes ``minReplicas`` into the Deployment and enforces it; the plan alone decides.
``hpa``: a HorizontalPodAutoscaler moves within a band that starts at the plan's replicas.
The class is set when a service is created and stays: changing it later rolls the pods.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

from penstock.domain import Option, Stage

AUTOSCALER_CLASS = "serving.kserve.io/autoscalerClass"


class Autoscaling(StrEnum):
    """KServe's autoscaler classes that penstock renders."""

    NONE = "none"
    HPA = "hpa"


def replica_fields(
    autoscaling: Autoscaling, stage: Stage, option: Option, *, band: float, target_percent: int
) -> dict[str, Any]:
    """Return the fields of ``spec.predictor`` that set or bound the replicas.

    With ``hpa`` the band reaches from the plan's replicas to ``band`` times as many, but never
    beyond the stage's ``max_replicas``; an autoscaler needs at least one replica to measure.
    """
    if autoscaling is Autoscaling.NONE:
        return {"minReplicas": option.replicas}
    lowest = max(1, option.replicas)
    return {
        "minReplicas": lowest,
        "maxReplicas": max(lowest, min(stage.max_replicas, math.ceil(lowest * band))),
        "scaleMetric": "cpu",
        "scaleTarget": target_percent,
    }
