"""A problem as arrays: what each option uses of each limit and what it adds to the objective.

The arrays, with k limits and n options of a stage:

    uses: (n, k)     what the option uses of each limit; uses add up over the stages
    values: (n,)     what it adds to the objective
    factors: (n,)    what it multiplies the product of accuracies by; 1 where nothing is multiplied
    paid: (n,)       what of the values is the price of its cost, if known; often in whole cores

A choice's objective is ``sum of values + weight x product of factors``. Every objective and every
limit of ``Problem`` has this form but joint accuracy, and that of a graph that is no sum and no
product (``Problem.inseparable_node``): they have it for each combination of variants that is held
fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from optimizer.composition import linear_weights
from optimizer.option_table import columns_of
from optimizer.options import TOLERANCE
from penstock.domain import AccuracyMode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optimizer.problem import Problem

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTerms:
    """The options of one stage; ``index`` holds their places in the problem."""

    uses: Floats
    values: Floats
    factors: Floats
    index: Integers
    paid: Floats | None = None

    def only(self, keep: Flags | Integers) -> StageTerms:
        """Return the options that a mask or an order picks."""
        return StageTerms(
            uses=self.uses[keep],
            values=self.values[keep],
            factors=self.factors[keep],
            index=self.index[keep],
            paid=None if self.paid is None else self.paid[keep],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All stages; every limit is 1 and what may be used of it is ``LIMIT``."""

    stages: tuple[StageTerms, ...]
    weight: float = 0.0

    @property
    def limits(self) -> int:
        """How many limits there are."""
        return int(self.stages[0].uses.shape[1])


LIMIT = 1 + TOLERANCE - 1e-12
"""What may be used of a limit, in its own units: as ``options.exceeds`` has it, and so little less
that no sum that is rounded another way breaks it."""


_UNREACHABLE = 1e6
"""A use that no choice can afford, and the size of the logarithm of an accuracy of 0."""


def terms_of(problem: Problem) -> Terms:
    """Return the arrays of a problem; in joint mode without the accuracy."""
    mode, weights = problem.objective.mode, problem.objective
    linear = _linear_weights(problem)
    is_product = linear is None and mode is AccuracyMode.PRODUCT and weights.accuracy_weight > 0
    short = _shortfalls(problem, linear)
    stages = []
    for s, stage in enumerate(problem.stages):
        accuracy = stage.scores()
        share = 0.0 if linear is None else weights.accuracy_weight * linear[s]
        values = share * accuracy - _price(problem, s)
        stages.append(
            StageTerms(
                uses=np.stack([*_uses(problem, s), *([short[s]] if short else [])], axis=1),
                values=values,
                factors=accuracy if is_product else np.ones(len(values)),
                index=np.arange(len(values)),
                paid=weights.cost_weight * _paid(problem, s),
            )
        )
    return Terms(stages=tuple(stages), weight=weights.accuracy_weight if is_product else 0.0)


def _linear_weights(problem: Problem) -> list[float] | None:
    """Return what each stage's score counts for in the accuracy; ``None`` if it is no such sum."""
    mode, count = problem.objective.mode, len(problem.stages)
    if problem.graph is not None and mode is not AccuracyMode.JOINT:
        found = linear_weights(problem.graph, mode)
        return None if found is None else [found[stage.stage] for stage in problem.stages]
    share = {AccuracyMode.SUM: 1.0, AccuracyMode.RANKS: 1.0, AccuracyMode.MEAN: 1 / count}.get(mode)
    return None if share is None else [share] * count


def _price(problem: Problem, s: int) -> Floats:
    batches = columns_of(problem.stages[s].options).batch_sizes
    weights = problem.objective
    price: Floats = weights.cost_weight * _paid(problem, s) + weights.batch_weight * batches
    return price


def _paid(problem: Problem, s: int) -> Floats:
    """Return what each option costs, with what moving to it does."""
    options = problem.stages[s].options
    columns = columns_of(options)
    cost = columns.cost_per_hour if problem.is_priced else columns.cost_cores
    if problem.switches:
        cost = cost + np.array([problem.switches[s].cost(o) for o in options])
    return cost


def _shortfalls(problem: Problem, linear: list[float] | None) -> list[Floats]:
    """Return the stages' use of the accuracy floor; none where there is no floor of this form.

    What an option falls short of its stage's best adds up over the stages, in logarithms for a
    product, and must not exceed what the best choice has above the floor.
    """
    floor, mode = problem.objective.accuracy_floor, problem.objective.mode
    if floor is None or floor == 0 or mode is AccuracyMode.JOINT:
        return []
    lowest = floor * (1 - TOLERANCE) * (1 + 1e-12)
    scores = [stage.scores() for stage in problem.stages]
    if linear is not None:
        scores = [w * score for w, score in zip(linear, scores, strict=True)]
    else:
        with np.errstate(divide="ignore"):
            scores = [np.maximum(np.log(score), -_UNREACHABLE) for score in scores]
        lowest = math.log(lowest)
    spare = sum(float(score.max()) for score in scores) - lowest
    if spare <= 0:
        return [np.full(len(score), _UNREACHABLE) for score in scores]
    return [(score.max() - score) / spare * LIMIT for score in scores]


def _uses(problem: Problem, s: int) -> list[Floats]:
    """Return the stage's use of the SLO on each path, then of cores, money and switches."""
    options = columns_of(problem.stages[s].options)
    latency = options.latency_s / problem.slo.latency_s
    columns = [latency if s in path else np.zeros(len(latency)) for path in problem.paths]
    if problem.max_cores is not None:
        columns.append(options.cost_cores / problem.max_cores)
    if problem.max_cost_per_hour is not None:
        columns.append(options.cost_per_hour / problem.max_cost_per_hour)
    if problem.max_paid is not None:
        columns.append(_paid(problem, s) / problem.max_paid)
    if problem.max_switches is not None:
        each = 1 / problem.max_switches if problem.max_switches else _UNREACHABLE
        switched = [float(problem.switches[s].is_switch(o)) for o in problem.stages[s].options]
        columns.append(np.array(switched) * each)
    return columns


def without_idle_limits(terms: Terms, *, keep: int | None = None) -> Terms:
    """Leave out each limit but ``keep`` that even the choice that uses most of it keeps."""
    most = sum(stage.uses.max(axis=0, initial=0.0) for stage in terms.stages)
    binding = np.asarray(most > LIMIT)
    if keep is not None:
        binding[keep] = True
    return Terms(
        stages=tuple(replace(stage, uses=stage.uses[:, binding]) for stage in terms.stages),
        weight=terms.weight,
    )


def within_reach(terms: Terms) -> Terms:
    """Leave out each option that breaks a limit whatever the other stages choose."""
    if any(not len(stage.values) for stage in terms.stages):
        return terms
    least = [stage.uses.min(axis=0, initial=np.inf) for stage in terms.stages]
    total = np.sum(least, axis=0)
    return Terms(
        stages=tuple(
            stage.only(np.all(stage.uses + (total - own) <= LIMIT, axis=1))
            for stage, own in zip(terms.stages, least, strict=True)
        ),
        weight=terms.weight,
    )
