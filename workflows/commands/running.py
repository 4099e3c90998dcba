"""What changes a cluster, or says what would: diff, apply, the tick."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.errors import PenstockError, UserError
from workflows import wiring
from workflows.commands.options import ClusterName, PlanFile, Root, Spec, held, opened, read_plan
from workflows.terminal import out, tick_line

if TYPE_CHECKING:
    from workflows.recorded import Tick

commands = typer.Typer()


@commands.command()
def diff(
    spec: Spec, root: Root = None, plan_file: PlanFile = None, cluster: ClusterName = "local"
) -> None:
    """Show what apply would change. Exits 0 when nothing would, 2 otherwise."""
    from penstock.clock import RealClock
    from serving.diff import describe
    from serving.intent import intend
    from serving.state import read_state

    pipeline, layout, settings = opened(spec, root)
    live = wiring.attach(cluster, layout)
    intent = intend(
        read_plan(layout, plan_file),
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


@commands.command()
def apply(
    spec: Spec, root: Root = None, plan_file: PlanFile = None, cluster: ClusterName = "local"
) -> None:
    """Make a cluster run a plan: what is new first, then the graph, then what is left over."""
    from penstock.clock import RealClock
    from serving.run_plan import apply_plan

    pipeline, layout, settings = opened(spec, root)
    chosen = read_plan(layout, plan_file)
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


@commands.command()
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
    """Run the adaptation tick: load, forecast, solve, verify, decide, diff, apply, record.

    It stays within the pipeline's share of a fleet's budget, where `penstock fleet` wrote one.
    """
    from penstock.clock import RealClock
    from workflows.adapt import adapt as run_tick
    from workflows.recording import (
        append_line,
        format_json,
        write_text,
    )

    if once and watch is not None:
        raise UserError("--once and --watch exclude each other")
    pipeline, layout, settings = opened(spec, root)
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
            within = held(pipeline, layout)
            how = replace(how, cost_ceiling=within.cost_ceiling)
            record = run_tick(within.pipeline, table, ports, how)
            typer.echo(tick_line(record))
            done += 1
            if watch is None or done == ticks:
                break
            clock.sleep(watch - (clock.now() - began_s))
    if record.result is not None and not record.result.ok and watch is None:
        raise typer.Exit(3)
