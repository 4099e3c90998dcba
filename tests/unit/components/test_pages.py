"""Pages for Kubeflow's UI: self-contained, escaped, bounded, the same bytes for the same values."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from components.pages import charts
from components.pages.choice import Choice
from components.pages.page import MOST_ROWS, MOST_TEXT, Change, Table, write_page
from components.pages.results import backtest_page, plan_page, profiles_page
from optimizer.forecast.backtest import judge
from optimizer.history import History
from penstock.domain import Plan
from tests.builders import option, pipeline, plan, profile, profile_table, promise
from tests.forecaster_folders import handmade
from tests.recordings import profiled

ODD = "<script>alert('$x$')</script>"


def some_plan(cost: float = 2.0, name: str = "small") -> Plan:
    return plan(
        stages=(option("locate", name), option("classify", name)),
        promise=promise(cost_cores=cost, accuracy=0.4 + cost / 10),
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    up_and_down = History(values_rps=[10.0, 20.0] * 400, step_s=1.0, source="test")  # type: ignore[arg-type]
    new = handmade(tmp_path_factory.mktemp("gate") / "new")
    choice = Choice(
        plan=some_plan(3.0), front=[some_plan(c) for c in (1.0, 3.0)], others=[some_plan(4.0)]
    )
    return {
        "profiles": profiles_page(profiled(), ["locate", "classify"], "Profiles of digits"),
        "backtest": backtest_page(judge(new, None, up_and_down), "digits"),
        "plan": plan_page(choice, pipeline()),
    }


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_page_fetches_nothing_and_runs_nothing(pages: dict[str, str]) -> None:
    for page in pages.values():
        tags = Tags(page).found
        assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "img", "object"}
        assert not [a for _, a in tags for name in a if name.startswith("on") or name == "src"]
        assert "default-src 'none'" in page


def test_every_chart_is_well_formed_and_takes_its_colours_from_the_page(
    pages: dict[str, str],
) -> None:
    for page in pages.values():
        drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
        assert drawings
        for drawing in drawings:
            assert ET.fromstring(drawing).tag == "svg"
            used = set(re.findall(r"var\(--([a-z0-9-]+)\)", drawing))
            assert used
            assert [name for name in used if f"--{name}:" not in page] == []


def test_the_pages_say_what_was_found(pages: dict[str, str]) -> None:
    assert "Load predictor of digits: published" in pages["backtest"]
    assert "sMAPE [%]" in pages["backtest"]
    assert "det-l + cls-l" in pages["profiles"]
    assert "SLO" in pages["plan"]
    for label in ("latency of a full batch [s]", "throughput [req/s]"):
        assert label in pages["profiles"]
    for label in ("chosen", "nothing beats it within 500 ms", "accuracy [%]"):
        assert label in pages["plan"]


def test_names_and_texts_are_no_markup() -> None:
    odd = profile_table(profiles=(profile("locate", ODD),))
    page = profiles_page(odd, ["locate"], ODD)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    chosen = some_plan(name=ODD)
    assert "<script" not in plan_page(Choice(plan=chosen, front=[chosen], how_sure=ODD), pipeline())


def test_a_table_shows_only_what_a_page_has_room_for() -> None:
    rows = [("x" * 2 * MOST_TEXT, float(n)) for n in range(MOST_ROWS + 7)]
    table = Table(title="many", columns=("a", "b"), rows=rows)
    page = write_page("t", "l", charts=[], tables=[table])
    assert page.count("<tr>") == MOST_ROWS + 1
    assert "7 more rows" in page
    assert "x" * (MOST_TEXT + 1) not in page


def test_many_variants_and_stages_do_not_make_a_page_grow_without_end() -> None:
    profiles = tuple(profile(f"s{s}", f"v{v:062}") for s in range(20) for v in range(30))
    page = profiles_page(profile_table(profiles=profiles), [f"s{s}" for s in range(20)], "t")
    assert len(page) < 1_000_000


def test_the_same_values_give_the_same_bytes(pages: dict[str, str]) -> None:
    again = profiles_page(profiled(), ["locate", "classify"], "Profiles of digits")
    assert again == pages["profiles"]


def test_a_plan_without_a_front_is_shown_all_the_same() -> None:
    page = plan_page(Choice(plan=some_plan(), front=()), pipeline())
    assert "Accuracy, cost and latency" not in page
    assert "What it promises" in page


def test_ladders_are_from_least_to_most_accurate_and_leave_what_was_not_measured() -> None:
    found = charts.ladders_of(profiled(), ["locate", "nowhere", "classify"])
    assert found == {
        "locate": ("det-s", "det-m", "det-l"),
        "classify": ("cls-s", "cls-m", "cls-l"),
    }


def test_numbers_of_a_column_have_its_decimals_and_differences_their_sign() -> None:
    row = (1.0, 0.25, Change(0.5), Change(-0.5), Change(1e-12), "")
    table = Table(title="t", columns=tuple("abcdef"), rows=[row], digits={"a": 2, "c": 1, "d": 1})
    shown = [table.text(cell, column) for column, cell in enumerate(row)]
    assert shown == ["1.00", "0.25", "+0.5", "\u22120.5", "0", ""]
    assert [table.is_number(column) for column in (0, 5)] == [True, False]


def test_templates_are_part_of_the_package() -> None:
    folder = Path(charts.__file__).parent
    assert {path.name for path in folder.iterdir()} >= {"page.html.j2", "tokens.css"}
