"""Tells systemd what the exporter is doing, by the protocol of sd_notify(3): lines in a datagram."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Supervisor:
    """The one who has started us and wants to be told; without $NOTIFY_SOCKET nobody does.

    `watchdog_seconds` is how long it waits between two signs of life, None when it does not watch.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds = _watchdog_seconds(environ) if self._address else None

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is over; `status` is for people."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` must follow."""
        # One that sent the signal itself knows by this time which of its signals is meant.
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1", "STATUS=stopping")

    async def ping(self, is_healthy: Callable[[], bool]) -> None:
        """Give a sign of life twice in each `watchdog_seconds`, but only while healthy; never ends."""
        while self.watchdog_seconds is not None:
            healthy = is_healthy()
            if healthy:
                self._tell("WATCHDOG=1")
            # What is not well for a moment, as during a reload, is looked at again before time runs out.
            await asyncio.sleep(self.watchdog_seconds / (2 if healthy else 20))

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # An address in the abstract name space is written with an @ for its leading zero byte.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.setblocking(False)  # a manager that does not read must not stop the event loop
                datagrams.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", lines[0], error.strerror or error)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # meant for a process that started this one
    try:
        seconds = int(environ.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        log.warning("WATCHDOG_USEC is no number of microseconds; no sign of life will be given")
        return None
    return seconds if seconds > 0 else None
