"""Component: measure one replica of one variant."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def profile_variant(
    spec: str,
    stage: str,
    variant: str,
    cpu: str,
    trained: dsl.Input[dsl.Artifact],
    catalog: dsl.Input[dsl.Artifact],
    profile: dsl.Output[dsl.Artifact],
    curves: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Measure latency, throughput and accuracy on the predictor server that will serve the variant.

    Args:
        spec: Pipeline document, as YAML text.
        stage: Name of the stage.
        variant: Name of the stage's variant.
        cpu: CPU that one replica gets, as Kubernetes writes it; one of the variant's allocations.
        trained: What train_models made; its dataset is what is asked and scored.
        catalog: What upload_models wrote.
        profile: JSON file with the variant's profile.
        curves: Latency and throughput over batch size.
        metrics: Accuracy, highest throughput, and p99 latency of the smallest batch.
    """
    from components import scores, steps

    scores.record(
        steps.profile_variant(
            spec=spec,
            catalog=catalog.path,
            dataset=f"{trained.path}/dataset",
            stage=stage,
            variant=variant,
            out=profile.path,
            page=curves.path,
            cpu=cpu,
        ),
        metrics,
    )
