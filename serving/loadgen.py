"""Open-loop load: requests leave when they are due, whether or not earlier ones were answered.

Latency counts from the *scheduled* time: a generator or a server that falls behind shows up in the
numbers instead of thinning them out. ``python -m serving.loadgen`` runs a load in a process of its
own: one line of JSON on stdout per second, then one with the totals; a CSV with one row per
request. Arrivals are drawn by :mod:`serving.poisson`.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import aiohttp

from penstock.errors import DomainError, UserError
from penstock.files import write_whole
from penstock.process import exit_code_of
from serving.affinity import pin
from serving.poisson import LoadCurve, poisson_arrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request: when it was due, what it took from then on, and how it ended.

    Times are seconds, ``scheduled_s`` from the start of the run. ``lag_s`` is how late the
    generator sent it (part of ``latency_s``). ``status`` is 0 without an answer; ``index`` is the
    body's place in the list of bodies.
    """

    scheduled_s: float
    latency_s: float
    status: int
    index: int
    lag_s: float = 0.0

    @property
    def lost(self) -> bool:
        """Whether there was no good answer."""
        return not 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is, after ``second`` seconds; ``p99_s`` is over the last second's answers."""

    second: int
    sent: int
    answered: int
    lost: int
    in_flight: int
    p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """All samples of a run in the order they were due; ``started_s`` is in Unix time."""

    started_s: float
    samples: tuple[Sample, ...]

    @property
    def lost(self) -> int:
        """How many requests got no good answer."""
        return sum(sample.lost for sample in self.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go and how long [s] each may take."""

    url: str
    timeout_s: float = 30.0


async def run_load(
    target: Target,
    arrivals: Iterable[float],
    bodies: Sequence[bytes],
    *,
    seed: int = 0,
    on_answer: Callable[[Sample, bytes], None] | None = None,
    on_second: Callable[[Progress], None] | None = None,
) -> LoadResult:
    """Send one request per arrival, each with a body drawn at random, and wait for all answers.

    ``arrivals`` are rising times [s] from the start; they may end the run by ending early.
    ``on_answer`` gets each sample with the answer's body as it comes, and must be cheap: keep
    answers and score them after the run. ``on_second`` is called once a second.
    """
    if not bodies:
        raise DomainError("load: needs at least one request body")
    draw = random.Random(seed)
    timeout = aiohttp.ClientTimeout(total=target.timeout_s)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        sender = _Sender(session, target, on_answer or _ignore)
        watcher = asyncio.create_task(sender.watch(on_second or _ignore))
        pending: set[asyncio.Task[None]] = set()
        try:
            for due_s in arrivals:
                await sender.until(due_s)
                index = draw.randrange(len(bodies))
                task = asyncio.create_task(sender.send(bodies[index], index=index, due_s=due_s))
                pending.add(task)
                task.add_done_callback(pending.discard)
            while pending:
                await asyncio.wait(pending)
        finally:
            for one in (watcher, *pending):
                one.cancel()
            await asyncio.gather(watcher, *pending, return_exceptions=True)
    samples = tuple(sorted(sender.samples, key=lambda sample: sample.scheduled_s))
    return LoadResult(started_s=sender.started_s, samples=samples)


def _ignore(*_: object) -> None:
    """Nobody wants to know."""


class _Sender:
    """The requests of one run, and what became of them so far."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        target: Target,
        on_answer: Callable[[Sample, bytes], None],
    ) -> None:
        self.samples: list[Sample] = []
        self.started_s = time.time()
        self._zero_s = time.monotonic()
        self._session = session
        self._target = target
        self._on_answer = on_answer
        self._sent = 0
        self._recent_s: list[float] = []

    async def until(self, due_s: float) -> None:
        """Sleep until that time of the run; return at once when it has passed."""
        left_s = self._zero_s + due_s - time.monotonic()
        if left_s > 0:
            await asyncio.sleep(left_s)

    async def send(self, body: bytes, *, index: int, due_s: float) -> None:
        """Send one request and record how it ended."""
        self._sent += 1
        lag_s = self._now_s() - due_s
        status, answer = await self._post(body)
        sample = Sample(
            scheduled_s=due_s,
            latency_s=self._now_s() - due_s,
            status=status,
            index=index,
            lag_s=lag_s,
        )
        self.samples.append(sample)
        self._recent_s.append(sample.latency_s)
        self._on_answer(sample, answer)

    async def watch(self, on_second: Callable[[Progress], None]) -> None:
        """Report once a second until cancelled."""
        second = 0
        while True:
            second += 1
            await self.until(float(second))
            recent_s, self._recent_s = self._recent_s, []
            answered = len(self.samples)
            on_second(
                Progress(
                    second=second,
                    sent=self._sent,
                    answered=answered,
                    lost=sum(sample.lost for sample in self.samples),
                    in_flight=self._sent - answered,
                    p99_s=quantile(recent_s, 0.99),
                )
            )

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(self._target.url, data=body, headers=headers) as response:
                answer = await response.read()
                return response.status, answer
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, b""

    def _now_s(self) -> float:
        return time.monotonic() - self._zero_s


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of the values do not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def write_samples(result: LoadResult, path: Path) -> None:
    """Write one CSV row per request; the file appears only when it is whole."""
    rows = io.StringIO(newline="")
    writer = csv.DictWriter(rows, [one.name for one in fields(Sample)])
    writer.writeheader()
    writer.writerows(asdict(sample) for sample in result.samples)
    write_whole(path, rows.getvalue())


