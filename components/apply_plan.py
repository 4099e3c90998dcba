"""Component: make a cluster run the plan."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def apply_plan(
    spec: str,
    image: str,
    cluster: str,
    plan: dsl.Input[dsl.Artifact],
    catalog: dsl.Input[dsl.Artifact],
    manifests: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Apply the plan as a switch that survives its own end, and see it ready.

    Args:
        spec: Pipeline document, as YAML text.
        image: Image of the predictors.
        cluster: kubernetes, with this pod's service account, or memory, a dry run.
        plan: What optimize_plan wrote.
        catalog: What upload_models wrote.
        manifests: What render_manifests wrote; nothing is applied that was not rendered first.
        report: JSON file with every change that was made.
        metrics: The number of changes, and the seconds they took.
    """
    from components import scores, steps

    scores.record(
        steps.apply_plan(
            spec=spec,
            image=image,
            cluster=cluster,
            plan=plan.path,
            catalog=catalog.path,
            out=report.path,
        ),
        metrics,
    )
