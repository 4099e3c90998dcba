"""How right an answer is: pure functions from a decoded answer and its label to a score.

An answer is the Open Inference Protocol JSON as parsed, or just its outputs as a mapping from name
to data; boxes may be flat or nested.
Scores add up: the accuracy of a set of requests is that of the sum of their scores, so a canvas
with three items weighs three times one with a single item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.dataset import LabelledRequest
from penstock.errors import ProfileError

Answer = Mapping[str, Any]
"""A parsed answer, or output name → data."""

LEAST_IOU = 0.5
"""From which intersection over union a box counts as found (the usual AP50 convention)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """``correct`` of ``total`` points; what a point is, the scoring function says."""

    correct: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.total:
            raise ProfileError(
                f"score: needs 0 <= correct <= total, got {self.correct} of {self.total}"
            )

    def __add__(self, other: Score) -> Score:
        """Return the score of both together."""
        return Score(correct=self.correct + other.correct, total=self.total + other.total)

    @property
    def accuracy(self) -> float:
        """The share of the points won, in [0, 1].

        Raises:
            ProfileError: there was no point to win.
        """
        if not self.total:
            raise ProfileError("score: nothing was scored, so there is no accuracy")
        return self.correct / self.total

    @property
    def standard_error(self) -> float:
        """The standard error of ``accuracy``, taking the points as independent (binomial)."""
        share = self.accuracy
        return math.sqrt(share * (1 - share) / self.total)


Scorer = Callable[[Answer, LabelledRequest], Score]
"""A function such as ``score_locate``."""


def score_locate(answer: Answer, label: LabelledRequest) -> Score:
    """Score boxes by F1: 2 points per item found, of 2 per item found plus 1 per miss or false box.

    The accuracy of a sum of these scores is the F1 of all canvases together, 2TP / (2TP + FP + FN):
    a detector cannot gain by reporting everything (false boxes cost) nor by reporting little.
    """
    boxes = _boxes(answer)
    found = len(match_boxes(boxes, np.array(label.boxes).reshape(-1, 4)))
    return Score(correct=2 * found, total=len(boxes) + len(label.boxes))


def score_classify(answer: Answer, label: LabelledRequest) -> Score:
    """Score crops that were cut from the true boxes: 1 point per right label, of 1 per item.

    Raises:
        ProfileError: the answer has another number of labels than there are crops.
    """
    labels = list(_output(answer, "labels"))
    if len(labels) != len(label.labels):
        raise ProfileError(
            f"score: the answer has {len(labels)} labels for {len(label.labels)} crops"
        )
    right = sum(int(a) == b for a, b in zip(labels, label.labels, strict=True))
    return Score(correct=right, total=len(labels))


def score_pipeline(answer: Answer, label: LabelledRequest) -> Score:
    """Score end to end: 1 point per item that was found and named rightly, of 1 per item.

    A false box costs nothing by itself, as its user sees an extra answer, but it may not steal an
    item: the matching is one to one and the most certain box chooses first.

    Raises:
        ProfileError: the answer has another number of labels than boxes.
    """
    boxes, labels = _boxes(answer), list(_output(answer, "labels"))
    if len(labels) != len(boxes):
        raise ProfileError(f"score: the answer has {len(labels)} labels for {len(boxes)} boxes")
    pairs = match_boxes(boxes, np.array(label.boxes).reshape(-1, 4))
    right = sum(int(labels[mine]) == label.labels[true] for mine, true in pairs)
    return Score(correct=right, total=len(label.labels))


SCORERS: Mapping[str, Scorer] = {
    "detect": score_locate,
    "classify": score_classify,
    "pipeline": score_pipeline,
}
"""Scorer by a stage's ``task``; ``pipeline`` is the whole."""


def match_boxes(boxes: np.ndarray, truth: np.ndarray) -> list[tuple[int, int]]:
    """Pair boxes (best first) with true boxes, one to one, greedily.

    Each box takes the free true box it overlaps most, if by at least ``LEAST_IOU``.
    """
    overlap = iou(boxes, truth)
    pairs: list[tuple[int, int]] = []
    for mine in range(len(boxes)):
        if not overlap.shape[1]:
            break
        true = int(overlap[mine].argmax())
        if overlap[mine, true] >= LEAST_IOU:
            pairs.append((mine, true))
            overlap[:, true] = -1.0
    return pairs


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of every box (k, 4) with every other (m, 4): (k, m)."""
    upper = np.maximum(boxes[:, None, :2], others[None, :, :2])
    lower = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.clip(lower - upper, 0, None), axis=-1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    other_area = np.prod(others[:, 2:] - others[:, :2], axis=-1)
    whole = area[:, None] + other_area[None, :] - common
    return np.asarray(np.divide(common, whole, out=np.zeros_like(common), where=whole > 0))


def _boxes(answer: Answer) -> np.ndarray:
    flat = np.asarray(_output(answer, "boxes"), dtype=np.float64).reshape(-1)
    if flat.size % 4:
        raise ProfileError(f"score: boxes need four numbers each, got {flat.size} in all")
    return flat.reshape(-1, 4)


def _output(answer: Answer, name: str) -> Sequence[Any]:
    found: Any = answer.get(name)
    tensors = answer.get("outputs")
    if isinstance(tensors, list):
        named = (one for one in tensors if isinstance(one, Mapping) and one.get("name") == name)
        found = next(named, {}).get("data")
    if not isinstance(found, list | tuple):
        raise ProfileError(
            f"score: the answer has no list as output {name!r}; found {sorted(answer)}"
        )
    return found
