"""The past for the page, kept for a while: loading the page again and again must not load the disk."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from exporter.errors import StateError
from exporter.history import History

log = logging.getLogger(__name__)

KEPT_SECONDS = 15.0


class Past:
    """The newest history, read at most every KEPT_SECONDS, once for all who wait."""

    def __init__(self, read: Callable[[], Awaitable[History]], *, clock: Callable[[], float]) -> None:
        """`read` may raise StateError; `clock` is monotonic."""
        self._read = read
        self._clock = clock
        self._history = History()
        self._error = ""
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def newest(self) -> tuple[History, str]:
        """The history, and why it could not be read last; it is then the one before, or an empty one."""
        async with self._reading:
            if self._read_at is None or self._clock() - self._read_at >= KEPT_SECONDS:
                await self._read_again()
        return self._history, self._error

    async def _read_again(self) -> None:
        failed_before = bool(self._error)
        try:
            self._history, self._error = await self._read(), ""
        except StateError as error:
            self._error = str(error)
            log.log(
                logging.DEBUG if failed_before else logging.WARNING,
                "the page lacks the past: the state cannot be read",
                extra={"why": self._error},
            )
        self._read_at = self._clock()
