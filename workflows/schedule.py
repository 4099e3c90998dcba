"""Cron schedules as Argo's controller reads them.

A CRD's pattern lets ``99 * * * *`` through; the controller then refuses to run it. The rules here
are those of the parser that Argo uses (robfig/cron v3, its standard form): five fields, names for
months and weekdays, Sunday only as 0, ``N/step`` counts from N to the field's end.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

from penstock.errors import DomainError

DAY_S = 86_400.0
_FOUR_YEARS_D = 1_462
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT = "|".join(sorted(_UNITS_S, key=len, reverse=True))
_EVERY = re.compile(rf"@every\s+((?:\d+(?:{_UNIT}))+)")
_PART = re.compile(rf"(\d+)({_UNIT})")
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _names(text: str, first: int) -> dict[str, int]:
    return {name: i for i, name in enumerate(text.split(), start=first)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)


_FIELDS = (
    _Field(name="minute", low=0, high=59),
    _Field(name="hour", low=0, high=23),
    _Field(name="day of month", low=1, high=31),
    _Field(
        name="month",
        low=1,
        high=12,
        names=_names("jan feb mar apr may jun jul aug sep oct nov dec", 1),
    ),
    _Field(name="day of week", low=0, high=6, names=_names("sun mon tue wed thu fri sat", 0)),
)


def shortest_gap_s(schedule: str) -> float:
    """Return the shortest time between two runs of a schedule [s].

    For ``@every`` that is its duration; else the shortest gap between two times of day, as if every
    day were a day of the schedule, and a day when there is one time only.

    Raises:
        DomainError: the controller would refuse the schedule, or it never runs; the message has
            all that is wrong with it.
    """
    every = _EVERY.fullmatch(schedule.strip())
    if every:
        seconds = sum(int(n) * _UNITS_S[unit] for n, unit in _PART.findall(every[1]))
        if seconds < 1:
            raise DomainError(f"{schedule!r}: must be at least 1s apart")
        return float(seconds)
    minutes, hours, days, months, weekdays = _parse(schedule)
    some_day = any(min(days) <= _DAYS_OF_MONTH[month - 1] for month in months)
    if not some_day and len(weekdays) == 7:
        raise DomainError(f"{schedule!r}: never runs, no month named has that day")
    times = sorted(60.0 * (60 * hour + minute) for hour in hours for minute in minutes)
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    return min([*gaps, times[0] + DAY_S - times[-1]])


def next_run(schedule: str, after: datetime) -> datetime | None:
    """Return when a schedule runs next, in the time zone of ``after``.

    ``None`` for ``@every``, which counts from a start that only the controller knows, and when
    there is no such moment within four years.

    Raises:
        DomainError: the controller would refuse the schedule.
    """
    if _EVERY.fullmatch(schedule.strip()):
        return None
    minutes, hours, days, months, weekdays = _parse(schedule)
    times = sorted(time(hour, minute) for hour in hours for minute in minutes)
    every_day, every_weekday = len(days) == 31, len(weekdays) == 7
    for ahead in range(_FOUR_YEARS_D):
        day = after.date() + timedelta(days=ahead)
        named = (day.day in days, (day.weekday() + 1) % 7 in weekdays)
        # As in every cron: when both are bounded, either is enough.
        fits = all(named) if every_day or every_weekday else any(named)
        if not fits or day.month not in months:
            continue
        for one in times:
            moment = datetime.combine(day, one, after.tzinfo)
            if moment > after:
                return moment
    return None


def _parse(schedule: str) -> list[set[int]]:
    if schedule.startswith("@"):
        if schedule not in _MACROS:
            known = ", ".join([*_MACROS, "@every 5m"])
            raise DomainError(f"{schedule!r}: is none of {known}")
        schedule = _MACROS[schedule]
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        wanted = ", ".join(one.name for one in _FIELDS)
        raise DomainError(f"{schedule!r}: needs 5 fields ({wanted}), got {len(parts)}")
    found: list[set[int]] = []
    faults: list[str] = []
    for part, of in zip(parts, _FIELDS, strict=True):
        try:
            found.append(set[int]().union(*(_values(item, of) for item in part.split(","))))
        except DomainError as err:
            faults.append(str(err))
    if faults:
        raise DomainError(f"{schedule!r}: {'; '.join(faults)}")
    return found


def _values(item: str, of: _Field) -> range:
    """Return what one item of a field's list stands for: ``*``, ``N``, ``N-M``, each ``/step``."""
    text, *steps = item.split("/")
    if len(steps) > 1:
        raise DomainError(f"{of.name} {item!r}: more than one '/'")
    if text in ("*", "?"):
        low, high = of.low, of.high
    else:
        ends = [_number(end, of, item) for end in text.split("-")]
        if len(ends) > 2:
            raise DomainError(f"{of.name} {item!r}: more than one '-'")
        low, high = ends[0], ends[-1]
        if steps and len(ends) == 1:
            high = of.high
    step = int(steps[0]) if steps and steps[0].isdecimal() else (0 if steps else 1)
    if step < 1:
        raise DomainError(f"{of.name} {item!r}: the step must be a number of at least 1")
    if not of.low <= low <= high <= of.high:
        raise DomainError(f"{of.name} {item!r}: must rise within {of.low} to {of.high}")
    return range(low, high + 1, step)


def _number(text: str, of: _Field, item: str) -> int:
    if text.lower() in of.names:
        return of.names[text.lower()]
    if text.isascii() and text.isdecimal():
        return int(text)
    names = f" or one of {', '.join(of.names)}" if of.names else ""
    raise DomainError(f"{of.name} {item!r}: {text!r} is not a number{names}")


def deadline_s(gap_s: float) -> int:
    """Return the whole seconds that a run may take so that it is over before the next one is due.

    A sixth of the gap, at most 10 s, is kept for starting and ending pods.
    """
    return max(1, math.floor(gap_s - min(10.0, gap_s / 6)))
