"""Held-out requests with their answers known: for profiles, accuracies and load.

A dataset is one gzipped file of JSON lines. The first line is a header (format, number of requests
and SHA-256 of the lines below), so that a file cut short or edited is found out; each further line
is one request: the body as it goes over the wire, and the true boxes and labels.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import ArtifactError, DomainError
from penstock.files import write_whole

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the canvas, x0 < x1 and y0 < y1."""

_FORMAT = "penstock-dataset/1"
_MOST_REQUESTS = 100_000
_MOST_BYTES = 1 << 30
_SHOWN_FAULTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRequest:
    """One request's body (Open Inference Protocol v2 JSON) and what a perfect answer would say.

    ``labels[i]`` is the class of the item in ``boxes[i]``.
    """

    body: bytes
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.body:
            raise DomainError("labelled request: the body is empty")
        if len(self.boxes) != len(self.labels):
            raise DomainError(
                f"labelled request: {len(self.boxes)} boxes but {len(self.labels)} labels"
            )
        for box in self.boxes:
            if not _is_box(box):
                raise DomainError(
                    f"labelled request: a box is four finite numbers x0 < x1, y0 < y1, got {box}"
                )
        for label in self.labels:
            if type(label) is not int or label < 0:
                raise DomainError(
                    f"labelled request: a label is a whole number from 0, got {label!r}"
                )


def write_dataset(path: Path, requests: Sequence[LabelledRequest]) -> None:
    """Write the requests; equal requests give equal bytes; the file appears only when whole.

    Raises:
        DomainError: no request, or more than a dataset may hold.
    """
    if not 1 <= len(requests) <= _MOST_REQUESTS:
        raise DomainError(
            f"dataset {path}: must hold 1 to {_MOST_REQUESTS} requests, got {len(requests)}"
        )
    lines = [_to_line(request) for request in requests]
    header = {"format": _FORMAT, "count": len(lines), "sha256": _digest(lines)}
    content = "\n".join([json.dumps(header), *lines]) + "\n"
    write_whole(path, gzip.compress(content.encode(), compresslevel=6, mtime=0))


def read_dataset(path: Path) -> tuple[LabelledRequest, ...]:
    """Read the requests of a dataset.

    Raises:
        ArtifactError: no such file, or not a whole dataset; the message lists what is wrong, by
            line.
    """
    lines = _read_lines(path)
    _check_header(path, lines)
    requests: list[LabelledRequest] = []
    faults: list[str] = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            requests.append(_of_line(line))
        except (DomainError, ValueError, RecursionError) as err:
            faults.append(f"line {number}: {err}")
    if faults:
        shown = "\n  ".join(faults[:_SHOWN_FAULTS])
        raise ArtifactError(f"{path} holds {len(faults)} bad requests\n  {shown}")
    return tuple(requests)


def _read_lines(path: Path) -> list[str]:
    try:
        with gzip.open(path) as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as err:
        raise ArtifactError(
            f"no dataset at {path}; the example's train.py writes one, see its README"
        ) from err
    except (OSError, EOFError, zlib.error) as err:
        raise ArtifactError(f"{path} is no gzip file that can be read: {err}") from err
    if len(content) > _MOST_BYTES:
        raise ArtifactError(f"{path} holds more than {_MOST_BYTES} bytes; write a smaller dataset")
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError as err:
        raise ArtifactError(f"{path} is not UTF-8 text: {err}") from err


def _check_header(path: Path, lines: Sequence[str]) -> None:
    try:
        header: Any = json.loads(lines[0]) if lines else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ArtifactError(f"{path} is no dataset: its first line must name format {_FORMAT!r}")
    found = len(lines) - 1
    if header.get("count") != found or not 1 <= found <= _MOST_REQUESTS:
        raise ArtifactError(
            f"{path} says it holds {header.get('count')!r} requests, found {found}; write it anew"
        )
    if header.get("sha256") != _digest(lines[1:]):
        raise ArtifactError(f"{path} does not match its own checksum; write it anew")


def _to_line(request: LabelledRequest) -> str:
    document = {
        "body": request.body.decode("ascii"),
        "boxes": request.boxes,
        "labels": request.labels,
    }
    return json.dumps(document, separators=(",", ":"))


def _of_line(line: str) -> LabelledRequest:
    document = json.loads(line)
    kinds = {"body": str, "boxes": list, "labels": list}
    good = isinstance(document, dict) and set(document) == set(kinds)
    if not good or not all(isinstance(document[key], kind) for key, kind in kinds.items()):
        raise ValueError("must be an object with exactly body (text), boxes and labels (lists)")
    if not all(isinstance(box, list) for box in document["boxes"]):
        raise ValueError("each of boxes must be a list of four numbers")
    return LabelledRequest(
        body=document["body"].encode("ascii"),
        boxes=tuple(tuple(box) for box in document["boxes"]),
        labels=tuple(document["labels"]),
    )


def _is_box(box: Sequence[Any]) -> bool:
    return (
        len(box) == 4
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in box)
        and all(math.isfinite(v) for v in box)
        and box[0] < box[2]
        and box[1] < box[3]
    )


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
