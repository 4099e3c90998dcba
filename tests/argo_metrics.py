"""What Argo's controller makes of a template's metrics: ``computeMetrics`` of v4.1.2 in short."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REFERENCE = re.compile(r"\{\{outputs\.parameters\.([^}]*)\}\}")
PREFIX = "argo_workflows_"

Sample = tuple[str, tuple[tuple[str, str], ...]]


def outputs(template: Mapping[str, Any]) -> dict[str, str]:
    """Return the output parameters, from the files that there are or from their defaults."""
    found = {}
    for one in template["outputs"]["parameters"]:
        path = Path(one["valueFrom"]["path"])
        known = path.read_text() if path.exists() else one["valueFrom"]["default"]
        found[one["name"]] = known.removesuffix("\n")
    return found


def emitted(template: Mapping[str, Any]) -> dict[Sample, float]:
    """Return the gauges and counters after one run, by name and labels."""
    values = outputs(template)
    found: dict[Sample, float] = {}
    for metric in _substituted(template, values):
        kind = next(k for k in ("counter", "gauge", "histogram") if k in metric)
        if kind != "histogram":
            found[_key(metric)] = float(metric[kind]["value"])
    return found


def exposition(template: Mapping[str, Any]) -> str:
    """Return what the controller's /metrics would say after one run."""
    lines = []
    for metric in _substituted(template, outputs(template)):
        name, labels = _key(metric)
        written = ",".join(f'{key}="{value}"' for key, value in labels)
        if "histogram" in metric:
            lines += _histogram(metric["histogram"], f"{PREFIX}{name}", written)
            continue
        value = metric.get("gauge", metric.get("counter"))["value"]
        lines.append(f"{PREFIX}{name}{{{written}}} {float(value)}")
    return "\n".join(lines) + "\n"


def _histogram(histogram: Mapping[str, Any], name: str, labels: str) -> list[str]:
    value = float(histogram["value"])
    bounds = [*map(float, histogram["buckets"]), float("inf")]
    buckets = [
        f'{name}_bucket{{{labels},le="{"+Inf" if b == float("inf") else b}"}} {int(value <= b)}'
        for b in bounds
    ]
    return [*buckets, f"{name}_sum{{{labels}}} {value}", f"{name}_count{{{labels}}} 1"]


def _substituted(template: Mapping[str, Any], values: Mapping[str, str]) -> list[dict[str, Any]]:
    found = []
    for metric in template["metrics"]["prometheus"]:
        text = REFERENCE.sub(lambda m: values[m.group(1)], json.dumps(metric))
        made = json.loads(text)
        left, _, right = made.get("when", "1 == 1").partition(" == ")
        if left == right:
            found.append(made)
    return found


def _key(metric: Mapping[str, Any]) -> Sample:
    labels = tuple(sorted((one["key"], one["value"]) for one in metric.get("labels", ())))
    return metric["name"], labels
