"""The steps of the bootstrap pipeline: files in, files out.

A component's body calls one of these, and so does the command line; kfp is not known here. Paths
are strings because that is what crosses from a component. Each output appears whole or not at all.
"""

import importlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from penstock import progress
from penstock.dataset import read_dataset
from penstock.domain import Pipeline, ProfileTable
from penstock.errors import ArtifactError, MissingToolError, UserError
from penstock.files import write_whole
from penstock.progress import Progress
from penstock.settings import read_settings
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


class Trainer(Protocol):
    """What a module named as ``trainer`` has to offer."""

    def main(self, out: Path, report: progress.Report) -> None:
        """Write ``out/models/<stage>/<variant>/`` and ``out/dataset/``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """One variant's model in the artifact store."""

    stage: str
    variant: str
    key: str
    version: str
    digest: str
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Which version of which model lies in which store."""

    store: str
    models: tuple[Uploaded, ...]

    def find(self, stage: str, variant: str) -> Uploaded:
        """Return the entry of a stage's variant.

        Raises:
            ArtifactError: it was not uploaded.
        """
        for model in self.models:
            if (model.stage, model.variant) == (stage, variant):
                return model
        raise ArtifactError(f"the catalog has no model for {stage}/{variant}; upload the models")

    @property
    def uris(self) -> Mapping[str, str]:
        """URIs by ``<stage>/<variant>``."""
        return {f"{m.stage}/{m.variant}": m.uri for m in self.models}


def train_models(trainer: str, out: str) -> None:
    """Train the models of an example: the module's ``main`` writes models and held-out requests.

    Raises:
        UserError: the name is no module's, or the module has no ``main``.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", trainer):
        raise UserError(f"trainer must be a module's dotted name, got {trainer!r}")
    try:
        module = importlib.import_module(trainer)
    except ModuleNotFoundError as err:
        raise MissingToolError(
            f"trainer {trainer!r} can't be imported ({err}); run from the checkout, or install it"
        ) from err
    if not callable(getattr(module, "main", None)):
        raise UserError(f"trainer {trainer!r} has no function main(out, report)")
    cast("Trainer", module).main(Path(out), progress.from_environment())


def upload_models(spec: str, models: str, store: str, out: str) -> None:
    """Upload every variant's folder, and write the catalog of what lies where."""
    from serving.store import make_store
    from serving.store import upload_models as upload

    pipeline = parse_pipeline(spec)
    folders = {
        (stage.name, variant.name): _model_folder(Path(models), stage.name, variant.artifact)
        for stage in pipeline.stages
        for variant in stage.variants
    }
    report = progress.from_environment()
    done = 0

    def on_progress(artifact: object) -> None:
        nonlocal done
        done += 1
        note = f"{getattr(artifact, 'key', '')}"
        report(Progress(step="upload", done=done, total=len(folders), note=note))

    artifacts = upload(
        [(f"{pipeline.name}/{s}/{v}", folder) for (s, v), folder in folders.items()],
        make_store(store),
        on_progress,
    )
    entries = [
        Uploaded(stage=s, variant=v, key=a.key, version=a.version, digest=a.digest, uri=a.uri)
        for (s, v), a in zip(folders, artifacts, strict=True)
    ]
    document = {"store": store, "models": [asdict(e) for e in entries]}
    write_whole(Path(out), json.dumps(document, indent=2, sort_keys=True) + "\n")


