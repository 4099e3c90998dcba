"""The Open Inference Protocol v2 as JSON: bytes on the wire ↔ named arrays.

A document carries its tensors under ``inputs`` (a request) or ``outputs`` (an answer). Both are
read the same way, so that one stage's answer is the next stage's request and an InferenceGraph's
``$response`` needs no glue. After an Ensemble the document holds one answer per step: its tensors
are read as ``<step>.<tensor>``. BYTES tensors travel as base64 text with
``parameters.content_type = "base64"``. Whatever a client sends ends as arrays no larger than the
body that carried them, or as an :class:`InputError` that names the field.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.errors import UserError
from penstock.graph import MAX_DEPTH

Tensors = Mapping[str, np.ndarray]
"""Arrays by tensor name; a BYTES tensor is an object array of ``bytes``."""

DTYPES: Mapping[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
"""The protocol's datatypes and the array types that hold them."""

_DATATYPES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
_MAX_DIMENSIONS = 32


class InputError(UserError):
    """A request that cannot be answered as it is, and the path of the field to blame.

    ``path`` reads like ``inputs[0].data`` or, once tensors have names, like ``inputs.image``; it
    may be empty when the whole body is at fault.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}" if path else problem)


class AnswerError(ValueError):
    """An answer of a model that the protocol cannot carry: a defect of the model or its handler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One request or one answer: its tensors and the caller's ``id`` (empty without one)."""

    tensors: Tensors
    id: str = ""


def decode(body: bytes) -> Message:
    """Read a request, or the answer of the stage before.

    Raises:
        InputError: the body is no such document; the message carries the path of the first bad
            field.
    """
    document = _parse(body)
    if _is_merged(document):
        return Message(tensors=_merged_tensors(document, ""))
    identity = document.get("id", "")
    tensors = _tensors(document, "")
    if not isinstance(identity, str):
        raise InputError("id", f"must be a text, got {_kind(identity)}")
    return Message(tensors=tensors, id=identity)


def encode_request(tensors: Tensors, *, identity: str = "") -> bytes:
    """Write a request with these tensors.

    Raises:
        AnswerError: an array that no datatype of the protocol can carry.
    """
    document: dict[str, Any] = {"id": identity} if identity else {}
    document["inputs"] = [_encode_tensor(name, array) for name, array in tensors.items()]
    return json.dumps(document, separators=(",", ":")).encode()


def encode_answer(tensors: Tensors, *, model: str, identity: str = "") -> bytes:
    """Write the answer of ``model``.

    Raises:
        AnswerError: an array that no datatype of the protocol can carry, or numbers that are not
            finite.
    """
    document: dict[str, Any] = {"model_name": model, "id": identity}
    document["outputs"] = [_encode_tensor(name, array) for name, array in tensors.items()]
    return json.dumps(document, separators=(",", ":")).encode()


def datatype_of(array: np.ndarray) -> str:
    """Return the protocol's name for an array's type.

    Raises:
        AnswerError: there is none.
    """
    name = _DATATYPES.get(array.dtype)
    if name is None:
        raise AnswerError(
            f"no datatype of the protocol holds {array.dtype}; use one of {[*DTYPES]}"
        )
    return name


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as err:
        raise InputError("", f"the body is not JSON: {err}") from err
    if not isinstance(document, dict):
        raise InputError("", f"the body must be a JSON object, got {_kind(document)}")
    return document


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _is_merged(document: Mapping[str, Any], *, depth: int = MAX_DEPTH) -> bool:
    """Whether this is what an Ensemble answers: an answer under the name of each step."""
    return bool(document and depth) and all(
        isinstance(one, dict)
        and (isinstance(one.get("outputs"), list) or _is_merged(one, depth=depth - 1))
        for one in document.values()
    )


def _merged_tensors(document: Mapping[str, Any], within: str) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for step, answer in document.items():
        place = f"{within}{step}."
        read = _tensors if isinstance(answer.get("outputs"), list) else _merged_tensors
        found = read(answer, place)
        tensors |= {f"{step}.{name}": array for name, array in found.items()}
    return tensors


