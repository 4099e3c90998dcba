"""What a pipeline's tick may do on a cluster: its service account, Role and RoleBinding.

Each pipeline has its own, because the names of all its objects follow from its document: bounded by
them, a tick can't touch another pipeline's services, nor read another ConfigMap. Two verbs have no
name to be bounded by, ``create`` and ``list``; they hold for the namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from penstock.domain import Pipeline
from serving.cluster.rollout import deployment_name
from serving.manifest import Manifest
from serving.names import TICK, batching_name, pod_labels, service_name, state_name, tick_account

KSERVE = "serving.kserve.io"
RBAC = "rbac.authorization.k8s.io"


def tick_rights(pipeline: Pipeline, *, argo: bool, scales: bool = False) -> tuple[Manifest, ...]:
    """Return the tick's service account, its Role and what binds them.

    ``argo`` adds what Argo's own container in the tick's pod needs to report the result; ``scales``
    what the tick needs to write replicas itself, under autoscaling ``external``.
    """
    name = tick_account(pipeline.name)
    metadata = {
        "name": name,
        "namespace": pipeline.namespace,
        "labels": pod_labels(pipeline.name, TICK),
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata,
    }
    role = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": [
            *_rules(pipeline),
            *(_scales(pipeline) if scales else ()),
            *(_argo() if argo else ()),
        ],
    }
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": pipeline.namespace}],
    }
    return account, role, binding


def _rules(pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    services = _services(pipeline)
    graph, state, batching = pipeline.name, state_name(pipeline.name), batching_name(pipeline.name)
    workloads = [*_predictors(pipeline), str(deployment_name("InferenceGraph", graph))]
    yield _rule("", "configmaps", ["create", "list"])
    yield _rule("", "configmaps", ["get", "update"], [state])
    yield _rule("", "configmaps", ["delete", "patch"], [batching])
    yield _rule("", "events", ["create"])
    yield _rule("apps", "deployments", ["get"], workloads)
    yield _rule(KSERVE, "inferenceservices", ["create", "list"])
    yield _rule(KSERVE, "inferenceservices", ["delete", "get", "patch"], services)
    yield _rule(KSERVE, "inferencegraphs", ["create", "list"])
    yield _rule(KSERVE, "inferencegraphs", ["delete", "get", "patch"], [graph])
    yield _rule("policy", "poddisruptionbudgets", ["create", "list"])
    yield _rule("policy", "poddisruptionbudgets", ["delete", "patch"], [*services, graph])


def _scales(pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    yield _rule("apps", "deployments/scale", ["get", "patch"], _predictors(pipeline))


def _services(pipeline: Pipeline) -> list[str]:
    return [
        service_name(pipeline.name, stage.name, variant.name)
        for stage in pipeline.stages
        for variant in stage.variants
    ]


def _predictors(pipeline: Pipeline) -> list[str]:
    return [str(deployment_name("InferenceService", name)) for name in _services(pipeline)]


def _argo() -> Iterator[dict[str, Any]]:
    yield _rule("argoproj.io", "workflowtaskresults", ["create", "patch"])


def _rule(
    group: str, plural: str, verbs: Sequence[str], names: Sequence[str] = ()
) -> dict[str, Any]:
    rule = {"apiGroups": [group], "resources": [plural], "verbs": list(verbs)}
    return {**rule, "resourceNames": sorted(names)} if names else rule
