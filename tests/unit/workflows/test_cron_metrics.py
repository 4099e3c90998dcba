from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest

from optimizer.load import TraceLoad
from penstock.domain import Mode, Pipeline
from penstock.settings import Settings
from tests.argo_metrics import emitted
from tests.builders import stage, variant
from tests.ticks import calm, ports, tick
from workflows.cron import check_cron, make_cron
from workflows.cron_metrics import MAX_ROWS, NAMESPACE
from workflows.metrics import TickMetrics
from workflows.numbers import NUMBERS, write_numbers
from workflows.recorded import Tick


def template_of(pipeline: Pipeline, folder: Any = None) -> dict[str, Any]:
    """The tick's template, its files in a folder of the test's."""
    (template,) = make_cron(pipeline, Settings())["spec"]["workflowSpec"]["templates"]
    for one in template["outputs"]["parameters"]:
        one["valueFrom"]["path"] = f"{folder}/{one['name']}"
    return template


def by_argo(pipeline: Pipeline, record: Tick | None, folder: Any) -> dict[Any, float]:
    if record is not None:
        write_numbers(folder, record, pipeline, now_s=99.0)
    found = {}
    for (name, labels), value in emitted(template_of(pipeline, folder)).items():
        found[name, tuple(p for p in labels if p[0] != NAMESPACE)] = value
    return found


def by_watch(pipeline: Pipeline, record: Tick) -> dict[Any, float]:
    metrics = TickMetrics(pipeline)
    metrics.observe(record, now_s=99.0)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket", "_sum", "_count"))
    }


def same(one: dict[Any, float], other: dict[Any, float]) -> bool:
    return one.keys() == other.keys() and all(
        math.isclose(value, other[key]) or (math.isnan(value) and math.isnan(other[key]))
        for key, value in one.items()
    )


@pytest.mark.parametrize("mode", [Mode.APPLY, Mode.ADVISE])
@pytest.mark.parametrize("load_rps", [0.0, 20.0, 100_000.0])
def test_argo_exports_what_the_watch_mode_does(load_rps, mode, tmp_path) -> None:
    pipeline = calm(mode=mode)
    record = tick(pipeline, ports([load_rps] * 3))
    assert same(by_argo(pipeline, record, tmp_path), by_watch(pipeline, record))


def test_a_tick_that_stood_still_tells_that_and_nothing_of_a_plan(tmp_path) -> None:
    record = tick(calm(), replace(ports([20]), source=TraceLoad([], step_s=1.0)))
    found = {name for name, _ in by_argo(calm(), record, tmp_path)}
    assert {"penstock_tick_solved", "penstock_last_tick_timestamp_seconds"} <= found
    assert found.isdisjoint({"penstock_last_success_timestamp_seconds", "penstock_plan_cores"})


def test_a_tick_that_died_is_counted_as_failed_and_changes_nothing_else(tmp_path) -> None:
    found = by_argo(calm(), None, tmp_path)
    ((name, labels),) = found
    assert (name, dict(labels)["result"]) == ("penstock_ticks_total", "failed")


def test_every_number_is_a_metric_of_the_template() -> None:
    names = {one["name"] for one in template_of(calm())["metrics"]["prometheus"]}
    assert {number.name for number in NUMBERS} <= names


def test_a_pipeline_with_very_many_variants_leaves_their_series_to_the_watch_mode() -> None:
    many = tuple(variant(f"v{i}") for i in range(MAX_ROWS))
    pipeline = replace(calm(), stages=(stage("one", variants=many), stage("two")))
    metrics = template_of(pipeline)["metrics"]["prometheus"]
    assert "penstock_plan_replicas" not in {one["name"] for one in metrics}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name": "penstock:load"}, "only letters, digits and '_'"),
        ({"labels": [{"key": "a-b", "value": "x"}]}, "only letters, digits and '_'"),
        ({"help": ""}, "help: is missing"),
        ({"counter": {"value": ""}}, "counter.value: is missing"),
        ({"gauge": {"value": "1", "realtime": False}}, "must be one of counter, gauge"),
        ({"counter": {"value": "{{outputs.parameters.nil}}"}}, "no output parameter 'nil'"),
        ({"name": "penstock_load_rps"}, "was described otherwise before"),
    ],
)
def test_what_the_controller_would_not_emit_is_found(change: dict[str, Any], fault: str) -> None:
    manifest = copy.deepcopy(make_cron(calm(), Settings()))
    manifest["spec"]["workflowSpec"]["templates"][0]["metrics"]["prometheus"][0] |= change
    found = check_cron(manifest)
    assert any(fault in one for one in found), found
