"""The HTTP call of one step: a replica is picked, and another one if the first is gone."""

from __future__ import annotations

import aiohttp

from penstock.errors import UnreachableError
from serving.router.endpoints import Balancer, Endpoints
from serving.router.execute import Answer
from serving.router.graph import Step

ATTEMPTS = 2
"""A request may meet one replica that has just gone; meeting two is an outage."""


class StepClient:
    """Calls services over connections that are kept open."""

    def __init__(self, *, timeout_s: float) -> None:
        """Open no connection yet; every call may take ``timeout_s``. Needs a running event loop."""
        self.balancer = Balancer()
        self._timeout_s = timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
            auto_decompress=False,
        )

    async def call(
        self, step: Step, body: bytes, endpoints: Endpoints, *, timeout_s: float | None = None
    ) -> Answer:
        """Return the answer of one replica of the step's service, within ``timeout_s``.

        A replica that closes the connection before the first byte of an answer is left, and the
        request goes to another one: inference changes nothing, so asking twice is safe.

        Raises:
            UnreachableError: nobody answered, or not in time.
        """
        urls = (step.url,) if step.url else endpoints.of(step.service)
        tried: list[str] = []
        cause: Exception | None = None
        for _ in range(ATTEMPTS):
            url = self.balancer.take(urls, tried=tried)
            if url is None:
                raise UnreachableError(f"service {step.service!r} has no replica that is ready")
            tried.append(url)
            try:
                return await self._post(url, body, timeout_s or self._timeout_s)
            except _Gone as err:
                cause = err
            finally:
                self.balancer.give_back(url)
        raise UnreachableError(f"no answer from {' or '.join(tried)}: {cause}") from cause

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _post(self, url: str, body: bytes, timeout_s: float) -> Answer:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        headers = {"Content-Type": "application/json"}
        try:
            response = await self._session.post(url, data=body, headers=headers, timeout=timeout)
        except (aiohttp.ClientConnectorError, aiohttp.ClientOSError) as err:
            raise _Gone(str(err)) from err
        except aiohttp.ServerDisconnectedError as err:
            raise _Gone("it closed the connection without an answer") from err
        except TimeoutError as err:
            raise UnreachableError(f"{url} did not answer in {timeout_s:g} s") from err
        except (aiohttp.ClientError, ValueError) as err:
            raise UnreachableError(f"{url} cannot be called: {err}") from err
        async with response:
            try:
                return Answer(status=response.status, body=await response.read())
            except (TimeoutError, aiohttp.ClientError) as err:
                raise UnreachableError(f"{url} broke off its answer: {err}") from err


class _Gone(Exception):  # noqa: N818  never leaves this module
    """The replica is not there any more; not a byte of an answer came from it."""
