"""When a server process has to end: at SIGTERM, at SIGINT, or when its parent is gone."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

PARENT_POLL_S = 0.5


class Lifetime:
    """The end of this process, as something that can be awaited.

    The parent is watched by polling: it works on every Unix, and a parent killed by SIGKILL leaves
    no orphan behind for longer than ``PARENT_POLL_S``.
    """

    def __init__(self, *, parent_pid: int = 0) -> None:
        """Take over the signals of the running event loop; ``parent_pid`` 0 watches no parent.

        From here on a signal is remembered, so that one that comes before anybody awaits the end
        still ends the process in good order.
        """
        self._parent_pid = parent_pid
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._note)

    async def ended(self) -> None:
        """Return at the first signal, or once the parent is gone."""
        while not self._first.is_set():
            if self._parent_pid and os.getppid() != self._parent_pid:
                return
            await _wait(self._first, PARENT_POLL_S)

    async def linger(self, seconds: float) -> None:
        """Return after ``seconds``, or at once when a second signal shows impatience."""
        await _wait(self._second, seconds)

    def _note(self) -> None:
        (self._second if self._first.is_set() else self._first).set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
