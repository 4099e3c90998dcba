"""How the objects of a pipeline are called, and which names a cluster would not take.

The lengths follow from the host names that KServe builds: ``<graph>-<namespace>`` and
``<service>-predictor-<namespace>`` are one DNS label each, of at most 63 characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.domain import Pipeline
from penstock.errors import ManifestError

MANAGED_BY = "app.kubernetes.io/managed-by"
PART_OF = "app.kubernetes.io/part-of"
STAGE = "penstock.dev/stage"
VARIANT = "penstock.dev/variant"
ROLE = "penstock.dev/role"
OURS = "penstock"
SERVICE_POD = "serving.kserve.io/inferenceservice"
"""The label by which KServe's pods name their InferenceService."""
GATEWAY, TICK, CONFIG = "gateway", "tick", "config"
"""Roles: network policies and Prometheus tell pods apart by this label; what a plan is rendered to
has none."""

MAX_LABEL = 63
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_PREDICTOR = "-predictor"


def service_name(pipeline: str, stage: str, variant: str) -> str:
    """Return the name of the InferenceService that runs a stage's variant."""
    return f"{pipeline}-{stage}-{variant}"


def batching_name(pipeline: str) -> str:
    """Return the name of the ConfigMap with the batching limits."""
    return f"{pipeline}-batching"


def state_name(pipeline: str) -> str:
    """Return the name of the ConfigMap with the running plan and the last decisions."""
    return f"penstock-{pipeline}"


def batch_key(stage: str, variant: str) -> str:
    """Return the key, and so the file name, of a variant's batching limits."""
    return f"{stage}-{variant}.json"


def pipeline_labels(pipeline: str) -> dict[str, str]:
    """Return the labels that every object of a pipeline carries, and that find them again."""
    return {MANAGED_BY: OURS, PART_OF: pipeline}


def pod_labels(pipeline: str, role: str) -> dict[str, str]:
    """Return the labels of a pipeline's pods of one role."""
    return {**pipeline_labels(pipeline), ROLE: role}


def gateway_name(pipeline: str) -> str:
    """Return the name of the Deployment and Service in front of the graph."""
    return f"penstock-gateway-{pipeline}"


def tick_account(pipeline: str) -> str:
    """Return the name of the service account, Role and RoleBinding of a pipeline's tick."""
    return f"penstock-tick-{pipeline}"


def check_names(pipeline: Pipeline) -> None:
    """Refuse a pipeline whose objects could not be created.

    Raises:
        ManifestError: all faults at once, each with the name, what is wrong and what to try.
    """
    faults = tuple(_faults(pipeline))
    if faults:
        raise ManifestError(
            "\n".join(
                [f"pipeline {pipeline.name!r} can't be rendered:", *(f"  {f}" for f in faults)]
            )
        )


def service_length_fault(name: str, namespace: str) -> str | None:
    """Say what is wrong with the length of a service's host name, or ``None``."""
    return _length_fault(name, f"{name}{_PREDICTOR}-{namespace}")


def graph_length_fault(name: str, namespace: str) -> str | None:
    """Say what is wrong with the length of a graph's host name, or ``None``."""
    return _length_fault(name, f"{name}-{namespace}")


def _faults(pipeline: Pipeline) -> Iterator[str]:
    graph = pipeline.name
    if not NAME.fullmatch(graph):
        yield f"name {graph!r}: {_CHARACTERS}"
    fault = graph_length_fault(graph, pipeline.namespace)
    if fault:
        yield f"graph {fault}"
    owners: dict[str, str] = {}
    for stage in pipeline.stages:
        for variant in stage.variants:
            where = f"stages[{stage.name}].variants[{variant.name}]"
            name = service_name(graph, stage.name, variant.name)
            yield from _service_faults(where, name, pipeline.namespace)
            if name in owners:
                yield f"{where}: service {name!r} is also the name for {owners[name]}; rename one"
            owners.setdefault(name, where)


def _service_faults(where: str, name: str, namespace: str) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{where}: service name {name!r}: {_CHARACTERS}"
    fault = service_length_fault(name, namespace)
    if fault:
        yield f"{where}: service {fault}"


def _length_fault(name: str, label: str) -> str | None:
    if len(label) <= MAX_LABEL:
        return None
    return (
        f"{name!r} makes the host name {label!r} of {len(label)} characters; "
        f"at most {MAX_LABEL} are allowed: shorten a name by {len(label) - MAX_LABEL}"
    )


_CHARACTERS = (
    "only lower case letters, digits and '-' are allowed, starting with a letter and "
    "ending with a letter or digit"
)
