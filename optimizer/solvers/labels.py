"""Label setting: stage by stage, only the ways that no other way beats are carried along.

A *label* is a choice for the first s stages: what it costs in each column (the uses of the limits
and the product's logarithm, see ``table``), its value (the sum of what its options add to the
objective) and the product so far. Four rules throw labels away; none loses the optimum:

* **Dominance.** Let label A use no more of any limit than B, and let its ``value + weight x product
  x f`` be no lower than B's both at the lowest product f of factors that can follow and at (just
  above) the highest. Any completion of B within the limits completes A within them, because uses
  add up; and with the same completion A's objective is no lower, for the difference between both is
  linear in f. So B can go. Uses below what the stages to come cannot make too much of count as
  equal: whatever follows, the limit holds.
* **Reach.** A label that breaks a limit with the least that the stages to come must use has no
  completion.
* **Level.** A label whose completions all end outside the level searched, by their product or by
  what they pay, belongs to another level's search. What beats a label may do so as well, but then
  its objective is higher, or as high with a higher product (that is why f is taken from just above
  the highest), or as high with as high a product and less paid (the level's upper limit on what is
  paid is a limit like the others). So the chain of what beats what ends, in a level where the best
  of them is found.
* **Bound.** A label whose completions cannot exceed the best choice known (``bounds``) by more than
  a rounding error can go: that choice is at hand.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optimizer.dominance import frontier
from optimizer.solvers.terms import LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from optimizer.solvers.bounds import Bound, Level
    from optimizer.solvers.table import Table

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]
    Flags = NDArray[np.bool_]

_SPARE = 8
_CHUNK = 400_000
_ROUNDING = 1e-11
_ABOVE = 1 + 1e-9
_MOST_LABELS = 400_000


class CutShortError(Exception):
    """The time or the memory ran out; what was found so far stands in ``Walk.found``."""


def just_above(value: float) -> float:
    """Return a value that is above another one by more than a rounding error."""
    return value + _ROUNDING * (1 + abs(value)) if math.isfinite(value) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels after some stages; ``before`` and ``places`` lead back to the choice.

    ``worth`` is what the label's options are worth at each bound's prices: (bounds, labels).
    """

    costs: Floats
    values: Floats
    products: Floats
    worth: Floats
    before: Integers
    places: Integers

    def only(self, keep: Integers) -> Labels:
        """Return the labels picked."""
        return Labels(
            costs=self.costs[:, keep],
            values=self.values[keep],
            products=self.products[keep],
            worth=self.worth[:, keep],
            before=self.before[keep],
            places=self.places[keep],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The ways through all stages that are left, best first, and whether any was left out.

    ``most_labels`` says how many were carried side by side.
    """

    places: tuple[Integers, ...]
    values: Floats
    is_whole: bool
    most_labels: int


class LabelWalk:
    """The walks through one level's options."""

    def __init__(
        self, table: Table, level: Level, bounds: Sequence[Bound], *, deadline_s: float, kept: bool
    ) -> None:
        """Take bounds on the level, and whether the last limit is only there to be compared by."""
        self._weight, self._level, self._kept = level.weight, level, kept
        self._limits = len(table.costs) - level.extras
        self._caps = np.full(self._limits, LIMIT)
        if level.paid is not None:
            self._limits += 1
            self._caps = np.append(self._caps, level.paid[1])
        self._deadline_s = deadline_s
        self._order = _order(bounds[0])
        self._stages = [_Stage(table, bounds, s) for s in self._order]
        self._least = _sums_from(table.least()[:, self._order])
        self._most = _sums_from(table.most()[:, self._order])
        self._factors = _range_from([stage.factors for stage in self._stages])
        constants = [level.constant(b.prices) for b in bounds]
        bests = np.stack([b.best[self._order] for b in bounds])
        self._to_come = _sums_from(bests) + np.array(constants)[:, None]

    def ways(self, above: float, *, width: int | None) -> Ways:
        """Return what is left of the ways with an objective above a value.

        Of more than ``width`` labels only the most hopeful are carried on.

        Raises:
            CutShortError: the deadline passed, or there are too many labels.
        """
        labels, trail, is_whole, most = self._start(), [], True, 1
        for s, stage in enumerate(self._stages):
            labels, whole = self._longer(labels, stage, s + 1, above=above, width=width)
            is_whole &= whole
            most = max(most, len(labels.values))
            trail.append(labels)
            if not len(labels.values):
                break
        totals = labels.values + self._weight * labels.products
        order = np.argsort(-totals, kind="stable")
        return Ways(
            places=tuple(self._traced(trail, int(i)) for i in order),
            values=totals[order],
            is_whole=is_whole,
            most_labels=most,
        )

    def _start(self) -> Labels:
        nowhere = np.zeros(1, dtype=np.intp)
        return Labels(
            costs=np.zeros((len(self._least), 1)),
            values=np.zeros(1),
            products=np.ones(1),
            worth=np.zeros((len(self._to_come), 1)),
            before=nowhere,
            places=nowhere,
        )

    def _traced(self, trail: list[Labels], at: int) -> Integers:
        places = np.empty(len(self._stages), dtype=np.intp)
        for s in reversed(range(len(trail))):
            places[self._order[s]] = trail[s].places[at]
            at = int(trail[s].before[at])
        return places

    def _longer(
        self, labels: Labels, stage: _Stage, s: int, *, above: float, width: int | None
    ) -> tuple[Labels, bool]:
        """Return the labels with one of the stage's options each that no rule throws away.

        Of more than ``width`` only the most hopeful are returned; the flag says whether all are.
        """
        at_once = max(1, _CHUNK // len(stage.values))
        parts = []
        is_whole = True
        for start in range(0, max(1, len(labels.values)), at_once):
            if time.perf_counter() > self._deadline_s:
                raise CutShortError
            end = min(start + at_once, len(labels.values))
            some = labels if end - start == len(labels.values) else labels.only(_span(start, end))
            hopes = self._hopes(some, stage, s)
            rows, picks = np.nonzero(hopes > just_above(above))
            if width is not None and len(rows) > width * _SPARE:
                most = np.argpartition(-hopes[rows, picks], width * _SPARE)[: width * _SPARE]
                rows, picks, is_whole = rows[most], picks[most], False
            parts.append(self._unbeaten(_extended(some, stage, rows, picks, start), s))
        joined = parts[0] if len(parts) == 1 else self._unbeaten(_joined(parts), s)
        if width is not None and len(joined.values) > width:
            hopes = (joined.worth + self._to_come[:, s, None]).min(axis=0)
            return joined.only(np.argpartition(-hopes, width)[:width]), False
        if len(joined.values) > _MOST_LABELS:
            raise CutShortError
        return joined, is_whole

    def _hopes(self, labels: Labels, stage: _Stage, s: int) -> Floats:
        """Return at most the objective of each label with each option and whatever follows.

        (labels, options); minus infinity where a limit or the level is out of reach.
        """
        hopes = np.full((len(labels.values), len(stage.values)), np.inf)
        for done, added, follows in zip(
            labels.worth, stage.worth, self._to_come[:, s], strict=True
        ):
            np.minimum(hopes, (done + follows)[:, None] + added[None, :], out=hopes)
        for j in range(self._limits):
            left = self._caps[j] - self._least[j, s] - labels.costs[j]
            hopes[stage.costs[j][None, :] > left[:, None]] = -np.inf
        if self._level.paid is not None:
            paid = labels.costs[self._limits - 1][:, None] + stage.costs[self._limits - 1][None, :]
            hopes[paid + self._most[self._limits - 1, s] < self._level.paid[0]] = -np.inf
        if self._weight:
            self._hold_to_level(hopes, labels.costs[-1][:, None] + stage.costs[-1][None, :], s)
        return hopes

    def _hold_to_level(self, hopes: Floats, costs: Floats, s: int) -> None:
        slack = 1e-9 * (1 + abs(self._level.low))
        hopes[costs + self._least[-1, s] > slack - self._level.low] = -np.inf
        hopes[costs + self._most[-1, s] < -self._level.high - slack] = -np.inf

    def _unbeaten(self, labels: Labels, s: int) -> Labels:
        if len(labels.values) <= 1:
            return labels
        if s == len(self._stages) and not self._kept:
            best = int(np.argmax(labels.values + self._weight * labels.products))
            return labels.only(_span(best, best + 1))
        # Less than this of a limit cannot be missed by whatever follows.
        floor = self._caps - self._most[: self._limits, s]
        if self._kept:
            floor[-1] = 0.0
        columns = [*np.maximum(labels.costs[: self._limits], floor[:, None])]
        for factors in self._factors[:, s] if self._weight else np.zeros(1):
            columns.append(-labels.values - self._weight * factors * labels.products)
        return labels.only(frontier(np.stack(columns, axis=1)))


class _Stage:
    """The options of one stage, without the rectangle's empty places."""

    def __init__(self, table: Table, bounds: Sequence[Bound], s: int) -> None:
        is_option = np.isfinite(table.values[s])
        self.values = table.values[s, is_option]
        self.costs = table.costs[:, s, is_option]
        self.factors = table.factors[s, is_option]
        self.places = table.places[s, is_option]
        self.worth = np.stack([b.worth[s, is_option] for b in bounds])


def _order(bound: Bound) -> Integers:
    """Return the stages in the order of what their second-best option is worth less.

    Where that is much, the choice is all but made: such stages come first, so that the ways
    multiply late.
    """
    if bound.worth.shape[1] == 1:
        return np.arange(len(bound.worth))
    two = -np.partition(-bound.worth, 1, axis=1)[:, :2]
    return np.argsort(two[:, 1] - two[:, 0], kind="stable")


def _sums_from(rows: Floats) -> Floats:
    """Return the sums of the last axis from each place on; the last is 0."""
    sums = np.zeros((len(rows), rows.shape[1] + 1))
    sums[:, :-1] = np.cumsum(rows[:, ::-1], axis=1)[:, ::-1]
    return sums


def _range_from(factors: list[Floats]) -> Floats:
    """Return the lowest product of what follows each place, and just above the highest."""
    ends = np.ones((2, len(factors) + 1))
    for s in reversed(range(len(factors))):
        ends[0, s] = ends[0, s + 1] * factors[s].min(initial=np.inf)
        ends[1, s] = ends[1, s + 1] * factors[s].max(initial=0.0)
    ends[1] *= _ABOVE
    return ends


def _span(start: int, end: int) -> Integers:
    return np.arange(start, end)


def _extended(labels: Labels, stage: _Stage, rows: Integers, picks: Integers, start: int) -> Labels:
    """Return the labels ``rows`` with the options ``picks``; ``start`` is the first one's place."""
    return Labels(
        costs=labels.costs[:, rows] + stage.costs[:, picks],
        values=labels.values[rows] + stage.values[picks],
        products=labels.products[rows] * stage.factors[picks],
        worth=labels.worth[:, rows] + stage.worth[:, picks],
        before=rows + start,
        places=stage.places[picks],
    )


def _joined(parts: list[Labels]) -> Labels:
    return Labels(
        costs=np.concatenate([p.costs for p in parts], axis=1),
        values=np.concatenate([p.values for p in parts]),
        products=np.concatenate([p.products for p in parts]),
        worth=np.concatenate([p.worth for p in parts], axis=1),
        before=np.concatenate([p.before for p in parts]),
        places=np.concatenate([p.places for p in parts]),
    )
