"""A page: a title, a sentence, charts and tables; all texts are escaped, tables are bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

MOST_ROWS = 200
"""Rows that one table shows; the rest are counted."""
MOST_TEXT = 400
"""Characters of one cell."""

Cell = str | float


class Change(float):
    """A difference: shown with its sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under the names of their columns; numbers stand at the right.

    ``digits`` are the decimals of each column, by its name; the others show four figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    digits: Mapping[str, int] = field(default_factory=dict)

    @property
    def shown(self) -> Sequence[tuple[Cell, ...]]:
        """The rows that a page has room for."""
        return self.rows[:MOST_ROWS]

    @property
    def left_out(self) -> int:
        """How many there are besides."""
        return len(self.rows) - len(self.shown)

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers: its name then stands at the right, too."""
        cells = [row[column] for row in self.shown if row[column] != ""]
        return bool(cells) and all(isinstance(cell, int | float) for cell in cells)

    def text(self, cell: Cell, column: int) -> str:
        """Return a cell as the page shows it."""
        if isinstance(cell, str):
            return cell[:MOST_TEXT]
        digits = self.digits.get(self.columns[column])
        form = ",.4g" if digits is None else f",.{digits}f"
        if not isinstance(cell, Change):
            return f"{cell:{form}}"
        text = f"{round(cell, 9):+{form}}"  # what differs by rounding alone does not differ
        return text.replace("-", "\u2212") if text.strip("+-0.") else "0"


def write_page(title: str, lead: str, *, charts: Sequence[str], tables: Sequence[Table]) -> str:
    """Return a page as HTML; ``charts`` are SVG elements as ``svg.to_svg`` writes them."""
    environment = make_environment(Path(__file__).parent)
    return environment.get_template("page.html.j2").render(
        title=title, lead=lead, charts=[Markup(chart) for chart in charts], tables=tables
    )


def make_environment(*folders: Path) -> Environment:
    """Return how templates of these folders are filled in: escaped, and nothing may be missing."""
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
