"""Trains one variant and hands back its net at serving size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from examples.canvases.config import Example, Recipe
from examples.canvases.draw import Canvases
from examples.canvases.keras_on_jax import keras
from examples.canvases.nets import locator_loss, make_classifier, make_locator
from examples.canvases.pools import cut_items, grid_targets

_STEPS_PER_REPORT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStep:
    """How far one variant is: ``done`` of ``total`` steps; ``measures`` are the epoch's so far."""

    variant: str
    epoch: int
    done: int
    total: int
    measures: dict[str, float]


Listener = Callable[[TrainingStep], None]


def train_locator(example: Example, recipe: Recipe, pool: Canvases, listen: Listener) -> Any:
    """Return a locator for the example's canvases, trained on the first canvases of the pool."""
    keras.utils.set_random_seed(example.seed)
    net = make_locator(recipe.convs, input_px=example.practice.size_px)
    net.compile(_optimizer(recipe), locator_loss)
    grids = grid_targets(pool, stride_px=example.stride_px, scale_px=example.scale_px)
    count = recipe.samples
    _fit(net, recipe, pool.images[:count], grids[:count], listen)
    served = make_locator(recipe.convs, input_px=example.canvas.size_px)
    served.set_weights(net.get_weights())
    return served


def train_classifier(example: Example, recipe: Recipe, pool: Canvases, listen: Listener) -> Any:
    """Return a classifier for the example's crops, trained on the first items of the pool."""
    keras.utils.set_random_seed(example.seed)
    net = make_classifier(
        recipe.convs,
        hidden=recipe.hidden,
        input_px=example.crop_px,
        classes=len(example.classes),
    )
    net.compile(_optimizer(recipe), "sparse_categorical_crossentropy", metrics=["accuracy"])
    crops, labels = cut_items(
        pool,
        crop_px=example.crop_px,
        jitter=example.crop_jitter,
        seed=example.seed,
        most=recipe.samples,
    )
    _fit(net, recipe, crops, labels, listen)
    return net


def _optimizer(recipe: Recipe) -> Any:
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 10,
        recipe.steps,
        warmup_target=recipe.learning_rate,
        warmup_steps=max(1, recipe.steps // 10),
        alpha=0.01,
    )
    return keras.optimizers.Adam(schedule, clipnorm=1.0)


def _fit(net: Any, recipe: Recipe, images: np.ndarray, truth: np.ndarray, listen: Listener) -> None:
    net.fit(
        images[..., None],
        truth,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        verbose=0,
        callbacks=[_Reporter(recipe, listen)],
    )


class _Reporter(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells the listener after every few steps and at the end of each epoch."""

    def __init__(self, recipe: Recipe, listen: Listener) -> None:
        super().__init__()
        self._recipe = recipe
        self._listen = listen
        self._epoch = 0
        self._done = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._done += 1
        if self._done % _STEPS_PER_REPORT == 0 or self._done == self._recipe.steps:
            self._tell(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._tell(logs)

    def _tell(self, logs: Any) -> None:
        self._listen(
            TrainingStep(
                variant=self._recipe.name,
                epoch=self._epoch,
                done=self._done,
                total=self._recipe.steps,
                measures={name: float(value) for name, value in (logs or {}).items()},
            )
        )
