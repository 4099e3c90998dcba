"""Why this plan: what binds it, what comes next, what a little more of each limit is worth.

Every figure is a difference between two exact solves; nothing is read off a linear relaxation,
whose shadow prices say nothing about whole replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.decide import decide
from optimizer.explain import binding_limits, limits_of, relaxed
from optimizer.options import TOLERANCE, Beaten, StageOptions, beaten_options
from optimizer.plan import solve_plan, to_plan
from optimizer.problem import build_problem
from optimizer.solvers import Solution
from optimizer.solvers.goals import goal_key, solve_goal
from optimizer.switching import Running, expected_ruling_s
from penstock.domain import Forecast, Goal, LatencyModel

if TYPE_CHECKING:
    from optimizer.decide import Decision
    from optimizer.plan import Outcome
    from optimizer.problem import Problem
    from optimizer.solvers import Solver
    from penstock.domain import Pipeline, Plan, ProfileTable

    _Solve = Callable[[Pipeline], Outcome]

_SLO_STEP_S = 0.01
_ACCURACY_STEP = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What changes when one limit is moved: the better plan, or ``None`` when there is no plan."""

    what: str
    plan: Plan | None
    objective: float
    cost: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """All that is known about an outcome.

    ``binding`` are the limits without which a better plan exists, by their path in the spec; for an
    infeasible load the limits that have to give way, a set from which none can be left out.
    ``runner_up`` is the best other choice (of the sum of quantiles; ``None`` in the other model).
    ``worths`` are differences to the plan: its objective, cost and accuracy are taken off.
    """

    outcome: Outcome
    binding: tuple[str, ...]
    runner_up: Plan | None
    worths: tuple[Worth, ...]
    stages: tuple[StageOptions, ...]
    beaten: tuple[tuple[Beaten, ...], ...]


def explain_plan(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    solver: Solver,
    time_limit_s: float = 10.0,
) -> Insight:
    """Return the plan for a load [req/s at the entry] with everything that explains it.

    Raises:
        ProfileError: profiles are missing.
        DomainError: the load or the time limit makes no sense.
    """

    def solved(asked: Pipeline) -> Outcome:
        return solve_plan(asked, table, load_rps, solver=solver, time_limit_s=time_limit_s)

    outcome = solved(pipeline)
    problem = build_problem(pipeline, table, load_rps)
    plan = outcome.plan
    return Insight(
        outcome=outcome,
        binding=(
            needed_limits(pipeline, table, load_rps)
            if plan is None
            else tuple(
                path
                for path in limits_of(pipeline)
                if _is_better(solved(relaxed(pipeline, [path])).plan, plan, pipeline)
            )
        ),
        runner_up=_runner_up(problem, plan, pipeline, solver, time_limit_s),
        worths=() if plan is None else tuple(_worths(pipeline, plan, solved)),
        stages=problem.stages,
        beaten=tuple(
            beaten_options(stage, table, load_rps, pipeline=pipeline) for stage in pipeline.stages
        ),
    )


def explain_move(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    solver: Solver,
    running: Plan,
    since_change_s: float,
) -> Decision:
    """Return what a tick would decide for a load [req/s at the entry] of which it is certain.

    Raises:
        ProfileError: profiles are missing.
        DomainError: the load makes no sense.
    """
    ruling_s = expected_ruling_s(pipeline.adaptation, since_change_s)
    outcome = solve_plan(
        pipeline,
        table,
        load_rps,
        solver=solver,
        running=Running(plan=running, ruling_s=ruling_s),
    )
    horizon_s = pipeline.adaptation.horizon_s
    return decide(
        running,
        outcome,
        forecast=Forecast(load_rps=load_rps, horizon_s=horizon_s, forecaster="given"),
        pipeline=pipeline,
        table=table,
        since_change_s=since_change_s,
    )


def needed_limits(pipeline: Pipeline, table: ProfileTable, load_rps: float) -> tuple[str, ...]:
    """Return limits of an infeasible load that have to give way, none of which can be left out.

    Where one alone is enough it is the first in the order of the ladder: accuracy, cost, SLO,
    replicas. When not even all limits together are enough, all are returned.
    """
    binding = binding_limits(pipeline, table, load_rps)
    if binding.together:
        return binding.paths
    order = ("objective.accuracy_floor", "max_cost_per_hour", "max_cores", "slo.latency_s")
    first = next((path for path in order if path in binding.paths), binding.paths[0])
    return (first,)


