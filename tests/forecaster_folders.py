"""Forecaster artifacts for tests: one written by hand in milliseconds, one really trained once."""

from __future__ import annotations

import atexit
import functools
import hashlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from optimizer.forecast.card import CARD_FILE, MODEL_FILE, LstmConfig, ModelCard
from optimizer.forecast.train import train_to_folder
from optimizer.history import generate

CONFIG = LstmConfig(step_s=1.0, window_steps=4, horizon_steps=2)
TRAINED_CONFIG = LstmConfig(
    step_s=1.0, window_steps=6, horizon_steps=2, units=8, epochs=6, time_compression=10.0
)


def handmade(folder: Path, *, factors: tuple[float, ...] = (1.0, 1.1, 1.2, 1.4)) -> Path:
    """Write an artifact whose graph answers the window's maximum times each factor."""
    window = [None, CONFIG.window_steps]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["windows", "axes"], ["highest"], keepdims=1),
            helper.make_node("Mul", ["highest", "factors"], ["rates"]),
        ],
        "handmade",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, window)],
        [helper.make_tensor_value_info("rates", TensorProto.FLOAT, [None, len(factors)])],
        initializer=[
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
            numpy_helper.from_array(np.array(factors, np.float32), "factors"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return with_model(folder, model.SerializeToString())


def with_model(folder: Path, model: bytes) -> Path:
    """Write an artifact of any bytes, with a card whose digest agrees."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(model)
    (folder / CARD_FILE).write_text(card(hashlib.sha256(model).hexdigest()).to_json())
    return folder


def card(model_sha256: str = "0" * 64) -> ModelCard:
    return ModelCard(
        config=CONFIG,
        source="handmade",
        data_sha256="0" * 64,
        trained_until_s=0.0,
        history_s=0.0,
        windows=0,
        final_loss=0.0,
        model_sha256=model_sha256,
    )


@functools.cache
def trained() -> Path:
    """Return a small LSTM's folder; the first call in a process trains it, about 20 s."""
    root = Path(tempfile.mkdtemp(prefix="penstock-forecaster-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    train_to_folder(generate(3, 12 * 3600), TRAINED_CONFIG, root / "lstm", score_windows=200)
    return root / "lstm"
