from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from workflows.steplog import StepLog

STARTED = "12:00:00.000 - INFO - Executing task \x1b[96m'profile-variant'\x1b[0m\n"
WHICH = '        "stage": "locate",\n        "variant": "small",\n'
# kfp indents every line that a step writes, empty ones too
TRACEBACK = indent(
    """\
Traceback (most recent call last):
  File "session.py", line 3, in load
onnx.InvalidError: bad magic

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "steps.py", line 9, in profile_variant
penstock.errors.ArtifactError: model.onnx can't be read:
  it has no graph

""",
    "    ",
    lambda _: True,
)
ENDED = " - Task \x1b[96m'profile-variant'\x1b[0m finished with status "
FAILED = f"12:00:09.000 - ERROR{ENDED}\x1b[91mFAILURE\x1b[0m\n"
SUCCESS = f"12:00:09.000 - INFO{ENDED}\x1b[92mSUCCESS\x1b[0m\n"
RETRIED = "INFO Task profile-variant failed (attempt 1/3). Retrying in 1.0s...\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "steps.log"


def test_a_failure_is_named_with_its_variant_and_the_last_exception(path: Path) -> None:
    path.write_text(STARTED + WHICH + TRACEBACK + FAILED)
    failure = StepLog(path).failure()
    assert failure is not None
    assert failure.step == "profile-variant (locate/small)"
    assert failure.error == "penstock.errors.ArtifactError"
    assert failure.message == "model.onnx can't be read:\n  it has no graph"


def test_a_failure_that_is_tried_again_is_none(path: Path) -> None:
    path.write_text(STARTED + TRACEBACK + FAILED + "-----\n" + RETRIED + STARTED + SUCCESS)
    assert StepLog(path).failure() is None


def test_the_failure_of_the_last_try_is_told(path: Path) -> None:
    second = TRACEBACK.replace("no graph", "no weights")
    path.write_text(STARTED + TRACEBACK + FAILED + RETRIED + STARTED + second + FAILED)
    failure = StepLog(path).failure()
    assert failure is not None
    assert failure.message.endswith("it has no weights")


def test_foreign_exceptions_keep_their_name(path: Path) -> None:
    path.write_text(
        STARTED + "    Traceback (most recent call last):\n    ValueError: no\n" + FAILED
    )
    failure = StepLog(path).failure()
    assert failure is not None
    assert failure.message == "ValueError: no"


def test_a_step_that_was_killed_gives_the_end_of_its_log(path: Path) -> None:
    lines = "".join(f"    line {i}\n" for i in range(40))
    path.write_text(STARTED + lines + FAILED)
    failure = StepLog(path).failure()
    assert failure is not None
    assert failure.error == ""
    assert "line 39" in failure.message
    assert "line 5" not in failure.message


def test_a_failure_counts_when_it_stands_for_two_looks(path: Path) -> None:
    log = StepLog(path)
    path.write_text(STARTED + FAILED)
    log.read()
    assert [log.failed_for_good(), log.failed_for_good()] == [False, True]


def test_a_failure_does_not_count_once_another_try_has_begun(path: Path) -> None:
    log = StepLog(path)
    path.write_text(STARTED + FAILED)
    log.read()
    log.failed_for_good()
    path.write_text(STARTED + FAILED + RETRIED)
    log.read()
    assert not log.failed_for_good()


def test_steps_taken_from_the_cache_are_told_once_and_in_whole_lines(path: Path) -> None:
    log = StepLog(path)
    path.write_text(
        "INFO Task train-models cache hit (key=0123); skipping execution.\nINFO Task up"
    )
    assert log.read() == ("train-models",)
    with path.open("a") as file:
        file.write("load-models cache hit (key=4567); skipping execution.\n")
    assert log.read() == ("upload-models",)
    assert log.read() == ()


def test_the_tail_is_plain_text(path: Path) -> None:
    path.write_text("a\n" * 50 + SUCCESS)
    tail = StepLog(path).tail().splitlines()
    assert len(tail) == 15
    assert tail[-1].endswith("Task 'profile-variant' finished with status SUCCESS")
