"""Steps for the load predictor: train a candidate, publish it when it is better than what is there.

The published predictor lies in the artifact store as numbered releases of
``<pipeline>/load_forecaster``; no stage can have that name.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from penstock import progress
from penstock.domain import Pipeline
from penstock.files import write_whole
from penstock.progress import Progress
from penstock.spec import parse_pipeline

if TYPE_CHECKING:
    from optimizer.forecast.backtest import Verdict

NONE_FILE = "none.txt"
"""All that the gate's forecaster holds when none is fit to be used."""


def train_forecaster(spec: str, shared: str, out: str) -> dict[str, float]:
    """Train the load predictor on the public trace, or on the generator's where there is none.

    Returns:
        Its error (sMAPE, percent) beside those of the last value and of the window's maximum.
    """
    from optimizer.forecast.card import LstmConfig
    from optimizer.forecast.train import train_to_folder
    from optimizer.history import default_history

    adaptation = parse_pipeline(spec).adaptation
    config = LstmConfig(
        step_s=adaptation.step_s,
        window_steps=adaptation.window_steps,
        horizon_steps=adaptation.steps_ahead,
        time_compression=adaptation.history_speedup,
    )
    report = progress.from_environment()

    def on_progress(done: int, total: int, note: str) -> None:
        report(Progress(step="train load predictor", done=done, total=total, note=note))

    history = default_history({"PENSTOCK_SHARED": shared})
    card = train_to_folder(history, config, Path(out), on_progress)
    return {f"smape_pct_{s['forecaster']}": float(s["smape_pct"]) for s in card.scores}


def gate_forecaster(
    spec: str, store: str, shared: str, candidate: str, decision: str, forecaster: str, page: str
) -> dict[str, float]:
    """Publish a candidate if its error is below the published one's and the last value's.

    Args:
        spec: Pipeline document, as YAML text.
        store: Artifact store that published predictors are kept in.
        shared: Folder of public data sets, as for training.
        candidate: What ``train_forecaster`` wrote.
        decision: JSON file that receives the decision, its reason and all figures.
        forecaster: Folder that receives what is in use now: the candidate, else the published
            one, else a file that says why there is none (``NONE_FILE``).
        page: HTML file that receives the backtest.

    Returns:
        1 or 0 for published, and the error (sMAPE, percent) of each entrant.
    """
    from optimizer.forecast.backtest import judge
    from optimizer.history import default_history
    from serving.store import make_store
    from serving.store.releases import newest, release

    pipeline, shelf = parse_pipeline(spec), make_store(store)
    key = forecaster_key(pipeline)
    before = newest(shelf, key)
    with tempfile.TemporaryDirectory(prefix=f"penstock-{pipeline.name}-") as folder:
        published = None if before is None else Path(folder) / "published"
        if before is not None and published is not None:
            shelf.get(before.key, before.version, published)
        same = published is not None and _same(Path(candidate), published)
        history = default_history({"PENSTOCK_SHARED": shared})
        verdict = judge(Path(candidate), None if same else published, history)
        now = release(shelf, key, Path(candidate)) if verdict.publish else before
        kept = Path(candidate) if verdict.publish else published
        _hand_over(kept, Path(forecaster), verdict.reason)
    uri = now.uri if now else ""
    write_whole(Path(decision), _as_json(verdict, pipeline, uri))
    _show(verdict, pipeline, page)
    note = f"{'published' if verdict.publish else 'not published'}: {verdict.reason}"
    progress.from_environment()(Progress(step="gate", done=1, total=1, note=note))
    errors = {f"smape_pct_{name}": one.smape_pct for name, one in verdict.scores.items()}
    return {"published": float(verdict.publish), **errors}


def forecaster_key(pipeline: Pipeline) -> str:
    """Return the key that a pipeline's load predictor has in the artifact store."""
    return f"{pipeline.name}/load_forecaster"


def _same(one: Path, other: Path) -> bool:
    """Whether two forecasters are the same, as when a step is done again after it published."""
    from serving.store.content import Limits, scan

    return scan(one, Limits()).digest == scan(other, Limits()).digest


def _hand_over(source: Path | None, target: Path, reason: str) -> None:
    if source is not None:
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    target.mkdir(parents=True, exist_ok=True)
    (target / NONE_FILE).write_text(f"no forecaster is fit to be used: {reason}\n", "utf-8")


def _as_json(verdict: "Verdict", pipeline: Pipeline, uri: str) -> str:
    document = {
        "format": "penstock.dev/gate/v1",
        "pipeline": pipeline.name,
        "decision": "published" if verdict.publish else "kept",
        "reason": verdict.reason,
        "in_use": uri,
        "scores": {name: score.to_dict() for name, score in verdict.scores.items()},
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _show(verdict: "Verdict", pipeline: Pipeline, page: str) -> None:
    from components.pages.results import backtest_page

    write_whole(Path(page), backtest_page(verdict, pipeline.name))
