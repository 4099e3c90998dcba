from __future__ import annotations

import pytest

from penstock.clock import VirtualClock
from penstock.errors import ConflictError, UnreachableError
from serving.apply import Outcome, apply
from serving.cluster import Readiness
from serving.cluster.memory import MemoryCluster
from serving.diff import diff
from serving.names import pipeline_labels
from serving.render import RenderSettings, render
from tests import builders as make

SETTINGS = RenderSettings(image="i:1", store_uri="s3://m")
KINDS = ("ConfigMap", "InferenceService", "InferenceGraph")


class Recording(MemoryCluster):
    """Notes what is done to it; fails when told to; objects named slow are never ready."""

    def __init__(self, slow=(), fail=None):
        super().__init__(readiness=self._judge)
        self.log = []
        self.slow = set(slow)
        self.fail = fail or {}

    def _judge(self, manifest):
        name = manifest["metadata"]["name"]
        slow = name in self.slow
        return Readiness(ready=not slow, reason="no pod is up" if slow else "")

    def apply(self, change):
        self._note(change.action.value, change.name)
        return super().apply(change)

    def delete(self, kind, namespace, name):
        self._note("delete", name)
        return super().delete(kind, namespace, name)

    def ready(self, kind, namespace, name):
        self.log.append(("ready?", name))
        return super().ready(kind, namespace, name)

    def _note(self, action, name):
        self.log.append((action, name))
        if (action, name) in self.fail:
            raise self.fail[(action, name)]


def manifests(variant="small", replicas=1):
    locate = make.option("locate", variant=variant, replicas=replicas)
    return render(make.pipeline(), make.plan(stages=(locate, make.option("classify"))), SETTINGS)


def live(cluster):
    labels = pipeline_labels("digits")
    return [m for kind in KINDS for m in cluster.list(kind, "default", labels)]


def bring(cluster, desired, clock=None, **fields):
    return apply(diff(desired, live(cluster)), cluster, clock or VirtualClock(), **fields)


def running(variant="small", **fields):
    cluster = Recording(**fields)
    slow, cluster.slow = cluster.slow, set()
    fail, cluster.fail = cluster.fail, {}
    assert bring(cluster, manifests(variant)).ok
    cluster.log.clear()
    cluster.slow, cluster.fail = slow, fail
    return cluster


def names(cluster):
    return [m["metadata"]["name"] for m in live(cluster)]


def served(cluster):
    graph = cluster.get("InferenceGraph", "default", "digits")
    return [s["serviceName"] for s in graph["spec"]["nodes"]["root"]["steps"]]


def test_nothing_to_do_does_nothing():
    cluster = running()
    report = bring(cluster, manifests())
    assert (report.outcome, report.done, cluster.log) == (Outcome.APPLIED, (), [])


def test_after_an_apply_nothing_differs():
    cluster = running("small")
    assert bring(cluster, manifests("large", replicas=2)).ok
    assert diff(manifests("large", replicas=2), live(cluster)) == ()


def test_the_graph_moves_only_after_the_new_service_is_ready():
    cluster = running("small")
    bring(cluster, manifests("large"))
    order = [
        cluster.log.index(("create", "digits-locate-large")),
        cluster.log.index(("ready?", "digits-locate-large")),
        cluster.log.index(("patch", "digits")),
        cluster.log.index(("ready?", "digits")),
        cluster.log.index(("delete", "digits-locate-small")),
    ]
    assert order == sorted(order)


def test_the_old_service_goes_only_after_the_drain():
    cluster, clock = running("small"), VirtualClock(100.0)
    lines = []
    report = bring(cluster, manifests("large"), clock, settle_s=40.0, on_progress=lines.append)
    assert report.seconds == 40.0
    drained = lines.index("draining for 40 s")
    assert "delete InferenceService default/digits-locate-small" in lines[drained + 1]


def test_more_replicas_need_no_drain():
    clock = VirtualClock()
    bring(running(), manifests(replicas=3), clock, settle_s=40.0)
    assert clock.now() == 0.0


