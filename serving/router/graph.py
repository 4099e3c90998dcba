"""An InferenceGraph manifest as values: nodes, steps, and all the faults at once.

Stricter than KServe's webhook: a cycle, a dangling node, a node without steps or a condition that
this router cannot evaluate is refused here, where KServe would fail with every request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from penstock.errors import ManifestError

ROOT = "root"
RESPONSE = "$response"
ALWAYS = "@this"
"""GJSON's path to the whole document: a condition that is always met."""
_PLAIN_PATH = re.compile(r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")


class RouterType(StrEnum):
    """How a node runs its steps."""

    SEQUENCE = "Sequence"
    SPLITTER = "Splitter"
    ENSEMBLE = "Ensemble"
    SWITCH = "Switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of a node: to another ``node``, a ``service`` or a ``url``; exactly one is set.

    ``condition`` is the path (keys and indices) that must exist, empty where any document will do.
    """

    name: str = ""
    node: str = ""
    service: str = ""
    url: str = ""
    takes_response: bool = False
    maps_predictions: bool = False
    hard: bool = False
    weight: int = 0
    condition: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A router of the graph and its steps in their order."""

    router: RouterType
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A graph without cycles or loose ends; ``nodes`` has ``root``.

    ``timeout_s`` bounds each call of a service; None takes the router's own bound.
    """

    nodes: Mapping[str, Node]
    timeout_s: float | None = None

    def services(self) -> tuple[str, ...]:
        """Return the names of the services it calls, each once, in the order of the nodes."""
        steps = (step for node in self.nodes.values() for step in node.steps)
        return tuple(dict.fromkeys(step.service for step in steps if step.service))


def read_graph(manifest: Mapping[str, Any]) -> Graph:
    """Read the nodes of an InferenceGraph.

    Raises:
        ManifestError: with every fault and its path.
    """
    spec = manifest.get("spec")
    nodes = spec.get("nodes") if isinstance(spec, Mapping) else None
    if not isinstance(spec, Mapping) or not isinstance(nodes, Mapping):
        raise ManifestError("spec.nodes: must be an object with a node named `root`")
    faults = [*_shape_faults(nodes)]
    if not faults:
        faults = [*_cycle_faults(nodes)]
    if faults:
        name = manifest.get("metadata", {}).get("name", "")
        text = "\n  ".join(faults)
        raise ManifestError(f"InferenceGraph {name!r} cannot be executed:\n  {text}")
    return Graph(
        nodes={name: _node(node) for name, node in nodes.items()}, timeout_s=_timeout_s(spec)
    )


def _timeout_s(spec: Mapping[str, Any]) -> float | None:
    timeouts = spec.get("routerTimeouts")
    seconds = timeouts.get("serviceClient") if isinstance(timeouts, Mapping) else None
    if seconds is None:
        return None
    if type(seconds) is not int or seconds < 1:
        raise ManifestError(f"spec.routerTimeouts.serviceClient: must be from 1, got {seconds!r}")
    return float(seconds)


def _shape_faults(nodes: Mapping[str, Any]) -> Iterator[str]:
    if ROOT not in nodes:
        yield f"spec.nodes: has no `root`, only {sorted(nodes)}"
    for name, node in nodes.items():
        path = f"spec.nodes.{name}"
        if not isinstance(node, Mapping) or node.get("routerType") not in [*RouterType]:
            yield f"{path}.routerType: must be one of {', '.join(RouterType)}"
            continue
        steps = node.get("steps")
        if not isinstance(steps, list) or not steps:
            yield f"{path}.steps: must be a list of at least one step"
            continue
        for index, step in enumerate(steps):
            yield from _step_faults(step, f"{path}.steps[{index}]", node["routerType"], nodes)
        if node["routerType"] == RouterType.SPLITTER and _weights(steps) != 100:
            yield f"{path}.steps: weights must add up to 100, got {_weights(steps)}"


def _step_faults(step: Any, path: str, router: str, nodes: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(step, Mapping):
        yield f"{path}: must be an object"
        return
    targets = [key for key in ("nodeName", "serviceName", "serviceUrl") if step.get(key)]
    if len(targets) != 1:
        yield f"{path}: must have exactly one of nodeName, serviceName, serviceUrl; has {targets}"
    if not all(isinstance(step[key], str) for key in targets):
        yield f"{path}: {', '.join(targets)} must be a text"
        return
    node = step.get("nodeName")
    if node and node not in nodes:
        yield f"{path}.nodeName: there is no node {node!r}"
    if step.get("dependency") not in (None, "Soft", "Hard"):
        yield f"{path}.dependency: must be Soft or Hard"
    condition = step.get("condition")
    if condition and condition != ALWAYS and not _is_plain(condition):
        yield f"{path}.condition: {condition!r} is more than a plain path like predictions.0.label"
    if router == RouterType.SWITCH and not condition:
        yield f"{path}.condition: is missing, the step could never match"
    if condition and router == RouterType.SEQUENCE and path.endswith("steps[0]"):
        yield f"{path}.condition: the first step has no response that could meet it"
    weight = step.get("weight")
    if router == RouterType.SPLITTER and (type(weight) is not int or weight < 0):
        yield f"{path}.weight: must be a whole percentage from 0, got {weight!r}"


def _is_plain(condition: object) -> bool:
    return isinstance(condition, str) and _PLAIN_PATH.match(condition) is not None


def _weights(steps: list[Any]) -> int:
    weights = (step.get("weight") for step in steps if isinstance(step, Mapping))
    return sum(weight for weight in weights if type(weight) is int)


def _cycle_faults(nodes: Mapping[str, Any]) -> Iterator[str]:
    children = {
        name: [step["nodeName"] for step in node["steps"] if step.get("nodeName")]
        for name, node in nodes.items()
    }
    open_names = dict(children)
    while leaves := [n for n, c in open_names.items() if not any(x in open_names for x in c)]:
        for leaf in leaves:
            del open_names[leaf]
    if open_names:
        yield f"spec.nodes: {', '.join(sorted(open_names))} form or reach a cycle"


def _node(node: Mapping[str, Any]) -> Node:
    steps = tuple(_step(step) for step in node["steps"])
    return Node(router=RouterType(node["routerType"]), steps=steps)


def _step(step: Mapping[str, Any]) -> Step:
    condition = step.get("condition") or ""
    return Step(
        name=step.get("name") or "",
        node=step.get("nodeName") or "",
        service=step.get("serviceName") or "",
        url=step.get("serviceUrl") or "",
        takes_response=step.get("data") == RESPONSE,
        maps_predictions=bool(step.get("mapPredictionsToInstances")),
        hard=step.get("dependency") == "Hard",
        weight=step.get("weight") or 0,
        condition=() if condition in ("", ALWAYS) else tuple(condition.split(".")),
    )
