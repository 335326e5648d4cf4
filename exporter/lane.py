"""The commands to one charger, one after the other: who is next, who is outdated, and what is still to come.

The cloud queues what it accepts, so a command may take effect long after it was sent, and after the next one
was. A lane remembers what it has sent until status has shown it or CONFIRM_SECONDS are over. No I/O.

What a start, a stop or a charge mode asks for is `wanted` here: True, False or the mode; None is of others.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from exporter.command import CONFIRM_SECONDS, Action, Command, Result
from exporter.model import ChargeMode

T = TypeVar("T")
Wanted = bool | ChargeMode

# Whose wait a command ends. A stop leaves that of the stop before it: both wait for the same.
_OUTDATES: Mapping[Action, frozenset[Action]] = {
    Action.START: frozenset({Action.START, Action.STOP}),
    Action.STOP: frozenset({Action.START}),
    Action.CHARGE_MODE: frozenset({Action.CHARGE_MODE}),
}


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
    order_before: int = 0  # place of the newest that was sent when this one was let in
    stops_before: int = 0  # stops let in up to then
    is_extra: bool = False  # a stop beyond the limit
    is_shared: bool = False  # a stop for which another one was sent
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
                if self.superseded:  # already, while nothing was waited for
                    self.supersede()
                try:
                    return await waiting
                finally:
                    self._scope = None
        except TimeoutError:
            if scope.expired():
                return None
            raise


def wanted_of(command: Command) -> Wanted | None:
    """What a command asks for; see above."""
    asked = {Action.START: True, Action.STOP: False, Action.CHARGE_MODE: command.mode}
    return asked.get(command.action)


@dataclass(frozen=True, slots=True)
class Pending:
    """Something that was sent and that status has not shown yet; `before` is what status showed then."""

    at_seconds: float
    before: Wanted | None


@dataclass(slots=True, eq=False)
class Lane:
    """One charger, or the live stream of one site."""

    # Held while a command is sent, and for the moment between two stops; never while status is awaited.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: LastCommand | None = None
    _stops: int = 0  # that were let in so far
    _order: int = 0
    _stop_seconds: float = -math.inf  # when the newest stop was sent, if no start was sent since
    _waiting: set[Turn] = field(default_factory=set)  # sent, and read back now
    _used: deque[float] = field(default_factory=deque)  # when commands were let in
    _pending: dict[Wanted, Pending] = field(default_factory=dict)

    # -- the limit -----------------------------------------------------------------------------------------

    def wait_seconds(self, now: float, limit: int, window_seconds: float) -> float:
        """How long until one more command is within the limit; 0 when it is."""
        while self._used and self._used[0] + window_seconds <= now:
            self._used.popleft()
        excess = len(self._used) - limit
        return self._used[excess] + window_seconds - now if excess >= 0 else 0.0

    def stop_pause_seconds(self, now: float, apart_seconds: float) -> float:
        """How long until a stop is so far apart from the one before; 0 where a start was sent since."""
        return max(0.0, self._stop_seconds + apart_seconds - now)

    def may_start(self, now: float) -> bool:
        """Whether a command is being sent, or a start sent before may still take effect."""
        return self.lock.locked() or now < self.settled_seconds(False)

    def use(self, now: float) -> None:
        """Count one command against the limit."""
        self._used.append(now)

    def give_back(self, at_seconds: float) -> None:
        """Take back the count of a command that was never sent."""
        with suppress(ValueError):  # it has left the window
            self._used.remove(at_seconds)

    # -- whose turn it is ----------------------------------------------------------------------------------

    def let_in(self, turn: Turn) -> None:
        """Take a command in. A stop outdates all starts before it at once, also those not sent yet."""
        if turn.command.action is Action.STOP:
            self._stops += 1
            self._outdate(turn)
        turn.order_before, turn.stops_before = self._order, self._stops

    def take(self, turn: Turn) -> None:
        """Make this the newest that was sent; those that it outdates wait no longer."""
        turn.order = self._order = self._order + 1
        self._outdate(turn)
        self._waiting.add(turn)

    def leave(self, turn: Turn) -> None:
        """Note that a command is over."""
        self._waiting.discard(turn)

    def is_overtaken(self, turn: Turn) -> bool:
        """Whether a newer command counts in place of this start."""
        return turn.superseded or self._stops != turn.stops_before

    def is_newest(self, turn: Turn) -> bool:
        """Whether it was sent, and no other command since."""
        return 0 < turn.order == self._order

    def _outdate(self, turn: Turn) -> None:
        outdated = _OUTDATES.get(turn.command.action, frozenset())
        for other in self._waiting - {turn}:
            if other.command.action in outdated:
                other.supersede()

    # -- what is still to come -----------------------------------------------------------------------------

    def sending(self, wanted: Wanted | None, now: float, before: Wanted | None) -> Pending | None:
        """Note that it is being sent; return what it replaces, for `unsent`."""
        if wanted is None:
            return None
        if isinstance(wanted, bool):
            self._stop_seconds = -math.inf if wanted else now
        replaced = self._pending.get(wanted)
        self._pending[wanted] = Pending(now, before)
        return replaced

    def answered(self, wanted: Wanted | None, now: float, before: Wanted | None) -> None:
        """Note that it is, or may be, queued in the cloud from now on."""
        if wanted is not None:
            self._pending[wanted] = Pending(now, before)

    def unsent(self, wanted: Wanted | None, replaced: Pending | None) -> None:
        """Note that it has no effect; what it replaced may still have one."""
        self.confirmed(wanted)
        if wanted is not None and replaced is not None:
            self._pending[wanted] = replaced

    def confirmed(self, wanted: Wanted | None) -> None:
        """Note that status has shown it, so that nothing of it is still to come."""
        if wanted is not None:
            self._pending.pop(wanted, None)

    def observed(self, shown: Wanted | None) -> None:
        """Note what a status shows that was asked for after all that was answered.

        A change that a command asked for is that command at work.
        """
        pending = None if shown is None else self._pending.get(shown)
        if shown is not None and pending is not None and pending.before not in (None, shown):
            del self._pending[shown]

    def settled_seconds(self, wanted: Wanted | None) -> float:
        """From when on status can be believed about it; minus infinity when it can be already.

        Until then the contrary of it, sent before, may take effect.
        """
        contrary = (
            pending.at_seconds
            for other, pending in self._pending.items()
            if type(other) is type(wanted) and other != wanted
        )
        return max(contrary, default=-math.inf) + CONFIRM_SECONDS

    def latest_mode(self, now: float) -> ChargeMode | None:
        """The charge mode that was sent last, while it may still be to come."""
        modes = {
            pending.at_seconds: wanted
            for wanted, pending in self._pending.items()
            if isinstance(wanted, ChargeMode) and now < pending.at_seconds + CONFIRM_SECONDS
        }
        return modes[max(modes)] if modes else None
