"""Label setting: stage by stage, only the ways that no other way beats are carried along.

A *label* is a choice for the first s stages: what it uses of each limit (the SLO on each path, the
cores), its value (the sum of what its options add to the objective) and, where the objective weighs
a product of accuracies, the product so far. Three rules throw labels away; none loses the optimum:

* **Dominance.** Let label A use no more of any limit than B, with a value no lower and a product no
  lower. Any completion of B within the limits completes A within them, because uses add up; and
  with the same completion A's objective is ``value + added + weight x product x factor`` with every
  part at least B's, because the factors and the weight are not negative. So B can go. Uses below
  what the stages to come cannot make too much of count as equal: whatever follows, the limit holds.
* **Reach.** A label that breaks a limit with the least that the stages to come must use has no
  completion.
* **Bound.** A label whose completions cannot exceed the best choice known (``bounds``) by more than
  a rounding error can go: that choice is at hand.

The best choice known comes from the same walk with a few labels per stage (a beam).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from optimizer.dominance import frontier
from optimizer.solvers.bounds import bounds_of, urgency
from optimizer.solvers.terms import (
    LIMIT,
    StageTerms,
    Terms,
    within_reach,
    without_idle_limits,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]

_BEAMS = (24, 240)
_SPARE = 8
_CHUNK = 400_000
_ROUNDING = 1e-11
_MOST_LABELS = 400_000


class CutShortError(Exception):
    """The time or the memory for a walk ran out; what was found so far stands in ``Walk.found``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labels:
    """Labels after some stages; ``before`` and ``picks`` lead back to the choice."""

    uses: Floats
    values: Floats
    products: Floats
    before: Integers
    picks: Integers

    def only(self, keep: Integers) -> _Labels:
        return _Labels(
            uses=self.uses[keep],
            values=self.values[keep],
            products=self.products[keep],
            before=self.before[keep],
            picks=self.picks[keep],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best choice of a walk, as options of the problem; ``()`` when there is none."""

    choices: tuple[int, ...]
    value: float


class Walk:
    """One problem's walks over the stages: the beams, then the exact one."""

    def __init__(self, terms: Terms, *, deadline_s: float, keep: int | None = None) -> None:
        """Take what ``time.perf_counter`` says when the time is up.

        The limit number ``keep`` stays a column of dominance though nothing may break it.
        """
        self._deadline_s = deadline_s
        self.found = Found(choices=(), value=-math.inf)
        self._terms = unbeaten(without_idle_limits(within_reach(terms), keep=keep))
        self._is_empty = any(not len(s.values) for s in self._terms.stages)
        self._order = np.arange(len(self._terms.stages))
        if not self._is_empty:
            self._order = np.argsort(-urgency(_priced(self._terms, keep)), kind="stable")
            self._terms = replace(
                self._terms, stages=tuple(self._terms.stages[s] for s in self._order)
            )
        self._bounds = () if self._is_empty else bounds_of(_priced(self._terms, keep))
        if keep is not None:
            self._bounds = tuple(replace(b, prices=np.append(b.prices, 0.0)) for b in self._bounds)
        uses = [s.uses for s in self._terms.stages]
        self._least = _sums_from([u.min(axis=0, initial=np.inf) for u in uses])
        self._most = _sums_from([u.max(axis=0, initial=0.0) for u in uses])
        self._kept = keep is not None
        self.most_labels = 0

    @property
    def bound(self) -> float:
        """At most the objective of any choice within the limits."""
        return self._bounds[0].whole if self._bounds else -math.inf

    def best(self, above: float) -> Found:
        """Return the best choice with an objective above a value, without choices if none has.

        Raises:
            CutShortError: by the deadline it was not known.
        """
        self.found = Found(choices=(), value=above)
        if self._is_empty:
            return self.found
        for width in (*_BEAMS, None):
            if self.bound <= _just_above(self.found.value):
                break
            found, was_exact = self._walk(self.found.value, width)
            self.found = found if found.choices else self.found
            if was_exact:
                break
        return self.found

    def all_unbeaten(self, above: float) -> tuple[tuple[int, ...], ...]:
        """Return every choice with an objective above a value that no other one beats.

        One beats another with no more use of ``keep`` and an objective no lower.

        Raises:
            CutShortError: by the deadline they were not known.
        """
        if self._is_empty:
            return ()
        labels, trail = _start(self._terms.limits), []
        for s, stage in enumerate(self._terms.stages):
            labels, _ = self._longer(labels, stage, s, above=above, width=None)
            trail.append(labels)
        return tuple(self._traced(trail, i) for i in range(len(labels.values)))

    def _walk(self, above: float, width: int | None) -> tuple[Found, bool]:
        """Walk the stages with at most ``width`` labels; say whether none had to be left out."""
        stages = self._terms.stages
        labels = _start(self._terms.limits)
        trail: list[_Labels] = []
        was_exact = True
        for s, stage in enumerate(stages):
            labels, whole = self._longer(labels, stage, s, above=above, width=width)
            was_exact &= whole
            self.most_labels = max(self.most_labels, len(labels.values))
            trail.append(labels)
            if not len(labels.values):
                return Found(choices=(), value=above), was_exact
        totals = labels.values + self._terms.weight * labels.products
        best = int(np.argmax(totals))
        if totals[best] <= above:  # its bound was above: what is left of a limit has a price there
            return Found(choices=(), value=above), was_exact
        return Found(choices=self._traced(trail, best), value=float(totals[best])), was_exact

    def _traced(self, trail: list[_Labels], best: int) -> tuple[int, ...]:
        picks = []
        for labels, stage in zip(reversed(trail), reversed(self._terms.stages), strict=True):
            picks.append(int(stage.index[labels.picks[best]]))
            best = int(labels.before[best])
        choices = np.empty(len(picks), dtype=np.intp)
        choices[self._order] = picks[::-1]
        return tuple(choices.tolist())

    def _longer(
        self, labels: _Labels, stage: StageTerms, s: int, *, above: float, width: int | None
    ) -> tuple[_Labels, bool]:
        """Return the labels one stage further on that none of the three rules throws away.

        Of more than ``width`` only the most hopeful are returned; the flag says whether all are.
        """
        at_once = max(1, _CHUNK // len(stage.values))
        parts = []
        whole = True
        for start in range(0, max(1, len(labels.values)), at_once):
            if time.perf_counter() > self._deadline_s:
                raise CutShortError
            some = labels.only(np.arange(start, min(start + at_once, len(labels.values))))
            hopes = self._hopes(some, stage, s + 1)
            rows, picks = np.nonzero(hopes > _just_above(above))
            if width is not None and len(rows) > width * _SPARE:
                most = np.argpartition(-hopes[rows, picks], width * _SPARE)[: width * _SPARE]
                rows, picks, whole = rows[most], picks[most], False
            parts.append(self._unbeaten(_extended(some, stage, rows, picks, start), s + 1))
        joined = parts[0] if len(parts) == 1 else self._unbeaten(_joined(parts), s + 1)
        if width is not None and len(joined.values) > width:
            worth = self._worth(joined, s + 1)
            return joined.only(np.argpartition(-worth, width)[:width]), False
        if len(joined.values) > _MOST_LABELS:
            raise CutShortError
        return joined, whole

    def _hopes(self, labels: _Labels, stage: StageTerms, s: int) -> Floats:
        """Return at most the objective of each label with each option and whatever follows.

        (labels, options); minus infinity where a limit is out of reach.
        """
        # Many options share a factor: the curves are read off once for each.
        factors, which = np.unique(stage.factors, return_inverse=True)
        products = labels.products[:, None] * factors[None, :]
        hopes = np.full((len(labels.values), len(stage.values)), np.inf)
        for bounds in self._bounds:
            done = labels.values + (LIMIT - labels.uses) @ bounds.prices
            added = stage.values - stage.uses @ bounds.prices
            worth = done[:, None] + added[None, :]
            worth += bounds.completion(s, products)[:, which]
            np.minimum(hopes, worth, out=hopes)
        for j in range(self._terms.limits):
            left = LIMIT - self._least[s, j] - labels.uses[:, j]
            hopes[stage.uses[None, :, j] > left[:, None]] = -np.inf
        return hopes

    def _worth(self, labels: _Labels, s: int) -> Floats:
        """Return at most the objective of each label, whatever follows."""
        worth = [
            labels.values
            + bounds.completion(s, labels.products)
            + (LIMIT - labels.uses) @ bounds.prices
            for bounds in self._bounds
        ]
        return np.asarray(np.min(worth, axis=0))

    def _unbeaten(self, labels: _Labels, s: int) -> _Labels:
        if s == len(self._terms.stages) and not self._kept:
            best = np.argsort(-labels.values - self._terms.weight * labels.products, kind="stable")
            return labels.only(best[:1])
        # Less than this of a limit cannot be missed by whatever follows.
        floor = LIMIT - self._most[s]
        if self._kept:
            floor[-1] = 0.0
        columns = [*np.maximum(labels.uses, floor).T]
        if self._terms.weight:
            columns.append(-labels.products)
        columns.append(-labels.values)
        return labels.only(frontier(np.stack(columns, axis=1)))


def _just_above(value: float) -> float:
    return value + _ROUNDING * (1 + abs(value)) if math.isfinite(value) else value


def _sums_from(rows: list[Floats]) -> Floats:
    """Return the sums of the rows from each one on; the last is 0."""
    backwards = np.cumsum([np.zeros_like(rows[0]), *reversed(rows)], axis=0)
    return np.asarray(backwards[::-1])


def _priced(terms: Terms, keep: int | None) -> Terms:
    """Return the terms without the last limit when that is only kept for dominance."""
    if keep is None:
        return terms
    stages = tuple(replace(s, uses=s.uses[:, :-1]) for s in terms.stages)
    return replace(terms, stages=stages)


def unbeaten(terms: Terms) -> Terms:
    """Leave out each option that another one of its stage beats: dominance with one option."""
    return Terms(
        stages=tuple(
            s.only(
                np.sort(
                    frontier(
                        np.concatenate([s.uses, -s.factors[:, None], -s.values[:, None]], axis=1)
                    )
                )
            )
            for s in terms.stages
        ),
        weight=terms.weight,
    )


def _start(limits: int) -> _Labels:
    nowhere = np.zeros(1, dtype=np.intp)
    return _Labels(
        uses=np.zeros((1, limits)),
        values=np.zeros(1),
        products=np.ones(1),
        before=nowhere,
        picks=nowhere,
    )


def _extended(
    labels: _Labels, stage: StageTerms, rows: Integers, picks: Integers, start: int
) -> _Labels:
    """Return the labels ``rows`` with the options ``picks``; ``start`` is the first one's place."""
    return _Labels(
        uses=labels.uses[rows] + stage.uses[picks],
        values=labels.values[rows] + stage.values[picks],
        products=labels.products[rows] * stage.factors[picks],
        before=rows + start,
        picks=picks,
    )


def _joined(parts: list[_Labels]) -> _Labels:
    return _Labels(
        uses=np.concatenate([p.uses for p in parts]),
        values=np.concatenate([p.values for p in parts]),
        products=np.concatenate([p.products for p in parts]),
        before=np.concatenate([p.before for p in parts]),
        picks=np.concatenate([p.picks for p in parts]),
    )
