"""Levels of what a choice pays: costs come in steps, half a core or so, and no choice lies between.

A bound at prices takes the best mixture of choices, which may pay what no choice can; on a level
that holds a single step it cannot. On long pipelines whose limit forces many like swaps that is
most of what the bound gives away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from optimizer.solvers.bounds import Bound, Level
    from optimizer.solvers.table import Table

_FINEST = 1e-5
_EDGE = 1e-6
_TURNS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What may be paid: multiples of ``step``, in shares of ``span``."""

    span: float
    step: float

    def parts(self, level: Level, table: Table, bound: Bound) -> tuple[Level, ...]:
        """Return the level cut at what the stages' best options pay together; () if it is one step.

        ``table`` and ``bound`` may have the column of what is paid or not.
        """
        least = table.paid.min(axis=1, where=np.isfinite(table.values), initial=math.inf).sum()
        most = table.paid.max(axis=1, where=np.isfinite(table.values), initial=0.0).sum()
        ends = level.paid or (0.0, 1.0)
        low = self._up(max(ends[0], float(least) / self.span))
        high = self._down(min(ends[1], float(most) / self.span))
        if level.paid is not None and low >= high:
            return ()
        picks = np.argmax(bound.worth, axis=1)
        paid = float(table.paid[np.arange(len(picks)), picks].sum()) / self.span
        middle = min(max(round(paid / self.step), low), high)
        pieces = [(low, middle - 1), (middle, middle), (middle + 1, high)]
        return tuple(self._level(level, *piece) for piece in pieces if piece[0] <= piece[1])

    def _up(self, paid: float) -> int:
        return math.ceil(paid / self.step - 0.01)

    def _down(self, paid: float) -> int:
        return math.floor(paid / self.step + 0.01)

    def _level(self, level: Level, low: int, high: int) -> Level:
        ends = (low - _EDGE) * self.step, (high + _EDGE) * self.step
        return replace(level, paid=ends)


def steps_of(table: Table) -> Steps | None:
    """Return the largest step that all of what is paid is a multiple of, unless it is too fine."""
    paid = np.unique(table.paid[np.isfinite(table.values)])
    span = float(table.paid.max(axis=1).sum())
    if not span > 0:
        return None
    finest = _FINEST * float(paid[-1])
    step = float(paid[paid > finest].min())
    for _ in range(_TURNS):
        rest = np.abs(paid - step * np.rint(paid / step))
        if not (rest > finest * 1e-3).any():
            return Steps(span=span, step=step / span)
        step = float(rest[rest > finest * 1e-3].min())
        if step < finest:
            return None
    return None
