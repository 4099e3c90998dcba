from __future__ import annotations

import pytest

from optimizer.promql import preset_query
from penstock.domain import Adaptation
from serving.autoscale import Autoscaling, class_change_fault, replica_fields
from serving.settings import RenderSettings
from tests import builders as make


def fields(autoscaling="keda", option=None, *, stage=None, **adaptation):
    stage = stage or make.stage(max_replicas=5)
    pipeline = make.pipeline(stages=(stage,), adaptation=Adaptation(**adaptation))
    settings = RenderSettings(
        image="i:1",
        store_uri="s3://m",
        autoscaling=autoscaling,
        prometheus_url="http://prometheus.monitoring.svc:9090",
    )
    return replica_fields(pipeline, stage, option or make.option(replicas=2), settings)


def trigger(*args, **kwargs):
    (metric,) = fields(*args, **kwargs)["autoScaling"]["metrics"]
    return metric


def test_keda_moves_within_a_band_that_starts_at_the_plan():
    found = fields(option=make.option(replicas=3))
    assert (found["minReplicas"], found["maxReplicas"]) == (3, 5)
    assert "scaleMetric" not in found


@pytest.mark.parametrize(("autoscaling", "lowest"), [("hpa", 2), ("keda", 3)])
def test_a_plans_own_band_goes_before_the_factor(autoscaling, lowest):
    # KEDA takes an answer without data for zero: it must not scale in below the plan.
    found = fields(autoscaling, make.option(replicas=3, band=(2, 4)))
    assert (found["minReplicas"], found["maxReplicas"]) == (lowest, 4)


def test_an_hpa_needs_a_replica_to_measure_whatever_the_band():
    stage = make.stage(min_replicas=0)
    found = fields("hpa", make.option(replicas=0, band=(0, 0)), stage=stage)
    assert (found["minReplicas"], found["maxReplicas"]) == (1, 1)


def test_replicas_that_nobody_moves_have_no_band():
    assert fields("fixed", make.option(replicas=3, band=(2, 4))) == {"minReplicas": 3}


@pytest.mark.parametrize(("min_replicas", "lowest"), [(0, 0), (1, 1)])
def test_keda_lets_a_stage_rest_only_where_the_pipeline_does(min_replicas, lowest):
    stage = make.stage(min_replicas=min_replicas)
    found = fields(option=make.option(replicas=0, capacity_rps=0.0), stage=stage)
    assert (found["minReplicas"], found["maxReplicas"]) == (lowest, 2)


@pytest.mark.parametrize(("step_s", "range_s"), [(1.0, 30.0), (60.0, 120.0)])
def test_keda_asks_the_question_that_the_optimizer_asks(step_s, range_s):
    metric = trigger(step_s=step_s)["external"]["metric"]
    assert metric == {
        "backend": "prometheus",
        "serverAddress": "http://prometheus.monitoring.svc:9090",
        "query": preset_query("gateway", name="digits", range_s=range_s),
    }


def test_keda_divides_the_arrivals_by_what_one_replica_carries_with_headroom():
    option = make.option(replicas=2, capacity_rps=100.0)
    target = trigger(option=option, headroom=0.25)["external"]["target"]
    assert target == {"type": "Value", "value": "40"}


@pytest.mark.parametrize("load_rps", [20.0, 79.9, 80.0])
def test_keda_needs_no_more_than_the_plan_at_the_plans_load(load_rps):
    headroom, carried_rps = 0.25, 50.0
    planned = -(-load_rps * (1 + headroom) // carried_rps)
    option = make.option(replicas=planned, capacity_rps=carried_rps * planned)
    value = trigger(option=option, headroom=headroom)["external"]["target"]["value"]
    assert -(-load_rps // float(value)) <= planned


def test_the_threshold_does_not_move_with_the_replicas():
    values = {
        trigger(option=make.option(replicas=n, capacity_rps=n * 33.3))["external"]["target"][
            "value"
        ]
        for n in range(1, 6)
    }
    assert values == {"30272m"}


def test_a_replica_that_rests_is_taken_for_a_batch_per_latency():
    option = make.option(replicas=0, capacity_rps=0.0, batch_size=4, latency_s=0.2)
    target = trigger(option=option, headroom=0.0)["external"]["target"]
    assert target["value"] == "20"


def test_replicas_of_others_are_not_in_the_service():
    assert fields("external") == {}


@pytest.mark.parametrize("running", ["none", "external", "hpa", "keda"])
def test_a_class_may_always_stay(running):
    assert class_change_fault("s", running, running) == ""


def test_the_older_word_is_kserves_own():
    assert Autoscaling("none") is Autoscaling.FIXED
    assert Autoscaling.FIXED.kserve_class == "none"
