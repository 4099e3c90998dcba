"""What no choice can exceed: a Lagrangian bound, tight because the product is cut into levels.

Each limit j gets a price ``m[j] >= 0`` per unit used. For any prices, and any choice that keeps the
limits ``sum of uses <= LIMIT``,

    objective <= objective + sum_j m[j] (LIMIT - use of j)

and the right-hand side falls apart into stages, so its maximum over *all* choices is the sum of
each stage's best. (Fisher, *The Lagrangian relaxation method for solving integer programming
problems*, 1981.) The prices only decide how tight it is.

A weighed product of factors is no sum over the stages, but its logarithm L is. On a *level*, the
choices with ``low <= L <= high``, and for any price b,

    weight x exp(L) - b L <= max(weight x exp(low) - b low, weight x exp(high) - b high)

because the left-hand side is convex in L and so highest at an end. Hence ``weight x exp(L)`` is at
most b L and that maximum, and the bound falls apart into stages again, L being one more column with
the price b. What it gives away is the distance between the exponential and its secant, which is
quartered when a level is halved.

The prices are found on few options of each stage, to which those are added that are worth most at
the prices found, until nothing changes (column generation). There the maximum of each stage is
smoothed to ``t log sum exp(worth / t)``, which Newton's method minimises while t falls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from optimizer.solvers.table import Table
from optimizer.solvers.terms import LIMIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]

_ROUNDS = 12
_LONG = 12
"""With more stages than this a tighter bound is worth the time: what it leaves open, they multiply.
Measured: 9 x 9 x 7 takes half as long without, 100 x 50 x 7 a third as long with."""
_HALVINGS = 5
_COOLING = 6.0
_CLOSE = 0.1
_NOISE = 1e-14


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The choices whose product has a logarithm between two numbers, or all without a product.

    With ``paid`` those only that pay so much, in the unit of that column of the table.
    """

    weight: float = 0.0
    low: float = 0.0
    high: float = 0.0
    paid: tuple[float, float] | None = None

    @property
    def extras(self) -> int:
        """How many columns of the table follow those of the limits: paid, logarithm."""
        return (self.paid is not None) + bool(self.weight)

    @property
    def given_away(self) -> float:
        """How far the secant lies above the exponential, at the most."""
        width = self.high - self.low
        if not self.weight or width < 1e-9:
            return 0.0
        low = self.weight * math.exp(self.low)
        slope = self.slope
        if slope <= 0 or low <= 0:
            return self.weight * math.exp(self.high)
        return low + slope * (math.log(slope / self.weight) - self.low) - slope

    @property
    def slope(self) -> float:
        """The secant's."""
        low, high = math.exp(self.low), math.exp(self.high)
        if self.high - self.low < 1e-9:
            return self.weight * high
        return self.weight * (high - low) / (self.high - self.low)

    def halves(self) -> tuple[Level, Level]:
        """Return the lower and the upper half."""
        middle = (self.low + self.high) / 2
        return replace(self, high=middle), replace(self, low=middle)

    def rewards(self) -> tuple[Floats, Floats]:
        """Return the ends as options of further stages: their values and costs in the extras.

        (extras, 2) and (extras, 2): each one's cost is in its own column.
        """
        values, costs = np.zeros((self.extras, 2)), np.zeros((self.extras, 2))
        if self.paid is not None:
            costs[0] = -self.paid[0], -self.paid[1]
        if self.weight:
            costs[-1] = self.low, self.high
            values[-1] = self.weight * np.exp(costs[-1])
        return values, costs

    def constant(self, prices: Floats) -> float:
        """Return what is added to the stages' best at the prices."""
        count = len(prices) - self.extras
        values, costs = self.rewards()
        ends = values - prices[count:, None] * costs
        return LIMIT * float(prices[:count].sum()) + float(ends.max(axis=1).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Prices, what no choice of the level exceeds, and what each option is worth at the prices."""

    prices: Floats
    value: float
    worth: Floats
    best: Floats

    def slack(self) -> Floats:
        """Return how much the bound falls when a stage takes an option: (stages, width)."""
        return np.asarray(self.best[:, None] - self.worth)


def bound_at(table: Table, level: Level, prices: Floats) -> Bound:
    """Return the bound at given prices; minus infinity where a stage has no option."""
    worth = table.worth(prices)
    best = worth.max(axis=1)
    constant = level.constant(prices)
    noise = _NOISE * (float(np.abs(best).sum()) + float(np.abs(prices).sum()) + abs(constant))
    is_empty = bool(np.isneginf(best).any())
    value = -math.inf if is_empty else float(best.sum()) + constant + noise
    return Bound(prices=prices, value=value, worth=worth, best=best)


def tightest(table: Table, level: Level, start: Floats, *, known: float, scale: float) -> Bound:
    """Return the bound at prices that nearly minimise it.

    ``start`` are prices to begin with, ``known`` a value that is reached, ``scale`` how much the
    prices may be off.
    """
    best = bound_at(table, level, start)
    if not len(start):
        return best
    few = [*_extremes(table), np.argmax(best.worth, axis=1)]
    prices, heat, is_long = start, scale, len(table.values) > _LONG
    limits, floors = _limits(level, len(start)), np.zeros(len(start))
    if level.paid is not None:
        floors[len(start) - level.extras] = -np.inf
    for _ in range(_ROUNDS):
        if best.value <= known:
            break
        gap = best.value - known
        coldest = max(
            1e-9 * (1 + abs(best.value)), min(heat / _COOLING, gap / (200 if is_long else 30))
        )
        sub = _with_reward(table.at(np.stack(few, axis=1)), level)
        prices, lower = _newton(sub, prices, _Range(limits, floors), heat=(heat, coldest))
        found = bound_at(table, level, prices)
        best = min(best, found, key=lambda b: b.value)
        if found.value - lower <= _CLOSE * (best.value - known):
            break
        few.append(np.argmax(found.worth, axis=1))
        heat = max(heat / _COOLING, 10 * coldest)
    return best


def _limits(level: Level, count: int) -> Floats:
    limits = np.full(count, LIMIT)
    limits[count - level.extras :] = 0.0
    return limits


def _extremes(table: Table) -> list[Integers]:
    """Return for each stage the cheapest option in each column and the most valuable one."""
    is_option = np.isfinite(table.values)
    picks = [np.argmin(np.where(is_option, column, np.inf), axis=1) for column in table.costs]
    return [*picks, np.argmax(table.values, axis=1)]


def _with_reward(table: Table, level: Level) -> Table:
    """Return the table with the level's ends as the options of one more stage."""
    extras = level.extras
    if not extras:
        return table
    values = np.full((extras, table.values.shape[1]), -np.inf)
    costs = np.zeros((len(table.costs), *values.shape))
    ends, logs = level.rewards()
    values[:, :2] = ends
    for i in range(extras):
        costs[len(costs) - extras + i, i, :2] = logs[i]
    rows = [*range(len(table.values)), *([0] * extras)]
    return Table(
        values=np.concatenate([table.values, values]),
        costs=np.concatenate([table.costs, costs], axis=1),
        factors=table.factors[rows],
        paid=table.paid[rows],
        places=table.places[rows],
    )


@dataclass(frozen=True, slots=True)
class _Range:
    """What may be used of each column, and how low its price may be."""

    limits: Floats
    floors: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Smooth:
    """The smoothed bound at some prices: its value, its derivatives and the bound itself."""

    value: float
    slope: Floats
    bend: Floats
    exact: float


def _smoothed(table: Table, prices: Floats, limits: Floats, heat: float) -> _Smooth:
    worth = table.worth(prices)
    best = worth.max(axis=1)
    shares = np.exp((worth - best[:, None]) / heat)
    sums = shares.sum(axis=1)
    shares /= sums[:, None]
    weighed = table.costs * shares
    means = weighed.sum(axis=2)
    count = len(prices)
    squares = weighed.reshape(count, -1) @ table.costs.reshape(count, -1).T
    exact = float(best.sum() + prices @ limits)
    return _Smooth(
        value=exact + heat * float(np.log(sums).sum()),
        slope=limits - means.sum(axis=1),
        bend=(squares - means @ means.T) / heat,
        exact=exact,
    )


def _newton(
    table: Table, prices: Floats, of: _Range, *, heat: tuple[float, float]
) -> tuple[Floats, float]:
    """Return prices that nearly minimise the table's bound, and that bound.

    ``heat`` is the smoothing to begin and to end with.
    """
    warm, coldest = heat
    reach = max(warm, 0.1 * float(np.abs(prices).max()))
    best, lowest = prices, math.inf
    while True:
        at = _smoothed(table, prices, of.limits, warm)
        if at.exact < lowest:
            best, lowest = prices, at.exact
        for _ in range(4 if len(table.values) > _LONG + 2 else 1):
            stepped = _step(table, prices, at, of, heat=warm, reach=reach)
            if stepped is None:
                break
            prices, at = stepped
            if at.exact < lowest:
                best, lowest = prices, at.exact
        if warm <= coldest:
            return best, lowest
        warm = max(coldest, warm / _COOLING)


def _step(
    table: Table, prices: Floats, at: _Smooth, of: _Range, *, heat: float, reach: float
) -> tuple[Floats, _Smooth] | None:
    """Return the prices one Newton step on, none below its floor; nothing if that gains nothing."""
    free = np.flatnonzero((prices > of.floors) | (at.slope < 0))
    if not len(free):
        return None
    slope = at.slope[free]
    # No step goes much further than the prices are: where nothing bends it would have no end.
    damping = np.abs(slope) / (4 * (np.abs(prices[free]) + reach)) + 1e-300
    step = np.linalg.solve(at.bend[np.ix_(free, free)] + np.diag(damping), -slope)
    hoped = -float(slope @ step)
    if hoped < 0.1 * heat:
        return None
    share = 1.0
    for _ in range(_HALVINGS):
        tried = prices.copy()
        tried[free] = np.maximum(of.floors[free], prices[free] + share * step)
        found = _smoothed(table, tried, of.limits, heat)
        if found.value < at.value - 1e-4 * share * hoped:
            return tried, found
        share /= 4
    return None
