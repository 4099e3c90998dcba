"""What could be had instead of a plan: a few exact solves around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from components.pages.choice import Choice, Level, Used
from optimizer.insight import Insight, explain_plan
from optimizer.trade_off import cheapest_each, trade_off
from penstock.errors import UserError

if TYPE_CHECKING:
    from optimizer.solvers import Solver
    from penstock.domain import Pipeline, Plan, ProfileTable

FASTER = (0.5, 0.25)
"""Shares of the SLO under which the front is drawn once more: its third dimension."""
LEVEL_POINTS = 8
FRONT_LIMIT_S = 5.0
"""For all solves of one front together."""
SOLVE_LIMIT_S = 2.0
"""For each solve of the explanation, which needs one per stage and a few more."""
MOST_EXPLAINED = 24
"""Stages of a pipeline whose plan is explained here; of larger ones ``penstock explain`` tells."""


def alternatives(
    plan: Plan,
    pipeline: Pipeline,
    table: ProfileTable,
    *,
    solver: Solver,
    used: Sequence[Used] = (),
    how_sure: str = "",
) -> Choice:
    """Return a plan with what could be had for its load instead, and what explains it.

    Raises:
        UserError: the plan is not one of this pipeline.
        ProfileError: profiles are missing.
    """
    _require_fit(plan, pipeline)
    asked = (table, plan.load_rps)
    slo, limit_s = pipeline.slo, FRONT_LIMIT_S
    tighter = [replace(slo, latency_s=share * slo.latency_s) for share in FASTER]
    faster = [
        Level(
            within_s=one.latency_s,
            front=trade_off(
                replace(pipeline, slo=one),
                *asked,
                solver=solver,
                points=LEVEL_POINTS,
                time_limit_s=limit_s,
            ),
        )
        for one in tighter
    ]
    return Choice(
        plan=plan,
        front=trade_off(pipeline, *asked, solver=solver, time_limit_s=limit_s),
        others=cheapest_each(pipeline, *asked, solver=solver, time_limit_s=limit_s),
        faster=tuple(level for level in faster if level.front),
        used=tuple(used),
        insight=_explained(pipeline, *asked, solver=solver),
        how_sure=how_sure,
    )


def _explained(
    pipeline: Pipeline, table: ProfileTable, load_rps: float, *, solver: Solver
) -> Insight | None:
    if len(pipeline.stages) > MOST_EXPLAINED:
        return None
    return explain_plan(pipeline, table, load_rps, solver=solver, time_limit_s=SOLVE_LIMIT_S)


def _require_fit(plan: Plan, pipeline: Pipeline) -> None:
    asked = [(o.stage, o.variant) for o in plan.stages]
    known = {(s.name, v.name) for s in pipeline.stages for v in s.variants}
    names = [stage.name for stage in pipeline.stages]
    strange = ["/".join(pair) for pair in asked if pair not in known]
    if plan.pipeline != pipeline.name or [stage for stage, _ in asked] != names or strange:
        raise UserError(
            f"the plan is not one of this document: it is of pipeline {plan.pipeline!r} with "
            f"{', '.join('/'.join(pair) for pair in asked)}; the document is of "
            f"{pipeline.name!r} with stages {', '.join(names)}; plan with this document first"
        )
