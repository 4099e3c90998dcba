"""Profiling from end to end: a variant, and a pipeline with all its variants, within a time budget.

First the accuracies (each variant started once, unbounded in CPU, because accuracy does not depend
on it), then the latencies (each variant started with each of its CPU shares, pinned to as many
cores as it can use, the client kept off them). What was finished is kept in a work folder under a
name that says what it depends on: model, requests, settings, hardware and runtime. A run that was
stopped goes on where it was, and a run with nothing changed measures nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.domain import (
    AccuracyMode,
    Pipeline,
    Profile,
    ProfilePoint,
    ProfileTable,
    Variant,
)
from penstock.errors import ProfileError
from penstock.graph import is_chain
from penstock.progress import Progress, Report, silent
from profiles.accuracy import (
    Accuracies,
    Ask,
    OpenVariant,
    Task,
    accuracy_of,
    bodies_of,
    measure_accuracies,
    measure_stages,
)
from profiles.allocations import allocations, joined, joined_by_variant
from profiles.fit import fill, point_of
from profiles.kept import Kept, fingerprint, folder_digest, requests_digest
from profiles.measure import MeasureProgress, OnProgress, Samples, measure
from profiles.neighbours import busy_neighbours
from profiles.probe import Connections, HttpProbe
from profiles.provenance import METHOD, hardware, how_measured, runtime
from profiles.settings import (
    ACCURACY_BATCH,
    ProfilerSettings,
    Tasks,
    require_complete,
    spread,
    too_large,
    within,
)
from profiles.subject import MODEL, SubjectProbe, off_core, running

__all__ = [
    "ProfilerSettings",
    "Tasks",
    "joint_accuracies",
    "profile_pipeline",
    "profile_variant",
]

STEP = "profile"


def profile_variant(
    variant: Variant,
    model_dir: Path,
    task: Task,
    *,
    stage: str,
    settings: ProfilerSettings,
    report: Report = silent,
) -> Profile:
    """Profile one variant: its accuracy on the task, its latency and throughput on its requests.

    Latency and throughput are measured on each CPU allocation that it may be given.

    Raises:
        ProfileError: the model's folder, the requests or the cores are missing, the predictor can't
            run the model, or it refused a request.
        NotReadyError: the predictor did not become ready.
        UnreachableError: the predictor stopped answering.
    """
    what = f"{stage}/{variant.name}"
    if faults := too_large(stage, variant):
        raise ProfileError("; ".join(faults))
    each = allocations(variant)
    steps = _Steps(report, total=1 + len(each))
    with _opener({(stage, variant.name): model_dir}, settings)(stage, variant.name) as ask:
        answers = ask(bodies_of(task))
    accuracy = accuracy_of(answers, task, what=what)
    steps.finish(f"{what}: accuracy {accuracy:.3f}")
    profiles = []
    for one in each:
        subject = _Subject(stage, one, model_dir, task, accuracy)
        profiles.append(_measured(subject, settings, steps.samples_of(subject.name)))
        steps.finish(f"{subject.name}: measured")
    return joined(profiles)


def joint_accuracies(
    pipeline: Pipeline,
    models: Mapping[tuple[str, str], Path],
    task: Task,
    *,
    settings: ProfilerSettings,
    work: Path | None = None,
    report: Report = silent,
) -> Mapping[tuple[str, ...], float]:
    """Return the pipeline's accuracy for each combination of variants, in stage order.

    Only a Sequence is measured end to end; for any other graph there is none. ``models`` maps
    (stage, variant) to the model's folder; ``work`` keeps what is finished.

    Raises:
        ProfileError: a model's folder or the requests are missing, the predictor can't run a
            model, or it refused a request.
        NotReadyError: a predictor did not become ready.
        UnreachableError: a predictor stopped answering.
    """
    if not _is_chain(pipeline):
        return {}
    tasks = Tasks(stages={}, pipeline=task)
    require_complete(pipeline, models, tasks, stages=())
    steps = _Steps(report, total=sum(len(stage.variants) for stage in pipeline.stages))
    kept = Kept(work) if work else None
    return _accuracies(pipeline, models, tasks, settings, (kept, steps)).joint


def profile_pipeline(
    pipeline: Pipeline,
    models: Mapping[tuple[str, str], Path],
    tasks: Tasks,
    *,
    settings: ProfilerSettings,
    work: Path,
    report: Report = silent,
) -> ProfileTable:
    """Profile every variant of a pipeline, and its accuracy for each combination of variants.

    Only a Sequence is measured end to end; the accuracy of any other graph is composed of its
    stages'. ``models`` maps (stage, variant) to the model's folder; ``work`` keeps what is
    finished.

    Raises:
        ProfileError: a model's folder or a stage's requests are missing, the predictor can't run a
            model, or it refused a request.
        NotReadyError: a predictor did not become ready.
        UnreachableError: a predictor stopped answering.
    """
    require_complete(pipeline, models, tasks, stages=[s.name for s in pipeline.stages])
    began_s = time.monotonic()
    kept = Kept(work)
    every = [(stage.name, variant) for stage in pipeline.stages for variant in stage.variants]
    measured = [(stage, one) for stage, variant in every for one in allocations(variant)]
    steps = _Steps(report, total=len(every) + len(measured))
    accuracies = _accuracies(pipeline, models, tasks, settings, (kept, steps))
    profiles: list[Profile] = []
    for stage, variant in measured:
        key = (stage, variant.name)
        left_s = settings.budget_s - (time.monotonic() - began_s)
        timed = within(settings, left_s / (len(measured) - len(profiles)))
        subject = _Subject(stage, variant, models[key], tasks.stages[stage], accuracies.stages[key])
        profiles.append(_profile(subject, settings, timed, kept, steps))
        steps.finish(f"{subject.name}: measured")
    return ProfileTable(profiles=joined_by_variant(profiles), joint_accuracy=accuracies.joint)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A variant on one CPU allocation."""

    stage: str
    variant: Variant
    model_dir: Path
    task: Task
    accuracy: float

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.variant.name} on {self.variant.cpu_cores:g} cores"


