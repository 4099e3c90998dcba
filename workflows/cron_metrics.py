"""What Argo's controller tells Prometheus of each tick: template metrics of output parameters.

The tick leaves its numbers as files (``workflows.numbers``); Argo reads each as an output parameter
and its controller exports it as ``argo_workflows_<name>`` until the next tick. Field names and what
the controller refuses: Argo v4.1.2, ``workflow/validate/validate.go`` and ``workflow/metrics``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.domain import Pipeline
from workflows.numbers import (
    NUMBERS,
    PARTS,
    SECONDS,
    SECONDS_BUCKETS,
    SECONDS_MEANING,
    TICKS,
    TICKS_MEANING,
    UNKNOWN,
    Number,
    Row,
    When,
    parameter,
)

Fields = dict[str, Any]
"""Of an object of Argo's, as Hera's models take them."""

NAMESPACE = "pipeline_namespace"
"""Not ``namespace``: that is the label of the controller that is scraped."""
MAX_ROWS = 100
"""A template travels to its pod in one environment variable, of at most 128 KiB; what has more
series than this is exported by the watch mode alone."""
_BEFORE_ANY_FILE = {
    "decision": "none",
    "result": "failed",
    **{when.value: "0" for when in When},
}
"""What a tick counts as that ended before it could write anything."""
_METRIC = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_PARAMETER = re.compile(r"[-a-zA-Z0-9_]+")
_REFERENCE = re.compile(r"\{\{outputs\.parameters\.([^}]*)\}\}")


def output_parameters(pipeline: Pipeline, folder: str) -> list[Fields]:
    """Return the outputs of the tick's template, one per file that ``write_numbers`` leaves."""
    names = dict(_BEFORE_ANY_FILE)
    names.update({parameter(SECONDS, (part,)): UNKNOWN for part in PARTS})
    names.update({parameter(n.name, row): UNKNOWN for n, row in _series(pipeline)})
    return [
        {"name": name, "value_from": {"path": f"{folder}/{name}", "default": default}}
        for name, default in names.items()
    ]


def template_metrics(pipeline: Pipeline) -> list[Fields]:
    """Return the metrics of the tick's template."""
    decided = {"decision": _value("decision"), "result": _value("result")}
    ticks = {
        "name": TICKS,
        "help": TICKS_MEANING,
        "labels": _labels(pipeline, decided),
        "counter": {"value": "1"},
    }
    return [ticks, *_durations(pipeline), *_gauges(pipeline)]


def metric_faults(path: str, template: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Argo's controller would refuse or never emit, each with its path."""
    metrics = (template.get("metrics") or {}).get("prometheus") or ()
    outputs = (template.get("outputs") or {}).get("parameters") or ()
    known = {str(one.get("name")) for one in outputs}
    for i, name in enumerate(one.get("name") for one in outputs):
        if not _PARAMETER.fullmatch(str(name)):
            yield f"{path}.outputs.parameters[{i}].name: letters, digits, '-' and '_', got {name!r}"
    for i, metric in enumerate(metrics):
        at = f"{path}.metrics.prometheus[{i}]"
        yield from _shape_faults(at, metric)
        for name in sorted({*_REFERENCE.findall(str(metric))} - known):
            yield f"{at}: there is no output parameter {name!r}"
    yield from _kind_faults(f"{path}.metrics.prometheus", metrics)


def _shape_faults(at: str, metric: Mapping[str, Any]) -> Iterator[str]:
    names = [metric.get("name"), *(one.get("key") for one in metric.get("labels") or ())]
    for name in names:
        if not _METRIC.fullmatch(str(name)):
            yield f"{at}: only letters, digits and '_' in names and labels, got {name!r}"
    if not metric.get("help"):
        yield f"{at}.help: is missing"
    kinds = [kind for kind in ("counter", "gauge", "histogram") if kind in metric]
    if len(kinds) != 1:
        yield f"{at}: must be one of counter, gauge, histogram, got {', '.join(kinds) or 'none'}"
    for kind in kinds:
        if not metric[kind].get("value"):
            yield f"{at}.{kind}.value: is missing"


def _kind_faults(at: str, metrics: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield metrics of one name that differ in what Argo keeps once per name."""
    first: dict[str, Mapping[str, Any]] = {}
    for i, metric in enumerate(metrics):
        kept = first.setdefault(str(metric.get("name")), metric)
        if _described(kept) != _described(metric):
            yield f"{at}[{i}]: {metric.get('name')!r} was described otherwise before"


def _described(metric: Mapping[str, Any]) -> tuple[object, ...]:
    kinds = tuple(kind for kind in ("counter", "gauge", "histogram") if kind in metric)
    labels = tuple(one.get("key") for one in metric.get("labels") or ())
    return metric.get("help"), kinds, labels, (metric.get("histogram") or {}).get("buckets")


def _durations(pipeline: Pipeline) -> Iterator[Fields]:
    for part in PARTS:
        value = _value(parameter(SECONDS, (part,)))
        yield {
            "name": SECONDS,
            "help": SECONDS_MEANING,
            "labels": _labels(pipeline, {"part": part}),
            "when": _if(When.ALWAYS),
            "histogram": {"value": value, "buckets": list(SECONDS_BUCKETS)},
        }


def _gauges(pipeline: Pipeline) -> Iterator[Fields]:
    for number, row in _series(pipeline):
        yield {
            "name": number.name,
            "help": number.meaning,
            "labels": _labels(pipeline, dict(zip(number.labels, row, strict=True))),
            "when": _if(number.when),
            "gauge": {"value": _value(parameter(number.name, row)), "realtime": False},
        }


def _series(pipeline: Pipeline) -> Iterator[tuple[Number, Row]]:
    for number in NUMBERS:
        rows = number.rows(pipeline)
        if len(rows) <= MAX_ROWS:
            yield from ((number, row) for row in rows)


def _labels(pipeline: Pipeline, own: Mapping[str, str]) -> list[Fields]:
    known = {"pipeline": pipeline.name, NAMESPACE: pipeline.namespace, **own}
    return [{"key": key, "value": value} for key, value in known.items()]


def _value(name: str) -> str:
    return f"{{{{outputs.parameters.{name}}}}}"


def _if(when: When) -> str:
    return f"{_value(when.value)} == 1"
