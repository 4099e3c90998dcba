"""Taking a pipeline away from a cluster: its tick first, or it would make the rest anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from penstock.domain import Pipeline
from penstock.errors import NotFoundError
from serving.apply import KINDS
from serving.manifest import Key, Manifest, key_of
from serving.names import ROLE, TICK, pipeline_labels

if TYPE_CHECKING:
    from serving.cluster import Cluster

_DEPLOYED = (
    *("CronWorkflow", "Deployment", "Service", "PodDisruptionBudget"),
    *("RoleBinding", "Role", "ServiceAccount"),
)
"""Kinds of what `penstock deployment` writes. KServe gives what it makes of an InferenceService the
labels of that service: of these kinds, only what has a role of ours is ours."""
_ORDER = ("RoleBinding", "Deployment", "InferenceGraph", "InferenceService")
"""A tick that still runs loses its rights at once. A router that names a service that is gone would
answer 500: it goes before."""


def remove(cluster: Cluster, pipeline: Pipeline) -> Iterator[Key]:
    """Delete what was deployed for a pipeline and what its ticks made; yield each object deleted.

    Killed in between, it may be done again.

    Raises:
        UserError: the account may not list or delete something.
        UnreachableError: the cluster does not answer.
    """
    found = [
        *(m for kind in KINDS for m in _of_kind(cluster, pipeline, kind)),
        *(m for kind in _DEPLOYED for m in _of_kind(cluster, pipeline, kind) if _role(m)),
    ]
    unique = {key_of(one): one for one in found}
    for key in sorted(unique, key=lambda key: _rank(key, unique[key])):
        if cluster.delete(*key):
            yield key


def _of_kind(cluster: Cluster, pipeline: Pipeline, kind: str) -> tuple[Manifest, ...]:
    try:
        return cluster.list(kind, pipeline.namespace, pipeline_labels(pipeline.name))
    except NotFoundError:  # the kind is not installed: a watching tick needs no Argo
        return ()


def _rank(key: Key, manifest: Manifest) -> tuple[bool, int, Key]:
    kind = key[0]
    order = _ORDER.index(kind) if kind in _ORDER else len(_ORDER)
    ticks = _role(manifest) == TICK and kind in ("CronWorkflow", "Deployment")
    return (not ticks, order, key)


def _role(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(ROLE, ""))
