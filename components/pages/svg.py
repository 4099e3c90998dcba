"""Matplotlib figures as inline SVG that takes its colours and its font from the page around it.

Figures are drawn in token colours, one per role. In the text of the SVG each token becomes a CSS
variable, so that one drawing serves a light page, a dark page and paper. Nothing in it depends on
the clock or on chance: the same figure gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

TOKENS = {
    "#010a01": "ink",
    "#010a02": "muted",
    "#010a03": "grid",
    "#010a04": "surface",
    "#010a05": "slo",
    "#010a06": "load",
    "#010a07": "forecast",
    "#010a08": "capacity",
    "#010a09": "bad",
    "#010b01": "adaptive",
    "#010b02": "lightest",
    "#010b03": "heaviest",
    **{f"#010c0{step}": f"rung-{step}" for step in range(6)},
    **{f"#010d0{step}": f"on-rung-{step}" for step in range(6)},
}
"""Token colour to the page's CSS variable; no token is a colour that anybody would choose."""

COLOR = {name: token for token, name in TOKENS.items()}
RUNGS = 6
"""Steps of the ladder palette, from light to heavy variants."""

STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.labelsize": 8.0,
    "axes.edgecolor": COLOR["grid"],
    "axes.facecolor": "none",
    "axes.labelcolor": COLOR["muted"],
    "axes.titlecolor": COLOR["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOR["grid"],
    "grid.linewidth": 0.6,
    "text.color": COLOR["ink"],
    "xtick.color": COLOR["grid"],
    "ytick.color": COLOR["grid"],
    "xtick.labelcolor": COLOR["muted"],
    "ytick.labelcolor": COLOR["muted"],
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.6,
    "legend.borderpad": 0.0,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
}


@contextmanager
def style(salt: str) -> Iterator[None]:
    """Draw in the page's style; ``salt`` makes a figure's ids differ from those of others."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}):
        yield


def to_svg(figure: Figure, *, name: str, title: str) -> str:
    """Write a figure as an ``<svg>`` element to be put into a page.

    Ids are prefixed with ``name``, so that several figures can live in one page; ``title`` is what
    a screen reader says.
    """
    file = io.BytesIO()
    FigureCanvasSVG(figure)
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<svg[^>]*>", _opening(text, title), text, count=1)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = text.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    text = re.sub(r"(fill|stroke): (#01[0-9a-f]{4})", _themed, text)
    text = re.sub(r" font-family: [^;\"]*;?", "", text)
    return re.sub(r"\n\s*", "\n", text).strip()


def rung(position: int, count: int) -> int:
    """Return the palette step of the ``position``-th of ``count`` variants, light to heavy."""
    return round(position * (RUNGS - 1) / (count - 1)) if count > 1 else 0


def _opening(text: str, title: str) -> str:
    box = re.search(r'viewBox="([^"]+)"', text)
    view = box.group(1) if box else "0 0 1 1"
    return f'<svg viewBox="{view}" role="img" aria-label="{escape(title)}">'.replace("\\", "\\\\")


def _themed(match: re.Match[str]) -> str:
    token = TOKENS.get(match.group(2))
    return f"{match.group(1)}: var(--{token})" if token else match.group(0)
