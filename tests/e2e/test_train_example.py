"""The digits example in small, really trained: artifacts, held-out requests, their scores."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from examples.canvases.build import build
from examples.canvases.config import Conv, Example, Recipe
from examples.canvases.export import export_onnx
from examples.canvases.ladder import Ladder, format_ladder, measure_ladder
from examples.canvases.sources import load_digits_sources
from examples.digits.train import DIGITS
from penstock.dataset import read_dataset
from penstock.progress import Progress
from serving.predictor.session import OnnxSession

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    # Keras's own variables lack an argument that NumPy 2 wants; nothing of ours to change.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

LOCATOR = Recipe(
    name="det-tiny",
    convs=(Conv(channels=8, stride=4, kernel=5), Conv(channels=16, stride=2), Conv(channels=16)),
    samples=3072,
    epochs=1,
    learning_rate=5e-3,
)
LINEAR = Recipe(name="linear", samples=2048, epochs=2, learning_rate=3e-3)
SMALL: Example = replace(
    DIGITS,
    canvas=replace(DIGITS.canvas, noise=10.0, decoys=(0, 1), turn_degrees=5.0),
    practice=replace(DIGITS.practice, noise=10.0, decoys=(0, 1), turn_degrees=5.0),
    reading=replace(DIGITS.practice, noise=10.0, decoys=(0, 1), turn_degrees=5.0),
    locators=(LOCATOR,),
    classifiers=(LINEAR,),
    validation_count=60,
    test_count=40,
)


class Listening:
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.heard: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.heard.append(progress)


@pytest.fixture(scope="module")
def listening() -> Listening:
    return Listening()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, listening: Listening) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    build(SMALL, load_digits_sources(seed=SMALL.seed), folder, report=listening)
    return folder


@pytest.fixture(scope="module")
def ladder(out: Path) -> Ladder:
    return measure_ladder(out)


def test_every_variant_is_a_folder_with_model_and_description(out: Path):
    for stage, name in (("locate", "det-tiny"), ("classify", "linear")):
        folder = out / "models" / stage / name
        assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "variant.json"]
        described = json.loads((folder / "variant.json").read_text())
        assert described["seed"] == SMALL.seed
        assert described["parameters"] > 1000


def test_a_model_with_large_weights_is_still_one_file(tmp_path: Path):
    from examples.canvases.nets import make_classifier

    net = make_classifier((), hidden=640, input_px=24, classes=10)
    probe = np.random.default_rng(1).uniform(0, 255, size=(3, 24, 24, 1)).astype(np.float32)
    export_onnx(net, tmp_path / "model.onnx", probe=probe)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").stat().st_size > 4 * 576 * 640


def test_models_take_any_batch_of_canvases(out: Path):
    session = OnnxSession(out / "models" / "locate" / "det-tiny" / "model.onnx")
    side = SMALL.canvas.size_px
    assert session.inputs[0].shape == (-1, side, side, 1)
    assert session.inputs[0].datatype == "FP32"


def test_the_threshold_was_tuned(out: Path):
    path = out / "models" / "locate" / "det-tiny" / "variant.json"
    described = json.loads(path.read_text())
    assert described["params"]["threshold"] > 0.02
    assert described["validation"]["score"] > 0.5


def test_trained_variants_beat_chance_by_far_on_held_out_requests(ladder: Ladder):
    assert {rung.variant: rung.score.accuracy > 0.5 for rung in ladder.rungs} == {
        "det-tiny": True,
        "linear": True,
    }


def test_end_to_end_is_measured_on_every_item(ladder: Ladder, out: Path):
    requests = read_dataset(out / "dataset" / "requests.jsonl.gz")
    score = ladder.joint["det-tiny", "linear"]
    assert score.total == sum(len(request.labels) for request in requests)
    assert 0.2 < score.accuracy <= min(1.0, ladder.rungs[1].score.accuracy + 0.1)


def test_the_ladder_prints_every_variant(ladder: Ladder):
    text = format_ladder(ladder)
    assert "| locate | det-tiny |" in text
    assert "| det-tiny | 0." in text


def test_progress_names_variant_epoch_and_loss_and_never_goes_back(out: Path, listening: Listening):
    done = [progress.done for progress in listening.heard]
    assert done == sorted(done)
    assert done[-1] == listening.heard[-1].total
    assert any("det-tiny: epoch 1: loss" in progress.note for progress in listening.heard)
    assert any("linear: epoch 2: accuracy" in progress.note for progress in listening.heard)


def test_a_second_run_trains_nothing_and_changes_no_byte(out: Path):
    files = [path for path in out.rglob("*") if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    again = Listening()
    build(SMALL, load_digits_sources(seed=SMALL.seed), out, report=again)
    models = [path for path in files if "models" in path.parts]
    assert {path: path.read_bytes() for path in files} == {p: b for p, (b, _) in before.items()}
    assert all(path.stat().st_mtime_ns == before[path][1] for path in models)
    assert sum("up to date" in progress.note for progress in again.heard) == 2


def test_a_variant_with_another_recipe_is_trained_anew(out: Path, tmp_path: Path):
    mine = shutil.copytree(out, tmp_path / "copy")
    path = mine / "models" / "classify" / "linear" / "variant.json"
    before = json.loads(path.read_text())["recipe_sha256"]
    other = replace(SMALL, classifiers=(replace(LINEAR, samples=512, epochs=1),))
    build(other, load_digits_sources(seed=SMALL.seed), mine)
    assert json.loads(path.read_text())["recipe_sha256"] != before
