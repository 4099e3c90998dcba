"""The page: whole, self-contained, escaped, and open about what did not hold or is not there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup

from penstock.errors import UserError
from penstock.spec import format_pipeline
from profiles.table import save
from tests.recordings import document, profiled, simulated, tick, write_example
from workflows.recorded import Decided
from workflows.recording import (
    format_json,
    write_recording,
)
from workflows.report import DOCUMENT, build_report, gather, render
from workflows.summary import read_runs, summarize, write_summary

VOID = {"meta", "br", "link", "img", "hr"}
SECTIONS = {"verdict", "story", "beside", "decisions", "profiles", "joint", "forecaster", "plan"}
SECTIONS |= {"alternatives", "explain"}


class Structure(HTMLParser):
    """Checks that tags are balanced, and collects ids, links and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[key] for key in ("href", "src") if key in given]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def parsed(page: str) -> Structure:
    structure = Structure()
    structure.feed(page)
    structure.close()
    return structure


def text_of(folder: Path) -> str:
    """The text of the page, with nothing drawn: charts take their time and have their own tests."""
    return parsed(render(gather(folder), charts=defaultdict(Markup))).text


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    folder = write_example(tmp_path_factory.mktemp("out") / "digits")
    (folder / "runs" / DOCUMENT).write_text(format_pipeline(document()))
    return folder


@pytest.fixture(scope="module")
def page(example) -> str:
    return build_report(example).read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_has_its_sections(page):
    structure = parsed(page)
    assert structure.open == []
    assert set(structure.ids) >= SECTIONS
    assert len(structure.ids) == len(set(structure.ids))


def test_the_page_fetches_nothing_and_runs_nothing(page):
    assert all(link.startswith("#") for link in parsed(page).links)
    assert not re.search(r"https?:|//[a-z]|@import|<script|url\((?!#)", page)


def test_links_lead_to_something_in_the_page(page):
    structure = parsed(page)
    assert {link[1:] for link in structure.links} <= set(structure.ids)


def test_every_colour_of_a_chart_is_defined_for_light_dark_and_paper(page):
    light, dark, paper = re.findall(r":root\{(.*?)\}", page, flags=re.DOTALL)
    for name in set(re.findall(r"var\(--([a-z0-9-]+)\)", page)) - {"c", "on", "a", "font"}:
        assert all(f"--{name}:" in block for block in (light, dark, paper)), name


def test_every_decision_stands_there_with_its_reason(page, example):
    ticks = read_runs(example)["adaptive"].ticks
    assert page.count("<details>") == len(ticks)
    text = parsed(page).text
    assert all(t.decision.reason in text and f"tick {t.id}" in text for t in ticks)


def test_the_figures_are_those_of_the_summary(page, example):
    summary = summarize(example)
    text = parsed(page).text.replace("\u00a0", " ")
    assert all(check.detail in text for check in summary.checks)
    assert f"{summary.runs['adaptive'].requests:,}" in text


def test_a_good_run_has_a_good_verdict(page):
    assert "4 of 4 promises kept" in parsed(page).text


def test_profiles_scores_and_the_plan_are_shown(page):
    text = parsed(page).text
    assert "core time per request [ms]" in text
    assert "the product overstates by 12.4 %" in text
    assert "9000 windows of the generated load" in text
    assert "promised for 18.0 req/s" in text


def test_what_could_be_had_and_why_is_shown_for_both_loads(page, example):
    text = parsed(page).text
    heaviest = max(t.plan.load_rps for t in read_runs(example)["adaptive"].ticks)
    for load_rps, words in ((18.0, "which was planned for"), (heaviest, "the highest load that")):
        assert f"For {load_rps:.1f} req/s, {words}" in text
    for words in (
        *("the runner-up", "one point more of accuracy", "Limits that bind:"),
        *("What the run used", "1 visit a request", "stage classify: "),
    ):
        assert words in text
    assert text.count("nothing beats it within 500 ms") == 2
    assert "proven by" not in text  # that would tell the seconds, which differ each time


def test_the_same_recordings_give_the_same_bytes(page, example):
    assert build_report(example).read_text(encoding="utf-8") == page


def test_a_broken_promise_is_said_in_the_headline(tmp_path):
    folder = write_example(tmp_path / "digits")
    slow = simulated("heaviest")
    write_recording(folder / "runs" / "adaptive", slow)
    text = text_of(folder)
    assert "2 of 4 promises were not kept in this run" in text
    assert "Answers in time \u2013 not kept" in text
    assert "The adaptive run recorded no tick." in text


