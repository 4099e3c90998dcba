"""What a real API server says to what penstock sends: schemas, versions, rights, fields it owns."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import yaml
from kubernetes import client

from penstock.errors import ConflictError, ManifestError, NotFoundError, UserError
from penstock.settings import Settings
from serving.apply import live_objects
from serving.cluster.kubernetes import connect
from serving.diff import Action, Change, diff
from serving.names import tick_account
from serving.render import RenderSettings, render
from serving.state import State, write_state
from tests import builders as make
from tests import kube_context
from workflows.cron import make_cron
from workflows.rights import tick_rights

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve_definitions")]

SETTINGS = RenderSettings(image="penstock:test", store_uri="s3://models")
ACCOUNT = tick_account("digits")


@pytest.fixture(scope="module")
def space(kube):
    with kube_context.namespace(kube, kube_context.new_name()) as name:
        yield name


@pytest.fixture(scope="module")
def cluster():
    return connect()


def rendered(space, **fields):
    stages = (make.option("locate", **fields), make.option("classify"))
    return render(make.pipeline(namespace=space), make.plan(stages=stages), SETTINGS)


def change(action, manifest, **fields):
    metadata = manifest["metadata"]
    return Change(
        action=action,
        kind=manifest["kind"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        body=manifest,
        **fields,
    )


def live(cluster, space):
    return list(live_objects(cluster, "digits", space))


def bring(cluster, space, manifests):
    for one in diff(manifests, live(cluster, space)):
        cluster.apply(one)


@pytest.fixture
def applied(cluster, space):
    bring(cluster, space, rendered(space))
    yield {m["kind"]: m for m in live(cluster, space)}
    bring(cluster, space, ())


def test_after_an_apply_nothing_differs(kube, cluster, space, applied):
    """A server before 1.27 drops what a budget says about pods that are not ready."""
    dropped = {"PodDisruptionBudget"} if kube.older_than(1, 27) else set()
    assert {c.kind for c in diff(rendered(space), live(cluster, space))} == dropped


def test_what_is_rendered_is_kept_whole(cluster, space, applied):
    """A field that a definition does not know is dropped without a word, and would differ."""
    wanted = next(m for m in rendered(space) if m["kind"] == "InferenceGraph")
    assert applied["InferenceGraph"]["spec"] == wanted["spec"]


def test_more_replicas_change_one_number_of_the_service(cluster, space, applied):
    before = cluster.get("InferenceService", space, "digits-locate-small")
    bring(cluster, space, rendered(space, replicas=3))
    after = cluster.get("InferenceService", space, "digits-locate-small")
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert after["spec"]["predictor"].pop("minReplicas") == 3
    del before["spec"]["predictor"]["minReplicas"]
    assert after["spec"] == before["spec"]


def timeout_of(seconds):
    return {"spec": {"routerTimeouts": {"serverRead": seconds}}}


def test_a_stale_graph_is_a_conflict_and_stays_as_it_is(cluster, space, applied):
    graph = applied["InferenceGraph"]
    old = graph["metadata"]["resourceVersion"]
    patch = change(Action.PATCH, graph)
    cluster.apply(replace(patch, body=timeout_of(7)))
    stale = replace(patch, body=timeout_of(9), resource_version=old)
    with pytest.raises(ConflictError, match="409"):
        cluster.apply(stale)
    now = cluster.get("InferenceGraph", space, "digits")
    assert now["spec"]["routerTimeouts"]["serverRead"] == 7


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda spec: spec.pop("nodes"), "spec.nodes"),
        (lambda spec: spec["nodes"]["root"].update(routerType="Rota"), "Rota"),
        (lambda spec: spec["nodes"]["root"].update(steps="one"), "steps"),
        (lambda spec: spec.update(minReplicas="two"), "minReplicas"),
    ],
)
def test_what_a_schema_refuses_is_a_fault_of_the_manifest(cluster, space, spoil, says):
    graph = copy.deepcopy(next(m for m in rendered(space) if m["kind"] == "InferenceGraph"))
    spoil(graph["spec"])
    with pytest.raises(ManifestError, match=says):
        cluster.apply(change(Action.CREATE, graph))
    assert cluster.get("InferenceGraph", space, "digits") is None


def test_a_patch_of_what_is_gone_is_not_found(cluster, space):
    graph = next(m for m in rendered(space) if m["kind"] == "InferenceGraph")
    with pytest.raises(NotFoundError):
        cluster.apply(change(Action.PATCH, graph))


def test_penstock_is_named_as_the_owner_of_what_it_wrote(applied):
    managers = {e["manager"] for e in applied["InferenceGraph"]["metadata"]["managedFields"]}
    assert managers == {"penstock"}


@pytest.fixture(scope="module")
def tick(kube, space, tmp_path_factory):
    """The cluster as the tick's account sees it: its Role is the shipped one and all it has."""
    account, role, binding = tick_rights(make.pipeline(namespace=space), argo=True)
    kube.core.create_namespaced_service_account(space, account)
    kube.rbac.create_namespaced_role(space, role)
    kube.rbac.create_namespaced_role_binding(space, binding)
    token = kube.core.create_namespaced_service_account_token(ACCOUNT, space, {"spec": {}})
    reached = kube.api.configuration
    trust = {"certificate-authority": reached.ssl_ca_cert} if reached.ssl_ca_cert else {}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": reached.host, **trust}}],
        "users": [{"name": "tick", "user": {"token": token.status.token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "tick"}}],
        "current-context": "it",
    }
    kubeconfig = tmp_path_factory.mktemp("tick") / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(document))
    return connect(kubeconfig=kubeconfig)


