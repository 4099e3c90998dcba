"""What the stages still to come can add at most: a Lagrangian bound for the frontier search.

Each limit j gets a price ``m[j] >= 0`` per unit used. For any prices, and any choice that keeps the
limits ``sum of uses <= LIMIT``,

    objective <= objective + sum_j m[j] (LIMIT - use of j)

and the right-hand side falls apart into stages, so its maximum over *all* choices is easy to find
and no choice within the limits exceeds it. (Fisher, *The Lagrangian relaxation method for solving
integer programming problems*, 1981.) The prices only decide how tight it is.

With a product of accuracies the right-hand side is, for the stages from s on and a product x
reached before them,

    g[s](x) = max over their choices of  sum of (value - m . uses)  +  weight x (product of factors)

a maximum of straight lines in x: convex. ``g[s](x) = max_o (w[o] + g[s+1](x a[o]))`` is computed on
a grid of x from the last stage back; between grid points a straight line lies above a convex
function, so what is read off is a bound. The grid is geometric, so that multiplying by a[o] moves
every point by the same number of places and the same fraction of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optimizer.solvers.terms import LIMIT, StageTerms, Terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_SIDES = (0.6, 1.6)
_MORE_SIDES = (0.5, 0.8, 0.9, 1.1, 1.25, 2.0)
_LONG = 12
"""More stages than this spread further from the tight prices; without more bounds at their sides
the beams go astray, and 1 of 20 instances of 100 x 20 x 7 had no proof after a minute."""
_TRIES = 5
_GRID = 512
_DEEPEST = 1e-4
"""The grid ends at this share of the highest product; below, the line to 0 is the bound."""
_LINEARISATIONS = 4
_NEWTON_STEPS = 40
_ELLIPSOIDS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The bound for every number of stages already chosen.

    ``flat[s]`` is g[s] where no product is weighed; ``curves[s]`` is g[s] on ``grid`` where one is.
    """

    prices: Floats
    flat: Floats
    grid: Floats
    curves: Floats

    @property
    def whole(self) -> float:
        """At most the objective of any choice within the limits."""
        return float(self.completion(0, np.ones(1))[0]) + LIMIT * float(self.prices.sum())

    def completion(self, s: int, products: Floats) -> Floats:
        """Return at most what the stages from s on add, the price of their uses taken off."""
        if not len(self.grid):
            return np.full(products.shape, self.flat[s])
        return np.asarray(np.interp(products, self.grid, self.curves[s]))


def bounds_of(terms: Terms) -> tuple[Bounds, ...]:
    """Return bounds at several prices: the first is tight as a whole, the others at its sides."""
    best = _best(terms)
    if not best.prices.any():
        return (best,)
    sides = _SIDES if len(terms.stages) <= _LONG else _MORE_SIDES
    return (best, *(_bounds_at(terms, best.prices * f) for f in sides))


def _best(terms: Terms) -> Bounds:
    prices = _prices(terms)
    best = _bounds_at(terms, prices)
    if not (terms.weight and prices.any()):
        return best
    factor = 1.5
    for _ in range(_TRIES):
        moved = False
        for j in range(len(prices)):
            for step in (factor, 1 / factor):
                tried = best.prices.copy()
                tried[j] *= step
                other = _bounds_at(terms, tried)
                if other.whole < best.whole:
                    best, moved = other, True
                    break
        if not moved:
            factor = math.sqrt(factor)
    return best


def _bounds_at(terms: Terms, prices: Floats) -> Bounds:
    if not terms.weight:
        best = [np.max(s.values - s.uses @ prices) for s in terms.stages]
        flat = np.concatenate([np.cumsum(best[::-1])[::-1], [0.0]])
        return Bounds(prices=prices, flat=flat, grid=np.empty(0), curves=np.empty((0, 0)))
    grid = _grid(terms)
    curves = [terms.weight * grid]
    for stage in reversed(terms.stages):
        curves.append(_curve_before(stage, curves[-1], grid, prices))
    return Bounds(prices=prices, flat=np.empty(0), grid=grid, curves=np.array(curves[::-1]))


def _grid(terms: Terms) -> Floats:
    """Return 0 and a geometric grid up to 1 that covers the products worth looking at."""
    highest = math.prod(float(s.factors.max()) for s in terms.stages)
    lowest = math.prod(float(s.factors.min()) for s in terms.stages)
    low = min(max(lowest, _DEEPEST * highest, 1e-300), 0.99)
    return np.concatenate([[0.0], np.geomspace(low, 1.0, _GRID)])


def _curve_before(stage: StageTerms, after: Floats, grid: Floats, prices: Floats) -> Floats:
    """Return ``max_o w[o] + after(x a[o])`` on the grid, ``after`` read off by straight lines."""
    weights = stage.values - stage.uses @ prices
    step = math.log(grid[2] / grid[1])
    # The line from the grid's first point above 0 down to 0, at geometric points as well.
    below = np.exp(-step * np.arange(len(grid), 0, -1))
    longer = np.concatenate([after[0] + below * (after[1] - after[0]), after[1:], after[-1:]])
    curve = np.full(len(grid), -math.inf)
    for o in _worth_trying(stage.factors, weights):
        factor = stage.factors[o]
        places = min(-math.log(factor) / step, len(grid) - 1) if factor > 0 else len(grid) - 1
        down = math.ceil(places - 1e-9)
        # The share of the way to the next point is the same wherever the point lies.
        share = math.expm1(max(0.0, down - places) * step) / math.expm1(step)
        start, end = len(grid) - down, 2 * len(grid) - 1 - down
        moved = (1 - share) * longer[start:end] + share * longer[start + 1 : end + 1]
        np.maximum(curve[1:], moved + weights[o], out=curve[1:])
    curve[0] = after[0] + weights.max()
    return curve


