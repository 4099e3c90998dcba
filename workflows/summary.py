"""From recordings to the figures of ``summary.json`` and the four promises they are held against.

``summarize_run`` is arithmetic on one recording; ``summarize`` reads an example's runs and judges
them. A promise that was not kept, or could not be judged because a run is missing, is a check that
does not hold: it is said, never hidden.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
from pydantic import TypeAdapter, ValidationError

from penstock.cores import count_cores
from penstock.errors import SpecError, UserError
from workflows.recorded import (
    Recording,
    Request,
    Sample,
)
from workflows.recording import (
    format_json,
    read_recording,
    write_text,
)

ADAPTIVE, LIGHTEST, HEAVIEST = "adaptive", "lightest", "heaviest"
RUNS = (ADAPTIVE, LIGHTEST, HEAVIEST)
PROMISED_ATTAINMENT = 0.99
VERSIONS_OF = ("penstock", "pyomo", "onnxruntime", "keras", "numpy", "aiohttp")
"""The packages whose versions decide what a run measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run in figures; ``None`` where there was nothing to take a figure from.

    ``slo_attainment`` is the share of *all* requests answered within the objective, lost ones count
    as missed. ``mean_accuracy`` is items right over items there, over all scored requests, where a
    lost request got all of its items wrong; ``mean_accuracy_answered`` leaves lost requests out.
    ``mean_cores`` weighs each sample of the timeline with the time it stood for. ``switches``
    counts changes of a stage's variant in effect, ``replica_changes`` changes of a stage's replicas
    without one. Latencies are those of answered requests.
    """

    requests: int
    lost: int
    slo_attainment: float
    mean_accuracy: float | None
    mean_accuracy_answered: float | None
    mean_cores: float | None
    latency_p50_s: float | None
    latency_p99_s: float | None
    ticks: int
    switches: int
    replica_changes: int
    tick_seconds_p50: float | None
    tick_seconds_p95: float | None
    solver: str
    wall_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise, whether it holds, and the figures that say so."""

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """An example's runs in figures, and the promises they are held against."""

    example: str
    slo_s: float
    machine: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, RunSummary]
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "machine", MappingProxyType(dict(self.machine)))
        object.__setattr__(self, "runs", MappingProxyType(dict(self.runs)))


def summarize_run(recording: Recording) -> RunSummary:
    """Reduce one recording to its figures."""
    info, requests = recording.info, recording.requests
    latencies = [r.latency_s for r in requests if not r.lost and r.latency_s is not None]
    tick_seconds = [tick.durations_s.total for tick in recording.ticks]
    switches, replica_changes = _changes(recording.timeline)
    return RunSummary(
        requests=len(requests),
        lost=sum(r.lost for r in requests),
        slo_attainment=attainment(requests, info.slo_s),
        mean_accuracy=accuracy(requests),
        mean_accuracy_answered=accuracy([r for r in requests if not r.lost]),
        mean_cores=_mean_cores(recording.timeline, info.duration_s),
        latency_p50_s=quantile(latencies, 0.5),
        latency_p99_s=quantile(latencies, 0.99),
        ticks=len(recording.ticks),
        switches=switches,
        replica_changes=replica_changes,
        tick_seconds_p50=quantile(tick_seconds, 0.5),
        tick_seconds_p95=quantile(tick_seconds, 0.95),
        solver=info.solver,
        wall_seconds=info.wall_seconds,
    )


def attainment(requests: Sequence[Request], slo_s: float) -> float:
    """Share of all requests answered within ``slo_s``; 0 of none, which shows nothing."""
    if not requests:
        return 0.0
    kept = sum(not r.lost and r.latency_s is not None and r.latency_s <= slo_s for r in requests)
    return kept / len(requests)


def accuracy(requests: Sequence[Request]) -> float | None:
    """Items found right over items there; a lost request got its items wrong; ``None`` unscored."""
    scored = [r for r in requests if r.total is not None]
    total = sum(r.total or 0 for r in scored)
    return sum((r.correct or 0) for r in scored if not r.lost) / total if total else None


def percent(share: float) -> str:
    """Write a share in percent, cut off and not rounded: 98.999 % is not 99 %."""
    return f"{math.floor(share * 10_000 + 1e-9) / 100:.2f} %"


def quantile(values: Sequence[float], q: float) -> float | None:
    """Return the ``q``-quantile, interpolated linearly; ``None`` of nothing."""
    return float(np.quantile(np.asarray(values), q)) if values else None


def read_runs(example_dir: Path) -> dict[str, Recording]:
    """Read the recorded runs of an example, those of ``RUNS`` first and in their order.

    Raises:
        UserError: there is no adaptive run.
        SpecError: recordings have faults; all of them, with their files and lines.
    """
    folders = {path.parent.name: path.parent for path in example_dir.glob("runs/*/run.json")}
    if ADAPTIVE not in folders:
        found = ", ".join(sorted(folders)) or "none"
        raise UserError(
            f"{example_dir} has no recorded run {ADAPTIVE!r} (runs found: {found}); "
            f"record it with: make demo EXAMPLE={example_dir.name}"
        )
    order = [*RUNS, *sorted(set(folders) - set(RUNS))]
    recordings: dict[str, Recording] = {}
    faults: list[str] = []
    for name in (name for name in order if name in folders):
        try:
            recordings[name] = read_recording(folders[name])
        except SpecError as err:
            faults.extend(f"runs/{name}/{fault}" for fault in err.faults)
    if faults:
        raise SpecError(str(example_dir), faults)
    return recordings


