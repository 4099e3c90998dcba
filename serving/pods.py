"""What the pods that answer requests have in common: the predictors' and the gateway's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def container_security() -> dict[str, Any]:
    """Return what a container may do: no more than the PodSecurity standard ``restricted`` lets."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }


def replaced_first() -> dict[str, Any]:
    """Return the rollout in which no pod goes before its successor is ready."""
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def spread_over_nodes(labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the wish for one node per pod; a cluster with fewer nodes still runs them all."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(labels)},
    }
