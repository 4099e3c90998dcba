from __future__ import annotations

from serving.cluster.access import ADMIN, Account, Role
from serving.cluster.apiserver import ApiServer
from serving.cluster.memory import MemoryCluster
from serving.cluster.requests import MERGE
from serving.diff import Action, Change

PATH = "/apis/apps/v1/namespaces/default/deployments"


def deployed(replicas=2, **fields):
    server = ApiServer(**fields)
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "default", "labels": {"app": "x"}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": []}}},
    }
    assert server.handle("POST", PATH, body=body).status == 201
    return server


def scaled(server, body):
    return server.handle("PATCH", f"{PATH}/d/scale", content_type=MERGE, body=body)


def test_the_servers_scale_is_the_deployments_replicas_and_no_more():
    server = deployed()
    answer = scaled(server, {"spec": {"replicas": 5, "template": {}}})
    assert (answer.status, answer.body["spec"]) == (200, {"replicas": 5})
    live = server.handle("GET", f"{PATH}/d").body
    assert live["spec"] == {"replicas": 5, "template": {"spec": {"containers": []}}}
    assert live["metadata"]["generation"] == 2


def test_the_servers_scale_refuses_a_negative_number_and_an_old_version():
    server = deployed()
    refused = scaled(server, {"spec": {"replicas": -1}})
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    late = scaled(server, {"metadata": {"resourceVersion": "0"}, "spec": {"replicas": 1}})
    assert late.status == 409


def test_a_right_to_scale_is_no_right_to_choose_what_runs():
    role = Role(namespace="default", verbs={"deployments/scale.apps": frozenset({"patch"})})
    server = deployed(accounts={"admin": ADMIN, "tick": Account(user="tick", role=role)})
    body = {"spec": {"replicas": 1}}
    for path, status in ((f"{PATH}/d/scale", 200), (f"{PATH}/d", 403)):
        answer = server.handle("PATCH", path, content_type=MERGE, body=body, user="tick")
        assert answer.status == status


def test_a_cluster_reads_and_writes_replicas_without_the_deployment():
    cluster = MemoryCluster(deployed())
    change = Change(
        action=Action.PATCH,
        kind="Scale",
        namespace="default",
        name="d",
        body={"spec": {"replicas": 0}},
    )
    assert cluster.apply(change)["kind"] == "Scale"
    assert cluster.get("Scale", "default", "d")["spec"] == {}
    assert cluster.get("Scale", "default", "other") is None
