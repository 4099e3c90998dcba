"""Write manifests/monitoring/dashboard.json, Grafana's dashboard of a pipeline.

``python -m scripts.dashboard``; the same code gives the same bytes, and a test holds the file
against it. What it shows is in ``scripts.dashboard_panels``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.dashboard_panels import ROWS, Panel

TARGET = Path(__file__).parents[1] / "manifests" / "monitoring" / "dashboard.json"
GRID = 24
HEIGHT = 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard in the form that Grafana 9 and later import."""
    return {
        "uid": "penstock",
        "title": "penstock: one pipeline",
        "tags": ["penstock"],
        "schemaVersion": 37,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def text() -> str:
    """Return the file's content."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def _variables() -> Sequence[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "hide": 0}
    known = "penstock_arrivals_total"
    return [
        {**source, "query": "prometheus", "refresh": 1, "regex": "", "current": {}},
        _variable("namespace", f"label_values({known}, namespace)"),
        _variable("pipeline", f'label_values({known}{{namespace="$namespace"}}, pipeline)'),
    ]


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "hide": 0,
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "current": {},
    }


def _panels() -> Sequence[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": top, "w": GRID, "h": 1}
        made.append(
            {
                "id": len(made) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        top, left = top + 1, 0
        for panel in row:
            if left + panel.width > GRID:
                top, left = top + HEIGHT, 0
            place = {"x": left, "y": top, "w": panel.width, "h": HEIGHT}
            made.append(_panel(panel, len(made) + 1, place))
            left += panel.width
        top += HEIGHT
    return made


def _panel(panel: Panel, identity: int, place: Mapping[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "mappings": _mappings(panel)}
    if panel.lowest is not None:
        defaults["min"] = panel.lowest
    timeline = panel.kind == "state-timeline"
    options = {"mergeValues": True, "showValue": "auto"} if timeline else _tooltip()
    return {
        "id": identity,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": dict(place),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend,
                "range": True,
            }
            for i, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _tooltip() -> dict[str, Any]:
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _mappings(panel: Panel) -> list[dict[str, Any]]:
    if not panel.states:
        return []
    shown = {str(v): {"index": v, "text": name} for name, v in panel.states.items()}
    return [{"type": "value", "options": shown}]


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
