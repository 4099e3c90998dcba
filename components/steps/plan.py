"""Steps from profiles to a running plan."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.steps.models import read_catalog
from penstock import progress
from penstock.domain import Pipeline, ProfileTable
from penstock.errors import NotReadyError, UserError
from penstock.files import write_whole
from penstock.plan_json import plan_from_json, plan_to_json
from penstock.progress import Progress
from penstock.settings import read_settings
from penstock.spec import parse_pipeline

if TYPE_CHECKING:
    from optimizer.plan import Outcome
    from serving.cluster import Cluster
    from serving.settings import RenderSettings

CLUSTERS = "kubernetes, memory"


def optimize_plan(
    spec: str, profiles: str, load_rps: float, solver: str, out: str, page: str = ""
) -> dict[str, float]:
    """Solve for the best plan and write it.

    Raises:
        UserError: there is no plan for that load; the message says what binds and what is near.
    """
    from optimizer.plan import solve_plan
    from optimizer.solvers import make_solver
    from profiles import table

    pipeline, profiled = parse_pipeline(spec), table.load(Path(profiles))
    outcome = solve_plan(pipeline, profiled, load_rps, solver=make_solver(solver))
    progress.from_environment()(Progress(step="solve", done=1, total=1, note=outcome.explanation))
    if outcome.plan is None:
        raise UserError(outcome.explanation)
    write_whole(Path(out), plan_to_json(outcome.plan))
    if page:
        _show(outcome, pipeline, profiled, solver, page)
    promise = outcome.plan.promise
    return {
        "accuracy": promise.accuracy,
        "cost_cores": promise.cost_cores,
        "latency_s": promise.latency_s,
        "capacity_rps": promise.capacity_rps,
        "objective": promise.objective,
        "solve_seconds": outcome.solution.seconds,
    }


def render_manifests(spec: str, plan: str, catalog: str, image: str, out: str) -> None:
    """Render a plan as a kustomize tree, held against KServe's rules and CRDs where it is known.

    Raises:
        ManifestError: a cluster would refuse a manifest, or it would not work; all faults.
    """
    from serving.check import check
    from serving.render import render, write_tree

    wanted = plan_from_json(Path(plan).read_text(encoding="utf-8"))
    manifests = render(parse_pipeline(spec), wanted, _rendering(catalog, image))
    check(manifests, schemas=read_settings().schemas)
    write_tree(manifests, Path(out))
    report = progress.from_environment()
    report(Progress(step="render", done=1, total=1, note=f"{len(manifests)} manifests"))


def apply_plan(
    spec: str, plan: str, catalog: str, image: str, cluster: str, out: str
) -> dict[str, float]:
    """Make a cluster run a plan and see it ready; what it runs already is not sent again.

    Args:
        spec: Pipeline document, as YAML text.
        plan: What ``optimize_plan`` wrote.
        catalog: What ``upload_models`` wrote.
        image: Image of the predictors.
        cluster: ``kubernetes`` or ``memory``, a dry run.
        out: JSON file that receives what was done.

    Returns:
        The number of changes, and how long they took [s].

    Raises:
        UserError: no such cluster, or it refused the plan.
        NotReadyError: it does not run the plan yet; doing the step again carries on.
    """
    from penstock.clock import RealClock
    from serving.intent import ApplySettings
    from serving.run_plan import apply_plan as run

    live, report = _cluster(cluster), progress.from_environment()
    done = run(
        plan_from_json(Path(plan).read_text(encoding="utf-8")),
        parse_pipeline(spec),
        live,
        ApplySettings.of(read_settings(), render=_rendering(catalog, image), cluster=live),
        clock=RealClock(),
        on_progress=lambda line: report(Progress(step="apply", done=0, total=1, note=line)),
    )
    if not done.ok:
        raise NotReadyError(f"the plan is not running: {done.outcome.value}: {done.error}")
    changes = [f"{c.action.value} {c.kind} {c.namespace}/{c.name}" for c in done.done]
    document = {"outcome": done.outcome.value, "changes": changes, "seconds": done.seconds}
    write_whole(Path(out), json.dumps(document, indent=2, sort_keys=True) + "\n")
    report(Progress(step="apply", done=1, total=1, note=f"{len(changes)} changes"))
    return {"changes": float(len(changes)), "seconds": done.seconds}


def _rendering(catalog: str, image: str) -> "RenderSettings":
    """Return what the environment says of rendering, for the models and the image of this run."""
    from serving.settings import RenderSettings

    uploaded = read_catalog(Path(catalog))
    settings = replace(read_settings(), predictor_image=image)
    return RenderSettings.of(settings, store_uri=uploaded.store, artifact_uris=uploaded.uris)


def _cluster(name: str) -> "Cluster":
    if name == "kubernetes":
        from serving.cluster.kubernetes import connect

        return connect()
    if name == "memory":
        from serving.cluster.memory import MemoryCluster

        return MemoryCluster()
    raise UserError(f"no cluster {name!r} that a pipeline can apply to; there are {CLUSTERS}")


def _show(
    outcome: "Outcome", pipeline: Pipeline, profiled: ProfileTable, solver: str, page: str
) -> None:
    """Write the page of the plan, among the plans that nothing beats."""
    from components.pages.results import plan_page
    from components.steps.alternatives import alternatives
    from optimizer.solvers import make_solver

    assert outcome.plan is not None, "there is a plan to show"
    choice = alternatives(
        outcome.plan,
        pipeline,
        profiled,
        solver=make_solver(solver),
        how_sure=outcome.explanation,
    )
    write_whole(Path(page), plan_page(choice, pipeline))
