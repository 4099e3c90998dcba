"""The fast exact method: labels on the Pareto frontier (``walk``), in the form of any other solver.

In joint mode the accuracy is no sum or product over the stages, but a table: it is constant once a
combination of variants is held fast. The combinations are taken best bound first; each is a walk
among the options of its variants, for something better than the best choice known, and the first
combination whose bound is no better ends the search. When the time runs out the answer is the best
choice known, with what no choice exceeds. The accuracy of a graph that is neither a sum nor a
product depends on the variants alone as well, so it is made such a table first.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optimizer.options import falls_short
from optimizer.solvers import Solution, Status, require_time_limit, without_options
from optimizer.solvers.bounds import Level, tightest
from optimizer.solvers.labels import CutShortError
from optimizer.solvers.table import table_of
from optimizer.solvers.tabulated import tabulated
from optimizer.solvers.terms import LIMIT, StageTerms, Terms, terms_of
from optimizer.solvers.walk import Found, Walk
from penstock.domain import AccuracyMode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optimizer.problem import Problem
    from optimizer.solvers import Solver

    Floats = NDArray[np.float64]


@dataclass(slots=True)
class _Search:
    """The state of a search: the best choice so far, and what no choice exceeds."""

    deadline_s: float
    found: Found
    bound: float = math.inf
    explanation: str = ""


class FrontierSolver:
    """Exact for every objective of ``Problem``, and the fastest of the back-ends."""

    name = "frontier"

    def solve(self, problem: Problem, *, time_limit_s: float) -> Solution:
        """Return the best choice within the time limit [s], or why there is none.

        Raises:
            DomainError: a graph's accuracy would need too large a table, or there is no time.
        """
        require_time_limit(time_limit_s)
        started = time.perf_counter()
        unsolvable = without_options(problem, self.name)
        if unsolvable:
            return unsolvable
        if problem.inseparable_node() is not None:
            problem = tabulated(problem)
        search = _Search(deadline_s=started + time_limit_s, found=_start(problem))
        is_joint = problem.objective.mode is AccuracyMode.JOINT
        complete = True
        try:
            (_search_table if is_joint else _search_frontier)(problem, search)
        except CutShortError:
            complete = False
            search.explanation = f"cut short after {time.perf_counter() - started:.3g} s"
        return _solution(problem, search, complete=complete, started=started)


def _start(problem: Problem) -> Found:
    """Return the choice to improve on: the incumbent, if it keeps the limits."""
    known = problem.known_choice()
    value = problem.objective_of(problem.chosen(known)) if known else -math.inf
    return Found(choices=known, value=value)


def _solution(problem: Problem, search: _Search, *, complete: bool, started: float) -> Solution:
    choices = search.found.choices
    if choices:
        status = Status.OPTIMAL if complete else Status.FEASIBLE
    else:
        status = Status.INFEASIBLE if complete else Status.TIMED_OUT
    objective = problem.objective_of(problem.chosen(choices)) if choices else -math.inf
    return Solution(
        status=status,
        choices=choices,
        objective=objective,
        bound=objective if complete else max(objective, search.bound),
        seconds=time.perf_counter() - started,
        solver=FrontierSolver.name,
        explanation=search.explanation,
    )


def _search_frontier(problem: Problem, search: _Search) -> None:
    walk = Walk(terms_of(problem), deadline_s=search.deadline_s)
    try:
        walk.best(search.found.value)
    finally:
        search.found = walk.found if walk.found.choices else search.found
        search.bound = walk.bound
    search.explanation = f"at most {walk.most_labels} ways side by side"


def _search_table(problem: Problem, search: _Search) -> None:
    """Search the joint table: one walk per combination that may still hold the best choice."""
    terms = terms_of(problem)
    variants = [np.array([o.variant for o in stage.options]) for stage in problem.stages]
    combinations, added = _combinations(problem)
    tops = _tops(terms, variants, combinations, added)
    walks = 0
    for c in np.argsort(-tops, kind="stable"):
        search.bound = float(tops[c])
        if search.found.choices and tops[c] <= search.found.value:
            break
        held = Terms(
            stages=tuple(
                stage.only(names == name)
                for stage, names, name in zip(terms.stages, variants, combinations[c], strict=True)
            )
        )
        walk = Walk(held, deadline_s=search.deadline_s)
        walks += 1
        try:
            walk.best(search.found.value - added[c])
        finally:
            if walk.found.choices:
                search.found = Found(choices=walk.found.choices, value=walk.found.value + added[c])
    search.explanation = f"{walks} of {len(combinations)} combinations"


def _combinations(problem: Problem) -> tuple[list[tuple[str, ...]], Floats]:
    """Return the combinations that are on offer and what each adds to the objective."""
    offered = [set(stage.variants) for stage in problem.stages]
    floor = problem.objective.accuracy_floor or 0.0
    known = [
        names
        for names in problem.joint_accuracy
        if not falls_short(problem.joint_accuracy[names], floor)
        and len(names) == len(offered)
        and all(n in of for n, of in zip(names, offered, strict=True))
    ]
    weight = problem.objective.accuracy_weight
    return known, np.array([weight * problem.joint_accuracy[names] for names in known])


def _tops(
    terms: Terms,
    variants: list[NDArray[np.str_]],
    combinations: list[tuple[str, ...]],
    added: Floats,
) -> Floats:
    """Return what no choice of each combination can exceed.

    The prices of the limits are those at which a stage's variant is worth its own options and the
    mean of its combinations.
    """
    stages = []
    for s, (stage, names) in enumerate(zip(terms.stages, variants, strict=True)):
        mean = _means([c[s] for c in combinations], added)
        values = stage.values + np.array([mean.get(name, 0.0) for name in names])
        stages.append(
            StageTerms(uses=stage.uses, values=values, factors=stage.factors, index=stage.index)
        )
    table = table_of(Terms(stages=tuple(stages)))
    spread = float(np.ptp(table.values[np.isfinite(table.values)]))
    start = np.full(len(table.costs), spread / 4)
    prices = tightest(table, Level(), start, known=-math.inf, scale=max(spread, 1e-9) / 10).prices
    tops = added + LIMIT * prices.sum()
    for s, (stage, names) in enumerate(zip(terms.stages, variants, strict=True)):
        worth = stage.values - stage.uses @ prices
        best = {name: worth[names == name].max() for name in dict.fromkeys(names)}
        tops = tops + np.array([best[c[s]] for c in combinations])
    return np.asarray(tops)


def _means(names: list[str], added: Floats) -> dict[str, float]:
    """Return what is added by the combinations of each variant, on average."""
    of: dict[str, list[float]] = {}
    for name, value in zip(names, added, strict=True):
        of.setdefault(name, []).append(float(value))
    return {name: math.fsum(values) / len(values) for name, values in of.items()}


if TYPE_CHECKING:
    _conforms: Solver = FrontierSolver()
