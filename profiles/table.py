"""Profile tables as JSON files: strict on the way in, the same bytes for the same table.

A file is an object with ``apiVersion``, ``kind: ProfileTable``, ``profiles`` and ``joint_accuracy``
(a list of ``{"variants": [...], "accuracy": x}``); field names are those of ``penstock.domain``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from penstock.domain import Profile, ProfilePoint, ProfileTable
from penstock.errors import DomainError, ProfileError, SpecError
from penstock.files import write_whole

MAX_BYTES = 64 * 2**20

Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=0, le=10**9, strict=True)]
Name = Annotated[str, StringConstraints(min_length=1, strict=True)]


def _as_quantile(key: str) -> str:
    try:
        number = float(key)
    except ValueError:
        number = math.nan
    if not 0 < number < 1 or repr(number) != key:
        raise ValueError(f"must be a quantile between 0 and 1, such as 0.99, got {key!r}")
    return key


Quantile = Annotated[str, AfterValidator(_as_quantile)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# Each document is turned into its domain value while it is checked, so that the domain's own
# findings (a DomainError is a ValueError) are reported with their path and beside all others.
class _PointDocument(_Document):
    batch_size: Count
    cpu_cores: Number
    latency_s: Mapping[Quantile, Number]
    throughput_rps: Number
    samples: Count = 0

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        self.point()
        return self

    def point(self) -> ProfilePoint:
        latency_s = {float(q): value for q, value in self.latency_s.items()}
        return ProfilePoint(**{**dict(self), "latency_s": latency_s})


class _ProfileDocument(_Document):
    stage: Name
    variant: Name
    points: tuple[_PointDocument, ...]
    accuracy: Number
    load_time_s: NotNegative = 0.0
    memory_mib: NotNegative = 0.0
    provenance: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        self.profile()
        return self

    def profile(self) -> Profile:
        return Profile(**{**dict(self), "points": tuple(p.point() for p in self.points)})


class _JointDocument(_Document):
    variants: Annotated[tuple[Name, ...], Field(min_length=1)]
    accuracy: Number


class _TableDocument(_Document):
    apiVersion: Literal["penstock.dev/v1"]  # noqa: N815 - Kubernetes spells it so
    kind: Literal["ProfileTable"]
    profiles: tuple[_ProfileDocument, ...]
    joint_accuracy: tuple[_JointDocument, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if len({j.variants for j in self.joint_accuracy}) < len(self.joint_accuracy):
            raise DomainError("joint_accuracy names a combination more than once")
        self.table()
        return self

    def table(self) -> ProfileTable:
        return ProfileTable(
            profiles=tuple(p.profile() for p in self.profiles),
            joint_accuracy={j.variants: j.accuracy for j in self.joint_accuracy},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overstatement:
    """The measured accuracy of one combination of variants beside the product of its stages'."""

    variants: tuple[str, ...]
    measured: float
    product: float

    @property
    def share(self) -> float:
        """How far the product overstates the measured accuracy, as a share of the latter."""
        return math.inf if self.measured == 0 else self.product / self.measured - 1


def save(table: ProfileTable, path: Path) -> None:
    """Write a table so that the file appears whole.

    Raises:
        ProfileError: the file can't be written.
    """
    write_text(path, render(table))


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, and so that it outlives a power cut.

    Raises:
        ProfileError: the file can't be written.
    """
    try:
        write_whole(path, text, durable=True)
    except OSError as err:
        raise ProfileError(f"{path} can't be written: {err}") from err


def load(path: Path) -> ProfileTable:
    """Read a table.

    Raises:
        ProfileError: there is no such file, or it can't be read.
        SpecError: with every fault of the document.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProfileError(f"{path} is larger than {MAX_BYTES} bytes: is it a profile table?")
        data = path.read_bytes()
    except OSError as err:
        raise ProfileError(
            f"profiles {path} can't be read ({err.strerror}): run `penstock profile` first"
        ) from err
    return parse(data, source=str(path))


def render(table: ProfileTable) -> str:
    """Return a table as JSON text; equal tables give equal text."""
    joint = [
        {"variants": list(names), "accuracy": value}
        for names, value in sorted(table.joint_accuracy.items())
    ]
    document = {
        "apiVersion": "penstock.dev/v1",
        "kind": "ProfileTable",
        "profiles": [_profile_document(p) for p in table.profiles],
        "joint_accuracy": joint,
    }
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


def parse(data: bytes | str, *, source: str) -> ProfileTable:
    """Return the table that a JSON text describes; ``source`` names it in errors.

    Raises:
        SpecError: with every fault, each with its path.
    """
    try:
        document = json.loads(
            data, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeats
        )
    except (ValueError, RecursionError) as err:
        raise SpecError(source, [f"is not JSON: {err}"]) from err
    try:
        return _TableDocument.model_validate(document).table()
    except ValidationError as err:
        raise SpecError(
            source, [_fault(e["loc"], e["type"], e["msg"]) for e in err.errors()]
        ) from err


def merge(tables: Iterable[ProfileTable]) -> ProfileTable:
    """Return one table of several: for a stage's variant, or a combination, the last one counts."""
    profiles: dict[tuple[str, str], Profile] = {}
    joint: dict[tuple[str, ...], float] = {}
    for table in tables:
        profiles.update({(p.stage, p.variant): p for p in table.profiles})
        joint.update(table.joint_accuracy)
    return ProfileTable(profiles=tuple(profiles.values()), joint_accuracy=joint)


def overstatements(table: ProfileTable, stages: Sequence[str]) -> tuple[Overstatement, ...]:
    """Return each measured combination beside the product of its stages' accuracies.

    Raises:
        ProfileError: a combination names a variant that has no profile.
    """
    rows = []
    for names, measured in sorted(table.joint_accuracy.items()):
        found = [table.find(s, v) for s, v in zip(stages, names, strict=False)]
        accuracies = [p.accuracy for p in found if p is not None]
        if len(accuracies) != len(stages) or len(names) != len(stages):
            raise ProfileError(
                f"joint accuracy of {'+'.join(names)} does not fit the stages "
                f"{', '.join(stages)} and their profiles: profile the pipeline again"
            )
        rows.append(Overstatement(variants=names, measured=measured, product=math.prod(accuracies)))
    return tuple(rows)


def _profile_document(profile: Profile) -> dict[str, Any]:
    return {
        "stage": profile.stage,
        "variant": profile.variant,
        "accuracy": profile.accuracy,
        "load_time_s": profile.load_time_s,
        "memory_mib": profile.memory_mib,
        "points": [_point_document(p) for p in profile.points],
        "provenance": dict(profile.provenance),
    }


def _point_document(point: ProfilePoint) -> dict[str, Any]:
    return {
        "batch_size": point.batch_size,
        "cpu_cores": point.cpu_cores,
        "latency_s": {repr(q): value for q, value in point.latency_s.items()},
        "throughput_rps": point.throughput_rps,
        "samples": point.samples,
    }


_WORDS = {"missing": "is missing", "extra_forbidden": "no such key"}


def _fault(location: tuple[int | str, ...], kind: str, message: str) -> str:
    parts = [part for part in location if part != "[key]"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    said = _WORDS.get(kind, message.removeprefix("Value error, "))
    return f"{path.lstrip('.') or 'document'}: {said}"


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"given twice in one object: {', '.join(twice)}")
    return found
