"""The gateway's way to a graph that somebody else runs: KServe's router behind its Service.

That router counts nothing and has no retry, so both happen here. Connections are kept open, and
each is given up after a number of requests: a connection through a Service sticks to the pod it
first met, and pods that came later would get nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import aiohttp

from penstock.errors import DomainError, UnreachableError
from serving.arrivals import ArrivalRing
from serving.gateway_metrics import GatewayMetrics
from serving.router.execute import Answer

DEADLINE = "Penstock-Deadline-Ms"
"""Until when an answer is of use [ms since the epoch]: a time and not a duration, because a router
that copies headers does not count down. Whoever reads it needs a clock that is about right."""
FORWARDED = ("Content-Type", "Traceparent", "Tracestate", "X-Request-Id")
RECYCLE = 256
"""Every so many-th request takes its connection with it."""
KEEP_OPEN_S = 60.0  # KServe's router closes an idle connection after 180 s
_GONE = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
_NO_LIMIT = aiohttp.ClientTimeout(total=None)  # the deadline is kept around the whole request
_NOTHING: Mapping[str, str] = MappingProxyType({})


class LateError(UnreachableError):
    """No answer within the deadline."""


class Upstream:
    """One URL that is asked over connections kept open. Needs a running event loop."""

    def __init__(self, url: str, *, connections: int = 512) -> None:
        self.url = url
        self._count = itertools.count(1)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEP_OPEN_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def ask(self, body: bytes, headers: Mapping[str, str], *, within_s: float) -> Answer:
        """Return the answer to one request.

        A connection that ends before the first byte of an answer may be one that the other side
        had just closed for being idle; the request is then sent once more, which is safe, as
        inference changes nothing.

        Raises:
            LateError: no whole answer came in time.
            UnreachableError: nobody answers, or the answer broke off.
        """
        try:
            async with asyncio.timeout(max(0.0, within_s)):
                return await self._asked(body, headers)
        except TimeoutError as err:
            raise LateError(f"{self.url} did not answer within {within_s:.3g} s") from err

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _asked(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            return await self._read(await self._sent(body, headers))
        except _GONE:
            pass
        try:
            return await self._read(await self._sent(body, headers))
        except _GONE as err:
            raise UnreachableError(f"{self.url} cannot be reached: {err}") from err

    async def _sent(self, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        try:
            return await self._session.post(
                self.url, data=body, headers=self._with_end(headers), timeout=_NO_LIMIT
            )
        except _GONE:
            raise
        except (aiohttp.ClientError, ValueError) as err:
            raise UnreachableError(f"{self.url} cannot be called: {err}") from err

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        async with response:
            try:
                body = await response.read()
            except aiohttp.ClientError as err:
                raise UnreachableError(f"{self.url} broke off its answer: {err}") from err
            return Answer(status=response.status, body=body, content_type=response.content_type)

    def _with_end(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        last = next(self._count) % RECYCLE == 0
        return {**headers, "Connection": "close"} if last else headers


class ForwardingGateway:
    """Counts what arrives at a graph and passes it on, with a deadline and an honest status.

    502: nobody answers there; 503: more than ``max_in_flight`` requests wait already; 504: no
    answer in time; 400: the caller's deadline is no time. Everything else is the graph's own.
    """

    ready = True
    """Whether the graph is up is said by each answer: to be not ready would only take away the
    address at which that is said."""

    def __init__(
        self,
        pipeline: str,
        *,
        namespace: str,
        upstream: Upstream,
        timeout_s: float,
        max_in_flight: int = 1024,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.pipeline = pipeline
        self.metrics = GatewayMetrics(pipeline, namespace)
        self.arrivals = ArrivalRing(start_s=now())
        self._upstream = upstream
        self._timeout_s = timeout_s
        self._max_in_flight = max_in_flight
        self._now = now
        self._in_flight = 0

    async def answer(self, body: bytes, headers: Mapping[str, str] = _NOTHING) -> Answer:
        """Return the graph's answer, or one of ours that says why there is none."""
        if self._in_flight >= self._max_in_flight:
            return Answer.error(503, f"{self._in_flight} requests wait already; try again")
        now_s = self._now()
        try:
            deadline_s = min(now_s + self._timeout_s, deadline_of(headers))
        except DomainError as err:
            return Answer.error(400, str(err))
        self._in_flight += 1
        self.metrics.in_flight.inc()
        try:
            return await self._upstream.ask(
                body, _passed_on(headers, deadline_s), within_s=deadline_s - now_s
            )
        except LateError as err:
            return Answer.error(504, str(err))
        except UnreachableError as err:
            return Answer.error(502, str(err))
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.dec()


def deadline_of(headers: Mapping[str, str]) -> float:
    """Return the caller's deadline [s since the epoch]; infinity when none is given.

    Raises:
        DomainError: it is no time.
    """
    text = headers.get(DEADLINE)
    if text is None:
        return math.inf
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise DomainError(f"{DEADLINE}: must be milliseconds since the epoch, got {text[:40]!r}")
    return int(text) / 1e3


def _passed_on(headers: Mapping[str, str], deadline_s: float) -> dict[str, str]:
    kept = {name: headers[name] for name in FORWARDED if name in headers}
    return {"Content-Type": "application/json", **kept, DEADLINE: str(round(deadline_s * 1e3))}
