"""From profiles to a plan, and from a plan to manifests: nothing here touches a cluster."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from penstock.errors import UserError
from workflows import wiring
from workflows.commands.options import (
    Parallel,
    PlanFile,
    Root,
    Spec,
    Trainer,
    known_trainer_of,
    opened,
    read_plan,
)
from workflows.terminal import out, plan_table

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
) -> None:
    """Find the best plan for a load; when there is none, say what binds and what is near."""
    from optimizer.plan import plan_to_json, solve_plan
    from workflows.recording import write_text

    pipeline, layout, settings = opened(spec, root)
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


@commands.command()
def explain(
    spec: Spec,
    load: Annotated[float, typer.Option("--load", min=0, help="Load to plan for [req/s].")],
    root: Root = None,
) -> None:
    """Say why a plan is what it is: what binds, what comes next, what a limit is worth."""
    from optimizer.insight import describe, explain_plan

    pipeline, layout, settings = opened(spec, root)
    insight = explain_plan(
        pipeline,
        wiring.profile_table(layout),
        load,
        solver=wiring.make_solver(settings),
        time_limit_s=settings.solver_time_limit_s,
    )
    if insight.outcome.plan is not None:
        out.print(plan_table(insight.outcome.plan, pipeline))
    wraps = out.console.is_terminal  # a pipe gets each finding on a line of its own
    out.print(describe(insight), markup=False, highlight=False, soft_wrap=not wraps)


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
