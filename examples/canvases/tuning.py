"""How sure a locator must be: the threshold with the best F1 on validation canvases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiles.scoring import match_boxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A threshold and what it achieved."""

    value: float
    f1: float


def best_threshold(
    found: Sequence[tuple[np.ndarray, np.ndarray]], truth: Sequence[np.ndarray]
) -> Threshold:
    """Return the threshold that maximises F1 over all canvases together.

    Matching takes boxes best first, so what is left of it above a threshold is the matching of the
    boxes above that threshold: one pass gives every threshold.

    Args:
        found: boxes and scores per canvas, best first, down to very low scores.
        truth: (k, 4) true boxes per canvas.
    """
    scores: list[float] = []
    hits: list[bool] = []
    for (boxes, certain), true in zip(found, truth, strict=True):
        matched = {mine for mine, _ in match_boxes(boxes, true)}
        scores.extend(certain.tolist())
        hits.extend(index in matched for index in range(len(boxes)))
    items = sum(len(true) for true in truth)
    if not scores or not items:
        return Threshold(value=0.5, f1=0.0)
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits)[order])
    f1 = 2 * right / (items + np.arange(1, len(order) + 1))
    best = int(f1.argmax())
    value = float(np.clip(np.array(scores)[order][best], 0.01, 0.99))
    return Threshold(value=round(value - 5e-5, 4), f1=float(f1[best]))
