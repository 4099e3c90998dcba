"""The handlers of the example pipelines, with nets that answer what the test says."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image

from penstock.errors import ArtifactError
from serving.predictor.handlers.classify import ClassifyHandler
from serving.predictor.handlers.detect import DetectHandler, DetectParams, cut_crops, find_boxes
from serving.predictor.handlers.images import read_png, write_png
from serving.predictor.protocol import InputError, decode, encode_answer, encode_request

DETECT = {"canvas_px": 64, "stride_px": 8, "scale_px": 16.0, "crop_px": 12, "threshold": 0.5}


class Answering:
    """A session that gives the same rows for whatever it is asked, and keeps what it was asked."""

    def __init__(self, answer: np.ndarray) -> None:
        self.answer = answer
        self.asked: list[np.ndarray] = []

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        (batch,) = inputs.values()
        self.asked.append(batch)
        return [self.answer[: len(batch)]]


def grid(*cells: tuple[int, int, float], canvases: int = 1, log_side: float = 0.0) -> np.ndarray:
    """A grid of a 64 px canvas on which only these (row, column, logit) are items."""
    made = np.full((canvases, 8, 8, 4), 0.0, dtype=np.float32)
    made[..., 0] = -9.0
    for row, column, logit in cells:
        made[:, row, column] = (logit, 0.0, 0.0, log_side)
    return made


def texts(*files: bytes) -> np.ndarray:
    array = np.empty(len(files), dtype=object)
    array[:] = files
    return array


def canvas(side: int = 64) -> np.ndarray:
    return np.arange(side * side, dtype=np.uint32).reshape(side, side).astype(np.uint8)


def params(**fields: object) -> DetectParams:
    return DetectParams.of({**DETECT, **fields})


def test_a_peak_becomes_a_box_around_its_cells_centre():
    ((boxes, scores),) = find_boxes(grid((2, 4, 3.0)), params())
    np.testing.assert_allclose(boxes, [[28, 12, 44, 28]])
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-3.0))], rtol=1e-6)


def test_offset_and_log_size_move_and_scale_the_box():
    made = grid((2, 4, 3.0))
    made[0, 2, 4, 1:] = (0.25, -0.25, np.log(1.5))
    ((boxes, _),) = find_boxes(made, params())
    np.testing.assert_allclose(boxes, [[26, 6, 50, 30]])


def test_a_cell_beside_a_higher_one_is_no_peak():
    ((boxes, _),) = find_boxes(grid((2, 4, 3.0), (2, 5, 2.0)), params())
    assert len(boxes) == 1


def test_the_weaker_of_two_overlapping_boxes_is_dropped():
    overlapping = grid((2, 2, 1.0), (2, 4, 2.0), log_side=1.0)
    ((boxes, scores),) = find_boxes(overlapping, params())
    assert len(boxes) == 1
    assert scores[0] == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_a_dropped_box_does_not_drop_others():
    chain = grid((2, 1, 1.0), (2, 3, 2.0), (2, 5, 3.0), log_side=float(np.log(2.0)))
    ((boxes, _),) = find_boxes(chain, params())
    assert boxes[:, 0].tolist() == [28.0, 0.0]


def test_boxes_come_best_first_and_no_more_than_asked():
    many = grid((1, 1, 1.0), (1, 6, 3.0), (6, 1, 2.0))
    ((boxes, scores),) = find_boxes(many, params(max_items=2))
    assert len(boxes) == 2
    assert scores[0] > scores[1] > 0.8


def test_scores_below_the_threshold_are_no_items():
    ((boxes, scores),) = find_boxes(grid((1, 1, 1.0)), params(threshold=0.9))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


@pytest.mark.parametrize("log_side", [5.0, 1e6, -1e6])
def test_boxes_stay_on_the_canvas_whatever_the_net_says(log_side: float):
    ((boxes, _),) = find_boxes(grid((0, 0, 1.0), log_side=log_side), params())
    assert np.all(boxes >= 0)
    assert np.all(boxes <= 64)
    assert np.all(boxes[:, 2:] - boxes[:, :2] >= 1)


def test_a_model_that_gives_no_grid_is_refused():
    with pytest.raises(ArtifactError, match=r"\(n, gh, gw, 4\)"):
        find_boxes(np.zeros((1, 8, 8, 3), dtype=np.float32), params())


def test_a_crop_shows_what_lies_in_the_box():
    picture = np.zeros((64, 64), dtype=np.uint8)
    picture[8:24, 16:32] = 200
    crops = cut_crops(picture, np.array([[16.0, 8.0, 32.0, 24.0]]), crop_px=12)
    assert crops.shape == (1, 12, 12)
    assert np.all(crops[:, 1:-1, 1:-1] == 200)


def test_a_batch_of_canvases_is_one_call_of_the_model():
    session = Answering(grid((2, 4, 3.0), canvases=3))
    handler = DetectHandler(session, DETECT)
    items = [handler.decode({"image": texts(write_png(canvas()))}) for _ in range(3)]
    answers = handler.run(items)
    assert [batch.shape for batch in session.asked] == [(3, 64, 64, 1)]
    assert [len(answer["crops"]) for answer in answers] == [1, 1, 1]


def test_the_model_sees_the_raw_grey_levels():
    session = Answering(grid())
    handler = DetectHandler(session, DETECT)
    handler.run([handler.decode({"image": texts(write_png(canvas()))})])
    assert session.asked[0].dtype == np.float32
    np.testing.assert_array_equal(session.asked[0][0, ..., 0], canvas())


def test_one_stages_answer_is_the_next_stages_request():
    detect = DetectHandler(Answering(grid((1, 1, 1.0), (6, 6, 2.0))), DETECT)
    (located,) = detect.run([detect.decode({"image": texts(write_png(canvas()))})])
    wire = encode_answer(located, model="locate")
    shares = np.array([[0.1, 0.9], [0.8, 0.2]], dtype=np.float32)
    classify = ClassifyHandler(Answering(shares), {"crop_px": 12})
    (named,) = classify.run([classify.decode(decode(wire).tensors)])
    assert named["labels"].tolist() == [1, 0]
    assert named["labels"].dtype == np.int64
    np.testing.assert_allclose(named["probabilities"], [0.9, 0.8])
    np.testing.assert_array_equal(named["boxes"], located["boxes"])
    np.testing.assert_array_equal(named["scores"], located["scores"])


def test_a_canvas_without_items_goes_through_both_stages():
    detect = DetectHandler(Answering(grid()), DETECT)
    (located,) = detect.run([detect.decode({"image": texts(write_png(canvas()))})])
    session = Answering(np.zeros((0, 2), dtype=np.float32))
    classify = ClassifyHandler(session, {"crop_px": 12})
    item = classify.decode(decode(encode_answer(located, model="locate")).tensors)
    (named,) = classify.run([item])
    assert {name: array.shape for name, array in named.items()} == {
        "boxes": (0, 4),
        "scores": (0,),
        "labels": (0,),
        "probabilities": (0,),
    }
    assert session.asked == []


def test_labels_return_to_the_request_whose_crops_they_are():
    shares = np.eye(3, dtype=np.float32)
    handler = ClassifyHandler(Answering(shares), {"crop_px": 12})
    crop = write_png(canvas(12))
    items = [handler.decode({"crops": texts(*[crop] * count)}) for count in (1, 0, 2)]
    assert [answer["labels"].tolist() for answer in handler.run(items)] == [[0], [], [1, 2]]


def test_no_items_are_no_answers():
    session = Answering(grid())
    assert DetectHandler(session, DETECT).run([]) == []
    assert ClassifyHandler(session, {"crop_px": 12}).run([]) == []


def other_format() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(canvas()).save(buffer, format="BMP")
    return buffer.getvalue()


def in_colour() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(canvas()).convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a PNG"),
        (b"hello", "not a PNG"),
        (write_png(canvas())[:60], "not a PNG"),
        (write_png(canvas(32)), "32x32 px; this variant takes 64x64"),
        (other_format(), "not a PNG"),
        (in_colour(), "mode 'RGB'"),
        ("text", "must be BYTES"),
    ],
)
def test_what_is_no_grey_png_of_the_right_size_is_the_clients_fault(data: object, problem: str):
    with pytest.raises(InputError, match=problem) as caught:
        read_png(data, path="inputs.image", size_px=(64, 64))
    assert caught.value.path == "inputs.image"


def test_a_damaged_png_never_escapes_as_another_error():
    whole = bytearray(write_png(canvas()))
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(8, len(whole), size=3):
            damaged[at] = rng.integers(256)
        try:
            pixels = read_png(bytes(damaged), path="inputs.image", size_px=(64, 64))
        except InputError:
            continue
        assert pixels.shape == (64, 64)


def test_a_request_for_detection_holds_exactly_one_image():
    handler = DetectHandler(Answering(grid()), DETECT)
    with pytest.raises(InputError, match=r"missing; found \['picture'\]"):
        handler.decode({"picture": texts(b"x")})
    with pytest.raises(InputError, match="one canvas, got 2"):
        handler.decode({"image": texts(b"x", b"y")})


def test_boxes_that_do_not_match_the_crops_are_refused():
    handler = ClassifyHandler(Answering(grid()), {"crop_px": 12})
    request = {"crops": texts(write_png(canvas(12))), "boxes": np.zeros((2, 4), np.float32)}
    with pytest.raises(InputError, match=r"\[2, 4\] beside 1 crops"):
        handler.decode(decode(encode_request(request)).tensors)


def test_more_crops_than_allowed_are_refused_before_any_is_read():
    handler = ClassifyHandler(Answering(grid()), {"crop_px": 12, "max_items": 2})
    with pytest.raises(InputError, match="k <= 2"):
        handler.decode({"crops": texts(b"x", b"x", b"x")})


def test_the_bad_crop_is_named():
    handler = ClassifyHandler(Answering(grid()), {"crop_px": 12})
    with pytest.raises(InputError, match=r"inputs\.crops\[1\]: is not a PNG"):
        handler.decode({"crops": texts(write_png(canvas(12)), b"x")})


def test_a_classifier_that_gives_no_shares_is_refused():
    handler = ClassifyHandler(Answering(grid()), {"crop_px": 12})
    item = handler.decode({"crops": texts(write_png(canvas(12)))})
    with pytest.raises(ArtifactError, match=r"\(n, classes\)"):
        handler.run([item])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"threshold": 1.5}, "threshold must lie in"),
        ({"threshold": "high"}, "threshold must lie in"),
        ({"overlap": 0}, "overlap must lie in"),
        ({"stride_px": 0}, "whole numbers"),
        ({"crop_px": 2.5}, "whole numbers"),
        ({"scale_px": 0.0}, "scale_px must be above 0"),
        ({"colour": 1}, "do not fit"),
    ],
)
def test_detector_params_that_make_no_sense_are_refused(change: dict[str, object], problem: str):
    with pytest.raises(ArtifactError, match=problem):
        DetectHandler(Answering(grid()), {**DETECT, **change})


@pytest.mark.parametrize("given", [{}, {"crop_px": 0}, {"crop_px": 12, "colour": 1}])
def test_classifier_params_that_make_no_sense_are_refused(given: dict[str, object]):
    with pytest.raises(ArtifactError, match="classify params"):
        ClassifyHandler(Answering(grid()), given)
