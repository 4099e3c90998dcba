"""From a solution to a plan, or to the words why there is none.

The face of planning: ``solve_plan`` is what ``penstock plan`` and a tick call; ``verify``,
``evaluate`` and the JSON form are offered here too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.explain import (
    binding_limits,
    explanation,
    fastest,
    highest_load_rps,
    without_slo,
)
from optimizer.problem import Move, build_problem
from optimizer.solvers import Solution, Status
from optimizer.solvers.goals import solve_goal
from optimizer.switching import switch_cost, switched_stages, switches_from
from optimizer.tail import PADDING
from optimizer.tail_search import search_tail
from optimizer.verify import evaluate, verify
from penstock.domain import LatencyModel, Plan, Promise
from penstock.errors import DomainError
from penstock.plan_json import plan_from_json, plan_to_json

if TYPE_CHECKING:
    from optimizer.problem import Problem
    from optimizer.solvers import Solver
    from optimizer.switching import Running
    from penstock.domain import Pipeline, ProfileTable

_LEAST_S = 0.05
"""However little time is left, it is tried whether the incumbent can be bettered."""

__all__ = [
    "Outcome",
    "evaluate",
    "find_plan",
    "plan_from_json",
    "plan_to_json",
    "solve_plan",
    "to_plan",
    "verify",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of planning for a load.

    ``plan`` is there when ``status`` is optimal or feasible. An infeasible outcome says in
    ``binding`` which limits would have to give way, by their path in the spec, and offers in
    ``nearest`` the plan for the highest load that can be served or, when not even no load can,
    the fastest plan, which misses the SLO. ``explanation`` is a sentence for a person.

    ``free`` is what would be the best if moving cost nothing, where something runs.
    """

    status: Status
    load_rps: float
    plan: Plan | None
    solution: Solution
    explanation: str = ""
    nearest: Plan | None = None
    binding: tuple[str, ...] = ()
    free: Plan | None = None


def to_plan(solution: Solution, problem: Problem, *, tail_s: float | None = None) -> Plan:
    """Return the plan of a solution's choices, with its promises.

    ``tail_s`` is the latency [s] by the convolution, where that is the pipeline's latency model.

    Raises:
        DomainError: the solution has no choices.
    """
    if not solution.choices:
        raise DomainError(f"a solution that is {solution.status.value} has no plan")
    chosen = problem.chosen(solution.choices)
    promise = Promise(
        latency_s=problem.latency_s(chosen) if tail_s is None else tail_s,
        capacity_rps=min(o.capacity_rps for o in chosen),
        cost_cores=problem.cost_cores(chosen),
        accuracy=problem.accuracy(chosen),
        accuracy_product=problem.accuracy_product(chosen),
        accuracy_joint=problem.joint_accuracy.get(tuple(o.variant for o in chosen)),
        objective=(
            problem.objective_of(chosen)
            + problem.objective.cost_weight * problem.switch_cost(chosen)
        ),
        latency_model=(LatencyModel.SUM if tail_s is None else LatencyModel.CONVOLUTION).value,
        latency_padding=0.0 if tail_s is None else PADDING,
        cost_per_hour=problem.cost_per_hour(chosen) if problem.is_priced else None,
        switch_cost=problem.switch_cost(chosen),
    )
    return Plan(
        pipeline=problem.pipeline,
        load_rps=problem.load_rps,
        stages=chosen,
        promise=promise,
        solver=solution.solver,
    )


def solve_plan(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    solver: Solver,
    time_limit_s: float = 10.0,
    running: Running | None = None,
) -> Outcome:
    """Return the best plan for a load [req/s at the entry], or why there is none and what is near.

    What moving from the ``running`` plan costs is weighed against what is gained.

    Raises:
        ProfileError: profiles are missing.
        DomainError: the load or the time limit makes no sense.
    """
    found = find_plan(
        pipeline, table, load_rps, solver=solver, time_limit_s=time_limit_s, running=running
    )
    if found.status is not Status.INFEASIBLE:
        return found
    search = _Search(solver, time_limit_s)
    outcome = _infeasible(pipeline, table, found.solution, load_rps, search)
    if running is None or outcome.nearest is None:
        return outcome
    return replace(outcome, nearest=_charged(outcome.nearest, pipeline, table, running))


def find_plan(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    solver: Solver,
    time_limit_s: float = 10.0,
    running: Running | None = None,
) -> Outcome:
    """Return the best plan for a load; an infeasible one is left without reasons, which take time.

    Raises:
        ProfileError: profiles are missing.
        DomainError: the load or the time limit makes no sense.
    """
    search = _Search(solver, time_limit_s)
    found = (
        _Found(*_best_plan(pipeline, table, load_rps, search))
        if running is None
        else _best_move(pipeline, table, load_rps, search, running)
    )
    solution = found.solution
    if found.plan is not None:
        words = _how_sure(solution) + found.remark
    elif solution.status is Status.INFEASIBLE:
        words = solution.explanation
    else:
        words = (
            f"{solution.solver} found no plan for {load_rps:g} req/s within {time_limit_s:.3g} s "
            f"({solution.explanation}); raise the time limit or use another solver"
        )
    return Outcome(
        status=solution.status,
        load_rps=load_rps,
        plan=found.plan,
        solution=solution,
        explanation=words,
        free=found.free,
    )


