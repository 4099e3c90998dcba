"""From settings to objects: the only place that picks concrete classes.

Every import of a back-end stands inside the function that needs it, so that a command pays for what
it uses and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.domain import Pipeline, ProfileTable
from penstock.errors import UserError
from penstock.settings import Settings
from workflows.layout import Layout

if TYPE_CHECKING:
    from optimizer.forecast import Forecaster
    from optimizer.load import LoadSource
    from optimizer.solvers import Solver
    from serving.cluster import Cluster
    from serving.cluster.local import LocalCluster
    from serving.render import RenderSettings
    from workflows.adapt import Ports, TickSettings
    from workflows.recorded import Tick

CLUSTERS = ("local", "kubernetes", "memory")


def store_uri(layout: Layout, settings: Settings) -> str:
    """Return the artifact store's URI: the settings', else a folder of the layout."""
    return settings.store or layout.store.resolve().as_uri()


def profile_table(layout: Layout) -> ProfileTable:
    """Return the measured profiles, else those that came with the document."""
    from profiles import table

    return table.load(layout.known_profiles())


def make_solver(settings: Settings) -> Solver:
    """Return the solver that the settings name."""
    from optimizer import solvers

    return solvers.make_solver(settings.solver)


def make_forecaster(pipeline: Pipeline, layout: Layout) -> Forecaster:
    """Return the trained load predictor guarded by the window's maximum, else that maximum."""
    from optimizer import forecast

    adaptation = pipeline.adaptation
    backup = forecast.make_forecaster(
        "max", horizon_s=adaptation.horizon_s, window_steps=adaptation.window_steps
    )
    folder = layout.known_forecaster()
    if folder is None:
        return backup
    trained = forecast.make_forecaster("lstm", horizon_s=adaptation.horizon_s, folder=folder)
    return forecast.WithFallback(trained, backup, window_steps=adaptation.window_steps)


def render_settings(layout: Layout, settings: Settings) -> RenderSettings:
    """Return how plans are rendered: with the uploaded versions where there is a catalog."""
    from components.steps import read_catalog
    from serving.settings import RenderSettings

    catalog = layout.known_catalog()
    uris = read_catalog(catalog).uris if catalog else {}
    return RenderSettings.of(settings, store_uri=store_uri(layout, settings), artifact_uris=uris)


def attach(name: str, layout: Layout) -> Cluster:
    """Return a cluster that outlives this command, started if it does not run.

    Raises:
        UserError: no such cluster, or it can't be started.
    """
    if name == "local":
        from serving.cluster.local import LocalCluster

        return LocalCluster.start(layout.cluster)
    if name == "memory":
        from serving.cluster.memory import MemoryCluster

        return MemoryCluster()
    if name == "kubernetes":
        from serving.cluster.kubernetes import connect

        return connect()
    raise UserError(f"no cluster {name!r}; there are {', '.join(CLUSTERS)}")


@contextmanager
def local_cluster(layout: Layout, *, name: str) -> Iterator[LocalCluster]:
    """Run a local cluster of its own for the time of a ``with`` block; nothing of it is left."""
    from serving.cluster.local import LocalCluster

    cluster = LocalCluster.start(layout.root / name, tied=True)
    try:
        yield cluster
    finally:
        cluster.stop()


def make_source(pipeline: Pipeline, settings: Settings, cluster: Cluster) -> LoadSource:
    """Return where load is read: Prometheus when it is named, else the local cluster's gateway.

    Raises:
        UserError: there is no load to be had from such a cluster.
    """
    from optimizer import load, promql

    adaptation = pipeline.adaptation
    if settings.prometheus_url:
        named = {"name": pipeline.name, "namespace": pipeline.namespace}
        window_s = adaptation.window_steps * adaptation.step_s
        return load.PrometheusLoad(
            url=settings.prometheus_url,
            query=promql.preset_query("gateway", **named, range_s=2 * adaptation.step_s),
            missing=promql.missing_query("gateway", **named, range_s=window_s),
            window_steps=adaptation.window_steps,
            step_s=adaptation.step_s,
        )
    from serving.cluster.local import LocalCluster

    if isinstance(cluster, LocalCluster):
        return load.GatewayLoad(
            url=cluster.gateway_url(pipeline.name, pipeline.namespace),
            window_steps=adaptation.window_steps,
            step_s=adaptation.step_s,
        )
    raise UserError(
        "no load to adapt to: name PENSTOCK_PROMETHEUS_URL, or run on the local cluster"
    )


def make_ports(
    pipeline: Pipeline,
    layout: Layout,
    settings: Settings,
    cluster: Cluster,
    record: Callable[[Tick], None],
) -> Ports:
    """Return what a tick talks to.

    Raises:
        UserError: there is no load to be had from such a cluster.
    """
    from penstock.clock import RealClock
    from workflows.adapt import Ports

    return Ports(
        source=make_source(pipeline, settings, cluster),
        forecaster=make_forecaster(pipeline, layout),
        solver=make_solver(settings),
        cluster=cluster,
        clock=RealClock(),
        record=record,
    )


def tick_settings(
    layout: Layout, settings: Settings, *, cluster: Cluster | None = None
) -> TickSettings:
    """Return how a tick renders and waits on that cluster."""
    from workflows.adapt import TickSettings

    return TickSettings.of(
        settings,
        render=render_settings(layout, settings),
        cluster=cluster,
        time_limit_s=settings.solver_time_limit_s,
    )


@contextmanager
def tick_metrics(pipeline: Pipeline, settings: Settings) -> Iterator[Callable[[Tick], None]]:
    """Tell of the ticks for the time of a ``with`` block: on a port, in files, or not at all.

    Yields what each record is to be given to.

    Raises:
        UserError: the port can't be listened on.
    """
    from penstock.clock import RealClock

    clock, folder = RealClock(), settings.metrics_folder
    if settings.metrics_port:
        from workflows.metrics import TickMetrics

        metrics = TickMetrics(pipeline)
        with metrics.served(settings.metrics_port):
            yield lambda tick: metrics.observe(tick, now_s=clock.now())
    elif folder:
        from workflows.numbers import write_numbers

        yield lambda tick: write_numbers(Path(folder), tick, pipeline, now_s=clock.now())
    else:
        yield lambda tick: None
