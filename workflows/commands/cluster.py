"""A pipeline on its cluster: what must be there, what is deployed, how it is, its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.errors import UserError
from workflows import wiring
from workflows.commands.options import ClusterName, Root, Spec, opened
from workflows.terminal import numbers_table, out, status_table

if TYPE_CHECKING:
    from workflows.deployment import DeploySettings, Inputs
    from workflows.layout import Layout

commands = typer.Typer()

Overlay = Annotated[
    str, typer.Option(help="standard, knative, or dev: with MinIO and Prometheus inside.")
]
Monitoring = Annotated[
    bool,
    typer.Option("--monitoring", help="With monitors and alerts for the Prometheus operator."),
]
Watch = Annotated[
    float | None,
    typer.Option(
        "--watch", help="Seconds between two ticks of a Deployment; default Argo, once a minute."
    ),
]


@commands.command(name="check-cluster")
def check_cluster(
    spec: Spec,
    overlay: Overlay = "standard",
    watch: Watch = None,
    monitoring: Monitoring = False,
) -> None:
    """Look for all that a deployment needs on the cluster. Exits 2 when something is missing."""
    from serving.cluster.kubernetes import connect
    from workflows.preflight import check_cluster as check

    pipeline, _, settings = opened(spec, None)
    checks = check(
        connect().discovery, pipeline, settings, _how(overlay, watch, monitoring=monitoring)
    )
    for one in checks:
        if not one.holds or not one.what.startswith("may "):
            mark = "✔" if one.holds else "✘" if one.stops else "-"
            typer.echo(f"{mark} {one.what}: {one.found}{f'; {one.hint}' if one.hint else ''}")
    missing = sum(check.stops for check in checks)
    if missing:
        typer.echo(f"{missing} of {len(checks)} checks failed: nothing was deployed")
        raise typer.Exit(UserError.exit_code)
    typer.echo(f"all {len(checks)} checks passed")


@commands.command()
def deployment(
    spec: Spec,
    root: Root = None,
    overlay: Overlay = "standard",
    watch: Watch = None,
    monitoring: Monitoring = False,
    manifests: Annotated[
        Path, typer.Option("--manifests", help="The folder manifests of a checkout.")
    ] = Path("manifests"),
) -> None:
    """Write what runs the pipeline on Kubernetes as a kustomize tree: out/<pipeline>/deploy."""
    from workflows.deployment import deployment_files, settled, write_deployment

    pipeline, layout, settings = opened(spec, root)
    how = _how(overlay, watch, monitoring=monitoring)
    settings = replace(settings, **settled(settings, how))
    files = deployment_files(pipeline, _inputs(spec, layout), settings, how)
    for path in write_deployment(files, manifests, layout.deploy):
        typer.echo(path)
    typer.echo(layout.deploy)


@commands.command()
def status(spec: Spec, root: Root = None, cluster: ClusterName = "local") -> None:
    """Show the plan that runs, its stages, the gateway and the last tick on one screen.

    Exits 3 when something the plan wants is not there, or the last tick failed.
    """
    from penstock.clock import RealClock
    from workflows.status import status_of

    pipeline, layout, _ = opened(spec, root)
    if cluster == "local" and not _runs_here(layout):
        out.print("the local cluster does not run")
        return
    found = status_of(wiring.attach(cluster, layout), pipeline, now_s=RealClock().now())
    out.print(status_table(found))
    if cluster == "local":
        _show_replicas(layout)
    if not found.healthy:
        raise typer.Exit(3)


@commands.command()
def undeploy(spec: Spec, root: Root = None, cluster: ClusterName = "kubernetes") -> None:
    """Take a pipeline away from a cluster: its tick, graph, services, gateway, state and rights."""
    from workflows.removal import remove

    pipeline, layout, _ = opened(spec, root)
    gone = 0
    for kind, namespace, name in remove(wiring.attach(cluster, layout), pipeline):
        typer.echo(f"deleted {kind} {namespace}/{name}")
        gone += 1
    typer.echo(
        f"{gone} objects deleted; left are the namespace {pipeline.namespace}, what its pipelines "
        "share (service account penstock, network policies, in dev MinIO and Prometheus), the "
        "Secret penstock-store, the events and the artifacts"
    )


def _how(overlay: str, watch_s: float | None, *, monitoring: bool) -> DeploySettings:
    from workflows.deployment import DeploySettings, Loop

    if watch_s is None:
        return DeploySettings(overlay=overlay, monitoring=monitoring)
    return DeploySettings(overlay=overlay, loop=Loop.WATCH, watch_s=watch_s, monitoring=monitoring)


def _inputs(spec: Path, layout: Layout) -> Inputs:
    """Return what the tick needs to decide as this folder would."""
    from optimizer.forecast.card import CARD_FILE, MODEL_FILE
    from workflows.deployment import Inputs

    texts = {"pipeline.yaml": spec, "profiles.json": layout.known_profiles()}
    catalog, folder = layout.known_catalog(), layout.known_forecaster()
    if catalog is not None:
        texts["catalog.json"] = catalog
    if (share := layout.known_share()) is not None:
        texts[share.name] = share
    parts = (CARD_FILE, MODEL_FILE) if folder is not None else ()
    try:
        return Inputs(
            texts={name: path.read_text(encoding="utf-8") for name, path in texts.items()},
            forecaster={name: (folder / name).read_bytes() for name in parts if folder},
        )
    except (OSError, UnicodeDecodeError) as err:
        raise UserError(f"what the tick needs can't be read: {err}") from err


def _runs_here(layout: Layout) -> bool:
    from serving.cluster.local import LocalCluster

    return LocalCluster(layout.cluster).running()


def _show_replicas(layout: Layout) -> None:
    from serving.cluster.local import LocalCluster

    rows = [
        (u.service, str(u.pid), f"{u.cpu_cores:g}", "draining" if u.draining else str(u.ready))
        for u in LocalCluster(layout.cluster).replica_usage()
    ]
    out.print(numbers_table("replicas", ("service", "pid", "cores", "ready"), rows))
