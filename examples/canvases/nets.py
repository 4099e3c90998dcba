"""The nets: a fully convolutional locator and a classifier, from a short table of layers.

Grey levels come in as 0..255; the division by 255 is the first layer, so that training and serving
cannot differ in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from examples.canvases.config import Conv
from examples.canvases.keras_on_jax import keras

if TYPE_CHECKING:
    from collections.abc import Sequence

layers, ops = keras.layers, keras.ops

GRID_CHANNELS = 4
"""Channels of a locator's grid: objectness logit, dx, dy [cells], ln(side / scale)."""


def make_locator(convs: Sequence[Conv], *, input_px: int) -> Any:
    """Return a net from (n, input_px, input_px, 1) to a grid (n, g, g, ``GRID_CHANNELS``).

    Nothing in it depends on ``input_px``: weights trained on small canvases fit the same net on
    large ones.
    """
    image = keras.Input((input_px, input_px, 1), name="image")
    x = _trunk(image, convs)
    start = keras.initializers.Constant([-3.0, 0.0, 0.0, 0.0])
    grid = layers.Conv2D(GRID_CHANNELS, 1, bias_initializer=start, name="grid")(x)
    return keras.Model(image, grid)


def make_classifier(convs: Sequence[Conv], *, hidden: int, input_px: int, classes: int) -> Any:
    """Return a net from (n, input_px, input_px, 1) to (n, classes) probabilities.

    Without ``convs`` and ``hidden`` it is a linear model.
    """
    image = keras.Input((input_px, input_px, 1), name="image")
    x = layers.Flatten()(_trunk(image, convs))
    if hidden:
        x = layers.Dense(hidden, activation="relu")(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="classes")(x))


def locator_loss(truth: Any, grid: Any) -> Any:
    """Binary cross-entropy on every cell, Huber loss of place and size on the cells with an item.

    Both are divided by the number of cells with an item, so that empty canvas costs no gradient.
    """
    has_item = truth[..., 0]
    logit = grid[..., 0]
    entropy = ops.softplus(logit) - logit * has_item
    error = ops.abs(truth[..., 1:] - grid[..., 1:])
    huber = ops.where(error < 0.25, 2.0 * error * error, error - 0.125)
    items = ops.sum(has_item) + 1.0
    return (ops.sum(entropy) + 2.0 * ops.sum(huber * has_item[..., None])) / items


def _trunk(image: Any, convs: Sequence[Conv]) -> Any:
    """Stack the convolutions; one that keeps its input's shape becomes a residual step."""
    x = layers.Rescaling(1 / 255)(image)
    # Contrasts are small beside the background's level: centred and stretched, they train faster.
    x = layers.Rescaling(6.0, offset=-3.0)(x)
    for conv in convs:
        for _ in range(conv.repeat):
            y = layers.Conv2D(
                conv.channels,
                conv.kernel,
                strides=conv.stride,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
            )(x)
            x = layers.Add()([x, y]) if y.shape == x.shape else y
    return x
