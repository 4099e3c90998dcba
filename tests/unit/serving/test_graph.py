from __future__ import annotations

from penstock.domain import Slo
from serving.graph import inference_graph
from serving.settings import RenderSettings
from tests import builders as make


def graph(slo_s=0.5, **fields):
    settings = RenderSettings(**{"image": "i", "store_uri": "s3://m", **fields})
    return inference_graph(make.pipeline(slo=Slo(latency_s=slo_s)), make.plan(), settings)


def test_the_steps_name_the_running_services_in_order():
    steps = graph()["spec"]["nodes"]["root"]["steps"]
    assert [s["serviceName"] for s in steps] == ["digits-locate-small", "digits-classify-small"]


def test_every_step_but_the_first_takes_the_answer_before_it():
    steps = graph()["spec"]["nodes"]["root"]["steps"]
    assert [s.get("data") for s in steps] == [None, "$response"]


def test_an_error_of_a_step_is_the_graphs_error():
    assert {s["dependency"] for s in graph()["spec"]["nodes"]["root"]["steps"]} == {"Hard"}


def test_the_mode_is_said_on_the_graph():
    annotations = graph()["metadata"]["annotations"]
    assert annotations == {"serving.kserve.io/deploymentMode": "Standard"}


def test_timeouts_follow_from_the_slo():
    timeouts = graph(slo_s=2.0, router_timeout_slos=3.0)["spec"]["routerTimeouts"]
    assert timeouts == {"serverRead": 6, "serverWrite": 13, "serviceClient": 6}


def test_a_timeout_is_at_least_one_second():
    assert graph(slo_s=0.01)["spec"]["routerTimeouts"]["serviceClient"] == 1