def _worth_trying(factors: Floats, weights: Floats) -> NDArray[np.intp]:
    """Return the options that no other one beats in factor and weight."""
    order = np.lexsort((-weights, -factors))
    highest = np.maximum.accumulate(weights[order])
    is_better = np.ones(len(order), dtype=bool)
    is_better[1:] = weights[order][1:] > highest[:-1]
    return order[is_better]


def urgency(terms: Terms) -> Floats:
    """Return for each stage what its second-best option is worth less, at tight prices.

    Where that is much, the choice is all but made: such stages come first in a walk, so that the
    ways multiply late.
    """
    table = _Table(terms)
    values, prices = _tangent(terms, table)
    worth = np.sort(values - table.uses @ prices, axis=1)
    if worth.shape[1] == 1:
        return np.full(len(worth), np.inf)
    return np.asarray(worth[:, -1] - worth[:, -2])


def _prices(terms: Terms) -> Floats:
    """Return prices that nearly minimise the bound, the product replaced by a tangent."""
    return _tangent(terms, _Table(terms))[1]


def _tangent(terms: Terms, table: _Table) -> tuple[Floats, Floats]:
    """Return the options' values, with a share of the product's logarithm each, and the prices."""
    if not terms.weight:
        return table.values, table.cheapest(table.values)
    logs = np.log(np.maximum(table.factors, 1e-9))
    reached = math.prod(float(s.factors.max()) for s in terms.stages)
    values, prices = table.values, np.zeros(terms.limits)
    for _ in range(_LINEARISATIONS):
        values = table.values + terms.weight * reached * logs
        prices = table.cheapest(values)
        picked = table.picked(values, prices)
        reached = (reached + float(np.exp(logs[table.rows, picked].sum()))) / 2
    return values, prices


class _Table:
    """All options in one rectangle, stages x the most options, the rest at minus infinity."""

    def __init__(self, terms: Terms) -> None:
        count, width = len(terms.stages), max(len(s.values) for s in terms.stages)
        self.rows = np.arange(count)
        self.values = np.full((count, width), -np.inf)
        self.factors = np.ones((count, width))
        self.uses = np.zeros((count, width, terms.limits))
        for s, stage in enumerate(terms.stages):
            n = len(stage.values)
            self.values[s, :n] = stage.values
            self.factors[s, :n] = stage.factors
            self.uses[s, :n] = stage.uses

    def picked(self, values: Floats, prices: Floats) -> NDArray[np.intp]:
        """Return the option of each stage that is worth most at the prices."""
        return np.asarray(np.argmax(values - self.uses @ prices, axis=1))

    def dual(self, values: Floats, prices: Floats) -> tuple[float, Floats]:
        """Return the bound at the prices and its slope in each of them."""
        picked = self.picked(values, prices)
        used = self.uses[self.rows, picked].sum(axis=0)
        slope = LIMIT - used
        return float(values[self.rows, picked].sum() + slope @ prices), slope

    def cheapest(self, values: Floats) -> Floats:
        """Return prices that (nearly) minimise the bound."""
        if not self.uses.shape[2]:
            return np.zeros(0)
        return self._newton(values) if self.uses.shape[2] == 1 else self._ellipsoid(values)

    def _newton(self, values: Floats) -> Floats:
        """Minimise over one price: intersect the tangents on both sides until nothing changes."""
        low, high = np.zeros(1), np.ones(1)
        at_low, low_slope = self.dual(values, low)
        if low_slope[0] >= 0:
            return low
        at_high, high_slope = self.dual(values, high)
        while high_slope[0] < 0 and high[0] < 1e12:
            low, at_low, low_slope = high, at_high, high_slope
            high = high * 8
            at_high, high_slope = self.dual(values, high)
        for _ in range(_NEWTON_STEPS):
            span = high_slope[0] - low_slope[0]
            if span <= 0:
                break
            middle = (at_low - at_high + high_slope * high - low_slope * low) / span
            at, slope = self.dual(values, middle)
            if slope[0] == 0 or at >= at_low + low_slope[0] * (middle[0] - low[0]) - 1e-12:
                return np.asarray(middle)
            if slope[0] < 0:
                low, at_low, low_slope = middle, at, slope
            else:
                high, at_high, high_slope = middle, at, slope
        return low if at_low < at_high else high

    def _ellipsoid(self, values: Floats) -> Floats:
        """Minimise over several prices: halve an ellipsoid that holds the minimum (Shor, 1977)."""
        count = self.uses.shape[2]
        finite = values[np.isfinite(values)]
        size = max(1e-9, float(np.ptp(finite)) * len(self.rows))
        centre = np.full(count, size / 4)
        shape = np.eye(count) * size**2
        best, best_prices = math.inf, np.zeros(count)
        for _ in range(_ELLIPSOIDS * count // 2):
            if centre.min() < 0:
                slope = np.where(centre == centre.min(), -1.0, 0.0)
            else:
                at, slope = self.dual(values, centre)
                if at < best:
                    best, best_prices = at, centre.copy()
            width = math.sqrt(max(float(slope @ shape @ slope), 1e-300))
            if width < 1e-10 * (1 + abs(best)):
                break
            step = shape @ slope / width
            centre = centre - step / (count + 1)
            shape = count**2 / (count**2 - 1) * (shape - 2 / (count + 1) * np.outer(step, step))
        return best_prices
