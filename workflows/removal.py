"""Taking a pipeline away from a cluster: what its ticks made, the graph first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from penstock.domain import Pipeline
from serving.apply import live_objects
from serving.manifest import Key, key_of
from serving.names import CONFIG, GATEWAY, ROLE, TICK

if TYPE_CHECKING:
    from serving.cluster import Cluster

_ORDER = ("InferenceGraph", "InferenceService")
"""A router that names a service that is gone answers 500; one that is gone itself, nothing."""
_DEPLOYED = (CONFIG, GATEWAY, TICK)


def remove(cluster: Cluster, pipeline: Pipeline) -> Iterator[Key]:
    """Delete what the pipeline's ticks made, its state last; yield each object that was there.

    What was deployed with the tree (configuration, gateway, the tick itself) is left to who applied
    it. Killed in between, it may be done again.

    Raises:
        UserError: the account may not delete something.
        UnreachableError: the cluster does not answer.
    """
    found = [
        key_of(one)
        for one in live_objects(cluster, pipeline.name, pipeline.namespace)
        if (one["metadata"].get("labels") or {}).get(ROLE) not in _DEPLOYED
    ]
    for key in sorted(found, key=_rank):
        if cluster.delete(*key):
            yield key


def _rank(key: Key) -> tuple[int, str]:
    return (_ORDER.index(key[0]) if key[0] in _ORDER else len(_ORDER), key[2])
