"""The local cluster: load on it, the whole demo, its report."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.errors import UserError
from workflows.commands.options import Root, Spec, Trainer, opened, read_plan, trainer_of
from workflows.terminal import Board, out, plan_table, runs_table

commands = typer.Typer()


@commands.command()
def load(
    spec: Spec,
    root: Root = None,
    rate: Annotated[
        float, typer.Option(min=0.1, help="Requests per second; of a curve, its peak.")
    ] = 10,
    seconds: Annotated[int, typer.Option(min=1, max=86_400, help="How long.")] = 20,
    curve: Annotated[str, typer.Option(help="constant or bursty.")] = "constant",
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 0,
) -> None:
    """Put an open-loop Poisson load on the local cluster and tell what came back."""
    from optimizer.history import bursty_curve
    from workflows.live import Run, load_running, open_stand
    from workflows.terminal import load_table

    pipeline, layout, settings = opened(spec, root)
    shapes = {"constant": lambda: (1.0,) * seconds, "bursty": lambda: bursty_curve(seconds, seed)}
    if curve not in shapes:
        raise UserError(f"no load curve {curve!r}; there are {', '.join(shapes)}")
    stand = open_stand(pipeline, layout, settings)
    run = Run(name="load", curve_rps=tuple(rate * share for share in shapes[curve]()), seed=seed)
    with Board() as board:
        answered = load_running(stand, run, report=board)
    out.print(load_table(answered, pipeline.slo))


@commands.command()
def report(spec: Spec, root: Root = None) -> None:
    """Write summary.json and report.html from the runs that were recorded."""
    from workflows.report import build_report
    from workflows.summary import write_summary

    pipeline, layout, _ = opened(spec, root)
    layout.needed("runs")
    write_summary(layout.root)
    out.print(f"report: {build_report(layout.root, pipeline=pipeline)}")


@commands.command()
def demo(
    spec: Spec,
    root: Root = None,
    trainer: Trainer = None,
    seconds: Annotated[
        int | None, typer.Option(min=20, max=3600, help="Length of each load run; about a minute.")
    ] = None,
) -> None:
    """Do the whole job on this machine: train, profile, plan, serve, load, adapt, report."""
    from workflows import demo as whole

    pipeline, layout, settings = opened(spec, root)
    with Board() as board:
        whole.prepare(layout, settings, trainer or trainer_of(spec), report=board)
    out.print(plan_table(read_plan(layout, None), pipeline))
    with Board() as board:
        done = whole.compare(
            pipeline, layout, settings, seconds=seconds or whole.SECONDS, report=board
        )
    calibration = done.calibration
    out.print(
        f"load: valleys {calibration.valley_rps:.0f} and peaks {calibration.peak_rps:.0f} req/s, "
        f"where the heaviest variants carry {calibration.heaviest.load_rps:.0f} req/s"
    )
    out.print(runs_table(done.summary))
    for check in done.summary.checks:
        out.print(f"{'✔' if check.holds else '✘'} {check.detail}", markup=False, highlight=False)
    out.print(f"report: {done.report}")


@commands.command()
def down(spec: Spec, root: Root = None) -> None:
    """Stop the local cluster of this pipeline and all its processes."""
    from serving.cluster.local import LocalCluster

    _, layout, _ = opened(spec, root)
    LocalCluster(layout.cluster).stop()
    out.print("stopped")
