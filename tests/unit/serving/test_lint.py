from __future__ import annotations

import json

import pytest

from penstock.errors import ManifestError
from serving.lint import lint
from tests.shared_data import shared


def graph(nodes, name="foo", namespace="default", **spec):
    metadata = {"name": name, "namespace": namespace}
    return {"kind": "InferenceGraph", "metadata": metadata, "spec": {"nodes": nodes, **spec}}


def one_node(kind, *steps):
    return {"root": {"routerType": kind, "steps": list(steps)}}


def service(predictor=None, name="foo", **annotations):
    keys = {f"serving.kserve.io/{k}": v for k, v in annotations.items()}
    metadata = {"name": name, "namespace": "default", "annotations": keys}
    return {
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor or {}},
    }


def stricter(*manifests):
    return {f.path: f.message for f in lint(manifests) if not f.refused}


def refused(manifest):
    return [f.path for f in lint([manifest]) if f.refused]


def webhook_cases():
    return json.loads(shared("data/kserve/ig-webhook-cases.json").read_text())["cases"]


def test_the_urls_of_the_services_count_for_the_size():
    steps = [{"serviceName": f"s{i}"} for i in range(1400)]
    nodes = one_node("Sequence", *steps)
    assert len(json.dumps({"nodes": nodes})) < 40_000
    assert "spec" in stricter(graph(nodes))
    assert "spec" not in stricter(graph(one_node("Sequence", *steps[:1000])))


def test_every_recorded_verdict_and_message_of_the_webhook_is_repeated():
    for case in webhook_cases():
        extra = {k: case[k] for k in ("minReplicas", "maxReplicas") if k in case}
        found = lint([graph(case["nodes"], case["ig_name"], **extra)])
        messages = [f.message for f in found if f.refused]
        assert messages == ([] if case["ok"] else [case["error"]]), case["name"]


def test_every_probe_that_the_webhook_lets_through_is_found_here():
    probes = [c for c in webhook_cases() if c["ok"] and c["name"].startswith("probe:")]
    harmless = "probe: alphanumeric lower case"
    for case in probes:
        extra = {k: case[k] for k in ("minReplicas", "maxReplicas") if k in case}
        found = stricter(graph(case["nodes"], case["ig_name"], **extra))
        assert bool(found) is (case["name"] != harmless), case["name"]


def test_a_longer_cycle_is_found_at_each_of_its_nodes():
    nodes = {
        "root": {"routerType": "Sequence", "steps": [{"nodeName": "a"}]},
        "a": {"routerType": "Sequence", "steps": [{"nodeName": "b"}, {"serviceName": "s"}]},
        "b": {"routerType": "Sequence", "steps": [{"nodeName": "a"}]},
    }
    assert sorted(stricter(graph(nodes))) == ["spec.nodes.a", "spec.nodes.b"]


def test_a_node_used_twice_is_no_cycle():
    nodes = {
        "root": {"routerType": "Sequence", "steps": [{"nodeName": "a"}, {"nodeName": "a"}]},
        "a": {"routerType": "Sequence", "steps": [{"serviceName": "s"}]},
    }
    assert lint([graph(nodes)]) == ()


@pytest.mark.parametrize(
    ("nodes", "path"),
    [
        (one_node("Sequence"), "steps"),
        (one_node("Sequence", {"nodeName": "ghost"}), "steps[0].nodeName"),
        (one_node("Switch", {"serviceName": "a"}), "steps[0].condition"),
        (one_node("Sequence", {"serviceName": "a", "condition": "x"}), "steps[0].condition"),
        (one_node("Ensemble", {"serviceName": "a", "condition": "x"}), "steps[0].condition"),
        (one_node("Sequence", {"serviceName": "a", "data": "$response"}), "steps[0].data"),
        (one_node("Sequence", {"serviceName": "a", "data": "$answer"}), "steps[0].data"),
        (one_node("Splitter", {"serviceName": "a", "weight": -1}), "steps[0].weight"),
    ],
)
def test_what_a_request_would_pay_for_is_found(nodes, path):
    assert f"spec.nodes.root.{path}" in stricter(graph(nodes))


