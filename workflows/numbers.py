"""The numbers of a tick, named once: ``/metrics`` serves them, and an Argo template emits them.

What a tick did not get to know leaves a number as it was (``When``), so that an outage is no drop
to zero. No label comes from a request or a message: every series that there can be is known from
the pipeline document (``Number.rows``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from optimizer.decide import distrusted
from optimizer.ladder import GIVE_UPS
from optimizer.solvers import Status
from penstock.domain import Mode, Pipeline
from workflows.recorded import (
    Durations,
    Tick,
)
from workflows.recording import write_text

Row = tuple[str, ...]

TICKS = "penstock_ticks_total"
TICKS_MEANING = "Ticks by what was decided and how it ended"
SECONDS = "penstock_tick_seconds"
SECONDS_MEANING = "How long the parts of a tick took"
SECONDS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
PARTS = tuple(f.name for f in fields(Durations))
STATUSES: Mapping[str, int] = MappingProxyType({s.value: i for i, s in enumerate(Status)})
MODES: Mapping[str, int] = MappingProxyType({m.value: i for i, m in enumerate(Mode)})
UNKNOWN = "NaN"


class When(StrEnum):
    """After which ticks a number is taken over."""

    ALWAYS = "recorded"
    """There is a record: it did not end before."""
    SOLVED = "solved"
    """Load and forecast were there and a solver was asked."""
    SUCCESS = "success"
    """Nothing failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What numbers are read from."""

    record: Tick
    pipeline: Pipeline
    now_s: float

    def has(self, when: When) -> bool:
        """Whether the tick got as far as the numbers of ``when`` need."""
        return {
            When.ALWAYS: True,
            When.SOLVED: bool(self.record.status),
            When.SUCCESS: result_of(self.record) != "failed",
        }[when]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One gauge: its series are ``rows``, one per tuple of label values; NaN is "not known"."""

    name: str
    meaning: str
    read: Callable[[Seen, Row], float]
    when: When = When.SOLVED
    labels: tuple[str, ...] = ()
    rows: Callable[[Pipeline], Sequence[Row]] = lambda pipeline: ((),)


def result_of(record: Tick) -> str:
    """Return how a tick ended: ``ok``, ``failed``, or ``none`` when nothing was to be written."""
    if record.result is None:
        return "none"
    return "ok" if record.result.ok else "failed"


def parameter(name: str, row: Row = ()) -> str:
    """Return what a series is called as a parameter of Argo and as a file."""
    return "_".join((name.removeprefix("penstock_"), *row))


def write_numbers(folder: Path, record: Tick, pipeline: Pipeline, *, now_s: float) -> None:
    """Write every number into a file of its own, for Argo to take up.

    Raises:
        UserError: a file can't be written.
    """
    for name, text in _texts(Seen(record=record, pipeline=pipeline, now_s=now_s)):
        write_text(folder / name, f"{text}\n")


def _texts(seen: Seen) -> Iterator[tuple[str, str]]:
    yield "decision", seen.record.decision.kind
    yield "result", result_of(seen.record)
    for when in When:
        yield when.value, str(int(seen.has(when)))
    for part in PARTS:
        yield parameter(SECONDS, (part,)), repr(float(getattr(seen.record.durations_s, part)))
    for number in NUMBERS:
        if seen.has(number.when):
            for row in number.rows(seen.pipeline):
                yield parameter(number.name, row), _text(number.read(seen, row))


