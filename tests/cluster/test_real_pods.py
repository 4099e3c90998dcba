"""The whole path on real pods: upload, apply, answers, a switch under load, replicas, a tick, undo.

The stations of one story follow each other as fixtures of the module; each test looks at one of
them. Where no KServe controller runs, a stand-in does its work (``kserve_controller``).
"""

from __future__ import annotations

import json
import os
import re
import time

import pytest
from kubernetes.client.exceptions import ApiException
from minio import Minio

from serving.names import SERVICE_POD, gateway_name, pipeline_labels
from tests import kube_context
from tests.cluster import deployed as deployed_as
from tests.cluster.deployed import gateway_metrics, kubectl
from tests.cluster.kserve_controller import KServeStandIn
from tests.cluster.stand import READY_S, SCRIPTS, SCRIPTS_MAP, STORE_SECRET, Stand
from tests.kube_context import wait_until
from workflows.cron import cron_name

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LOAD_RPS, LOAD_S = 8.0, 120
TICK_RPS = 30.0
BUCKET = "models"
STORE = f"s3://{BUCKET}/test"
CRON_S = 90.0
PREDICTOR_IMAGE = "PENSTOCK_TEST_PREDICTOR_IMAGE"


@pytest.fixture(scope="module")
def space(kube, image, s3, kserve_definitions):
    with kube_context.namespace(kube, kube_context.new_name()) as name:
        account = {"metadata": {"name": "penstock"}, "secrets": [{"name": STORE_SECRET}]}
        kube.core.create_namespaced_service_account(name, account)
        kube.core.create_namespaced_secret(name, store_secret(s3))
        scripts = {path.name: path.read_text() for path in SCRIPTS.glob("*.py")}
        kube.core.create_namespaced_config_map(
            name, {"metadata": {"name": SCRIPTS_MAP}, "data": scripts}
        )
        yield name


