"""What all charts share: their size, how series are told apart, ticks and legends.

Importing this module imports matplotlib; whoever draws nothing doesn't pay for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from components.pages.svg import style

WIDTH_IN = 11.0
LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P")

Ladders = Mapping[str, Sequence[str]]
"""Stage to its variants, from light to heavy."""


@contextmanager
def drawn(name: str, *, height_in: float, width_in: float = WIDTH_IN) -> Iterator[Figure]:
    """Give an empty figure in the page's style; ``name`` keeps its ids apart from others'."""
    with style(name):
        yield Figure(figsize=(width_in, height_in), layout="constrained")


def plain_ticks(*axes: Any) -> None:
    """Put marks at 1, 2 and 5 of each decade, and write 0.05 and not 5 x 10^-2."""
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def legend(axis: Axes, *, order: Sequence[str] = (), columns: int = 0) -> None:
    """Put the legend above the axes, at the right of the title, where no data is.

    In one row, or in as many as its entries need with so many ``columns``.
    """
    handles, labels = axis.get_legend_handles_labels()
    pairs = list(zip(handles, labels, strict=True))
    if order:
        pairs.sort(key=lambda pair: list(order).index(pair[1]))
    if pairs:
        axis.legend(
            [handle for handle, _ in pairs],
            [label for _, label in pairs],
            loc="lower right",
            bbox_to_anchor=(1, 1.0),
            ncols=columns or len(pairs),
            borderaxespad=0.4,
        )
