"""What stands in manifests/monitoring: that objects fit one another, the code and the operator."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import yaml

from scripts.dashboard import text
from serving.services import CONTAINER, PORT
from tests.monitoring import FOLDER, alerts, dashboard, groups, monitors, panels, recorded
from workflows.deployment import METRICS_PORT
from workflows.gateway_manifests import PORT as GATEWAY_PORT

MONITOR_FIELDS = {"selector", "podMetricsEndpoints"}
ENDPOINT_FIELDS = {
    *("path", "interval", "scrapeTimeout", "scheme", "tlsConfig"),
    *("relabelings", "metricRelabelings"),
}
RELABEL_FIELDS = {"sourceLabels", "targetLabel", "action", "regex"}
RULE_FIELDS = {"alert", "record", "expr", "for", "labels", "annotations"}


def kustomization(folder: str = ".") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())
    return found


@pytest.mark.parametrize("name", sorted(monitors()))
def test_a_monitor_has_only_fields_that_the_operator_knows(name: str) -> None:
    monitor = monitors()[name]
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert monitor["spec"].keys() <= MONITOR_FIELDS
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        assert endpoint.keys() <= ENDPOINT_FIELDS
        for one in [*endpoint["relabelings"], *endpoint.get("metricRelabelings", ())]:
            assert one.keys() <= RELABEL_FIELDS


def test_the_rules_have_only_fields_that_the_operator_knows() -> None:
    for group in groups():
        assert group.keys() == {"name", "rules"}
        for rule in group["rules"]:
            assert rule.keys() <= RULE_FIELDS
            assert isinstance(rule["expr"], str)
            assert re.fullmatch(r"\d+[mhd]", rule.get("for", "1m"))


def test_each_port_is_the_one_that_the_pods_declare() -> None:
    def kept(name: str) -> str:
        (endpoint,) = monitors()[name]["spec"]["podMetricsEndpoints"]
        return str(endpoint["relabelings"][0]["regex"])

    assert kept("penstock-gateway") == str(GATEWAY_PORT)
    assert kept("penstock-tick") == str(METRICS_PORT)
    assert kept("penstock-predictor") == f"{CONTAINER};{PORT}"


def test_every_alert_has_a_severity_words_and_a_runbook() -> None:
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name
        said = rule["annotations"]
        assert said.keys() == {"summary", "description", "runbook_url"}, name
        assert "{{ $labels.pipeline }}" in said["summary"] or "{{ $labels.pod }}" in said["summary"]
        assert said["runbook_url"] == f"docs/operations.md#{name.lower()}"


def test_a_recording_rule_comes_before_what_uses_it() -> None:
    known: set[str] = set()
    for group in groups():
        for rule in group["rules"]:
            used = set(re.findall(r"penstock:[a-z0-9_:]+", rule["expr"]))
            assert used <= known, rule["expr"]
            known.add(rule.get("record", ""))
    assert recorded().keys() <= known


def test_the_kustomization_has_every_file_and_a_label_for_the_sidecar() -> None:
    whole = kustomization()
    (generated,) = whole["configMapGenerator"]
    files = {one.partition("=")[2] for one in generated["files"]} | {*whole["resources"]}
    there = {p.name for p in FOLDER.iterdir() if p.is_file()} - {"kustomization.yaml"}
    assert files == there
    assert generated["options"]["labels"]["grafana_dashboard"] == "1"
    assert all((FOLDER / "argo" / name).is_file() for name in kustomization("argo")["resources"])


def test_the_dashboard_is_what_its_builder_writes() -> None:
    written = (FOLDER / "dashboard.json").read_text()
    assert written == text(), "run `python -m scripts.dashboard` and review the difference"


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    every = dashboard()["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    places = [(panel["gridPos"], panel["title"]) for panel in every]
    for place, title in places:
        assert 0 <= place["x"] <= 24 - place["w"], title
    for (one, first), (other, second) in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (first, second)


def test_every_panel_has_a_title_of_its_own_a_unit_and_legends() -> None:
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"], panel["title"]
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert all(legends), panel["title"]
        assert len(set(legends)) == len(legends), panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(legends)


def test_every_query_is_of_the_chosen_namespace_and_pipeline() -> None:
    names = {one["name"] for one in dashboard()["templating"]["list"]}
    assert names == {"datasource", "namespace", "pipeline"}
    for panel in panels():
        for target in panel["targets"]:
            selectors = re.findall(r"\{([^}]*)\}", target["expr"])
            assert selectors, panel["title"]
            for selector in selectors:
                assert 'namespace="$namespace",pipeline="$pipeline"' in selector, panel["title"]
