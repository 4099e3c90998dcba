from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.clock import VirtualClock
from penstock.errors import ConflictError, ManifestError, UnreachableError
from serving.apply import Outcome, apply, resume, seen_ready
from serving.cluster import Readiness
from serving.cluster.memory import MemoryCluster
from serving.diff import diff
from serving.journal import Phase
from serving.render import RenderSettings, render
from serving.state import read_state, write_state
from serving.switch import POLL_S
from tests import builders as make
from tests.applying import bring, hands, live, rendered_again, target_for

STATE = "penstock-digits"
SETTINGS = RenderSettings(image="i:1", store_uri="s3://m")


class Recording(MemoryCluster):
    """Notes what is done to it; fails when told to; objects named slow are never ready."""

    def __init__(self, slow=(), fail=None):
        super().__init__(readiness=self._judge)
        self.log = []
        self.slow = set(slow)
        self.fail = fail or {}
        self.passing = {}

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
        if name == "penstock-digits":
            return
        self.log.append((action, name))
        if self.passing.get((action, name)):
            raise self.passing[(action, name)].pop()
        if (action, name) in self.fail:
            raise self.fail[(action, name)]


def manifests(variant="small", replicas=1):
    locate = make.option("locate", variant=variant, replicas=replicas)
    return render(make.pipeline(), make.plan(stages=(locate, make.option("classify"))), SETTINGS)


def running(variant="small", **fields):
    cluster = Recording(**fields)
    slow, cluster.slow = cluster.slow, set()
    fail, cluster.fail = cluster.fail, {}
    assert bring(cluster, manifests(variant)).ok
    cluster.log.clear()
    cluster.slow, cluster.fail = slow, fail
    return cluster


