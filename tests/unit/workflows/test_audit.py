from __future__ import annotations

import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.load import TraceLoad
from optimizer.solvers import make_solver
from penstock.domain import Mode
from penstock.errors import ConflictError, UserError
from penstock.settings import Settings
from serving.state import read_state
from tests.builders import profile_table
from tests.ticks import Writes, calm, ports, tick
from workflows import audit, wiring
from workflows.metrics import TickMetrics


def ring(around):
    return audit.decisions(read_state(around.cluster, "digits", "default"))


def test_every_tick_leaves_one_decision_and_the_last_ones_stay() -> None:
    around = ports([20, 20, 20])
    made = [tick(calm(history=3), around) for _ in range(5)]
    assert ring(around) == tuple(made[-3:])


def test_a_tick_without_load_leaves_its_decision_too() -> None:
    around = ports([20, 20, 20])
    late = replace(around, source=TraceLoad([], step_s=1.0))
    made = tick(calm(), late)
    assert ring(around) == (made,)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 300.0, allow_nan=False))
def test_a_decision_solved_anew_gives_the_same_plan(load_rps: float) -> None:
    around = ports([load_rps] * 3)
    tick(calm(), around)
    (record,) = ring(around)
    again = audit.resolved(record, calm(), profile_table(calm()), make_solver("exhaustive"))
    assert audit.same_plan(again.plan, record.plan)


def test_a_decision_under_quarantine_is_solved_anew_without_the_variant() -> None:
    around = ports([20, 20, 20])
    around.cluster.startable = set()
    tick(calm(), around)
    around.cluster.startable = None
    record = tick(calm(), around)
    assert record.withheld
    again = audit.resolved(record, calm(), profile_table(calm()), make_solver("exhaustive"))
    assert audit.same_plan(again.plan, record.plan)


def test_a_decision_is_not_solved_anew_with_other_profiles() -> None:
    around = ports([20, 20, 20])
    record = tick(calm(), around)
    with pytest.raises(UserError, match="was made for inputs"):
        audit.resolved(record, calm(headroom=0.5), profile_table(), make_solver("exhaustive"))


def test_a_decision_with_nothing_to_solve_says_so() -> None:
    record = tick(calm(), replace(ports([20]), source=TraceLoad([], step_s=1.0)))
    with pytest.raises(UserError, match="had nothing to solve: standing still"):
        audit.resolved(record, calm(), profile_table(calm()), make_solver("exhaustive"))


def test_a_decision_is_found_by_the_beginning_of_its_id() -> None:
    made = [tick(calm(), ports([20])) for _ in range(2)]
    assert audit.find(made, made[1].id[:8]) is made[1]
    with pytest.raises(UserError, match="0 of 2 decisions"):
        audit.find(made, "nothing")


def test_a_record_that_cannot_be_kept_does_not_fail_the_tick() -> None:
    class Full(Writes):
        def apply(self, change):
            if change.name == "penstock-digits" and self.full:
                raise ConflictError("somebody writes all the time")
            return super().apply(change)

        full = False

    around = ports([20, 20, 20], cluster=(cluster := Full()))
    tick(calm(), around)
    cluster.full = True
    record = tick(calm(), around)
    assert record.decision.kind == "keep"
    assert len(ring(around)) == 1


def test_a_move_is_an_event_and_a_quiet_keep_is_none() -> None:
    around = ports([20, 20, 20])
    around.cluster.takes_events = True
    record = tick(calm(), around)
    tick(calm(), around)
    (event,) = around.cluster.list("Event", "default", {})
    assert event["metadata"]["name"] == f"penstock-digits.{record.id}"
    assert (event["type"], event["reason"]) == ("Normal", "Moved")
    assert event["involvedObject"]["name"] == "penstock-digits"
    assert event["message"].startswith("move: nothing runs yet")


def test_a_failure_is_a_warning() -> None:
    around = ports([20, 20, 20])
    around.cluster.takes_events = True
    around.cluster.startable = set()
    tick(calm(), around)
    (event,) = around.cluster.list("Event", "default", {})
    assert (event["type"], event["reason"]) == ("Warning", "Failed")


def test_pause_and_resume_are_one_write_each() -> None:
    around = ports([20, 20, 20])
    tick(calm(), around)
    audit.pause(around.cluster, calm(), paused=True)
    assert tick(calm(), around).mode == "advise"
    audit.pause(around.cluster, calm(), paused=False)
    assert tick(calm(), around).mode == "apply"


def test_metrics_tell_of_the_tick() -> None:
    metrics = TickMetrics(calm())
    record = tick(calm(), ports([20, 20, 20]))
    metrics.observe(record, now_s=99.0)
    value = metrics.registry.get_sample_value
    known = {"pipeline": "digits"}
    assert value("penstock_ticks_total", {**known, "decision": "move", "result": "ok"}) == 1
    assert value("penstock_load_rps", known) == 20
    assert value("penstock_plan_cores", known) == record.plan.promise.cost_cores
    assert value("penstock_last_tick_timestamp_seconds", known) == 99.0
    option = record.plan.stages[0]
    where = {**known, "stage": option.stage, "variant": option.variant}
    assert value("penstock_plan_replicas", where) == option.replicas


def test_what_a_tick_did_not_get_to_know_stays_as_it_was() -> None:
    metrics, around = TickMetrics(calm()), ports([20, 20, 20])
    metrics.observe(tick(calm(), around), now_s=99.0)
    blind = replace(around, source=TraceLoad([], step_s=1.0))
    metrics.observe(tick(calm(), blind), now_s=159.0)
    value = metrics.registry.get_sample_value
    known = {"pipeline": "digits"}
    assert value("penstock_load_rps", known) == 20
    assert value("penstock_tick_solved", known) == 0
    assert value("penstock_last_tick_timestamp_seconds", known) == 159.0
    assert value("penstock_last_success_timestamp_seconds", known) == 99.0


def test_while_ticks_only_advise_the_plan_in_force_is_the_running_one() -> None:
    around = ports([20, 20, 20])
    running = tick(calm(), around).target
    advised = tick(calm(mode=Mode.ADVISE), replace(around, source=ports([200] * 3).source))
    assert advised.decision.kind == "move"
    assert advised.target == running


@pytest.mark.slow
def test_metrics_are_served_and_a_busy_port_is_said() -> None:
    metrics = TickMetrics(calm())
    metrics.observe(tick(calm(), ports([20])), now_s=1.0)
    with metrics.served(0) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"penstock_ticks_total" in answer.read()
        with pytest.raises(UserError, match="choose another"), metrics.served(port):
            pass


def test_the_inputs_of_a_decision_are_the_pipeline_and_the_profiles() -> None:
    one = audit.fingerprint(calm(), profile_table(calm()))
    assert one == audit.fingerprint(calm(), profile_table(calm()))
    assert one != audit.fingerprint(calm(min_gain=0.1), profile_table(calm()))


def test_a_tick_without_a_port_leaves_its_numbers_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "numbers"
    with wiring.tick_metrics(calm(), Settings(metrics_folder=str(folder))) as observe:
        observe(tick(calm(), ports([20, 20, 20])))
    assert (folder / "load_rps").read_text() == "20.0\n"
    assert (folder / "result").read_text() == "ok\n"