def _charged(plan: Plan, pipeline: Pipeline, table: ProfileTable, running: Running) -> Plan:
    """Return the plan with what it costs to move to it."""
    cost = switch_cost(plan, switches_from(running, pipeline, table))
    return replace(plan, promise=replace(plan.promise, switch_cost=cost))


@dataclass(frozen=True, slots=True)
class _Found:
    """The best plan, and the best if moving were free; ``remark`` is for a person."""

    solution: Solution
    plan: Plan | None
    free: Plan | None = None
    remark: str = ""


def _best_move(
    pipeline: Pipeline, table: ProfileTable, load_rps: float, search: _Search, running: Running
) -> _Found:
    """Return the best plan when moving costs something.

    The best plan of all that costs nothing to move to is also the best with the cost, which no
    plan makes better. Only otherwise is there a second solve, and a third when no plan keeps
    ``max_step``: it gives way before the load does.
    """
    switches = switches_from(running, pipeline, table)
    most = pipeline.adaptation.max_step
    started = time.perf_counter()
    looking = Move(switches=switches, counts=False)
    first = replace(search, time_limit_s=search.time_limit_s / 2, move=looking)
    solution, free = _best_plan(pipeline, table, load_rps, first)
    if free is None or not switches:
        return _Found(solution, free)
    free = _charged(free, pipeline, table, running)
    is_allowed = most is None or switched_stages(free, switches) <= most
    if free.promise.switch_cost == 0 and is_allowed:
        return _Found(solution, free, free)
    for limit in dict.fromkeys((most, None)):
        move = Move(switches=switches, max_switches=limit)
        left_s = max(search.time_limit_s - (time.perf_counter() - started), _LEAST_S)
        again = replace(search, time_limit_s=left_s, move=move)
        weighed, plan = _best_plan(pipeline, table, load_rps, again)
        if plan is not None:
            gave_way = "" if limit == most else f"; none was found with max_step, {most}, switches"
            return _Found(weighed, plan, free, gave_way)
    return _Found(solution, free, free, "; what moving costs was not weighed, for want of time")


def _best_plan(
    pipeline: Pipeline, table: ProfileTable, load_rps: float, search: _Search
) -> tuple[Solution, Plan | None]:
    limit_s, move = search.time_limit_s, search.move
    if pipeline.slo.latency_model is LatencyModel.CONVOLUTION:
        found = search_tail(
            pipeline, table, load_rps, solver=search.solver, time_limit_s=limit_s, move=move
        )
        if not found.solution.choices:
            return found.solution, None
        return found.solution, to_plan(found.solution, found.problem, tail_s=found.latency_s)
    problem = build_problem(pipeline, table, load_rps, move=move)
    solution = solve_goal(search.solver, problem, time_limit_s=limit_s)
    return solution, to_plan(solution, problem) if solution.choices else None


def _how_sure(solution: Solution) -> str:
    if solution.status is Status.OPTIMAL:
        return f"the best there is, proven by {solution.solver} in {solution.seconds:.2f} s"
    return (
        f"the best that {solution.solver} found in {solution.seconds:.2f} s; "
        f"its objective is {solution.objective:.6g}, no plan's is above {solution.bound:.6g}"
    )


@dataclass(frozen=True, slots=True)
class _Search:
    """With what and how long to solve, and from where to move."""

    solver: Solver
    time_limit_s: float
    move: Move | None = None


def _infeasible(
    pipeline: Pipeline, table: ProfileTable, solution: Solution, load_rps: float, search: _Search
) -> Outcome:
    binding = binding_limits(pipeline, table, load_rps)
    served_rps = highest_load_rps(pipeline, table, load_rps)
    if served_rps is None:
        nearest = _fastest_plan(pipeline, table, load_rps)
    else:
        nearest = _plan_for(pipeline, table, served_rps, search)
    return Outcome(
        status=solution.status,
        load_rps=load_rps,
        plan=None,
        solution=solution,
        explanation=explanation(pipeline, table, load_rps, binding=binding, served_rps=served_rps),
        nearest=nearest,
        binding=binding.paths,
    )


def _plan_for(pipeline: Pipeline, table: ProfileTable, load_rps: float, search: _Search) -> Plan:
    """Return the best plan for a load that is known to be feasible, the fastest if need be."""
    _, plan = _best_plan(pipeline, table, load_rps, search)
    if plan is not None:
        return plan
    problem = build_problem(pipeline, table, load_rps)
    return _priced(to_plan(_by_hand(problem), problem), pipeline, table)


def _fastest_plan(pipeline: Pipeline, table: ProfileTable, load_rps: float) -> Plan | None:
    """Return the fastest plan for the load, or else for none, whatever the SLO says."""
    for load in (load_rps, 0.0):
        problem = build_problem(without_slo(pipeline), table, load)
        if fastest(problem):
            return _priced(to_plan(_by_hand(problem), problem), pipeline, table)
    return None


def _priced(plan: Plan, pipeline: Pipeline, table: ProfileTable) -> Plan:
    """Return the plan with its promise in the pipeline's own latency model."""
    return replace(plan, promise=evaluate(plan, pipeline, table, plan.load_rps))


def _by_hand(problem: Problem) -> Solution:
    choices = fastest(problem)
    return Solution(
        status=Status.FEASIBLE,
        choices=choices,
        objective=problem.objective_of(problem.chosen(choices)),
        solver="fastest",
    )
