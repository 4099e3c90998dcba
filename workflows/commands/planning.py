"""From profiles to a plan, and from a plan to manifests: nothing here touches a cluster."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.errors import UserError
from workflows import wiring
from workflows.commands.options import (
    Parallel,
    PlanFile,
    Root,
    Spec,
    Trainer,
    held,
    known_trainer_of,
    opened,
    read_plan,
)
from workflows.terminal import out, plan_table

if TYPE_CHECKING:
    from optimizer.ladder import Climb
    from penstock.domain import ProfileTable
    from penstock.settings import Settings
    from penstock.share import Held

commands = typer.Typer()


@commands.command()
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
    ladder: Annotated[
        bool, typer.Option("--ladder", help="Where there is no plan, give up what a tick would.")
    ] = False,
) -> None:
    """Find the best plan for a load; when there is none, say what binds and what is near."""
    from optimizer.ladder import TARGET
    from optimizer.plan import plan_to_json
    from workflows.recording import write_text

    pipeline, layout, settings = opened(spec, root)
    within = held(pipeline, layout)
    asked = replace(settings, solver=solver or settings.solver)
    climbed = _climbed(within, wiring.profile_table(layout), asked, load)
    if climbed.plan is None:
        raise UserError(f"{climbed.status}: {climbed.explanation}")
    if not ladder and set(climbed.given_up) - {TARGET}:
        out.print("the nearest plan:", plan_table(climbed.plan, within.pipeline))
        raise UserError(
            f"{climbed.status}: {climbed.explanation}; {climbed.words}; "
            "`penstock plan --ladder` writes that plan"
        )
    out.print(plan_table(climbed.plan, within.pipeline))
    out.print("; ".join(t for t in (climbed.words, climbed.explanation) if t), markup=False)
    write_text(layout.plan, plan_to_json(climbed.plan))
    out.print(f"written to {layout.plan}")


@commands.command()
def explain(
    spec: Spec,
    load: Annotated[float, typer.Option("--load", min=0, help="Load to plan for [req/s].")],
    root: Root = None,
    running: Annotated[
        Path | None,
        typer.Option("--from", help="The plan that runs: say whether moving from it pays, too."),
    ] = None,
    since: Annotated[float, typer.Option(min=0, help="How long it has run [s].")] = 0.0,
) -> None:
    """Say why a plan is what it is: what binds, what comes next, what a limit is worth."""
    from optimizer.insight import describe, explain_move, explain_plan
    from optimizer.ladder import TARGET, describe_climb

    pipeline, layout, settings = opened(spec, root)
    within = held(pipeline, layout)
    table, solver = wiring.profile_table(layout), wiring.make_solver(settings)
    climbed = _climbed(within, table, settings, load)
    serves = climbed.plan is not None and set(climbed.given_up) <= {TARGET}
    asked = climbed.asked if serves else within.pipeline
    insight = explain_plan(
        asked,
        table,
        load,
        solver=solver,
        time_limit_s=settings.solver_time_limit_s,
    )
    if climbed.plan is not None:
        out.print(plan_table(climbed.plan, within.pipeline))
    words = [describe(insight)]
    if not serves or climbed.given_up:
        words.append(describe_climb(climbed))
    wraps = out.console.is_terminal  # a pipe gets each finding on a line of its own
    if running is not None:
        decision = explain_move(
            asked,
            table,
            load,
            solver=solver,
            running=read_plan(layout, running),
            since_change_s=since,
        )
        words.append(f"from the running plan: {decision.kind}: {decision.reason}")
    out.print("\n".join(words), markup=False, highlight=False, soft_wrap=not wraps)


@commands.command()
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

    pipeline, layout, settings = opened(spec, root)
    manifests = render_plan(
        pipeline, read_plan(layout, plan_file), wiring.render_settings(layout, settings)
    )
    check(manifests, schemas=settings.schemas)
    if stdout:
        typer.echo(to_yaml(manifests), nl=False)
        return
    for path in write_tree(manifests, layout.manifests):
        out.print(path)


@commands.command(name="compile")
def compile_(
    spec: Spec, root: Root = None, trainer: Trainer = None, parallel: Parallel = 1
) -> None:
    """Write the Kubeflow pipeline (IR YAML) and the Argo CronWorkflow."""
    from workflows.bootstrap import compile_bootstrap
    from workflows.cron import check_cron, make_cron, to_yaml
    from workflows.parameters import Build, Parameters
    from workflows.recording import write_text

    pipeline, layout, settings = opened(spec, root)
    cron = make_cron(pipeline, settings)
    faults = check_cron(cron)
    if faults:
        raise UserError("the CronWorkflow would be refused: " + "; ".join(faults))
    bootstrap = compile_bootstrap(
        pipeline,
        Parameters.of(settings, trainer=trainer or known_trainer_of(spec)),
        Build.of(settings, os.environ, parallel_profiles=parallel),
    )
    for name, text in {"bootstrap": bootstrap, "cron": to_yaml(cron)}.items():
        path = layout.root / "compiled" / f"{name}.yaml"
        write_text(path, text)
        out.print(path)


def _climbed(within: Held, table: ProfileTable, settings: Settings, load_rps: float) -> Climb:
    from optimizer.ladder import climb

    return climb(
        within.pipeline,
        table,
        load_rps,
        solver=wiring.make_solver(settings),
        time_limit_s=settings.solver_time_limit_s,
        cost_ceiling=within.cost_ceiling,
    )
