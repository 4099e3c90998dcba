"""The replicas that penstock writes itself, where KServe's class ``external`` leaves them alone.

They go through the ``scale`` subresource of the Deployment that KServe made: a right to write that
is no right to choose what a pod runs, as one to patch Deployments would be. They are no part of a
rendered tree, which would create a Deployment of its own: only an apply follows them.

A ``Scale`` that is wanted has the plan's replicas, and between how many another autoscaler may move
in annotations that are never sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.domain import Pipeline, Plan
from serving.autoscale import Autoscaling, band
from serving.manifest import Key, Manifest, key_of
from serving.names import service_name
from serving.settings import RenderSettings

SCALE = "Scale"
AT_MOST = "penstock.dev/max-replicas"
AT_LEAST = "penstock.dev/min-replicas"


def deployment_of_service(service: str) -> str:
    """Return the name of the Deployment that KServe keeps for an InferenceService."""
    return f"{service}-predictor"


def scales(pipeline: Pipeline, plan: Plan, settings: RenderSettings) -> tuple[Manifest, ...]:
    """Return the replicas that penstock has to write itself: none unless scaling is external."""
    if settings.autoscaling is not Autoscaling.EXTERNAL:
        return ()
    found = []
    for option in plan.stages:
        lowest, highest = band(pipeline.stage(option.stage), option, settings)
        service = service_name(pipeline.name, option.stage, option.variant)
        metadata = {
            "name": deployment_of_service(service),
            "namespace": pipeline.namespace,
            "annotations": {AT_LEAST: str(lowest), AT_MOST: str(highest)},
        }
        found.append(
            {
                "apiVersion": "autoscaling/v1",
                "kind": SCALE,
                "metadata": metadata,
                "spec": {"replicas": max(lowest, option.replicas)},
            }
        )
    return tuple(found)


def replicas_of(scale: Mapping[str, Any]) -> int:
    """Return the replicas that a Scale asks for; the server leaves a 0 out."""
    return int((scale.get("spec") or {}).get("replicas") or 0)


def most_of(scale: Mapping[str, Any]) -> int:
    """Return how many replicas another autoscaler may go up to."""
    annotations = scale["metadata"].get("annotations") or {}
    return max(replicas_of(scale), int(annotations.get(AT_MOST, 0)))


def least_of(scale: Mapping[str, Any]) -> int:
    """Return how many replicas another autoscaler may go down to."""
    annotations = scale["metadata"].get("annotations") or {}
    return min(replicas_of(scale), int(annotations.get(AT_LEAST, replicas_of(scale))))


def is_in_band(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether the live replicas are what may be: the plan's, or what another chose around them."""
    return least_of(wanted) <= replicas_of(live) <= most_of(wanted)


def following(
    wanted: Sequence[Manifest], live: Sequence[Manifest], before: Sequence[Manifest]
) -> tuple[Manifest, ...]:
    """Return ``wanted`` without a band for Deployments that stand where penstock last put them.

    Those follow the plan down as well as up, and so do new ones. One that another autoscaler has
    moved meanwhile keeps its band. ``before`` is what was last applied whole; where that is not
    known, the plan's replicas are the only ones that are safe to take.
    """
    there = {key_of(m): m for m in live if m["kind"] == SCALE}
    put = {key_of(m): replicas_of(m) for m in before if m["kind"] == SCALE}
    return tuple(
        _without_band(m) if m["kind"] == SCALE and _stands(key_of(m), there, put) else m
        for m in wanted
    )


def _stands(key: Key, there: Mapping[Key, Manifest], put: Mapping[Key, int]) -> bool:
    return key not in there or key not in put or put[key] == replicas_of(there[key])


def _without_band(scale: Manifest) -> Manifest:
    metadata = {k: v for k, v in scale["metadata"].items() if k != "annotations"}
    return {**scale, "metadata": metadata}
