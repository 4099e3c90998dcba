"""From a plan to the manifests that serve it; the same plan gives the same bytes."""

from __future__ import annotations

from penstock.domain import Pipeline, Plan
from penstock.errors import ManifestError
from serving.disruption import disruption_budgets
from serving.graph import inference_graph
from serving.manifest import Manifest, to_yaml, write_tree
from serving.names import check_names
from serving.scale import scales
from serving.services import batching, inference_service
from serving.settings import RenderSettings

__all__ = ["Manifest", "RenderSettings", "render", "to_apply", "to_yaml", "write_tree"]


def render(pipeline: Pipeline, plan: Plan, settings: RenderSettings) -> tuple[Manifest, ...]:
    """Return the batching ConfigMap, the disruption budgets, the services, and the graph.

    That is a tree which GitOps may own: see :func:`to_apply` for what goes beyond it.

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
    budgets = disruption_budgets(pipeline, plan)
    return (batching(pipeline, plan), *budgets, *services, graph)


def to_apply(pipeline: Pipeline, plan: Plan, settings: RenderSettings) -> tuple[Manifest, ...]:
    """Return what an apply brings about: what is rendered, and replicas that KServe leaves alone.

    Raises:
        ManifestError, DomainError: as :func:`render`.
    """
    return (*render(pipeline, plan, settings), *scales(pipeline, plan, settings))
