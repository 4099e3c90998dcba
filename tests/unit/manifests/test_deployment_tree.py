"""What `penstock deployment` writes, as values; what kubectl makes of it is in tests/contracts."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import DomainError, ManifestError, UserError
from penstock.settings import Settings
from serving.cluster.memory import MemoryCluster
from serving.diff import diff
from serving.manifest import from_yaml
from serving.render import RenderSettings, render
from tests.builders import pipeline, plan, stage, variant
from workflows.deployment import (
    DeploySettings,
    Inputs,
    Loop,
    deployment_files,
    settled,
    write_deployment,
)

SETTINGS = Settings(store="s3://models", prometheus_url="http://prometheus:9090")
INPUTS = Inputs(texts={"pipeline.yaml": "spec", "profiles.json": "{}"})
ROOT = Path(__file__).parents[3]


def files(**fields: Any) -> dict[str, str]:
    given = {"pipeline": pipeline(), "inputs": INPUTS, "settings": SETTINGS}
    given["how"] = DeploySettings()
    return deployment_files(**{**given, **fields})


def objects(**fields: Any) -> dict[tuple[str, str], dict[str, Any]]:
    made = [m for text in files(**fields).values() for m in from_yaml(text)]
    return {(m["kind"], m["metadata"]["name"]): m for m in made if "metadata" in m}


def test_equal_inputs_give_equal_bytes() -> None:
    assert files() == files()


def test_a_first_tick_leaves_alone_what_the_tree_brought() -> None:
    there = list(objects(how=DeploySettings(loop=Loop.WATCH)).values())
    wanted = render(pipeline(), plan(), RenderSettings(image="i", store_uri="s3://models"))
    changes = diff(wanted, [*there, *MemoryCluster().list("ConfigMap", "default", {})])
    assert {c.action.value for c in changes} == {"create"}


def test_the_gateway_stands_before_the_graphs_router_and_outwaits_it() -> None:
    pod = objects()["Deployment", "penstock-gateway-digits"]["spec"]["template"]["spec"]
    words = pod["containers"][0]["args"]
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert given["--upstream"] == "http://digits.default.svc.cluster.local/"
    graph = render(pipeline(), plan(), RenderSettings(image="i", store_uri="s3://models"))[-1]
    assert graph["kind"] == "InferenceGraph"
    assert int(given["--timeout-s"]) > graph["spec"]["routerTimeouts"]["serverWrite"]
    lasts_s = int(given["--timeout-s"]) + int(given["--drain-s"])
    assert pod["terminationGracePeriodSeconds"] > lasts_s


def test_an_update_never_takes_a_gateway_away_before_its_successor_is_ready() -> None:
    spec = objects()["Deployment", "penstock-gateway-digits"]["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = objects()["PodDisruptionBudget", "penstock-gateway-digits"]["spec"]
    assert budget["selector"] == spec["selector"]


def test_watching_runs_the_very_pod_of_the_cron_in_a_loop() -> None:
    cron = objects()["CronWorkflow", "penstock-adapt-digits"]["spec"]["workflowSpec"]
    watch = objects(how=DeploySettings(loop=Loop.WATCH, watch_s=5))
    spec = watch["Deployment", "penstock-adapt-digits"]["spec"]
    pod, once = spec["template"]["spec"], cron["templates"][0]["container"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    assert pod["containers"][0]["args"][-2:] == ["--watch", "5"]
    assert "--once" not in pod["containers"][0]["args"]
    for field in ("image", "resources", "securityContext", "volumeMounts"):
        assert pod["containers"][0][field] == once[field]
    assert pod["volumes"] == cron["volumes"]
    assert pod["serviceAccountName"] == cron["serviceAccountName"] == "penstock-tick-digits"


def test_only_argos_own_container_needs_rights_on_its_results() -> None:
    def groups(**fields: Any) -> set[str]:
        rules = objects(**fields)["Role", "penstock-tick-digits"]["rules"]
        return {group for rule in rules for group in rule["apiGroups"]}

    assert "argoproj.io" in groups()
    assert "argoproj.io" not in groups(how=DeploySettings(loop=Loop.WATCH))


def test_the_load_predictor_goes_with_it_and_may_be_missing() -> None:
    trained = {"forecaster.onnx": b"\x00net", "forecaster.json": b"{}"}
    made = objects(inputs=replace(INPUTS, forecaster=trained))
    data = made["ConfigMap", "penstock-forecaster-digits"]["binaryData"]
    assert base64.b64decode(data["forecaster.onnx"]) == b"\x00net"
    assert ("ConfigMap", "penstock-forecaster-digits") not in objects()
    sources = made["CronWorkflow", "penstock-adapt-digits"]["spec"]["workflowSpec"]["volumes"][0]
    assert sources["projected"]["sources"][1]["configMap"]["optional"] is True


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("reg:5000/own/penstock:7", {"newName": "reg:5000/own/penstock", "newTag": "7"}),
        ("own@sha256:ab", {"newName": "own", "digest": "sha256:ab"}),
        ("reg:5000/own", {"newName": "reg:5000/own"}),
    ],
)
def test_the_overlay_runs_the_same_image(image: str, wanted: dict[str, str]) -> None:
    text = files(settings=replace(SETTINGS, image=image))["kustomization.yaml"]
    assert from_yaml(text)[0]["images"] == [{"name": "ghcr.io/penstock/penstock", **wanted}]


def test_all_that_pods_could_not_do_with_is_told_at_once() -> None:
    with pytest.raises(UserError) as told:
        files(settings=Settings(store="file:///home/me/store"))
    assert "PENSTOCK_STORE" in str(told.value)
    assert "PENSTOCK_PROMETHEUS_URL" in str(told.value)


def test_dev_answers_by_itself_what_is_inside() -> None:
    how = DeploySettings(overlay="dev")
    assert settled(Settings(), how)["prometheus_url"] == "http://penstock-prometheus:9090"
    assert settled(SETTINGS, how) == {}
    assert settled(Settings(), DeploySettings()) == {}


def test_monitors_and_alerts_are_added_when_asked_for() -> None:
    def resources(**fields: Any) -> list[str]:
        return from_yaml(files(**fields)["kustomization.yaml"])[0]["resources"]

    with_them = resources(how=DeploySettings(monitoring=True))
    assert set(with_them) - set(resources()) == {"manifests/monitoring"}


def test_names_and_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ManifestError, match="lower case"):
        files(pipeline=pipeline("Digits"))
    with pytest.raises(ManifestError, match="at most 52 characters"):
        files(pipeline=pipeline("d" * 38, stages=(stage("s", variants=(variant("v"),)),)))
    with pytest.raises(DomainError, match=r"overlay.*watch_s.*gateway_replicas"):
        DeploySettings(overlay="none", watch_s=0, gateway_replicas=0)


def test_a_tree_replaces_the_one_before_and_stands_alone(tmp_path: Path) -> None:
    manifests = ROOT / "manifests"
    write_deployment(files(), manifests, tmp_path)
    watching = files(how=DeploySettings(loop=Loop.WATCH))
    write_deployment(watching, manifests, tmp_path)
    assert (tmp_path / "pipeline" / "watch.yaml").exists()
    assert not (tmp_path / "pipeline" / "cron.yaml").exists()
    assert (tmp_path / "manifests" / "base" / "networkpolicies.yaml").exists()


def test_a_folder_without_overlays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--manifests"):
        write_deployment(files(), tmp_path, tmp_path / "out")
