"""How many pods of a service may be taken away at a time on purpose, as when a node is drained.

At most one. ``minAvailable: 1`` would say the same of two replicas, but of one it says that it may
never be moved, and a drain would wait for ever; a bound that follows the replicas would be one more
object to keep in step. A pod that is not healthy may always go: it serves nobody, and would
otherwise use up the one that is allowed.

The selectors are labels that KServe v0.20 puts on the pods, not those of this project: they never
change while the object lives.
"""

from __future__ import annotations

from penstock.domain import Pipeline, Plan
from serving.manifest import Manifest
from serving.names import SERVICE_POD, pipeline_labels, service_name

BUDGET = "PodDisruptionBudget"
_ROUTER_POD = "serving.kserve.io/inferencegraph"


def disruption_budgets(pipeline: Pipeline, plan: Plan) -> tuple[Manifest, ...]:
    """Return one budget for each running service, and one for the graph's router."""
    names = [service_name(pipeline.name, o.stage, o.variant) for o in plan.stages]
    return (
        *(_budget(pipeline, name, SERVICE_POD) for name in names),
        _budget(pipeline, pipeline.name, _ROUTER_POD),
    )


def _budget(pipeline: Pipeline, name: str, label: str) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": BUDGET,
        "metadata": {
            "name": name,
            "namespace": pipeline.namespace,
            "labels": pipeline_labels(pipeline.name),
        },
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {label: name}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
