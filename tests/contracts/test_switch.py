"""A switch over HTTP, killed at every call: the next tick finishes it or takes it back."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from penstock.clock import VirtualClock
from penstock.errors import UnreachableError
from serving.apply import Outcome
from serving.cluster.kubernetes import connect
from serving.diff import diff
from serving.render import RenderSettings, render
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


KILL_EVERY = int(os.environ.get("PENSTOCK_KILL_EVERY", "4"))
"""Every fourth call, so that the tests end in minutes; 1 kills at every one of them."""


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


def test_a_router_that_names_a_service_without_a_replica_is_seen(stand):
    stand.cluster.delete("InferenceService", "default", "digits-locate-small")
    assert stand.kserve.outages == ["digits routes to digits-locate-small, which has no replica"]


def test_more_replicas_touch_no_pod_template(stand):
    before = stand.kserve.rollouts()
    assert stand.tick(rendered(replicas=4)).ok
    assert stand.tick(rendered(replicas=2)).ok
    assert stand.kserve.rollouts() == before


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
