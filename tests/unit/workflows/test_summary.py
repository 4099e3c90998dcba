"""Figures of a run, worked out by hand, and the four promises at their edges."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from penstock.errors import SpecError, UserError
from tests.recordings import recording, request, run_info, sample, simulated, tick, write_example
from workflows.recorded import Durations
from workflows.recording import (
    format_json,
    write_recording,
)
from workflows.summary import (
    RunSummary,
    accuracy,
    attainment,
    judge,
    machine_facts,
    percent,
    quantile,
    read_runs,
    read_summary,
    summarize,
    summarize_run,
    write_summary,
)

LOST = {"latency_s": None, "status": 0, "correct": None}
PER_RUN = {
    "requests",
    "lost",
    "slo_attainment",
    "mean_accuracy",
    "mean_accuracy_answered",
    "mean_cores",
    "ticks",
    "switches",
    "replica_changes",
    "tick_seconds_p50",
    "tick_seconds_p95",
    "latency_p50_s",
    "latency_p99_s",
    "solver",
    "wall_seconds",
}


def figures(**fields) -> RunSummary:
    return replace(summarize_run(recording()), **fields)


def kept(**runs: RunSummary) -> dict[str, bool]:
    return {check.name: check.holds for check in judge(runs, 0.5)}


def test_a_lost_request_is_a_miss():
    requests = [request(), request(**LOST), request(latency_s=0.5), request(latency_s=0.51)]
    assert attainment(requests, 0.5) == 0.5


def test_no_request_shows_no_attainment():
    assert attainment([], 0.5) == 0.0


def test_a_lost_request_got_its_items_wrong():
    requests = [request(correct=3, total=4), request(**LOST, total=2), request(correct=0, total=0)]
    run = summarize_run(recording(requests=tuple(requests)))
    assert run.mean_accuracy == pytest.approx(3 / 6)
    assert run.mean_accuracy_answered == pytest.approx(3 / 4)


def test_a_failed_answer_earns_nothing_even_if_it_was_scored():
    assert accuracy([request(status=500, correct=4, total=4)]) == 0.0


def test_unscored_requests_have_no_accuracy():
    assert accuracy([request(correct=None, total=None)]) is None


def test_cores_are_weighed_with_time():
    timeline = (
        sample(0.0, cost_cores=1.0),
        sample(2.0, cost_cores=3.0),
        sample(4.0, cost_cores=2.0),
    )
    run = summarize_run(recording(timeline=timeline))
    assert run.mean_cores == pytest.approx((2 * 1 + 2 * 3 + 6 * 2) / 10)


def test_the_first_sample_stands_for_what_was_before_it():
    timeline = (sample(1.0, cost_cores=1.0), sample(5.0, cost_cores=2.0))
    assert summarize_run(recording(timeline=timeline)).mean_cores == pytest.approx(1.5)


def test_what_runs_after_the_load_costs_nothing_here():
    timeline = (sample(0.0, cost_cores=1.0), sample(11.0, cost_cores=50.0))
    assert summarize_run(recording(timeline=timeline)).mean_cores == pytest.approx(1.0)


def test_switches_and_replica_changes_are_counted_apart():
    timeline = (
        sample(0.0, "det-s"),
        sample(1.0, "det-s", replicas=2),
        sample(2.0, "det-m", replicas=1),
        sample(3.0, "det-m", replicas=1),
    )
    run = summarize_run(recording(timeline=timeline))
    assert (run.switches, run.replica_changes) == (1, 1)


def test_tick_times_are_those_of_whole_ticks():
    ticks = tuple(tick(durations_s=Durations(solve=9.0, total=t / 10)) for t in range(1, 12))
    run = summarize_run(recording(ticks=ticks))
    assert run.ticks == 11
    assert run.tick_seconds_p50 == pytest.approx(0.6)
    assert run.tick_seconds_p95 == pytest.approx(1.05)


def test_latencies_are_those_of_answered_requests():
    requests = (request(latency_s=0.1), request(latency_s=0.3), request(latency_s=9.0, status=500))
    run = summarize_run(recording(requests=requests))
    assert run.latency_p50_s == pytest.approx(0.2)
    assert run.latency_p99_s == pytest.approx(0.298)


def test_an_empty_run_has_no_figures_to_show():
    run = summarize_run(recording(requests=(), timeline=(), ticks=()))
    nothing = (run.mean_accuracy, run.mean_cores, run.latency_p99_s, run.tick_seconds_p50)
    assert nothing == (None, None, None, None)
    assert not any(kept(adaptive=run, lightest=run, heaviest=run).values())


def test_quantiles_of_nothing_are_not_known():
    assert quantile([], 0.5) is None


def test_every_promise_can_be_kept():
    ours = figures(slo_attainment=0.99, lost=0, mean_accuracy=0.8, mean_cores=1.0)
    light = figures(mean_accuracy=0.7, mean_cores=0.5)
    heavy = figures(slo_attainment=0.5, mean_cores=2.0)
    assert all(kept(adaptive=ours, lightest=light, heaviest=heavy).values())


@pytest.mark.parametrize(
    ("promise", "ours"),
    [
        ("slo_attainment", {"slo_attainment": 0.9899}),
        ("no_request_lost", {"lost": 1}),
        ("more_accurate_than_lightest", {"mean_accuracy": 0.7}),
        ("cheaper_or_fewer_misses_than_heaviest", {"mean_cores": 2.0, "slo_attainment": 0.99}),
    ],
)
def test_each_promise_can_be_broken_alone(promise, ours):
    good = {"slo_attainment": 1.0, "lost": 0, "mean_accuracy": 0.8, "mean_cores": 1.0}
    checks = kept(
        adaptive=figures(**{**good, **ours}),
        lightest=figures(mean_accuracy=0.7),
        heaviest=figures(mean_cores=2.0, slo_attainment=0.99),
    )
    assert [name for name, holds in checks.items() if not holds] == [promise]


def test_fewer_misses_make_up_for_a_higher_cost():
    ours = figures(mean_cores=3.0, slo_attainment=0.995)
    heavy = figures(mean_cores=2.0, slo_attainment=0.990)
    assert kept(adaptive=ours, heaviest=heavy)["cheaper_or_fewer_misses_than_heaviest"]


def test_a_run_that_is_missing_is_said():
    *_, accurate, cheap = judge({"adaptive": figures()}, 0.5)
    assert not accurate.holds
    assert "could not be judged" in accurate.detail
    assert not cheap.holds


def test_a_share_just_below_the_promise_does_not_look_like_it():
    assert percent(0.98999) == "98.99 %"
    assert percent(0.99) == "99.00 %"
    assert percent(1.0) == "100.00 %"


def test_the_summary_file_has_what_the_issue_asks_for(tmp_path):
    folder = write_example(tmp_path / "digits")
    written = write_summary(folder)
    document = json.loads((folder / "summary.json").read_text())
    assert {"example", "slo_s", "machine", "runs", "checks"} == set(document)
    assert list(document["runs"]) == ["adaptive", "lightest", "heaviest"]
    assert all(set(run) == PER_RUN for run in document["runs"].values())
    assert [set(check) for check in document["checks"]] == [{"name", "holds", "detail"}] * 4
    assert read_summary(folder / "summary.json") == written


def test_without_an_adaptive_run_there_is_no_summary(tmp_path):
    write_recording(tmp_path / "runs" / "lightest", simulated("lightest"))
    with pytest.raises(UserError, match=r"no recorded run 'adaptive' \(runs found: lightest\)"):
        summarize(tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_faults_of_all_runs_come_in_one_answer(tmp_path):
    for run in ("adaptive", "lightest"):
        write_recording(tmp_path / "runs" / run, recording())
        (tmp_path / "runs" / run / "requests.csv").write_text("")
    with pytest.raises(SpecError) as caught:
        read_runs(tmp_path)
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [
        "runs/adaptive/requests.csv",
        "runs/lightest/requests.csv",
    ]


def test_other_runs_come_after_the_three(tmp_path):
    for run in ("zz", "heaviest", "adaptive", "aa"):
        write_recording(tmp_path / "runs" / run, recording(info=run_info(run=run)))
    assert list(read_runs(tmp_path)) == ["adaptive", "heaviest", "aa", "zz"]


def test_a_broken_summary_is_refused_with_its_paths(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(format_json(run_info()))
    with pytest.raises(SpecError, match="example: Field required"):
        read_summary(path)


def test_a_missing_summary_is_refused(tmp_path):
    with pytest.raises(SpecError, match="can't be read"):
        read_summary(tmp_path / "summary.json")


def test_the_machine_is_described_in_text():
    facts = machine_facts()
    assert {"processor", "cores", "system", "python", "numpy"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())
