"""From a plan to the manifests that serve it; the same plan gives the same bytes."""

from __future__ import annotations

from penstock.domain import Pipeline, Plan
from penstock.errors import ManifestError
from serving.graph import inference_graph
from serving.manifest import Manifest, to_yaml, write_tree
from serving.names import check_names
from serving.services import batching, inference_service
from serving.settings import RenderSettings

__all__ = ["Manifest", "RenderSettings", "render", "to_yaml", "write_tree"]


def render(pipeline: Pipeline, plan: Plan, settings: RenderSettings) -> tuple[Manifest, ...]:
    """Return the batching ConfigMap, one InferenceService per stage, and the InferenceGraph.

    Raises:
        ManifestError: the plan is not one for this pipeline, or a name is too long or malformed.
        DomainError: the plan names a variant the pipeline does not have.
    """
    asked = [s.name for s in pipeline.stages]
    found = [o.stage for o in plan.stages]
    if plan.pipeline != pipeline.name or found != asked:
        raise ManifestError(
            f"asked to render pipeline {pipeline.name!r} with stages {asked}, but the plan is for "
            f"{plan.pipeline!r} with stages {found}; make a new plan"
        )
    check_names(pipeline)
    services = tuple(
        inference_service(pipeline, pipeline.stage(o.stage), o, settings) for o in plan.stages
    )
    graph = inference_graph(pipeline, plan, settings)
    return (batching(pipeline, plan), *services, graph)