def summarize(example_dir: Path, *, machine: Mapping[str, str] | None = None) -> Summary:
    """Read an example's runs and judge them; ``machine`` defaults to the one this runs on.

    Raises:
        UserError: there is no adaptive run.
        SpecError: recordings have faults; all of them, with their files and lines.
    """
    facts = machine_facts() if machine is None else machine
    return summarize_runs(read_runs(example_dir), example=example_dir.name, machine=facts)


def summarize_runs(
    recordings: Mapping[str, Recording], *, example: str, machine: Mapping[str, str]
) -> Summary:
    """Judge recordings, of which one must be the adaptive run."""
    runs = {name: summarize_run(recording) for name, recording in recordings.items()}
    slo_s = recordings[ADAPTIVE].info.slo_s
    return Summary(
        example=example, slo_s=slo_s, machine=machine, runs=runs, checks=judge(runs, slo_s)
    )


def write_summary(example_dir: Path) -> Summary:
    """Write ``summary.json`` of an example's runs, whole or not at all, and return what it says.

    Raises:
        UserError: there is no adaptive run, or the folder can't be written.
        SpecError: recordings have faults; all of them, with their files and lines.
    """
    summary = summarize(example_dir)
    write_text(example_dir / "summary.json", format_json(summary, indent=2))
    return summary


def read_summary(path: Path) -> Summary:
    """Read a ``summary.json``.

    Raises:
        SpecError: it can't be read or has faults.
    """
    try:
        return TypeAdapter(Summary).validate_json(path.read_bytes())
    except OSError as err:
        raise SpecError(str(path), [f"can't be read: {err.strerror or err}"]) from err
    except ValidationError as err:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors()]
        raise SpecError(str(path), faults) from err


def judge(runs: Mapping[str, RunSummary], slo_s: float) -> tuple[Check, ...]:
    """Hold the adaptive run against the four promises."""
    ours = runs[ADAPTIVE]
    return (
        Check(
            name="slo_attainment",
            holds=ours.slo_attainment >= PROMISED_ATTAINMENT,
            detail=f"{percent(ours.slo_attainment)} of {ours.requests} requests answered within "
            f"{slo_s:g} s; promised: at least {percent(PROMISED_ATTAINMENT)}",
        ),
        Check(
            name="no_request_lost",
            holds=ours.lost == 0 and ours.requests > 0,
            detail=f"{ours.lost} of {ours.requests} requests lost; promised: none",
        ),
        _more_accurate(ours, runs.get(LIGHTEST)),
        _cheaper_or_fewer_misses(ours, runs.get(HEAVIEST)),
    )


def machine_facts() -> dict[str, str]:
    """Say what this ran on: processor, cores, memory, system, and the versions that matter."""
    facts = {
        "processor": _processor(),
        "cores": str(count_cores()),
        "system": _system(),
        "python": platform.python_version(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory_gib"] = f"{size / 2**30:.1f}"
    for package in VERSIONS_OF:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts


def _more_accurate(ours: RunSummary, lightest: RunSummary | None) -> Check:
    name = "more_accurate_than_lightest"
    if lightest is None or lightest.mean_accuracy is None or ours.mean_accuracy is None:
        return Check(name=name, holds=False, detail="could not be judged: one run has no accuracy")
    return Check(
        name=name,
        holds=ours.mean_accuracy > lightest.mean_accuracy,
        detail=f"mean accuracy {percent(ours.mean_accuracy)} against "
        f"{percent(lightest.mean_accuracy)} "
        "of the lightest variants",
    )


def _cheaper_or_fewer_misses(ours: RunSummary, heaviest: RunSummary | None) -> Check:
    name = "cheaper_or_fewer_misses_than_heaviest"
    if heaviest is None or heaviest.mean_cores is None or ours.mean_cores is None:
        return Check(name=name, holds=False, detail="could not be judged: one run has no cost")
    missed, missed_there = 1 - ours.slo_attainment, 1 - heaviest.slo_attainment
    return Check(
        name=name,
        holds=ours.mean_cores < heaviest.mean_cores or missed < missed_there,
        detail=f"{ours.mean_cores:.2f} cores and {percent(missed)} missed against "
        f"{heaviest.mean_cores:.2f} cores and {percent(missed_there)} of the heaviest variants",
    )


def _changes(timeline: Sequence[Sample]) -> tuple[int, int]:
    """Count changes of variants, and changes of replicas of a variant that stayed."""
    pairs = [
        (before.stages[stage], after.stages[stage])
        for before, after in pairwise(timeline)
        for stage in before.stages.keys() & after.stages.keys()
    ]
    switches = sum(a.variant != b.variant for a, b in pairs)
    return switches, sum(a.variant == b.variant and a.replicas != b.replicas for a, b in pairs)


def _mean_cores(timeline: Sequence[Sample], duration_s: float) -> float | None:
    """Weigh each sample with the time until the next; the first also stands for what was before."""
    if not timeline:
        return None
    starts = [0.0, *(min(max(s.time_s, 0.0), duration_s) for s in timeline[1:]), duration_s]
    seconds = [after - before for before, after in pairwise(starts)]
    used = sum(s.cost_cores * length for s, length in zip(timeline, seconds, strict=True))
    return used / duration_s


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = f"{platform.system()} {platform.release()}"
    return f"{name}, {platform.machine()}"


def _processor() -> str:
    """Name the processor; Linux tells more than ``platform`` does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
