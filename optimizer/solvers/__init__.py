"""The Solver port: a problem in, a solution with a status, a bound and a report out.

One file per back-end, one contract suite (``tests/contracts/test_solver.py``) over all of them. An
infeasible problem is a *status*; a solver that is not installed is an *exception*. Pyomo is
imported in this package only, and only when a back-end is made, so that ``import optimizer`` costs
milliseconds.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from penstock.errors import DomainError

if TYPE_CHECKING:
    from optimizer.problem import Problem


class Status(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    """No better choice exists."""
    FEASIBLE = "feasible"
    """A choice that keeps every constraint, without the proof that none is better."""
    INFEASIBLE = "infeasible"
    """Proven: no choice keeps every constraint."""
    TIMED_OUT = "timed-out"
    """The time limit came before any choice was found; nothing is known."""
    FAILED = "failed"
    """The solver broke down; ``Solution.explanation`` says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A solver's answer.

    ``choices`` holds the index of the chosen option per stage, and is empty when there is none.
    ``objective`` is the choice's, computed from the options and not the solver's rounded figure;
    ``bound`` is what no choice can exceed (``-inf`` when infeasible). ``seconds`` is wall time.
    """

    status: Status
    choices: tuple[int, ...] = ()
    objective: float = -math.inf
    bound: float = math.inf
    seconds: float = 0.0
    solver: str = ""
    explanation: str = ""

    def __post_init__(self) -> None:
        has_choice = self.status in (Status.OPTIMAL, Status.FEASIBLE)
        if has_choice != bool(self.choices):
            raise DomainError(
                f"a solution that is {self.status.value} has choices {self.choices}; "
                "only optimal and feasible ones have choices, and always"
            )

    @property
    def gap(self) -> float:
        """How much better the best choice can be at most, as a share of the objective's size.

        Infinite without a choice or a bound, 0 when the choice is proven best.
        """
        if not (self.choices and math.isfinite(self.bound)):
            return math.inf
        return max(0.0, self.bound - self.objective) / max(abs(self.objective), 1e-9)


class Solver(Protocol):
    """Chooses one option per stage."""

    @property
    def name(self) -> str:
        """The name under which ``make_solver`` makes it.

        ``Solution.solver`` names the back-end that answered: ``auto`` hands its problems on.
        """
        ...

    def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
        """Return the best choice found within the time limit [s], or why there is none.

        Never raises for what the problem says; a problem too large for a back-end is a
        ``DomainError``.
        """
        ...


def require_time_limit(time_limit_s: float) -> None:
    """Check a time limit [s].

    Raises:
        DomainError: it is not above 0.
    """
    if not time_limit_s > 0:
        raise DomainError(f"a solver's time limit must be above 0 s, got {time_limit_s}")


def without_options(problem: Problem, solver: str) -> Solution | None:
    """Return why a problem has no solution before any search: a stage has nothing to choose."""
    empty = [repr(stage.stage) for stage in problem.stages if not stage.options]
    if not empty:
        return None
    return Solution(
        status=Status.INFEASIBLE,
        bound=-math.inf,
        solver=solver,
        explanation=f"no option for stage {' and '.join(empty)}",
    )


_BACK_ENDS = {
    "auto": ("optimizer.solvers.auto", "AutoSolver"),
    "frontier": ("optimizer.solvers.frontier", "FrontierSolver"),
    "mip": ("optimizer.solvers.mip", "any_mip"),
    "glpk": ("optimizer.solvers.mip", "GlpkSolver"),
    "highs": ("optimizer.solvers.mip", "HighsSolver"),
    "exhaustive": ("optimizer.solvers.exhaustive", "ExhaustiveSolver"),
}

SOLVERS = tuple(_BACK_ENDS)
"""The names ``make_solver`` knows."""


def make_solver(name: str = "auto") -> Solver:
    """Return a solver: ``frontier``, ``mip``, ``glpk``, ``highs``, ``exhaustive`` or ``auto``.

    ``auto`` picks among them by the size of each problem; ``mip`` is the integer program, solved by
    GLPK where ``glpsol`` is installed and by HiGHS elsewhere.

    Raises:
        DomainError: there is no solver of that name.
        MissingToolError: its program or package is not installed.
    """
    if name not in _BACK_ENDS:
        raise DomainError(f"no solver is called {name!r}; there are {', '.join(SOLVERS)}")
    module, maker = _BACK_ENDS[name]
    make: Callable[[], Solver] = getattr(importlib.import_module(module), maker)
    return make()
