"""The InferenceGraph of a plan, whose steps name the running services.

Any change of its spec restarts KServe's router, so it holds nothing that changes between two
switches of a variant: no replicas, no batch sizes.
"""

from __future__ import annotations

from typing import Any

from penstock.domain import Node, NodeKind, Pipeline, Plan, Step
from penstock.graph import ROOT, Place, node_names, nodes_of, paths
from serving.manifest import Manifest
from serving.names import pipeline_labels, service_name
from serving.router.graph import ALWAYS
from serving.services import DEPLOYMENT_MODE
from serving.settings import RenderSettings

PREVIOUS_ANSWER = "$response"  # the only text in a step's data that KServe's router acts upon


def inference_graph(pipeline: Pipeline, plan: Plan, settings: RenderSettings) -> Manifest:
    """Return the graph whose steps are the plan's services; every node below the root is named.

    The mode is said on the object, because no webhook of KServe fills it in for graphs. The
    router's own timeouts follow from the SLO: its default is to wait for ever on a step and to
    drop the client's connection after 60 s.
    """
    timeout_s = settings.router_timeout_s(pipeline.slo.latency_s)
    services = {
        option.stage: service_name(pipeline.name, option.stage, option.variant)
        for option in plan.stages
    }
    longest = max(len(path) for path in paths(pipeline.shape))
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
            "nodes": _nodes(pipeline.shape, services),
            "routerTimeouts": {
                "serverRead": timeout_s,
                # One second more than all steps may take, so that the router's error reaches the
                # client instead of a closed connection.
                "serverWrite": timeout_s * longest + 1,
                "serviceClient": timeout_s,
            },
        },
    }


def _nodes(graph: Node, services: dict[str, str]) -> dict[str, Any]:
    names = node_names(graph)
    assert names[()] == ROOT, "KServe looks for it by this name"
    return {
        names[place]: {
            "routerType": str(node.kind),
            "steps": [
                _step(node, i, _target(step, (*place, i), names, services))
                for i, step in enumerate(node.steps)
            ],
        }
        for place, node in nodes_of(graph)
    }


def _target(
    step: Step, place: Place, names: dict[Place, str], services: dict[str, str]
) -> dict[str, Any]:
    if isinstance(step.to, str):
        return {"name": step.to, "serviceName": services[step.to]}
    return {"name": names[place], "nodeName": names[place]}


def _step(node: Node, i: int, target: dict[str, Any]) -> dict[str, Any]:
    # A Soft step would hand its error to the next stage as if it were an input.
    step = {**target, "dependency": "Hard"}
    if node.kind is NodeKind.SEQUENCE and i:
        step["data"] = PREVIOUS_ANSWER
    if node.kind is NodeKind.SWITCH:
        step["condition"] = node.steps[i].condition or ALWAYS
    if node.kind is NodeKind.SPLITTER:
        step["weight"] = node.steps[i].weight
    return step
