"""A page: a title, a sentence, charts and tables; all texts are escaped, tables are bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

MOST_ROWS = 200
"""Rows that one table shows; the rest are counted."""
MOST_TEXT = 400
"""Characters of one cell."""

Cell = str | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under the names of their columns; numbers stand at the right."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]

    @property
    def shown(self) -> Sequence[tuple[Cell, ...]]:
        """The rows that a page has room for."""
        return self.rows[:MOST_ROWS]

    @property
    def left_out(self) -> int:
        """How many there are besides."""
        return len(self.rows) - len(self.shown)


def write_page(title: str, lead: str, *, charts: Sequence[str], tables: Sequence[Table]) -> str:
    """Return a page as HTML; ``charts`` are SVG elements as ``svg.to_svg`` writes them."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    return environment.get_template("page.html.j2").render(
        title=title, lead=lead, charts=[Markup(chart) for chart in charts], tables=tables
    )


def _figure(cell: Cell) -> str:
    return cell[:MOST_TEXT] if isinstance(cell, str) else f"{cell:,.4g}"
