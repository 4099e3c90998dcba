"""From a load history to a forecaster's folder: weights, card, scores; whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from optimizer.forecast import make_forecaster
from optimizer.forecast.card import CARD_FILE, MODEL_FILE, LstmConfig, ModelCard
from optimizer.forecast.lstm import LstmForecaster, TrainedLstm, fit
from optimizer.forecast.score import Score, score_table, spread, windows_of
from optimizer.history import History, resample
from penstock.errors import ArtifactError, DomainError

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what happens now."""

PEERS = ("last", "max")
"""What a trained forecaster must beat to be worth its weights."""


def train_to_folder(
    history: History,
    config: LstmConfig,
    out: Path,
    progress: Progress | None = None,
    *,
    holdout_share: float = 0.2,
    score_windows: int = 2_000,
) -> ModelCard:
    """Train an LSTM on the first part of a history and score it on the rest.

    ``out`` receives weights and card; it appears when it is
    whole. An older forecaster there is replaced, anything else is left
    alone.

    Raises:
        DomainError: the history is too short, has no load, or ``holdout_share`` is not in (0, 1).
        ArtifactError: ``out`` holds something that is no forecaster, or cannot be written.
        MissingToolError: the training library is not installed.
    """
    started_s = time.monotonic()
    _require_free(out)
    told = progress or _silent
    steps = config.epochs + 2
    blocks = resample(
        history, config.step_s, how=config.aggregate, compression=config.time_compression
    )
    past, rest = split(blocks, holdout_share)
    told(0, steps, "loading the training library")
    trained, count = _fit(past, config, told, steps)
    card = ModelCard(
        config=config,
        source=history.source,
        data_sha256=history.sha256,
        trained_until_s=past.duration_s * config.time_compression,
        history_s=history.duration_s,
        windows=count,
        final_loss=trained.final_loss,
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as made:
            folder = Path(made) / "new"
            folder.mkdir()
            told(config.epochs, steps, "writing the model")
            card = _write_model(folder, trained, card)
            told(config.epochs + 1, steps, "scoring on the rest of the history")
            scores = compare(folder, rest, max_windows=score_windows)
            seconds = time.monotonic() - started_s
            card = replace(card, seconds=seconds, scores=tuple(s.to_dict() for s in scores))
            _write_card(folder, card)
            _move(folder, out)
    except OSError as err:
        raise ArtifactError(f"the forecaster cannot be written to {out}: {err}") from err
    told(steps, steps, "done")
    return card


def compare(folder: Path, rest: History, *, max_windows: int = 2_000) -> tuple[Score, ...]:
    """Return the scores of a trained forecaster and of those it must beat, on other steps."""
    lstm = LstmForecaster(folder)
    config = lstm.config
    peers = [
        make_forecaster(name, horizon_s=config.horizon_s, window_steps=config.window_steps)
        for name in PEERS
    ]
    return score_table(
        [lstm, *peers],
        rest,
        window_steps=config.window_steps,
        horizon_steps=config.horizon_steps,
        max_windows=max_windows,
    )


def split(blocks: History, holdout_share: float) -> tuple[History, History]:
    """Return the first and the last part of a history; the last holds ``holdout_share`` of it.

    Raises:
        DomainError: the share does not lie in (0, 1).
    """
    if not 0 < holdout_share < 1:
        raise DomainError(f"holdout_share must lie in (0, 1), got {holdout_share}")
    cut_s = round(len(blocks.values_rps) * (1 - holdout_share)) * blocks.step_s
    return blocks.part(0, cut_s), blocks.part(cut_s, blocks.duration_s)


def _fit(past: History, config: LstmConfig, told: Progress, steps: int) -> tuple[TrainedLstm, int]:
    windows, targets = windows_of(
        past, window_steps=config.window_steps, horizon_steps=config.horizon_steps
    )
    chosen = spread(len(windows), config.max_windows)
    trained = fit(
        config,
        windows[chosen].astype(np.float32),
        targets[chosen].astype(np.float32),
        epoch_done=lambda epoch, loss: told(epoch, steps, f"epoch {epoch}, loss {loss:.4f}"),
    )
    return trained, len(chosen)


def _write_model(folder: Path, trained: TrainedLstm, card: ModelCard) -> ModelCard:
    """Write weights and card; return the card with the weights' digest."""
    path = folder / MODEL_FILE
    trained.export(path)
    card = replace(card, model_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    _write_card(folder, card)
    return card


def _write_card(folder: Path, card: ModelCard) -> None:
    (folder / CARD_FILE).write_text(card.to_json(), encoding="utf-8")


def _move(folder: Path, out: Path) -> None:
    """Put the finished folder in its place; the old one goes with the temporary folder."""
    old = folder.with_name("old")
    try:
        if out.exists():
            out.rename(old)
        folder.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)


def _require_free(out: Path) -> None:
    if out.is_dir() and ((out / CARD_FILE).is_file() or not any(out.iterdir())):
        return
    if out.exists() or out.is_symlink():
        raise ArtifactError(
            f"{out} is there and is no forecaster; name another folder or remove it"
        )


def _silent(done: int, total: int, note: str) -> None:
    """Nobody is watching."""