def _worths(pipeline: Pipeline, plan: Plan, solved: _Solve) -> Iterator[Worth]:
    """Yield what 10 ms more and less of SLO are worth, and what one point of accuracy costs."""
    slo = pipeline.slo
    for step_s in (_SLO_STEP_S, -_SLO_STEP_S):
        if slo.latency_s + step_s > 0:
            moved = replace(pipeline, slo=replace(slo, latency_s=slo.latency_s + step_s))
            yield _worth(f"{step_s * 1e3:+.0f} ms of SLO", solved(moved).plan, plan)
    floor = plan.promise.accuracy + _ACCURACY_STEP
    objective = replace(pipeline.objective, accuracy_floor=floor, goal=Goal.COST_FIRST)
    better = solved(replace(pipeline, objective=objective)).plan
    yield _worth("one point more of accuracy", better, plan)


def _worth(what: str, moved: Plan | None, plan: Plan) -> Worth:
    if moved is None:
        return Worth(what=what, plan=None, objective=0.0, cost=0.0, accuracy=0.0)
    then, now = moved.promise, plan.promise
    return Worth(
        what=what,
        plan=moved,
        objective=then.objective - now.objective,
        cost=moved.promise.cost - plan.promise.cost,
        accuracy=then.accuracy - now.accuracy,
    )


def _is_better(other: Plan | None, plan: Plan, pipeline: Pipeline) -> bool:
    if other is None:
        return False
    for ours, theirs in zip(_rank(plan, pipeline), _rank(other, pipeline), strict=True):
        if abs(theirs - ours) > TOLERANCE * max(abs(ours), 1e-9):
            return theirs > ours
    return False


def _rank(plan: Plan, pipeline: Pipeline) -> tuple[float, ...]:
    accuracy, cost = plan.promise.accuracy, -plan.promise.cost
    match pipeline.objective.goal:
        case Goal.ACCURACY_FIRST:
            return (accuracy, cost)
        case Goal.COST_FIRST:
            return (cost, accuracy)
        case Goal.WEIGHTED:
            return (plan.promise.objective,)


def _runner_up(
    problem: Problem, plan: Plan | None, pipeline: Pipeline, solver: Solver, time_limit_s: float
) -> Plan | None:
    """Return the best choice that differs from the plan in a stage: the best over the stages."""
    if plan is None or pipeline.slo.latency_model is not LatencyModel.SUM:
        return None
    found: list[tuple[Problem, Solution]] = []
    for s, stage in enumerate(problem.stages):
        others = tuple(o for o in stage.options if o != plan.stages[s])
        stages = (*problem.stages[:s], replace(stage, options=others), *problem.stages[s + 1 :])
        asked = replace(problem, stages=stages)
        solution = solve_goal(solver, asked, time_limit_s=time_limit_s)
        if solution.choices:
            found.append((asked, solution))
    if not found:
        return None
    asked, solution = max(found, key=lambda pair: goal_key(pair[0], pair[1].choices))
    return to_plan(solution, asked)


def describe(insight: Insight) -> str:
    """Return the insight as lines for a person."""
    plan = insight.outcome.plan
    lines = [insight.outcome.explanation]
    if plan is None:
        lines.append(f"has to give way: {' and '.join(insight.binding)}")
    else:
        lines.append(f"binds: {', '.join(insight.binding) or 'nothing'}")
        lines += [*_runner_up_lines(insight, plan), *map(_worth_line, insight.worths)]
    for stage, beaten in zip(insight.stages, insight.beaten, strict=True):
        lines.append(f"stage {stage.stage}: {len(stage.options)} options")
        lines += [f"  {d.variant} at batch {d.batch_size}: {d.reason}" for d in stage.dropped]
        lines += [f"  {_short(b)}" for b in beaten]
    return "\n".join(lines)


def _runner_up_lines(insight: Insight, plan: Plan) -> list[str]:
    other = insight.runner_up
    if other is None:
        return []
    price = _worth("", other, plan)
    changed = [
        f"{b.stage}: {b.variant} x{b.replicas} at batch {b.batch_size}"
        for a, b in zip(plan.stages, other.stages, strict=True)
        if a != b
    ]
    return [f"runner-up: {'; '.join(changed)} ({_change(price)})"]


def _worth_line(worth: Worth) -> str:
    return f"{worth.what}: {'no plan' if worth.plan is None else _change(worth)}"


def _change(worth: Worth) -> str:
    return (
        f"objective {worth.objective:+.4g}, cost {worth.cost:+.4g}, accuracy {worth.accuracy:+.4g}"
    )


def _short(beaten: Beaten) -> str:
    option, by = beaten.option, beaten.by
    return (
        f"{option.variant} x{option.replicas} at batch {option.batch_size}: {by.variant} "
        f"x{by.replicas} at batch {by.batch_size} is no slower, no dearer and no less accurate"
    )
