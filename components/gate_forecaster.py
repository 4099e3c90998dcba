"""Component: publish the load predictor if it is better than what is in use."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate_forecaster(
    spec: str,
    store: str,
    shared: str,
    candidate: dsl.Input[dsl.Model],
    decision: dsl.Output[dsl.Artifact],
    forecaster: dsl.Output[dsl.Model],
    backtest: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Publish the load predictor if its error is below the published one's and the last value's.

    Args:
        spec: Pipeline document, as YAML text.
        store: Artifact store, a folder or s3://bucket/prefix.
        shared: Folder of public data sets with the load history; empty takes the generator.
        candidate: What train_forecaster wrote.
        decision: JSON file with the decision, its reason and all figures.
        forecaster: Folder with the predictor that is in use now.
        backtest: Forecasts beside what came, and the errors.
        metrics: Whether it was published, and the error of each.
    """
    from components import scores, steps

    scores.record(
        steps.gate_forecaster(
            spec=spec,
            store=store,
            shared=shared,
            candidate=candidate.path,
            decision=decision.path,
            forecaster=forecaster.path,
            page=backtest.path,
        ),
        metrics,
    )