def names(cluster):
    return [m["metadata"]["name"] for m in live(cluster) if m["metadata"]["name"] != STATE]


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
    before = [m for m in live(cluster) if m["metadata"]["name"] != STATE]
    report = bring(cluster, manifests("large"), ready_timeout_s=30.0)
    assert report.outcome is Outcome.NOT_READY
    assert "no pod is up" in report.error
    assert [(c.kind, c.name) for c in report.rolled_back] == [
        ("InferenceService", "digits-locate-large"),
        ("PodDisruptionBudget", "digits-locate-large"),
        ("ConfigMap", "digits-batching"),
    ]
    after = [m for m in live(cluster) if m["metadata"]["name"] != STATE]
    assert [m.get("spec", m.get("data")) for m in after] == [
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


def test_a_conflict_that_lasts_leaves_the_switch_to_the_next_tick():
    cluster = running(fail={("patch", "digits"): ConflictError("somebody wrote")})
    clock = VirtualClock()
    report = bring(cluster, manifests("large"), clock)
    assert (report.outcome, report.rolled_back) == (Outcome.CONFLICT, ())
    assert served(cluster) == ["digits-locate-small", "digits-classify-small"]
    cluster.fail.clear()
    clock.sleep(60.0)
    assert bring(cluster, manifests("large"), clock).ok
    assert served(cluster) == ["digits-locate-large", "digits-classify-small"]


@pytest.mark.parametrize("trouble", [ConflictError("written"), UnreachableError("no answer")])
def test_a_short_trouble_is_sat_out(trouble):
    cluster = running()
    cluster.passing = {("patch", "digits"): [trouble] * 3}
    assert bring(cluster, manifests("large")).ok
    assert served(cluster) == ["digits-locate-large", "digits-classify-small"]


def test_an_outage_leaves_the_switch_to_the_next_tick():
    cluster = running(fail={("patch", "digits"): UnreachableError("no answer")})
    clock = VirtualClock()
    report = bring(cluster, manifests("large"), clock)
    assert (report.outcome, report.error) == (Outcome.FAILED, "no answer")
    assert report.state.journal.phase is Phase.SWITCH
    cluster.fail.clear()
    clock.sleep(60.0)
    assert bring(cluster, manifests("large"), clock).ok


def test_a_refusal_is_taken_back_and_its_service_quarantined():
    cluster = running(fail={("create", "digits-locate-large"): ManifestError("no such field")})
    report = bring(cluster, manifests("large"), quarantine_s=60.0)
    assert (report.outcome, report.error) == (Outcome.FAILED, "no such field")
    assert [q.service for q in report.state.quarantined(59.0)] == ["digits-locate-large"]
    assert report.state.quarantined(61.0) == ()
    assert served(cluster) == ["digits-locate-small", "digits-classify-small"]


def test_a_refused_graph_puts_what_is_new_in_quarantine():
    cluster = running(fail={("patch", "digits"): ManifestError("no such field")})
    report = bring(cluster, manifests("large"))
    assert [q.service for q in report.state.quarantine] == ["digits-locate-large"]


def test_an_outage_while_retiring_keeps_the_new_plan():
    cluster = running(fail={("delete", "digits-locate-small"): UnreachableError("no answer")})
    clock = VirtualClock()
    report = bring(cluster, manifests("large"), clock)
    assert (report.outcome, report.rolled_back) == (Outcome.FAILED, ())
    assert served(cluster) == ["digits-locate-large", "digits-classify-small"]
    assert report.state.journal.phase is Phase.RETIRE
    cluster.fail.clear()
    clock.sleep(60.0)
    assert bring(cluster, manifests("large"), clock).ok
    assert "digits-locate-small" not in names(cluster)


def test_what_could_not_be_taken_back_is_taken_back_later():
    cluster = running(
        slow={"digits-locate-large"},
        fail={("delete", "digits-locate-large"): UnreachableError("no answer")},
    )
    clock = VirtualClock()
    report = bring(cluster, manifests("large"), clock, ready_timeout_s=1.0)
    assert (report.outcome, report.state.journal.phase) == (Outcome.FAILED, Phase.BACK)
    assert report.error.endswith("no answer")
    cluster.fail.clear()
    clock.sleep(60.0)
    state = read_state(cluster, "digits", "default")
    report = resume(rendered_again(state.journal.plan_to), state, hands(cluster, clock))
    assert "was not ready" in report.error
    assert report.state.journal is None
    assert "digits-locate-large" not in names(cluster)


def test_a_service_that_is_gone_already_is_no_failure():
    cluster = running("small")
    lines = []

    def vanish(line):
        lines.append(line)
        if line.startswith("delete InferenceService"):
            MemoryCluster.delete(cluster, "InferenceService", "default", "digits-locate-small")

    assert bring(cluster, manifests("large"), on_progress=vanish).ok
    assert any("was gone already" in line for line in lines)


@pytest.mark.parametrize("slow", [set(), {"digits-locate-small"}])
def test_more_replicas_are_sent_at_once_and_waited_for_only_when_asked(slow):
    cluster, clock = running("small", slow=slow), VirtualClock()
    report = bring(cluster, manifests(replicas=3), clock, ready_timeout_s=2.0)
    assert report.ok
    assert clock.now() == 0.0
    service = cluster.get("InferenceService", "default", "digits-locate-small")
    assert service["spec"]["predictor"]["minReplicas"] == 3
    patient = hands(cluster, clock, ready_timeout_s=2.0)
    seen = seen_ready(report, target_for(manifests(replicas=3)), patient)
    assert seen.ok is not bool(slow)
    assert ("no pod is up" in seen.error) is bool(slow)


def test_two_who_read_the_same_state_do_not_both_apply():
    cluster, clock = running("small"), VirtualClock()
    state = read_state(cluster, "digits", "default")
    changes = diff(manifests("large"), live(cluster))
    reports = [
        apply(target_for(manifests("large")), changes, state, hands(cluster, clock))
        for _ in range(2)
    ]
    assert [r.outcome for r in reports] == [Outcome.APPLIED, Outcome.CONFLICT]
    assert reports[1].done == ()


def test_a_switch_that_is_held_is_left_alone():
    cluster, clock = running(slow={"digits-locate-large"}), VirtualClock()
    first = bring(cluster, manifests("large"), clock, ready_timeout_s=60.0, patience_s=5.0)
    assert first.outcome is Outcome.UNDER_WAY
    state = replace(
        first.state, journal=replace(first.state.journal, held_until_s=clock.now() + 9.0)
    )
    report = resume(target_for(manifests("large")), state, hands(cluster, clock))
    assert report.outcome is Outcome.CONFLICT
    assert "holds it for 9 s more" in report.error


def test_a_tick_that_runs_out_of_patience_leaves_the_switch_to_the_next_one_at_once():
    cluster, clock = running(slow={"digits-locate-large"}), VirtualClock()
    report = bring(cluster, manifests("large"), clock, ready_timeout_s=60.0, patience_s=5.0)
    assert report.outcome is Outcome.UNDER_WAY
    assert report.seconds == pytest.approx(5.0, abs=2 * POLL_S)
    cluster.slow.clear()
    assert bring(cluster, manifests("large"), clock).ok


def test_the_time_for_a_rollout_counts_from_its_beginning_over_all_ticks():
    cluster, clock = running(slow={"digits-locate-large"}), VirtualClock()
    limits = {"ready_timeout_s": 12.0, "patience_s": 5.0}
    outcomes = [bring(cluster, manifests("large"), clock, **limits).outcome for _ in range(2)]
    assert outcomes == [Outcome.UNDER_WAY] * 2
    state = read_state(cluster, "digits", "default")
    report = resume(target_for(manifests("large")), state, hands(cluster, clock, **limits))
    assert report.outcome is Outcome.NOT_READY
    assert clock.now() == pytest.approx(12.0, abs=4 * POLL_S)


def test_whoever_was_overtaken_stops_before_the_graph_moves():
    cluster, clock = running(slow={"digits-locate-large"}), VirtualClock()

    def overtaken(line):
        if line.startswith("waiting"):
            state = read_state(cluster, "digits", "default")
            theirs = replace(state.journal, owner="somebody else")
            write_state(cluster, replace(state, journal=theirs))
            cluster.slow.clear()

    report = bring(cluster, manifests("large"), clock, on_progress=overtaken)
    assert report.outcome is Outcome.CONFLICT
    assert "another tick has written the state" in report.error
    assert served(cluster) == ["digits-locate-small", "digits-classify-small"]


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.SWITCH, Phase.DRAIN])
def test_a_switch_whose_plan_no_longer_fits_is_taken_back(phase):
    cluster, clock = running("small"), VirtualClock()
    stuck = {Phase.PREPARE: {"digits-locate-large"}, Phase.SWITCH: {"digits"}}
    cluster.slow = stuck.get(phase, set())
    report = bring(
        cluster, manifests("large"), clock, patience_s=1.0, settle_s=99.0, ready_timeout_s=50.0
    )
    assert report.state.journal.phase is phase
    cluster.slow = set()
    report = resume(None, report.state, hands(cluster, clock))
    assert report.outcome is Outcome.FAILED
    assert "changed while it was under way" in report.error
    assert served(cluster) == ["digits-locate-small", "digits-classify-small"]
    assert "digits-locate-large" not in names(cluster)
    assert report.state.quarantine == ()


def test_a_pause_while_a_switch_is_under_way_does_not_lose_it():
    cluster, clock = running(slow={"digits-locate-large"}), VirtualClock()

    def paused(line):
        if line.startswith("waiting"):
            write_state(cluster, replace(read_state(cluster, "digits", "default"), paused=True))
            cluster.slow.clear()

    report = bring(cluster, manifests("large"), clock, on_progress=paused)
    assert report.ok, report.error
    assert read_state(cluster, "digits", "default").paused
