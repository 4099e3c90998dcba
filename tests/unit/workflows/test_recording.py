"""Files of a run: what is written is read back; every fault is named with its line, all at once."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DomainError, SpecError, UserError
from tests.recordings import recording, request, run_info, sample, simulated, tick
from workflows.recorded import Request
from workflows.recording import (
    COLUMNS,
    FAULTS_SHOWN,
    append_line,
    format_json,
    format_requests,
    read_decisions,
    read_recording,
    read_requests,
    read_run,
    read_timeline,
    write_recording,
    write_text,
)

HEADER = ",".join(COLUMNS)


def faults_of(read, path: Path) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        read(path)
    return caught.value.faults


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("run", ["adaptive", "lightest", "heaviest"])
def test_a_recording_is_read_back_as_it_was_written(tmp_path, run):
    whole = simulated(run)
    write_recording(tmp_path, whole)
    assert read_recording(tmp_path) == whole


def test_a_tick_of_an_outage_is_read_back(tmp_path):
    bare = tick(load=None, forecast=None, plan=None, gap=None, result=None, status="failed")
    append_line(tmp_path / "decisions.jsonl", bare)
    assert read_decisions(tmp_path / "decisions.jsonl") == (bare,)


def test_a_gap_without_bound_is_not_known(tmp_path):
    append_line(tmp_path / "decisions.jsonl", tick(status="infeasible", gap=math.inf))
    assert read_decisions(tmp_path / "decisions.jsonl")[0].gap is None


@given(
    requests=st.lists(
        st.builds(
            request,
            scheduled_s=st.floats(0, 1e4),
            latency_s=st.none() | st.floats(0, 100),
            status=st.integers(0, 599),
            correct=st.just(2),
            total=st.integers(2, 9),
        ),
        max_size=5,
    )
)
def test_requests_survive_their_file(tmp_path_factory, requests):
    path = tmp_path_factory.mktemp("requests") / "requests.csv"
    path.write_text(format_requests(requests))
    assert read_requests(path) == tuple(sorted(requests, key=lambda r: r.scheduled_s))


def test_the_columns_are_the_fields_of_a_request():
    assert tuple(f.name for f in fields(Request)) == COLUMNS


def test_a_static_run_needs_no_decisions(tmp_path):
    write_recording(tmp_path, recording())
    (tmp_path / "decisions.jsonl").unlink()
    assert read_recording(tmp_path).ticks == ()


def test_missing_files_are_named_together(tmp_path):
    (tmp_path / "run.json").write_text(format_json(run_info()))
    faults = faults_of(read_recording, tmp_path)
    assert [fault.split(":")[0] for fault in faults] == ["requests.csv", "timeline.jsonl"]


def test_faults_of_all_files_come_in_one_answer(tmp_path):
    write_recording(tmp_path, recording())
    written(tmp_path / "requests.csv", HEADER, "0.1,soon,200,0,,", "-1,0.1,200,1,,")
    written(tmp_path / "timeline.jsonl", format_json(sample()).strip(), '{"time_s": 1}')
    faults = faults_of(read_recording, tmp_path)
    assert [fault.rsplit(": ", 1)[0] for fault in faults] == [
        "requests.csv: line 2: latency_s",
        "requests.csv: line 3: scheduled_s",
        "timeline.jsonl: line 2: stages",
        "timeline.jsonl: line 2: cost_cores",
    ]


def test_keys_of_a_newer_version_are_ignored(tmp_path):
    newer = json.loads(format_json(tick())) | {"colour": "green"}
    newer["decision"]["confidence"] = 0.5
    path = written(tmp_path / "decisions.jsonl", json.dumps(newer))
    assert read_decisions(path) == (tick(),)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("0,0.1,200,0,5,4", "line 2: correct: must be at most total, got 5 of 4"),
        ("0,0.1,200,0,5,", "line 2: correct: must be at most total, got 5 of "),
        ("0,0.1,200,0,,4", "line 2: correct: an answered request with a total must have it"),
        ("0,nan,200,0,,", "line 2: latency_s: Input should be a finite number"),
        ("0,0.1,200", "line 2: index: Input should be a valid integer"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(tmp_path, row, fault):
    assert faults_of(read_requests, written(tmp_path / "r.csv", HEADER, row)) == (fault,)


def test_a_lost_request_may_know_only_its_total(tmp_path):
    (lost,) = read_requests(written(tmp_path / "r.csv", HEADER, "0,,0,0,,4"))
    assert (lost.lost, lost.correct, lost.total) == (True, None, 4)


@pytest.mark.parametrize(("status", "lost"), [(200, False), (204, False), (503, True), (0, True)])
def test_only_a_successful_full_answer_is_not_lost(status, lost):
    assert request(status=status).lost is lost


def test_an_answer_that_broke_off_is_lost():
    assert request(status=200, latency_s=None).lost


def test_a_missing_column_is_named(tmp_path):
    path = written(
        tmp_path / "r.csv", "scheduled_s,latency_s,status,index,correct", "0,0.1,200,0,1"
    )
    assert faults_of(read_requests, path) == ("line 1: column missing: total",)


def test_a_line_that_was_cut_off_is_a_fault(tmp_path):
    path = written(tmp_path / "t.jsonl", format_json(sample()).strip(), '{"time_s": 0.5, "sta')
    assert faults_of(read_timeline, path)[0].startswith("line 2: Invalid JSON")


def test_a_plan_that_makes_no_sense_is_refused_with_its_line(tmp_path):
    broken = json.loads(format_json(tick()))
    broken["load"]["step_s"] = -1
    path = written(tmp_path / "decisions.jsonl", json.dumps(broken))
    assert (
        "line 1: load: Value error, load: step_s must be finite"
        in faults_of(read_decisions, path)[0]
    )


def test_a_text_where_a_number_belongs_is_refused(tmp_path):
    path = written(tmp_path / "run.json", format_json(run_info()).replace("12.0", '"12.0"'))
    assert faults_of(read_run, path) == ("wall_seconds: Input should be a valid number",)


def test_a_file_with_many_faults_shows_the_first(tmp_path):
    path = written(tmp_path / "r.csv", HEADER, *["x,,0,0,,"] * 50)
    faults = faults_of(read_requests, path)
    assert len(faults) == FAULTS_SHOWN + 1
    assert faults[-1] == "and 30 more"


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "r.csv").write_bytes(b"\xff\xfe\x00")
    assert faults_of(read_requests, tmp_path / "r.csv")[0].startswith("is not UTF-8 text")


def test_lines_are_sorted_by_time(tmp_path):
    for time_s in (2.0, 0.5, 1.0):
        append_line(tmp_path / "t.jsonl", sample(time_s))
    assert [s.time_s for s in read_timeline(tmp_path / "t.jsonl")] == [0.5, 1.0, 2.0]


def test_a_number_that_json_does_not_know_is_refused():
    with pytest.raises(DomainError, match="not finite"):
        format_json(sample(cost_cores=math.inf))


def test_a_file_keeps_its_content_when_the_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("summary.json", "old")]


@pytest.mark.parametrize(
    "write", [lambda p: write_text(p, "x"), lambda p: append_line(p, sample())]
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, write):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/t\.jsonl can't be written: "):
        write(tmp_path / "file" / "t.jsonl")
