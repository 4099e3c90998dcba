"""The steps that decide: publishing the load predictor, and applying the plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components import steps
from optimizer import history
from optimizer.history import History
from penstock.errors import NotReadyError, UserError
from penstock.spec import format_pipeline
from profiles import table
from serving.cluster import Readiness, memory
from serving.store import make_store
from serving.store.releases import newest
from tests.builders import pipeline, profile_table
from tests.forecaster_folders import handmade

SPEC = format_pipeline(pipeline(max_cores=8.0))
RIGHT, SO_SO, WRONG = (1.0, 1.1, 1.2, 1.4), (1.1, 1.2, 1.3, 1.4), (2.0, 2.1, 2.2, 2.4)
KEY = "digits/load_forecaster"


@pytest.fixture(autouse=True)
def _history(monkeypatch: pytest.MonkeyPatch) -> None:
    def up_and_down(environment: object) -> History:
        return History(values_rps=[10.0, 20.0] * 400, step_s=1.0, source="test")  # type: ignore[arg-type]

    monkeypatch.setattr(history, "default_history", up_and_down)


def gate(folder: Path, factors: tuple[float, ...]) -> dict[str, float]:
    """Gate a candidate that answers the window's maximum times the first factor."""
    out = folder / "out"
    return steps.gate_forecaster(
        spec=SPEC,
        store=str(folder / "store"),
        shared="",
        candidate=str(handmade(folder / f"candidate-{factors[0]}", factors=factors)),
        decision=str(out / "decision.json"),
        forecaster=str(out / f"forecaster-{factors[0]}"),
        page=str(out / "page.html"),
    )


def decision(folder: Path) -> dict[str, object]:
    return json.loads((folder / "out/decision.json").read_text())  # type: ignore[no-any-return]


def test_the_first_good_candidate_is_published_with_its_figures(tmp_path: Path) -> None:
    figures = gate(tmp_path, RIGHT)
    assert figures["published"] == 1.0
    assert set(figures) == {"published", "smape_pct_candidate", "smape_pct_last"}
    published = newest(make_store(str(tmp_path / "store")), KEY)
    assert published is not None
    told = decision(tmp_path)
    assert (told["decision"], told["in_use"]) == ("published", published.uri)
    assert "Load predictor of digits: published" in (tmp_path / "out/page.html").read_text()


def test_a_better_published_one_stays_in_use(tmp_path: Path) -> None:
    gate(tmp_path, RIGHT)
    before = newest(make_store(str(tmp_path / "store")), KEY)
    assert gate(tmp_path, SO_SO)["published"] == 0.0
    assert newest(make_store(str(tmp_path / "store")), KEY) == before
    assert decision(tmp_path)["decision"] == "kept"
    kept = tmp_path / "out/forecaster-1.1/forecaster.onnx"
    assert kept.read_bytes() == (tmp_path / "candidate-1.0/forecaster.onnx").read_bytes()


def test_a_better_candidate_takes_over(tmp_path: Path) -> None:
    gate(tmp_path, SO_SO)
    assert gate(tmp_path, RIGHT)["published"] == 1.0
    published = newest(make_store(str(tmp_path / "store")), KEY)
    assert published is not None
    assert published.key == f"{KEY}/r000002"


def test_doing_it_again_publishes_nothing_new(tmp_path: Path) -> None:
    assert [gate(tmp_path, RIGHT)["published"] for _ in range(2)] == [1.0, 1.0]
    assert len(make_store(str(tmp_path / "store")).list(KEY)) == 1


def test_when_none_is_fit_the_folder_says_so(tmp_path: Path) -> None:
    assert gate(tmp_path, WRONG)["published"] == 0.0
    folder = tmp_path / "out/forecaster-2.0"
    assert [path.name for path in folder.iterdir()] == [steps.NONE_FILE]
    assert "is not below that of last" in (folder / steps.NONE_FILE).read_text()
    assert decision(tmp_path)["in_use"] == ""


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A folder with a catalog and a plan."""
    for name in ("small", "large"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.onnx").write_bytes(name.encode())
    steps.upload_models(
        SPEC, str(tmp_path / "models"), str(tmp_path / "store"), str(tmp_path / "catalog.json")
    )
    table.save(profile_table(), tmp_path / "profiles.json")
    given = (SPEC, str(tmp_path / "profiles.json"), 40.0, "exhaustive")
    steps.optimize_plan(*given, str(tmp_path / "plan.json"), str(tmp_path / "plan.html"))
    return tmp_path


def apply(folder: Path, cluster: str) -> dict[str, float]:
    files = (str(folder / "plan.json"), str(folder / "catalog.json"))
    return steps.apply_plan(SPEC, *files, "penstock:1", cluster, str(folder / "report.json"))


def test_the_page_of_the_plan_shows_it_among_others(planned: Path) -> None:
    page = (planned / "plan.html").read_text()
    assert "Plan of digits for 40 req/s" in page
    for words in (
        "nothing beats it within 500 ms",
        "What the next step costs",
        "1 visit a request",
    ):
        assert words in page


def test_applying_to_memory_tells_every_change(planned: Path) -> None:
    figures = apply(planned, "memory")
    report = json.loads((planned / "report.json").read_text())
    assert report["outcome"] == "applied"
    assert figures["changes"] == len(report["changes"]) > 0
    assert [one for one in report["changes"] if "InferenceGraph default/digits" in one]


def test_applying_again_changes_nothing(planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = memory.MemoryCluster()
    monkeypatch.setattr(memory, "MemoryCluster", lambda: one)
    assert apply(planned, "memory")["changes"] > 0
    assert apply(planned, "memory")["changes"] == 0


def test_what_does_not_get_ready_is_an_error_that_may_be_tried_again(
    planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = memory.MemoryCluster(readiness=lambda manifest: Readiness(ready=False, reason="late"))
    monkeypatch.setattr(memory, "MemoryCluster", lambda: late)
    monkeypatch.setenv("PENSTOCK_READY_TIMEOUT_S", "0.001")
    with pytest.raises(NotReadyError, match="the plan is not running"):
        apply(planned, "memory")
    assert not (planned / "report.json").exists()


def test_another_cluster_is_refused(planned: Path) -> None:
    with pytest.raises(UserError, match="no cluster 'local' that a pipeline can apply to"):
        apply(planned, "local")


def test_rendering_and_applying_follow_the_same_settings(
    planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_SERVICE_ACCOUNT", "models")
    one = memory.MemoryCluster()
    monkeypatch.setattr(memory, "MemoryCluster", lambda: one)
    files = (str(planned / "plan.json"), str(planned / "catalog.json"))
    steps.render_manifests(SPEC, *files, "penstock:1", str(planned / "manifests"))
    apply(planned, "memory")
    text = "".join(path.read_text() for path in (planned / "manifests").iterdir())
    services = one.list("InferenceService", "default", {})
    assert "serviceAccountName: models" in text
    assert {s["spec"]["predictor"]["serviceAccountName"] for s in services} == {"models"}
