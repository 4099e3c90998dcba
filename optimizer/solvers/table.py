"""All options of a problem in one rectangle: stages x the most options of any stage.

    values: (stages, width)            minus infinity where a stage has no more options
    costs: (columns, stages, width)    what counts against them, each column with a price
    factors: (stages, width)           what an option multiplies the product by
    paid: (stages, width)              what of the value is a price, above the stage's lowest
    places: (stages, width)            where an option stands among its stage's terms

The columns are the uses of the limits and, where a product is weighed, its logarithm, negated: what
an option lacks of a factor of 1. A factor of 0 has none, so factors count as at least ``_TINY``;
that makes a product larger and leaves a bound a bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optimizer.solvers.terms import Terms

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]
    Flags = NDArray[np.bool_]

_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The options that are left of a problem."""

    values: Floats
    costs: Floats
    factors: Floats
    paid: Floats
    places: Integers

    def worth(self, prices: Floats) -> Floats:
        """Return the values less what the options cost at the prices: (stages, width)."""
        flat = self.costs.reshape(len(prices), self.values.size)
        worth: Floats = self.values - (prices @ flat).reshape(self.values.shape)
        return worth

    def at(self, picks: Integers) -> Table:
        """Return the table of the columns picked: (stages, width) of them."""
        return Table(
            values=np.take_along_axis(self.values, picks, axis=1),
            costs=np.take_along_axis(self.costs, picks[None], axis=2),
            factors=np.take_along_axis(self.factors, picks, axis=1),
            paid=np.take_along_axis(self.paid, picks, axis=1),
            places=np.take_along_axis(self.places, picks, axis=1),
        )

    def with_paid(self, span: float, *, at: int) -> Table:
        """Return the table with what is paid, in shares of a span, as one more column."""
        costs = np.insert(self.costs, at, self.paid / span, axis=0)
        return replace(self, costs=costs)

    def only(self, keep: Flags) -> Table:
        """Return the table of the options that a mask keeps, no wider than it has to be."""
        counts = keep.sum(axis=1)
        width = max(1, int(counts.max()))
        kept = self.at(np.argsort(~keep, axis=1, kind="stable")[:, :width])
        kept.values[np.arange(width)[None, :] >= counts[:, None]] = -np.inf
        return kept

    def least(self) -> Floats:
        """Return the lowest cost in each column of each stage: (columns, stages)."""
        is_option = np.isfinite(self.values)[None]
        return np.asarray(np.where(is_option, self.costs, np.inf).min(axis=2))

    def most(self) -> Floats:
        """Return the highest cost in each column of each stage: (columns, stages)."""
        is_option = np.isfinite(self.values)[None]
        return np.asarray(np.where(is_option, self.costs, -np.inf).max(axis=2))


def table_of(terms: Terms) -> Table:
    """Return the table of terms that leave every stage an option."""
    counts = [len(stage.values) for stage in terms.stages]
    shape = (len(counts), max(counts))
    values = np.full(shape, -np.inf)
    factors, paid = np.ones(shape), np.zeros(shape)
    costs = np.zeros((terms.limits + bool(terms.weight), *shape))
    for s, (stage, count) in enumerate(zip(terms.stages, counts, strict=True)):
        values[s, :count] = stage.values
        costs[: terms.limits, s, :count] = stage.uses.T
        factors[s, :count] = stage.factors
        if stage.paid is not None:
            paid[s, :count] = stage.paid - stage.paid.min()
    if terms.weight:
        costs[-1] = -np.log(np.maximum(factors, _TINY))
    places = np.broadcast_to(np.arange(shape[1]), shape)
    return Table(values=values, costs=costs, factors=factors, paid=paid, places=places)
