"""Which replica gets the next call: the one with the fewest in flight, in turn among equals.

One gateway sees all calls of its pipeline, so its counts are exact; KServe's router balances
connections instead, and leaves new replicas idle until old connections break.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.errors import ManifestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The URL of every replica of every service, complete up to ``/infer``."""

    urls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, service: str) -> tuple[str, ...]:
        """Return the URLs of a service's replicas; none when it is not known."""
        return self.urls.get(service, ())


def read_endpoints(document: Any) -> Endpoints:
    """Read ``{service: [url, …]}``.

    Raises:
        ManifestError: with the path of the first fault.
    """
    if not isinstance(document, Mapping):
        raise ManifestError("endpoints: must be an object of service names and lists of URLs")
    for service, urls in document.items():
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise ManifestError(f"endpoints.{service}: must be a list of URLs")
    return Endpoints(urls={service: tuple(urls) for service, urls in document.items()})


class Balancer:
    """Calls in flight per replica, over all tables that were ever in force."""

    def __init__(self) -> None:
        self._in_flight: Counter[str] = Counter()
        self._last_turn: dict[str, int] = {}
        self._turn = 0

    def take(self, urls: Sequence[str], *, tried: Collection[str] = ()) -> str | None:
        """Return the replica for the next call and count it; None when there is none.

        Replicas that this request has ``tried`` are taken only when there is no other.
        """
        candidates = [url for url in urls if url not in tried] or list(urls)
        if not candidates:
            return None
        url = min(candidates, key=lambda u: (self._in_flight[u], self._last_turn.get(u, 0)))
        self._turn += 1
        self._last_turn[url] = self._turn
        self._in_flight[url] += 1
        return url

    def give_back(self, url: str) -> None:
        """Note that the call has ended."""
        self._in_flight[url] -= 1

    def forget_all_but(self, endpoints: Endpoints) -> None:
        """Drop the counts of replicas that are idle and in no table any more."""
        kept = {url for urls in endpoints.urls.values() for url in urls}
        for url in [u for u, n in self._in_flight.items() if n == 0 and u not in kept]:
            del self._in_flight[url]
            self._last_turn.pop(url, None)