class _Steps:
    """Turns finished and half-finished variants into one rising progress."""

    def __init__(self, report: Report, *, total: int) -> None:
        self._report, self._total, self._done = report, total, 0

    def finish(self, note: str) -> None:
        self._done += 1
        self.within(0.0, note)

    def samples_of(self, what: str) -> OnProgress:
        def on_progress(progress: MeasureProgress) -> None:
            note = f"{what}, batch {progress.batch_size}: {progress.samples} samples"
            self.within(progress.share, note)

        return on_progress

    def within(self, share: float, note: str) -> None:
        self._report(Progress(step=STEP, done=self._done + share, total=self._total, note=note))


def _accuracies(
    pipeline: Pipeline,
    models: Mapping[tuple[str, str], Path],
    tasks: Tasks,
    settings: ProfilerSettings,
    around: tuple[Kept | None, _Steps],
) -> Accuracies:
    kept, steps = around
    chained = _is_chain(pipeline)
    stages = {s.name: [v.name for v in s.variants] for s in pipeline.stages}
    every = [(s, v) for s, names in stages.items() for v in names]
    mark = fingerprint(
        stages,
        [folder_digest(models[key]) for key in every],
        {stage: _task_digest(task) for stage, task in tasks.stages.items()},
        _task_digest(tasks.pipeline),
        *([] if chained else ["each stage by itself"]),
    )
    found = kept.accuracies(mark) if kept else None
    if found is not None:
        for stage, variant in every:
            steps.finish(f"{stage}/{variant}: accuracy known")
        return found
    measured = measure_accuracies if chained else measure_stages
    found = measured(
        stages,
        tasks.stages,
        tasks.pipeline,
        open_variant=_opener(models, settings),
        on_variant=lambda stage, variant: steps.finish(f"{stage}/{variant}: accuracy measured"),
    )
    if kept:
        kept.keep_accuracies(found, mark)
    return found


