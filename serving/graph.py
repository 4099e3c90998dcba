"""The InferenceGraph of a plan: one Sequence whose steps name the running services.

Any change of its spec restarts KServe's router, so it holds nothing that changes between two
switches of a variant: no replicas, no batch sizes.
"""

from __future__ import annotations

from typing import Any

from penstock.domain import Option, Pipeline, Plan
from serving.manifest import Manifest
from serving.names import pipeline_labels, service_name
from serving.services import DEPLOYMENT_MODE
from serving.settings import RenderSettings

PREVIOUS_ANSWER = "$response"  # the only text in a step's data that KServe's router acts upon


def inference_graph(pipeline: Pipeline, plan: Plan, settings: RenderSettings) -> Manifest:
    """Return the graph whose steps are the plan's services, in stage order.

    The mode is said on the object, because no webhook of KServe fills it in for graphs. The
    router's own timeouts follow from the SLO: its default is to wait for ever on a step and to
    drop the client's connection after 60 s.
    """
    timeout_s = settings.router_timeout_s(pipeline.slo.latency_s)
    steps = [_step(pipeline, option, first=i == 0) for i, option in enumerate(plan.stages)]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {
            "name": pipeline.name,
            "namespace": pipeline.namespace,
            "labels": pipeline_labels(pipeline.name),
            "annotations": {DEPLOYMENT_MODE: "Standard"},
        },
        "spec": {
            "nodes": {"root": {"routerType": "Sequence", "steps": steps}},
            "routerTimeouts": {
                "serverRead": timeout_s,
                # One second more than all steps may take, so that the router's error reaches the
                # client instead of a closed connection.
                "serverWrite": timeout_s * len(steps) + 1,
                "serviceClient": timeout_s,
            },
        },
    }


def _step(pipeline: Pipeline, option: Option, *, first: bool) -> dict[str, Any]:
    step = {
        "name": option.stage,
        "serviceName": service_name(pipeline.name, option.stage, option.variant),
        # A Soft step would hand its error to the next stage as if it were an input.
        "dependency": "Hard",
    }
    return step if first else {**step, "data": PREVIOUS_ANSWER}
