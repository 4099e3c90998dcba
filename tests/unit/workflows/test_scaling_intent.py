"""Replicas that penstock writes itself follow the plan, and leave room for others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.clock import VirtualClock
from penstock.domain import Plan
from serving.autoscale import Autoscaling
from serving.cluster.memory import MemoryCluster
from serving.diff import Action, Change, describe
from serving.intent import ApplySettings, Edits, Intent, intend
from serving.run_plan import apply_plan
from serving.state import read_state
from tests import builders as make
from tests.ticks import SETTINGS

EXTERNAL = replace(SETTINGS, render=replace(SETTINGS.render, autoscaling=Autoscaling.EXTERNAL))


def planned(replicas: int) -> Plan:
    return make.plan(stages=(make.option("locate", replicas=replicas), make.option("classify")))


def running(plan: Plan, *, deployed: int) -> MemoryCluster:
    """Apply a plan, and let KServe's Deployment of the first stage have so many replicas now."""
    cluster = MemoryCluster()
    assert apply_plan(plan, make.pipeline(), cluster, EXTERNAL, clock=VirtualClock()).ok
    name = "digits-locate-small-predictor"
    body: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": deployed},
    }
    create = Change(
        action=Action.CREATE, kind="Deployment", namespace="default", name=name, body=body
    )
    cluster.apply(create)
    return cluster


def intent(plan: Plan, cluster: MemoryCluster, settings: ApplySettings = EXTERNAL) -> Intent:
    state = read_state(cluster, "digits", "default")
    return intend(plan, state, make.pipeline(), cluster, settings, now_s=0.0)


@pytest.mark.parametrize(
    ("before", "deployed", "after", "sent"),
    [
        (4, 4, 2, 2),  # nobody moved it: it follows the plan down
        (2, 2, 4, 4),
        (4, 3, 2, None),  # somebody did, within the new band
        (2, 4, 3, None),
        (4, 8, 2, 4),  # beyond the new band
    ],
)
def test_replicas_follow_the_plan_unless_another_moved_them_within_the_band(
    before: int, deployed: int, after: int, sent: int | None
) -> None:
    cluster = running(planned(before), deployed=deployed)
    changes = [c for c in intent(planned(after), cluster).changes if c.kind == "Scale"]
    assert [c.body["spec"]["replicas"] for c in changes] == ([sent] if sent else [])


def test_moves_within_the_band_are_no_edits() -> None:
    found = intent(planned(2), running(planned(2), deployed=3))
    assert (found.edits, found.changes) == ((), ())


def test_moves_out_of_the_band_are_told_and_set_back() -> None:
    found = intent(planned(2), running(planned(2), deployed=9))
    assert found.edits == (
        "Scale default/digits-locate-small-predictor: spec.replicas is 9, the plan says 4",
    )
    assert describe(found.changes[0]) == (
        "patch Scale default/digits-locate-small-predictor: fewer replicas",
        "  spec.replicas: 9 -> 4",
    )


def test_moves_out_of_the_band_stay_where_edits_are_respected() -> None:
    respecting = replace(EXTERNAL, edits=Edits.RESPECT)
    found = intent(planned(2), running(planned(2), deployed=9), respecting)
    assert len(found.edits) == 1
    assert found.changes == ()