def test_a_new_service_that_never_gets_ready_is_taken_back():
    cluster = running("small", slow={"digits-locate-large"})
    before = live(cluster)
    report = bring(cluster, manifests("large"), ready_timeout_s=30.0)
    assert report.outcome is Outcome.NOT_READY
    assert "no pod is up" in report.error
    assert [c.name for c in report.rolled_back] == ["digits-locate-large", "digits-batching"]
    assert [m.get("spec", m.get("data")) for m in live(cluster)] == [
        m.get("spec", m.get("data")) for m in before
    ]


def test_waiting_ends_at_the_time_given():
    clock = VirtualClock()
    cluster = running("small", slow={"digits-locate-large"})
    report = bring(cluster, manifests("large"), clock, ready_timeout_s=30.0)
    assert 30.0 <= report.seconds <= 31.0


def test_a_graph_that_does_not_come_up_goes_back_before_its_services():
    cluster, clock = running("small", slow={"digits"}), VirtualClock()
    report = bring(cluster, manifests("large"), clock, ready_timeout_s=5.0, settle_s=40.0)
    assert report.outcome is Outcome.NOT_READY
    assert served(cluster) == ["digits-locate-small", "digits-classify-small"]
    assert "digits-locate-large" not in names(cluster)
    back = cluster.log.index(("delete", "digits-locate-large"))
    assert ("patch", "digits") in cluster.log[:back]
    assert clock.now() >= 45.0


def test_a_conflict_stops_and_takes_nothing_back():
    cluster = running(fail={("patch", "digits"): ConflictError("somebody wrote")})
    report = bring(cluster, manifests("large"))
    assert (report.outcome, report.rolled_back) == (Outcome.CONFLICT, ())
    assert [c.name for c in report.done] == ["digits-batching", "digits-locate-large"]
    assert report.left[0].name == "digits"
    assert served(cluster) == ["digits-locate-small", "digits-classify-small"]


def test_an_outage_before_the_switch_is_reported_and_taken_back():
    cluster = running(fail={("patch", "digits"): UnreachableError("no answer")})
    report = bring(cluster, manifests("large"))
    assert (report.outcome, report.error) == (Outcome.FAILED, "no answer")
    assert "digits-locate-large" not in names(cluster)


def test_an_outage_while_retiring_keeps_the_new_plan():
    cluster = running(fail={("delete", "digits-locate-small"): UnreachableError("no answer")})
    report = bring(cluster, manifests("large"))
    assert (report.outcome, report.rolled_back) == (Outcome.FAILED, ())
    assert served(cluster) == ["digits-locate-large", "digits-classify-small"]
    assert [c.name for c in report.left] == ["digits-locate-small", "digits-batching"]


def test_what_could_not_be_taken_back_is_said():
    cluster = running(
        slow={"digits-locate-large"},
        fail={("delete", "digits-locate-large"): UnreachableError("no answer")},
    )
    report = bring(cluster, manifests("large"), ready_timeout_s=1.0)
    assert "could not take back InferenceService default/digits-locate-large" in report.error
    assert [c.name for c in report.rolled_back] == ["digits-batching"]


def test_a_service_that_is_gone_already_is_no_failure():
    cluster = running("small")
    changes = diff(manifests("large"), live(cluster))
    MemoryCluster.delete(cluster, "InferenceService", "default", "digits-locate-small")
    lines = []
    report = apply(changes, cluster, VirtualClock(), on_progress=lines.append)
    assert report.ok
    assert any("was gone already" in line for line in lines)


@pytest.mark.parametrize("slow", [set(), {"digits-locate-small"}])
def test_a_service_that_grows_is_waited_for(slow):
    cluster = running("small", slow=slow)
    report = bring(cluster, manifests(replicas=3), ready_timeout_s=2.0)
    assert report.ok is not bool(slow)
    service = cluster.get("InferenceService", "default", "digits-locate-small")
    assert service["spec"]["predictor"]["minReplicas"] == (1 if slow else 3)
