"""What the nets are trained on: canvases with grids for locators, crops for classifiers.

Arrays: ``grids`` (n, g, g, 4) float32: 1 where an item's centre lies, dx and dy of the centre from
its cell's centre [cells], ln(side / scale); ``crops`` (k, c, c) uint8.
"""

from __future__ import annotations

import numpy as np

from examples.canvases.draw import Canvases
from serving.predictor.handlers.detect import cut_crops


def grid_targets(canvases: Canvases, *, stride_px: int, scale_px: float) -> np.ndarray:
    """Return the grid that a perfect locator would give for each canvas."""
    cells = canvases.images.shape[1] // stride_px
    grids = np.zeros((len(canvases), cells, cells, 4), dtype=np.float32)
    centre = (canvases.boxes[:, :2] + canvases.boxes[:, 2:]) / 2 / stride_px
    cell = np.clip(centre.astype(np.int64), 0, cells - 1)
    side = canvases.boxes[:, 2] - canvases.boxes[:, 0]
    grids[canvases.canvas_of, cell[:, 1], cell[:, 0]] = np.column_stack(
        [np.ones(len(cell)), centre - cell - 0.5, np.log(side / scale_px)]
    )
    return grids


def cut_items(
    canvases: Canvases, *, crop_px: int, jitter: float = 0.0, seed: int = 0, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the crops and labels of the first ``most`` items (all of them without it).

    ``jitter`` moves each side of a box by up to that share of its length, because a classifier will
    be given boxes that a locator guessed.
    """
    count = len(canvases.labels[:most])
    rng = np.random.default_rng(seed)
    side = canvases.boxes[:count, 2:3] - canvases.boxes[:count, :1]
    moved = canvases.boxes[:count] + jitter * side * rng.uniform(-1, 1, size=(count, 4))
    boxes = np.clip(moved, 0, canvases.images.shape[1]).astype(np.float32)
    crops = np.empty((count, crop_px, crop_px), dtype=np.uint8)
    for index, canvas in enumerate(canvases.canvas_of[:count].tolist()):
        crops[index] = cut_crops(
            canvases.images[canvas], boxes[index : index + 1], crop_px=crop_px
        )[0]
    return crops, canvases.labels[:count]