def read_samples(path: Path) -> tuple[Sample, ...]:
    """Read what :func:`write_samples` wrote.

    Raises:
        UserError: it cannot be read, or is no such file.
    """
    try:
        with path.open(newline="") as file:
            return tuple(_sample(row) for row in csv.DictReader(file))
    except (OSError, KeyError, ValueError) as err:
        raise UserError(f"{path} holds no samples of a load run: {err!r}") from err


def _sample(row: dict[str, str]) -> Sample:
    return Sample(
        scheduled_s=float(row["scheduled_s"]),
        latency_s=float(row["latency_s"]),
        status=int(row["status"]),
        index=int(row["index"]),
        lag_s=float(row["lag_s"]),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one load to its end; 0 even when requests were lost: the totals say how many."""
    options = _parser().parse_args(argv)
    return exit_code_of(lambda: _run(options), interrupted="interrupted; nothing was written")


def _run(options: argparse.Namespace) -> None:
    pin(options.cpu_affinity)
    bodies = _lines(options.bodies)
    curve = LoadCurve(rates_rps=_rates(options), step_s=options.step_s)
    answers: list[tuple[Sample, bytes]] = []
    result = asyncio.run(
        run_load(
            Target(url=options.url, timeout_s=options.timeout_s),
            poisson_arrivals(curve, seed=options.seed),
            bodies,
            seed=options.seed,
            on_answer=(lambda *pair: answers.append(pair)) if options.answers else None,
            on_second=lambda progress: _say(asdict(progress)),
        )
    )
    if options.answers:
        _write_answers(answers, options.answers)
    if options.out:
        write_samples(result, options.out)
    latencies_s = [sample.latency_s for sample in result.samples]
    _say(
        {
            "started_s": result.started_s,
            "requests": len(result.samples),
            "lost": result.lost,
            "p50_s": quantile(latencies_s, 0.5),
            "p99_s": quantile(latencies_s, 0.99),
            "max_lag_s": max((sample.lag_s for sample in result.samples), default=0.0),
        }
    )


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _lines(path: Path) -> list[bytes]:
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as err:
        raise UserError(f"cannot read the request bodies in {path}: {err.strerror}") from err
    if not lines:
        raise UserError(f"{path} holds no request; expected one JSON body per line")
    return lines


def _rates(options: argparse.Namespace) -> tuple[float, ...]:
    try:
        text = options.curve.read_text() if options.curve else options.rates
        return tuple(float(part) for part in text.replace(",", " ").split())
    except (OSError, ValueError) as err:
        raise UserError(f"the load curve must be numbers, one rate per step: {err}") from err


def _write_answers(answers: Sequence[tuple[Sample, bytes]], path: Path) -> None:
    lines = []
    for sample, body in sorted(answers, key=lambda pair: pair[0].scheduled_s):
        text = body.decode(errors="replace")
        row = {"scheduled_s": sample.scheduled_s, "index": sample.index, "answer": text}
        lines.append(json.dumps(row) + "\n")
    write_whole(path, "".join(lines))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.loadgen", description=__doc__)
    add = parser.add_argument
    add("--url", required=True, help="where every request is posted")
    add("--bodies", type=Path, required=True, help="file with one JSON request body per line")
    curve = parser.add_mutually_exclusive_group(required=True)
    curve.add_argument("--rates", help="rates [req/s], one per step: 10,20,10")
    curve.add_argument("--curve", type=Path, help="file with the rates")
    add("--step-s", type=float, default=1.0, help="seconds that each rate holds")
    add("--seed", type=int, default=0, help="of arrivals and choice of bodies")
    add("--timeout-s", type=float, default=30.0, help="per request")
    add("--cpu-affinity", default="", help="cores to run on, like 0")
    add("--out", type=Path, help="CSV with one row per request")
    add("--answers", type=Path, help="JSON lines with the answer of every request")
    return parser


if __name__ == "__main__":
    sys.exit(main())
