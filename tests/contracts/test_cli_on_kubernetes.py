"""The command line on a Kubernetes API: adapt, look back, solve anew, pause, resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.spec import format_pipeline
from profiles import table
from tests.api_http import serve
from tests.builders import pipeline, profile_table
from tests.command_line import command_line
from tests.kserve import KServe
from tests.prometheus import SteadyLoad, answering
from tests.shared_data import shared

pytestmark = pytest.mark.slow


@pytest.fixture
def penstock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Run ``penstock`` on a served API; returns exit code and what was printed, in one line."""
    made = pipeline(max_cores=12.0)
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(format_pipeline(made))
    table.save(profile_table(made), tmp_path / "profiles.json")
    penstock = command_line(tmp_path, monkeypatch, capsys)
    with serve(shared("data/kserve"), on_write=KServe()) as server, answering(SteadyLoad()) as at:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        monkeypatch.setenv("PENSTOCK_PROMETHEUS_URL", f"http://{at}")
        monkeypatch.setenv("PENSTOCK_SETTLE_S", "0.1")
        monkeypatch.setenv("PENSTOCK_SOLVER", "exhaustive")

        def run(command: str, *arguments: str) -> tuple[int, str]:
            return penstock(command, spec, *arguments, "--cluster", "kubernetes")

        run.server = server  # type: ignore[attr-defined]
        yield run


def test_ticks_are_looked_back_at_solved_anew_paused_and_resumed(penstock, tmp_path) -> None:
    code, said = penstock("adapt")
    assert (code, "move, nothing runs yet [applied]" in said) == (0, True), said
    assert penstock("adapt")[0] == 0
    code, said = penstock("decisions", "--last", "1", "--json")
    newest = json.loads(said)
    assert (code, newest["decision"]["kind"]) == (0, "keep")
    assert json.loads((tmp_path / "out/digits/decision.json").read_text())["id"] == newest["id"]
    code, said = penstock("replay-decision", newest["id"])
    assert (code, "the same plan" in said) == (0, True), said
    assert penstock("replay-decision", "nothing")[0] == 2

    assert "ticks only advise" in penstock("pause")[1]
    penstock.server.forget()
    assert penstock("adapt")[0] == 0
    assert penstock.server.writes == []
    assert "ticks apply again" in penstock("resume")[1]
    assert penstock("adapt")[0] == 0
    assert len(penstock("decisions")[1].split(" load ")) - 1 == 3


def test_a_plan_is_applied_and_then_nothing_differs(penstock) -> None:
    assert penstock("adapt")[0] == 0
    code, said = penstock("diff", "--plan", _plan_of(penstock))
    assert (code, said) == (0, "nothing to change")
    code, said = penstock("apply", "--plan", _plan_of(penstock))
    assert (code, "0 changes" in said) == (0, True), said


def _plan_of(penstock) -> str:
    """Write the running plan to a file."""
    where = "/api/v1/namespaces/default/configmaps/penstock-digits"
    path = Path("plan.json").resolve()
    path.write_text(penstock.server.handle("GET", where).body["data"]["plan"])
    return str(path)
