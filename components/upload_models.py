"""Component: put the trained models into the artifact store."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def upload_models(
    spec: str,
    store: str,
    trained: dsl.Input[dsl.Artifact],
    catalog: dsl.Output[dsl.Artifact],
) -> None:
    """Upload every variant's model; versions are immutable, so a repetition uploads nothing.

    Args:
        spec: Pipeline document, as YAML text.
        store: Artifact store, a folder or s3://bucket/prefix.
        trained: What train_models made.
        catalog: JSON file with key, version and address of every uploaded model.
    """
    from components import steps

    steps.upload_models(spec=spec, models=f"{trained.path}/models", store=store, out=catalog.path)
