"""What a person sees in the terminal: tables, and bars for long work.

Only here and in ``workflows.commands`` is anything written to standard output.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.domain import Pipeline, Plan
from penstock.graph import paths
from penstock.plan import slowest_path
from penstock.progress import Progress, parse_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID
    from rich.table import Table

    from penstock.domain import Slo
    from workflows.recorded import (
        Request,
        Tick,
    )
    from workflows.status import Status
    from workflows.summary import Summary


class Terminal:
    """Standard output, or standard error, as a console that is made when it is first used."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> Console:
        """The console."""
        from rich.console import Console

        return Console(stderr=self._stderr)

    def print(self, *things: object, **how: Any) -> None:
        """Print as ``rich.console.Console.print`` does."""
        self.console.print(*things, **how)


NAMED = ("stage", "variant")

out = Terminal()
err = Terminal(stderr=True)


def plan_table(plan: Plan, pipeline: Pipeline) -> Table:
    """Return a plan and what it promises as a table.

    It fits into 80 columns; where names are long they fold, and no number is cut.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=f"{plan.pipeline}: plan for {plan.load_rps:g} req/s",
        caption=_promises(plan, pipeline),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    rows = list(_plan_rows(plan, pipeline))
    for i, name in enumerate(rows[0]):
        widest = max(len(row[i]) for row in rows[1:])
        is_name = name in NAMED
        table.add_column(
            name,
            justify="left" if is_name else "right",
            overflow="fold",
            min_width=min(8, widest) if is_name else widest,
        )
    for row in rows[1:-1]:
        table.add_row(*row)
    table.add_section()
    table.add_row(*rows[-1])
    return table


def _plan_rows(plan: Plan, pipeline: Pipeline) -> Iterator[tuple[str, ...]]:
    """Yield the head, a row for each stage and one for the pipeline."""
    visits = () if pipeline.graph is None else ("visits",)
    yield (*NAMED, *visits, "batch", "replicas", "cores", "ms", "req/s", "accuracy")
    marks = _marks(plan, pipeline)
    for option in plan.stages:
        ratio = pipeline.visited(pipeline.stage(option.stage)).visit_ratio
        yield (
            option.stage,
            option.variant,
            *(f"{ratio:.3g}" for _ in visits),
            str(option.batch_size),
            str(option.replicas),
            f"{option.cost_cores:g}",
            f"{option.latency_s * 1e3:.0f}{marks.get(option.stage, '')}",
            f"{option.capacity_rps:.0f}",
            f"{option.accuracy:.3f}",
        )
    promise = plan.promise
    yield (
        "pipeline",
        *("" for _ in ("variant", *visits, "batch", "replicas")),
        f"{promise.cost_cores:g}",
        f"{promise.latency_s * 1e3:.0f}{' ' if marks else ''}",
        f"{promise.capacity_rps:.0f}",
        f"{promise.accuracy:.3f}",
    )


def _marks(plan: Plan, pipeline: Pipeline) -> dict[str, str]:
    """Return a star for each stage of the slowest path, where there are several."""
    if pipeline.graph is None:
        return {}
    slowest = slowest_path(plan, pipeline.graph)
    return {o.stage: "*" if o.stage in slowest else " " for o in plan.stages}


def _promises(plan: Plan, pipeline: Pipeline) -> str:
    promise, slo = plan.promise, pipeline.slo
    lines = [
        f"latency: p{100 * slo.quantile:g}, SLO {slo.latency_s * 1e3:.0f} ms "
        f"({promise.latency_model}); solved by {plan.solver}"
    ]
    if pipeline.graph is not None:
        path = " > ".join(slowest_path(plan, pipeline.graph))
        lines.append(f"* the slowest of {len(paths(pipeline.graph))} paths: {path}")
    if promise.accuracy_joint is None:
        lines.append(
            f"accuracy: product of the stages {promise.accuracy_product:.3f}; "
            "end to end not measured"
        )
    else:
        over = promise.accuracy_product / promise.accuracy_joint - 1
        lines += [
            f"accuracy: measured end to end {promise.accuracy_joint:.3f};",
            f"the product of the stages {promise.accuracy_product:.3f} is off by {over:+.1%}",
        ]
    return "\n".join(lines)


def runs_table(summary: Summary) -> Table:
    """Return the comparison of the runs: requests, lost, SLO attainment, accuracy, cores."""
    from workflows.summary import percent

    slo = f"within {summary.slo_s * 1e3:.0f} ms"
    rows = [
        (
            name,
            str(run.requests),
            str(run.lost),
            percent(run.slo_attainment),
            _number(run.mean_accuracy, 3),
            _number(run.mean_cores, 2),
            _number(None if run.latency_p99_s is None else run.latency_p99_s * 1e3, 0),
        )
        for name, run in summary.runs.items()
    ]
    columns = ("run", "requests", "lost", slo, "accuracy", "mean cores", "p99 ms")
    return numbers_table("one load, three ways to serve it", columns, rows)


def load_table(requests: Sequence[Request], slo: Slo) -> Table:
    """Return what came back of a load."""
    from workflows.summary import accuracy, attainment, percent, quantile

    latencies = [r.latency_s for r in requests if not r.lost and r.latency_s is not None]
    at_slo = f"p{100 * slo.quantile:g} ms"
    rows = [
        ("requests", str(len(requests))),
        ("lost", str(sum(r.lost for r in requests))),
        (f"within {slo.latency_s * 1e3:g} ms", percent(attainment(requests, slo.latency_s))),
        ("accuracy", _number(accuracy(requests), 3)),
        ("p50 ms", _milliseconds(quantile(latencies, 0.5))),
        (at_slo, _milliseconds(quantile(latencies, slo.quantile))),
    ]
    return numbers_table("load", ("", ""), rows)


def _milliseconds(seconds: float | None) -> str:
    return _number(None if seconds is None else seconds * 1e3, 1)


def tick_line(tick: Tick) -> str:
    """Return a tick in one line: load, forecast, what was decided and why, how it went."""
    seen = "no load data" if tick.load is None else f"load {tick.load.last_rps:.1f} req/s"
    ahead = "" if tick.forecast is None else f", forecast {tick.forecast.load_rps:.1f}"
    how = "" if tick.result is None else f" [{tick.result.message}]"
    took_s = tick.durations_s.total
    return f"{seen}{ahead}: {tick.decision.kind}, {tick.decision.reason}{how} ({took_s:.2f} s)"


def status_table(status: Status) -> Table:
    """Return how a pipeline is, on one screen."""
    from rich.table import Table
    from rich.text import Text

    pipeline, plan = status.pipeline, status.plan
    runs = f"plan for {plan.load_rps:g} req/s" if plan else "no plan yet"
    table = Table(
        title=f"{pipeline.namespace}/{pipeline.name}: {runs}",
        caption=Text("\n".join(_status_lines(status))),  # as it stands: it may hold brackets
        caption_justify="left",
    )
    for name in ("stage", "variant"):
        table.add_column(name)
    for name in ("batch", "replicas", "ready"):
        table.add_column(name, justify="right")
    table.add_column("")
    for stage in status.stages:
        option = stage.option
        table.add_row(
            option.stage,
            option.variant,
            str(option.batch_size),
            str(option.replicas),
            str(stage.ready),
            Text(stage.reason),
        )
    return table


def _status_lines(status: Status) -> Iterator[str]:
    yield f"graph: {'ready' if status.graph.ready else status.graph.reason}"
    yield f"gateway: {status.gateway}"
    if status.switching:
        yield f"switch under way: {status.switching}"
    if status.last is None or status.age_s is None:
        yield "last tick: none is kept"
    else:
        yield f"last tick {status.age_s:.0f} s ago: {tick_line(status.last)}"
    if status.next_s is not None:
        yield f"next tick in {status.next_s:.0f} s"
    if status.paused:
        yield "paused: ticks only advise, until `penstock resume`"
    for service in status.quarantined:
        yield f"quarantined: {service}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def numbers_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table whose first column is text and whose other columns are numbers."""
    from rich.table import Table

    table = Table(title=title)
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    return table


