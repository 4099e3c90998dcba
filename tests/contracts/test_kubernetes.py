"""The Kubernetes back-end over a socket: refusals, faults, rights, and when a rollout is over."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from kubernetes import client, config, watch

from penstock.errors import ConflictError, ManifestError, NotFoundError, UnreachableError, UserError
from serving.cluster.access import Account, Role
from serving.cluster.kubernetes import KubernetesCluster, connect
from serving.cluster.official import official_connection
from serving.diff import Action, Change, diff
from serving.render import RenderSettings, render
from serving.target import KINDS
from tests import builders as make
from tests.api_http import Fault, fails_at, killed_at, serve, storm
from tests.kserve import KServe
from tests.shared_data import shared

READ = frozenset({"get", "list", "watch"})
READER = Account(
    user="reader", role=Role(namespace="default", verbs={"configmaps": READ, "events": READ})
)
SETTINGS = RenderSettings(image="i:1", store_uri="s3://m")


@pytest.fixture
def kserve():
    return KServe()


@pytest.fixture
def server(kserve):
    accounts = {"reader": READER}
    with serve(shared("data/kserve"), accounts=accounts, on_write=kserve) as served:
        yield served


@pytest.fixture(params=["direct", "official"])
def reach(request):
    """A way to a cluster: the one that ``connect`` takes here, or the official client."""

    def by(kubeconfig, timeout_s=10.0):
        if request.param == "direct":
            return connect(kubeconfig=kubeconfig, timeout_s=timeout_s)
        return KubernetesCluster(official_connection(str(kubeconfig)), timeout_s=timeout_s)

    return by


@pytest.fixture
def cluster(server, tmp_path, reach):
    return reach(server.kubeconfig(tmp_path))


def config_map(action=Action.CREATE, **fields):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    return Change(
        action=action, kind="ConfigMap", namespace="default", name="c", body=body, **fields
    )


def rendered(variant="small", replicas=1):
    locate = make.option("locate", variant=variant, replicas=replicas)
    return render(make.pipeline(), make.plan(stages=(locate, make.option("classify"))), SETTINGS)


def bring(cluster, manifests):
    live = [m for kind in KINDS for m in cluster.list(kind, "default", {})]
    for change in diff(manifests, live):
        cluster.apply(change)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ManifestError),
        (403, UserError),
        (404, NotFoundError),
        (409, ConflictError),
        (429, UnreachableError),
        (500, UnreachableError),
        (503, UnreachableError),
    ],
)
def test_a_refusal_becomes_our_error_with_its_words(server, cluster, status, error):
    server.fault = fails_at(1, status=status)
    with pytest.raises(error, match=rf"{status} to POST /api/v1/.*injected"):
        cluster.apply(config_map())


@pytest.mark.parametrize("fault", [Fault(cut=True), Fault(delay_s=1.0), Fault(body=b"<html>hi")])
def test_no_answer_and_no_object_are_unreachable(server, tmp_path, reach, fault):
    cluster = reach(server.kubeconfig(tmp_path), timeout_s=0.5)
    server.fault = lambda call: fault
    with pytest.raises(UnreachableError) as caught:
        cluster.get("ConfigMap", "default", "c")
    assert fault.body or caught.value.__cause__ is not None


def test_a_server_that_is_not_there_is_unreachable(server, tmp_path, reach):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        cluster = reach(server.kubeconfig(tmp_path))
        with pytest.raises(UnreachableError, match="is it up"):
            cluster.get("ConfigMap", "default", "c")


def test_a_call_is_never_sent_twice(server, cluster):
    server.fault = killed_at(1, after=True)
    with pytest.raises(UnreachableError):
        cluster.apply(config_map())
    assert [str(c) for c in server.calls] == ["POST /api/v1/namespaces/default/configmaps"]


def test_a_storm_of_conflicts_ends(server, cluster):
    server.fault = storm(2)
    for _ in range(2):
        with pytest.raises(ConflictError):
            cluster.apply(config_map())
    assert cluster.apply(config_map())


def test_who_may_only_read_is_told_what_to_look_at(server, tmp_path, reach):
    reader = reach(server.kubeconfig(tmp_path, "reader"))
    assert reader.list("ConfigMap", "default", {}) == ()
    with pytest.raises(UserError, match=r'"reader" cannot create .*auth can-i'):
        reader.apply(config_map())


def test_an_unknown_user_is_told_to_log_in(server, tmp_path, reach):
    with pytest.raises(UserError, match="log in"):
        reach(server.kubeconfig(tmp_path, "nobody")).get("ConfigMap", "default", "c")


def test_a_missing_kubeconfig_is_said(tmp_path, reach):
    with pytest.raises(UserError, match="set KUBECONFIG"):
        reach(Path(tmp_path / "none"))


def test_a_kind_that_is_not_ours_is_refused(cluster):
    with pytest.raises(ManifestError, match="'Pod'"):
        cluster.get("Pod", "default", "x")


def test_the_webhook_has_its_say(cluster):
    graph = next(m for m in rendered() if m["kind"] == "InferenceGraph")
    graph["spec"]["nodes"] = {"entry": graph["spec"]["nodes"]["root"]}
    change = Change(
        action=Action.CREATE,
        kind="InferenceGraph",
        namespace="default",
        name=graph["metadata"]["name"],
        body=graph,
    )
    with pytest.raises(UserError, match=r"admission webhook .* denied the request: .*root"):
        cluster.apply(change)


def test_a_service_and_a_graph_are_ready_when_their_deployments_are(cluster, kserve):
    bring(cluster, rendered())
    assert cluster.ready("InferenceService", "default", "digits-locate-small").ready
    assert cluster.ready("InferenceGraph", "default", "digits").ready


def test_a_service_whose_pods_do_not_come_up_is_not_ready(cluster, kserve):
    kserve.stuck = {"digits-locate-small"}
    bring(cluster, rendered())
    state = cluster.ready("InferenceService", "default", "digits-locate-small")
    assert not state.ready
    assert state.reason == "digits-locate-small: 0 of 1 pods are up to date"


@pytest.mark.parametrize("later", [rendered(replicas=3), rendered("large")])
def test_a_complete_deployment_of_yesterday_is_not_ready(cluster, kserve, later):
    bring(cluster, rendered())
    kserve.asleep = True
    bring(cluster, later)
    states = [
        cluster.ready("InferenceService", "default", "digits-locate-small"),
        cluster.ready("InferenceGraph", "default", "digits"),
    ]
    assert not all(s.ready for s in states)
    assert "KServe has not brought it to the Deployment yet" in "".join(s.reason for s in states)


def test_a_change_of_replicas_rolls_no_pod(cluster, kserve):
    bring(cluster, rendered(replicas=1))
    before = kserve.rollouts()
    bring(cluster, rendered(replicas=4))
    bring(cluster, rendered(replicas=2))
    assert kserve.rollouts() == before
    assert (
        cluster.get("Deployment", "default", "digits-locate-small-predictor")["spec"]["replicas"]
        == 2
    )


def test_changes_can_be_watched_with_the_official_client(server, tmp_path, cluster):
    made = config.new_client_from_config(config_file=str(server.kubeconfig(tmp_path)))
    stream = watch.Watch()
    seen = []

    def write():
        while not server.watchers:
            time.sleep(0.01)
        cluster.apply(config_map())
        cluster.delete("ConfigMap", "default", "c")

    thread = threading.Thread(target=write)
    thread.start()
    for event in stream.stream(client.CoreV1Api(made).list_namespaced_config_map, "default"):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            stream.stop()
    thread.join()
    made.close()
    assert seen == [("ADDED", "c"), ("DELETED", "c")]
