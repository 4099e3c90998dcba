"""What a tick does about switches under way, services that failed, and edits of others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from optimizer.load import TraceLoad
from penstock.domain import Mode
from serving.diff import Action, Change
from serving.intent import Edits
from serving.state import read_state, write_state
from tests.builders import profile_table
from tests.ticks import SETTINGS, calm, ports, services, tick
from workflows.adapt import Ports, TickSettings, adapt
from workflows.recorded import Tick


def settled(load_rps: float = 20.0) -> Ports:
    around = ports([load_rps] * 3)
    tick(calm(), around)
    tick(calm(), around)
    around.cluster.written.clear()
    return around


def risen(around: Ports) -> Ports:
    return replace(around, source=TraceLoad([400.0] * 3, step_s=1.0, window_steps=3))


def run(around: Ports, settings: TickSettings = SETTINGS, **adaptation: Any) -> Tick:
    of = calm(**adaptation)
    return adapt(of, profile_table(of), around, settings)


def edit(around: Ports, name: str, body: dict[str, Any], kind: str = "InferenceService") -> None:
    around.cluster.apply(
        Change(action=Action.PATCH, kind=kind, namespace="default", name=name, body=body)
    )
    around.cluster.written.clear()


def replicas(around: Ports, name: str) -> int:
    live = around.cluster.get("InferenceService", "default", name)
    return live["spec"]["predictor"]["minReplicas"]


def a_service(around: Ports) -> str:
    return sorted(services(around.cluster))[0]


def test_what_did_not_come_up_is_not_offered_again_for_a_while() -> None:
    around = settled()
    around.cluster.startable = services(around.cluster)
    failed = run(risen(around))
    assert failed.result is not None
    assert not failed.result.ok
    quarantined = {q.service for q in read_state(around.cluster, "digits", "default").quarantine}
    assert quarantined
    again = run(risen(around))
    assert {w.split(":")[0] for w in again.withheld} == quarantined
    assert not services(around.cluster) & quarantined
    around.clock.sleep(SETTINGS.quarantine_s)
    assert run(risen(around)).withheld == ()


def test_a_switch_that_goes_on_is_no_failure_and_nothing_else_is_decided() -> None:
    around = settled()
    live = services(around.cluster)
    around.cluster.startable = live
    hurried = replace(SETTINGS, patience_s=1.0)
    first = run(risen(around), hurried)
    assert first.result is not None
    assert first.result.ok
    second = run(around, hurried)
    assert second.load is None
    assert second.result is not None
    assert second.result.ok
    assert second.resumed.startswith("phase prepare goes on")
    around.cluster.startable = None
    third = run(risen(around), hurried)
    assert third.resumed == "applied"
    assert services(around.cluster) != live


@pytest.mark.parametrize("mode", [Mode.ADVISE, Mode.OFF])
def test_a_switch_is_left_where_it_is_when_nothing_may_be_written(mode: Mode) -> None:
    around = settled()
    around.cluster.startable = services(around.cluster)
    run(risen(around), replace(SETTINGS, patience_s=1.0))
    around.cluster.written.clear()
    record = run(around, mode=mode)
    assert "nothing may be written" in record.decision.reason
    assert around.cluster.written == []


def test_while_paused_a_tick_only_advises() -> None:
    around = settled()
    state = read_state(around.cluster, "digits", "default")
    write_state(around.cluster, replace(state, paused=True))
    around.cluster.written.clear()
    record = run(risen(around))
    assert record.mode is Mode.ADVISE
    assert record.changes
    assert around.cluster.written == []


def test_an_edit_is_told_and_reverted() -> None:
    around = settled()
    name = a_service(around)
    before = replicas(around, name)
    edit(around, name, {"spec": {"predictor": {"minReplicas": 7}}})
    record = run(around)
    assert record.edits == (
        f"InferenceService default/{name}: spec.predictor.minReplicas is 7, the plan says "
        f"{before}, last written by penstock",
    )
    assert replicas(around, name) == before


def test_an_edit_is_told_and_respected_when_asked() -> None:
    around = settled()
    name = a_service(around)
    edit(around, name, {"spec": {"predictor": {"minReplicas": 7}}})
    record = run(around, replace(SETTINGS, edits=Edits.RESPECT))
    assert record.edits
    assert record.changes == ()
    assert replicas(around, name) == 7


def test_an_edit_is_respected_by_the_tick_that_carries_a_switch_on() -> None:
    around = settled()
    respecting = replace(SETTINGS, edits=Edits.RESPECT)
    before = services(around.cluster)
    timeouts = {"spec": {"routerTimeouts": {"serverRead": 77}}}
    edit(around, "digits", timeouts, "InferenceGraph")
    around.cluster.startable = before
    assert run(risen(around), replace(respecting, patience_s=1.0)).result.ok
    around.cluster.startable = None
    assert run(around, respecting).resumed == "applied"
    assert services(around.cluster) != before
    graph = around.cluster.get("InferenceGraph", "default", "digits")
    assert graph["spec"]["routerTimeouts"]["serverRead"] == 77


def test_a_respected_graph_keeps_the_services_it_names() -> None:
    around = settled()
    graph = around.cluster.get("InferenceGraph", "default", "digits")
    steps = graph["spec"]["nodes"]["root"]["steps"]
    old = steps[0]["serviceName"]
    service = around.cluster.get("InferenceService", "default", old)
    metadata = {k: service["metadata"][k] for k in ("labels", "annotations", "namespace")}
    body = {**service, "metadata": {**metadata, "name": "mine"}}
    body.pop("status", None)
    around.cluster.apply(
        Change(
            action=Action.CREATE,
            kind="InferenceService",
            namespace="default",
            name="mine",
            body=body,
        )
    )
    moved = [{**steps[0], "serviceName": "mine"}, *steps[1:]]
    edit(around, "digits", {"spec": {"nodes": {"root": {"steps": moved}}}}, "InferenceGraph")
    record = run(around, replace(SETTINGS, edits=Edits.RESPECT))
    assert record.changes == ()
    assert {"mine", old} <= services(around.cluster)
    record = run(around)
    assert "mine" not in services(around.cluster)
    assert len(record.edits) == 1


def test_a_new_image_is_no_edit_and_is_rolled_out_though_edits_are_respected() -> None:
    around = settled()
    newer = replace(SETTINGS.render, image="penstock:newer")
    record = run(around, replace(SETTINGS, render=newer, edits=Edits.RESPECT))
    assert record.edits == ()
    live = around.cluster.get("InferenceService", "default", a_service(around))
    assert live["spec"]["predictor"]["containers"][0]["image"] == "penstock:newer"


def test_an_image_that_does_not_start_is_held_back_while_replicas_still_follow() -> None:
    around = settled()
    newer = replace(SETTINGS, render=replace(SETTINGS.render, image="penstock:broken"))
    around.cluster.startable = set()
    assert not run(around, newer).result.ok
    around.cluster.startable = None
    around.cluster.written.clear()
    record = run(around, newer)
    assert record.changes == ()
    assert around.cluster.touched == []
