"""Many pipelines under one budget: their plans, and the share of each for its own ticks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.errors import SpecError, UserError
from penstock.settings import read_settings
from workflows import wiring
from workflows.layout import layout_of
from workflows.terminal import numbers_table, out

if TYPE_CHECKING:
    from optimizer.fleet_plans import Berth, FleetPlans
    from penstock.fleet import Fleet
    from penstock.share import Share

commands = typer.Typer()


@commands.command()
def fleet(
    document: Annotated[
        Path, typer.Argument(metavar="FLEET", help="Fleet document: examples/fleet.yaml.")
    ],
    load: Annotated[
        list[str] | None,
        typer.Option("--load", help="PIPELINE=req/s; wins over the document's. May be repeated."),
    ] = None,
    root: Annotated[
        Path, typer.Option("--out", help="Folder that holds a folder of results per pipeline.")
    ] = Path("out"),
    apply_shares: Annotated[
        bool,
        typer.Option("--apply-shares", help="Write share.json: ticks and plans stay within it."),
    ] = False,
) -> None:
    """Plan many pipelines under one budget; nobody starves. Writes plan.json for each."""
    from optimizer.fleet_plans import Ask, plan_asks
    from optimizer.plan import plan_to_json
    from penstock.fleet import read_fleet
    from penstock.share import format_share
    from workflows.recording import write_text

    settings, known = read_settings(), read_fleet(document)
    loads = _loads(known, load or (), str(document))
    layouts = [layout_of(m.pipeline, m.document, root / m.pipeline.name) for m in known.members]
    planned = plan_asks(
        [
            Ask(
                pipeline=member.pipeline,
                table=wiring.profile_table(layout),
                load_rps=loads[member.pipeline.name],
                priority=member.priority,
            )
            for member, layout in zip(known.members, layouts, strict=True)
        ],
        known.budget,
        solver=wiring.make_solver(settings),
        time_limit_s=settings.solver_time_limit_s,
    )
    if not planned.berths:
        raise UserError(f"fleet {known.name!r} has no plan: {planned.explanation}")
    _show(known, planned)
    for berth, layout in zip(planned.berths, layouts, strict=True):
        write_text(layout.plan, plan_to_json(berth.plan))
        out.print(f"written to {layout.plan}")
        if apply_shares:
            write_text(layout.share, format_share(_share(known, berth)))
            out.print(f"written to {layout.share}")


def _loads(known: Fleet, given: list[str] | tuple[str, ...], source: str) -> dict[str, float]:
    """Return the load [req/s] of each pipeline.

    Raises:
        SpecError: one has none, or a load is for no pipeline or no rate; all faults.
    """
    found = {m.pipeline.name: m.load_rps for m in known.members}
    faults = []
    for text in given:
        name, _, rate = text.partition("=")
        try:
            load_rps = float(rate)
        except ValueError:
            load_rps = -1.0
        if name not in found:
            faults.append(f"--load {text}: there is no pipeline {name!r} in the fleet")
        elif not 0 <= load_rps < float("inf"):
            faults.append(f"--load {text}: must be a rate, such as {name}=10")
        else:
            found[name] = load_rps
    for i, member in enumerate(known.members):
        name = member.pipeline.name
        if found[name] is None:
            faults.append(f"spec.pipelines[{i}].load_rps: is missing; or name --load {name}=10")
    if faults:
        raise SpecError(source, faults)
    return {name: load_rps for name, load_rps in found.items() if load_rps is not None}


def _share(known: Fleet, berth: Berth) -> Share:
    from penstock.share import Share

    in_money = known.max_cost_per_hour is not None
    return Share(
        fleet=known.name,
        pipeline=berth.ask.pipeline.name,
        max_cores=None if in_money else berth.limit,
        max_cost_per_hour=berth.limit if in_money else None,
    )


def _show(known: Fleet, planned: FleetPlans) -> None:
    unit = "cores" if known.max_cost_per_hour is None else "per hour"
    rows = [
        (
            berth.ask.pipeline.name,
            f"{berth.ask.priority:g}",
            f"{berth.ask.load_rps:g}",
            f"{berth.shed_rps:.3g}",
            " + ".join(f"{o.variant} x{o.replicas} b{o.batch_size}" for o in berth.plan.stages),
            f"{berth.plan.promise.accuracy:.3f}",
            f"{berth.plan.promise.latency_s * 1e3:.0f}",
            f"{berth.plan.promise.cost:.4g}",
            f"{berth.limit:.4g}",
        )
        for berth in planned.berths
    ]
    columns = ("pipeline", "priority", "req/s", "shed", "plan", "accuracy", "ms", unit, "share")
    title = f"fleet {known.name}: {planned.cost:.4g} of {planned.budget:g} {unit}"
    out.print(numbers_table(title, columns, rows))
    for berth in planned.berths:
        for words in berth.degraded:
            out.print(f"{berth.ask.pipeline.name}: {words}", markup=False, highlight=False)
    out.print(planned.explanation, markup=False, highlight=False)
