"""The handler for models whose request is their input: tensors in, tensors out.

Requests are joined along the first axis, and the answer is cut the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.predictor.protocol import DTYPES, InputError, Tensors
from serving.predictor.session import DescribedSession, ModelError, TensorSpec

if TYPE_CHECKING:
    from serving.predictor.handlers import Handler


class TensorHandler:
    """Feeds a model exactly the tensors it names; every input and output has its rows first."""

    def __init__(self, session: DescribedSession, params: Mapping[str, Any]) -> None:
        self._session = session
        self._joins = all(spec.shape[:1] == (-1,) for spec in session.inputs)

    def decode(self, tensors: Tensors) -> Tensors:
        """Return the tensors the model wants, checked against what it says about them.

        Raises:
            InputError: one is missing, of another datatype or of another shape.
        """
        item = {spec.name: _checked(tensors, spec) for spec in self._session.inputs}
        rows = {len(array) for array in item.values()}
        if len(rows) > 1:
            raise InputError("inputs", f"must have the same number of rows, got {sorted(rows)}")
        return item

    def run(self, items: Sequence[Tensors]) -> list[Tensors]:
        """Return one answer per item; items whose rows differ in shape take a call of their own.

        Raises:
            ModelError: the model failed, or its answer does not have one row per row asked.
        """
        if not self._joins:
            return [answer for item in items for answer in self._call([item])]
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for index, item in enumerate(items):
            key = tuple(item[spec.name].shape[1:] for spec in self._session.inputs)
            groups.setdefault(key, []).append(index)
        answers: dict[int, Tensors] = {}
        for indices in groups.values():
            found = self._call([items[index] for index in indices])
            answers.update(zip(indices, found, strict=True))
        return [answers[index] for index in range(len(items))]

    def _call(self, items: Sequence[Tensors]) -> list[Tensors]:
        inputs = self._session.inputs
        names = [spec.name for spec in inputs]
        outputs = self._session.run({n: np.concatenate([item[n] for item in items]) for n in names})
        if len(items) == 1:
            return [dict(zip((spec.name for spec in self._session.outputs), outputs, strict=True))]
        rows = [len(item[names[0]]) for item in items]
        answers: list[dict[str, np.ndarray]] = [{} for _ in items]
        for spec, output in zip(self._session.outputs, outputs, strict=True):
            if output.ndim == 0 or len(output) != sum(rows):
                raise ModelError(
                    f"output {spec.name!r} has shape {output.shape} for {sum(rows)} rows; "
                    "a model that is batched must answer one row per row"
                )
            for answer, part in zip(answers, np.split(output, np.cumsum(rows)[:-1]), strict=True):
                answer[spec.name] = part
        return list(answers)


def _checked(tensors: Tensors, spec: TensorSpec) -> np.ndarray:
    path = f"inputs.{spec.name}"
    array = tensors.get(spec.name)
    if array is None:
        raise InputError(path, f"is missing; the request has {sorted(tensors)}")
    fits = array.ndim == len(spec.shape) and all(
        want in (-1, have) for want, have in zip(spec.shape, array.shape, strict=True)
    )
    if not fits or array.ndim == 0:
        raise InputError(path, f"must have shape {list(spec.shape)}, got {list(array.shape)}")
    wanted = np.dtype(DTYPES.get(spec.datatype, np.object_))
    if array.dtype != wanted:
        raise InputError(path, f"must be {spec.datatype}, got {array.dtype}")
    return array


if TYPE_CHECKING:
    _tensor: type[Handler] = TensorHandler
