from __future__ import annotations

import pytest

from penstock.errors import ManifestError
from serving.cluster import Readiness
from serving.cluster.access import Account, Role
from serving.cluster.apiserver import ApiServer
from serving.cluster.memory import MemoryCluster
from serving.diff import Action, Change


def create(name="s"):
    body = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "demo"},
        "spec": {"predictor": {"minReplicas": 1}},
    }
    return Change(
        action=Action.CREATE, kind="InferenceService", namespace="demo", name=name, body=body
    )


def test_a_service_is_ready_when_it_is_there():
    cluster = MemoryCluster()
    cluster.apply(create())
    assert cluster.ready("InferenceService", "demo", "s") == Readiness(ready=True)


def test_a_hook_can_hold_an_object_back():
    waiting = Readiness(ready=False, reason="0 of 1 pods are up")
    cluster = MemoryCluster(readiness=lambda manifest: waiting)
    cluster.apply(create())
    assert cluster.ready("InferenceService", "demo", "s") == waiting


def test_a_kind_nobody_defined_is_refused():
    with pytest.raises(ManifestError, match="'Ship'"):
        MemoryCluster().get("Ship", "demo", "s")


def test_a_caller_without_the_right_is_refused():
    role = Role(namespace="demo", verbs={})
    server = ApiServer(accounts={"tick": Account(user="tick", role=role)})
    with pytest.raises(ManifestError, match='User "tick" cannot create'):
        MemoryCluster(server, user="tick").apply(create())
