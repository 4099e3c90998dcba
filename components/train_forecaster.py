"""Component: train the load predictor."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_forecaster(
    spec: str,
    shared: str,
    candidate: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train the load predictor and score it against the last value and the window's maximum.

    Args:
        spec: Pipeline document, as YAML text; its window and horizon are what is learnt.
        shared: Folder of public data sets with the load history; empty takes the generator.
        candidate: Folder with the trained predictor.
        metrics: Errors of the predictor and of the two it is held against.
    """
    from components import scores, steps

    scores.record(steps.train_forecaster(spec=spec, shared=shared, out=candidate.path), metrics)
