"""A graph's accuracy as a table over the combinations of variants: what joint mode solves."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from optimizer.composition import composed_accuracy
from penstock.domain import AccuracyMode
from penstock.errors import DomainError

if TYPE_CHECKING:
    from optimizer.problem import Problem

MAX_COMBINATIONS = 4096
"""How many combinations a table may have: each may cost a walk."""


def combinations(problem: Problem) -> int:
    """Return how many combinations of variants are on offer."""
    return math.prod(len(stage.variants) for stage in problem.stages)


def tabulated(problem: Problem) -> Problem:
    """Return the same problem in joint mode, its graph's accuracies computed one by one.

    Every choice has the objective that it had, and keeps the limits that it kept.

    Raises:
        DomainError: there are more than ``MAX_COMBINATIONS``.
    """
    count = combinations(problem)
    if count > MAX_COMBINATIONS:
        raise DomainError(
            f"the accuracy of node {problem.inseparable_node()} is neither a sum nor a product; "
            f"for the frontier it would need a table of {count} combinations of "
            f"variants, at most {MAX_COMBINATIONS} are taken: use the solver 'mip' or 'auto'"
        )
    assert problem.graph is not None, "only a graph has a node that is inseparable"
    names = [stage.stage for stage in problem.stages]
    scores = [{o.variant: stage.score(o) for o in stage.options} for stage in problem.stages]
    table = {
        combination: composed_accuracy(
            problem.graph,
            {n: of[v] for n, of, v in zip(names, scores, combination, strict=True)},
            dict(zip(names, combination, strict=True)),
            problem.objective.mode,
        )
        for combination in product(*(stage.variants for stage in problem.stages))
    }
    objective = replace(problem.objective, mode=AccuracyMode.JOINT)
    return replace(problem, objective=objective, joint_accuracy=table, graph=None)
