"""What is given up, rung by rung, when a load cannot be served as asked; never an exception.

1. as asked, with the wanted accuracy (``objective.accuracy_target``);
2. the accuracy, down to the declared floor, which no rung goes below;
3. the money (``max_cost_per_hour``); ``max_cores`` stays, because cores that are not there cannot
   be had;
4. the load: what is above the highest that can be served is shed, and how much is stated;
5. the SLO: when not even no load keeps it, the fastest plan there is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.plan import solve_plan
from optimizer.verify import evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optimizer.plan import Outcome
    from optimizer.solvers import Solver
    from penstock.domain import Pipeline, Plan, ProfileTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """The plan of the first rung that has one, and what was given up for it.

    ``given_up`` holds paths in the spec and ``"load"``, in the order of the ladder; ``shed_rps`` is
    the load that is not served. ``plan`` is ``None`` only when a stage can carry no load at all or
    no combination of variants reaches the floor.
    """

    plan: Plan | None
    given_up: tuple[str, ...]
    shed_rps: float
    explanation: str


def climb(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    solver: Solver,
    time_limit_s: float = 10.0,
) -> Climb:
    """Return the plan of the lowest rung that serves a load [req/s at the entry].

    Raises:
        ProfileError: profiles are missing.
        DomainError: the load or the time limit makes no sense.
    """
    given_up: tuple[str, ...] = ()
    for path, asked in _rungs(pipeline):
        given_up = (*given_up, path) if path else given_up
        outcome = solve_plan(asked, table, load_rps, solver=solver, time_limit_s=time_limit_s)
        if outcome.plan is not None:
            words = f"given up: {', '.join(given_up)}; " if given_up else ""
            return Climb(
                plan=outcome.plan,
                given_up=given_up,
                shed_rps=0.0,
                explanation=words + outcome.explanation,
            )
    return _last_rungs(asked, table, outcome, given_up)


def _rungs(pipeline: Pipeline) -> Iterator[tuple[str, Pipeline]]:
    """Yield what each rung gives up and what is asked then."""
    objective = pipeline.objective
    target, floor = objective.accuracy_target, objective.accuracy_floor
    wanted = max(t for t in (target, floor, 0.0) if t is not None)
    plain = replace(pipeline, objective=replace(objective, accuracy_target=None))
    if target is not None:
        wanting = replace(plain.objective, accuracy_floor=wanted)
        yield "", replace(plain, objective=wanting)
        yield "objective.accuracy_target", plain
    else:
        yield "", plain
    if pipeline.max_cost_per_hour is not None:
        yield "max_cost_per_hour", replace(plain, max_cost_per_hour=None)


def _last_rungs(
    asked: Pipeline, table: ProfileTable, outcome: Outcome, given_up: tuple[str, ...]
) -> Climb:
    """Return the nearest plan: for less load, or else the fastest one."""
    nearest = outcome.nearest
    floor = asked.objective.accuracy_floor
    if nearest is None or (floor is not None and nearest.promise.accuracy < floor * (1 - 1e-6)):
        return Climb(
            plan=None,
            given_up=given_up,
            shed_rps=outcome.load_rps,
            explanation=outcome.explanation,
        )
    promise = evaluate(nearest, asked, table, nearest.load_rps)
    keeps_slo = promise.latency_s <= asked.slo.latency_s * (1 + 1e-6)
    lost = () if keeps_slo else ("slo.latency_s",)
    shed_rps = max(0.0, outcome.load_rps - nearest.load_rps)
    shed = ("load",) if shed_rps > 0 else ()
    return Climb(
        plan=nearest,
        given_up=(*given_up, *shed, *lost),
        shed_rps=shed_rps,
        explanation=f"{outcome.explanation}; sheds {shed_rps:.4g} req/s",
    )
