"""A plan among what else could be had: the values behind its chart and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.insight import Insight
from penstock.domain import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The plans that nothing beats in accuracy and cost while they keep a latency [s]."""

    within_s: float
    front: Sequence[Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A plan that ran, and for which share of the time.

    ``loads_rps`` are the lowest and the highest load [req/s] that it was made for.
    """

    plan: Plan
    share: float
    loads_rps: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A plan, and what there was beside it.

    ``front`` are the plans that nothing beats under the SLO, ``faster`` the same under tighter
    latencies, ``others`` plans that are beaten, ``used`` what ran. ``how_sure`` says what is known
    of the plan's being the best, ``insight`` what explains it.
    """

    plan: Plan
    front: Sequence[Plan]
    others: Sequence[Plan] = ()
    how_sure: str = ""
    faster: Sequence[Level] = ()
    used: Sequence[Used] = ()
    insight: Insight | None = None
