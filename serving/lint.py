"""What KServe's webhook would refuse in a manifest, and what it lets through and should not.

The first part repeats the validation of KServe v0.20.0 in its order and its words. The second part
are faults that the webhook accepts and that a request then pays for: a cycle kills the router, an
empty node drops the connection, a step that names no node answers 500.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from serving.autoscale import AUTOSCALER_CLASS, class_of
from serving.manifest import key_of
from serving.names import NAME, graph_length_fault, service_length_fault

_MAX_ARGUMENT_BYTES = 131_071  # of one argument on Linux; the router gets its graph in one
_TARGETS = ("nodeName", "serviceName", "serviceUrl")
_DATA = ("$response", "$request")
_CLASSES = ("hpa", "keda", "external", "none")
_CLASS_ANNOTATION = f"metadata.annotations[{AUTOSCALER_CLASS}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault: the object, the path in it, what is wrong, and whether KServe refuses it too."""

    object: str
    path: str
    message: str
    refused: bool = False

    def __str__(self) -> str:
        return f"{self.object}: {self.path}: {self.message}"


def lint(manifests: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Return everything found in the InferenceGraphs and InferenceServices among ``manifests``.

    Raises:
        ManifestError: a manifest has no kind or no name.
    """
    found: list[Finding] = []
    for manifest in manifests:
        kind, namespace, name = key_of(manifest)
        rules = _RULES.get(kind)
        if rules:
            subject = f"{kind} {namespace}/{name}"
            refusal = rules[0](name, manifest)
            if refusal:
                path, message = refusal
                found.append(Finding(object=subject, path=path, message=message, refused=True))
            found += [
                Finding(object=subject, path=path, message=message)
                for path, message in rules[1](namespace, manifest)
            ]
    return tuple(found)


Fault = tuple[str, str]


def _graph_refusal(name: str, graph: Mapping[str, Any]) -> Fault | None:
    """Return what KServe's webhook says about a graph, or ``None``: it stops at the first fault."""
    nodes = _nodes(graph)
    if not NAME.fullmatch(name):
        return "metadata.name", (
            f'The InferenceGraph "{name}" is invalid: a InferenceGraph name must consist of lower '
            "case alphanumeric characters or '-', and must start with alphabetical character. "
            '(e.g. "my-name" or "abc-123", regex used for validation is '
            "'[a-z]([-a-z0-9]*[a-z0-9])?')"
        )
    if "root" not in nodes:
        return "spec.nodes", (
            "root node not found, InferenceGraph needs a node with name 'root' as the root node "
            "of the graph"
        )
    checks = (_same_step_name, _targets, _weights)
    found = (check(name, node, nodes[node]) for check in checks for node in sorted(nodes))
    return next((f for f in found if f), None)


def _same_step_name(graph: str, node: str, router: Mapping[str, Any]) -> Fault | None:
    seen: set[str] = set()
    for i, step in enumerate(_steps(router)):
        name = step.get("name", "")
        if name and name in seen:
            message = (
                f'Node "{node}" of InferenceGraph "{graph}" contains more than one step with name '
                f'"{name}"'
            )
            return f"spec.nodes.{node}.steps[{i}].name", message
        seen.add(name)
    return None


def _targets(graph: str, node: str, router: Mapping[str, Any]) -> Fault | None:
    for i, step in enumerate(_steps(router)):
        count = sum(bool(step.get(t)) for t in _TARGETS)
        if count != 1:
            subject = (
                f'Step {i} ("{step.get("name", "")}") in node "{node}" of InferenceGraph "{graph}"'
            )
            message = (
                f"{subject} does not specify an inference target"
                if count == 0
                else f"{subject} specifies more than one of nodeName, serviceName, serviceUrl"
            )
            return f"spec.nodes.{node}.steps[{i}]", message
    return None


def _weights(graph: str, node: str, router: Mapping[str, Any]) -> Fault | None:
    if router.get("routerType") != "Splitter":
        return None
    total = 0
    for i, step in enumerate(_steps(router)):
        if step.get("weight") is None:
            route = step.get("serviceName", "")
            message = f"InferenceGraph[{graph}] Node[{node}] Route[{route}] missing the 'Weight'"
            return f"spec.nodes.{node}.steps[{i}].weight", message
        total += step["weight"]
    if total != 100:
        return f"spec.nodes.{node}.steps", (
            f"InferenceGraph[{graph}] Node[{node}] splitter node: the sum of traffic weights for "
            "all routing targets should be 100"
        )
    return None


def _graph_faults(namespace: str, graph: Mapping[str, Any]) -> Iterator[Fault]:
    nodes = _nodes(graph)
    fault = graph_length_fault(graph["metadata"]["name"], namespace)
    if fault:
        yield "metadata.name", fault
    for node in sorted(nodes):
        path = f"spec.nodes.{node}"
        if not _steps(nodes[node]):
            yield f"{path}.steps", "no step: the router drops the connection of every request"
        for i, step in enumerate(_steps(nodes[node])):
            kind = str(nodes[node].get("routerType"))
            yield from _step_faults(f"{path}.steps[{i}]", kind, step, first=i == 0)
            if step.get("nodeName") and step["nodeName"] not in nodes:
                there = ", ".join(sorted(nodes))
                yield (
                    f"{path}.steps[{i}].nodeName",
                    f"there is no node {step['nodeName']!r}, only {there}: every request would "
                    "end in 500",
                )
    yield from _cycles(nodes)
    yield from _bounds("spec", graph.get("spec") or {})
    size = _argument_bytes(graph)
    if size > _MAX_ARGUMENT_BYTES:
        yield "spec", f"{size} bytes; the router takes at most {_MAX_ARGUMENT_BYTES}"


def _argument_bytes(graph: Mapping[str, Any]) -> int:
    """Return about the size of the router's argument: the spec as JSON, services resolved to URLs.

    The URL is KServe's for the Open Inference Protocol: host name, model name.
    """
    namespace = graph["metadata"].get("namespace", "default")
    size = len(json.dumps(graph.get("spec"), separators=(",", ":")).encode())
    for router in _nodes(graph).values():
        for step in _steps(router):
            name = step.get("serviceName")
            if name:
                url = (
                    f"http://{name}-predictor.{namespace}.svc.cluster.local/v2/models/{name}/infer"
                )
                size += len(f',"serviceUrl":"{url}"'.encode())
    return size


def _step_faults(path: str, kind: str, step: Mapping[str, Any], *, first: bool) -> Iterator[Fault]:
    if kind == "Switch" and not step.get("condition"):
        yield f"{path}.condition", "missing: a step of a Switch without one is never taken"
    if kind == "Sequence" and first and step.get("condition"):
        yield f"{path}.condition", "the first step of a Sequence can't have one: always 500"
    if kind in ("Splitter", "Ensemble") and step.get("condition"):
        yield f"{path}.condition", f"ignored by a {kind}"
    data = step.get("data")
    if data is not None and data not in _DATA:
        yield f"{path}.data", f"{data!r} is taken as $request; write one of {', '.join(_DATA)}"
    if data == "$response" and (first or kind != "Sequence"):
        yield f"{path}.data", "there is no step before it whose answer it could take"
    weight = step.get("weight")
    if weight is not None and not 0 <= weight <= 100:
        yield f"{path}.weight", f"must lie in 0..100, got {weight}"


def _cycles(nodes: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield a fault for each step that leads back to a node it can be reached from."""
    leads_to = {
        name: [s["nodeName"] for s in _steps(nodes[name]) if s.get("nodeName") in nodes]
        for name in sorted(nodes)
    }
    for name, targets in leads_to.items():
        for target in dict.fromkeys(targets):
            if name in _reachable(target, leads_to):
                yield (
                    f"spec.nodes.{name}",
                    f"node {target!r} leads back to it: the first request kills the router",
                )


def _reachable(start: str, leads_to: Mapping[str, Sequence[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += leads_to[name]
    return seen


def _service_refusal(name: str, service: Mapping[str, Any]) -> Fault | None:
    """Return what KServe's webhook says about a service's name, class or bounds, or ``None``.

    Of these rules the verdicts are known, not the words.
    """
    predictor = _predictor(service)
    if not NAME.fullmatch(name):
        return "metadata.name", (
            f"{name!r} must consist of lower case letters, digits and '-', start with a letter "
            "and end with a letter or digit"
        )
    least, most = predictor.get("minReplicas", 0), predictor.get("maxReplicas", 0)
    if isinstance(least, int) and least < 0:
        return "spec.predictor.minReplicas", f"must be at least 0, got {least}"
    if isinstance(least, int) and isinstance(most, int) and 0 < most < least:
        return "spec.predictor.maxReplicas", f"{most} is below minReplicas {least}"
    chosen = class_of(service)
    if chosen not in _CLASSES:
        return _CLASS_ANNOTATION, f"must be one of {', '.join(_CLASSES)}, got {chosen!r}"
    if chosen == "hpa":
        return _hpa_refusal(predictor)
    return _keda_refusal(predictor) if chosen == "keda" else None


def _hpa_refusal(predictor: Mapping[str, Any]) -> Fault | None:
    metric, target = predictor.get("scaleMetric", "cpu"), predictor.get("scaleTarget", 80)
    if metric not in ("cpu", "memory"):
        return "spec.predictor.scaleMetric", f"class hpa takes cpu or memory, got {metric!r}"
    if not isinstance(target, int) or not 1 <= target <= 100:
        return "spec.predictor.scaleTarget", f"must lie in 1..100, got {target!r}"
    return None


def _keda_refusal(predictor: Mapping[str, Any]) -> Fault | None:
    if predictor.get("scaleMetric"):
        return "spec.predictor.scaleMetric", "not with class keda; use autoScaling.metrics"
    for i, metric in enumerate(_triggers(predictor)):
        kind = str(metric.get("type"))
        path = f"spec.predictor.autoScaling.metrics[{i}].{kind.lower()}"
        source = metric.get(kind.lower()) or {}
        target = source.get("target") or {}
        if source.get("name") == "cpu" and target.get("type") != "Utilization":
            return f"{path}.target.type", f"cpu takes Utilization, got {target.get('type')!r}"
        if kind in ("External", "PodMetric"):
            if not (source.get("metric") or {}).get("query"):
                return f"{path}.metric.query", "missing"
            if target.get("value") is None:
                return f"{path}.target.value", "missing"
    return None


def _keda_faults(predictor: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what makes KEDA scale by nothing, though KServe takes it."""
    path = "spec.predictor.autoScaling.metrics"
    if not _triggers(predictor):
        yield path, "missing: KEDA gets a ScaledObject without a trigger"
    for i, metric in enumerate(_triggers(predictor)):
        source = (metric.get("external") or {}).get("metric") or {}
        if source.get("backend") != "prometheus":
            continue
        host = urlsplit(str(source.get("serverAddress", ""))).hostname or ""
        if "." not in host and ":" not in host:
            yield (
                f"{path}[{i}].external.metric.serverAddress",
                f"{source.get('serverAddress')!r} names no host that KEDA finds from its own "
                "namespace; write http://<service>.<namespace>.svc:<port>",
            )


def _triggers(predictor: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (predictor.get("autoScaling") or {}).get("metrics") or ()


def _service_faults(namespace: str, service: Mapping[str, Any]) -> Iterator[Fault]:
    fault = service_length_fault(service["metadata"]["name"], namespace)
    if fault:
        yield "metadata.name", fault
    annotations = _annotations(service)
    if "serving.kserve.io/deploymentMode" not in annotations:
        yield (
            "metadata.annotations[serving.kserve.io/deploymentMode]",
            "missing: the cluster's default decides, which as shipped is Knative",
        )
    if AUTOSCALER_CLASS not in annotations:
        yield _CLASS_ANNOTATION, "missing: to set it later rolls the pods"
    if class_of(service) == "keda":
        yield from _keda_faults(_predictor(service))
    for i, container in enumerate(_predictor(service).get("containers") or ()):
        path = f"spec.predictor.containers[{i}]"
        if "preStop" not in (container.get("lifecycle") or {}):
            yield f"{path}.lifecycle.preStop", "missing: requests get lost when a pod stops"
        if "httpGet" not in (container.get("readinessProbe") or {}):
            yield f"{path}.readinessProbe.httpGet", "missing: an open socket counts as ready"


def _bounds(path: str, fields: Mapping[str, Any]) -> Iterator[Fault]:
    least, most = fields.get("minReplicas", 0), fields.get("maxReplicas", 0)
    if isinstance(least, int) and isinstance(most, int) and 0 < most < least:
        yield f"{path}.maxReplicas", f"{most} is below minReplicas {least}"


def _nodes(graph: Mapping[str, Any]) -> Mapping[str, Any]:
    nodes: Mapping[str, Any] = (graph.get("spec") or {}).get("nodes") or {}
    return nodes


def _steps(router: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return router.get("steps") or ()


def _predictor(service: Mapping[str, Any]) -> Mapping[str, Any]:
    predictor: Mapping[str, Any] = (service.get("spec") or {}).get("predictor") or {}
    return predictor


def _annotations(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    return manifest["metadata"].get("annotations") or {}


_Refusal = Callable[[str, Mapping[str, Any]], Fault | None]
_Faults = Callable[[str, Mapping[str, Any]], Iterator[Fault]]
_RULES: Mapping[str, tuple[_Refusal, _Faults]] = {
    "InferenceGraph": (_graph_refusal, _graph_faults),
    "InferenceService": (_service_refusal, _service_faults),
}
