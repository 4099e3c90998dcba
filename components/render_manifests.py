"""Component: render the manifests of a plan."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def render_manifests(
    spec: str,
    image: str,
    plan: dsl.Input[dsl.Artifact],
    catalog: dsl.Input[dsl.Artifact],
    manifests: dsl.Output[dsl.Artifact],
) -> None:
    """Render InferenceServices, the InferenceGraph and what belongs to them.

    Args:
        spec: Pipeline document, as YAML text.
        image: Image of the predictors.
        plan: What optimize_plan wrote.
        catalog: What upload_models wrote.
        manifests: Folder with one YAML file per manifest.
    """
    from components import steps

    steps.render_manifests(
        spec=spec, plan=plan.path, catalog=catalog.path, image=image, out=manifests.path
    )
