"""Progress crosses a process border as lines; a virtual clock moves only when told to."""

from __future__ import annotations

from pathlib import Path

from penstock.clock import RealClock, VirtualClock
from penstock.progress import Progress, from_environment, parse_line, silent


def test_progress_written_to_a_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    report = from_environment({"PENSTOCK_PROGRESS": str(path)})
    report(Progress(step="profile", done=1, total=8, note="det-xs"))
    report(Progress(step="profile", done=2, total=8))
    assert [parse_line(line) for line in path.read_text().splitlines()] == [
        Progress(step="profile", done=1, total=8, note="det-xs"),
        Progress(step="profile", done=2, total=8),
    ]


def test_a_line_still_being_written_is_no_progress() -> None:
    assert parse_line('{"step": "prof') is None
    assert parse_line("[]") is None


def test_without_the_variable_nobody_looks() -> None:
    assert from_environment({}) is silent
    silent(Progress(step="x", done=0, total=1))


def test_a_virtual_clock_sleeps_in_no_time() -> None:
    clock = VirtualClock(100.0)
    clock.sleep(60.0)
    clock.sleep(-5.0)
    assert clock.now() == 160.0


def test_the_real_clock_moves_by_itself() -> None:
    clock = RealClock()
    before = clock.now()
    clock.sleep(0.0)
    assert clock.now() >= before > 1.6e9
