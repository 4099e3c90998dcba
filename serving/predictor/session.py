"""The only door to ONNX Runtime: a model file becomes a :class:`Session`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from penstock.errors import ArtifactError, PenstockError

if TYPE_CHECKING:
    import numpy as np

_ONNX_DATATYPES: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class ModelError(PenstockError):
    """The model failed on input that had passed every check: the server answers 500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, datatype and shape of a model's input or output.

    ``datatype`` is the protocol's word, empty when it has none; -1 in ``shape`` is any size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


class Session(Protocol):
    """A loaded model. ``run`` may be called from one thread at a time."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the model's outputs in their order.

        Raises:
            ModelError: the model refused the inputs or failed on them.
        """
        ...


class DescribedSession(Session, Protocol):
    """A session that also knows what its model takes and gives."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs in their order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs in their order."""
        ...


class OnnxSession:
    """A model in ONNX Runtime on the CPU."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Load ``path`` for ``threads`` threads inside one call.

        The threads do not spin between calls: a spinning thread would eat the share of the replica
        beside it.

        Raises:
            ArtifactError: no such file, or not a model that this runtime can load.
        """
        # A replica waits for this import of about 0.1 s; whoever only reads types must not.
        import onnxruntime

        if not path.is_file():
            raise ArtifactError(f"no model at {path}; expected an ONNX file there")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._failures = _failures(onnxruntime)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except self._failures as err:
            raise ArtifactError(f"{path} is no model that ONNX Runtime can load: {err}") from err
        self._inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self._outputs = tuple(_spec(node) for node in self._session.get_outputs())

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs in their order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs in their order."""
        return self._outputs

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the model's outputs in their order.

        Raises:
            ModelError: the model refused the inputs or failed on them.
        """
        try:
            answers: list[np.ndarray] = self._session.run(None, dict(inputs))
        except self._failures as err:
            raise ModelError(f"the model failed: {err}") from err
        return answers


def _failures(runtime: Any) -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises; its classes share no base but Exception."""
    state = runtime.capi.onnxruntime_pybind11_state
    found = [getattr(state, name) for name in dir(state)]
    own = [one for one in found if isinstance(one, type) and issubclass(one, Exception)]
    return (*own, ValueError, RuntimeError)


def _spec(node: Any) -> TensorSpec:
    shape: Sequence[Any] = node.shape
    return TensorSpec(
        name=node.name,
        datatype=_ONNX_DATATYPES.get(node.type, ""),
        shape=tuple(n if isinstance(n, int) else -1 for n in shape),
    )


if TYPE_CHECKING:
    _onnx: type[DescribedSession] = OnnxSession
