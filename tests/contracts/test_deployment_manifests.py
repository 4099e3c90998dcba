"""Every overlay, and the tree of a pipeline on each, as kubectl builds them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from penstock.settings import Settings
from serving.manifest import from_yaml
from serving.render import RenderSettings, render
from tests.builders import pipeline, plan
from tests.pod_security import containers, lapses, pods_in, violations
from workflows.deployment import (
    OVERLAYS,
    DeploySettings,
    Inputs,
    Loop,
    deployment_files,
    write_deployment,
)

pytestmark = pytest.mark.slow

MANIFESTS = Path(__file__).parents[2] / "manifests"
SETTINGS = Settings(store="s3://models", prometheus_url="http://prometheus:9090")
INPUTS = Inputs(texts={"pipeline.yaml": "spec", "profiles.json": "{}"})
NAMESPACED = frozenset(
    {
        *("ConfigMap", "CronWorkflow", "Deployment", "NetworkPolicy", "PersistentVolumeClaim"),
        *("PodDisruptionBudget", "Role", "RoleBinding", "Service", "ServiceAccount"),
    }
)
"""Neither a Secret nor, but for the Namespace, anything cluster-wide is among them."""


def kustomize(folder: Path) -> tuple[dict[str, Any], ...]:
    commands = {"kubectl": ["kustomize"], "kustomize": ["build"]}
    program = next(filter(shutil.which, commands), None)
    if program is None:
        message = "neither kubectl nor kustomize is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run(
        [program, *commands[program], str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return from_yaml(done.stdout)


@functools.cache
def built(overlay: str, loop: Loop, base: Path) -> tuple[dict[str, Any], ...]:
    """Return a pipeline of the namespace ``shop`` on an overlay, as kubectl would apply it."""
    shop = pipeline(namespace="shop")
    files = deployment_files(shop, INPUTS, SETTINGS, DeploySettings(overlay=overlay, loop=loop))
    folder = base / f"{overlay}-{loop}"
    write_deployment(files, MANIFESTS, folder)
    return kustomize(folder)


@pytest.fixture(
    params=[(o, loop) for o in OVERLAYS for loop in Loop], ids=lambda p: f"{p[0]}-{p[1]}"
)
def tree(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], ...]:
    return built(*request.param, tmp_path_factory.getbasetemp())


def test_all_is_in_the_pipelines_namespace_and_nothing_is_cluster_wide(tree) -> None:
    for one in tree:
        if one["kind"] == "Namespace":
            assert one["metadata"]["name"] == "shop"
        else:
            assert one["kind"] in NAMESPACED, one["kind"]
            assert one["metadata"]["namespace"] == "shop", one["metadata"]["name"]
        for subject in one.get("subjects", ()):
            assert subject["namespace"] == "shop"


def test_no_role_reads_secrets_or_says_any(tree) -> None:
    for role in (m for m in tree if m["kind"] == "Role"):
        for rule in role["rules"]:
            words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not words & {"*", "secrets", "deletecollection", "escalate", "bind"}


def test_every_pod_meets_the_restricted_standard_and_ours(tree) -> None:
    pods = [(m["metadata"]["name"], pod) for m in tree for pod in pods_in(m)]
    assert len(pods) >= 2
    assert [(name, violations(pod), lapses(pod)) for name, pod in pods] == [
        (name, [], []) for name, _ in pods
    ]


def test_every_container_that_stays_is_probed(tree) -> None:
    for one in (m for m in tree if m["kind"] == "Deployment"):
        for container in one["spec"]["template"]["spec"]["containers"]:
            assert "httpGet" in container["readinessProbe"], container["name"]
            assert "httpGet" in container["livenessProbe"], container["name"]


def test_what_pods_name_is_there(tree) -> None:
    """Accounts, ConfigMaps and claims; the store's key is the user's and the pods' own is named."""
    there = {(m["kind"], m["metadata"]["name"]) for m in tree}
    for pod in (pod for m in tree for pod in pods_in(m)):
        assert ("ServiceAccount", pod.get("serviceAccountName", "default")) in {
            *there,
            ("ServiceAccount", "default"),
        }
        for volume in pod.get("volumes", ()):
            sources = volume.get("projected", {}).get("sources", [volume])
            for config in (s["configMap"] for s in sources if "configMap" in s):
                assert config.get("optional") or ("ConfigMap", config["name"]) in there
        for env in (e for c in containers(pod) for e in c.get("env", ())):
            secret = env.get("valueFrom", {}).get("secretKeyRef")
            assert secret is None or secret["name"] == "penstock-store"


def test_services_find_their_pods_ports(tree) -> None:
    templates = [m["spec"]["template"] for m in tree if m["kind"] == "Deployment"]
    for service in (m["spec"] for m in tree if m["kind"] == "Service"):
        found = [
            {port["name"] for c in t["spec"]["containers"] for port in c.get("ports", ())}
            for t in templates
            if service["selector"].items() <= t["metadata"]["labels"].items()
        ]
        assert len(found) == 1
        assert {port["targetPort"] for port in service["ports"]} <= found[0]


def test_every_pod_of_penstock_is_under_a_policy_that_denies(tree) -> None:
    policies = [m["spec"] for m in tree if m["kind"] == "NetworkPolicy"]
    deny = next(p for p in policies if not p.get("ingress") and not p.get("egress"))
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    labels = [
        m["spec"]["template"]["metadata"]["labels"] for m in tree if m["kind"] == "Deployment"
    ]
    labels += [
        m["spec"]["workflowSpec"]["podMetadata"]["labels"]
        for m in tree
        if m["kind"] == "CronWorkflow"
    ]
    ours = [one for one in labels if one.get("app.kubernetes.io/managed-by") == "penstock"]
    assert len(ours) == 2
    for one in ours:
        assert deny["podSelector"]["matchLabels"].items() <= one.items()


def test_the_serving_pods_meet_the_standard_too() -> None:
    settings = RenderSettings(image="ghcr.io/penstock/penstock:0.1.0", store_uri="s3://models")
    services = [m for m in render(pipeline(), plan(), settings) if pods_in(m)]
    assert len(services) == 2
    for pod in (pod for m in services for pod in pods_in(m)):
        assert (violations(pod), lapses(pod)) == ([], [])


def test_the_namespace_warns_by_restricted_and_may_enforce_it(tmp_path: Path) -> None:
    def labels(folder: Path) -> dict[str, str]:
        found = next(m for m in kustomize(folder) if m["kind"] == "Namespace")
        prefix = "pod-security.kubernetes.io/"
        return {k.removeprefix(prefix): v for k, v in found["metadata"]["labels"].items()}

    assert labels(MANIFESTS / "overlays/standard") == {
        "enforce": "baseline",
        "audit": "restricted",
        "warn": "restricted",
    }
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    strict = (
        "resources: [manifests/overlays/standard]\ncomponents: [manifests/components/restricted]\n"
    )
    (tmp_path / "kustomization.yaml").write_text(strict)
    assert labels(tmp_path)["enforce"] == "restricted"


def test_taking_a_pipeline_away_leaves_the_namespace_to_the_others(tmp_path: Path) -> None:
    files = deployment_files(pipeline(), INPUTS, SETTINGS, DeploySettings())
    write_deployment(files, MANIFESTS, tmp_path)
    own = kustomize(tmp_path / "pipeline")
    assert "Namespace" not in {m["kind"] for m in own}
    assert {m["metadata"]["labels"]["app.kubernetes.io/part-of"] for m in own} == {"digits"}
