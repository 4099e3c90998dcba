"""Where the load comes from: the ``LoadSource`` port and its back-ends.

Bad data never looks like a quiet pipeline: a source either raises ``SourceError`` or returns a
``Load`` whose flags say what was wrong, and a sample that is missing or makes no sense is
replaced by the larger of its neighbours, so that an outage can't scale anything in. A true zero
is a value like any other and sets no flag.

Flags: ``gap`` samples missing, ``stale`` the newest samples missing, ``nan`` ``infinite``
``negative`` ``absurd`` values that no arrival rate can have, ``duplicate`` two samples for one
time, ``misplaced`` samples outside the window, ``partial`` the server warned that its answer is
incomplete, ``clock`` the server's time is ahead of ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from optimizer.fetch import FetchJson, fetch_json, require_http
from penstock.domain import Load
from penstock.errors import DomainError, SourceError

MAX_RATE_RPS = 1e9
"""A rate above this is a broken counter, not load."""


class LoadSource(Protocol):
    """Where arrival rates are read."""

    def window(self, now_s: float) -> Load:
        """Return the newest rates up to ``now_s``, the time [s] on the run's clock.

        Raises:
            SourceError: there is no usable answer.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusLoad:
    """Arrival rates from a range query.

    ``query`` must give one series in requests per second (``preset_query`` writes one). Older
    steps than the series has are left out, so a young pipeline gives a short window without a
    flag. ``missing``, if given, says how many series are not there at a step (``missing_query``):
    such a step counts as missing and the window as ``partial``, and the server's clock is compared
    with ours. ``headers`` carry credentials.
    """

    url: str
    query: str
    missing: str = ""
    window_steps: int
    step_s: float
    timeout_s: float = 5.0
    max_bytes: int = 1_000_000
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    fetch: FetchJson = field(default=fetch_json, repr=False)

    def __post_init__(self) -> None:
        require_http(self.url)
        _require_window(self.window_steps, self.step_s)

    def window(self, now_s: float) -> Load:
        """Return the last ``window_steps`` steps that end at ``now_s``."""
        start_s = now_s - (self.window_steps - 1) * self.step_s
        flags: set[str] = set()
        grid = _on_grid(self._series(self.query, now_s, flags), start_s, self, flags)
        if self.missing:
            lost = _on_grid(self._series(self.missing, now_s, flags), start_s, self, flags)
            if any(lost):
                flags.add("partial")
            grid = [None if gone else rate for rate, gone in zip(grid, lost, strict=True)]
            flags |= _clock_flags(now_s - self._server_time_s(), self.step_s)
        return _load(grid, step_s=self.step_s, end_s=now_s, flags=flags, source=self.query)

    def _series(self, query: str, now_s: float, flags: set[str]) -> list[Any]:
        start_s = now_s - (self.window_steps - 1) * self.step_s
        asked = {"query": query, "start": start_s, "end": now_s, "step": self.step_s}
        answer = self._ask("query_range", asked)
        flags |= {"partial"} if answer.get("warnings") else set()
        return self._samples(answer)

    def _server_time_s(self) -> float:
        """Return what the server takes for now."""
        data = self._ask("query", {"query": "time()"}).get("data")
        result = data.get("result") if isinstance(data, dict) else None
        time_s = _number(result[0]) if isinstance(result, list) and result else None
        if time_s is None or not math.isfinite(time_s):
            raise SourceError(f"Prometheus at {self.url} does not say what time it is: {data!r}")
        return time_s

    def _ask(self, what: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self.fetch(
            f"{self.url.rstrip('/')}/api/v1/{what}?{urlencode(asked)}",
            timeout_s=self.timeout_s,
            max_bytes=self.max_bytes,
            headers=self.headers,
        )

    def _samples(self, answer: Mapping[str, Any]) -> list[Any]:
        """Return the ``[time, text]`` pairs of the one series."""
        if answer.get("status") != "success":
            said = answer.get("error") or f"status {answer.get('status')!r}"
            raise SourceError(f"Prometheus refused {self.query!r}: {said}")
        data = answer.get("data")
        kind = data.get("resultType") if isinstance(data, dict) else None
        result = data.get("result") if isinstance(data, dict) else None
        if kind != "matrix" or not isinstance(result, list):
            raise SourceError(f"Prometheus answered {self.query!r} with {kind!r}, not a matrix")
        if not result:
            raise SourceError(
                f"Prometheus has no series for {self.query!r}; is the metric scraped?"
            )
        if len(result) > 1:
            raise SourceError(
                f"Prometheus has {len(result)} series for {self.query!r}; wrap it in sum(...)"
            )
        samples = result[0].get("values") if isinstance(result[0], dict) else None
        if not isinstance(samples, list):
            raise SourceError(f"Prometheus answered {self.query!r} with a series without values")
        return samples


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLoad:
    """Arrival rates from the gateway's own per-second counts.

    They are had with ``GET <url>/-/load?steps=N&step_s=S``. The gateway keeps the ring, so this
    needs no Prometheus and keeps no state. The window is ``stale`` when it ended more than two
    steps (at least 2 s) before ``now_s``.
    """

    url: str
    window_steps: int
    step_s: float = 1.0
    timeout_s: float = 2.0
    max_bytes: int = 1_000_000
    fetch: FetchJson = field(default=fetch_json, repr=False)

    def __post_init__(self) -> None:
        require_http(self.url)
        _require_window(self.window_steps, self.step_s)

    def window(self, now_s: float) -> Load:
        """Return the newest ``window_steps`` steps, fewer when the gateway is young."""
        asked = urlencode({"steps": self.window_steps, "step_s": f"{self.step_s:g}"})
        address = f"{self.url.rstrip('/')}/-/load"
        answer = self.fetch(
            f"{address}?{asked}", timeout_s=self.timeout_s, max_bytes=self.max_bytes
        )
        step_s, end_s = _number(answer.get("step_s")), _number(answer.get("end_s"))
        values = answer.get("values_rps")
        faults = []
        if step_s is None or not math.isclose(step_s, self.step_s):
            faults.append(f"step_s: asked for {self.step_s:g}, got {answer.get('step_s')!r}")
        if end_s is None or not math.isfinite(end_s):
            faults.append(f"end_s: must be a time, got {answer.get('end_s')!r}")
        if not isinstance(values, list) or len(values) > self.window_steps:
            faults.append(f"values_rps: must be a list of at most {self.window_steps} rates")
        if faults or end_s is None or not isinstance(values, list):
            raise SourceError(f"GET {address} answered no load: {'; '.join(faults)}")
        flags = _clock_flags(now_s - end_s, self.step_s)
        grid = [_rate(_number(v), flags) for v in values]
        return _load(grid, step_s=self.step_s, end_s=end_s, flags=flags, source=address)


class TraceLoad:
    """Arrival rates replayed from a list.

    ``values_rps[i]`` holds for ``step_s`` seconds from ``start_s + i * step_s`` on. Only whole
    steps that lie before ``now_s`` are seen. Past the end of the trace its last ``window_steps``
    stay, flagged ``stale``.
    """

    def __init__(
        self,
        values_rps: Sequence[float],
        *,
        step_s: float,
        start_s: float = 0.0,
        window_steps: int = 12,
    ) -> None:
        _require_window(window_steps, step_s)
        self._values_rps = tuple(float(v) for v in values_rps)
        self._step_s = step_s
        self._start_s = start_s
        self._window_steps = window_steps

    def window(self, now_s: float) -> Load:
        """Return the last ``window_steps`` whole steps before ``now_s``."""
        # A time such as 0.3 / 0.1 must count as three whole steps.
        passed = math.floor((now_s - self._start_s) / self._step_s + 1e-9)
        if passed < 1 or not self._values_rps:
            raise SourceError(
                f"the trace has no whole step before {now_s:g} s; it starts at {self._start_s:g} s "
                f"with steps of {self._step_s:g} s"
            )
        end = min(passed, len(self._values_rps))
        flags = {"stale"} if passed > end else set[str]()
        seen = self._values_rps[max(0, end - self._window_steps) : end]
        grid = [_rate(v, flags) for v in seen]
        end_s = self._start_s + end * self._step_s
        return _load(grid, step_s=self._step_s, end_s=end_s, flags=flags, source="the trace")


def _on_grid(
    samples: Iterable[Any], start_s: float, asked: PrometheusLoad, flags: set[str]
) -> list[float | None]:
    """Put samples into the steps they belong to; of two for one step the larger counts."""
    grid: list[float | None] = [None] * asked.window_steps
    seen: set[int] = set()
    for sample in samples:
        time_s, rate_rps = _sample(sample, asked.query)
        place = (time_s - start_s) / asked.step_s
        if not -0.5 < place < asked.window_steps - 0.5:
            flags.add("misplaced")
            continue
        index = round(place)
        if index in seen:
            flags.add("duplicate")
        seen.add(index)
        rate = _rate(rate_rps, flags)
        if rate is not None:
            grid[index] = max(rate, grid[index] or 0.0)
    return grid


def _sample(sample: Any, query: str) -> tuple[float, float]:
    if isinstance(sample, list) and len(sample) == 2 and isinstance(sample[1], str):
        time_s = _number(sample[0])
        try:
            rate_rps = float(sample[1])
        except ValueError:
            time_s = None
        if time_s is not None and math.isfinite(time_s):
            return time_s, rate_rps
    raise SourceError(f"Prometheus answered {query!r} with a sample that is no [time, text]")


def _number(value: Any) -> float | None:
    """Return a JSON number as a float, one too large as infinity, ``None`` for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _rate(value: float | None, flags: set[str]) -> float | None:
    """Return a rate that may be used, or ``None`` and a flag that says why not."""
    faults = {
        "gap": value is None,
        "nan": value is not None and math.isnan(value),
        "infinite": value is not None and math.isinf(value),
        "negative": value is not None and -math.inf < value < 0,
        "absurd": value is not None and MAX_RATE_RPS < value < math.inf,
    }
    found = {name for name, holds in faults.items() if holds}
    flags |= found
    return None if found else value


def _load(
    grid: Sequence[float | None], *, step_s: float, end_s: float, flags: set[str], source: str
) -> Load:
    """Fill what is missing and make the Load; steps before the first usable one are left out."""
    known = [i for i, value in enumerate(grid) if value is not None]
    if not known:
        raise SourceError(
            f"{source} gave no usable sample for the window that ends at {end_s:.3f} s"
        )
    if known[-1] < len(grid) - 1:
        flags.add("stale")
    if len(known) < known[-1] - known[0] + 1:
        flags.add("gap")
    values = _filled(grid[known[0] :])
    return Load(values_rps=values, step_s=step_s, end_s=end_s, flags=tuple(sorted(flags)))


def _filled(grid: Sequence[float | None]) -> tuple[float, ...]:
    """Replace each missing value by the larger of the nearest known ones on both sides."""
    before = _carried(grid)
    after = _carried(grid[::-1])[::-1]
    return tuple(max(pair) for pair in zip(before, after, strict=True))


def _carried(grid: Sequence[float | None]) -> list[float]:
    carried, newest = [], 0.0
    for value in grid:
        newest = newest if value is None else value
        carried.append(newest)
    return carried


def _clock_flags(age_s: float, step_s: float) -> set[str]:
    tolerance_s = max(2 * step_s, 2.0)
    if age_s > tolerance_s:
        return {"stale"}
    return {"clock"} if age_s < -tolerance_s else set()


def _require_window(window_steps: int, step_s: float) -> None:
    if window_steps < 1 or not (math.isfinite(step_s) and step_s > 0):
        raise DomainError(
            f"load source: needs window_steps >= 1 and step_s > 0, got {window_steps} and {step_s}"
        )


if TYPE_CHECKING:
    _trace: LoadSource = TraceLoad((), step_s=1.0)
    _gateway: LoadSource = GatewayLoad(url="", window_steps=1)
    _prometheus: LoadSource = PrometheusLoad(url="", query="", window_steps=1, step_s=1.0)
