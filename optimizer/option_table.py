"""The options of a stage as columns of numbers; an option itself is made when it is asked for.

A stage of 50 variants and 7 batch sizes has 1,400 options of which a plan takes one. A solver reads
the columns; to make all the objects would take longer than to solve the problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from penstock.domain import Option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """What solvers read of options, each an array with an entry per option."""

    latency_s: Floats
    cost_cores: Floats
    cost_per_hour: Floats
    batch_sizes: Floats
    accuracies: Floats


class OptionTable(Sequence[Option]):
    """A sequence of options whose numbers are known before they are made."""

    __slots__ = ("_made", "_make", "columns")

    def __init__(self, columns: Columns, make: Callable[[int], Option]) -> None:
        """Take the columns and what makes the option of an index."""
        self.columns = columns
        self._make = make
        self._made: dict[int, Option] = {}

    def __len__(self) -> int:
        """Return how many options there are."""
        return len(self.columns.latency_s)

    @overload
    def __getitem__(self, index: int) -> Option: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Option, ...]: ...

    def __getitem__(self, index: int | slice) -> Option | tuple[Option, ...]:
        """Return the option at an index, or those of a slice."""
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        place = range(len(self))[index]
        if place not in self._made:
            self._made[place] = self._make(place)
        return self._made[place]

    def __eq__(self, other: object) -> bool:
        """Whether the other is a sequence of the same options."""
        return isinstance(other, OptionTable | tuple) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the options as a tuple shows them."""
        return repr(tuple(self))


def columns_of(options: Sequence[Option]) -> Columns:
    """Return the columns of any options."""
    if isinstance(options, OptionTable):
        return options.columns
    return Columns(
        latency_s=np.array([o.latency_s for o in options]),
        cost_cores=np.array([o.cost_cores for o in options]),
        cost_per_hour=np.array([o.cost_per_hour for o in options]),
        batch_sizes=np.array([float(o.batch_size) for o in options]),
        accuracies=np.array([o.accuracy for o in options]),
    )
