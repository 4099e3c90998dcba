"""GLPK and HiGHS through Pyomo; one of the two doors to Pyomo.

The solvers' words are mapped to ours in one table. Solutions are never loaded blindly: at the time
limit there may be an incumbent or none. The objective is computed from the chosen options, so the
solvers' rounding stays out of it.
"""

from __future__ import annotations

import importlib.util
import math
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyomo.repn.plugins
import pyomo.solvers.plugins
from pyomo.common.errors import ApplicationError, PyomoException
from pyomo.common.tempfiles import TempfileManager
from pyomo.opt import SolverFactory

from optimizer.solvers import Solution, Status, require_time_limit, without_options
from optimizer.solvers.model import build_model, chosen_options
from penstock.errors import MissingToolError

if TYPE_CHECKING:
    from optimizer.problem import Problem
    from optimizer.solvers import Solver

# What importing pyomo.environ does for thirty packages, for the two that are needed: half the time.
pyomo.repn.plugins.load()
pyomo.solvers.plugins.load()

_STATUS = {
    # The words of GLPK, in pyomo.opt.
    "optimal": Status.OPTIMAL,
    "feasible": Status.FEASIBLE,
    "infeasible": Status.INFEASIBLE,
    # The words of HiGHS, in pyomo.contrib.solver.
    "convergenceCriteriaSatisfied": Status.OPTIMAL,
    "provenInfeasible": Status.INFEASIBLE,
    "interrupted": Status.FAILED,
    # The words of both. Every variable is bounded, so nothing is ever unbounded.
    "infeasibleOrUnbounded": Status.INFEASIBLE,
    "maxTimeLimit": Status.TIMED_OUT,
}
"""What a termination condition means without an incumbent; any other one is a failure."""

_ROUNDING = 1e-12

