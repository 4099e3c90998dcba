"""What a person types to train an example, and where the fashion images come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.canvases.command import run
from examples.fashion import train as fashion
from penstock.errors import ArtifactError, UnreachableError
from penstock.progress import Progress, Report
from penstock.spec import read_pipeline

EXAMPLES = Path(__file__).parents[3] / "examples"


class Training:
    """An example's ``main`` that fails as told and keeps what it was asked."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure
        self.asked: list[tuple[Path, bool]] = []

    def __call__(self, out: Path, progress: Report, *, force: bool = False) -> None:
        self.asked.append((out, force))
        progress(Progress(step="models", done=1, total=4, note="locate/det-xs"))
        if self.failure:
            raise self.failure


def test_the_folder_is_named_after_the_example():
    training = Training()
    assert run(training, name="digits", argv=[]) == 0
    assert training.asked == [(Path("out/digits"), False)]


def test_folder_and_force_can_be_given(tmp_path: Path):
    training = Training()
    run(training, name="digits", argv=["--out", str(tmp_path), "--force"])
    assert training.asked == [(tmp_path, True)]


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]):
    run(Training(), name="digits", argv=[])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "models  25%  locate/det-xs\n"


@pytest.mark.parametrize(
    ("failure", "code"),
    [(ArtifactError("broken"), 2), (UnreachableError("away"), 3), (KeyboardInterrupt(), 130)],
)
def test_a_failure_is_a_message_and_an_exit_code(
    failure: BaseException, code: int, capsys: pytest.CaptureFixture[str]
):
    assert run(Training(failure), name="digits", argv=[]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_shared_images_are_used_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    for file in fashion.FILES:
        (folder / file.name).touch()
    monkeypatch.setenv("PENSTOCK_SHARED", str(tmp_path))
    assert fashion.find_data() == folder


@pytest.mark.parametrize("example", ["digits", "fashion"])
def test_a_document_names_exactly_the_variants_that_are_trained(example: str):
    from examples.digits.train import DIGITS

    pipeline = read_pipeline(EXAMPLES / example / "pipeline.yaml")
    trained = {"digits": DIGITS, "fashion": fashion.FASHION}[example]
    declared = [(s.name, v.name, v.artifact) for s in pipeline.stages for v in s.variants]
    assert declared == [
        (stage, recipe.name, f"models/{stage}/{recipe.name}") for stage, recipe in trained.recipes()
    ]
