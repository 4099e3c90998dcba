"""A switch over HTTP, killed at every call: the next tick finishes it or takes it back."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from penstock.clock import VirtualClock
from penstock.domain import Node, NodeKind, Step
from penstock.errors import ManifestError, UnreachableError
from serving.apply import Outcome
from serving.cluster.kubernetes import connect
from serving.diff import diff
from serving.render import RenderSettings, render, to_apply
from serving.state import read_state
from tests import builders as make
from tests.api_http import killed_at, serve, storm
from tests.applying import bring, live
from tests.kserve import KServe
from tests.shared_data import shared

SETTINGS = RenderSettings(image="i:1", store_uri="s3://m")
PACE = {"settle_s": 35.0, "ready_timeout_s": 1.5}
LATER_S = 60.0


def rendered(locate="small", classify="small", replicas=1, settings=SETTINGS):
    stages = (
        make.option("locate", variant=locate, replicas=replicas),
        make.option("classify", variant=classify),
    )
    return render(make.pipeline(), make.plan(stages=stages), settings)


def branched(classify="small"):
    steps = (Step(to="classify", weight=40), Step(to="locate", weight=60))
    fork = Node(kind=NodeKind.SPLITTER, name="fork", steps=steps)
    graph = Node(kind=NodeKind.SEQUENCE, steps=(Step(to=fork),))
    stages = (make.option("locate"), make.option("classify", variant=classify))
    return render(make.pipeline(graph=graph), make.plan(stages=stages), SETTINGS)


OLD, NEW = rendered(), rendered("large", replicas=2)


class Stand:
    """A served cluster on which a plan runs, and a clock."""

    def __init__(self, server, kserve, folder):
        self.server, self.kserve, self.clock = server, kserve, VirtualClock(1_000.0)
        self.config = server.kubeconfig(folder)
        self.cluster = connect(kubeconfig=self.config)

    def tick(self, desired, **pace):
        """Run a tick in a process of its own, as far as the cluster can tell."""
        report = bring(self.cluster, desired, self.clock, **{**PACE, **pace})
        self.clock.sleep(LATER_S)
        return report

    def runs(self, desired):
        ours = [m for m in live(self.cluster) if m["metadata"]["name"] != "penstock-digits"]
        return diff(desired, ours) == ()

    def state(self):
        return read_state(self.cluster, "digits", "default")


@pytest.fixture(scope="module")
def new_stand(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kube")

    def make_one(stack):
        kserve = KServe()
        server = stack.enter_context(serve(shared("data/kserve"), on_write=kserve))
        stand = Stand(server, kserve, folder)
        assert stand.tick(OLD).ok
        server.forget()
        return stand

    return make_one


@pytest.fixture
def stand(new_stand):
    with ExitStack() as stack:
        yield new_stand(stack)


def calls_of(new_stand, stuck=()):
    with ExitStack() as stack:
        stand = new_stand(stack)
        stand.kserve.stuck = set(stuck)
        stand.tick(NEW)
        return len(stand.server.calls)


KILL_EVERY = int(os.environ.get("PENSTOCK_KILL_EVERY", "5"))
"""Every fifth call, so that the tests end in minutes; 1 kills at every one of them."""


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stuck", [(), ("digits-locate-large",), ("digits",)])
def test_killed_at_any_call_a_switch_is_finished_or_taken_back(new_stand, stuck, after):
    for number in range(1 + after, calls_of(new_stand, stuck) + 1, KILL_EVERY):
        with ExitStack() as stack:
            stand = new_stand(stack)
            stand.kserve.stuck = set(stuck)
            stand.server.fault = killed_at(number, after=after)
            with suppress(UnreachableError):
                stand.tick(NEW)
            stand.server.forget()
            where = f"killed at call {number}"
            for _ in range(2):
                report = stand.tick(NEW if not stuck else OLD)
            assert stand.state().journal is None, where
            assert stand.runs(OLD if stuck else NEW), (where, report)
            assert stand.kserve.outages == [], where


def test_a_step_below_the_root_is_switched_without_an_outage(stand):
    for wanted in (branched(), branched("large"), OLD):
        assert stand.tick(wanted).ok
        assert stand.runs(wanted)
    assert stand.kserve.outages == []

    stand.tick(branched())
    stand.cluster.delete("InferenceService", "default", "digits-locate-small")
    assert stand.kserve.outages == ["digits routes to digits-locate-small, which has no replica"]


def test_a_router_that_names_a_service_without_a_replica_is_seen(stand):
    stand.cluster.delete("InferenceService", "default", "digits-locate-small")
    assert stand.kserve.outages == ["digits routes to digits-locate-small, which has no replica"]


def test_more_replicas_touch_no_pod_template(stand):
    before = stand.kserve.rollouts()
    assert stand.tick(rendered(replicas=4)).ok
    assert stand.tick(rendered(replicas=2)).ok
    assert stand.kserve.rollouts() == before


def scaled_by(autoscaling, **plan):
    settings = RenderSettings(
        image="i:1", store_uri="s3://m", autoscaling=autoscaling, prometheus_url="http://p.m.svc"
    )
    stages = (
        make.option("locate", **{"replicas": 1, "capacity_rps": 100.0, **plan}),
        make.option("classify"),
    )
    return to_apply(make.pipeline(), make.plan(stages=stages), settings)


def replicas(stand, service="digits-locate-small"):
    return stand.cluster.get("Deployment", "default", f"{service}-predictor")["spec"]["replicas"]


@pytest.mark.parametrize("autoscaling", ["hpa", "keda", "external"])
def test_whoever_owns_replicas_they_touch_no_pod_template(stand, autoscaling):
    assert stand.tick(scaled_by(autoscaling)).ok
    before = stand.kserve.rollouts()
    assert stand.tick(scaled_by(autoscaling, replicas=4, capacity_rps=400.0)).ok
    assert replicas(stand) == 4
    assert stand.tick(scaled_by(autoscaling, replicas=2, capacity_rps=200.0)).ok
    assert stand.kserve.rollouts() == before


@pytest.mark.parametrize("autoscaling", ["hpa", "keda"])
def test_an_autoscaler_moves_within_its_band_and_nothing_differs(stand, autoscaling):
    desired = scaled_by(autoscaling, replicas=2, capacity_rps=200.0)
    assert stand.tick(desired).ok
    stand.kserve.demand["digits-locate-small"] = 9
    stand.kserve(stand.server.server)
    assert replicas(stand) == 4
    assert stand.runs(desired)


def test_replicas_of_ones_own_are_set_before_the_graph_moves(stand):
    stand.tick(scaled_by("external"))
    stand.server.forget()
    assert stand.tick(scaled_by("external", variant="large", replicas=3)).ok
    writes = [str(c).split("/", 1)[1] for c in stand.server.writes]
    scaled = next(i for i, w in enumerate(writes) if w.endswith("large-predictor/scale"))
    moved = next(i for i, w in enumerate(writes) if w.endswith("inferencegraphs/digits"))
    assert scaled < moved
    assert replicas(stand, "digits-locate-large") == 3
    assert stand.kserve.outages == []


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_any_call_replicas_of_ones_own_are_set_in_the_end(new_stand):
    old, new = scaled_by("external"), scaled_by("external", variant="large", replicas=3)
    number, calls = 0, 1
    while number <= calls:
        with ExitStack() as stack:
            stand = new_stand(stack)
            stand.tick(old)
            stand.server.forget()
            if number:
                stand.server.fault = killed_at(number, after=True)
            with suppress(UnreachableError):
                stand.tick(new)
            calls = calls if number else len(stand.server.calls)
            stand.server.forget()
            for _ in range(2):
                stand.tick(new)
            assert replicas(stand, "digits-locate-large") == 3, number
            assert stand.runs(new), number
            assert stand.kserve.outages == [], number
        number += 2 * KILL_EVERY


def test_an_autoscaler_of_somebody_else_is_left_alone_within_the_band(stand):
    desired = scaled_by("external", replicas=2)
    stand.tick(desired)
    for chosen, left in ((4, 4), (3, 3), (9, 4), (1, 2)):
        scale_by_hand(stand, chosen)
        assert stand.tick(desired).ok
        assert replicas(stand) == left


def scale_by_hand(stand, chosen):
    path = "/apis/apps/v1/namespaces/default/deployments/digits-locate-small-predictor/scale"
    body = {"spec": {"replicas": chosen}}
    media = "application/merge-patch+json"
    assert stand.server.handle("PATCH", path, content_type=media, body=body).status == 200


def test_a_running_service_never_gets_a_second_autoscaler(stand):
    assert stand.tick(scaled_by("hpa")).ok
    with pytest.raises(ManifestError, match="PENSTOCK_AUTOSCALING=fixed"):
        stand.tick(scaled_by("keda"))
    for autoscaling in ("fixed", "keda"):
        assert stand.tick(scaled_by(autoscaling)).ok
    assert stand.kserve.outages == []


def test_more_replicas_are_two_writes(stand):
    stand.tick(rendered(replicas=4))
    assert [str(c).split("/")[-1] for c in stand.server.writes] == [
        "penstock-digits",
        "digits-locate-small",
    ]


def test_a_storm_of_conflicts_ends_in_the_new_plan(stand):
    for _ in range(4):
        stand.server.fault = storm(len(stand.server.writes) + 3)
        stand.tick(NEW)
        stand.server.forget()
    stand.tick(NEW)
    assert stand.runs(NEW)
    assert stand.kserve.outages == []


@pytest.mark.parametrize("round_", range(3))
def test_of_two_ticks_at_once_exactly_one_applies(stand, round_):
    clusters = [connect(kubeconfig=stand.config) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        done = [
            pool.submit(bring, one, NEW, VirtualClock(stand.clock.now()), **PACE)
            for one in clusters
        ]
        reports = [d.result() for d in done]
    outcomes = sorted(r.outcome for r in reports)
    assert outcomes in (
        [Outcome.APPLIED, Outcome.CONFLICT],
        [Outcome.APPLIED, Outcome.APPLIED],  # one came when the other had finished
    )
    assert sum(bool(r.done) for r in reports) == 1
    assert stand.runs(NEW)


def test_a_rollout_that_is_late_is_taken_back_and_quarantined(stand):
    stand.kserve.stuck = {"digits-locate-large"}
    report = stand.tick(NEW)
    assert report.outcome is Outcome.NOT_READY
    assert stand.runs(OLD)
    assert [q.service for q in stand.state().quarantine] == ["digits-locate-large"]
    assert "0 of 2 pods are up to date" in stand.state().quarantine[0].reason


def test_a_new_image_that_does_not_start_is_taken_back(stand):
    stand.kserve.stuck = {"digits-locate-small"}
    broken = rendered(settings=RenderSettings(image="i:2", store_uri="s3://m"))
    assert stand.tick(broken).outcome is Outcome.NOT_READY
    assert stand.runs(OLD)


def test_fields_of_others_are_left_alone(stand):
    path = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
    extra = {"metadata": {"labels": {"team": "a"}}, "spec": {"predictor": {"timeout": 9}}}
    stand.server.handle(
        "PATCH",
        f"{path}/digits-locate-small",
        content_type="application/merge-patch+json",
        body=extra,
    )
    stand.tick(rendered(classify="large", replicas=3))
    service = stand.cluster.get("InferenceService", "default", "digits-locate-small")
    assert service["spec"]["predictor"]["timeout"] == 9
    assert service["metadata"]["labels"]["team"] == "a"
    assert service["spec"]["predictor"]["minReplicas"] == 3
