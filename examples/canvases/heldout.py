"""Held-out requests: what profiles, accuracies and load tests send.

``requests.jsonl.gz`` holds canvases of test samples as requests to the pipeline, which is also what
its first stage takes; ``classify.jsonl.gz`` holds the crops of the same items, cut from their true
boxes, as requests to the second stage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from examples.canvases.config import Example
from examples.canvases.draw import Canvases
from penstock.dataset import LabelledRequest, write_dataset
from serving.predictor.handlers.detect import cut_crops
from serving.predictor.handlers.images import write_png
from serving.predictor.protocol import encode_request

REQUESTS = "requests.jsonl.gz"
CROPS = "classify.jsonl.gz"


def write_heldout(canvases: Canvases, example: Example, folder: Path) -> None:
    """Write both files into ``folder``; equal canvases give equal bytes."""
    whole, cropped = [], []
    for index, pixels in enumerate(canvases.images):
        mine = canvases.canvas_of == index
        boxes, labels = canvases.boxes[mine], canvases.labels[mine]
        truth = {
            "boxes": tuple(tuple(box) for box in boxes.tolist()),
            "labels": tuple(labels.tolist()),
        }
        identity = f"{example.name}-{index}"
        image = {"image": _texts([write_png(pixels)])}
        whole.append(LabelledRequest(body=encode_request(image, identity=identity), **truth))
        crops = cut_crops(pixels, boxes, crop_px=example.crop_px)
        tensors = {
            "crops": _texts([write_png(crop) for crop in crops]),
            "boxes": boxes,
            "scores": np.ones(len(boxes), dtype=np.float32),
        }
        cropped.append(LabelledRequest(body=encode_request(tensors, identity=identity), **truth))
    write_dataset(folder / CROPS, cropped)
    write_dataset(folder / REQUESTS, whole)


def _texts(files: list[bytes]) -> np.ndarray:
    array = np.empty(len(files), dtype=object)
    array[:] = files
    return array
