"""What every Cluster back-end must do; a new back-end is one line in ``CLUSTERS``.

Only ConfigMaps and graphs that name nothing running are used here, so that any back-end can hold
them; what a back-end does with a running service is in its own tests. ``kube-context`` is the
cluster that the kube context names, in a namespace of its own; `make test-cluster` runs it.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from penstock.errors import ConflictError, ManifestError, NotFoundError
from serving.cluster.apiserver import ApiServer
from serving.cluster.kubernetes import connect
from serving.cluster.local import LocalCluster
from serving.cluster.memory import MemoryCluster
from serving.diff import Action, Change, diff
from serving.state import State, plan_of, read_state, write_state
from tests import kube_context
from tests.api_http import serve
from tests.shared_data import shared

NAMESPACE = kube_context.new_name()


@contextmanager
def memory(tmp_path):
    yield MemoryCluster()


@contextmanager
def memory_with_schemas(tmp_path):
    yield MemoryCluster(ApiServer(shared("data/kserve")))


@contextmanager
def kubernetes(tmp_path):
    with serve(shared("data/kserve")) as server:
        yield connect(kubeconfig=server.kubeconfig(tmp_path))


@contextmanager
def local(tmp_path):
    made = LocalCluster.start(tmp_path / "cluster", tied=True)
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def current_context(tmp_path):
    try:
        yield connect()
    finally:
        kube_context.connected().core.delete_collection_namespaced_config_map(NAMESPACE)


@pytest.fixture(scope="session")
def own_namespace():
    with kube_context.namespace(kube_context.connected(), NAMESPACE):
        yield


CLUSTERS = {
    "memory": memory,
    "memory-with-schemas": memory_with_schemas,
    "kubernetes": kubernetes,
    "kube-context": current_context,
    "local": local,
}
MARKS = {"local": [pytest.mark.slow], "kube-context": [pytest.mark.cluster]}


def _params():
    for name in sorted(CLUSTERS):
        yield pytest.param(name, marks=MARKS.get(name, []))


@pytest.fixture(params=_params())
def cluster(request, tmp_path):
    if request.param == "kube-context":
        request.getfixturevalue("own_namespace")
    with CLUSTERS[request.param](tmp_path) as made:
        yield made


def config_map(name="limits", **fields):
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"team": "a"}}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}
    return {**manifest, **fields}


def change(action, body=None, name="limits", kind="ConfigMap", **fields):
    return Change(
        action=action, kind=kind, namespace=NAMESPACE, name=name, body=body or {}, **fields
    )


def version(manifest):
    return manifest["metadata"]["resourceVersion"]


def test_what_is_not_there_is_none(cluster):
    assert cluster.get("ConfigMap", NAMESPACE, "limits") is None


def test_a_created_object_is_read_back(cluster):
    cluster.apply(change(Action.CREATE, config_map()))
    assert cluster.get("ConfigMap", NAMESPACE, "limits")["data"] == {"a": "1"}


def test_apply_returns_the_object_as_it_is_then(cluster):
    created = cluster.apply(change(Action.CREATE, config_map()))
    assert created == cluster.get("ConfigMap", NAMESPACE, "limits")


def test_a_second_create_is_a_conflict(cluster):
    cluster.apply(change(Action.CREATE, config_map()))
    with pytest.raises(ConflictError, match="limits"):
        cluster.apply(change(Action.CREATE, config_map()))


def test_a_patch_merges_and_null_removes(cluster):
    cluster.apply(change(Action.CREATE, config_map(data={"a": "1", "b": "2"})))
    cluster.apply(change(Action.PATCH, {"data": {"a": None, "c": "3"}}))
    assert cluster.get("ConfigMap", NAMESPACE, "limits")["data"] == {"b": "2", "c": "3"}


def test_every_write_that_changes_something_has_a_new_version(cluster):
    created = cluster.apply(change(Action.CREATE, config_map()))
    patched = cluster.apply(change(Action.PATCH, {"data": {"a": "2"}}))
    assert version(created) != version(patched)


def test_a_patch_without_effect_keeps_the_version(cluster):
    created = cluster.apply(change(Action.CREATE, config_map()))
    patched = cluster.apply(change(Action.PATCH, {"data": {"a": "1"}}))
    assert version(created) == version(patched)


def test_replace_drops_what_is_not_given(cluster):
    cluster.apply(change(Action.CREATE, config_map(data={"a": "1", "b": "2"})))
    cluster.apply(change(Action.REPLACE, config_map(data={"c": "3"})))
    assert cluster.get("ConfigMap", NAMESPACE, "limits")["data"] == {"c": "3"}


@pytest.mark.parametrize("action", [Action.PATCH, Action.REPLACE, Action.DELETE])
def test_a_write_with_an_old_version_is_a_conflict(cluster, action):
    old = version(cluster.apply(change(Action.CREATE, config_map())))
    cluster.apply(change(Action.PATCH, {"data": {"a": "2"}}))
    body = {} if action is Action.DELETE else config_map(data={"a": "3"})
    with pytest.raises(ConflictError):
        cluster.apply(change(action, body, resource_version=old))
    assert cluster.get("ConfigMap", NAMESPACE, "limits")["data"] == {"a": "2"}


@pytest.mark.parametrize("action", [Action.PATCH, Action.REPLACE, Action.DELETE])
def test_a_write_to_what_is_not_there_is_not_found(cluster, action):
    with pytest.raises(NotFoundError, match="limits"):
        cluster.apply(change(action, {} if action is Action.DELETE else config_map()))


def test_a_deleted_object_is_gone(cluster):
    cluster.apply(change(Action.CREATE, config_map()))
    assert cluster.apply(change(Action.DELETE)) is None
    assert cluster.get("ConfigMap", NAMESPACE, "limits") is None


def test_delete_says_whether_there_was_something(cluster):
    cluster.apply(change(Action.CREATE, config_map()))
    assert cluster.delete("ConfigMap", NAMESPACE, "limits") is True
    assert cluster.delete("ConfigMap", NAMESPACE, "limits") is False


def test_a_list_holds_what_carries_all_labels_by_name(cluster):
    for name, labels in (("b", {"team": "a", "x": "1"}), ("a", {"team": "a"}), ("c", {})):
        body = config_map(name, metadata={"name": name, "namespace": NAMESPACE, "labels": labels})
        cluster.apply(change(Action.CREATE, body, name))
    names = [m["metadata"]["name"] for m in cluster.list("ConfigMap", NAMESPACE, {"team": "a"})]
    assert names == ["a", "b"]
    assert len(cluster.list("ConfigMap", NAMESPACE, {"team": "a", "x": "1"})) == 1


def test_listed_objects_say_what_they_are(cluster):
    cluster.apply(change(Action.CREATE, config_map()))
    (listed,) = cluster.list("ConfigMap", NAMESPACE, {"team": "a"})
    assert (listed["kind"], listed["apiVersion"]) == ("ConfigMap", "v1")


def test_namespaces_do_not_see_each_other(cluster):
    cluster.apply(change(Action.CREATE, config_map()))
    other = f"{NAMESPACE}-other"
    assert cluster.get("ConfigMap", other, "limits") is None
    assert cluster.list("ConfigMap", other, {}) == ()


def test_what_is_returned_can_be_changed_without_changing_the_cluster(cluster):
    cluster.apply(change(Action.CREATE, config_map()))
    cluster.get("ConfigMap", NAMESPACE, "limits")["data"]["a"] = "spoilt"
    assert cluster.get("ConfigMap", NAMESPACE, "limits")["data"] == {"a": "1"}


def test_data_that_is_no_text_is_refused(cluster):
    with pytest.raises(ManifestError):
        cluster.apply(change(Action.CREATE, config_map(data={"a": 1})))


def test_what_is_not_there_is_not_ready(cluster):
    state = cluster.ready("InferenceService", NAMESPACE, "ghost")
    assert not state.ready
    assert state.reason


def test_a_config_map_is_ready_at_once(cluster):
    cluster.apply(change(Action.CREATE, config_map()))
    assert cluster.ready("ConfigMap", NAMESPACE, "limits").ready


def test_nothing_differs_after_a_create(cluster):
    cluster.apply(change(Action.CREATE, config_map()))
    live = cluster.list("ConfigMap", NAMESPACE, {"team": "a"})
    assert diff([config_map()], live) == ()


def test_of_two_ticks_that_read_the_same_state_one_is_refused(cluster):
    first = write_state(cluster, State(pipeline="digits", namespace=NAMESPACE))
    mine, theirs = (
        read_state(cluster, "digits", NAMESPACE),
        read_state(cluster, "digits", NAMESPACE),
    )
    assert mine == first
    write_state(cluster, theirs.with_plan({"n": 1}, now_s=5.0))
    with pytest.raises(ConflictError):
        write_state(cluster, mine.with_plan({"n": 2}, now_s=6.0))
    assert plan_of(read_state(cluster, "digits", NAMESPACE)) == {"n": 1}