def read_catalog(path: Path) -> Catalog:
    """Read what ``upload_models`` wrote.

    Raises:
        ArtifactError: the file can't be read or is no catalog.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        models = tuple(Uploaded(**entry) for entry in document["models"])
        return Catalog(store=document["store"], models=models)
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise ArtifactError(f"{path} is no catalog of uploaded models: {err}") from err


def profile_variant(
    spec: str, catalog: str, dataset: str, stage: str, variant: str, out: str
) -> None:
    """Measure one variant, fetched from the store, on the predictor server."""
    from profiles import table
    from profiles.profiler import profile_variant as profile

    pipeline = parse_pipeline(spec)
    task = _tasks(pipeline, Path(dataset)).stages[stage]
    with _fetched(pipeline, Path(catalog), [(stage, variant)]) as folders:
        measured = profile(
            pipeline.stage(stage).variant(variant),
            folders[stage, variant],
            task,
            stage=stage,
            settings=_profiler_settings(),
            report=_named(f"profile {variant}"),
        )
    table.save(ProfileTable(profiles=(measured,)), Path(out))


def assemble_profiles(
    spec: str, parts: Sequence[str], catalog: str, dataset: str, out: str
) -> dict[str, float]:
    """Put profiles into one table, and measure each combination of variants end to end.

    Returns:
        The best and the worst measured accuracy, and how far the product of the stages' accuracies
        overstates the measured one at most (share).
    """
    from profiles import table
    from profiles.profiler import joint_accuracies

    pipeline = parse_pipeline(spec)
    merged = table.merge([table.load(Path(part)) for part in parts])
    tasks = _tasks(pipeline, Path(dataset))
    every = [(s.name, v.name) for s in pipeline.stages for v in s.variants]
    with _fetched(pipeline, Path(catalog), every) as folders:
        joint = joint_accuracies(
            pipeline,
            folders,
            tasks.pipeline,
            settings=_profiler_settings(),
            report=_named("end-to-end accuracy"),
        )
    whole = ProfileTable(profiles=merged.profiles, joint_accuracy=joint)
    table.save(whole, Path(out))
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
    with _fetched(pipeline, Path(catalog), every) as folders:
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


def _accuracy_figures(whole: ProfileTable, pipeline: Pipeline) -> dict[str, float]:
    from profiles import table

    over = table.overstatements(whole, [s.name for s in pipeline.stages])
    return {
        "accuracy_best": max(one.measured for one in over),
        "accuracy_worst": min(one.measured for one in over),
        "product_overstates_at_most": max(one.share for one in over),
    }


def train_forecaster(spec: str, shared: str, out: str) -> dict[str, float]:
    """Train the load predictor on the public trace, or on the generator's where there is none.

    Returns:
        Its error (sMAPE, percent) beside those of the last value and of the window's maximum.
    """
    from optimizer.forecast.card import LstmConfig
    from optimizer.forecast.train import train_to_folder
    from optimizer.history import default_history

    adaptation = parse_pipeline(spec).adaptation
    config = LstmConfig(
        step_s=adaptation.step_s,
        window_steps=adaptation.window_steps,
        horizon_steps=adaptation.horizon_steps,
        time_compression=adaptation.history_speedup,
    )
    report = progress.from_environment()

    def on_progress(done: int, total: int, note: str) -> None:
        report(Progress(step="train load predictor", done=done, total=total, note=note))

    history = default_history({"PENSTOCK_SHARED": shared})
    card = train_to_folder(history, config, Path(out), on_progress)
    return {f"smape_pct_{s['forecaster']}": float(s["smape_pct"]) for s in card.scores}


def optimize_plan(
    spec: str, profiles: str, load_rps: float, solver: str, out: str
) -> dict[str, float]:
    """Solve for the best plan and write it.

    Raises:
        UserError: there is no plan for that load; the message says what binds and what is near.
    """
    from optimizer.plan import plan_to_json, solve_plan
    from optimizer.solvers import make_solver
    from profiles import table

    pipeline = parse_pipeline(spec)
    outcome = solve_plan(pipeline, table.load(Path(profiles)), load_rps, solver=make_solver(solver))
    progress.from_environment()(Progress(step="solve", done=1, total=1, note=outcome.explanation))
    if outcome.plan is None:
        raise UserError(outcome.explanation)
    write_whole(Path(out), plan_to_json(outcome.plan))
    promise = outcome.plan.promise
    return {
        "accuracy": promise.accuracy,
        "cost_cores": promise.cost_cores,
        "latency_s": promise.latency_s,
        "capacity_rps": promise.capacity_rps,
        "objective": promise.objective,
        "solve_seconds": outcome.solution.seconds,
    }


def render_manifests(spec: str, plan: str, catalog: str, image: str, out: str) -> None:
    """Render a plan as a kustomize tree, held against KServe's rules and CRDs where it is known.

    Raises:
        ManifestError: a cluster would refuse a manifest, or it would not work; all faults.
    """
    from optimizer.plan import plan_from_json
    from serving.check import check
    from serving.render import RenderSettings, render, write_tree

    uploaded = read_catalog(Path(catalog))
    settings = RenderSettings(image=image, store_uri=uploaded.store, artifact_uris=uploaded.uris)
    text = Path(plan).read_text(encoding="utf-8")
    manifests = render(parse_pipeline(spec), plan_from_json(text), settings)
    check(manifests, schemas=read_settings().schemas)
    write_tree(manifests, Path(out))
    report = progress.from_environment()
    report(Progress(step="render", done=1, total=1, note=f"{len(manifests)} manifests"))


def _model_folder(models: Path, stage: str, artifact: str) -> Path:
    """Return the folder of a variant: ``models`` holds what its artifact path starts with."""
    relative = Path(artifact)
    if relative.parts[:1] == ("models",):
        relative = Path(*relative.parts[1:])
    folder = models / relative
    if not folder.is_dir():
        raise ArtifactError(f"stage {stage!r}: {folder} is not there; train the models first")
    return folder


@contextmanager
def _fetched(
    pipeline: Pipeline, catalog: Path, wanted: Sequence[tuple[str, str]]
) -> Iterator[Mapping[tuple[str, str], Path]]:
    """Fetch models from the store for the time of a ``with`` block."""
    from serving.store import make_store

    entries = read_catalog(catalog)
    store = make_store(entries.store)
    with tempfile.TemporaryDirectory(prefix=f"penstock-{pipeline.name}-") as folder:
        folders = {}
        for stage, variant in wanted:
            entry = entries.find(stage, variant)
            folders[stage, variant] = Path(folder) / stage / variant
            store.get(entry.key, entry.version, folders[stage, variant])
        yield folders


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
