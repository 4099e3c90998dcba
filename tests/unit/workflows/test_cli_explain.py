from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from penstock.spec import format_pipeline
from profiles import table as tables
from tests.builders import pipeline, profile_table
from workflows.cli import app
from workflows.layout import Layout


def test_explain_prints_what_binds_and_what_comes_next(tmp_path: Path) -> None:
    asked = pipeline()
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(format_pipeline(asked))
    layout = Layout(root=tmp_path / "out", spec=spec)
    layout.profiles.parent.mkdir(parents=True, exist_ok=True)
    tables.save(profile_table(asked), layout.profiles)

    shown = CliRunner().invoke(
        app, ["explain", str(spec), "--load", "150", "--out", str(layout.root)]
    )

    assert shown.exit_code == 0, shown.output
    for words in ("binds: ", "runner-up: ", "one point more of accuracy: "):
        assert words in shown.output
