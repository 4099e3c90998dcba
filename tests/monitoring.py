"""The monitoring manifests as tests read them: rules, monitors as the operator translates them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "manifests" / "monitoring"
RUNBOOK = ROOT / "docs" / "operations.md"


@lru_cache(maxsize=8)
def documents(name: str) -> list[dict[str, Any]]:
    """Return the objects of a file below the folder."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def groups() -> list[dict[str, Any]]:
    """Return the groups of rules, as Prometheus reads them from a file of its own."""
    (rule,) = documents("rules.yaml")
    return list(rule["spec"]["groups"])


def alerts() -> dict[str, dict[str, Any]]:
    """Return every alert by its name."""
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def recorded() -> dict[str, str]:
    """Return the expression of every recording rule by its name."""
    rules = [rule for group in groups() for rule in group["rules"]]
    return {rule["record"]: rule["expr"] for rule in rules if "record" in rule}


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    loaded: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something, not the rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def metric_names(expression: str) -> set[str]:
    """Return the names of our metrics in a PromQL expression, recorded ones by their sources."""
    found = set(re.findall(r"\bpenstock[:_][a-z0-9_:]+", re.sub(r'"[^"]*"', "", expression)))
    known = recorded()
    return {name for one in found for name in (metric_names(known[one]) if one in known else {one})}


def monitors() -> dict[str, dict[str, Any]]:
    """Return every PodMonitor by its name, Argo's included."""
    both = [*documents("podmonitors.yaml"), *documents("argo/podmonitor.yaml")]
    return {one["metadata"]["name"]: one for one in both}


def scrape_config(monitor: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return what the operator makes of a PodMonitor, all but the discovery of pods.

    As ``generatePodMonitorConfig`` of ``pkg/prometheus/promcfg.go`` of the operator's v0.92.
    """
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    name = monitor["metadata"]["name"]
    own = [_snake(one) for one in endpoint.get("relabelings", ())]
    return {
        "job_name": f"podMonitor/{namespace}/{name}/0",
        "metrics_path": endpoint["path"],
        "relabel_configs": [
            *_selected(monitor["spec"]["selector"]),
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            {"target_label": "job", "replacement": f"{namespace}/{name}"},
            *own,
        ],
        "metric_relabel_configs": [_snake(one) for one in endpoint.get("metricRelabelings", ())],
    }


def _selected(selector: Mapping[str, Any]) -> list[dict[str, Any]]:
    kept = [
        {
            "action": "keep",
            "source_labels": [_meta("label", key), _meta("labelpresent", key)],
            "regex": f"({value});true",
        }
        for key, value in selector.get("matchLabels", {}).items()
    ]
    for one in selector.get("matchExpressions", ()):
        assert one["operator"] == "Exists"
        source = [_meta("labelpresent", one["key"])]
        kept.append({"action": "keep", "source_labels": source, "regex": "true"})
    return kept


def discovered(
    labels: Mapping[str, str], *, pod: str, namespace: str, container: str, port: int
) -> dict[str, str]:
    """Return the labels under which Prometheus finds a port of a pod."""
    found = {
        "__meta_kubernetes_namespace": namespace,
        "__meta_kubernetes_pod_name": pod,
        "__meta_kubernetes_pod_container_name": container,
        "__meta_kubernetes_pod_container_port_number": str(port),
    }
    for key, value in labels.items():
        found |= {_meta("label", key): value, _meta("labelpresent", key): "true"}
    return found


def _meta(kind: str, label: str) -> str:
    return f"__meta_kubernetes_pod_{kind}_" + re.sub(r"[^a-zA-Z0-9_]", "_", label)


def _snake(relabeling: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", k): v for k, v in relabeling.items()}


def promtool() -> str:
    """Return the program; skip where it is not installed, fail in CI."""
    program = shutil.which("promtool")
    if program is None:
        message = "promtool is not installed; apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return program
