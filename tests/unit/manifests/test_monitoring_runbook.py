"""The operations page: every alert has its section, every command there exists."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command

from tests.monitoring import ROOT, RUNBOOK, alerts
from workflows.cli import app
from workflows.cron import MAX_NAME, cron_name
from workflows.cron_metrics import MAX_ROWS

PAGE = RUNBOOK.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```sh\n(.*?)^ *```", PAGE, flags=re.S | re.M)
CODE = [*BLOCKS, *re.findall(r"`([^`\n]+)`", PAGE)]


def used(program: str) -> list[list[str]]:
    """Return the words of every call of a program on the page."""
    calls = []
    for code in CODE:
        joined = code.replace("\\\n", " ")
        for line in joined.splitlines():
            found = re.search(rf"(?:^|[|;&] *){program} +([a-z][^|;&#>]*)", line.strip())
            if found:
                calls.append(found[1].split())
    return calls


def anchors() -> set[str]:
    titles = re.findall(r"^#+ (.+)$", PAGE, flags=re.M)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_every_alert_has_its_section(alert: str) -> None:
    section = re.search(rf"^### {alert}\n\n(.*?)(?=^##)", PAGE, flags=re.S | re.M)
    assert section, alert
    severity = alerts()[alert]["labels"]["severity"]
    assert section[1].startswith(f"- **Means** ({severity}): ")
    assert "**Do**" in section[1] or "**Look and do**" in section[1]


def test_every_section_of_an_alert_is_of_one_there_is() -> None:
    assert set(re.findall(r"^### (\w+)$", PAGE, flags=re.M)) == alerts().keys()


def test_every_link_within_the_page_leads_somewhere() -> None:
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors()


def test_every_command_and_option_of_penstock_on_the_page_exists() -> None:
    known = get_command(app).commands  # type: ignore[attr-defined]
    calls = used("penstock")
    assert len(calls) > 30
    for name, *words in calls:
        assert name in known, name
        options = {option for parameter in known[name].params for option in parameter.opts}
        asked = {word for word in words if word.startswith("--")}
        assert asked <= options, (name, asked - options)


def test_every_make_target_and_variable_on_the_page_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    calls = used("make")
    assert len(calls) > 8
    for target, *words in calls:
        assert target in targets, target
        for variable in (word.partition("=")[0] for word in words):
            assert re.search(rf"\$\({variable}\)", makefile), variable


def test_the_limits_on_the_page_are_the_code_s() -> None:
    longest = MAX_NAME - len(cron_name(""))
    assert f"{MAX_NAME} characters, so {longest} for the pipeline" in PAGE
    assert f"more than {MAX_ROWS} series" in PAGE
