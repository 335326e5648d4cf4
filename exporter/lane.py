"""The commands to one charger, one after the other: who is next, who is outdated, and what is still to come.

The cloud queues what it accepts, so a command may take effect long after it was sent, and after the next one
was. A lane remembers what it has sent until status has shown it or CONFIRM_SECONDS are over. No I/O.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from exporter.command import CONFIRM_SECONDS, Action, Command, Result
from exporter.model import ChargeMode

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LastCommand:
    """The newest command sent to a charger and what came of it: commanded, not observed.

    `at_seconds` is the wall clock's. `confirmed` as in Outcome; False while status is still awaited.
    """

    action: Action
    amps: int | None
    mode: ChargeMode | None
    result: Result
    confirmed: bool | None
    at_seconds: float


@dataclass(slots=True, eq=False)
class Turn:
    """One command on its way through a lane."""

    command: Command
    site_id: str
    sent: bool = False  # a request for it may have reached the cloud
    sent_seconds: float = 0.0  # monotonic; when the newest request was answered
    sent_at_seconds: float = 0.0  # wall clock; when it was sent
    order: int = 0  # place among all that were sent to this charger
    stops_before: int = 0  # stops let in before it
    superseded: bool = False
    _scope: asyncio.Timeout | None = None

    def supersede(self) -> None:
        """End its waiting: a newer command counts."""
        self.superseded = True
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def unless_superseded(self, waiting: Awaitable[T]) -> T | None:
        """What is waited for; None when a newer command came first."""
        try:
            async with asyncio.timeout(None) as scope:
                self._scope = scope
                try:
                    return await waiting
                finally:
                    self._scope = None
        except TimeoutError:
            if scope.expired():
                return None
            raise


@dataclass(frozen=True, slots=True)
class Pending:
    """A start or stop that was sent and that status has not shown yet."""

    at_seconds: float
    charging_before: bool | None


@dataclass(slots=True, eq=False)
class Lane:
    """One charger, or the live stream of one site."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a command is sent, never longer
    stops: int = 0  # that were let in so far
    last: LastCommand | None = None
    _order: int = 0
    _newest: dict[bool, Turn] = field(default_factory=dict)  # by: is it a start or a stop
    _used: deque[float] = field(default_factory=deque)  # when commands were let in
    _pending: dict[bool, Pending] = field(default_factory=dict)  # by: is charging what it asked for

    # -- the limit -----------------------------------------------------------------------------------------

    def wait_seconds(self, now: float, limit: int, window_seconds: float) -> float:
        """How long until one more command is within the limit; 0 when it is."""
        while self._used and self._used[0] + window_seconds <= now:
            self._used.popleft()
        excess = len(self._used) - limit
        return self._used[excess] + window_seconds - now if excess >= 0 else 0.0

    def may_start(self, now: float) -> bool:
        """Whether a command is being sent, or a start sent before may still take effect."""
        start = self._pending.get(True)
        return self.lock.locked() or (start is not None and now < start.at_seconds + CONFIRM_SECONDS)

    def is_newest(self, turn: Turn) -> bool:
        """Whether no other command was sent since this one."""
        return turn.order == self._order

    def use(self, now: float) -> None:
        """Count one command against the limit."""
        self._used.append(now)

    def give_back(self, at_seconds: float) -> None:
        """Take back the count of a command that was never sent."""
        with suppress(ValueError):  # it has left the window
            self._used.remove(at_seconds)

    # -- whose turn it is ----------------------------------------------------------------------------------

    def take(self, turn: Turn) -> None:
        """Make this the newest of its kind; the one before waits no longer.

        Start and stop outdate each other, and one charge mode the next. An OCPP message outdates nothing.
        """
        turn.order = self._order = self._order + 1
        action = turn.command.action
        if action not in (Action.START, Action.STOP, Action.CHARGE_MODE):
            return
        is_power = action in (Action.START, Action.STOP)
        before = self._newest.get(is_power)
        self._newest[is_power] = turn
        if before is not None and before is not turn:
            before.supersede()

    # -- what is still to come -----------------------------------------------------------------------------
    # `charging` is what a start (True) or stop (False) asks for; None, of other commands, is not kept.

    def sending(self, charging: bool | None, now: float, charging_before: bool | None) -> Pending | None:
        """Note that it is being sent; return what it replaces, for `unsent`."""
        if charging is None:
            return None
        before = self._pending.get(charging)
        self._pending[charging] = Pending(now, charging_before)
        return before

    def answered(self, charging: bool | None, now: float, charging_before: bool | None) -> None:
        """Note that it is queued in the cloud from now on."""
        if charging is not None:
            self._pending[charging] = Pending(now, charging_before)

    def unsent(self, charging: bool | None, before: Pending | None) -> None:
        """Note that it has no effect; what it replaced may still have one."""
        self.confirmed(charging)
        if charging is not None and before is not None:
            self._pending[charging] = before

    def confirmed(self, charging: bool | None) -> None:
        """Note that status has shown it, so that nothing of it is still to come."""
        if charging is not None:
            self._pending.pop(charging, None)

    def observed(self, charging: bool | None) -> None:
        """Note what a status shows that was asked for after all that was answered.

        A change that such a command asked for is that command at work.
        """
        if charging is None:
            return
        pending = self._pending.get(charging)
        if pending is not None and pending.charging_before is (not charging):
            del self._pending[charging]

    def settled_seconds(self, charging: bool | None) -> float:
        """From when on status can be believed about it; minus infinity when it can be already.

        The opposite command, sent before, may take effect until then.
        """
        opposite = None if charging is None else self._pending.get(not charging)
        return -math.inf if opposite is None else opposite.at_seconds + CONFIRM_SECONDS
