"""Sends each command when it is its turn: one at a time to a charger, once, and stops before all else.

The lane is held while a command goes out and is answered; what may still come of it is kept there.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from exporter.command import Action, Result
from exporter.errors import CommandError, CommandPostponed, CommandRefused, CommandUnconfirmed
from exporter.lane import Lane, LastCommand, Turn, Wanted, wanted_of
from exporter.model import ChargeMode, Charger
from exporter.watching import Polling, charger_in
from exporter.writes import SUPERSEDED, Reply, Writes

# Stops beyond the limit are this far apart; so are all stops while the cloud wants the account to wait.
_EXTRA_STOP_SECONDS = 5.0
_STOP_IN_BACKOFF_SECONDS = 60.0
_LOGIN_EXPIRED = "the login has expired and is being renewed: give the command again in a moment"
Write = Callable[[Writes], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A command the cloud took; `silence` is the error when it gave no answer, and may have taken it."""

    reply: Reply
    silence: CommandUnconfirmed | None = None


class NewestStop(NamedTuple):
    """The newest stop sent to a charger, and what came of it."""

    turn: Turn
    sent: Sent | CommandError


class Turns:
    """Sends commands, each in the lane of its charger."""

    def __init__(
        self,
        polling: Callable[[], Polling],
        writes: Callable[[str], Writes],
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._polling = polling
        self._writes = writes
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._newest_stops: dict[Lane, NewestStop] = {}

    async def send(self, turn: Turn, lane: Lane, write: Write) -> Sent:
        """Send when it is its turn; raises CommandError."""
        async with lane.lock:
            self._check_wanted(turn, lane)
            return await self._written(turn, lane, write, wanted_of(turn.command))

    async def send_stop(self, turn: Turn, lane: Lane, charger: Charger) -> Sent:
        """Send a stop, or share the answer to one that was sent after this one was let in."""

        def write(writes: Writes) -> Awaitable[Reply]:
            return writes.stop_charging(charger.site_id, charger.serial)

        async with lane.lock:
            self._check_wanted(turn, lane)
            if turn.command.action is not Action.STOP:  # the first half of a restart
                return await self._written(turn, lane, write, wanted=False)
            newest = self._newest_stops.get(lane)
            if newest is not None and newest.turn.order > turn.order_before:
                return _shared(turn, lane, newest)
            await self._spaced(turn, lane)
            try:
                sent = await self._written(turn, lane, write, wanted=False)
            except CommandError as error:
                self._newest_stops[lane] = NewestStop(turn, error)
                raise
            self._newest_stops[lane] = NewestStop(turn, sent)
            return sent

    async def charge_mode(self, turn: Turn, lane: Lane, charger: Charger) -> ChargeMode:
        """The mode that is preferred now, for a command that depends on it; raises CommandError."""
        self._check_wanted(turn, lane)
        try:
            return await self._writes(turn.site_id).charge_mode(charger.site_id, charger.serial)
        except CommandError as error:
            turn.sent = True
            raise self._failed(turn, error) from error

    def check_backoff(self, site_id: str) -> None:
        """Raise CommandPostponed while the cloud wants the site's account to wait."""
        seconds = self._polling().backoff_seconds(site_id)
        if seconds > 0:
            raise CommandPostponed(
                f"the cloud has asked this account to wait {seconds:.0f} s", retry_after_seconds=seconds
            )

    def login_expired(self, site_id: str, error: CommandRefused) -> CommandRefused:
        """The refusal as it is told; a status poll is what renews a login, a command never does."""
        self._polling().poll_soon(site_id)
        return CommandRefused(f"{error}; {_LOGIN_EXPIRED}", status=error.status, code=error.code)

    def note(self, turn: Turn, lane: Lane, result: Result, confirmed: bool | None) -> None:
        """Keep as the charger's last command, unless a newer one was sent."""
        command = turn.command
        if lane.is_newest(turn):
            lane.last = LastCommand(
                action=command.action,
                amps=command.amps,
                mode=command.mode,
                result=result,
                confirmed=confirmed,
                at_seconds=turn.sent_at_seconds,
            )

    def _check_wanted(self, turn: Turn, lane: Lane) -> None:
        """Raise for a start that a stop has overtaken, and for all but a stop while the account must wait."""
        if turn.command.action is Action.STOP:
            return
        if turn.command.action is Action.START and lane.is_overtaken(turn):
            raise CommandRefused(f"{SUPERSEDED}: it was not sent", status=0)
        self.check_backoff(turn.site_id)

    async def _spaced(self, turn: Turn, lane: Lane) -> None:
        """Wait until a stop is far enough from the one before; raises CommandPostponed where that is long."""
        if turn.is_extra:
            await self._sleep(lane.stop_pause_seconds(self._clock(), _EXTRA_STOP_SECONDS))
        pause = lane.stop_pause_seconds(self._clock(), _STOP_IN_BACKOFF_SECONDS)
        if pause > 0 and self._polling().backoff_seconds(turn.site_id) > 0:
            told = "the cloud has asked this account to wait, so a stop is sent once a minute only"
            raise CommandPostponed(told, retry_after_seconds=pause)

    async def _written(self, turn: Turn, lane: Lane, write: Write, wanted: Wanted | None) -> Sent:
        """Send now, and keep in the lane what may come of it."""
        lane.take(turn)
        turn.sent, turn.sent_seconds, turn.sent_at_seconds = True, self._clock(), self._wall_clock()
        shown = self._shown(turn, wanted)
        replaced = lane.sending(wanted, turn.sent_seconds, shown)
        try:
            sent = Sent(await write(self._writes(turn.site_id)))
        except CommandUnconfirmed as error:
            sent = Sent(Reply(Result.ACCEPTED, ""), error)
        except CommandError as error:
            if isinstance(error, CommandRefused) and error.status >= 500:
                lane.answered(wanted, self._clock(), shown)  # what failed may stand behind the queue
            else:
                lane.unsent(wanted, replaced)
            raise self._failed(turn, error) from error
        turn.sent_seconds = self._clock()
        if sent.reply.result is Result.NOOP:
            lane.unsent(wanted, replaced)
        else:
            lane.answered(wanted, turn.sent_seconds, shown)
        self.note(turn, lane, sent.reply.result, None if sent.silence else False)
        return sent

    def _shown(self, turn: Turn, wanted: Wanted | None) -> Wanted | None:
        """What is known now of that which the command is to change."""
        charger = charger_in(self._polling().site(turn.site_id), turn.command.serial or "")
        if charger is None or wanted is None:
            return None
        return charger.charging if isinstance(wanted, bool) else charger.charge_mode

    def _failed(self, turn: Turn, error: CommandError) -> CommandError:
        if isinstance(error, CommandPostponed):
            self._polling().rate_limited(turn.site_id, error.retry_after_seconds)
        if isinstance(error, CommandRefused) and error.status == 401:
            return self.login_expired(turn.site_id, error)
        if isinstance(error, CommandRefused) and not error.status:
            self._polling().poll_soon(turn.site_id)  # it did not go out: for want of a login, perhaps
        return error


def _shared(turn: Turn, lane: Lane, newest: NewestStop) -> Sent:
    lane.take(turn)
    turn.sent, turn.is_shared = True, True
    turn.sent_seconds, turn.sent_at_seconds = newest.turn.sent_seconds, newest.turn.sent_at_seconds
    if isinstance(newest.sent, CommandError):
        raise retold(newest.sent, str(newest.sent))
    return newest.sent


def retold(error: CommandError, told: str) -> CommandError:
    """The same error in other words."""
    match error:
        case CommandRefused():
            return CommandRefused(told, status=error.status, code=error.code)
        case CommandPostponed():
            return CommandPostponed(told, retry_after_seconds=error.retry_after_seconds)
        case _:
            return type(error)(told)
