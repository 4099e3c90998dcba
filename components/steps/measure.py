"""Steps for profiles: measure each variant, and each combination of variants end to end."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from components.steps.models import fetched_models
from penstock import progress
from penstock.cores import millicores
from penstock.dataset import read_dataset
from penstock.domain import Pipeline, ProfileTable, Variant
from penstock.errors import UserError
from penstock.files import write_whole
from penstock.progress import Progress
from penstock.spec import parse_pipeline

if TYPE_CHECKING:
    from profiles.settings import ProfilerSettings, Tasks

SERVER = (sys.executable, "-m", "serving.predictor")
"""The predictor server: what is profiled is what serves."""

REQUESTS = "requests.jsonl.gz"
"""Held-out requests at the pipeline's entry; ``<stage>.jsonl.gz`` are a stage's own."""


MEASURING_S = 3.0
"""Per variant: most of a second for each of four batch sizes."""

PIPELINE_S = 600.0
"""For all variants together; a pipeline of many variants still ends."""


def profile_variant(
    spec: str,
    catalog: str,
    dataset: str,
    stage: str,
    variant: str,
    out: str,
    page: str = "",
    cpu: str = "",
) -> dict[str, float]:
    """Measure one variant, fetched from the store, on the predictor server.

    ``cpu`` is the CPU allocation to measure it on, as Kubernetes writes it; empty for each.

    Returns:
        Its accuracy (share), its highest throughput [req/s], and the p99 latency [s] of its
        smallest batch.
    """
    from profiles import table
    from profiles.profiler import profile_variant as profile

    pipeline = parse_pipeline(spec)
    measured_on = _on_cpu(pipeline.stage(stage).variant(variant), cpu)
    task = _tasks(pipeline, Path(dataset)).stages[stage]
    with fetched_models(pipeline, Path(catalog), [(stage, variant)]) as folders:
        measured = profile(
            measured_on,
            folders[stage, variant],
            task,
            stage=stage,
            settings=_profiler_settings(),
            report=_named(f"profile {variant}"),
        )
    alone = ProfileTable(profiles=(measured,))
    table.save(alone, Path(out))
    _show(alone, pipeline, f"Profile of {stage}/{variant}", page)
    smallest = min(measured.points, key=lambda p: (p.batch_size, -p.cpu_cores))
    return {
        "accuracy": measured.accuracy,
        "throughput_rps": max(p.throughput_rps for p in measured.points),
        "latency_p99_s": smallest.latency_at(0.99),
    }


def assemble_profiles(
    spec: str, parts: Sequence[str], catalog: str, dataset: str, out: str, page: str = ""
) -> dict[str, float]:
    """Put profiles into one table, and measure each combination of variants end to end.

    Returns:
        The best and the worst measured accuracy, and how far the product of the stages' accuracies
        overstates the measured one at most (share).
    """
    from profiles import table
    from profiles.allocations import joined_by_variant
    from profiles.profiler import joint_accuracies

    pipeline = parse_pipeline(spec)
    profiles = [one for part in parts for one in table.load(Path(part)).profiles]
    merged = joined_by_variant(profiles)
    tasks = _tasks(pipeline, Path(dataset))
    every = [(s.name, v.name) for s in pipeline.stages for v in s.variants]
    with fetched_models(pipeline, Path(catalog), every) as folders:
        joint = joint_accuracies(
            pipeline,
            folders,
            tasks.pipeline,
            settings=_profiler_settings(),
            report=_named("end-to-end accuracy"),
        )
    whole = ProfileTable(profiles=merged, joint_accuracy=joint)
    table.save(whole, Path(out))
    _show(whole, pipeline, f"Profiles of {pipeline.name}", page)
    return _accuracy_figures(whole, pipeline)


def profile_pipeline(
    spec: str, catalog: str, dataset: str, work: str, out: str
) -> dict[str, float]:
    """Measure all variants and all combinations in one go; what is finished is kept in ``work``.

    The same as ``profile_variant`` for each and ``assemble_profiles``, for one machine: it goes on
    where it was stopped.
    """
    from profiles import table
    from profiles.profiler import profile_pipeline as profile

    pipeline = parse_pipeline(spec)
    every = [(s.name, v.name) for s in pipeline.stages for v in s.variants]
    with fetched_models(pipeline, Path(catalog), every) as folders:
        whole = profile(
            pipeline,
            folders,
            _tasks(pipeline, Path(dataset)),
            settings=_profiler_settings(),
            work=Path(work),
            report=progress.from_environment(),
        )
    table.save(whole, Path(out))
    return _accuracy_figures(whole, pipeline)


def _on_cpu(variant: Variant, cpu: str) -> Variant:
    from profiles.allocations import only

    if not cpu:
        return variant
    named = {millicores(cores): cores for cores in variant.cpu_allocations}
    if cpu not in named:
        raise UserError(
            f"variant {variant.name!r} is never given {cpu} CPU, only {', '.join(named)}: compile "
            "the pipeline anew from the document"
        )
    return only(variant, named[cpu])


def _accuracy_figures(whole: ProfileTable, pipeline: Pipeline) -> dict[str, float]:
    from profiles import table

    over = table.overstatements(whole, [s.name for s in pipeline.stages])
    return {
        "accuracy_best": max(one.measured for one in over),
        "accuracy_worst": min(one.measured for one in over),
        "product_overstates_at_most": max(one.share for one in over),
    }


def _show(table: ProfileTable, pipeline: Pipeline, title: str, page: str) -> None:
    """Write the page of the profiles to a path, if there is one."""
    if not page:
        return
    from components.pages.results import profiles_page

    write_whole(Path(page), profiles_page(table, [s.name for s in pipeline.stages], title))


def _tasks(pipeline: Pipeline, dataset: Path) -> "Tasks":
    from profiles.accuracy import Task
    from profiles.scoring import SCORERS
    from profiles.settings import Tasks

    entry = read_dataset(dataset / REQUESTS)
    unknown = sorted({s.task for s in pipeline.stages} - set(SCORERS))
    if unknown:
        raise UserError(
            f"no scorer for the task {', '.join(map(repr, unknown))}; "
            f"there are {', '.join(sorted(SCORERS))}"
        )
    stages = {}
    for stage in pipeline.stages:
        own = dataset / f"{stage.name}.jsonl.gz"
        requests = read_dataset(own) if own.exists() else entry
        stages[stage.name] = Task(requests=requests, scorer=SCORERS[stage.task])
    return Tasks(stages=stages, pipeline=Task(requests=entry, scorer=SCORERS["pipeline"]))


def _profiler_settings() -> "ProfilerSettings":
    from profiles.measure import MeasurePlan
    from profiles.settings import ProfilerSettings

    return ProfilerSettings(
        server_command=SERVER,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        plan=MeasurePlan(budget_s=MEASURING_S, min_samples=12),
        budget_s=PIPELINE_S,
    )


def _named(step: str) -> progress.Report:
    report = progress.from_environment()
    return lambda p: report(Progress(step=step, done=p.done, total=p.total, note=p.note))