def _tensors(document: Mapping[str, Any], within: str) -> dict[str, np.ndarray]:
    entries, key = _entries(document)
    tensors: dict[str, np.ndarray] = {}
    for index, entry in enumerate(entries):
        path = f"{within}{key}[{index}]"
        if not isinstance(entry, dict):
            raise InputError(path, f"must be an object, got {_kind(entry)}")
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise InputError(f"{path}.name", "must be a text that is not empty")
        if name in tensors:
            raise InputError(f"{path}.name", f"{name!r} is there twice")
        tensors[name] = _decode_tensor(entry, path)
    return tensors


def _entries(document: Mapping[str, Any]) -> tuple[Sequence[Any], str]:
    key = "inputs" if "inputs" in document else "outputs"
    entries = document.get(key)
    if not isinstance(entries, list) or not entries:
        raise InputError("inputs", "must be a list of at least one tensor (or pass `outputs`)")
    return entries, key


def _decode_tensor(entry: Mapping[str, Any], path: str) -> np.ndarray:
    datatype = entry.get("datatype")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise InputError(f"{path}.datatype", f"must be one of {', '.join(DTYPES)}")
    shape = _shape(entry.get("shape"), path)
    if "data" not in entry:
        raise InputError(f"{path}.data", "is missing")
    data = entry["data"]
    array = (
        _decode_bytes(data, entry, path)
        if datatype == "BYTES"
        else _decode_numbers(data, datatype, path)
    )
    if array.size != math.prod(shape):
        raise InputError(
            f"{path}.data",
            f"has {array.size} elements, but shape {list(shape)} needs {math.prod(shape)}",
        )
    try:
        return array.reshape(shape)
    except ValueError as err:
        # An empty tensor may claim [0, 10^30]: no element is missing, yet no array has that shape.
        raise InputError(f"{path}.shape", f"is too large: {err}") from err


def _shape(value: Any, path: str) -> tuple[int, ...]:
    good = isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
    if not good or len(value) > _MAX_DIMENSIONS:
        raise InputError(
            f"{path}.shape", f"must be a list of at most {_MAX_DIMENSIONS} whole numbers from 0"
        )
    return tuple(value)


def _decode_numbers(data: Any, datatype: str, path: str) -> np.ndarray:
    if not isinstance(data, list):
        raise InputError(f"{path}.data", f"must be a list, got {_kind(data)}")
    dtype = np.dtype(DTYPES[datatype])
    try:
        found = np.array(data) if data else np.empty(0, dtype)
    except (ValueError, OverflowError) as err:
        raise InputError(f"{path}.data", "must be numbers, flat or nested evenly") from err
    if found.size == 0:
        return np.empty(0, dtype)
    allowed = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[dtype.kind]
    if found.dtype.kind not in allowed:
        raise InputError(f"{path}.data", f"must be {datatype} numbers, flat or nested evenly")
    with np.errstate(over="ignore", invalid="ignore"):
        array = found.astype(dtype)
    whole = dtype.kind in "iu" and not np.array_equal(array, found)
    if whole or (dtype.kind == "f" and not np.isfinite(array).all()):
        raise InputError(f"{path}.data", f"holds a number outside the range of {datatype}")
    return array.reshape(-1)


def _decode_bytes(data: Any, entry: Mapping[str, Any], path: str) -> np.ndarray:
    if not isinstance(data, list):
        raise InputError(f"{path}.data", f"must be a list of texts, got {_kind(data)}")
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InputError(f"{path}.parameters", f"must be an object, got {_kind(parameters)}")
    is_base64 = parameters.get("content_type") == "base64"
    array = np.empty(len(data), dtype=object)
    for index, text in enumerate(data):
        if not isinstance(text, str):
            raise InputError(f"{path}.data[{index}]", f"must be a text, got {_kind(text)}")
        try:
            array[index] = base64.b64decode(text, validate=True) if is_base64 else text.encode()
        except (binascii.Error, ValueError) as err:
            raise InputError(f"{path}.data[{index}]", f"is not base64: {err}") from err
    return array


def _encode_tensor(name: str, array: np.ndarray) -> dict[str, Any]:
    datatype = datatype_of(array)
    entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    if datatype == "BYTES":
        entry["parameters"] = {"content_type": "base64"}
        entry["data"] = [base64.b64encode(item).decode("ascii") for item in array.reshape(-1)]
        return entry
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise AnswerError(f"tensor {name!r} holds numbers that are not finite")
    entry["data"] = array.reshape(-1).tolist()
    return entry


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return "null" if value is None else names.get(type(value), "a number")
