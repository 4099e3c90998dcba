"""The fleet document: pipelines that share one budget.

::

    apiVersion: penstock.dev/v1
    kind: Fleet
    metadata: {name: examples}
    spec:
      max_cores: 2.0                        # or max_cost_per_hour, where all pipelines have prices
      pipelines:
        - {document: digits/pipeline.yaml, priority: 2.0, load_rps: 10}

A ``document`` is a path from the fleet's own file. What one budget cannot weigh against another is
refused here, beside every other fault of the fleet and of its pipelines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from penstock.checks import positive
from penstock.document import (
    Document,
    Name,
    NotNegative,
    Positive,
    WholeDocument,
    load_mapping,
    read_text,
    shape_faults,
)
from penstock.domain import Goal, LatencyModel, Pipeline
from penstock.errors import DomainError, SpecError
from penstock.spec import read_pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMember:
    """A pipeline of a fleet, with its document.

    Its objective counts ``priority`` times against the others'; ``load_rps`` is the load to plan
    for unless another is named.
    """

    pipeline: Pipeline
    document: Path
    priority: float = 1.0
    load_rps: float | None = None

    def __post_init__(self) -> None:
        positive(f"pipeline {self.pipeline.name!r}: priority", self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Pipelines under one budget, in cores or in money per hour: exactly one of the two."""

    name: str
    members: tuple[FleetMember, ...]
    max_cores: float | None = None
    max_cost_per_hour: float | None = None

    def __post_init__(self) -> None:
        faults = [*_limit_faults(self.max_cores, self.max_cost_per_hour)]
        pipelines = [member.pipeline for member in self.members]
        faults += _member_faults(pipelines, in_money=self.max_cost_per_hour is not None)
        if faults:
            raise DomainError(f"fleet {self.name!r}: {'; '.join(faults)}")

    @property
    def budget(self) -> float:
        """The budget, in the fleet's unit of cost."""
        limit = self.max_cores if self.max_cost_per_hour is None else self.max_cost_per_hour
        assert limit is not None, "one of them is there"
        return limit


class _Metadata(Document):
    name: Name


class _Member(Document):
    document: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    priority: Positive = 1.0
    load_rps: NotNegative | None = None


class _Spec(Document):
    max_cores: Positive | None = None
    max_cost_per_hour: Positive | None = None
    pipelines: Annotated[tuple[_Member, ...], Field(min_length=1, max_length=1000)]


class _FleetDocument(WholeDocument):
    kind: Literal["Fleet"]
    metadata: _Metadata
    spec: _Spec


def read_fleet(path: Path) -> Fleet:
    """Read a fleet and the documents of its pipelines.

    Raises:
        SpecError: a file can't be read or has faults; all of all files, with their paths.
    """
    document = load_mapping(read_text(path), source=str(path))
    try:
        parsed = _FleetDocument.model_validate(document)
    except ValidationError as err:
        raise SpecError(str(path), shape_faults(err)) from err
    spec = parsed.spec
    faults = [f"spec: {fault}" for fault in _limit_faults(spec.max_cores, spec.max_cost_per_hour)]
    members: list[FleetMember] = []
    for i, member in enumerate(spec.pipelines):
        place = path.parent / member.document
        try:
            pipeline = read_pipeline(place)
        except SpecError as err:
            faults += [f"spec.pipelines[{i}].document: {place}: {fault}" for fault in err.faults]
            continue
        members.append(
            FleetMember(
                pipeline=pipeline,
                document=place,
                priority=member.priority,
                load_rps=member.load_rps,
            )
        )
    pipelines = [member.pipeline for member in members]
    faults += _member_faults(pipelines, in_money=spec.max_cost_per_hour is not None)
    if faults:
        raise SpecError(str(path), faults)
    return Fleet(
        name=parsed.metadata.name,
        members=tuple(members),
        max_cores=spec.max_cores,
        max_cost_per_hour=spec.max_cost_per_hour,
    )


def _limit_faults(max_cores: float | None, max_cost_per_hour: float | None) -> Iterator[str]:
    if (max_cores is None) == (max_cost_per_hour is None):
        yield "needs max_cores or max_cost_per_hour, and not both"


def _member_faults(pipelines: Sequence[Pipeline], *, in_money: bool) -> list[str]:
    """Return what keeps pipelines from being weighed against each other."""
    names = [pipeline.name for pipeline in pipelines]
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    faults = [f"two pipelines are called {name!r}" for name in twice]
    for pipeline in pipelines:
        what = f"pipeline {pipeline.name!r}"
        if in_money and pipeline.prices is None:
            faults.append(f"{what}: has no prices, and the budget is money: give it spec.prices")
        if not in_money and pipeline.prices is not None:
            faults.append(f"{what}: has prices, and the budget is cores: use max_cost_per_hour")
        if pipeline.objective.goal is not Goal.WEIGHTED:
            faults.append(
                f"{what}: spec.objective.goal is {pipeline.objective.goal}, and a fleet adds "
                "objectives up: use weighted"
            )
        if pipeline.slo.latency_model is not LatencyModel.SUM:
            faults.append(
                f"{what}: spec.slo.latency_model is {pipeline.slo.latency_model}, and a fleet "
                "knows sum-of-quantiles only"
            )
    return faults
