"""The commands about a cluster, on an API over HTTP: check it, deploy, look, take away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from optimizer.load import TraceLoad
from penstock.clock import VirtualClock
from penstock.spec import format_pipeline
from profiles import table
from serving.cluster.access import Account, Role
from serving.cluster.discovery import Right
from serving.cluster.kubernetes import connect
from serving.diff import Action, Change
from serving.manifest import Manifest, from_yaml, key_of
from tests.api_http import Served, serve
from tests.builders import profile_table
from tests.command_line import Run, command_line
from tests.kserve import KServe
from tests.shared_data import shared
from tests.ticks import calm, ports, tick
from workflows import preflight

pytestmark = pytest.mark.slow

MANIFESTS = Path(__file__).parents[2] / "manifests"
READING = Role(namespace="default", verbs={"configmaps": frozenset({"get", "list", "create"})})


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    accounts = {"reader": Account(user="reader", role=READING)}
    with serve(shared("data/kserve"), accounts=accounts, on_write=KServe()) as served:
        yield served


@pytest.fixture
def penstock(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Run:
    """Run ``penstock``; returns the exit code and what was printed, in one line."""
    made = calm()
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(format_pipeline(made))
    table.save(profile_table(made), tmp_path / "profiles.json")
    penstock = command_line(tmp_path, monkeypatch, capsys)

    def run(command: str, *arguments: str, user: str = "admin") -> tuple[int, str]:
        kubeconfig = str(server.kubeconfig(tmp_path, user))
        monkeypatch.setenv("KUBECONFIG", kubeconfig)
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", kubeconfig
        )
        return penstock(command, spec, *arguments)

    return run


def creation(manifest: Manifest) -> Change:
    kind, namespace, name = key_of(manifest)
    return Change(action=Action.CREATE, kind=kind, namespace=namespace, name=name, body=manifest)


def test_a_cluster_with_all_of_it_passes(penstock) -> None:
    code, said = penstock("check-cluster")
    assert (code, "checks passed" in said) == (0, True), said
    assert "- podmonitors.monitoring.coreos.com: not installed" in said


def test_missing_rights_are_all_told_at_once(penstock) -> None:
    code, said = penstock("check-cluster", user="reader")
    assert code == 2
    for right in (
        "create deployments.apps",
        "patch configmaps",
        "create cronworkflows.argoproj.io",
    ):
        assert f"may {right}" in said
    assert "may create configmaps" not in said


def test_too_old_a_kubernetes_is_told_and_watching_needs_no_argo(penstock, monkeypatch) -> None:
    monkeypatch.setattr(preflight, "OLDEST", (9, 9))
    code, said = penstock("check-cluster", "--watch", "10")
    assert (code, "✘ Kubernetes: 1.36; needs" in said) == (2, True), said
    assert "cronworkflows" not in said


def test_the_tree_is_written_and_says_what_is_missing_first(penstock, monkeypatch) -> None:
    given = ("--manifests", str(MANIFESTS))
    code, said = penstock("deployment", *given)
    assert (code, "PENSTOCK_PROMETHEUS_URL" in said, "PENSTOCK_STORE" in said) == (2, True, True)
    assert penstock("deployment", "--watch", "0", *given)[0] == 2
    assert penstock("deployment", "--overlay", "dev", *given)[0] == 0
    assert Path("out/digits/deploy/pipeline/gateway.yaml").exists()
    assert "s3://penstock" in Path("out/digits/deploy/pipeline/cron.yaml").read_text()


def test_the_load_predictor_and_the_catalog_go_with_the_tree(penstock) -> None:
    Path("forecaster").mkdir()
    for name in ("forecaster.json", "forecaster.onnx"):
        (Path("forecaster") / name).write_bytes(b"{}")
    Path("catalog.json").write_text("{}")
    assert penstock("deployment", "--overlay", "dev", "--manifests", str(MANIFESTS))[0] == 0
    config = Path("out/digits/deploy/pipeline/config.yaml").read_text()
    assert "penstock-forecaster-digits" in config
    assert "catalog.json" in config


def test_status_and_removal_follow_a_pipelines_life(penstock, server, tmp_path) -> None:
    code, said = penstock("status", "--cluster", "kubernetes")
    assert (code, "no plan yet" in said, "gateway: not deployed" in said) == (3, True, True), said

    cluster = connect(kubeconfig=server.kubeconfig(tmp_path))
    clock = VirtualClock(time.time())
    source = TraceLoad([20.0] * 3, step_s=1.0, start_s=clock.now() - 3)
    around = replace(ports([20.0]), cluster=cluster, clock=clock, source=source)
    assert tick(calm(), around).result.ok
    code, said = penstock("status", "--cluster", "kubernetes")
    assert (code, "graph: ready" in said, "[applied]" in said) == (0, True, True), said

    assert penstock("pause", "--cluster", "kubernetes")[0] == 0
    assert "paused" in penstock("status", "--cluster", "kubernetes")[1]

    config = {"labels": {"app.kubernetes.io/managed-by": "penstock"}, "name": "other"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": config}
    server.handle("POST", "/api/v1/namespaces/default/configmaps", body=body)
    assert penstock("deployment", "--overlay", "dev", "--manifests", str(MANIFESTS))[0] == 0
    for path in sorted(Path("out/digits/deploy/pipeline").glob("[!k]*.yaml")):
        for one in from_yaml(path.read_text()):
            cluster.apply(creation(one))
    code, said = penstock("undeploy")
    deleted = [words.split()[0] for words in said.split("deleted ")[1:]]
    assert code == 0
    assert deleted[:2] == ["CronWorkflow", "RoleBinding"]
    assert deleted.index("InferenceGraph") < deleted.index("InferenceService")
    assert {"Deployment", "Service", "Role", "RoleBinding", "ServiceAccount"} <= set(deleted)
    assert [m["metadata"]["name"] for m in cluster.list("ConfigMap", "default", {})] == ["other"]
    for kind in ("InferenceService", "InferenceGraph", "Deployment", "Role", "ServiceAccount"):
        assert cluster.list(kind, "default", {}) == ()
    assert "0 objects deleted" in penstock("undeploy")[1]


def test_a_cluster_tells_its_kinds_versions_and_our_rights(server, tmp_path) -> None:
    told = connect(kubeconfig=server.kubeconfig(tmp_path, "reader")).discovery
    assert told.version() == (1, 36)
    assert told.versions("serving.kserve.io") == ("v1alpha1", "v1beta1")
    assert told.versions("keda.sh") == ()
    assert "inferenceservices" in told.resources("serving.kserve.io", "v1beta1")
    assert told.resources("serving.kserve.io", "v2") == frozenset()
    assert "configmaps" in told.resources("", "v1")
    may = [
        told.may(Right(verb=verb, group="", plural="configmaps", namespace="default", name="c"))
        for verb in ("get", "delete")
    ]
    assert may == [True, False]
