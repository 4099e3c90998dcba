"""Who owns the replicas of a service between two ticks.

``fixed`` (KServe's class ``none``): KServe writes ``minReplicas`` into the Deployment and enforces
it; the plan alone decides.
``hpa``: a HorizontalPodAutoscaler moves within a band.
``keda``: KEDA does, by the arrivals at the gateway, and a stage may rest without a replica.
``external``: KServe leaves the Deployment's replicas alone. penstock writes them through its scale
subresource (``serving.scale``), and any other autoscaler may move them within the band.

The class is copied to the pods, so it is set when a service is created; changing it later rolls
them, and some changes leave two autoscalers on one Deployment: see :func:`class_change_fault`.
A plan that was made from a forecast with quantiles brings the band along. KEDA's begins at the plan
all the same: a trigger that reads nothing, which KEDA takes for zero, scales in to the plan and
never below it. An HPA without a metric stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from penstock.domain import Option, Pipeline, Stage
from penstock.load_metric import arrivals_query

if TYPE_CHECKING:
    from serving.settings import RenderSettings

AUTOSCALER_CLASS = "serving.kserve.io/autoscalerClass"
DEFAULT_CLASS = "hpa"
"""What KServe takes when a service does not say."""

BAND_FIELDS = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "autoScaling")
"""Fields of ``spec.predictor`` that set, bound or move replicas; KServe keeps them out of pods."""


KEDA_POLL_S = 30.0
"""How often KEDA asks when nobody says otherwise, and KServe does not let one; a shorter range in
the query would leave out what happens in between."""


class Autoscaling(StrEnum):
    """The ways to own replicas that penstock renders."""

    FIXED = "fixed"
    HPA = "hpa"
    KEDA = "keda"
    EXTERNAL = "external"

    @classmethod
    def _missing_(cls, value: object) -> Autoscaling | None:
        """Read the older spelling: KServe's own word for replicas that nobody moves."""
        return cls.FIXED if value == "none" else None

    @property
    def kserve_class(self) -> str:
        """What KServe calls it in the annotation ``serving.kserve.io/autoscalerClass``."""
        return "none" if self is Autoscaling.FIXED else self.value


def replica_fields(
    pipeline: Pipeline, stage: Stage, option: Option, settings: RenderSettings
) -> dict[str, Any]:
    """Return the fields of ``spec.predictor`` that set, bound or move the replicas."""
    match settings.autoscaling:
        case Autoscaling.FIXED:
            return {"minReplicas": option.replicas}
        case Autoscaling.EXTERNAL:
            return {}
    lowest, highest = band(stage, option, settings)
    bounds = {"minReplicas": lowest, "maxReplicas": highest}
    if settings.autoscaling is Autoscaling.HPA:
        return {**bounds, "scaleMetric": "cpu", "scaleTarget": settings.hpa_cpu_percent}
    return {**bounds, "autoScaling": {"metrics": [_arrivals_trigger(pipeline, option, settings)]}}


def band(stage: Stage, option: Option, settings: RenderSettings) -> tuple[int, int]:
    """Return the fewest and the most replicas that an autoscaler may choose.

    The plan's own band, where it has one; with ``keda`` from the plan's replicas on. Otherwise
    from the plan's to ``settings.band`` times as many, but never beyond the stage's
    ``max_replicas``. Only a stage that may have no replica at all gets a band from 0, and not with
    ``hpa``, which needs one to measure.
    """
    fewest = 1 if settings.autoscaling is Autoscaling.HPA else min(1, stage.min_replicas)
    if option.band is not None:
        low, high = option.band
        low = option.replicas if settings.autoscaling is Autoscaling.KEDA else low
        return max(fewest, low), max(fewest, high)
    lowest = max(fewest, option.replicas)
    highest = min(stage.max_replicas, math.ceil(max(1, lowest) * settings.band))
    return lowest, max(lowest, highest)


def class_of(service: Mapping[str, Any]) -> str:
    """Return the autoscaler class of an InferenceService, KServe's default if it has none."""
    annotations = (service.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(AUTOSCALER_CLASS) or DEFAULT_CLASS)


def class_change_fault(name: str, running: str, wanted: str) -> str:
    """Say why a running service's class can't be changed and what to do instead; empty if it can.

    ``none`` and ``external`` have no autoscaler that could be left over, and KServe removes its own
    HPA when they follow. But KEDA refuses a Deployment that still has an HPA (KServe issue 5196),
    and KServe v0.20 removes no ScaledObject when a class is no longer ``keda``: two would pull at
    the same replicas. To delete and create the service anew would leave its stage unserved.
    """
    left_over = running == "keda" or (running, wanted) == ("hpa", "keda")
    if running == wanted or not left_over:
        return ""
    asked = f"InferenceService {name} runs with autoscaler class {running}, asked for is {wanted}: "
    if running == "hpa":
        return (
            f"{asked}KEDA refuses a Deployment that still has an HPA; set "
            "PENSTOCK_AUTOSCALING=fixed until a tick has applied that, which removes the HPA, "
            "then keda"
        )
    return (
        f"{asked}KServe would leave KEDA's ScaledObject behind; go back to keda, or take it away "
        f"by hand: `kubectl annotate --overwrite inferenceservice {name} {AUTOSCALER_CLASS}=none` "
        f"and then `kubectl delete scaledobject {name}-predictor`"
    )


def _arrivals_trigger(
    pipeline: Pipeline, option: Option, settings: RenderSettings
) -> dict[str, Any]:
    """Return KEDA's trigger: the arrivals at the entry, over what one replica carries of them.

    KServe v0.20 hands ``target.value`` over as the trigger's threshold and no metric type, so KEDA
    asks for ``ceil(arrivals / threshold)`` replicas; ``Value`` is what KServe's webhook wants.
    """
    range_s = max(2 * pipeline.adaptation.step_s, KEDA_POLL_S)
    query = arrivals_query(pipeline.name, namespace=pipeline.namespace, range_s=range_s)
    carried_rps = _replica_rps(option) / (1 + pipeline.adaptation.headroom)
    return {
        "type": "External",
        "external": {
            "metric": {
                "backend": "prometheus",
                "serverAddress": settings.prometheus_url,
                "query": query,
            },
            "target": {"type": "Value", "value": _quantity(carried_rps)},
        },
    }


def _replica_rps(option: Option) -> float:
    """Return the load at the pipeline's entry [req/s] that one replica of the option carries.

    An option without a replica carries nothing and so does not tell. It then is taken for a batch
    per latency, which is less than the throughput: the latency has the waiting in it.
    """
    if option.replicas > 0:
        return option.capacity_rps / option.replicas
    return option.batch_size / option.latency_s


def _quantity(value: float) -> str:
    """Return a number as Kubernetes writes it: in thousandths, whole ones plain, at least one."""
    thousandths = max(1, math.floor(value * 1000 + 1e-6))
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"