def test_what_is_missing_is_said(tmp_path):
    write_recording(tmp_path / "digits" / "runs" / "adaptive", simulated("adaptive"))
    text = text_of(tmp_path / "digits")
    for file in ("profiles/profiles.json", "forecaster/forecaster.json", "digits/plan.json"):
        assert f"There is no {file} here." in text
    assert "could not be judged" in text


def test_a_broken_file_beside_the_recordings_does_not_hide_them(tmp_path):
    folder = write_example(tmp_path / "digits")
    for name in ("profiles/profiles.json", "forecaster/forecaster.json", "plan.json"):
        (folder / name).write_text("{")
    text = text_of(folder)
    for name in ("profiles.json", "forecaster.json", "plan.json"):
        assert f"{name} can't be shown" in text
    assert "4 of 4 promises kept" in text


def test_combinations_that_do_not_fit_the_stages_are_said(tmp_path):
    folder = write_example(tmp_path / "digits")
    save(
        replace(profiled(), joint_accuracy={("det-s",): 0.5}), folder / "profiles" / "profiles.json"
    )
    assert "does not fit the stages" in text_of(folder)


def test_text_from_the_recordings_is_never_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    ticks = (tick(decision=Decided(kind="keep", reason=evil), changes=(evil,), status=evil),)
    recording = replace(simulated("adaptive"), ticks=ticks)
    write_recording(tmp_path / "digits" / "runs" / "adaptive", recording)
    page = render(gather(tmp_path / "digits"), charts=defaultdict(Markup))
    assert "<script" not in page
    assert evil in parsed(page).text


def test_a_tick_in_an_outage_is_shown(tmp_path):
    outage = tick(load=None, forecast=None, plan=None, gap=None, result=None)
    recording = replace(simulated("adaptive"), ticks=(outage,))
    write_recording(tmp_path / "digits" / "runs" / "adaptive", recording)
    assert "No load could be had" in text_of(tmp_path / "digits")


def test_the_machine_is_the_one_that_wrote_the_summary(tmp_path):
    folder = tmp_path / "digits"
    write_recording(folder / "runs" / "adaptive", simulated("adaptive"))
    elsewhere = replace(write_summary(folder), machine={"processor": "Abacus 9"})
    (folder / "summary.json").write_text(format_json(elsewhere))
    assert "Abacus 9" in text_of(folder)


def test_variants_stand_from_light_to_heavy(tmp_path):
    assert gather(write_example(tmp_path / "digits")).ladders == {
        "locate": ("det-s", "det-m", "det-l"),
        "classify": ("cls-s", "cls-m", "cls-l"),
    }


def test_runs_without_their_document_take_the_one_that_is_given(tmp_path):
    folder = write_example(tmp_path / "digits")
    assert "There is no runs/pipeline.yaml here." in text_of(folder)
    given = replace(document(), name="other")  # which is refused before anything is solved
    found = gather(folder, pipeline=given)
    assert found.document.value == given
    assert "the document is of 'other'" in found.choices.missing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Nonsense", "pipeline.yaml can't be shown"),
        (format_pipeline(replace(document(), name="other")), "not one of this document"),
        (format_pipeline(document()).replace("det-l", "det-x"), "not one of this document"),
    ],
)
def test_a_document_that_does_not_fit_is_told_in_its_sections(tmp_path, text, words):
    folder = write_example(tmp_path / "digits")
    (folder / "runs" / DOCUMENT).write_text(text)
    assert text_of(folder).count(words) == 3


def test_without_profiles_what_could_be_had_is_left_out_with_a_word(tmp_path):
    folder = write_example(tmp_path / "digits")
    (folder / "runs" / DOCUMENT).write_text(format_pipeline(document()))
    (folder / "profiles" / "profiles.json").unlink()
    text = text_of(folder)
    assert text.count("There is no profiles/profiles.json here.") >= 4
    assert "What the next step costs" not in text


def test_a_folder_without_runs_leaves_no_page(tmp_path):
    with pytest.raises(UserError, match="no recorded run 'adaptive'"):
        build_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_importing_the_report_does_not_import_matplotlib():
    code = "import sys, workflows.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
