"""Names the items on crops; passes on what the stage before said about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import ArtifactError
from serving.predictor.handlers.images import read_png
from serving.predictor.protocol import InputError, Tensors

if TYPE_CHECKING:
    from serving.predictor.handlers import Handler
    from serving.predictor.session import Session

_PASSED_ON = ("boxes", "scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyParams:
    """The ``params`` of a classifier's ``variant.json``.

    ``crop_px`` is the side of the square crops; a request may hold at most ``max_items`` of them;
    ``input`` is the name of the model's input.
    """

    crop_px: int
    max_items: int = 64
    input: str = "image"

    def __post_init__(self) -> None:
        if any(type(n) is not int or n < 1 for n in (self.crop_px, self.max_items)):
            raise ArtifactError(
                "classify params: crop_px and max_items must be whole numbers from 1, got "
                f"{self.crop_px!r} and {self.max_items!r}"
            )

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> ClassifyParams:
        """Read them from ``variant.json``.

        Raises:
            ArtifactError: one is missing, unknown or makes no sense.
        """
        try:
            return cls(**params)
        except TypeError as err:
            raise ArtifactError(f"classify params {sorted(params)} do not fit: {err}") from err


@dataclass(frozen=True, slots=True, kw_only=True)
class Crops:
    """The crops of one request, (k, h, w) uint8, and what travels along with them."""

    pixels: np.ndarray
    passed_on: Tensors


class ClassifyHandler:
    """``crops`` BYTES [k] → ``labels`` INT64 [k], ``probabilities`` FP32 [k].

    ``boxes`` and ``scores`` pass through when they are there. k may be 0.
    """

    def __init__(self, session: Session, params: Mapping[str, Any]) -> None:
        """Serve ``session`` with the ``params`` of its ``variant.json``.

        Raises:
            ArtifactError: the params do not fit.
        """
        self._session = session
        self._params = ClassifyParams.of(params)

    def decode(self, tensors: Tensors) -> Crops:
        """Return the crops of a request.

        Raises:
            InputError: no ``crops``, too many, one that is not a grey PNG of the model's size, or
                ``boxes`` or ``scores`` that do not match them in number.
        """
        crops = tensors.get("crops")
        if crops is None:
            raise InputError("inputs.crops", f"is missing; found {sorted(tensors)}")
        side, most = self._params.crop_px, self._params.max_items
        if crops.ndim != 1 or len(crops) > most:
            raise InputError(
                "inputs.crops", f"must have shape [k] with k <= {most}, got {list(crops.shape)}"
            )
        passed_on = {name: tensors[name] for name in _PASSED_ON if name in tensors}
        for name, tensor in passed_on.items():
            if tensor.ndim < 1 or len(tensor) != len(crops):
                raise InputError(
                    f"inputs.{name}",
                    f"has shape {list(tensor.shape)} beside {len(crops)} crops",
                )
        pixels = np.zeros((len(crops), side, side), dtype=np.uint8)
        for index, data in enumerate(crops):
            path = f"inputs.crops[{index}]"
            pixels[index] = read_png(data, path=path, size_px=(side, side))
        return Crops(pixels=pixels, passed_on=passed_on)

    def run(self, items: Sequence[Crops]) -> list[Tensors]:
        """Return label and probability of each crop; one model call, none when there is no crop.

        Raises:
            ModelError: the model failed.
        """
        if not items:
            return []
        counts = [len(item.pixels) for item in items]
        labels, probabilities = self._classify(np.concatenate([item.pixels for item in items]))
        ends = np.cumsum(counts)[:-1]
        return [
            {**item.passed_on, "labels": label, "probabilities": probability}
            for item, label, probability in zip(
                items, np.split(labels, ends), np.split(probabilities, ends), strict=True
            )
        ]

    def _classify(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(pixels):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        batch = pixels[..., None].astype(np.float32)
        shares = self._session.run({self._params.input: batch})[0]
        if shares.ndim != 2 or len(shares) != len(pixels):
            raise ArtifactError(
                f"the model's output has shape {shares.shape} for {len(pixels)} crops; "
                "a classifier gives (n, classes)"
            )
        labels = shares.argmax(axis=1).astype(np.int64)
        return labels, shares.max(axis=1).astype(np.float32)


if TYPE_CHECKING:
    _classify: type[Handler] = ClassifyHandler
