"""A file appears whole or not at all; a process ends with a code that says what to do."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from penstock.cores import count_cores, usable_cores
from penstock.errors import ConflictError, SpecError
from penstock.files import write_whole
from penstock.process import INTERRUPTED, exit_code_of


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("content", ["ä\r\n", b"\x00\xff"])
def test_a_file_is_written_as_it_stands(
    tmp_path: Path, content: str | bytes, durable: bool
) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, content, durable=durable)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError, match="file"):
        write_whole(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (path / "old").exists()


@pytest.mark.parametrize(("error", "code"), [(SpecError("a", ["b"]), 2), (ConflictError("c"), 3)])
def test_an_error_of_ours_is_told_and_becomes_its_code(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail() -> None:
        raise error

    assert exit_code_of(fail) == code
    assert capsys.readouterr().err == f"{error}\n"
    assert exit_code_of(lambda: 7) == 0


def test_ctrl_c_is_told_only_by_whoever_has_something_to_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    assert exit_code_of(stop, interrupted="stopped") == INTERRUPTED
    assert capsys.readouterr().err == "stopped\n"
    with pytest.raises(KeyboardInterrupt):
        exit_code_of(stop)


def test_there_is_always_a_core() -> None:
    assert count_cores() >= 1
    assert list(usable_cores()) == sorted(usable_cores())
