"""Component: put the profiles of all variants into one table."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def assemble_profiles(
    spec: str,
    parts: dsl.Input[list[dsl.Artifact]],
    trained: dsl.Input[dsl.Artifact],
    catalog: dsl.Input[dsl.Artifact],
    profiles: dsl.Output[dsl.Artifact],
    curves: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Assemble the table and measure the accuracy of each combination of variants.

    Args:
        spec: Pipeline document, as YAML text.
        parts: What profile_variant wrote, once per variant.
        trained: What train_models made; its dataset is what is scored.
        catalog: What upload_models wrote.
        profiles: JSON file with the table of profiles.
        curves: Latency and throughput over batch size of every variant.
        metrics: Measured accuracies.
    """
    from components import scores, steps

    scores.record(
        steps.assemble_profiles(
            spec=spec,
            parts=[part.path for part in parts],
            catalog=catalog.path,
            dataset=f"{trained.path}/dataset",
            out=profiles.path,
            page=curves.path,
        ),
        metrics,
    )