class Board:
    """The steps of long work, in the order in which they first report.

    On a terminal each is a bar that moves; where nobody watches one (a log of CI), each is a line
    when it begins and one when it has ended.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich import progress

        self._console = out.console if console is None else console
        self._bars = progress.Progress(
            progress.TextColumn("{task.description:<22}"),
            progress.BarColumn(bar_width=28),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began_s: dict[str, float] = {}
        self._ended: set[str] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Board:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, progress: Progress) -> None:
        """Show how far a step is."""
        with self._lock:
            if self._console.is_terminal:
                self._move(progress)
            else:
                self._log(progress)

    def _move(self, progress: Progress) -> None:
        if progress.step not in self._tasks:
            self._tasks[progress.step] = self._bars.add_task(progress.step, total=None, note="")
        task = self._tasks[progress.step]
        self._bars.update(
            task, completed=progress.done, total=progress.total, note=progress.note[:60]
        )
        if progress.done >= progress.total:
            self._bars.stop_task(task)

    def _log(self, progress: Progress) -> None:
        step = progress.step
        if step not in self._began_s:
            self._began_s[step] = time.monotonic()
            self._line(f"{step} …")
        if progress.done >= progress.total and step not in self._ended:
            self._ended.add(step)
            took_s = time.monotonic() - self._began_s[step]
            self._line(f"{step}: {progress.total:g} of {progress.total:g} in {took_s:.0f} s")

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def following(path: Path, report: Callable[[Progress], None]) -> Iterator[None]:
    """Pass the progress lines that other processes append to ``path`` on to ``report``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    done = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8") as file:
            rest = ""
            while True:
                stopping = done.is_set()
                rest += file.read()
                *lines, rest = rest.split("\n")
                for line in lines:
                    if progress := parse_line(line):
                        report(progress)
                if stopping:
                    return
                done.wait(0.1)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join(timeout=5)