def _text(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else UNKNOWN


def _options(pipeline: Pipeline) -> Sequence[Row]:
    return [(stage.name, variant.name) for stage in pipeline.stages for variant in stage.variants]


def _stages(pipeline: Pipeline) -> Sequence[Row]:
    return [(stage.name,) for stage in pipeline.stages]


def _replicas(seen: Seen, row: Row) -> float:
    chosen = seen.record.target.stages if seen.record.target else ()
    return float(sum(o.replicas for o in chosen if (o.stage, o.variant) == row))


def _batch(seen: Seen, row: Row) -> float:
    chosen = seen.record.target.stages if seen.record.target else ()
    return float(sum(o.batch_size for o in chosen if (o.stage,) == row))


def _promised(field: str) -> Callable[[Seen, Row], float]:
    def read(seen: Seen, row: Row) -> float:
        target = seen.record.target
        return math.nan if target is None else float(getattr(target.promise, field))

    return read


def _floor(seen: Seen, row: Row) -> float:
    floor = seen.pipeline.objective.accuracy_floor
    return 0.0 if floor is None else floor


def _flags(seen: Seen) -> tuple[str, ...]:
    return seen.record.forecast.flags if seen.record.forecast else ()


NUMBERS: tuple[Number, ...] = (
    Number(
        name="penstock_last_tick_timestamp_seconds",
        meaning="When a tick last ended",
        when=When.ALWAYS,
        read=lambda seen, row: seen.now_s,
    ),
    Number(
        name="penstock_last_success_timestamp_seconds",
        meaning="When a tick last ended without a failure",
        when=When.SUCCESS,
        read=lambda seen, row: seen.now_s,
    ),
    Number(
        name="penstock_tick_solved",
        meaning="1 when the newest tick had a load and asked the solver, 0 when it stood still",
        when=When.ALWAYS,
        read=lambda seen, row: float(seen.has(When.SOLVED)),
    ),
    Number(
        name="penstock_mode",
        meaning="What the newest tick could do: " + ", ".join(f"{i} {m}" for m, i in MODES.items()),
        when=When.ALWAYS,
        read=lambda seen, row: float(MODES[seen.record.mode.value]),
    ),
    Number(
        name="penstock_load_rps",
        meaning="Newest arrival rate that a tick saw",
        read=lambda seen, row: seen.record.load.last_rps if seen.record.load else math.nan,
    ),
    Number(
        name="penstock_load_faults",
        meaning="How many kinds of faults the load data had",
        read=lambda seen, row: float(
            len(distrusted(seen.record.forecast)) if seen.record.forecast else 0
        ),
    ),
    Number(
        name="penstock_forecast_rps",
        meaning="Load that was planned for",
        read=lambda seen, row: math.nan if seen.record.load_rps is None else seen.record.load_rps,
    ),
    Number(
        name="penstock_forecast_fallback",
        meaning="1 when the load predictor was not believed and its backup stood in",
        read=lambda seen, row: float("fallback" in _flags(seen)),
    ),
    Number(
        name="penstock_solver_status",
        meaning="How the solve ended: " + ", ".join(f"{i} {s}" for s, i in STATUSES.items()),
        read=lambda seen, row: float(STATUSES[seen.record.status]),
    ),
    Number(
        name="penstock_solver_gap_ratio",
        meaning="Distance of the best plan to the solver's bound",
        read=lambda seen, row: math.nan if seen.record.gap is None else seen.record.gap,
    ),
    Number(
        name="penstock_plan_replicas",
        meaning="Replicas of the plan in force; 0 of a variant that it does not use",
        labels=("stage", "variant"),
        rows=_options,
        read=_replicas,
    ),
    Number(
        name="penstock_plan_batch_size",
        meaning="Batch limit of the plan in force",
        labels=("stage",),
        rows=_stages,
        read=_batch,
    ),
    Number(
        name="penstock_plan_cores",
        meaning="Cores of the plan in force",
        read=_promised("cost_cores"),
    ),
    Number(
        name="penstock_plan_accuracy_ratio",
        meaning="Accuracy that the plan in force promises",
        read=_promised("accuracy"),
    ),
    Number(
        name="penstock_accuracy_floor_ratio",
        meaning="Accuracy below which no plan is wanted; 0 without a floor",
        read=_floor,
    ),
    Number(
        name="penstock_plan_capacity_rps",
        meaning="Arrival rate that the plan in force carries",
        read=_promised("capacity_rps"),
    ),
    Number(
        name="penstock_plan_latency_seconds",
        meaning="Latency that the plan in force promised when it was made",
        read=_promised("latency_s"),
    ),
    Number(
        name="penstock_plan_shed_rps",
        meaning="Load that the best plan there is does not serve",
        read=lambda seen, row: math.nan if seen.record.shed_rps is None else seen.record.shed_rps,
    ),
    Number(
        name="penstock_plan_given_up",
        meaning="1 for each limit that the best plan there is does not keep",
        labels=("limit",),
        rows=lambda pipeline: [(path.rsplit(".", 1)[-1],) for path in GIVE_UPS],
        read=lambda seen, row: float(
            any(path.rsplit(".", 1)[-1] == row[0] for path in seen.record.given_up)
        ),
    ),
    Number(
        name="penstock_edited_fields",
        meaning="Fields that somebody else changed",
        read=lambda seen, row: float(len(seen.record.edits)),
    ),
    Number(
        name="penstock_quarantined_services",
        meaning="Services that did not come up and are not tried for a while",
        read=lambda seen, row: float(len(seen.record.withheld)),
    ),
)
