from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from penstock.errors import DomainError
from workflows.schedule import deadline_s, next_run, shortest_gap_s


@pytest.mark.parametrize(
    ("schedule", "gap_s"),
    [
        ("* * * * *", 60),
        ("*/5 * * * *", 300),
        ("3/20 * * * ?", 1200),
        ("0,50 * * * *", 600),
        ("0 2 * * *", 86_400),
        ("30 8-17 * JAN-mar Mon-FRI", 3600),
        ("0 0 29 2 *", 86_400),
        ("0 0 31 2 1", 86_400),
        ("@hourly", 3600),
        ("@weekly", 86_400),
        ("@every 90s", 90),
        ("@every 1h30m", 5400),
    ],
)
def test_a_schedule_tells_its_shortest_gap(schedule: str, gap_s: float) -> None:
    assert shortest_gap_s(schedule) == gap_s


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ("99 * * * *", "minute '99': must rise within 0 to 59"),
        ("* 24 * * *", "hour '24': must rise within 0 to 23"),
        ("* * 0 * *", "day of month '0': must rise within 1 to 31"),
        ("* * * 13 *", "month '13': must rise within 1 to 12"),
        ("* * * * 7", "day of week '7': must rise within 0 to 6"),
        ("30-10 * * * *", "minute '30-10': must rise"),
        ("*/0 * * * *", "the step must be a number of at least 1"),
        ("*/x * * * *", "the step must be a number of at least 1"),
        ("1/2/3 * * * *", "more than one '/'"),
        ("1-2-3 * * * *", "more than one '-'"),
        ("1,,2 * * * *", "'' is not a number"),
        ("mon * * * *", "'mon' is not a number"),
        ("* * * foo *", "'foo' is not a number or one of jan, feb"),
        ("* * * *", "needs 5 fields (minute, hour, day of month, month, day of week), got 4"),
        ("0 * * * * *", "got 6"),
        ("every 5", "got 2"),
        ("", "got 0"),
        ("@often", "is none of @yearly"),
        ("@every", "is none of @yearly"),
        ("@every 5", "is none of @yearly"),
        ("@every 10ms", "at least 1s"),
        ("0 0 30 2 *", "never runs"),
    ],
)
def test_a_schedule_the_controller_would_refuse_is_refused(schedule: str, reason: str) -> None:
    with pytest.raises(DomainError) as caught:
        shortest_gap_s(schedule)
    assert reason in str(caught.value)


def test_all_faulty_fields_are_told_at_once() -> None:
    with pytest.raises(DomainError, match=r"minute '61'.*; hour '25'.*; month 'x'"):
        shortest_gap_s("61 25 * x *")


@pytest.mark.parametrize("gap_s", [2.0, 15.0, 60.0, 3600.0])
def test_a_run_ends_before_the_next_is_due(gap_s: float) -> None:
    assert 1 <= deadline_s(gap_s) < gap_s


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("schedule", "after", "wanted"),
    [
        ("* * * * *", "2026-11-20 15:29:30", "2026-11-20 15:30:00"),
        ("* * * * *", "2026-12-31 23:59:00", "2027-01-01 00:00:00"),
        ("*/15 8-18 * * mon-fri", "2026-11-20 18:50:00", "2026-11-23 08:00:00"),
        ("0 0 29 2 *", "2026-11-20 00:00:00", "2028-02-29 00:00:00"),
        ("0 12 13 * fri", "2026-11-20 12:00:00", "2026-11-27 12:00:00"),
        ("0 12 13 * fri", "2026-12-11 12:00:00", "2026-12-13 12:00:00"),
    ],
)
def test_the_next_run_is_the_next_moment_that_fits(schedule, after, wanted) -> None:
    found = next_run(schedule, datetime.fromisoformat(after).replace(tzinfo=BERLIN))
    assert found == datetime.fromisoformat(wanted).replace(tzinfo=BERLIN)


@pytest.mark.parametrize("schedule", ["@every 5m", "0 0 30 2 *"])
def test_a_run_that_nobody_can_tell_is_none(schedule) -> None:
    assert next_run(schedule, datetime(2026, 11, 20, tzinfo=BERLIN)) is None