def store_secret(s3):
    """The artifact store's key as KServe's storage initializer reads it, and as ours does."""
    endpoint = s3["PENSTOCK_S3_ENDPOINT"].removeprefix("http://")
    annotations = {
        "serving.kserve.io/s3-endpoint": endpoint,
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-region": s3["PENSTOCK_S3_REGION"],
    }
    keys = {
        "AWS_ACCESS_KEY_ID": s3["PENSTOCK_S3_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": s3["PENSTOCK_S3_SECRET_KEY"],
    }
    return {
        "metadata": {"name": STORE_SECRET, "annotations": annotations},
        "stringData": {**keys, **s3, "PENSTOCK_STORE": STORE},
    }


@pytest.fixture(scope="module")
def stand(kube, space, image, s3, tmp_path_factory, tell):
    endpoint = s3["PENSTOCK_S3_ENDPOINT"].removeprefix("http://")
    keys = (s3["PENSTOCK_S3_ACCESS_KEY"], s3["PENSTOCK_S3_SECRET_KEY"])
    Minio(endpoint, *keys, secure=False, region="us-east-1").make_bucket(BUCKET)
    environment = {
        **s3,
        "PENSTOCK_IMAGE": image,
        "PENSTOCK_PREDICTOR_IMAGE": os.environ.get(PREDICTOR_IMAGE) or image,
        "PENSTOCK_STORE": STORE,
        "PENSTOCK_READY_TIMEOUT_S": str(READY_S),
        "COLUMNS": "300",
    }
    made = Stand(kube, space, image, tmp_path_factory.mktemp("digits"), environment)
    if kube.has_kserve_controller():
        tell("KServe: the cluster's own controllers and router")
        yield made
        return
    with KServeStandIn(kube, space, image):
        tell("KServe: a stand-in for its controllers and its router, from the tests")
        yield made


@pytest.fixture(scope="module")
def applied(stand, tell):
    stand.penstock("upload")
    said, seconds = stand.apply()
    tell(f"first apply: pods ready in {seconds:.1f} s")
    return said


@pytest.fixture(scope="module")
def switched(stand, applied, tell):
    """A switch of the first stage's variant while requests keep coming."""
    load = stand.load(LOAD_S, LOAD_RPS).running()
    _, seconds = stand.apply(locate={"variant": "large"})
    assert not load.ended(), "the load was shorter than the switch"
    result = load.result()
    tell(
        f"switch under {LOAD_RPS:g} req/s: {seconds:.1f} s, lost {result['lost']} of "
        f"{result['requests']}, p50 {result['p50_s'] * 1e3:.0f} ms, "
        f"p99 {result['p99_s'] * 1e3:.0f} ms"
    )
    return result


@pytest.fixture(scope="module")
def scaled(stand, switched, tell):
    """Another replica of the first stage."""
    before = stand.template_hashes()
    pods = {p.metadata.uid for p in stand.pods()}
    _, seconds = stand.apply(locate={"variant": "large", "replicas": 2})
    wait_until(
        lambda: _available(stand, "digits-locate-large-predictor") == 2,
        stand.troubles,
        READY_S,
    )
    tell(f"replicas 1 to 2: sent in {seconds:.1f} s, no pod template changed")
    return before, pods


def _available(stand: Stand, name: str) -> int:
    return stand.kube.apps.read_namespaced_deployment(name, stand.space).status.available_replicas


@pytest.fixture(scope="module")
def ticked(stand, scaled, tell):
    """A tick that has to act, and one that finds nothing to do."""
    acting_s = stand.tick(TICK_RPS)
    quiet_s = stand.tick(TICK_RPS)
    kinds = [d["decision"]["kind"] for d in stand.decisions()]
    tell(
        f"ticks at {TICK_RPS:g} req/s: {kinds[-2]} in {acting_s:.1f} s, "
        f"{kinds[-1]} in {quiet_s:.1f} s"
    )
    return stand.decisions()[-2:]


@pytest.fixture(scope="module")
def deployed(stand, ticked, tell):
    """All that `make deploy` brings, with the tick in a pod every few seconds."""
    deployed_as.start_prometheus(stand, TICK_RPS)
    began_s = time.monotonic()
    deployed_as.deploy(stand, "--watch", str(deployed_as.WATCH_S))
    wait_until(lambda: deployed_as.gateway_is_up(stand), stand.troubles, READY_S)
    found = deployed_as.wait_for_decisions(stand, 2)
    tell(f"deployed: two gateways ready and two ticks after {time.monotonic() - began_s:.1f} s")
    seconds = [sum(d["durations_s"].values()) for d in found]
    tell(f"ticks in the pod: {', '.join(f'{s:.2f}' for s in seconds)} s of work")
    return found


@pytest.fixture(scope="module")
def looped(stand, deployed, tell):
    """One run of the CronWorkflow, carried out by Argo's controller in place of the watch."""
    if not stand.kube.has_crds("Argo"):
        kube_context.lacking("Argo's definitions are not installed on the cluster")
    kubectl("-n", stand.space, "delete", "deployment", cron_name("digits"))
    deployed_as.deploy(stand)
    deadline_s = time.monotonic() + CRON_S
    while not (found := deployed_as.runs(stand)) and time.monotonic() < deadline_s:
        time.sleep(1.0)
    if not found:
        kube_context.lacking("no controller of Argo took the CronWorkflow up")
    over = ("Succeeded", "Failed", "Error")

    def ended():
        runs = deployed_as.runs(stand)
        return next((r for r in runs if r.get("status", {}).get("phase") in over), None)

    status = wait_until(ended, stand.troubles, READY_S)["status"]
    times = (status["startedAt"], status["finishedAt"])
    tell(f"a run of the CronWorkflow: {status['phase']}, {times[0]} to {times[1]}")
    return status


def test_the_graph_answers_with_the_planned_variants(stand, applied):
    result = stand.load(5, LOAD_RPS).result()
    assert (result["lost"], set(result["answers"])) == (0, {"[10.0, 20.0]"})


def test_a_switch_under_load_loses_no_request(switched):
    assert switched["lost"] == 0, switched
    assert set(switched["answers"]) == {"[10.0, 20.0]", "[15.0, 30.0]"}


def test_after_a_switch_the_old_variant_is_gone(stand, switched):
    names = {d.metadata.name for d in stand.kube.apps.list_namespaced_deployment(stand.space).items}
    assert names == {"digits", "digits-locate-large-predictor", "digits-classify-small-predictor"}


def test_more_replicas_leave_every_pod_template_and_every_pod_alone(stand, scaled):
    before, pods = scaled
    assert stand.template_hashes() == before
    assert pods <= {p.metadata.uid for p in stand.pods()}


def test_a_batching_limit_reaches_the_pod_without_a_restart(stand, scaled):
    pods = {p.metadata.uid for p in stand.pods()}
    stand.apply(locate={"variant": "large", "replicas": 2, "batch_size": 4})
    key = "digits-batching"
    limits = stand.kube.core.read_namespaced_config_map(key, stand.space).data
    assert json.loads(limits["locate-large.json"])["max_batch_size"] == 4
    assert pods == {p.metadata.uid for p in stand.pods()}


def test_ticks_leave_their_decisions_in_the_state(ticked):
    assert [(d["mode"], d["load"]["values_rps"][-1]) for d in ticked] == [("apply", TICK_RPS)] * 2
    assert ticked[-1]["decision"]["kind"] == "keep"
    assert ticked[-1]["plan"] == ticked[-2]["plan"]


def test_what_runs_is_what_the_tick_decided(stand, ticked):
    wanted = {
        f"digits-{o['stage']}-{o['variant']}-predictor": o["replicas"]
        for o in ticked[-1]["plan"]["stages"]
    }
    deployments = stand.kube.apps.list_namespaced_deployment(stand.space).items
    running = {d.metadata.name: d.status.available_replicas for d in deployments}
    assert {name: n for name, n in running.items() if name != "digits"} == wanted


def test_events_tell_what_the_tick_did(stand, ticked):
    events = stand.kube.core.list_namespaced_event(stand.space).items
    assert [e for e in events if e.source.component == "penstock" or e.reporting_component]


def test_the_pods_of_a_variant_are_admitted_under_the_restricted_policy(kube, stand, applied):
    """As they are rendered: KServe's own init container and router are not in our hands."""
    selector = ",".join(f"{k}={v}" for k, v in pipeline_labels("digits").items())
    pods = kube.core.list_namespaced_pod(stand.space, label_selector=f"{selector},{SERVICE_POD}")
    template = kube.api.sanitize_for_serialization(pods.items[0])
    for made_by_the_server in ("nodeName", "tolerations", "priority"):
        template["spec"].pop(made_by_the_server, None)
    del template["spec"]["initContainers"]
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    with kube_context.namespace(kube, kube_context.new_name(), **enforced) as strict:
        kube.core.create_namespaced_service_account(strict, {"metadata": {"name": "penstock"}})
        pod = {"metadata": {"name": "one"}, "spec": template["spec"]}
        kube.core.create_namespaced_pod(strict, pod, dry_run="All")
        del pod["spec"]["securityContext"]
        with pytest.raises(ApiException, match="violates PodSecurity"):
            kube.core.create_namespaced_pod(strict, pod, dry_run="All")


def test_the_gateway_answers_and_counts(stand, deployed):
    url = f"http://{gateway_name('digits')}.{stand.space}/v2/models/digits/infer"
    result = stand.load(6, LOAD_RPS, url).result()
    assert result["lost"] == 0, result
    counted = re.findall(r"penstock_arrivals_total\{.*\} (\S+)", gateway_metrics(stand))
    assert sum(map(float, counted)) == result["requests"]


def test_the_tick_in_its_pod_may_do_what_it_has_to(deployed):
    """Its account has the rights of the shipped Role alone."""
    assert {d["mode"] for d in deployed} == {"apply"}
    assert {d["decision"]["kind"] for d in deployed} == {"keep"}
    assert all(d["result"] is None or d["result"]["ok"] for d in deployed), deployed


def test_a_run_of_the_compiled_loop_succeeds(stand, looped):
    assert looped["phase"] == "Succeeded", looped
    assert stand.decisions()[-1]["decision"]["kind"] == "keep"


def test_taking_all_away_leaves_no_pod(stand, deployed):
    stand.penstock("undeploy")
    wait_until(lambda: not stand.pods(**pipeline_labels("digits")), stand.troubles, READY_S)
    left = stand.kube.apps.list_namespaced_deployment(stand.space).items
    assert [d.metadata.name for d in left] == []
    names = {c.metadata.name for c in stand.kube.core.list_namespaced_config_map(stand.space).items}
    assert names == {"kube-root-ca.crt", SCRIPTS_MAP}
