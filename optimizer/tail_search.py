"""The best plan under the end-to-end quantile, which no solver takes: it is not a sum.

The sum of the stages' quantiles orders choices much as the quantile of their sum does, only too
high. So the solvers are asked with the SLO raised by a factor, and the choice is accepted when the
convolved, padded quantile (``tail``) keeps the SLO itself; the highest factor whose choice is
accepted is searched for. Every plan keeps the SLO by the convolution; that no better one exists is
not proven, and the status says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.latency import find_point
from optimizer.options import exceeds
from optimizer.problem import build_problem
from optimizer.solvers import Solution, Status
from optimizer.solvers.goals import solve_goal
from optimizer.tail import Visit, flow_of, padded_quantile_s

if TYPE_CHECKING:
    from optimizer.problem import Move, Problem
    from optimizer.solvers import Solver
    from penstock.domain import Option, Pipeline, ProfileTable

_TRIES = 9
_GRAIN = 1.02
_HIGHEST = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TailFound:
    """The choice of a search, the problem it indexes, and its latency [s] by the convolution."""

    solution: Solution
    problem: Problem
    latency_s: float


def tail_latency_s(
    chosen: Sequence[Option], pipeline: Pipeline, table: ProfileTable, load_rps: float
) -> float:
    """Return the padded end-to-end latency [s] of options at a load."""
    visits = {}
    for option, stage in zip(chosen, pipeline.stages, strict=True):
        profile = table.find(option.stage, option.variant)
        assert profile is not None, "the options were made from these profiles"
        point = find_point(profile, batch_size=option.batch_size, cpu_cores=option.cpu_cores)
        assert point is not None, "the options were made from these profiles"
        rate_rps = load_rps * pipeline.visited(stage).visit_ratio
        visits[stage.name] = Visit(point=point, replicas=option.replicas, rate_rps=rate_rps)
    slo, flow = pipeline.slo, flow_of(pipeline.shape, visits)
    return padded_quantile_s(flow, quantile=slo.quantile, slo_s=slo.latency_s)


def search_tail(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    solver: Solver,
    time_limit_s: float,
    move: Move | None = None,
) -> TailFound:
    """Return the best choice that keeps the SLO by the convolution; without choices if none does.

    ``move`` is as for ``build_problem``.

    Raises:
        ProfileError: profiles are missing.
        DomainError: the load or the time limit makes no sense.
    """
    started = time.perf_counter()

    def at(factor: float, limit_s: float) -> TailFound:
        slo = replace(pipeline.slo, latency_s=pipeline.slo.latency_s * factor)
        problem = build_problem(replace(pipeline, slo=slo), table, load_rps, move=move)
        solution = solve_goal(solver, problem, time_limit_s=limit_s)
        latency_s = math.inf
        if solution.choices:
            chosen = problem.chosen(solution.choices)
            latency_s = tail_latency_s(chosen, pipeline, table, load_rps)
        return TailFound(solution=solution, problem=problem, latency_s=latency_s)

    return _searched(at, pipeline.slo.latency_s, started=started, time_limit_s=time_limit_s)


def _searched(
    at: Callable[[float, float], TailFound], slo_s: float, *, started: float, time_limit_s: float
) -> TailFound:
    """Return the best of what is found ``at`` factors of the SLO within the time."""
    best: TailFound | None = None
    low, high, factor = 0.0, math.inf, 1.0
    first = None
    for _ in range(_TRIES):
        left_s = time_limit_s - (time.perf_counter() - started)
        if best is not None and left_s <= 0:
            break
        found = at(factor, max(left_s, 0.01))
        first = found if first is None else first
        is_kept = not exceeds(found.latency_s, slo_s)
        if found.solution.choices and is_kept:
            best, low = found, factor
        elif found.solution.choices:
            high = factor
        else:
            low = factor
        factor = _next(low, high, found, slo_s)
        if factor > _HIGHEST or high <= low * _GRAIN:
            break
    seconds = time.perf_counter() - started
    if best is None:
        assert first is not None, "at least one try is made"
        lost = replace(first.solution, seconds=seconds)
        if lost.choices:
            lost = Solution(
                status=Status.INFEASIBLE,
                bound=-math.inf,
                seconds=seconds,
                solver=lost.solver,
                explanation="no choice that was tried keeps the SLO by the convolution",
            )
        return replace(first, solution=lost)
    return replace(best, solution=_as_feasible(best.solution, low, seconds))


def _next(low: float, high: float, found: TailFound, slo_s: float) -> float:
    if math.isfinite(high):
        return (low + high) / 2
    if not found.solution.choices:
        return low * 1.5
    return low * min(2.0, max(1.1, slo_s / found.latency_s))


def _as_feasible(solution: Solution, factor: float, seconds: float) -> Solution:
    return replace(
        solution,
        status=Status.FEASIBLE,
        bound=math.inf,
        seconds=seconds,
        explanation=f"the sum of quantiles may be {factor:.3g} times the SLO",
    )
