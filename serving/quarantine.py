"""What is not tried again for a while because it did not come up."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace

from penstock.domain import Pipeline
from serving.autoscale import BAND_FIELDS
from serving.manifest import Manifest, key_of
from serving.names import service_name


def offered(
    pipeline: Pipeline, quarantined: Collection[str], running: Collection[str] = ()
) -> Pipeline:
    """Return the pipeline without the variants whose service is quarantined.

    A variant that runs stays on offer, and so does a stage's whole choice when nothing would be
    left of it: a plan that may fail is better than none. ``running`` holds names of services.
    """
    stages = []
    for stage in pipeline.stages:
        names = {v.name: service_name(pipeline.name, stage.name, v.name) for v in stage.variants}
        kept = tuple(
            v
            for v in stage.variants
            if names[v.name] not in quarantined or names[v.name] in running
        )
        stages.append(replace(stage, variants=kept or stage.variants))
    return replace(pipeline, stages=tuple(stages))


def held_back(
    manifests: Sequence[Manifest], live: Sequence[Manifest], quarantined: Collection[str]
) -> tuple[Manifest, ...]:
    """Return the manifests with the pods of quarantined services left as they run.

    Their replicas still follow the plan. It keeps a change that broke a running service, such as an
    image that can't be pulled, from being rolled out again by every tick.
    """
    there = {key_of(m): m for m in live}
    return tuple(
        _as_it_runs(m, there.get(key_of(m)))
        if m["kind"] == "InferenceService" and m["metadata"]["name"] in quarantined
        else m
        for m in manifests
    )


def _as_it_runs(manifest: Manifest, live: Manifest | None) -> Manifest:
    if live is None:
        return manifest
    predictor = manifest["spec"]["predictor"]
    replicas = {k: v for k, v in predictor.items() if k in BAND_FIELDS}
    kept = copy.deepcopy(live["spec"]["predictor"])
    return {**manifest, "spec": {"predictor": {**kept, **replicas}}}
