"""The LSTM forecaster: the only file that imports the tensor library, and only to train.

Training runs in Keras on JAX and ends in an ONNX file; forecasting needs ONNX Runtime alone.

Arrays (n windows, w steps, q quantiles):
    windows: (n, w) req/s, oldest step first
    targets: (n,) req/s, the highest rate of the horizon
    ratios:  (n, q) targets over the window's mean
    rates:   (n, q) req/s, rising along q: what the ONNX graph answers to windows

The graph divides a window by its own mean and multiplies its answer by it, so a model trained at
one scale of load works at any other. The quantiles are a first one plus non-negative steps, so
they cannot cross.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optimizer.forecast.card import MODEL_FILE, LstmConfig, ModelCard
from penstock.domain import Forecast, Load
from penstock.errors import ArtifactError, DomainError, MissingToolError, SourceError

if TYPE_CHECKING:
    from optimizer.forecast import Forecaster

__all__ = ["LstmConfig", "LstmForecaster", "TrainedLstm", "fit"]

MIN_SCALE_RPS = 1e-6
"""A window of zeros is divided by this instead of its mean."""
MAX_MODEL_BYTES = 64 * 1024 * 1024

Rates = NDArray[np.float32]
EpochDone = Callable[[int, float], None]
"""Called after each epoch with its number, from 1, and the mean pinball loss."""


class TrainedLstm:
    """Weights in the tensor library's memory: good for one thing, being exported."""

    def __init__(self, model: Any, final_loss: float) -> None:
        self._model = model
        self.final_loss = final_loss

    def export(self, path: Path) -> None:
        """Write the ONNX graph."""
        self._model.export(str(path), format="onnx", verbose=False)


def fit(
    config: LstmConfig, windows: Rates, targets: Rates, *, epoch_done: EpochDone
) -> TrainedLstm:
    """Train on windows and the highest rates that followed them.

    The same seed gives the same weights. The loss is the pinball loss of the ratios, summed over
    the quantiles, so that a busy hour weighs as much as a quiet one. Windows without load carry
    no ratio and are left out.

    Raises:
        DomainError: no window has load.
        MissingToolError: Keras or JAX is not installed.
    """
    scales = windows.mean(axis=1)
    loaded = scales > MIN_SCALE_RPS
    if not loaded.any():
        raise DomainError("the history has no load in any window: there is nothing to learn")
    keras = _keras()
    keras.utils.set_random_seed(config.seed)
    to_ratios, to_rates = _models(keras, config)
    batches = math.ceil(int(loaded.sum()) / config.batch_size)
    to_ratios.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(config.learning_rate, config.epochs * batches)
        ),
        loss=_pinball(keras, config.quantiles),
    )
    losses: list[float] = []

    def note(epoch: int, logs: dict[str, float]) -> None:
        losses.append(float(logs["loss"]))
        epoch_done(epoch + 1, losses[-1])

    to_ratios.fit(
        windows[loaded],
        (targets[loaded] / scales[loaded])[:, None],
        batch_size=config.batch_size,
        epochs=config.epochs,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=note)],
    )
    # Keras exports only a model that has been called.
    to_rates(windows[:1])
    return TrainedLstm(to_rates, losses[-1])


class LstmForecaster:
    """A trained forecaster, run by ONNX Runtime; training libraries are never imported.

    Raises:
        ArtifactError: the folder holds no whole forecaster, or one for another ``horizon_s``.
        MissingToolError: ONNX Runtime is not installed.
    """

    name = "lstm"

    def __init__(self, folder: Path, *, horizon_s: float | None = None) -> None:
        self.card = ModelCard.read(folder)
        self.config = self.card.config
        if horizon_s is not None and not math.isclose(horizon_s, self.config.horizon_s):
            raise ArtifactError(
                f"{folder} forecasts {self.config.horizon_s:g} s ahead, not the {horizon_s:g} s "
                "that are asked for; train it with that horizon"
            )
        self._folder = folder
        self._session = _session(folder / MODEL_FILE, self.card)
        self._point = self.config.quantiles.index(self.config.point_quantile)

    def forecast(self, load: Load) -> Forecast:
        """Return the point forecast and the quantiles; the load's flags are passed on.

        Raises:
            SourceError: the load is shorter than the window.
            DomainError: its steps have another length than those trained on.
            ArtifactError: the model failed, or answered what is no rate.
        """
        config = self.config
        if not math.isclose(load.step_s, config.step_s, rel_tol=1e-6):
            raise DomainError(
                f"forecaster lstm was trained on steps of {config.step_s:g} s, the load has "
                f"{load.step_s:g} s; train it with that step_s (and a time_compression, if need be)"
            )
        if len(load.values_rps) < config.window_steps:
            raise SourceError(
                f"forecaster lstm needs {config.window_steps} steps of load, got "
                f"{len(load.values_rps)}; wait {config.window_steps * config.step_s:g} s"
            )
        rates = self._rates(load.values_rps[-config.window_steps :])
        return Forecast(
            load_rps=rates[self._point],
            horizon_s=config.horizon_s,
            forecaster=self.name,
            quantiles_rps=dict(zip(config.quantiles, rates, strict=True)),
            flags=load.flags,
        )

    def _rates(self, window: tuple[float, ...]) -> list[float]:
        with np.errstate(over="ignore"):
            asked = np.array([window], dtype=np.float32)
        try:
            (answer,) = self._session.run(None, {self._session.get_inputs()[0].name: asked})
        except _runtime_errors() as err:
            raise ArtifactError(f"{self._folder / MODEL_FILE} failed: {err}") from err
        rates: list[float] = np.asarray(answer, dtype=np.float64).ravel().tolist()
        usable = all(math.isfinite(rate) and rate >= 0 for rate in rates)
        if len(rates) != len(self.config.quantiles) or not usable:
            raise ArtifactError(f"{self._folder / MODEL_FILE} answered no rates but {rates[:8]}")
        return rates


