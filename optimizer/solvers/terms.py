"""A problem as arrays: what each option uses of each limit and what it adds to the objective.

The arrays, with k limits and n options of a stage:

    uses: (n, k)     what the option uses of each limit; uses add up over the stages
    values: (n,)     what it adds to the objective
    factors: (n,)    what it multiplies the product of accuracies by; 1 where nothing is multiplied

A choice's objective is ``sum of values + weight x product of factors``. Every objective and every
limit of ``Problem`` has this form but joint accuracy, which has it for each combination of variants
that is held fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optimizer.options import TOLERANCE
from penstock.domain import AccuracyMode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optimizer.options import StageOptions
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

    def only(self, keep: Flags | Integers) -> StageTerms:
        """Return the options that a mask or an order picks."""
        return StageTerms(
            uses=self.uses[keep],
            values=self.values[keep],
            factors=self.factors[keep],
            index=self.index[keep],
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


def terms_of(problem: Problem) -> Terms:
    """Return the arrays of a problem; in joint mode without the accuracy."""
    mode, weights = problem.objective.mode, problem.objective
    is_product = mode is AccuracyMode.PRODUCT and weights.accuracy_weight > 0
    share = {AccuracyMode.SUM: 1.0, AccuracyMode.MEAN: 1 / len(problem.stages)}.get(mode, 0.0)
    stages = []
    for s, stage in enumerate(problem.stages):
        accuracy = np.array([o.accuracy for o in stage.options])
        values = weights.accuracy_weight * share * accuracy - _price(problem, stage)
        stages.append(
            StageTerms(
                uses=_uses(problem, s),
                values=values,
                factors=accuracy if is_product else np.ones(len(values)),
                index=np.arange(len(values)),
            )
        )
    return Terms(stages=tuple(stages), weight=weights.accuracy_weight if is_product else 0.0)


def _price(problem: Problem, stage: StageOptions) -> Floats:
    cores = np.array([o.cost_cores for o in stage.options])
    batches = np.array([float(o.batch_size) for o in stage.options])
    price: Floats = problem.objective.cost_weight * cores + problem.objective.batch_weight * batches
    return price


def _uses(problem: Problem, s: int) -> Floats:
    """Return the stage's use of the SLO on each path, then of the cores."""
    options = problem.stages[s].options
    latency = np.array([o.latency_s for o in options]) / problem.slo.latency_s
    columns = [latency if s in path else np.zeros(len(options)) for path in problem.paths]
    if problem.max_cores is not None:
        columns.append(np.array([o.cost_cores for o in options]) / problem.max_cores)
    return np.stack(columns, axis=1)


def without_idle_limits(terms: Terms) -> Terms:
    """Leave out each limit that even the choice that uses most of it keeps."""
    most = sum(stage.uses.max(axis=0, initial=0.0) for stage in terms.stages)
    binding = np.asarray(most > LIMIT)
    return Terms(
        stages=tuple(
            StageTerms(uses=s.uses[:, binding], values=s.values, factors=s.factors, index=s.index)
            for s in terms.stages
        ),
        weight=terms.weight,
    )


def within_reach(terms: Terms) -> Terms:
    """Leave out each option that breaks a limit whatever the other stages choose."""
    least = [stage.uses.min(axis=0, initial=np.inf) for stage in terms.stages]
    total = np.sum(least, axis=0)
    return Terms(
        stages=tuple(
            stage.only(np.all(stage.uses + (total - own) <= LIMIT, axis=1))
            for stage, own in zip(terms.stages, least, strict=True)
        ),
        weight=terms.weight,
    )
