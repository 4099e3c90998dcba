"""A good choice fast: from a bound's best options to one within the limits, swap by swap.

What the stages choose at a bound's prices breaks the limits by little. One stage at a time takes
another option, first the swap that costs least for what it brings nearer to the limits, then, once
they are kept, the swap that adds most. Only options that are worth much at the prices are tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optimizer.solvers.terms import LIMIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optimizer.solvers.bounds import Bound, Level
    from optimizer.solvers.table import Table

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]

_NEAR = 24
_MOST_SWAPS = 60
_LEAST_GAIN = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """A choice within the limits, as places in the stages' terms, and its value."""

    places: Integers
    value: float


def climbed(table: Table, bound: Bound, level: Level) -> Climbed | None:
    """Return a choice within the limits from where no single swap leads higher, or nothing."""
    near = _near(table, bound)
    state = _State(near[0], np.argmax(near[1], axis=1), level)
    for _ in range(_MOST_SWAPS):
        if not state.swap():
            break
    return state.outcome()


def _near(table: Table, bound: Bound) -> tuple[Table, Floats]:
    if table.values.shape[1] <= _NEAR:
        return table, bound.worth
    picks = np.argpartition(-bound.worth, _NEAR, axis=1)[:, :_NEAR]
    return table.at(picks), np.take_along_axis(bound.worth, picks, axis=1)


class _State:
    """A choice and what every swap would make of it."""

    def __init__(self, table: Table, picks: Integers, level: Level) -> None:
        self._table, self._picks, self._weight = table, picks, level.weight
        self._rows = np.arange(len(picks))
        self._limits = len(table.costs) - level.extras
        self._uses = table.costs[: self._limits]

    def swap(self) -> bool:
        """Swap one stage's option for the best other one; say whether that was worth it."""
        own = self._uses[:, self._rows, self._picks]
        used = own.sum(axis=1)
        after = (used[:, None] - own)[:, :, None] + self._uses
        broken = np.maximum(after - LIMIT, 0).sum(axis=0)
        now = float(np.maximum(used - LIMIT, 0).sum())
        gains = self._gains()
        if now > 0:
            nearer = now - broken
            with np.errstate(divide="ignore", invalid="ignore"):
                rates = np.where(broken > 0, gains / nearer - 1e9, gains)
            scores = np.where((nearer > _LEAST_GAIN) & np.isfinite(gains), rates, -np.inf)
            least = -np.inf
        else:
            scores, least = np.where(broken <= 0, gains, -np.inf), _LEAST_GAIN
        best = int(np.argmax(scores))
        stage, option = divmod(best, scores.shape[1])
        if not scores[stage, option] > least:
            return False
        self._picks[stage] = option
        return True

    def _gains(self) -> Floats:
        values = self._table.values
        gains = values - values[self._rows, self._picks][:, None]
        if self._weight:
            logs = self._table.costs[-1]
            own = logs[self._rows, self._picks]
            product = self._weight * float(np.exp(-own.sum()))
            gains = gains + product * np.expm1(np.minimum(own[:, None] - logs, 700.0))
        return np.asarray(gains)

    def outcome(self) -> Climbed | None:
        used = self._uses[:, self._rows, self._picks].sum(axis=1)
        if (used > LIMIT).any():
            return None
        value = float(self._table.values[self._rows, self._picks].sum())
        value += self._weight * float(self._table.factors[self._rows, self._picks].prod())
        return Climbed(places=self._table.places[self._rows, self._picks], value=value)
