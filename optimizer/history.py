"""Load histories: what a forecaster is trained on and what a demo replays.

A history holds one rate per step for hours or days; a ``Load`` is the short window a forecast
sees. Histories are read from the public trace (one integer per second, plain or gzip, or a CSV)
or come from a seeded generator.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from penstock.errors import DomainError, SpecError

MAX_BYTES = 32 * 1024 * 1024
"""A history is read this far only, a hundred days of seconds: no gzip file fills the memory."""
HOLE_STEPS = 10
"""So many zeros in a row are a hole in the recording: the public trace has one of 1,739 s a day,
and its short ones start at 12 s, while its quietest real seconds are never 0."""
MAX_FAULTS = 10
TRACE_NAME = "twitter_2021-08_rps_first17days.txt.gz"
DAY_S = 86_400

Rates = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """Arrival rates over a long time.

    ``values_rps[i]`` [req/s] holds for ``step_s``; a read-only array, oldest first. ``source``
    says where they come from; ``left_out_steps`` how many steps of holes were cut out.
    """

    values_rps: Rates
    step_s: float
    source: str
    left_out_steps: int = 0

    def __post_init__(self) -> None:
        values = np.array(self.values_rps, dtype=np.float64)
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
            raise DomainError(
                f"history {self.source}: rates must be finite, at least 0, in one row"
            )
        if not (math.isfinite(self.step_s) and self.step_s > 0):
            raise DomainError(f"history {self.source}: step_s must be above 0, got {self.step_s}")
        values.setflags(write=False)
        object.__setattr__(self, "values_rps", values)

    @property
    def duration_s(self) -> float:
        """Seconds the history spans, holes left out."""
        return len(self.values_rps) * self.step_s

    @property
    def sha256(self) -> str:
        """Digest of the rates and the step: the same data has the same one wherever it was read."""
        step = np.array([self.step_s], dtype="<f8").tobytes()
        return hashlib.sha256(step + self.values_rps.astype("<f8").tobytes()).hexdigest()

    def part(self, start_s: float, end_s: float) -> History:
        """Return the steps from ``start_s`` to ``end_s``, counted from the start of the history."""
        first, last = (round(t / self.step_s) for t in (start_s, end_s))
        return replace(self, values_rps=self.values_rps[max(0, first) : max(0, last)])


def read_history(
    path: Path, *, column: str = "raw_rps", step_s: float = 1.0, hole_steps: int = HOLE_STEPS
) -> History:
    """Read a history from a file.

    ``.csv`` needs a ``column`` of that name, or a single column with or without a heading. Any
    other name is read as rates between white space, gzip when it ends in ``.gz``. Runs of at
    least ``hole_steps`` zeros are holes and are cut out (0 keeps them); what stands before and
    after then follow each other.

    Raises:
        SpecError: the file cannot be read, is too large, or holds what is no rate; each fault with
            its place.
    """
    texts, places = _csv_cells(path, column) if path.suffix == ".csv" else _words(path)
    values = _rates(path, texts, places)
    kept = values if hole_steps < 1 else values[~_holes(values, hole_steps)]
    return History(
        values_rps=kept, step_s=step_s, source=path.name, left_out_steps=len(values) - len(kept)
    )


def default_history(environ: Mapping[str, str] | None = None, *, seed: int = 7) -> History:
    """Return the public trace when ``PENSTOCK_SHARED`` has it, else three generated days."""
    root = (os.environ if environ is None else environ).get("PENSTOCK_SHARED", "")
    trace = Path(root) / "data" / "twitter" / TRACE_NAME
    if root and trace.is_file():
        return read_history(trace)
    return generate(seed, 3 * DAY_S)


def resample(
    history: History, step_s: float, *, how: Literal["max", "mean"] = "max", compression: float = 1
) -> History:
    """Return the maxima or means over blocks, each of which becomes one step of ``step_s``.

    A block spans ``step_s * compression`` seconds of the history: with 10 a demo replays ten
    seconds of the trace as one. Seconds after the last whole block are left out.

    Raises:
        DomainError: a block is no whole number of steps, or longer than the history.
    """
    ratio = step_s * compression / history.step_s
    size = round(ratio)
    if size < 1 or not math.isclose(ratio, size, rel_tol=1e-6):
        raise DomainError(
            f"cannot make blocks of {step_s * compression:g} s from steps of {history.step_s:g} s; "
            "choose a whole multiple"
        )
    count = len(history.values_rps) // size
    if count < 1:
        raise DomainError(
            f"history {history.source} lasts {history.duration_s:g} s, less than one block of "
            f"{size * history.step_s:g} s"
        )
    blocks = history.values_rps[: count * size].reshape(count, size)
    values = blocks.max(axis=1) if how == "max" else blocks.mean(axis=1)
    return replace(history, values_rps=values, step_s=step_s)


def generate(
    seed: int,
    duration_s: int,
    *,
    mean_rps: float = 60.0,
    diurnal_share: float = 0.5,
    bursts_per_day: float = 24.0,
) -> History:
    """Return seconds with a daily wave, bursts and noise; a seed gives the same ones each time.

    The rate is ``mean_rps`` x (1 + ``diurnal_share`` x a sine of one day) x slow noise x bursts.
    A burst rises in half a minute to two minutes to 1.5 to 4 times the rate and decays over a few
    minutes. Arrivals per second are Poisson.
    """
    rng = np.random.default_rng(seed)
    time_s = np.arange(duration_s, dtype=np.float64)
    wave = 1 + diurnal_share * np.sin(2 * np.pi * (time_s / DAY_S + rng.random()))
    rate_rps = mean_rps * wave * _slow_noise(rng, duration_s)
    for _ in range(rng.poisson(bursts_per_day * duration_s / DAY_S)):
        rate_rps *= _burst(
            time_s,
            peak_s=rng.random() * duration_s,
            rise_s=rng.uniform(30, 120),
            fall_s=rng.uniform(60, 300),
            height=rng.uniform(0.5, 3.0),
        )
    counts = rng.poisson(np.maximum(rate_rps, 0.0)).astype(np.float64)
    return History(values_rps=counts, step_s=1.0, source=f"generator, seed {seed}")


def bursty_curve(duration_s: int = 60, seed: int = 0) -> tuple[float, ...]:
    """Return a load curve for a demo: one value per second in [0, 1], valleys between peaks.

    There is one peak for each half minute, at least two; each has a plateau of 14 to 20 % of its
    share of the time and ramps of 8 to 11 s, shorter when the curve is too short for them. The
    curve starts and ends in a valley. The highest peak is 1 and the deepest valley 0; the others
    reach 0.75 at least.
    """
    if duration_s < 10:
        raise DomainError(f"a load curve needs at least 10 s, got {duration_s}")
    rng = np.random.default_rng(seed)
    peaks = max(2, round(duration_s / 30))
    slot_s = duration_s / peaks
    time_s = np.arange(duration_s, dtype=np.float64)
    curve = np.zeros(duration_s)
    heights = rng.uniform(0.75, 0.95, peaks)
    heights[rng.integers(peaks)] = 1.0
    for peak, height in enumerate(heights):
        ramp_s = min(rng.uniform(8, 11), slot_s / 3)
        plateau_s = rng.uniform(0.14, 0.2) * slot_s
        middle_s = (peak + 0.5) * slot_s + rng.uniform(-0.05, 0.05) * slot_s
        curve = np.maximum(curve, height * _ramp(time_s, middle_s, plateau_s, ramp_s))
    wobble = 0.04 * (1 - curve) * np.abs(np.sin(time_s * rng.uniform(0.3, 0.5)))
    curve = curve + wobble
    lowest, highest = curve.min(), curve.max()
    return tuple(float(v) for v in (curve - lowest) / (highest - lowest))


def _ramp(time_s: Rates, middle_s: float, plateau_s: float, ramp_s: float) -> Rates:
    """A plateau of height 1 with half-cosine flanks of ``ramp_s``."""
    outside_s = np.clip(np.abs(time_s - middle_s) - plateau_s / 2, 0, ramp_s)
    flank: Rates = 0.5 * (1 + np.cos(np.pi * outside_s / ramp_s))
    return flank


def _slow_noise(rng: np.random.Generator, duration_s: int) -> Rates:
    """A factor around 1 that wanders over minutes: noise every 30 s, smoothed, joined by lines."""
    knots = rng.normal(0, 1, duration_s // 30 + 12)
    smooth = np.convolve(knots, np.ones(10) / np.sqrt(10), mode="valid")
    factor: Rates = np.exp(
        0.08 * np.interp(np.arange(duration_s) / 30, np.arange(len(smooth)), smooth)
    )
    return factor


def _burst(time_s: Rates, *, peak_s: float, rise_s: float, fall_s: float, height: float) -> Rates:
    before = np.clip((time_s - (peak_s - rise_s)) / rise_s, 0, 1)
    after = np.exp(-np.clip(time_s - peak_s, 0, None) / fall_s)
    factor: Rates = 1 + height * before * after
    return factor


def _holes(values: Rates, hole_steps: int) -> NDArray[np.bool_]:
    """Mark the values that belong to a run of at least ``hole_steps`` zeros."""
    zero = np.concatenate([[False], values == 0, [False]])
    edges = np.flatnonzero(zero[1:] != zero[:-1]).reshape(-1, 2)
    marks = np.zeros(len(values), dtype=np.bool_)
    for start, end in edges[(edges[:, 1] - edges[:, 0]) >= hole_steps]:
        marks[start:end] = True
    return marks


def _words(path: Path) -> tuple[Sequence[str], Sequence[str]]:
    text = _text(path)
    words = text.split()
    return words, ()


def _csv_cells(path: Path, column: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return the cells of one column and the lines they stand on."""
    text = _text(path)
    try:
        rows = [(i, row) for i, row in enumerate(csv.reader(text.splitlines()), start=1) if row]
    except csv.Error as err:
        raise SpecError(str(path), [f"is no CSV: {err}"]) from err
    if not rows:
        return (), ()
    heading = [cell.strip() for cell in rows[0][1]]
    if column in heading:
        index, rows = heading.index(column), rows[1:]
    elif len(heading) == 1:
        index, rows = 0, rows[0 if _is_rate(heading[0]) else 1 :]
    else:
        raise SpecError(str(path), [f"has no column {column!r}; there are {', '.join(heading)}"])
    short = [f"line {i}: has only {len(row)} columns" for i, row in rows if len(row) <= index]
    if short:
        raise SpecError(str(path), short[:MAX_FAULTS])
    return [row[index] for _, row in rows], [f"line {i}" for i, _ in rows]


def _text(path: Path) -> str:
    try:
        with _opened(path) as stream:
            body = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as err:
        raise SpecError(str(path), [f"cannot be read: {err}"]) from err
    if len(body) > MAX_BYTES:
        raise SpecError(str(path), [f"has more than {MAX_BYTES} bytes; cut it into shorter ones"])
    try:
        return body.decode("ascii")
    except UnicodeDecodeError as err:
        raise SpecError(str(path), [f"is no text of numbers: {err}"]) from err


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _rates(path: Path, texts: Sequence[str], places: Sequence[str]) -> Rates:
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError:
        values = np.array([float(t) if _is_rate(t) else math.nan for t in texts])
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    faults = [
        f"{places[i] if places else f'value {i + 1}'}: {texts[i]!r} is no rate of at least 0"
        for i in bad[:MAX_FAULTS]
    ]
    if len(bad) > MAX_FAULTS:
        faults.append(f"and {len(bad) - MAX_FAULTS} more like these")
    if not len(values):
        faults.append("holds no rate")
    if faults:
        raise SpecError(str(path), faults)
    return values


def _is_rate(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False
