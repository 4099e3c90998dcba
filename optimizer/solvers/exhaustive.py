"""Every choice, one after the other: slow, and too plain to be wrong. The oracle of the others."""

from __future__ import annotations

import math
import time
from itertools import product
from typing import TYPE_CHECKING

from optimizer.solvers import Solution, Status, require_time_limit
from penstock.errors import DomainError

if TYPE_CHECKING:
    from optimizer.problem import Problem
    from optimizer.solvers import Solver

MAX_CHOICES = 2_000_000
"""More choices than this are refused: they would take minutes."""

_CLOCK_EVERY = 1024


class ExhaustiveSolver:
    """Enumerates all choices; ties go to the first in the order of the options."""

    name = "exhaustive"

    def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
        """Return the best of all choices, or of those seen within the time limit [s].

        Raises:
            DomainError: there are more than ``MAX_CHOICES`` choices, or no time.
        """
        require_time_limit(time_limit_s)
        count = math.prod(len(stage.options) for stage in problem.stages)
        if count > MAX_CHOICES:
            raise DomainError(
                f"the exhaustive solver would have to try {count:.3g} choices, "
                f"it takes at most {MAX_CHOICES:.0e}; use 'auto'"
            )
        started = time.perf_counter()
        best: tuple[int, ...] = ()
        objective = -math.inf
        complete = True
        for seen, choices in enumerate(product(*(range(len(s.options)) for s in problem.stages))):
            if seen % _CLOCK_EVERY == 0 and time.perf_counter() - started > time_limit_s:
                complete = False
                break
            chosen = problem.chosen(choices)
            if not problem.is_feasible(chosen):
                continue
            value = problem.objective_of(chosen)
            if value > objective:
                best, objective = choices, value
        status = _status(found=bool(best), complete=complete)
        return Solution(
            status=status,
            choices=best,
            objective=objective,
            bound=objective if complete else math.inf,
            seconds=time.perf_counter() - started,
            solver=self.name,
            explanation=f"{count} choices" if complete else f"stopped after {time_limit_s:g} s",
        )


def _status(*, found: bool, complete: bool) -> Status:
    if found:
        return Status.OPTIMAL if complete else Status.FEASIBLE
    return Status.INFEASIBLE if complete else Status.TIMED_OUT


if TYPE_CHECKING:
    _conforms: Solver = ExhaustiveSolver()
