"""Tables and bars say what a person needs, without a terminal too."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from penstock.domain import Forecast, Load, Slo
from penstock.edges import graph_of_edges
from penstock.progress import Progress
from tests.builders import option, pipeline, plan, promise, stage
from workflows.recorded import (
    Decided,
    Durations,
    Outcome,
    Request,
    Tick,
)
from workflows.terminal import Board, following, load_table, plan_table, tick_line


def printed(*things: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(*things)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_a_plan_says_the_measured_accuracy_and_the_product() -> None:
    said = printed(plan_table(plan(promise=promise(accuracy_joint=0.5)), pipeline()))
    assert "measured end to end 0.500" in said
    assert "product of the stages 0.640 is off by +28.0%" in said
    assert "SLO 500 ms" in said


def test_a_plan_without_a_measured_accuracy_says_so() -> None:
    assert "end to end not measured" in printed(plan_table(plan(), pipeline()))


def test_a_plan_of_a_graph_shows_visits_and_marks_the_slowest_path() -> None:
    stages = tuple(stage(name) for name in ("slow", "fast", "last"))
    graph = graph_of_edges([("slow", "last"), ("slow", "fast")], ["slow", "fast", "last"])
    asked = pipeline(stages=(replace(stages[0], visit_ratio=2.5), *stages[1:]), graph=graph)
    options = (option("slow"), option("fast", latency_s=0.02), option("last", latency_s=0.03))
    said = printed(plan_table(plan(stages=options), asked))
    assert "visits" in said
    assert "slow small 2.5 1 1 1 10* 100 0.800" in said
    assert "fast small 1 1 1 1 20 100 0.800" in said
    assert "* the slowest of 2 paths: slow > last" in said


def test_a_plan_fits_into_80_columns_and_cuts_nothing_of_it() -> None:
    names = ("locate-the-digits", "classify")
    graph = graph_of_edges([names], list(names))
    asked = pipeline(stages=tuple(stage(name) for name in names), graph=graph)
    options = tuple(
        option(name, "a-rather-long-variant-name", replicas=12, batch_size=128, capacity_rps=123456)
        for name in names
    )
    table = plan_table(plan(stages=options), asked)
    console = Console(width=80, file=io.StringIO())
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert "\u2026" not in "".join(lines)
    for figure in ("128", "12", "123456", "0.800", "0.640"):
        assert any(figure in line.split() for line in lines), figure


def test_a_load_is_told_with_what_was_lost() -> None:
    good = Request(scheduled_s=0.0, latency_s=0.02, status=200, index=0, correct=1, total=2)
    lost = Request(scheduled_s=0.0, latency_s=None, status=0, index=0, correct=0, total=2)
    said = printed(load_table([good, lost], Slo(latency_s=0.5)))
    assert "lost │ 1" in said
    assert "within 500 ms │ 50.00 %" in said
    assert "accuracy │ 0.250" in said


def test_a_load_that_was_all_lost_has_no_latency() -> None:
    lost = Request(scheduled_s=0.0, latency_s=None, status=0, index=0)
    assert "p50 ms │ -" in printed(load_table([lost], Slo(latency_s=0.5)))


def tick(**fields: object) -> Tick:
    known = {
        "id": "1",
        "pipeline": "digits",
        "time_s": 0.0,
        "decision": Decided(kind="keep", reason="the running plan is still the best"),
        "durations_s": Durations(total=0.25),
    }
    return Tick(**{**known, **fields})  # type: ignore[arg-type]


def test_a_tick_is_one_line() -> None:
    line = tick_line(
        tick(
            load=Load(values_rps=(1.0, 2.0), step_s=1.0, end_s=0.0),
            forecast=Forecast(load_rps=3.0, horizon_s=1.0, forecaster="max"),
            result=Outcome(ok=True, message="applied"),
        )
    )
    assert line == (
        "load 2.0 req/s, forecast 3.0: keep, the running plan is still the best [applied] (0.25 s)"
    )


def test_a_tick_without_load_says_that() -> None:
    assert tick_line(tick()).startswith("no load data: keep")


def test_bars_are_moved_by_what_other_processes_report(tmp_path: Path) -> None:
    path = tmp_path / "logs/progress.jsonl"
    seen: list[Progress] = []
    with following(path, seen.append), path.open("a") as file:
        file.write(json.dumps({"step": "profile", "done": 1, "total": 2, "note": "a"}) + "\n")
        file.write('{"step": "pro')
    assert seen == [Progress(step="profile", done=1, total=2, note="a")]


def test_a_board_in_a_log_has_a_line_at_both_ends_of_a_step() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    with Board(console) as board:
        for done in (0, 1, 2, 2):
            board(Progress(step="profile", done=done, total=2, note="det-xs"))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.splitlines() == ["profile …", "profile: 2 of 2 in 0 s"]


def test_a_board_on_a_terminal_moves_one_bar_per_step() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with Board(console) as board:
        board(Progress(step="profile", done=1, total=2, note="det-xs"))
        board(Progress(step="profile", done=2, total=2, note="det-s"))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2/2" in said
    assert "det-s" in said