def _models(keras: Any, config: LstmConfig) -> tuple[Any, Any]:
    """Return two models that share their weights: windows to ratios, and windows to rates."""
    ops = keras.ops
    windows = keras.Input((config.window_steps,), name="windows")
    scale = ops.maximum(ops.mean(windows, axis=1, keepdims=True), MIN_SCALE_RPS)
    scaled = ops.expand_dims(windows / scale, -1)
    hidden = keras.layers.LSTM(config.units)(scaled - 1.0)
    raw = keras.layers.Dense(len(config.quantiles))(hidden)
    # 1.0, not 1: the exporter types a whole number as an integer and ONNX refuses the sum.
    first = raw[:, :1] + 1.0
    steps = [first, *(ops.softplus(raw[:, i : i + 1]) for i in range(1, len(config.quantiles)))]
    for i in range(1, len(steps)):
        steps[i] = steps[i - 1] + steps[i]
    ratios = ops.maximum(ops.concatenate(steps, axis=1), 0.0)
    return keras.Model(windows, ratios), keras.Model(windows, ratios * scale)


def _pinball(keras: Any, quantiles: tuple[float, ...]) -> Callable[[Any, Any], Any]:
    """The loss max(q e, (q - 1) e) with e = actual - forecast, summed over the quantiles q.

    Its least expectation lies at the quantile q (Koenker and Bassett 1978).
    """
    wanted = np.array(quantiles, dtype=np.float32)

    def loss(actual: Any, forecast: Any) -> Any:
        error = actual - forecast
        return keras.ops.sum(keras.ops.maximum(wanted * error, (wanted - 1) * error), axis=-1)

    return loss


def _keras() -> Any:
    # Keras reads its backend once, at its import. A forecaster this small gains nothing from a GPU.
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        import keras
    except ImportError as err:
        raise MissingToolError(
            f"training a forecaster needs Keras and JAX ({err}); run `make setup`"
        ) from err
    return keras


def _session(path: Path, card: ModelCard) -> Any:
    try:
        with path.open("rb") as stream:
            model = stream.read(MAX_MODEL_BYTES)
    except OSError as err:
        raise ArtifactError(f"{path} cannot be read: {err}; train the forecaster again") from err
    digest = hashlib.sha256(model).hexdigest()
    if digest != card.model_sha256:
        raise ArtifactError(
            f"{path} has the digest {digest[:12]}…, its card says {card.model_sha256[:12]}…; "
            "the artifact is broken, train or fetch it again"
        )
    try:
        import onnxruntime
    except ImportError as err:
        raise MissingToolError(f"forecasting needs ONNX Runtime ({err}); run `make setup`") from err
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except _runtime_errors() as err:
        raise ArtifactError(f"{path} is no model that ONNX Runtime can load: {err}") from err
    shape = session.get_inputs()[0].shape
    if len(shape) != 2 or shape[1] != card.config.window_steps:
        raise ArtifactError(
            f"{path} takes {shape}, its card says windows of {card.config.window_steps} steps"
        )
    return session


def _runtime_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions have no common base but ``Exception``."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = (getattr(state, name) for name in dir(state))
    ours = (k for k in kinds if isinstance(k, type) and issubclass(k, Exception))
    return (ValueError, RuntimeError, *ours)


if TYPE_CHECKING:
    _lstm: Forecaster = LstmForecaster(Path())
