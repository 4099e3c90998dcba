"""The command line as a person meets it, called in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workflows import cli

Run = Callable[..., tuple[int, str]]


def command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Return ``penstock`` as run in a folder: arguments in, exit code and one line of text out."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)

    def penstock(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["penstock", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((said.out + said.err).split())

    return penstock
