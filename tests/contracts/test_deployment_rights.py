"""The tick's Role, read from what is deployed: it is enough for a whole life, and no more."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest

from optimizer.load import TraceLoad
from penstock.clock import VirtualClock
from penstock.errors import UserError
from serving.cluster.access import Account, Rule, read_role
from serving.cluster.kubernetes import connect
from serving.cluster.requests import read_request
from tests.api_http import serve
from tests.builders import pipeline
from tests.kserve import KServe
from tests.shared_data import shared
from tests.ticks import calm, ports, tick
from workflows import audit
from workflows.rights import tick_rights

pytestmark = pytest.mark.slow

ARGO = "workflowtaskresults.argoproj.io"


def role_of(of, *, argo):
    return read_role(next(m for m in tick_rights(of, argo=argo) if m["kind"] == "Role"))


class Stand:
    """A cluster on which the tick has an account with the Role that is deployed, and no more."""

    def __init__(self, stack, folder):
        self.kserve = KServe()
        self.role = role_of(calm(), argo=False)
        accounts = {"tick": Account(user="tick", role=self.role)}
        crds = shared("data/kserve")
        self.server = stack.enter_context(serve(crds, accounts=accounts, on_write=self.kserve))
        self.cluster = connect(kubeconfig=self.server.kubeconfig(folder, "tick"))
        self.clock = VirtualClock(1_000.0)

    def tick(self, load_rps):
        source = TraceLoad([load_rps] * 3, step_s=1.0, start_s=self.clock.now() - 3)
        around = replace(ports([load_rps]), cluster=self.cluster, clock=self.clock, source=source)
        record = tick(calm(), around)
        self.clock.sleep(1_000.0)  # longer than any quarantine
        assert record.result is None or "403" not in record.result.message, record.result
        return record

    def used(self):
        """Return resource and verb of each call."""
        asked = [
            read_request(c.method, c.path, content_type=None, body=None, user_agent="").attempt
            for c in self.server.calls
        ]
        return {(f"{a.plural}.{a.group}" if a.group else a.plural, a.verb, a.name) for a in asked}


@pytest.fixture
def stand(tmp_path):
    with ExitStack() as stack:
        yield Stand(stack, tmp_path)


def used_by(rule: Rule, resource, verb, used) -> bool:
    return any(u[:2] == (resource, verb) and rule.allows(*u) for u in used)


def test_the_role_is_enough_for_a_whole_life_and_every_right_is_used(stand):
    stand.kserve.stuck = {"digits"}  # the router does not come up: the first switch is taken back
    failed = stand.tick(20.0)
    assert failed.result is not None
    assert not failed.result.ok
    stand.kserve.stuck = set()
    for load_rps in (20.0, 100.0, 400.0, 600.0, 20.0):
        record = stand.tick(load_rps)
        assert record.result is not None, record
        assert record.result.ok, record.result.message
    for paused in (True, False):
        audit.pause(stand.cluster, calm(), paused=paused)
    assert stand.kserve.outages == []

    used = stand.used()
    idle = [
        (resource, verb)
        for rule in stand.role.rules
        for resource in rule.resources
        for verb in rule.verbs
        if not used_by(rule, resource, verb, used)
    ]
    assert idle == []


def test_another_pipelines_objects_are_out_of_reach(stand):
    stand.tick(20.0)
    for kind, name in (
        ("InferenceService", "fashion-locate-small"),
        ("InferenceGraph", "fashion"),
        ("ConfigMap", "penstock-fashion"),
        ("ConfigMap", "penstock-config-digits"),
        ("Deployment", "penstock-gateway-digits"),
        ("Secret", "penstock-store"),
    ):
        with pytest.raises(UserError, match="403"):
            stand.cluster.get(kind, "default", name)
    with pytest.raises(UserError, match="403"):
        stand.cluster.delete("InferenceService", "default", "fashion-locate-small")
    with pytest.raises(UserError, match="403"):
        stand.cluster.list("InferenceService", "shop", {})


def test_with_argo_there_is_one_right_more():
    more = set(role_of(pipeline(), argo=True).rules) - set(role_of(pipeline(), argo=False).rules)
    assert more == {Rule(resources=frozenset({ARGO}), verbs=frozenset({"create", "patch"}))}
