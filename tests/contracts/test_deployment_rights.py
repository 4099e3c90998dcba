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
from serving.diff import Action, Change
from tests.api_http import serve
from tests.builders import pipeline, profile_table
from tests.kserve import KServe
from tests.shared_data import shared
from tests.ticks import SETTINGS, calm, ports
from workflows import audit
from workflows.adapt import adapt
from workflows.rights import tick_rights

pytestmark = pytest.mark.slow

ARGO = "workflowtaskresults.argoproj.io"


def role_of(of, **more):
    return read_role(next(m for m in tick_rights(of, **more) if m["kind"] == "Role"))


class Stand:
    """A cluster on which the tick has an account with the Role that is deployed, and no more."""

    def __init__(self, stack, folder, autoscaling="fixed"):
        self.kserve = KServe()
        render = replace(SETTINGS.render, autoscaling=autoscaling)
        self.settings = replace(SETTINGS, render=render)
        self.role = role_of(calm(), argo=False, scales=autoscaling == "external")
        accounts = {"tick": Account(user="tick", role=self.role)}
        crds = shared("data/kserve")
        self.server = stack.enter_context(serve(crds, accounts=accounts, on_write=self.kserve))
        self.cluster = connect(kubeconfig=self.server.kubeconfig(folder, "tick"))
        self.admin = connect(kubeconfig=self.server.kubeconfig(folder))
        self.clock = VirtualClock(1_000.0)

    def tick(self, load_rps):
        source = TraceLoad([load_rps] * 3, step_s=1.0, start_s=self.clock.now() - 3)
        around = replace(ports([load_rps]), cluster=self.cluster, clock=self.clock, source=source)
        record = adapt(calm(), profile_table(calm()), around, self.settings)
        self.clock.sleep(1_000.0)  # longer than any quarantine
        assert record.result is None or "403" not in record.result.message, record.result
        return record

    def used(self):
        """Return resource, verb and name of each call of the tick."""
        asked = [
            read_request(c.method, c.path, content_type=None, body=None, user_agent="").attempt
            for c in self.server.calls
            if c.user == "tick"
        ]
        of = [f"{a.plural}/{a.subresource}" if a.subresource else a.plural for a in asked]
        return {
            (f"{plural}.{a.group}" if a.group else plural, a.verb, a.name)
            for a, plural in zip(asked, of, strict=True)
        }

    def idle(self):
        """Return the rights that were not used."""
        used = self.used()
        return [
            (resource, verb)
            for rule in self.role.rules
            for resource in rule.resources
            for verb in rule.verbs
            if not any(u[:2] == (resource, verb) and rule.allows(*u) for u in used)
        ]


@pytest.fixture
def stand(tmp_path):
    with ExitStack() as stack:
        yield Stand(stack, tmp_path)


def _edit_a_budget(stand):
    """Change a budget by hand; the next tick puts it right."""
    change = Change(
        action=Action.PATCH,
        kind="PodDisruptionBudget",
        namespace="default",
        name="digits",
        body={"spec": {"maxUnavailable": 0}},
    )
    stand.admin.apply(change)


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
    _edit_a_budget(stand)
    assert stand.tick(20.0).result.ok
    for paused in (True, False):
        audit.pause(stand.cluster, calm(), paused=paused)
    assert stand.kserve.outages == []

    assert stand.idle() == []


def test_who_writes_replicas_itself_needs_their_scale_and_nothing_more(tmp_path):
    with ExitStack() as stack:
        stand = Stand(stack, tmp_path, "external")
        for load_rps in (20.0, 100.0, 400.0, 20.0):
            record = stand.tick(load_rps)
            assert record.result is None or record.result.ok, record.result
        used = {u[:2] for u in stand.used()}
    assert {("deployments/scale.apps", verb) for verb in ("get", "patch")} <= used


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
