"""The back-end that suits a problem's size, by measurement (``bench/solver.py``).

Measured on two cores, in process, medians over 20 seeds of ``bench/instances.py``:

* up to 200 choices the exhaustive solver is asked: it takes 3 us for each, the frontier 0.6 to
  1.3 ms whatever the number, so they are even at 200 to 250 (2 stages, a product or a joint table);
* from there on the frontier answers first: 10 x 10 x 7 with SLO and cores binding takes it 0.013 s
  (product) and 0.007 s (sum), GLPK 0.7 and 0.5 s, HiGHS 0.9 and 0.3 s; a joint table of 4 x 8
  variants (4096 combinations) 0.016 s, GLPK 0.27 s, HiGHS 0.32 s;
* where the frontier is cut short (many paths that all bind; no instance of 100 x 50 x 7 any more) a
  mixed integer program gets what is left of the time; the better answer is returned;
* a graph with many paths, or whose accuracy is neither a sum nor a product nor a table of a few
  rows, goes to a mixed integer program at once: HiGHS proves 16 stages x 6 variants on 28 paths in
  0.2 to 0.6 s, the frontier took up to 10 s over 23 paths and 5 s over 5 paths and a table.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from optimizer.solvers import Status, require_time_limit
from optimizer.solvers.exhaustive import ExhaustiveSolver
from optimizer.solvers.frontier import FrontierSolver
from optimizer.solvers.tabulated import MAX_COMBINATIONS, combinations
from penstock.errors import MissingToolError

if TYPE_CHECKING:
    from optimizer.problem import Problem
    from optimizer.solvers import Solution, Solver

FEW_CHOICES = 200
"""Up to so many choices are tried one after the other."""

_FRONTIER_SHARE = 0.5
_FEW_PATHS = 8
_FEW_ROWS = 64
_PROVEN = (Status.OPTIMAL, Status.INFEASIBLE)


class AutoSolver:
    """Hands each problem to the back-end that is fastest for it; needs no other program."""

    name = "auto"

    def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
        """Return the best choice within the time limit [s], or why there is none."""
        require_time_limit(time_limit_s)
        started = time.perf_counter()
        if math.prod(len(stage.options) for stage in problem.stages) <= FEW_CHOICES:
            return ExhaustiveSolver().solve(problem, time_limit_s=time_limit_s)
        if not _suits_frontier(problem):
            return _by_mip(problem, time_limit_s)
        first = FrontierSolver().solve(problem, time_limit_s=time_limit_s * _FRONTIER_SHARE)
        left_s = time_limit_s - (time.perf_counter() - started)
        if first.status in _PROVEN or left_s <= 0:
            return first
        try:
            second = _mip().solve(problem, time_limit_s=left_s)
        except MissingToolError:
            return first
        return _better(first, second, seconds=time.perf_counter() - started)


def _suits_frontier(problem: Problem) -> bool:
    return len(problem.paths) <= _FEW_PATHS and (
        problem.inseparable_node() is None or combinations(problem) <= _FEW_ROWS
    )


def _by_mip(problem: Problem, time_limit_s: float) -> Solution:
    """Return a MIP's answer; without one, the frontier's if it can take the problem."""
    try:
        mip = _mip()
    except MissingToolError:
        if combinations(problem) > MAX_COMBINATIONS:
            raise
        return FrontierSolver().solve(problem, time_limit_s=time_limit_s)
    return mip.solve(problem, time_limit_s=time_limit_s)


def _mip() -> Solver:
    """Return HiGHS, which proves what GLPK often does not, or else GLPK."""
    from optimizer.solvers.mip import GlpkSolver, HighsSolver

    try:
        return HighsSolver()
    except MissingToolError:
        return GlpkSolver()


def _better(first: Solution, second: Solution, *, seconds: float) -> Solution:
    """Return the answer that says more, with the lower of both bounds."""
    if second.status in _PROVEN:
        return replace(second, seconds=seconds)
    best = max(first, second, key=lambda s: s.objective)
    if not best.choices:
        return replace(first, seconds=seconds)
    bound = max(best.objective, min(first.bound, second.bound))
    return replace(best, bound=bound, seconds=seconds)


if TYPE_CHECKING:
    _conforms: Solver = AutoSolver()
