"""The command line: parsing and showing; each command is one call of what a workflow does.

Exit codes: 0 done; 2 a person must act, or ``diff`` found changes; 3 try again later; 130
interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from penstock.errors import PenstockError, UserError
from penstock.process import INTERRUPTED
from penstock.progress import PROGRESS_VARIABLE
from penstock.settings import Settings, read_settings
from penstock.spec import format_pipeline, read_pipeline
from workflows import wiring
from workflows.layout import Layout, layout_of
from workflows.terminal import (
    Board,
    err,
    following,
    numbers_table,
    out,
    plan_table,
    runs_table,
    tick_line,
)

if TYPE_CHECKING:
    from penstock.domain import Pipeline, Plan
    from workflows.recording import Tick

app = typer.Typer(
    name="penstock",
    help="Keep an ML inference pipeline at the best accuracy for the least money within its SLO.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Spec = Annotated[Path, typer.Argument(help="Pipeline document: examples/digits/pipeline.yaml.")]
Root = Annotated[
    Path | None, typer.Option("--out", help="Folder of all results; default out/<pipeline>.")
]
ClusterName = Annotated[
    str,
    typer.Option(
        "--cluster",
        help="local: processes on this machine; kubernetes: KUBECONFIG's, else the pod's own; "
        "memory: a dry run.",
    ),
]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="Plan to use; default plan.json of --out.")
]
Trainer = Annotated[
    str | None,
    typer.Option(help="Module that trains the models; default train.py beside the document."),
]


@app.command()
def validate(spec: Spec) -> None:
    """Check a pipeline document; every fault is told with its path."""
    pipeline = read_pipeline(spec)
    variants = sum(len(stage.variants) for stage in pipeline.stages)
    out.print(
        f"{spec}: pipeline {pipeline.name} with {len(pipeline.stages)} stages and {variants} "
        f"variants, SLO {pipeline.slo.latency_s * 1e3:g} ms at {pipeline.slo.quantile:g}: no fault"
    )


@app.command()
def models(spec: Spec, root: Root = None, trainer: Trainer = None) -> None:
    """Train the pipeline's models and write held-out requests (examples)."""
    from components import steps

    _, layout, _ = _opened(spec, root)
    sys.path.insert(0, str(Path.cwd()))  # the trainer is found as ``python -m`` would find it
    with _watched(layout):
        steps.train_models(trainer or _trainer_of(spec), str(layout.root))
    out.print(f"models in {layout.models}, held-out requests in {layout.dataset}")


@app.command()
def upload(spec: Spec, root: Root = None) -> None:
    """Upload the models to the artifact store (PENSTOCK_STORE; default a folder)."""
    from components import steps

    pipeline, layout, settings = _opened(spec, root)
    store = wiring.store_uri(layout, settings)
    with _watched(layout):
        steps.upload_models(
            format_pipeline(pipeline), str(layout.needed("models")), store, str(layout.catalog)
        )
    rows = [
        (f"{m.stage}/{m.variant}", m.version) for m in steps.read_catalog(layout.catalog).models
    ]
    out.print(numbers_table(store, ("model", "version"), rows))


@app.command()
def profile(spec: Spec, root: Root = None) -> None:
    """Measure every variant on the predictor server: latency, throughput, accuracy."""
    from components import steps
    from profiles import table

    pipeline, layout, _ = _opened(spec, root)
    with _watched(layout):
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


@app.command()
def train(spec: Spec, root: Root = None) -> None:
    """Train the load predictor and tell its error beside the last value's and the window's max."""
    from components import steps

    pipeline, layout, settings = _opened(spec, root)
    with _watched(layout):
        scores = steps.train_forecaster(
            format_pipeline(pipeline), str(settings.shared or ""), str(layout.forecaster)
        )
    rows = [(name.removeprefix("smape_pct_"), f"{value:.2f}") for name, value in scores.items()]
    out.print(numbers_table("error on held-out load", ("forecaster", "sMAPE %"), rows))


