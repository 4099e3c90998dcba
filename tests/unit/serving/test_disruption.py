from __future__ import annotations

from serving.disruption import disruption_budgets
from serving.render import RenderSettings, render
from tests import builders as make


def budgets(replicas=1):
    stages = (make.option("locate", replicas=replicas), make.option("classify"))
    return {
        m["metadata"]["name"]: m
        for m in disruption_budgets(make.pipeline(), make.plan(stages=stages))
    }


def test_every_service_and_the_router_may_lose_one_pod_at_a_time():
    found = budgets()
    assert sorted(found) == ["digits", "digits-classify-small", "digits-locate-small"]
    assert {m["spec"]["maxUnavailable"] for m in found.values()} == {1}


def test_a_budget_stays_as_it_is_whatever_the_replicas():
    assert budgets(1) == budgets(7)


def test_a_budget_selects_by_kserves_labels():
    selectors = {n: m["spec"]["selector"]["matchLabels"] for n, m in budgets().items()}
    assert selectors["digits-locate-small"] == {
        "serving.kserve.io/inferenceservice": "digits-locate-small"
    }
    assert selectors["digits"] == {"serving.kserve.io/inferencegraph": "digits"}


def test_replicas_are_wished_on_different_nodes_but_run_anyway():
    found = render(
        make.pipeline(), make.plan(), RenderSettings(image="i:1", store_uri="s3://models")
    )
    services = [m for m in found if m["kind"] == "InferenceService"]
    for service in services:
        (spread,) = service["spec"]["predictor"]["topologySpreadConstraints"]
        label = {"serving.kserve.io/inferenceservice": service["metadata"]["name"]}
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
        assert spread["labelSelector"] == {"matchLabels": label}
