from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.dataset import LabelledRequest
from penstock.errors import ProfileError
from profiles.scoring import (
    Score,
    iou,
    match_boxes,
    score_classify,
    score_locate,
    score_pipeline,
)

LEFT = (0.0, 0.0, 10.0, 10.0)
RIGHT = (20.0, 0.0, 30.0, 10.0)
FAR = (50.0, 50.0, 60.0, 60.0)
TRUTH = LabelledRequest(body=b"{}", boxes=(LEFT, RIGHT), labels=(1, 2))


def boxes(*some: tuple[float, ...]) -> list[float]:
    return [value for box in some for value in box]


def test_iou_is_common_over_joint_area():
    half = np.array([[0.0, 0.0, 10.0, 5.0]])
    assert iou(np.array([LEFT]), half) == pytest.approx(0.5)
    assert iou(np.array([LEFT]), np.array([RIGHT])) == 0.0


def test_a_box_of_no_area_overlaps_nothing():
    assert iou(np.zeros((1, 4)), np.zeros((1, 4))) == 0.0


def test_an_item_is_found_once():
    pairs = match_boxes(np.array([LEFT, LEFT]), np.array([LEFT]))
    assert pairs == [(0, 0)]


def test_the_better_box_chooses_first():
    shifted = (0.0, 0.0, 10.0, 8.0)
    assert match_boxes(np.array([shifted, LEFT]), np.array([LEFT])) == [(0, 0)]


@pytest.mark.parametrize(
    ("found", "accuracy"),
    [
        ((LEFT, RIGHT), 1.0),
        ((LEFT,), 2 / 3),
        ((LEFT, FAR), 1 / 2),
        ((LEFT, RIGHT, FAR), 4 / 5),
        ((FAR,), 0.0),
        ((), 0.0),
    ],
)
def test_locating_is_scored_by_f1(found: tuple[Any, ...], accuracy: float):
    assert score_locate({"boxes": boxes(*found)}, TRUTH).accuracy == pytest.approx(accuracy)


def test_flat_and_nested_boxes_score_alike():
    flat = score_locate({"boxes": boxes(LEFT, FAR)}, TRUTH)
    assert score_locate({"boxes": [list(LEFT), list(FAR)]}, TRUTH) == flat


def test_a_whole_answer_scores_as_its_outputs_do():
    answer = {"outputs": [{"name": "boxes", "data": boxes(LEFT)}]}
    assert score_locate(answer, TRUTH) == score_locate({"boxes": boxes(LEFT)}, TRUTH)


def test_labels_are_scored_one_by_one():
    assert score_classify({"labels": [1, 9]}, TRUTH) == Score(correct=1, total=2)


def test_labels_that_are_not_one_per_crop_are_refused():
    with pytest.raises(ProfileError, match="1 labels for 2 crops"):
        score_classify({"labels": [1]}, TRUTH)


@pytest.mark.parametrize(
    ("found", "labels", "correct"),
    [
        ((LEFT, RIGHT), [1, 2], 2),
        ((RIGHT, LEFT), [2, 1], 2),
        ((LEFT, RIGHT), [2, 1], 0),
        ((LEFT, FAR), [1, 2], 1),
        ((LEFT, LEFT), [9, 1], 0),
        ((), [], 0),
    ],
)
def test_end_to_end_needs_the_place_and_the_name(
    found: tuple[Any, ...], labels: list[int], correct: int
):
    answer = {"boxes": boxes(*found), "labels": labels}
    assert score_pipeline(answer, TRUTH) == Score(correct=correct, total=2)


def test_an_end_to_end_answer_has_a_label_per_box():
    with pytest.raises(ProfileError, match="0 labels for 1 boxes"):
        score_pipeline({"boxes": boxes(LEFT), "labels": []}, TRUTH)


def test_scores_add_up_by_their_points():
    total = Score(correct=1, total=1) + Score(correct=0, total=3)
    assert total.accuracy == 0.25
    assert total.standard_error == pytest.approx((0.25 * 0.75 / 4) ** 0.5)


def test_nothing_scored_is_no_accuracy():
    with pytest.raises(ProfileError, match="nothing was scored"):
        _ = Score(correct=0, total=0).accuracy


def test_more_right_than_there_is_is_refused():
    with pytest.raises(ProfileError, match="3 of 2"):
        Score(correct=3, total=2)


@pytest.mark.parametrize("answer", [{}, {"boxes": "text"}, {"outputs": [{"name": "labels"}]}])
def test_an_answer_without_the_output_is_refused(answer: dict[str, Any]):
    with pytest.raises(ProfileError, match="no list as output 'boxes'"):
        score_locate(answer, TRUTH)


def test_boxes_that_are_not_four_numbers_each_are_refused():
    with pytest.raises(ProfileError, match="four numbers each, got 3"):
        score_locate({"boxes": [1.0, 2.0, 3.0]}, TRUTH)