_GLPK_PROGRESS = re.compile(r"^\+.*<=\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a back-end said; the incumbent's values, when it has one, are in the model."""

    condition: str
    has_incumbent: bool
    bound: float


class _BackEnd(Protocol):
    name: str

    def _run(self, model: Any, time_limit_s: float) -> _Answer: ...


def any_mip() -> GlpkSolver | HighsSolver:
    """Return GLPK when its program is installed, else HiGHS, which came as a wheel."""
    return GlpkSolver() if shutil.which("glpsol") else HighsSolver()


class GlpkSolver:
    """GLPK's ``glpsol``. Its time limit is rounded up to whole seconds."""

    name = "glpk"

    def __init__(self, *, gap: float = 0.0) -> None:
        """Take the relative gap at which the search may stop; 0 asks for the proof.

        Raises:
            MissingToolError: ``glpsol`` is not on the PATH.
        """
        program = shutil.which("glpsol")
        if program is None:
            raise MissingToolError(
                "the program glpsol is not on the PATH; install it "
                "(Debian, Ubuntu: apt-get install glpk-utils) or use the solver 'highs'"
            )
        self._program = program
        self._gap = gap

    def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
        """Return the best choice within the time limit [s], or why there is none."""
        return _solve(self, problem, time_limit_s)

    def _run(self, model: Any, time_limit_s: float) -> _Answer:
        glpk = SolverFactory("glpk", executable=self._program)
        glpk.options["mipgap"] = self._gap
        with TempfileManager.new_context() as scratch:
            log = Path(scratch.create_tempfile(suffix=".glpk.log"))
            results = glpk.solve(
                model, timelimit=math.ceil(time_limit_s), load_solutions=False, logfile=str(log)
            )
            progress = _GLPK_PROGRESS.findall(log.read_text())
        has_incumbent = len(results.solution) > 0
        if has_incumbent:
            model.solutions.load_from(results)
        return _Answer(
            condition=str(results.solver.termination_condition.value),
            has_incumbent=has_incumbent,
            bound=_number(progress[-1]) if progress else math.inf,
        )


class HighsSolver:
    """HiGHS, in this process and on one thread: the other cores serve requests."""

    name = "highs"

    def __init__(self, *, gap: float = 0.0) -> None:
        """Take the relative gap at which the search may stop; 0 asks for the proof.

        Raises:
            MissingToolError: the package ``highspy`` is not installed.
        """
        if importlib.util.find_spec("highspy") is None:
            raise MissingToolError(
                "the package highspy is not installed; run pip install highspy, "
                "or install glpk-utils and use the solver 'glpk'"
            )
        self._gap = gap

    def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
        """Return the best choice within the time limit [s], or why there is none."""
        return _solve(self, problem, time_limit_s)

    def _run(self, model: Any, time_limit_s: float) -> _Answer:
        from pyomo.contrib.solver.solvers.highs import Highs

        highs = Highs()
        results = highs.solve(
            model,
            time_limit=time_limit_s,
            rel_gap=self._gap,
            abs_gap=0.0,
            threads=1,
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
        )
        has_incumbent = results.incumbent_objective is not None
        if has_incumbent:
            results.solution_loader.load_vars()
        bound = results.objective_bound
        return _Answer(
            condition=results.termination_condition.name,
            has_incumbent=has_incumbent,
            bound=math.inf if bound is None else bound,
        )


def _solve(back_end: _BackEnd, problem: Problem, time_limit_s: float) -> Solution:
    require_time_limit(time_limit_s)
    started = time.perf_counter()
    unsolvable = without_options(problem, back_end.name)
    if unsolvable:
        return unsolvable
    model = build_model(problem)
    try:
        answer = back_end._run(model, time_limit_s)
    except (ApplicationError, PyomoException, OSError, RuntimeError, ValueError) as err:
        return Solution(
            status=Status.FAILED,
            seconds=time.perf_counter() - started,
            solver=back_end.name,
            explanation=f"{back_end.name} broke down: {err}",
        )
    finally:
        # Pyomo forgets its files when a program dies or Ctrl-C comes.
        TempfileManager.clear_tempfiles(remove=True)
    choices = chosen_options(model, problem) if answer.has_incumbent else ()
    if not choices and answer.condition == "maxTimeLimit":
        choices = problem.known_choice()
    if choices and problem.is_feasible(problem.chosen(choices)):
        choices = polished(choices, problem)
    return _judged(
        answer, choices, problem=problem, name=back_end.name, seconds=time.perf_counter() - started
    )


def polished(choices: tuple[int, ...], problem: Problem) -> tuple[int, ...]:
    """Return a feasible choice made no worse: one stage at a time, while that helps.

    The solvers take two objectives for equal that differ by a millionth, which is what a batch
    size weighs in the default objective.
    """
    best = problem.objective_of(problem.chosen(choices))
    improved = True
    while improved:
        improved = False
        for s, stage in enumerate(problem.stages):
            for o in range(len(stage.options)):
                other = (*choices[:s], o, *choices[s + 1 :])
                chosen = problem.chosen(other)
                value = problem.objective_of(chosen)
                if value > best + _ROUNDING and problem.is_feasible(chosen):
                    choices, best, improved = other, value, True
    return choices


def _judged(
    answer: _Answer, choices: tuple[int, ...], *, problem: Problem, name: str, seconds: float
) -> Solution:
    """Return the answer as a solution: the incumbent is checked, the bound made to fit it."""
    status = _STATUS.get(answer.condition, Status.FAILED)
    explanation = f"{name} said {answer.condition}"
    if choices and not problem.is_feasible(problem.chosen(choices)):
        status, choices = Status.FAILED, ()
        explanation += ", but its choice breaks a constraint"
    elif choices and status is Status.TIMED_OUT:
        status = Status.FEASIBLE
    if status not in (Status.OPTIMAL, Status.FEASIBLE):
        bound = -math.inf if status is Status.INFEASIBLE else answer.bound
        return Solution(
            status=status, bound=bound, seconds=seconds, solver=name, explanation=explanation
        )
    objective = problem.objective_of(problem.chosen(choices))
    return Solution(
        status=status,
        choices=choices,
        objective=objective,
        bound=objective if status is Status.OPTIMAL else max(objective, answer.bound),
        seconds=seconds,
        solver=name,
        explanation=explanation,
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf


if TYPE_CHECKING:
    _glpk: Solver = GlpkSolver()
    _highs: Solver = HighsSolver()
