"""Component: train the models of every stage's variants."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_models(trainer: str, trained: dsl.Output[dsl.Artifact]) -> None:
    """Train every variant and draw the data that profiles are measured on.

    Args:
        trainer: Module that trains, by its dotted name.
        trained: Folder with models/STAGE/VARIANT and dataset.
    """
    from components import steps

    steps.train_models(trainer=trainer, out=trained.path)
