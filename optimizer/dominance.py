"""Which of many rows no other row beats in every column: the Pareto frontier, in numpy.

Rows are points of which *less is better* in every column. ``frontier`` returns indices; of equal
rows the first stays.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]
    Flags = NDArray[np.bool_]

_BLOCK = 128
_COARSE_FROM = 600
_COARSE_UP_TO = 6  # columns: the cells of more would not fit into memory
_MOST_CELLS = 20_000
_CELLS_PER_ROW = 40
_CELLS = {2: 512, 3: 48, 4: 18}


def frontier(rows: Floats, *, exact_up_to: int = 6000) -> Integers:
    """Return the indices, in rising order of the first column, of the rows that nothing beats.

    With more than two columns and more than ``exact_up_to`` rows left after a coarse filter, some
    beaten rows may stay: for a search that only prunes with it, that costs time and not exactness.
    """
    count, width = rows.shape
    if count == 0:
        return np.arange(0)
    order = np.lexsort(rows.T[::-1])
    if width == 1:
        return order[:1]
    if width == 2:
        return order[_staircase(rows[order, 1])]
    cells = _Cells.of(rows[order]) if count > _BLOCK else None
    if cells is not None:
        return order[cells.unbeaten()]
    if count > _COARSE_FROM and width <= _COARSE_UP_TO:
        order = order[~_coarsely_beaten(rows[order])]
    if len(order) > exact_up_to:
        return order
    return order[_unbeaten(rows[order])]


class _Cells:
    """The rows by the distinct values of all columns but one, which few enough values allow.

    A cell holds the lowest of that one column; the lowest over all cells that are no higher is a
    running minimum along each axis. Exact, and linear in rows and cells.
    """

    def __init__(self, shape: tuple[int, ...], places: list[Integers], free: Floats) -> None:
        self._shape, self._places, self._free = shape, places, free

    @classmethod
    def of(cls, rows: Floats) -> _Cells | None:
        """Return the cells of rows in order, ``None`` where there would be too many."""
        most = max(_MOST_CELLS, _CELLS_PER_ROW * len(rows))
        found, counts = [], []
        for column in rows.T:
            values, places = np.unique(column, return_inverse=True)
            found.append(places)
            counts.append(len(values))
            if math.prod(counts) // max(counts) > most:
                return None
        free = int(np.argmax(counts))
        held = [i for i in range(len(counts)) if i != free and counts[i] > 1]
        return cls(tuple(counts[i] for i in held), [found[i] for i in held], rows[:, free])

    def unbeaten(self) -> Flags:
        """Return which rows nothing beats; of equal rows the first."""
        count = len(self._free)
        cells = (
            np.ravel_multi_index(self._places, self._shape)
            if self._shape
            else np.zeros(count, dtype=np.intp)
        )
        order = np.lexsort((np.arange(count), self._free, cells))
        first = np.ones(count, dtype=bool)
        first[1:] = cells[order][1:] != cells[order][:-1]
        leaders = order[first]
        lowest = np.full(math.prod(self._shape), np.inf)
        lowest[cells[leaders]] = self._free[leaders]
        grid = lowest.reshape(self._shape)
        for axis in range(grid.ndim):
            grid = np.minimum.accumulate(grid, axis=axis)
        keep = np.zeros(count, dtype=bool)
        keep[leaders] = self._free[leaders] < self._before(grid, leaders)
        return keep

    def _before(self, grid: Floats, rows: Integers) -> Floats:
        """Return the lowest over the cells that are no higher than each row's, but not its own."""
        least = np.full(len(rows), np.inf)
        own = [places[rows] for places in self._places]
        for axis in range(grid.ndim):
            step = [places - (i == axis) for i, places in enumerate(own)]
            below = np.where(step[axis] >= 0, grid[tuple(np.maximum(p, 0) for p in step)], np.inf)
            np.minimum(least, below, out=least)
        return least


def _staircase(second: Floats) -> Flags:
    """Return which rows, sorted by the first column, have a lower second than all before."""
    lowest = np.minimum.accumulate(second)
    keep = np.ones(len(second), dtype=bool)
    keep[1:] = second[1:] < lowest[:-1]
    return keep


def _coarsely_beaten(rows: Floats) -> Flags:
    """Return which rows are beaten by one in a cell that is lower in all columns but the last.

    The columns but the last are cut into cells of equally many rows; the lowest last column over
    all lower cells beats what is not below it. Linear in the rows.
    """
    width = rows.shape[1]
    cells = _CELLS.get(width, 8)
    shape = (cells + 1,) * (width - 1)
    places = []
    for column in rows.T[:-1]:
        edges = np.unique(np.quantile(column, np.linspace(0, 1, cells)[1:-1]))
        places.append(np.searchsorted(edges, column, side="right"))
    lowest = np.full(shape, np.inf)
    np.minimum.at(lowest, tuple(places), rows[:, -1])
    for axis in range(width - 1):
        lowest = np.minimum.accumulate(lowest, axis=axis)
    inner = [np.maximum(place - 1, 0) for place in places]
    has_lower = np.all([place > 0 for place in places], axis=0)
    beaten: Flags = has_lower & (lowest[tuple(inner)] <= rows[:, -1])
    return beaten


def _unbeaten(rows: Floats) -> Flags:
    """Return which of the rows, sorted by their columns from the first on, nothing beats.

    A row can only be beaten by one before it, so blocks are held against what has been kept.
    """
    keep = np.zeros(len(rows), dtype=bool)
    kept = np.empty((0, rows.shape[1] - 1))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK, 1:]
        alive = np.flatnonzero(~_beaten_by(kept, block))
        inside = block[alive]
        # Row j falls to an earlier row i; equal rows fall to the first of them.
        fallen = np.triu(_beats(inside, inside), k=1).any(axis=0)
        keep[start + alive[~fallen]] = True
        kept = np.concatenate([kept, inside[~fallen]])
    return keep


def _beaten_by(kept: Floats, block: Floats) -> Flags:
    if not len(kept):
        return np.zeros(len(block), dtype=bool)
    return np.asarray(_beats(kept, block).any(axis=0))


def _beats(rows: Floats, others: Floats) -> Flags:
    """Return for each row and each other whether the row is no higher in any column."""
    beats: Flags = rows[:, None, 0] <= others[None, :, 0]
    for column in range(1, rows.shape[1]):
        beats &= rows[:, None, column] <= others[None, :, column]
    return beats
