"""How requests reach an API server: one small port with two ways behind it.

``direct`` speaks HTTP itself, with a fixed login: a pod's service account, or a kubeconfig of
tokens and certificates. ``official`` is the Kubernetes client, for kubeconfigs whose login is a
program or a cloud's. There are two because a tick starts cold. With its 700 model classes the
client takes 0.43 s of CPU and 44 MB of the tick's memory to import from bytecode (2 s and more
where that has to be compiled), and the tick was 1.25 s of CPU and 105 MB with it, 0.72 s and 61 MB
without (``bench/tick.py``, no change). ``direct`` adds nothing: asking Prometheus has loaded what
it uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from serving.manifest import Manifest

AGENT = "penstock"
"""The ``User-Agent`` of every request: the server keeps it as the manager of the fields we set."""

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server said, whatever it said: HTTP status and body."""

    status: int
    text: str


class Connection(Protocol):
    """A way to an API server that is logged in. Used by one thread at a time."""

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Manifest | None = None,
        media: str = JSON,
        timeout_s: float = 10.0,
    ) -> Reply:
        """Send one request, once, and return the answer; redirects are not followed.

        Args:
            method: ``GET``, ``POST`` and so on.
            path: with its query, from the server's root on.
            body: sent as JSON.
            media: the body's ``Content-Type``, which says what kind of patch it is.
            timeout_s: how long connecting and each read may take.

        Raises:
            UnreachableError: no whole answer came; the request may have been carried out or not.
            UserError: the login can't be used.
        """
        ...


def no_answer(method: str, path: str, err: Exception) -> str:
    """Return what to say when no answer came."""
    return f"the cluster did not answer {method} {path}: {err}; is it up, and is its address right?"
