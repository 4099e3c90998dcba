from __future__ import annotations

import os
from pathlib import Path

import pytest

from workflows.fingerprint import fingerprint


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a small ``components`` package and a trainer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "steps.py").write_text("a = 1\n")
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "digits.py").write_text("b = 1\n")
    return tmp_path


def test_it_stays_while_nothing_changes() -> None:
    assert fingerprint("trainers.digits", "") == fingerprint("trainers.digits", "")


@pytest.mark.parametrize("changed", ["components/steps.py", "trainers/digits.py"])
def test_it_changes_with_the_code(checkout: Path, changed: str) -> None:
    before = fingerprint("trainers.digits", "")
    (checkout / changed).write_text("c = 2\n")
    assert fingerprint("trainers.digits", "") != before


def test_it_changes_with_a_trainer_of_one_file(checkout: Path) -> None:
    (checkout / "alone.py").write_text("a = 1\n")
    before = fingerprint("alone", "")
    (checkout / "alone.py").write_text("a = 2\n")
    assert fingerprint("alone", "") != before


def test_it_changes_with_the_data(checkout: Path) -> None:
    data = checkout / "data"
    data.mkdir()
    (data / "trace.csv").write_text("1\n")
    before = fingerprint("trainers.digits", str(data))
    os.utime(data / "trace.csv", ns=(1, 1))
    assert fingerprint("trainers.digits", str(data)) != before


def test_it_changes_with_our_settings_but_not_with_who_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = fingerprint("trainers.digits", "")
    monkeypatch.setenv("PENSTOCK_PROGRESS", "/somewhere")
    assert fingerprint("trainers.digits", "") == before
    monkeypatch.setenv("PENSTOCK_SOLVER", "highs")
    assert fingerprint("trainers.digits", "") != before


@pytest.mark.parametrize("trainer", ["", "no_such_module_anywhere", "json", "abc"])
def test_a_trainer_that_is_not_ours_is_no_crash(trainer: str) -> None:
    assert len(fingerprint(trainer, "")) == 16
