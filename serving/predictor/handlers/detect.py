"""Finds items on a canvas: image → grid of objectness, place and size → boxes → crops.

Arrays: ``grid`` (n, gh, gw, 4) float32: objectness logit, dx and dy [cells] from the cell's centre,
ln(side / ``scale_px``); boxes (k, 4) float32: x0, y0, x1, y1 [canvas px].

The crops leave as PNGs of the size that the next stage takes, so an answer is a request for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from penstock.errors import ArtifactError
from serving.predictor.handlers.images import read_png, write_png
from serving.predictor.protocol import InputError, Tensors

if TYPE_CHECKING:
    from serving.predictor.handlers import Handler
    from serving.predictor.session import Session

_GRID_CHANNELS = 4
# exp(4) times the usual side is larger than any canvas; a wild net must not overflow.
_MOST_LOG_SIDE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectParams:
    """The ``params`` of a detector's ``variant.json``.

    ``canvas_px`` is the side of the square input, ``stride_px`` that of a grid cell, ``scale_px``
    the side that a log size of 0 means, ``crop_px`` that of the crops. A peak of the grid counts as
    an item from probability ``threshold``; of two that overlap by more than ``overlap`` (IoU) the
    weaker is dropped; at most ``max_items`` are returned, the most certain first. ``input`` is the
    name of the model's input.
    """

    canvas_px: int
    stride_px: int
    scale_px: float
    crop_px: int
    threshold: float
    overlap: float = 0.3
    max_items: int = 16
    input: str = "image"

    def __post_init__(self) -> None:
        sizes = (self.canvas_px, self.stride_px, self.crop_px, self.max_items)
        if any(type(n) is not int or n < 1 for n in sizes):
            raise ArtifactError(
                "detect params: canvas_px, stride_px, crop_px and max_items must be whole numbers "
                f"from 1, got {sizes}"
            )
        if not (_is_number(self.scale_px) and self.scale_px > 0):
            raise ArtifactError(f"detect params: scale_px must be above 0, got {self.scale_px!r}")
        for name in ("threshold", "overlap"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 < value < 1):
                raise ArtifactError(f"detect params: {name} must lie in (0, 1), got {value!r}")

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> DetectParams:
        """Read them from ``variant.json``.

        Raises:
            ArtifactError: one is missing, unknown or makes no sense.
        """
        try:
            return cls(**params)
        except TypeError as err:
            raise ArtifactError(f"detect params {sorted(params)} do not fit: {err}") from err


class DetectHandler:
    """``image`` BYTES [1] → ``crops`` BYTES [k], ``boxes`` FP32 [k,4], ``scores`` FP32 [k]."""

    def __init__(self, session: Session, params: Mapping[str, Any]) -> None:
        """Serve ``session`` with the ``params`` of its ``variant.json``.

        Raises:
            ArtifactError: the params do not fit.
        """
        self._session = session
        self._params = DetectParams.of(params)

    def decode(self, tensors: Tensors) -> np.ndarray:
        """Return the pixels of the one canvas of a request.

        Raises:
            InputError: no ``image``, more than one, or not a grey PNG of the model's size.
        """
        image = tensors.get("image")
        if image is None:
            raise InputError("inputs.image", f"is missing; found {sorted(tensors)}")
        if image.size != 1:
            raise InputError("inputs.image", f"must hold one canvas, got {image.size}")
        side = self._params.canvas_px
        return read_png(image.reshape(-1)[0], path="inputs.image", size_px=(side, side))

    def run(self, items: Sequence[np.ndarray]) -> list[Tensors]:
        """Return the items found on each canvas, the most certain first.

        Raises:
            ModelError: the model failed.
        """
        if not items:
            return []
        batch = np.stack(items)[..., None].astype(np.float32)
        grid = self._session.run({self._params.input: batch})[0]
        found = find_boxes(grid, self._params)
        return [
            self._answer(canvas, boxes, scores)
            for canvas, (boxes, scores) in zip(items, found, strict=True)
        ]

    def _answer(self, canvas: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> Tensors:
        crops = np.empty(len(boxes), dtype=object)
        pixels = cut_crops(canvas, boxes, crop_px=self._params.crop_px)
        crops[:] = [write_png(crop) for crop in pixels]
        return {"crops": crops, "boxes": boxes, "scores": scores}


def find_boxes(grid: np.ndarray, params: DetectParams) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return boxes and scores per canvas, best first: peaks of the grid, then NMS.

    A cell is a peak when no cell around it has a higher logit. Equal scores keep the order of the
    rows, so equal grids give equal answers.

    Raises:
        ArtifactError: the model's output is no such grid.
    """
    if grid.ndim != 4 or grid.shape[-1] != _GRID_CHANNELS:
        raise ArtifactError(
            f"the model's output has shape {grid.shape}; a detector gives (n, gh, gw, 4)"
        )
    logit = grid[..., 0]
    least = math.log(params.threshold / (1 - params.threshold))
    canvas, row, column = np.nonzero((logit >= least) & (logit >= _highest_around(logit)))
    values = grid[canvas, row, column]
    boxes = _to_boxes(values, row, column, params)
    scores = 1 / (1 + np.exp(-values[:, 0]))
    found = []
    for index in range(len(grid)):
        mine = np.flatnonzero(canvas == index)
        order = mine[np.argsort(-scores[mine], kind="stable")]
        kept = order[_suppress(boxes[order], params.overlap)][: params.max_items]
        found.append((boxes[kept], scores[kept].astype(np.float32)))
    return found


def cut_crops(canvas: np.ndarray, boxes: np.ndarray, *, crop_px: int) -> np.ndarray:
    """Return what lies in each box, resampled (bilinear): (k, crop_px, crop_px) uint8."""
    image = Image.fromarray(canvas)
    crops = np.empty((len(boxes), crop_px, crop_px), dtype=np.uint8)
    for index, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        crop = image.resize((crop_px, crop_px), Image.Resampling.BILINEAR, box=(x0, y0, x1, y1))
        crops[index] = np.asarray(crop)
    return crops


def _highest_around(logit: np.ndarray) -> np.ndarray:
    """Return the highest value of each cell's 3x3 neighbourhood."""
    padded = np.pad(logit, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.asarray(windows.max(axis=(-2, -1)))


def _to_boxes(
    values: np.ndarray, row: np.ndarray, column: np.ndarray, params: DetectParams
) -> np.ndarray:
    """Return the boxes of some cells, clipped to the canvas and at least 1 px wide."""
    x = (column + 0.5 + values[:, 1]) * params.stride_px
    y = (row + 0.5 + values[:, 2]) * params.stride_px
    half = params.scale_px * np.exp(np.minimum(values[:, 3], _MOST_LOG_SIDE)) / 2
    upper = np.clip(np.stack([x - half, y - half], axis=1), 0, params.canvas_px - 1)
    lower = np.clip(np.stack([x + half, y + half], axis=1), upper + 1, params.canvas_px)
    return np.concatenate([upper, lower], axis=1).astype(np.float32)


def _suppress(boxes: np.ndarray, overlap: float) -> np.ndarray:
    """Return which boxes (best first) to keep: those no better kept box covers too much."""
    keep = np.ones(len(boxes), dtype=bool)
    upper = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    lower = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.prod(np.clip(lower - upper, 0, None), axis=-1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    too_much = common > overlap * (area[:, None] + area[None, :] - common)
    for index in range(len(boxes)):
        if keep[index]:
            keep[index + 1 :] &= ~too_much[index, index + 1 :]
    return keep


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


if TYPE_CHECKING:
    _detect: type[Handler] = DetectHandler
