"""The whole tick on a Kubernetes API: its rights, its calls, and its death at any of them."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from optimizer.load import TraceLoad
from penstock.clock import VirtualClock
from penstock.domain import Mode
from penstock.errors import PenstockError
from serving.cluster.access import Account, Role
from serving.cluster.kubernetes import connect
from serving.intent import intend, running_plan
from serving.state import read_state
from tests.api_http import killed_at, serve
from tests.kserve import KServe
from tests.shared_data import shared
from tests.ticks import SETTINGS, calm, ports, tick
from workflows import audit

CHANGED = frozenset({"get", "list", "create", "patch", "delete"})
ROLE = Role(
    namespace="default",
    verbs={
        "configmaps": frozenset({"get", "list", "create", "update", "patch"}),
        "inferenceservices.serving.kserve.io": CHANGED,
        "inferencegraphs.serving.kserve.io": CHANGED,
        "poddisruptionbudgets.policy": CHANGED,
        "deployments.apps": frozenset({"get"}),
        "events": frozenset({"create"}),
    },
)
READING = Role(
    namespace="default",
    verbs={kind: verbs & {"get", "list"} for kind, verbs in ROLE.verbs.items()},
)
ACCOUNTS = {
    "tick": Account(user="tick", role=ROLE),
    "reader": Account(user="reader", role=READING),
}


class Stand:
    def __init__(self, stack, folder, user="tick"):
        self.kserve = KServe()
        crds = shared("data/kserve")
        self.server = stack.enter_context(serve(crds, accounts=ACCOUNTS, on_write=self.kserve))
        self.folder, self.clock = folder, VirtualClock(1_000.0)
        self.user = user

    def ports(self, load_rps, user=None):
        cluster = connect(kubeconfig=self.server.kubeconfig(self.folder, user or self.user))
        source = TraceLoad([load_rps] * 3, step_s=1.0, start_s=self.clock.now() - 3)
        return replace(ports([load_rps]), cluster=cluster, clock=self.clock, source=source)

    def tick(self, load_rps, user=None, **adaptation):
        record = tick(calm(**adaptation), self.ports(load_rps, user))
        self.clock.sleep(60.0)
        return record


@pytest.fixture
def stand(tmp_path):
    with ExitStack() as stack:
        yield Stand(stack, tmp_path)


def test_the_role_is_enough_for_all_that_a_tick_does(stand):
    for load_rps in (20.0, 400.0, 20.0, 20.0):
        record = stand.tick(load_rps)
        assert record.result is not None, record
        assert record.result.ok, record.result.message
    assert {c.user for c in stand.server.calls} == {"tick"}
    events = stand.ports(1.0, "admin").cluster.list("Event", "default", {})
    assert len(events) >= 2
    assert stand.kserve.outages == []


def test_to_advise_reading_is_enough_and_no_write_is_sent(stand):
    stand.tick(20.0)
    stand.server.forget()
    record = stand.tick(400.0, "reader", mode=Mode.ADVISE)
    assert record.changes
    assert stand.server.writes == []


def test_a_tick_that_changes_nothing_asks_little_and_writes_its_record(stand):
    for _ in range(2):
        stand.tick(20.0)
    stand.server.forget()
    stand.tick(20.0)
    assert len(stand.server.calls) <= 7, [str(c) for c in stand.server.calls]
    assert [str(c).rsplit("/")[-1] for c in stand.server.writes] == ["penstock-digits"]


def test_its_decisions_are_kept_there(stand):
    made = [stand.tick(20.0) for _ in range(3)]
    state = read_state(stand.ports(1.0).cluster, "digits", "default")
    assert audit.decisions(state) == tuple(made)


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_anywhere_the_next_tick_brings_the_cluster_to_its_plan(tmp_path):
    with ExitStack() as stack:
        stand = Stand(stack, tmp_path)
        stand.tick(20.0)
        stand.server.forget()
        stand.tick(400.0)
        calls = len(stand.server.calls)
    for number in range(1, calls + 1, 4):  # every call of a switch is in test_switch.py
        with ExitStack() as stack:
            stand = Stand(stack, tmp_path)
            stand.tick(20.0)
            stand.server.forget()
            stand.server.fault = killed_at(number, after=True)
            with suppress(PenstockError):
                stand.tick(400.0)
            stand.server.forget()
            record = stand.tick(400.0)
            where = f"killed after call {number}"
            cluster = stand.ports(1.0).cluster
            state = read_state(cluster, "digits", "default")
            plan = running_plan(state)
            assert state.journal is None, where
            assert plan is not None, where
            assert record.plan is not None, where
            assert plan.same_choice(record.plan), where
            found = intend(plan, state, calm(), cluster, SETTINGS, now_s=stand.clock.now())
            assert found.changes == (), where
            assert stand.kserve.outages == [], where
