"""What an apply is given: what is to run, with what to bring it there, how long that may take."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from penstock.clock import Clock
from serving.autoscale import Autoscaling, class_of
from serving.cluster import Cluster
from serving.disruption import BUDGET
from serving.manifest import Manifest
from serving.names import pipeline_labels
from serving.scale import SCALE, deployment_of_service

KINDS = ("ConfigMap", BUDGET, "InferenceService", "InferenceGraph")
"""The kinds that a plan is rendered to."""

Progress = Callable[[str], None]
"""Is told in one line what happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things may take [s].

    ``ready_timeout_s`` bounds each wait for a rollout, ``settle_s`` is the drain between the
    graph's rollout and the first service that is retired (spent only if there is one). A switch
    without a sign of life for ``lease_s`` may be taken over. What did not come up is not tried
    again for ``quarantine_s``. After ``patience_s`` of waiting a tick leaves the rest to the next.
    """

    ready_timeout_s: float = 120.0
    settle_s: float = 0.0
    lease_s: float = 30.0
    quarantine_s: float = 600.0
    patience_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to run: a plan as JSON text, and what it was rendered to."""

    plan: str
    manifests: tuple[Manifest, ...]
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", digest_of(self.manifests))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What an apply works with."""

    cluster: Cluster
    clock: Clock
    pace: Pace = field(default_factory=Pace)
    on_progress: Progress = lambda line: None


def digest_of(manifests: Sequence[Manifest]) -> str:
    """Return what tells one rendering from another."""
    return hashlib.sha256(json.dumps(list(manifests), sort_keys=True).encode()).hexdigest()[:16]


def live_objects(cluster: Cluster, pipeline: str, namespace: str) -> tuple[Manifest, ...]:
    """Return what a cluster has of a pipeline, with the replicas that penstock writes itself."""
    labels = pipeline_labels(pipeline)
    found = [one for kind in KINDS for one in cluster.list(kind, namespace, labels)]
    ours = [
        cluster.get(SCALE, namespace, deployment_of_service(one["metadata"]["name"]))
        for one in found
        if one["kind"] == "InferenceService" and class_of(one) == Autoscaling.EXTERNAL
    ]
    return (*found, *(scale for scale in ours if scale is not None))
