"""What all documents have in common: YAML text in, every fault with its path out.

Types and bounds stand in pydantic models that derive from ``Document``; what makes sense between
fields is each document's own business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from penstock.errors import SpecError
from penstock.strict_yaml import StrictLoader

API_VERSION = "penstock.dev/v1"
MAX_BYTES = 1_000_000
"""A document is written by hand; a megabyte is a mistake or an attack."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=50)]
"""Names become parts of Kubernetes names, so they follow the strictest rule, KServe's."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class Document(BaseModel):
    """A mapping of a document: no key but those declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WholeDocument(Document):
    """The outermost mapping of a document: it says first in which version it is written."""

    apiVersion: Literal["penstock.dev/v1"]  # noqa: N815 - Kubernetes spells it so


def read_text(path: Path) -> str:
    """Return a document's text.

    Raises:
        SpecError: the file can't be read, is too large or is not UTF-8 text.
    """
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise SpecError(str(path), [f"can't be read: {err.strerror or err}"]) from err
    if len(raw) > MAX_BYTES:
        raise SpecError(str(path), [f"has {len(raw)} bytes, at most {MAX_BYTES} are read"])
    try:
        return raw.decode()
    except UnicodeDecodeError as err:
        raise SpecError(str(path), [f"is not UTF-8 text: {err}"]) from err


def load_mapping(text: str, *, source: str) -> Mapping[str, Any]:
    """Return the mapping that YAML text holds.

    Raises:
        SpecError: it is not YAML, or no mapping.
    """
    try:
        document = yaml.load(text, Loader=StrictLoader)
    except yaml.YAMLError as err:
        raise SpecError(source, [f"is not YAML: {_one_line(err)}"]) from err
    if not isinstance(document, Mapping):
        raise SpecError(source, [f"must be a mapping, got {type(document).__name__}"])
    return document


def shape_faults(err: ValidationError) -> list[str]:
    """Put pydantic's findings in our words: ``path: what must be, what was got``."""
    errors = err.errors()
    inner = [e["loc"] for e in errors]
    return [
        f"{_path(e['loc'])}: {_words(e['type'], e['msg'])}{_got(e['type'], e.get('input'))}"
        for e in errors
        # a list whose every entry is faulty is also called too short: that would lead astray
        if not any(len(loc) > len(e["loc"]) and loc[: len(e["loc"])] == e["loc"] for loc in inner)
    ]


def _path(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.lstrip(".") or "document"


def _words(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "no such key"
    if kind == "missing":
        return "is missing"
    message = message[0].lower() + message[1:]
    message = message.removeprefix("value error, ")
    return re.sub(r"^(input|value|string|tuple) should ", "must ", message)


def _got(kind: str, found: object) -> str:
    if kind in {"missing", "extra_forbidden"} or isinstance(found, Mapping | list):
        return ""
    return f", got {found!r}"[:120]


def _one_line(err: yaml.YAMLError) -> str:
    return " ".join(str(err).split())
