from __future__ import annotations

import copy

import pytest

from serving.cluster.rollout import rolled_out
from serving.render import RenderSettings, render
from tests import builders as make

MANIFESTS = render(
    make.pipeline(),
    make.plan(stages=(make.option("locate", replicas=2), make.option("classify"))),
    RenderSettings(image="i:1", store_uri="s3://m"),
)
SERVICE = next(m for m in MANIFESTS if m["kind"] == "InferenceService")
GRAPH = next(m for m in MANIFESTS if m["kind"] == "InferenceGraph")


def service(**predictor):
    live = copy.deepcopy(SERVICE)
    live["spec"]["predictor"].update(predictor)
    return {**live, "status": {"address": {"url": "http://there"}}}


def deployment(**status):
    container = copy.deepcopy(SERVICE["spec"]["predictor"]["containers"][0])
    container["env"].append({"name": "ADDED_BY_KSERVE", "value": "1"})
    counts = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    return {
        "metadata": {"name": "d", "generation": 3},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [container]}}},
        "status": {"observedGeneration": 3, **counts, **status},
    }


def test_a_complete_deployment_that_carries_the_container_is_ready():
    assert rolled_out(service(), deployment()).ready


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"observedGeneration": 2}, "the Deployment's change has not been seen yet"),
        ({"updatedReplicas": 1}, "1 of 2 pods are up to date"),
        ({"updatedReplicas": None}, "0 of 2 pods are up to date"),
        ({"replicas": 3}, "1 old pods are still there"),
        ({"availableReplicas": 1}, "1 of 2 pods are available"),
    ],
)
def test_what_is_amiss_is_said(status, reason):
    state = rolled_out(service(), deployment(**status))
    assert not state.ready
    assert state.reason.endswith(reason)


def test_a_rollout_past_its_progress_deadline_says_why():
    stopped = {"type": "Progressing", "status": "False", "message": "quota exceeded"}
    state = rolled_out(service(), deployment(conditions=[stopped], updatedReplicas=1))
    assert state.reason.endswith("the rollout stopped: quota exceeded")


def test_without_a_deployment_nothing_is_ready():
    assert rolled_out(service(), None).reason.endswith("no Deployment yet")


def test_a_service_without_an_address_is_not_ready():
    live = service()
    del live["status"]
    assert not rolled_out(live, deployment()).ready


@pytest.mark.parametrize(("field", "value"), [("image", "i:2"), ("args", []), ("env", [])])
def test_a_deployment_of_an_older_container_is_not_ready(field, value):
    old = deployment()
    old["spec"]["template"]["spec"]["containers"][0][field] = value
    assert "has not brought it" in rolled_out(service(), old).reason


def test_a_deployment_with_other_replicas_than_asked_is_not_ready():
    assert "has not brought it" in rolled_out(service(minReplicas=4), deployment()).reason


def test_replicas_that_an_autoscaler_owns_are_not_compared():
    live = service(minReplicas=1)
    live["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] = "hpa"
    assert rolled_out(live, deployment()).ready


@pytest.mark.parametrize("chosen", ["hpa", "keda"])
def test_a_new_service_waits_for_its_autoscaler_to_reach_the_plan(chosen):
    live = service(minReplicas=3)
    live["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] = chosen
    reason = rolled_out(live, deployment()).reason
    assert reason.endswith("its autoscaler has brought it to 2 of 3 replicas")


def test_a_stage_scaled_to_zero_is_ready_without_pods():
    gone = deployment(replicas=0, updatedReplicas=0, availableReplicas=0)
    gone["spec"]["replicas"] = 0
    assert rolled_out(service(minReplicas=0), gone).ready


@pytest.mark.parametrize("text", ["{", '{"nodes": {"root": {"steps": []}}}'])
def test_a_router_that_was_started_with_other_steps_is_not_ready(text):
    router = deployment()
    container = {"name": "digits", "args": ["--graph-json", text]}
    router["spec"]["template"]["spec"]["containers"] = [container]
    assert rolled_out(GRAPH, router).ready is (text == "{")
