"""Asking a running predictor for one batch and timing it.

The batch is sent from one thread: all requests leave, one after the other, each on a connection of
its own, then the answers are read. Sending a request costs the client some tens of microseconds, so
the batch is complete at the server long before a model call ends; threads would add their own
switching to what is measured.
"""

from __future__ import annotations

import http.client
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit

from penstock.errors import ProfileError, UnreachableError

MAX_ERROR_TEXT = 300
"""Characters of a server's answer that an error repeats."""

_HEADERS = {"Content-Type": "application/json"}


class Probe(Protocol):
    """One full batch of real requests."""

    def run(self, batch_size: int) -> float:
        """Return the seconds from the first request's departure to the last answer's arrival.

        Raises:
            ProfileError: the predictor refused a request.
            UnreachableError: the predictor did not answer in time.
        """
        ...


class CallProbe:
    """A probe of something in this process: ``call`` does one batch of the given size."""

    def __init__(
        self, call: Callable[[int], object], timer: Callable[[], float] = time.perf_counter
    ) -> None:
        self._call = call
        self._timer = timer

    def run(self, batch_size: int) -> float:
        """Return the seconds that the call took."""
        began_s = self._timer()
        self._call(batch_size)
        return self._timer() - began_s


SPACING_S = 0.0005
"""Between the requests of a batch. In one burst the server would read many requests in one go, at a
fraction of the CPU time that the separate arrivals of a live load cost it, and would look faster
than it is."""


class Connections(AbstractContextManager["Connections"]):
    """Kept connections to one model of a predictor; several requests at once, answers in order.

    ``url`` is the server's address, such as ``http://127.0.0.1:8080``; ``timeout_s`` bounds each
    wait for the server. Use it as a context manager, or call ``close``.
    """

    def __init__(self, url: str, model: str, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ProfileError(f"{url!r} is no address of a predictor: write http://host:port")
        self._url = f"{url.rstrip('/')}/v2/models/{quote(model, safe='')}/infer"
        self._path = urlsplit(self._url).path
        self._server = (parts.hostname, parts.port or 80)
        self._timeout_s = timeout_s
        self._open: list[http.client.HTTPConnection] = []

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        while self._open:
            self._open.pop().close()

    def ask(self, bodies: Sequence[bytes], *, spacing_s: float = 0.0) -> list[bytes]:
        """Send all requests, ``spacing_s`` apart, and return their answers in the same order.

        Raises:
            ProfileError: an answer's status is not 2xx.
            UnreachableError: the server did not answer in time, or hung up.
        """
        self._reach(len(bodies))
        try:
            for i, (connection, body) in enumerate(zip(self._open, bodies, strict=False)):
                if i and spacing_s:
                    time.sleep(spacing_s)
                connection.request("POST", self._path, body=body, headers=_HEADERS)
            answers = [self._read(connection) for connection in self._open[: len(bodies)]]
        except (OSError, http.client.HTTPException) as err:
            self.close()
            raise UnreachableError(
                f"POST {self._url}: no answer within {self._timeout_s:g} s "
                f"({type(err).__name__}: {err}); is the predictor still running?"
            ) from err
        except BaseException:
            # Answers that were not read would be taken for those of the next batch.
            self.close()
            raise
        return answers

    def _reach(self, count: int) -> None:
        host, port = self._server
        while len(self._open) < count:
            self._open.append(http.client.HTTPConnection(host, port, timeout=self._timeout_s))

    def _read(self, connection: http.client.HTTPConnection) -> bytes:
        response = connection.getresponse()
        body = response.read()
        if not 200 <= response.status < 300:
            text = body[: 4 * MAX_ERROR_TEXT].decode(errors="replace")[:MAX_ERROR_TEXT]
            raise ProfileError(f"POST {self._url} was answered with {response.status}: {text}")
        return body


class HttpProbe(AbstractContextManager["HttpProbe"]):
    """Sends batches of concurrent requests to a predictor, taking the bodies in turn."""

    def __init__(
        self,
        url: str,
        model: str,
        bodies: Sequence[bytes],
        *,
        timeout_s: float = 30.0,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not bodies:
            raise ProfileError(f"no request to send to {model} at {url}: give at least one body")
        self._connections = Connections(url, model, timeout_s=timeout_s)
        self._bodies: Iterator[bytes] = itertools.cycle(tuple(bodies))
        self._timer = timer

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def run(self, batch_size: int) -> float:
        """Return the seconds from the first request's departure to the last answer's arrival.

        Raises:
            ProfileError: the predictor refused a request.
            UnreachableError: the predictor did not answer in time.
        """
        batch = list(itertools.islice(self._bodies, batch_size))
        began_s = self._timer()
        self._connections.ask(batch, spacing_s=SPACING_S)
        return self._timer() - began_s


if TYPE_CHECKING:
    _http: type[Probe] = HttpProbe
    _call: type[Probe] = CallProbe