@app.command()
def plan(
    spec: Spec,
    load: Annotated[float, typer.Option("--load", min=0, help="Load to plan for [req/s].")],
    root: Root = None,
    solver: Annotated[
        str | None,
        typer.Option(
            help="auto, frontier, mip, glpk, highs or exhaustive; default PENSTOCK_SOLVER."
        ),
    ] = None,
) -> None:
    """Find the best plan for a load; when there is none, say what binds and what is near."""
    from optimizer.plan import plan_to_json, solve_plan
    from workflows.recording import write_text

    pipeline, layout, settings = _opened(spec, root)
    if solver:
        settings = replace(settings, solver=solver)
    outcome = solve_plan(
        pipeline,
        wiring.profile_table(layout),
        load,
        solver=wiring.make_solver(settings),
        time_limit_s=settings.solver_time_limit_s,
    )
    if outcome.plan is None:
        if outcome.nearest is not None:
            out.print("the nearest plan:", plan_table(outcome.nearest, pipeline))
        raise UserError(f"{outcome.status}: {outcome.explanation}")
    out.print(plan_table(outcome.plan, pipeline), outcome.explanation)
    write_text(layout.plan, plan_to_json(outcome.plan))
    out.print(f"written to {layout.plan}")


@app.command()
def explain(
    spec: Spec,
    load: Annotated[float, typer.Option("--load", min=0, help="Load to plan for [req/s].")],
    root: Root = None,
) -> None:
    """Say why a plan is what it is: what binds, what comes next, what a limit is worth."""
    from optimizer.insight import describe, explain_plan

    pipeline, layout, settings = _opened(spec, root)
    insight = explain_plan(
        pipeline,
        wiring.profile_table(layout),
        load,
        solver=wiring.make_solver(settings),
        time_limit_s=settings.solver_time_limit_s,
    )
    if insight.outcome.plan is not None:
        out.print(plan_table(insight.outcome.plan, pipeline))
    typer.echo(describe(insight))


@app.command()
def render(
    spec: Spec,
    root: Root = None,
    plan_file: PlanFile = None,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Print one YAML stream instead.")
    ] = False,
) -> None:
    """Render a plan as manifests for KServe, checked against its rules (and CRDs, if named)."""
    from serving.check import check
    from serving.render import render as render_plan
    from serving.render import to_yaml, write_tree

    pipeline, layout, settings = _opened(spec, root)
    manifests = render_plan(
        pipeline, _plan(layout, plan_file), wiring.render_settings(layout, settings)
    )
    check(manifests, schemas=settings.schemas)
    if stdout:
        typer.echo(to_yaml(manifests), nl=False)
        return
    for path in write_tree(manifests, layout.manifests):
        out.print(path)


@app.command()
def diff(
    spec: Spec, root: Root = None, plan_file: PlanFile = None, cluster: ClusterName = "local"
) -> None:
    """Show what apply would change. Exits 0 when nothing would, 2 otherwise."""
    from penstock.clock import RealClock
    from serving.diff import describe
    from serving.state import read_state
    from workflows.intent import intend

    pipeline, layout, settings = _opened(spec, root)
    live = wiring.attach(cluster, layout)
    intent = intend(
        _plan(layout, plan_file),
        read_state(live, pipeline.name, pipeline.namespace),
        pipeline,
        live,
        wiring.tick_settings(layout, settings, cluster=live),
        now_s=RealClock().now(),
    )
    for edit in intent.edits:
        out.print(f"edited: {edit}", markup=False, highlight=False)
    for change in intent.changes:
        out.print("\n".join(describe(change)), markup=False, highlight=False)
    if intent.changes:
        raise typer.Exit(2)
    out.print("nothing to change")


@app.command()
def apply(
    spec: Spec, root: Root = None, plan_file: PlanFile = None, cluster: ClusterName = "local"
) -> None:
    """Make a cluster run a plan: what is new first, then the graph, then what is left over."""
    from penstock.clock import RealClock
    from workflows.adapt import apply_plan

    pipeline, layout, settings = _opened(spec, root)
    chosen = _plan(layout, plan_file)
    live = wiring.attach(cluster, layout)
    report = apply_plan(
        chosen,
        pipeline,
        live,
        wiring.tick_settings(layout, settings, cluster=live),
        clock=RealClock(),
        on_progress=lambda line: out.print(line, markup=False, highlight=False),
    )
    if not report.ok:
        raise PenstockError(f"{report.outcome}: {report.error}")
    out.print(f"{len(report.done)} changes in {report.seconds:.1f} s")
    if hasattr(live, "gateway_url"):
        out.print(f"the pipeline answers at {live.gateway_url(pipeline.name, pipeline.namespace)}")


