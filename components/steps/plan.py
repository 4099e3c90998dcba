"""Steps from profiles to a running plan."""

from pathlib import Path

from components.steps.models import read_catalog
from penstock import progress
from penstock.errors import UserError
from penstock.files import write_whole
from penstock.progress import Progress
from penstock.settings import read_settings
from penstock.spec import parse_pipeline


def optimize_plan(
    spec: str, profiles: str, load_rps: float, solver: str, out: str
) -> dict[str, float]:
    """Solve for the best plan and write it.

    Raises:
        UserError: there is no plan for that load; the message says what binds and what is near.
    """
    from optimizer.plan import plan_to_json, solve_plan
    from optimizer.solvers import make_solver
    from profiles import table

    pipeline = parse_pipeline(spec)
    outcome = solve_plan(pipeline, table.load(Path(profiles)), load_rps, solver=make_solver(solver))
    progress.from_environment()(Progress(step="solve", done=1, total=1, note=outcome.explanation))
    if outcome.plan is None:
        raise UserError(outcome.explanation)
    write_whole(Path(out), plan_to_json(outcome.plan))
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
    from optimizer.plan import plan_from_json
    from serving.check import check
    from serving.render import RenderSettings, render, write_tree

    uploaded = read_catalog(Path(catalog))
    settings = RenderSettings(image=image, store_uri=uploaded.store, artifact_uris=uploaded.uris)
    text = Path(plan).read_text(encoding="utf-8")
    manifests = render(parse_pipeline(spec), plan_from_json(text), settings)
    check(manifests, schemas=read_settings().schemas)
    write_tree(manifests, Path(out))
    report = progress.from_environment()
    report(Progress(step="render", done=1, total=1, note=f"{len(manifests)} manifests"))
