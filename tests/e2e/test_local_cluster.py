"""The local cluster with real processes, sockets and models."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from penstock.clock import RealClock
from penstock.errors import ManifestError, NotFoundError, UnreachableError, UserError
from serving.cluster.local import LocalCluster
from serving.diff import Action, Change, diff
from serving.loadgen import Target, run_load
from serving.poisson import LoadCurve, poisson_arrivals
from serving.render import RenderSettings, render
from serving.scale import replicas_of
from tests.applying import bring, live
from tests.builders import option, pipeline, plan, stage
from tests.served_models import scaling_artifact

pytestmark = pytest.mark.slow

NAMESPACE = "default"
REQUEST = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
).encode()


@pytest.fixture
def cluster(tmp_path):
    local = LocalCluster.start(tmp_path / "local", tied=True)
    yield local
    local.stop()


@pytest.fixture
def artifacts(tmp_path):
    return {
        name: scaling_artifact(tmp_path / name, factor)
        for name, factor in (("double", 2.0), ("triple", 3.0))
    }


def service(name, artifact, *, replicas=1):
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "test"}},
        "spec": {
            "predictor": {
                "minReplicas": replicas,
                "containers": [
                    {
                        "name": "kserve-container",
                        "command": ["python", "-m", "serving.predictor"],
                        "args": [
                            *("--model-dir", "/mnt/models"),
                            *("--batch-file", "/etc/batching/limits.json"),
                        ],
                        "env": [{"name": "STORAGE_URI", "value": artifact.as_uri()}],
                        "resources": {"limits": {"cpu": "500m"}},
                        "volumeMounts": [{"name": "batching", "mountPath": "/etc/batching"}],
                    }
                ],
                "volumes": [{"name": "batching", "configMap": {"name": "limits"}}],
            }
        },
    }


def graph(*services):
    steps = [{"serviceName": name, "dependency": "Hard"} for name in services]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": "pipe", "namespace": NAMESPACE},
        "spec": {"nodes": {"root": {"routerType": "Sequence", "steps": steps}}},
    }


def limits(size):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "limits", "namespace": NAMESPACE},
        "data": {"limits.json": json.dumps({"max_batch_size": size, "max_wait_s": 0.0})},
    }


def create(cluster, manifest):
    change(cluster, Action.CREATE, manifest["kind"], manifest["metadata"]["name"], manifest)


def patch(cluster, kind, name, body):
    change(cluster, Action.PATCH, kind, name, body)


def change(cluster, action, kind, name, body):
    cluster.apply(Change(action=action, kind=kind, namespace=NAMESPACE, name=name, body=body))


def wait_ready(cluster, kind, name, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not (state := cluster.ready(kind, NAMESPACE, name)).ready:
        assert time.monotonic() < deadline_s, f"{kind} {name}: {state.reason}"
        time.sleep(0.05)


def wait_until(condition, what, timeout_s=20.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def pipeline_of(cluster, artifacts, *, replicas=1):
    create(cluster, limits(4))
    create(cluster, service("double", artifacts["double"], replicas=replicas))
    create(cluster, graph("double"))
    wait_ready(cluster, "InferenceService", "double")
    wait_ready(cluster, "InferenceGraph", "pipe")
    return cluster.gateway_url("pipe")


def scale(cluster, name, replicas):
    patch(cluster, "InferenceService", name, {"spec": {"predictor": {"minReplicas": replicas}}})


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    with contextlib.suppress(FileNotFoundError), Path(f"/proc/{pid}/stat").open() as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


def all_pids(cluster):
    status = cluster._call("GET", "/status")
    gateways = [gateway["pid"] for gateway in status["gateways"]]
    return [status["pid"], *gateways, *(replica["pid"] for replica in status["replicas"])]


def move_variants_and_replicas(cluster, artifacts):
    """Scale 1 to 2 to 1 replicas, switch the variant, retire the old one."""
    scale(cluster, "double", 2)
    wait_ready(cluster, "InferenceService", "double")
    scale(cluster, "double", 1)
    create(cluster, service("triple", artifacts["triple"]))
    wait_ready(cluster, "InferenceService", "triple")
    patch(cluster, "InferenceGraph", "pipe", {"spec": graph("triple")["spec"]})
    wait_ready(cluster, "InferenceGraph", "pipe")
    cluster.delete("InferenceService", NAMESPACE, "double")
    wait_until(lambda: len(cluster.replica_usage()) == 1, "double should have ended")


async def test_no_request_is_lost_while_replicas_and_variants_move(cluster, artifacts):
    url = pipeline_of(cluster, artifacts)
    answers = set()
    moved = threading.Event()
    planned = poisson_arrivals(LoadCurve(rates_rps=(40.0,) * 90), seed=3)
    load = asyncio.create_task(
        run_load(
            Target(url=url),
            itertools.takewhile(lambda due_s: due_s < 6.0 or not moved.is_set(), planned),
            [REQUEST],
            on_answer=lambda _, body: answers.add(str(json.loads(body)["outputs"][0]["data"])),
        )
    )
    await asyncio.to_thread(move_variants_and_replicas, cluster, artifacts)
    moved.set()
    result = await load
    assert len(result.samples) > 200
    assert [sample for sample in result.samples if sample.lost] == []
    assert answers == {"[2.0, 4.0]", "[3.0, 6.0]"}


def test_stop_leaves_no_process_behind(tmp_path, artifacts):
    cluster = LocalCluster.start(tmp_path / "local")
    pipeline_of(cluster, artifacts, replicas=2)
    pids = all_pids(cluster)
    assert len(pids) == 4
    cluster.stop()
    assert [pid for pid in pids if alive(pid)] == []
    assert not cluster.running()
    cluster.stop()


def test_a_killed_daemon_takes_everything_with_it_and_can_be_started_again(tmp_path, artifacts):
    cluster = LocalCluster.start(tmp_path / "local")
    pipeline_of(cluster, artifacts)
    pids = all_pids(cluster)
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in pids), "orphans should have ended")
    again = LocalCluster.start(tmp_path / "local", tied=True)
    assert again.get("InferenceService", NAMESPACE, "double") is None
    again.stop()


def test_a_replica_that_is_killed_comes_back(cluster, artifacts):
    pipeline_of(cluster, artifacts, replicas=2)
    victim = cluster.replica_usage()[0].pid
    os.kill(victim, signal.SIGKILL)
    wait_until(
        lambda: (
            sorted(r.ready for r in cluster.replica_usage()) == [True, True]
            and victim not in [r.pid for r in cluster.replica_usage()]
        ),
        "a new replica should serve",
    )
    assert cluster.replica_usage()[0].restarts == 1


def test_a_gateway_that_is_killed_comes_back_at_its_url(cluster, artifacts):
    url = pipeline_of(cluster, artifacts)
    os.kill(cluster._call("GET", "/status")["gateways"][0]["pid"], signal.SIGKILL)
    wait_until(lambda: not cluster.ready("InferenceGraph", NAMESPACE, "pipe").ready, "down")
    wait_ready(cluster, "InferenceGraph", "pipe")
    assert cluster.gateway_url("pipe") == url


def test_a_new_template_replaces_the_replicas_one_for_one(cluster, artifacts):
    pipeline_of(cluster, artifacts)
    old = cluster.replica_usage()[0].pid
    change_to = service("double", artifacts["triple"])["spec"]
    patch(cluster, "InferenceService", "double", {"spec": change_to})
    wait_ready(cluster, "InferenceService", "double")
    wait_until(lambda: len(cluster.replica_usage()) == 1, "the old replica should have ended")
    assert cluster.replica_usage()[0].pid != old


def test_a_service_can_be_scaled_to_nothing_and_back(cluster, artifacts):
    create(cluster, limits(1))
    create(cluster, service("double", artifacts["double"], replicas=0))
    wait_ready(cluster, "InferenceService", "double")
    assert cluster.replica_usage() == ()
    scale(cluster, "double", 1)
    wait_ready(cluster, "InferenceService", "double")
    scale(cluster, "double", 0)
    wait_until(lambda: cluster.replica_usage() == (), "the replica should have ended")


def test_replicas_that_kserve_leaves_alone_are_written_through_their_deployment(cluster, artifacts):
    create(cluster, limits(1))
    external = service("double", artifacts["double"])
    external["metadata"]["annotations"] = {"serving.kserve.io/autoscalerClass": "external"}
    create(cluster, external)
    wait_ready(cluster, "InferenceService", "double")
    for replicas in (2, 0):
        patch(cluster, "Scale", "double-predictor", {"spec": {"replicas": replicas}})
        wait_until(lambda n=replicas: len(cluster.replica_usage()) == n, f"{replicas} replicas")
        assert replicas_of(cluster.get("Scale", NAMESPACE, "double-predictor")) == replicas


def test_a_patch_that_makes_no_sense_is_said_and_the_daemon_lives(cluster, artifacts):
    pipeline_of(cluster, artifacts)
    patch(cluster, "InferenceService", "double", {"spec": {"predictor": {"containers": "x"}}})
    state = cluster.ready("InferenceService", NAMESPACE, "double")
    assert "spec.predictor.containers" in state.reason
    time.sleep(0.6)
    assert len(cluster.replica_usage()) == 1


def test_status_is_what_kserve_would_show(cluster, artifacts):
    url = pipeline_of(cluster, artifacts, replicas=2)
    live = cluster.get("InferenceService", NAMESPACE, "double")
    assert live["status"]["conditions"] == [{"type": "Ready", "status": "True"}]
    deployment = cluster.get("Deployment", NAMESPACE, "double-predictor")
    assert deployment["status"]["availableReplicas"] == 2
    assert cluster.get("InferenceGraph", NAMESPACE, "pipe")["status"]["url"] == url
    assert [
        m["metadata"]["name"] for m in cluster.list("InferenceService", NAMESPACE, {"app": "test"})
    ] == ["double"]
    assert cluster.list("InferenceService", NAMESPACE, {"app": "other"}) == ()


def test_an_artifact_that_is_missing_is_said_in_the_status(cluster, tmp_path):
    create(cluster, service("ghost", tmp_path / "nowhere"))
    wait_until(
        lambda: "no artifact" in cluster.ready("InferenceService", NAMESPACE, "ghost").reason,
        "the status should name the artifact",
    )


def test_a_model_that_is_broken_is_said_in_the_status(cluster, artifacts):
    (artifacts["double"] / "model.onnx").write_bytes(b"not a model")
    create(cluster, limits(1))
    create(cluster, service("double", artifacts["double"]))
    wait_until(
        lambda: (
            "no model that ONNX" in cluster.ready("InferenceService", NAMESPACE, "double").reason
        ),
        "the status should say what the predictor said",
    )


def test_errors_arrive_as_they_were_raised(cluster):
    with pytest.raises(NotFoundError):
        scale(cluster, "nobody", 2)
    with pytest.raises(ManifestError, match="containers"):
        create(cluster, {**service("x", Path("/nowhere")), "spec": {"predictor": {}}})
    with pytest.raises(NotFoundError, match="no gateway"):
        cluster.gateway_url("nobody")


def test_a_busy_port_is_said_clearly(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="cannot listen on"):
            LocalCluster.start(tmp_path / "local", gateway_port=taken.getsockname()[1])


def test_a_cluster_that_does_not_run_is_unreachable(tmp_path):
    with pytest.raises(UnreachableError, match="start it first"):
        LocalCluster(tmp_path).get("ConfigMap", NAMESPACE, "x")


async def test_rendered_manifests_run_as_they_are_and_settle(cluster, artifacts):
    one_stage = pipeline("digits", stages=(stage("locate"),))
    settings = RenderSettings(
        image="penstock:test",
        store_uri="unused",
        artifact_uris={
            "locate/small": artifacts["double"].as_uri(),
            "locate/large": artifacts["triple"].as_uri(),
        },
    )
    answers = []
    for variant in ("small", "large"):
        wanted = render(
            one_stage, plan(stages=(option("locate", variant, batch_size=4),)), settings
        )
        report = await asyncio.to_thread(bring, cluster, wanted, RealClock())
        assert report.ok, report.error
        url = cluster.gateway_url("digits")
        result = await run_load(
            Target(url=url), (0.0,), [REQUEST], on_answer=lambda _, body: answers.append(body)
        )
        assert result.lost == 0
    assert [json.loads(body)["outputs"][0]["data"] for body in answers] == [[2, 4], [3, 6]]
    assert diff(wanted, live(cluster)) == ()