@app.command()
def adapt(
    spec: Spec,
    root: Root = None,
    cluster: ClusterName = "local",
    once: Annotated[bool, typer.Option("--once", help="Run one tick; the default.")] = False,
    watch: Annotated[
        float | None, typer.Option("--watch", min=0.1, help="Seconds between ticks; default once.")
    ] = None,
    ticks: Annotated[
        int | None, typer.Option("--ticks", min=1, help="With --watch: stop after so many.")
    ] = None,
) -> None:
    """Run the adaptation tick: load, forecast, solve, verify, decide, diff, apply, record."""
    from penstock.clock import RealClock
    from workflows.adapt import adapt as run_tick
    from workflows.recording import append_line, format_json, write_text

    if once and watch is not None:
        raise UserError("--once and --watch exclude each other")
    pipeline, layout, settings = _opened(spec, root)
    layout.root.mkdir(parents=True, exist_ok=True)
    live = wiring.attach(cluster, layout)
    clock, done = RealClock(), 0
    with wiring.tick_metrics(pipeline, settings) as observe:

        def record_tick(tick: Tick) -> None:
            append_line(layout.decisions, tick)
            write_text(layout.decision, format_json(tick, indent=2))
            observe(tick)

        ports = wiring.make_ports(pipeline, layout, settings, live, record_tick)
        table = wiring.profile_table(layout)
        how = wiring.tick_settings(layout, settings, cluster=live)
        while True:
            began_s = clock.now()
            record = run_tick(pipeline, table, ports, how)
            out.print(tick_line(record), markup=False, highlight=False)
            done += 1
            if watch is None or done == ticks:
                break
            clock.sleep(watch - (clock.now() - began_s))
    if record.result is not None and not record.result.ok and watch is None:
        raise typer.Exit(3)


@app.command()
def decisions(
    spec: Spec,
    root: Root = None,
    cluster: ClusterName = "local",
    last: Annotated[int, typer.Option("--last", min=1, help="How many, the newest last.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print them whole, one a line.")] = False,
) -> None:
    """List what the ticks decided, as the cluster keeps it."""
    from workflows.recording import format_json

    for tick in _decisions(spec, root, cluster)[-last:]:
        if as_json:
            typer.echo(format_json(tick), nl=False)
        else:
            out.print(f"{tick.id} {tick_line(tick)}", markup=False, highlight=False)


@app.command(name="replay-decision")
def replay_decision(
    spec: Spec,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Of a decision, or its beginning.")],
    root: Root = None,
    cluster: ClusterName = "local",
) -> None:
    """Solve a decision anew. Exits 0 when the plan is the same, 2 when it is not."""
    from workflows import audit

    pipeline, layout, settings = _opened(spec, root)
    record = audit.find(_decisions(spec, root, cluster), wanted)
    solver = wiring.make_solver(replace(settings, solver=record.solver or settings.solver))
    outcome = audit.resolved(record, pipeline, wiring.profile_table(layout), solver)
    if outcome.plan is not None:
        out.print(plan_table(outcome.plan, pipeline))
    same = audit.same_plan(outcome.plan, record.plan)
    out.print(f"decision {record.id}: {'the same plan' if same else 'ANOTHER plan than recorded'}")
    if not same:
        raise typer.Exit(2)


@app.command()
def pause(spec: Spec, cluster: ClusterName = "local") -> None:
    """Let the ticks of a pipeline write nothing until `penstock resume`."""
    _set_paused(spec, cluster, paused=True)


@app.command()
def resume(spec: Spec, cluster: ClusterName = "local") -> None:
    """Let the ticks of a pipeline write again."""
    _set_paused(spec, cluster, paused=False)


@app.command()
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

    pipeline, layout, settings = _opened(spec, root)
    shapes = {"constant": lambda: (1.0,) * seconds, "bursty": lambda: bursty_curve(seconds, seed)}
    if curve not in shapes:
        raise UserError(f"no load curve {curve!r}; there are {', '.join(shapes)}")
    stand = open_stand(pipeline, layout, settings)
    run = Run(name="load", curve_rps=tuple(rate * share for share in shapes[curve]()), seed=seed)
    with Board() as board:
        answered = load_running(stand, run, report=board)
    out.print(load_table(answered, pipeline.slo))


@app.command()
def report(spec: Spec, root: Root = None) -> None:
    """Write summary.json and report.html from the runs that were recorded."""
    from workflows.report import build_report
    from workflows.summary import write_summary

    _, layout, _ = _opened(spec, root)
    layout.needed("runs")
    write_summary(layout.root)
    out.print(f"report: {build_report(layout.root)}")


