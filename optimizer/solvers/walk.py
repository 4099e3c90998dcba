"""The search for the best choice: level by level of the product, best bound first.

A level (``bounds``) is bounded; what no option of a stage can bring above the best choice known is
left out of it; a few swaps (``climb``) and a walk with few labels (``labels``, a beam) look for a
better choice. A level is halved while its bound gives away much by its secant, otherwise the walk
is repeated with more labels and at last with all, which is exact. Without a product there is one
level. The search ends when no level's bound is above the best choice known.
"""

from __future__ import annotations

import heapq
import math
import time
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from optimizer.solvers.bounds import Bound, Level, bound_at, tightest
from optimizer.solvers.climb import climbed
from optimizer.solvers.labels import CutShortError, LabelWalk, Ways, just_above
from optimizer.solvers.steps import steps_of
from optimizer.solvers.table import Table, table_of
from optimizer.solvers.terms import Terms, within_reach, without_idle_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]

_SIDES = (0.6, 1.6)
_MUCH = 0.5
_LITTLE = 0.05
_PARTS = 20
_TURNS = 6
_MUCH_LESS = 4
_GUESS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best choice of a search, as options of the problem; ``()`` when there is none."""

    choices: tuple[int, ...]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How wide the walks are before all labels are carried, and how many choices are few.

    Few choices are walked at once. A level is cut by what is paid after the first walk. None of it
    changes what is found, only how fast.
    """

    widths: tuple[int, ...] = (32, 256, 2048)
    few: float = 1e5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A level to be searched, the options it still has, and how wide the next walk is."""

    level: Level
    table: Table
    bound: Bound
    widening: int = 0


class Walk:
    """One problem's search."""

    def __init__(
        self,
        terms: Terms,
        *,
        deadline_s: float,
        keep: int | None = None,
        effort: Effort | None = None,
    ) -> None:
        """Take what ``time.perf_counter`` says when the time is up.

        The limit number ``keep`` stays a column of dominance though nothing may break it.
        """
        self._deadline_s, self._effort = deadline_s, effort or Effort()
        self.found = Found(choices=(), value=-math.inf)
        self.most_labels = 0
        self._kept = keep is not None
        self._terms = without_idle_limits(within_reach(terms), keep=keep)
        self._is_empty = any(not len(s.values) for s in self._terms.stages)
        self._parts: list[tuple[float, int, _Part]] = []
        self._numbers = count()
        self.bound = -math.inf
        if self._is_empty:
            return
        self._table = table_of(self._terms)
        options = np.isfinite(self._table.values)
        self._spread = max(1e-9, float(np.ptp(self._table.values[options])), self._terms.weight)
        self._steps = steps_of(self._table)
        self._level = _whole(self._table, self._terms.weight)
        self._least = self._lowest()
        self._root = self._rooted()
        self.bound = self._root.value

    def _rooted(self) -> Bound:
        start = np.full(len(self._table.costs), self._spread / 4)
        if self._terms.weight:
            start[-1] = self._level.slope
        return tightest(self._table, self._level, start, known=self._least, scale=self._spread / 10)

    def _lowest(self) -> float:
        """Return a value that every choice exceeds."""
        values = self._table.values
        least = np.where(np.isfinite(values), values, np.inf).min(axis=1)
        return float(least.sum()) - 1e-6 * (1 + float(np.abs(least).sum()))

    def best(self, above: float) -> Found:
        """Return the best choice with an objective above a value, without choices if none has.

        Raises:
            CutShortError: by the deadline it was not known.
        """
        self.found = Found(choices=(), value=above)
        if self._is_empty:
            return self.found
        self._known = max(above, self._least)
        self._parts = []
        self._add(self._level, self._table, self._root, sought=math.inf)
        while self._parts:
            part = heapq.heappop(self._parts)[2]
            self.bound = part.bound.value
            if part.bound.value <= just_above(self._known):
                break
            if time.perf_counter() > self._deadline_s:
                raise CutShortError
            self._search(part)
        self.bound = self._known
        return self.found

    def all_unbeaten(self, above: float) -> tuple[tuple[int, ...], ...]:
        """Return every choice with an objective above a value that no other one beats, and more.

        One beats another with no more use of ``keep`` and an objective no lower.

        Raises:
            CutShortError: by the deadline they were not known.
        """
        if self._is_empty:
            return ()
        self._known = max(above, self._least)
        found, levels = [], [(self._level, self._table, self._root)]
        while levels:
            level, table, bound = levels.pop()
            table, bound = self._narrowed(table, level, bound)
            if bound.value <= just_above(self._known):
                continue
            is_much = level.given_away > _MUCH * (bound.value - self._known)
            if is_much and _choices(table) > self._effort.few:
                for half in level.halves():
                    levels.append((half, table, self._tightest(table, half, bound)))
                continue
            ways = self._ways(_Part(level=level, table=table, bound=bound), width=None)
            found += [self._choices(places) for places in ways.places]
        return tuple(found)

    def _tightest(self, table: Table, level: Level, parent: Bound) -> Bound:
        gap = parent.value - self._known
        return tightest(
            table, level, parent.prices, known=just_above(self._known), scale=gap / _PARTS
        )

    def _add(self, level: Level, table: Table, bound: Bound, *, sought: float) -> None:
        """Put a level up for search, unless its bound says that nothing better is in it.

        ``sought`` is the gap for which its prices were looked for, because how close to the best
        ones is close enough depends on it; where it has become much less they are looked for again.
        """
        for _ in range(_TURNS):
            better = climbed(table, bound, level)
            if better is not None:
                self._learn(better.places, better.value)
            gap = bound.value - self._known
            if bound.value <= just_above(self._known):
                return
            table, bound = self._narrowed(table, level, bound)
            if bound.value <= just_above(self._known):
                return
            if self._is_reached and gap > sought / _MUCH_LESS:
                break
            sought = gap if self._is_reached else min(gap, sought) / _GUESS
            again = tightest(
                table, level, bound.prices, known=bound.value - sought, scale=sought / _PARTS
            )
            bound = min(bound, again, key=lambda b: b.value)
        self._put(_Part(level=level, table=table, bound=bound))

    @property
    def _is_reached(self) -> bool:
        """Whether the value known is that of a choice, or one that was asked to be exceeded."""
        return self._known > self._least

    def _put(self, part: _Part) -> None:
        heapq.heappush(self._parts, (-part.bound.value, next(self._numbers), part))

    def _learn(self, places: Integers, value: float) -> None:
        if value > self._known:
            self._known = value
            self.found = Found(choices=self._choices(places), value=value)

    def _choices(self, places: Integers) -> tuple[int, ...]:
        stages = self._terms.stages
        return tuple(int(stage.index[i]) for stage, i in zip(stages, places, strict=True))

    def _narrowed(self, table: Table, level: Level, bound: Bound) -> tuple[Table, Bound]:
        """Leave out what cannot be part of anything better than the best choice known."""
        gap = bound.value - self._known
        is_in = bound.slack() <= gap + 1e-9 * (1 + abs(bound.value))
        narrow = table.only(is_in)
        return narrow, bound_at(narrow, level, bound.prices)

    def _search(self, part: _Part) -> None:
        """Halve a level, or walk it."""
        table, bound = self._narrowed(part.table, part.level, part.bound)
        if bound.value <= just_above(self._known):
            return
        part = replace(part, table=table, bound=bound)
        gap = part.bound.value - self._known
        few = _choices(table) <= self._effort.few
        if not few and part.level.given_away > _MUCH * gap:
            self._halve(part)
            return
        if not few and self._split_by_paid(part):
            return
        widths = self._effort.widths
        is_last = few or part.widening >= len(widths)
        ways = self._ways(part, width=None if is_last else widths[part.widening])
        known = self._known
        if len(ways.values):
            self._learn(ways.places[0], float(ways.values[0]))
        if ways.is_whole:
            return
        if self._known > known:
            self._add(part.level, table, bound, sought=gap)
        elif part.level.given_away > _LITTLE * gap:
            self._halve(part)
        else:
            self._put(replace(part, widening=part.widening + 1))

    def _halve(self, part: _Part) -> None:
        gap = part.bound.value - self._known
        for half in part.level.halves():
            bound = self._tightest(part.table, half, part.bound)
            self._add(half, part.table, bound, sought=gap)

    def _split_by_paid(self, part: _Part) -> bool:
        """Cut a level by what its choices pay, if that comes in steps; say whether it was cut."""
        if part.level.paid is None and (part.widening < 1 or self._steps is None):
            return False
        assert self._steps is not None, "a level that was cut by steps has them"
        table, bound = part.table, part.bound
        pieces = self._steps.parts(part.level, table, bound)
        if not pieces:
            return False
        if part.level.paid is None:
            at = len(bound.prices) - part.level.extras
            table = table.with_paid(self._steps.span, at=at)
            bound = replace(bound, prices=np.insert(bound.prices, at, 0.0))
        gap = bound.value - self._known
        for piece in pieces:
            self._add(piece, table, self._tightest(table, piece, bound), sought=gap)
        return True

    def _ways(self, part: _Part, *, width: int | None) -> Ways:
        walk = LabelWalk(
            part.table,
            part.level,
            self._bounds(part),
            deadline_s=self._deadline_s,
            kept=self._kept,
        )
        ways = walk.ways(self._known, width=width)
        self.most_labels = max(self.most_labels, ways.most_labels)
        return ways

    def _bounds(self, part: _Part) -> tuple[Bound, ...]:
        """Return the bound at its own prices and at lower and higher prices of the limits.

        A label that has used much of a limit, or little, is held better by these.
        """
        prices = part.bound.prices
        limits = prices[: len(prices) - part.level.extras]
        if not limits.any():
            return (part.bound,)
        sides = []
        for factor in _SIDES:
            moved = prices.copy()
            moved[: len(limits)] *= factor
            sides.append(bound_at(part.table, part.level, moved))
        return (part.bound, *sides)


def _choices(table: Table) -> float:
    """Return how many choices the options make."""
    return float(np.prod(np.isfinite(table.values).sum(axis=1), dtype=np.float64))


def _whole(table: Table, weight: float) -> Level:
    """Return the level of all choices."""
    if not weight:
        return Level()
    return Level(
        weight=weight,
        low=-float(table.most()[-1].sum()) - 1e-9,
        high=-float(table.least()[-1].sum()) + 1e-9,
    )
