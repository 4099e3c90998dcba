from __future__ import annotations

import yaml

from penstock.domain import Slo
from penstock.graph_document import GraphDocument, to_graph
from serving.graph import inference_graph
from serving.lint import lint
from serving.router.graph import read_graph
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


NESTED = """
kind: Switch
steps:
  - condition: parameters.careful
    probability: 0.25
    node:
      kind: Sequence
      name: careful
      steps:
        - node: {kind: Ensemble, steps: [{stage: left}, {stage: right}]}
        - node: {kind: Splitter, steps: [{stage: old, weight: 90}, {stage: new, weight: 10}]}
  - {stage: quick, probability: 0.75}
"""


def nested():
    stages = ("quick", "left", "right", "old", "new")
    asked = make.pipeline(
        stages=tuple(make.stage(name) for name in stages),
        graph=to_graph(GraphDocument.model_validate(yaml.safe_load(NESTED)), list(stages)),
    )
    plan = make.plan(stages=tuple(make.option(name) for name in stages))
    settings = RenderSettings(image="i", store_uri="s3://m")
    return inference_graph(asked, plan, settings)


def test_every_node_below_the_root_is_named_and_called_by_its_name():
    nodes = nested()["spec"]["nodes"]
    assert list(nodes) == ["root", "careful", "ensemble-1-1", "splitter-1-2"]
    assert [s["nodeName"] for s in nodes["careful"]["steps"]] == ["ensemble-1-1", "splitter-1-2"]
    assert lint([nested()]) == ()
    assert read_graph(nested()).services() == tuple(
        f"digits-{name}-small" for name in ("quick", "left", "right", "old", "new")
    )


def test_only_a_later_step_of_a_sequence_takes_the_answer_before_it():
    nodes = nested()["spec"]["nodes"]
    said = {n: [s.get("data") for s in node["steps"]] for n, node in nodes.items()}
    assert said.pop("careful") == [None, "$response"]
    assert set(map(tuple, said.values())) == {(None, None)}


def test_the_last_step_of_a_switch_takes_what_is_left():
    steps = nested()["spec"]["nodes"]["root"]["steps"]
    assert [s["condition"] for s in steps] == ["parameters.careful", "@this"]


def test_weights_are_whole_percents():
    steps = nested()["spec"]["nodes"]["splitter-1-2"]["steps"]
    assert [s["weight"] for s in steps] == [90, 10]


def test_the_client_waits_for_the_longest_path():
    assert nested()["spec"]["routerTimeouts"]["serverWrite"] == 2 * 2 + 1
