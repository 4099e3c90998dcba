"""A pipeline's share of a fleet's budget, as a small document of its own.

It lies beside the pipeline's plan, or beside its document, and is one more limit: a tick that has
one never takes more, so that ticks which know nothing of each other stay within the budget. As a
part of what others need too, it is not given up when a load is too high.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from penstock.document import (
    API_VERSION,
    Name,
    Positive,
    WholeDocument,
    load_mapping,
    read_text,
    shape_faults,
)
from penstock.domain import Pipeline
from penstock.errors import DomainError, SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one pipeline may cost: in cores, or in money per hour; exactly one of the two."""

    fleet: str
    pipeline: str
    max_cores: float | None = None
    max_cost_per_hour: float | None = None

    def __post_init__(self) -> None:
        if (self.max_cores is None) == (self.max_cost_per_hour is None):
            raise DomainError(
                f"the share of {self.pipeline!r} needs max_cores or max_cost_per_hour, and not both"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A pipeline with its share as a limit.

    ``cost_ceiling`` is what ``max_cost_per_hour`` may rise to when it is given up; ``None`` is
    whatever it takes.
    """

    pipeline: Pipeline
    cost_ceiling: float | None = None


class _ShareDocument(WholeDocument):
    kind: Literal["Share"]
    fleet: Name
    pipeline: Name
    max_cores: Positive | None = None
    max_cost_per_hour: Positive | None = None


def read_share(path: Path) -> Share:
    """Read a share.

    Raises:
        SpecError: the file can't be read or has faults; all of them.
    """
    document = load_mapping(read_text(path), source=str(path))
    try:
        parsed = _ShareDocument.model_validate(document)
    except ValidationError as err:
        raise SpecError(str(path), shape_faults(err)) from err
    try:
        return Share(
            fleet=parsed.fleet,
            pipeline=parsed.pipeline,
            max_cores=parsed.max_cores,
            max_cost_per_hour=parsed.max_cost_per_hour,
        )
    except DomainError as err:
        raise SpecError(str(path), [str(err)]) from err


def format_share(share: Share) -> str:
    """Write a share as JSON text that ``read_share`` reads back to an equal value."""
    known = {
        "apiVersion": API_VERSION,
        "kind": "Share",
        "fleet": share.fleet,
        "pipeline": share.pipeline,
        "max_cores": share.max_cores,
        "max_cost_per_hour": share.max_cost_per_hour,
    }
    return json.dumps({k: v for k, v in known.items() if v is not None}, indent=2) + "\n"


def hold(pipeline: Pipeline, share: Share) -> Held:
    """Return the pipeline within its share; its own limits stay where they are tighter.

    Raises:
        DomainError: the share is another pipeline's, or is money and the pipeline has no prices.
    """
    if share.pipeline != pipeline.name:
        raise DomainError(f"the share of {share.pipeline!r} is no limit for {pipeline.name!r}")
    if share.max_cores is not None:
        cores = min(share.max_cores, pipeline.max_cores or share.max_cores)
        return Held(pipeline=replace(pipeline, max_cores=cores))
    if pipeline.prices is None:
        raise DomainError(
            f"the share of {pipeline.name!r} in fleet {share.fleet!r} is money, and the pipeline "
            "has no prices any more: run `penstock fleet` again, or remove its share.json"
        )
    ceiling = share.max_cost_per_hour
    assert ceiling is not None, "one of the two is there"
    budget = min(ceiling, pipeline.max_cost_per_hour or ceiling)
    return Held(pipeline=replace(pipeline, max_cost_per_hour=budget), cost_ceiling=ceiling)
