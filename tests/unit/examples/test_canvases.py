"""Canvases, what nets learn from them, and the artifacts that come of it (no training here)."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from examples.canvases.config import Conv, Example, Recipe, recipe_digest
from examples.canvases.draw import Canvases, Style, draw
from examples.canvases.export import artifact_folder, read_description, write_description
from examples.canvases.heldout import CROPS, REQUESTS, write_heldout
from examples.canvases.pools import cut_items, grid_targets
from examples.canvases.sources import Sources, load_digits_sources, load_idx_sources, read_idx
from examples.canvases.tuning import best_threshold
from examples.digits.train import DIGITS
from examples.fashion.train import FASHION
from penstock.dataset import read_dataset
from penstock.errors import ArtifactError
from profiles.scoring import iou
from serving.predictor.handlers.detect import DetectParams, find_boxes
from serving.predictor.protocol import decode

RECIPE = DIGITS.locators[0]
STYLE = Style(size_px=64, item_px=(16, 24), items=(1, 2), decoys=(0, 1))


def some_canvases(*, count: int = 20, seed: int = 5, style: Style = STYLE) -> Canvases:
    rng = np.random.default_rng(0)
    sources = rng.integers(0, 256, size=(30, 8, 8)).astype(np.uint8)
    return draw(sources, np.arange(30), count=count, style=style, seed=seed)


def test_the_same_seed_draws_the_same_pixels():
    assert some_canvases().digest() == some_canvases().digest()


def test_another_seed_draws_others():
    assert some_canvases(seed=6).digest() != some_canvases(seed=5).digest()


def test_items_lie_inside_their_canvas_and_do_not_overlap():
    canvases = some_canvases(count=60)
    assert canvases.boxes.min() >= 0
    assert canvases.boxes.max() <= 64
    for index in range(len(canvases)):
        mine = canvases.boxes[canvases.canvas_of == index]
        assert np.all(iou(mine, mine)[~np.eye(len(mine), dtype=bool)] == 0)


def test_items_have_the_sides_that_were_asked_for():
    canvases = some_canvases(count=100)
    sides = canvases.boxes[:, 2:] - canvases.boxes[:, :2]
    assert set(np.unique(sides)) == set(range(16, 25))


def test_an_item_shows_its_source():
    style = replace(STYLE, noise=0.0, shade=0.0, turn_degrees=0.0, squeeze=0.0, decoys=(0, 0))
    source = np.zeros((1, 8, 8), dtype=np.uint8)
    source[:, :, 4:] = 255
    canvases = draw(source, np.array([7]), count=1, style=style, seed=1)
    x0, y0, x1, y1 = canvases.boxes[0].astype(int)
    item = canvases.images[0, y0:y1, x0:x1].astype(int)
    half = (x1 - x0) // 2
    left, right = item[4:-4, 4 : half - 3], item[4:-4, half + 3 : -4]
    assert right.min() - left.max() > 50
    assert canvases.labels[0] == 7


def test_a_decoy_has_the_pixels_of_an_item_but_no_box():
    style = replace(STYLE, items=(0, 0), decoys=(1, 1), noise=0.0, shade=0.0)
    canvases = some_canvases(style=style)
    assert len(canvases.boxes) == 0
    assert all(np.ptp(image) > 20 for image in canvases.images)


def test_a_perfect_grid_is_read_back_as_the_true_boxes():
    canvases = some_canvases(count=40)
    grids = grid_targets(canvases, stride_px=8, scale_px=20.0)
    grids[..., 0] = np.where(grids[..., 0] == 1, 5.0, -5.0)
    params = DetectParams(canvas_px=64, stride_px=8, scale_px=20.0, crop_px=12, threshold=0.5)
    for index, (boxes, _) in enumerate(find_boxes(grids, params)):
        truth = canvases.boxes[canvases.canvas_of == index]
        found = boxes[np.lexsort(boxes.T)]
        np.testing.assert_allclose(found, truth[np.lexsort(truth.T)], atol=1e-3)


def test_crops_are_cut_where_the_items_are():
    canvases = some_canvases(count=3)
    crops, labels = cut_items(canvases, crop_px=16)
    index = int(np.flatnonzero(canvases.boxes[:, 2] - canvases.boxes[:, 0] == 16)[0:1].sum())
    x0, y0, x1, y1 = canvases.boxes[index].astype(int)
    seen = canvases.images[canvases.canvas_of[index], y0:y1, x0:x1]
    assert crops.shape == (len(labels), 16, 16)
    assert abs(float(crops[index].mean()) - float(seen.mean())) < 6


def test_jittered_crops_repeat_with_their_seed():
    canvases = some_canvases()
    first, _ = cut_items(canvases, crop_px=12, jitter=0.1, seed=3, most=5)
    again, _ = cut_items(canvases, crop_px=12, jitter=0.1, seed=3, most=5)
    straight, _ = cut_items(canvases, crop_px=12, most=5)
    assert len(first) == 5
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, straight)


def test_no_digit_is_in_two_splits():
    sources = load_digits_sources(seed=1)
    parts = (sources.train, sources.validation, sources.test)
    assert sum(len(part) for part in parts) == 1797
    known = [{image.tobytes() for image in part.images} for part in parts]
    assert not known[0] & known[1]
    assert not known[0] & known[2]
    assert not known[1] & known[2]


def write_idx(path: Path, array: np.ndarray) -> None:
    shape = np.array(array.shape, dtype=">u4").tobytes()
    content = bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content))


def idx_folder(folder: Path, *, train: int = 12, test: int = 4) -> Path:
    for prefix, count in (("train", train), ("t10k", test)):
        images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    return folder


def test_idx_files_are_split_by_sample(tmp_path: Path):
    sources = load_idx_sources(idx_folder(tmp_path), seed=1, validation_count=3)
    train, validation = sources.train.images[:, 0, 0], sources.validation.images[:, 0, 0]
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(12))
    assert len(validation) == 3
    assert len(sources.test) == 4
    np.testing.assert_array_equal(train % 10, sources.train.labels)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"plain text", "no gzip file"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x05abc", mtime=0), "should hold"),
        (gzip.compress(b"\0\0\x0d\x01\0\0\0\x01abcd", mtime=0), "no IDX file"),
        (gzip.compress(b"", mtime=0), "no IDX file"),
    ],
)
def test_a_broken_idx_file_is_named(tmp_path: Path, content: bytes, problem: str):
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(ArtifactError, match=problem):
        read_idx(tmp_path / "x.gz")


def test_images_and_labels_of_different_number_are_refused(tmp_path: Path):
    write_idx(idx_folder(tmp_path) / "train-labels-idx1-ubyte.gz", np.zeros(5))
    with pytest.raises(ArtifactError, match="do not fit"):
        load_idx_sources(tmp_path, seed=1)


def test_the_threshold_with_the_best_f1_is_chosen():
    truth = np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    far = np.array([50.0, 50.0, 60.0, 60.0])
    boxes = np.stack([truth[0], truth[1], far])
    found = best_threshold([(boxes, np.array([0.9, 0.6, 0.3]))], [truth])
    assert 0.59 < found.value < 0.6
    assert found.f1 == 1.0


def test_a_locator_that_finds_nothing_has_no_f1():
    nothing = (np.empty((0, 4)), np.empty(0))
    assert best_threshold([nothing], [np.ones((1, 4))]).f1 == 0.0


def test_held_out_requests_carry_their_truth(tmp_path: Path):
    canvases = some_canvases(count=6)
    write_heldout(canvases, DIGITS, tmp_path)
    whole, cropped = read_dataset(tmp_path / REQUESTS), read_dataset(tmp_path / CROPS)
    assert len(whole) == len(cropped) == 6
    assert sum(len(request.labels) for request in whole) == len(canvases.labels)
    for one, other in zip(whole, cropped, strict=True):
        assert decode(one.body).tensors["image"].shape == (1,)
        assert decode(other.body).tensors["crops"].shape == (len(other.labels),)
        assert one.boxes == other.boxes


def test_held_out_requests_are_the_same_bytes_again(tmp_path: Path):
    for name in ("a", "b"):
        write_heldout(some_canvases(count=3), DIGITS, tmp_path / name)
    assert (tmp_path / "a" / REQUESTS).read_bytes() == (tmp_path / "b" / REQUESTS).read_bytes()


def half_written(target: Path) -> None:
    with artifact_folder(target) as folder:
        (folder / "model.onnx").write_bytes(b"half")
        raise ZeroDivisionError


def test_an_artifact_that_fails_halfway_leaves_the_old_one(tmp_path: Path):
    target = tmp_path / "det-xs"
    with artifact_folder(target) as folder:
        (folder / "model.onnx").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        half_written(target)
    assert (target / "model.onnx").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["det-xs"]


def test_a_new_artifact_replaces_the_old_one(tmp_path: Path):
    for content in (b"old", b"new"):
        with artifact_folder(tmp_path / "det-xs") as folder:
            (folder / "model.onnx").write_bytes(content)
    assert (tmp_path / "det-xs" / "model.onnx").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["det-xs"]


def test_a_description_is_believed_only_with_the_model_it_describes(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"net")
    write_description(tmp_path, {"handler": "detect"})
    assert read_description(tmp_path) == json.loads((tmp_path / "variant.json").read_text())
    (tmp_path / "model.onnx").write_bytes(b"another")
    assert read_description(tmp_path) is None
    assert read_description(tmp_path / "nowhere") is None


def digest_of(example: Example = DIGITS, recipe: Recipe = RECIPE, *, data: str = "a") -> str:
    return recipe_digest(example, "locate", recipe, data_digest=data)


def test_a_recipes_digest_changes_with_all_that_training_depends_on():
    digests = {
        digest_of(),
        digest_of(data="b"),
        digest_of(recipe=replace(RECIPE, learning_rate=1.0)),
        digest_of(replace(DIGITS, seed=9)),
    }
    assert len(digests) == 4


def test_a_recipes_digest_does_not_depend_on_its_neighbours():
    fewer = replace(DIGITS, locators=(RECIPE, DIGITS.locators[-1]), classifiers=())
    assert digest_of(fewer) == digest_of()


def test_a_recipes_digest_changes_with_the_number_of_canvases_drawn():
    alone = replace(DIGITS, locators=(RECIPE,), classifiers=())
    assert alone.canvases_drawn("locate") < DIGITS.canvases_drawn("locate")
    assert digest_of(alone) != digest_of()


def test_stages_draw_for_themselves_unless_their_canvases_look_alike():
    assert DIGITS.canvases_drawn("locate") == DIGITS.canvases_drawn("classify")
    assert FASHION.canvases_drawn("locate") == max(r.samples for r in FASHION.locators)
    assert FASHION.canvases_drawn("classify") == max(r.samples for r in FASHION.classifiers)


def test_steps_count_the_last_short_batch():
    recipe = Recipe(
        name="x",
        convs=(Conv(channels=4),),
        samples=33,
        epochs=2,
        learning_rate=0.1,
        batch_size=16,
    )
    assert recipe.steps == 6


@pytest.mark.parametrize("example", [DIGITS, FASHION], ids=lambda example: example.name)
def test_an_example_has_four_variants_per_stage_and_canvases_of_whole_cells(example):
    assert len(example.locators) >= 4
    assert len(example.classifiers) >= 4
    for recipe in example.locators:
        stride = np.prod([conv.stride**conv.repeat for conv in recipe.convs])
        assert stride == example.stride_px
    assert example.canvas.size_px % example.stride_px == 0
    assert example.practice.size_px % example.stride_px == 0


def test_sources_of_other_pixels_have_another_digest():
    sources = load_digits_sources(seed=1)
    changed = sources.test.images.copy()
    changed[0, 0, 0] += 1
    other = Sources(
        train=sources.train,
        validation=sources.validation,
        test=replace(sources.test, images=changed),
    )
    assert other.digest() != sources.digest()