def test_a_graph_whose_host_name_is_too_long_is_found():
    nodes = one_node("Sequence", {"serviceName": "a"})
    assert lint([graph(nodes, "g" * 55)]) == ()  # g…-default: 63 characters
    assert "63 are allowed" in stricter(graph(nodes, "g" * 56))["metadata.name"]


def test_a_graph_that_does_not_fit_the_routers_argument_is_found():
    nodes = one_node("Sequence", {"serviceName": "a"}, {"serviceName": "b" * 140_000})
    assert "spec" in stricter(graph(nodes))


TRIGGER = "spec.predictor.autoScaling.metrics[0]"


def asks(address="http://prometheus.monitoring.svc:9090", **other):
    metric = {"backend": "prometheus", "serverAddress": address, "query": "sum(rate(x[1m]))"}
    known = {"metric": metric, "target": {"type": "Value", "value": "2"}}
    return {"autoScaling": {"metrics": [{"type": "External", "external": {**known, **other}}]}}


def by_cpu(kind):
    target = {"type": kind, "averageUtilization": 50}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    return {"autoScaling": {"metrics": [metric]}}


@pytest.mark.parametrize(
    ("predictor", "path"),
    [
        ({}, "spec.predictor.autoScaling.metrics"),
        (asks("http://prometheus:9090"), f"{TRIGGER}.external.metric.serverAddress"),
        (asks("prometheus.monitoring:9090"), f"{TRIGGER}.external.metric.serverAddress"),
        (asks(), None),
        (asks("http://10.0.0.7:9090"), None),
    ],
)
def test_what_keda_could_not_scale_by_is_found(predictor, path):
    found = stricter(service(predictor, autoscalerClass="keda"))
    assert [p for p in found if "autoScaling" in p] == ([path] if path else [])


def test_a_service_without_its_safeguards_gets_a_finding_for_each():
    found = stricter(service({"containers": [{"name": "kserve-container"}]}))
    assert sorted(found) == [
        "metadata.annotations[serving.kserve.io/autoscalerClass]",
        "metadata.annotations[serving.kserve.io/deploymentMode]",
        "spec.predictor.containers[0].lifecycle.preStop",
        "spec.predictor.containers[0].readinessProbe.httpGet",
    ]


@pytest.mark.parametrize(
    ("predictor", "chosen", "path"),
    [
        ({"minReplicas": -1}, "none", "spec.predictor.minReplicas"),
        ({"minReplicas": 3, "maxReplicas": 2}, "none", "spec.predictor.maxReplicas"),
        ({"minReplicas": 3, "maxReplicas": 0}, "none", None),
        ({}, "vpa", "metadata.annotations[serving.kserve.io/autoscalerClass]"),
        ({"scaleMetric": "rps"}, "hpa", "spec.predictor.scaleMetric"),
        ({"scaleTarget": 101}, "hpa", "spec.predictor.scaleTarget"),
        ({"scaleMetric": "cpu", "scaleTarget": 50}, "hpa", None),
        ({"scaleMetric": "cpu"}, "keda", "spec.predictor.scaleMetric"),
        (asks(), "keda", None),
        (asks(metric={"backend": "prometheus"}), "keda", f"{TRIGGER}.external.metric.query"),
        (asks(target={"type": "Value"}), "keda", f"{TRIGGER}.external.target.value"),
        (by_cpu("Utilization"), "keda", None),
        (by_cpu("Value"), "keda", f"{TRIGGER}.resource.target.type"),
    ],
)
def test_replicas_and_classes_are_judged_as_the_webhook_does(predictor, chosen, path):
    assert refused(service(predictor, autoscalerClass=chosen)) == ([path] if path else [])


def test_a_service_name_is_judged_by_characters_and_length():
    assert refused(service(name="Foo")) == ["metadata.name"]
    assert "metadata.name" in stricter(service(name="s" * 60))


def test_a_finding_reads_as_object_path_and_message():
    (found,) = lint([graph(one_node("Sequence"))])
    assert str(found).startswith("InferenceGraph default/foo: spec.nodes.root.steps: no step")


def test_other_kinds_are_not_judged_but_need_a_name():
    assert lint([{"kind": "ConfigMap", "metadata": {"name": "x"}}]) == ()
    with pytest.raises(ManifestError):
        lint([{"kind": "ConfigMap"}])