@app.command(name="compile")
def compile_(spec: Spec, root: Root = None) -> None:
    """Write the Kubeflow pipeline (IR YAML) and the Argo CronWorkflow."""
    from workflows.bootstrap import compile_bootstrap
    from workflows.cron import check_cron, make_cron, to_yaml
    from workflows.recording import write_text

    pipeline, layout, settings = _opened(spec, root)
    cron = make_cron(pipeline, settings)
    faults = check_cron(cron)
    if faults:
        raise UserError("the CronWorkflow would be refused: " + "; ".join(faults))
    for name, text in {"bootstrap": compile_bootstrap(pipeline), "cron": to_yaml(cron)}.items():
        path = layout.root / "compiled" / f"{name}.yaml"
        write_text(path, text)
        out.print(path)


@app.command()
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

    pipeline, layout, settings = _opened(spec, root)
    with Board() as board:
        whole.prepare(layout, settings, trainer or _trainer_of(spec), report=board)
    out.print(plan_table(_plan(layout, None), pipeline))
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


@app.command()
def status(spec: Spec, root: Root = None) -> None:
    """Show what the local cluster runs for this pipeline."""
    from serving.cluster.local import LocalCluster

    _, layout, _ = _opened(spec, root)
    cluster = LocalCluster(layout.cluster)
    if not cluster.running():
        out.print("the local cluster does not run")
        return
    rows = [
        (u.service, str(u.pid), f"{u.cpu_cores:g}", "draining" if u.draining else str(u.ready))
        for u in cluster.replica_usage()
    ]
    out.print(numbers_table("replicas", ("service", "pid", "cores", "ready"), rows))


@app.command()
def down(spec: Spec, root: Root = None) -> None:
    """Stop the local cluster of this pipeline and all its processes."""
    from serving.cluster.local import LocalCluster

    _, layout, _ = _opened(spec, root)
    LocalCluster(layout.cluster).stop()
    out.print("stopped")


def main() -> NoReturn:
    """Run the command line; our own errors become a message and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(standalone_mode=False)
    except typer.exceptions.TyperException as misused:
        show = getattr(misused, "show", None)  # Typer types it on subclasses only
        if show is not None:
            show()
        raise SystemExit(UserError.exit_code) from misused
    except PenstockError as problem:
        err.print(
            f"penstock: {problem}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        raise SystemExit(problem.exit_code) from problem
    if code == INTERRUPTED:  # what Typer answers to Ctrl-C
        err.print("interrupted")
    raise SystemExit(code or 0)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _opened(spec: Path, root: Path | None) -> tuple[Pipeline, Layout, Settings]:
    pipeline = read_pipeline(spec)
    return pipeline, layout_of(pipeline, spec, root), read_settings()


def _decisions(spec: Path, root: Path | None, cluster: str) -> tuple[Tick, ...]:
    from serving.state import read_state
    from workflows import audit

    pipeline, layout, _ = _opened(spec, root)
    live = wiring.attach(cluster, layout)
    return audit.decisions(read_state(live, pipeline.name, pipeline.namespace))


def _set_paused(spec: Path, cluster: str, *, paused: bool) -> None:
    from workflows import audit

    pipeline, layout, _ = _opened(spec, None)
    audit.pause(wiring.attach(cluster, layout), pipeline, paused=paused)
    out.print(f"{pipeline.name}: {'paused, ticks only advise' if paused else 'ticks apply again'}")


def _plan(layout: Layout, path: Path | None) -> Plan:
    from optimizer.plan import plan_from_json

    chosen = path or layout.needed("plan")
    try:
        return plan_from_json(chosen.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"the plan {chosen} can't be read: {problem}") from problem


def _trainer_of(spec: Path) -> str:
    """Return the module ``train.py`` beside the document, as its name from the current folder."""
    file = spec.parent / "train.py"
    try:
        relative = file.resolve().relative_to(Path.cwd())
    except ValueError:
        relative = file
    if not file.exists() or relative.is_absolute():
        raise UserError(
            f"{file} is not there or not below the current folder; name the training module with "
            "--trainer, or put models into the output folder yourself"
        )
    return ".".join(relative.with_suffix("").parts)


@contextmanager
def _watched(layout: Layout) -> Iterator[None]:
    """Show what steps report as bars, whether they run here or in a process of their own."""
    path = layout.logs / "progress.jsonl"
    os.environ[PROGRESS_VARIABLE] = str(path.resolve())
    try:
        with Board() as board, following(path, board):
            yield
    finally:
        del os.environ[PROGRESS_VARIABLE]