def test_the_shipped_role_allows_a_whole_change(tick, space):
    bring(tick, space, rendered(space))
    bring(tick, space, rendered(space, variant="large", replicas=2))
    state = write_state(tick, State(pipeline="digits", namespace=space))
    write_state(tick, state.with_plan({"n": 1}, now_s=1.0))
    assert tick.get("Deployment", space, "digits-locate-large-predictor") is None
    services = {m["metadata"]["name"] for m in tick.list("InferenceService", space, {})}
    assert services == {"digits-locate-large", "digits-classify-small"}


@pytest.mark.parametrize("kind", ["InferenceService", "ConfigMap", "Deployment"])
def test_the_shipped_role_ends_at_its_namespace(tick, kind):
    with pytest.raises(UserError, match=rf"403 .*{ACCOUNT}.*auth can-i"):
        tick.list(kind, "default", {})


@pytest.mark.parametrize(
    ("verb", "resource", "group"),
    [
        ("get", "secrets", ""),
        ("create", "pods", ""),
        ("create", "pods/exec", ""),
        ("patch", "deployments", "apps"),
        ("create", "rolebindings", "rbac.authorization.k8s.io"),
    ],
)
def test_the_shipped_role_allows_nothing_else(kube, tick, space, verb, resource, group):
    plural, _, subresource = resource.partition("/")
    asked = {
        "user": f"system:serviceaccount:{space}:{ACCOUNT}",
        "resourceAttributes": {
            "namespace": space,
            "verb": verb,
            "group": group,
            "resource": plural,
            "subresource": subresource,
        },
    }
    review = client.AuthorizationV1Api(kube.api).create_subject_access_review({"spec": asked})
    assert not review.status.allowed


def test_the_compiled_loop_is_taken_and_one_with_seconds_is_not(kube, space):
    if not kube.has_crds("Argo"):
        kube_context.lacking("Argo's definitions are not installed on the cluster")
    cron = make_cron(make.pipeline(namespace=space), Settings())
    where = ("argoproj.io", "v1alpha1", space, "cronworkflows")
    made = kube.objects.create_namespaced_custom_object(*where, cron, dry_run="All")
    assert made["spec"] == cron["spec"]
    cron["spec"]["schedules"] = ["0 * * * * *"]
    with pytest.raises(client.ApiException, match="schedules"):
        kube.objects.create_namespaced_custom_object(*where, cron, dry_run="All")
