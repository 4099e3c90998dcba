"""What a trained forecaster is: its configuration, and the card that lies beside its weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from penstock.errors import ArtifactError, DomainError

MODEL_FILE = "forecaster.onnx"
CARD_FILE = "forecaster.json"
FORMAT = 1
MAX_CARD_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmConfig:
    """How an LSTM forecaster sees the load, and how it is trained.

    It sees ``window_steps`` steps of ``step_s`` and says how high the load is at most in the next
    ``horizon_steps`` (the defaults are IPA's: 12 maxima of 10 s, the next 20 s). A step is the
    ``aggregate`` of ``step_s * time_compression`` seconds of the history: with 10 a demo lives
    ten seconds of the trace in one. ``quantiles`` are the outputs; the one at ``point_quantile``
    is the point forecast. ``max_windows`` are drawn from the history, so that training takes
    seconds however long it is.
    """

    step_s: float = 10.0
    window_steps: int = 12
    horizon_steps: int = 2
    units: int = 25
    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 4e-3
    max_windows: int = 60_000
    seed: int = 7
    quantiles: tuple[float, ...] = (0.5, 0.9, 0.95, 0.99)
    point_quantile: float = 0.5
    time_compression: float = 1.0
    aggregate: Literal["max", "mean"] = "max"

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantiles", tuple(self.quantiles))
        counts = ("window_steps", "horizon_steps", "units", "epochs", "batch_size", "max_windows")
        faults = [
            f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}"
            for name in counts
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1
        ]
        faults += [
            f"{name} must be finite and above 0, got {getattr(self, name)}"
            for name in ("step_s", "learning_rate", "time_compression")
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0)
        ]
        if list(self.quantiles) != sorted(set(self.quantiles)) or not all(
            0 < q < 1 for q in self.quantiles
        ):
            faults.append(f"quantiles must rise within (0, 1), got {self.quantiles}")
        if self.point_quantile not in self.quantiles:
            faults.append(
                f"point_quantile must be among {self.quantiles}, got {self.point_quantile}"
            )
        if self.aggregate not in {"max", "mean"}:
            faults.append(f"aggregate must be 'max' or 'mean', got {self.aggregate!r}")
        if faults:
            raise DomainError("LSTM configuration: " + "; ".join(faults))

    @property
    def horizon_s(self) -> float:
        """Seconds a forecast reaches ahead."""
        return self.step_s * self.horizon_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Where a forecaster comes from and how good it was, beside its weights as ``forecaster.json``.

    ``model_sha256`` is the digest of ``forecaster.onnx``. The history's first ``trained_until_s``
    seconds were trained on, ``windows`` windows of them; ``scores`` hold for the rest
    (``Score.to_dict`` for the LSTM and for what it must beat).
    """

    config: LstmConfig
    source: str
    data_sha256: str
    trained_until_s: float
    history_s: float
    windows: int
    final_loss: float
    model_sha256: str = ""
    seconds: float = 0.0
    scores: tuple[Mapping[str, Any], ...] = field(default=())

    def to_json(self) -> str:
        """Return the text of ``forecaster.json``."""
        fields = {"format": FORMAT, **asdict(self), "scores": [dict(s) for s in self.scores]}
        return json.dumps(fields, indent=2, sort_keys=True) + "\n"

    @staticmethod
    def read(folder: Path) -> ModelCard:
        """Return the card of an artifact.

        Raises:
            ArtifactError: there is none, or it is no card of this format.
        """
        path = folder / CARD_FILE
        try:
            with path.open("rb") as stream:
                fields = json.loads(stream.read(MAX_CARD_BYTES))
            if fields.pop("format") != FORMAT:
                raise ArtifactError(f"{path}: not of format {FORMAT}; train the forecaster again")
            config = LstmConfig(**fields.pop("config"))
            return ModelCard(**fields | {"config": config, "scores": tuple(fields["scores"])})
        except OSError as err:
            raise ArtifactError(
                f"{path} cannot be read ({err}); `penstock train` writes a forecaster"
            ) from err
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
            raise ArtifactError(f"{path} is no card of a forecaster: {err!r}") from err
