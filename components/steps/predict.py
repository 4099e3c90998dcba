"""Steps for the load predictor."""

from pathlib import Path

from penstock import progress
from penstock.progress import Progress
from penstock.spec import parse_pipeline


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
        horizon_steps=adaptation.horizon_steps,
        time_compression=adaptation.history_speedup,
    )
    report = progress.from_environment()

    def on_progress(done: int, total: int, note: str) -> None:
        report(Progress(step="train load predictor", done=done, total=total, note=note))

    history = default_history({"PENSTOCK_SHARED": shared})
    card = train_to_folder(history, config, Path(out), on_progress)
    return {f"smape_pct_{s['forecaster']}": float(s["smape_pct"]) for s in card.scores}
