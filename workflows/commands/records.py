"""What the ticks decided, and whether they may."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflows import wiring
from workflows.commands.options import ClusterName, Root, Spec, held, opened
from workflows.terminal import out, plan_table, tick_line

if TYPE_CHECKING:
    from workflows.recorded import Tick

commands = typer.Typer()


@commands.command()
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


@commands.command(name="replay-decision")
def replay_decision(
    spec: Spec,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Of a decision, or its beginning.")],
    root: Root = None,
    cluster: ClusterName = "local",
) -> None:
    """Solve a decision anew. Exits 0 when the plan is the same, 2 when it is not."""
    from workflows import audit

    pipeline, layout, settings = opened(spec, root)
    record = audit.find(_decisions(spec, root, cluster), wanted)
    solver = wiring.make_solver(replace(settings, solver=record.solver or settings.solver))
    within = held(pipeline, layout)
    climbed = audit.resolved(
        record,
        within.pipeline,
        wiring.profile_table(layout),
        solver,
        cost_ceiling=within.cost_ceiling,
    )
    if climbed.plan is not None:
        out.print(plan_table(climbed.plan, pipeline))
    if climbed.words:
        out.print(climbed.words, markup=False)
    same = audit.same_plan(climbed.plan, record.plan)
    out.print(f"decision {record.id}: {'the same plan' if same else 'ANOTHER plan than recorded'}")
    if not same:
        raise typer.Exit(2)


@commands.command()
def pause(spec: Spec, cluster: ClusterName = "local") -> None:
    """Let the ticks of a pipeline write nothing until `penstock resume`."""
    _set_paused(spec, cluster, paused=True)


@commands.command()
def resume(spec: Spec, cluster: ClusterName = "local") -> None:
    """Let the ticks of a pipeline write again."""
    _set_paused(spec, cluster, paused=False)


def _decisions(spec: Path, root: Path | None, cluster: str) -> tuple[Tick, ...]:
    from serving.state import read_state
    from workflows import audit

    pipeline, layout, _ = opened(spec, root)
    live = wiring.attach(cluster, layout)
    return audit.decisions(read_state(live, pipeline.name, pipeline.namespace))


def _set_paused(spec: Path, cluster: str, *, paused: bool) -> None:
    from workflows import audit

    pipeline, layout, _ = opened(spec, None)
    audit.pause(wiring.attach(cluster, layout), pipeline, paused=paused)
    out.print(f"{pipeline.name}: {'paused, ticks only advise' if paused else 'ticks apply again'}")