def _is_chain(pipeline: Pipeline) -> bool:
    """Whether requests pass the stages in their order; the profiler knows no other way.

    Raises:
        ProfileError: they don't, and the objective needs the accuracy end to end.
    """
    if is_chain(pipeline.shape, [stage.name for stage in pipeline.stages]):
        return True
    if pipeline.objective.mode is AccuracyMode.JOINT:
        raise ProfileError(
            f"pipeline {pipeline.name!r} is a graph, and mode joint needs its accuracy end to end, "
            "which is measured for a Sequence only; use another objective.mode, with a vote table "
            "where an Ensemble was measured"
        )
    return False


def _profile(
    subject: _Subject,
    settings: ProfilerSettings,
    timed: ProfilerSettings,
    kept: Kept,
    steps: _Steps,
) -> Profile:
    """Return a variant's kept profile, or measure it in the time that is left."""
    variant = subject.variant
    affinity = settings.affinity(variant.cpu_cores)
    # What the clock made of the budget is no setting: it must not hide what was finished.
    mark = fingerprint(
        folder_digest(subject.model_dir),
        requests_digest(subject.task.requests),
        (variant.batch_sizes, variant.cpu_cores),
        (settings.plan, settings.budget_s, settings.max_points),
        (settings.server_command, affinity, settings.pace, settings.neighbours),
        (METHOD, hardware(), runtime()),
    )
    found = kept.profile(subject.stage, variant.name, mark)
    if found is None:
        found = _measured(subject, timed, steps.samples_of(subject.name))
        kept.keep_profile(found, mark)
    return replace(found, accuracy=subject.accuracy)


def _measured(subject: _Subject, settings: ProfilerSettings, on_progress: OnProgress) -> Profile:
    """Measure latency and throughput."""
    variant = subject.variant
    sizes = spread(variant.batch_sizes, settings.max_points)
    affinity = settings.affinity(variant.cpu_cores)
    with (
        running(subject.model_dir, settings.paced(variant.cpu_cores)) as server,
        HttpProbe(server.url, MODEL, bodies_of(subject.task)) as probe,
        busy_neighbours(affinity if settings.neighbours else ""),
        off_core(affinity),
    ):
        samples = measure(
            SubjectProbe(server, probe), sizes, settings.plan, on_progress=on_progress
        )
        memory_mib = server.peak_memory_mib()
        load_time_s = server.load_time_s
    measured = [point_of(one, cpu_cores=variant.cpu_cores) for one in samples]
    points = fill(measured, variant.batch_sizes)
    return Profile(
        stage=subject.stage,
        variant=variant.name,
        points=points,
        accuracy=subject.accuracy,
        load_time_s=load_time_s,
        memory_mib=round(memory_mib, 1),
        provenance=_provenance(subject, settings, samples, points),
    )


def _provenance(
    subject: _Subject,
    settings: ProfilerSettings,
    samples: Sequence[Samples],
    points: Sequence[ProfilePoint],
) -> Mapping[str, str]:
    cores = subject.variant.cpu_cores
    return {
        "artifact_digest": folder_digest(subject.model_dir),
        "hardware": hardware(),
        "runtime": runtime(),
        "measured_at": settings.measured_at,
        "cpu": f"share {cores:g}, pinned to {settings.affinity(cores) or 'none'}",
        **how_measured(samples, points),
    }


def _opener(models: Mapping[tuple[str, str], Path], settings: ProfilerSettings) -> OpenVariant:
    """Return how accuracy starts a variant: with all the CPU there is."""

    @contextmanager
    def open_variant(stage: str, variant: str) -> Iterator[Ask]:
        with (
            running(models[stage, variant], settings.free()) as server,
            Connections(server.url, MODEL) as connections,
        ):

            def ask(bodies: Sequence[bytes]) -> Sequence[bytes]:
                starts = range(0, len(bodies), ACCURACY_BATCH)
                return [
                    answer
                    for start in starts
                    for answer in connections.ask(bodies[start : start + ACCURACY_BATCH])
                ]

            yield ask

    return open_variant


def _task_digest(task: Task) -> tuple[str, str]:
    scorer: Callable[..., object] = task.scorer
    return requests_digest(task.requests), getattr(scorer, "__qualname__", repr(scorer))
