"""What comes before a plan: the document, models, their profiles, the load predictor."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from penstock.spec import format_pipeline, read_pipeline
from workflows import wiring
from workflows.commands.options import Root, Spec, Trainer, opened, trainer_of, watched
from workflows.terminal import numbers_table, out

commands = typer.Typer()


@commands.command()
def validate(spec: Spec) -> None:
    """Check a pipeline document; every fault is told with its path."""
    pipeline = read_pipeline(spec)
    variants = sum(len(stage.variants) for stage in pipeline.stages)
    out.print(
        f"{spec}: pipeline {pipeline.name} with {len(pipeline.stages)} stages and {variants} "
        f"variants, SLO {pipeline.slo.latency_s * 1e3:g} ms at {pipeline.slo.quantile:g}: no fault"
    )


@commands.command()
def models(spec: Spec, root: Root = None, trainer: Trainer = None) -> None:
    """Train the pipeline's models and write held-out requests (examples)."""
    from components import steps

    _, layout, _ = opened(spec, root)
    sys.path.insert(0, str(Path.cwd()))  # the trainer is found as ``python -m`` would find it
    with watched(layout):
        steps.train_models(trainer or trainer_of(spec), str(layout.root))
    out.print(f"models in {layout.models}, held-out requests in {layout.dataset}")


@commands.command()
def upload(spec: Spec, root: Root = None) -> None:
    """Upload the models to the artifact store (PENSTOCK_STORE; default a folder)."""
    from components import steps

    pipeline, layout, settings = opened(spec, root)
    store = wiring.store_uri(layout, settings)
    with watched(layout):
        steps.upload_models(
            format_pipeline(pipeline), str(layout.needed("models")), store, str(layout.catalog)
        )
    rows = [
        (f"{m.stage}/{m.variant}", m.version) for m in steps.read_catalog(layout.catalog).models
    ]
    out.print(numbers_table(store, ("model", "version"), rows))


@commands.command()
def profile(spec: Spec, root: Root = None) -> None:
    """Measure every variant on the predictor server: latency, throughput, accuracy."""
    from components import steps
    from profiles import table

    pipeline, layout, _ = opened(spec, root)
    with watched(layout):
        steps.profile_pipeline(
            format_pipeline(pipeline),
            str(layout.needed("catalog")),
            str(layout.needed("dataset")),
            str(layout.root / "profiles" / "kept"),
            str(layout.profiles),
        )
    measured = table.load(layout.profiles)
    rows = [
        (
            f"{p.stage}/{p.variant}",
            str(point.batch_size),
            f"{point.latency_at(0.5) * 1e3:.1f}",
            f"{point.latency_at(0.99) * 1e3:.1f}",
            f"{point.throughput_rps:.0f}",
            f"{p.accuracy:.3f}",
        )
        for p in measured.profiles
        for point in p.points
    ]
    columns = ("variant", "batch", "p50 ms", "p99 ms", "req/s", "accuracy")
    out.print(numbers_table("one replica", columns, rows))
    combinations = table.overstatements(measured, [s.name for s in pipeline.stages])
    out.print(
        numbers_table(
            "the pipeline, end to end",
            ("variants", "measured", "product of stages", "off by"),
            [
                (" + ".join(c.variants), f"{c.measured:.3f}", f"{c.product:.3f}", f"{c.share:+.0%}")
                for c in combinations
            ],
        )
    )


@commands.command()
def train(spec: Spec, root: Root = None) -> None:
    """Train the load predictor and tell its error beside the last value's and the window's max."""
    from components import steps

    pipeline, layout, settings = opened(spec, root)
    with watched(layout):
        scores = steps.train_forecaster(
            format_pipeline(pipeline), str(settings.shared or ""), str(layout.forecaster)
        )
    rows = [(name.removeprefix("smape_pct_"), f"{value:.2f}") for name, value in scores.items()]
    out.print(numbers_table("error on held-out load", ("forecaster", "sMAPE %"), rows))
