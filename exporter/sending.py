"""One command to one charger: sent in its turn, once, and then looked for in what status shows."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal

from exporter.allowed import level_to_repeat
from exporter.command import CONFIRM_SECONDS, Action, Command, Outcome, Request, Result
from exporter.confirm import Aim, aim_of, changes_running_session
from exporter.errors import CloudError, CommandError, CommandPostponed, CommandRefused, CommandUnconfirmed
from exporter.lane import Lane, LastCommand, Turn
from exporter.model import Charger
from exporter.readback import FRESH_SECONDS, Look, Readback
from exporter.watching import Polling, Watching
from exporter.writes import Reply, Writes

log = logging.getLogger(__name__)

_SUPERSEDED = "superseded by a newer command"
_NEXT_SESSION = (
    "the car is charging, so the level takes effect with the next charging session;"
    " give `restart: true` to stop and start again at it"
)
_LOGIN_EXPIRED = "the login has expired and is being renewed: give the command again in a moment"
Write = Callable[[Writes], Awaitable[Reply]]


@dataclass(frozen=True)
class ControlSettings:
    """What may be set about commands."""

    command_limit: int = 10
    command_limit_window_seconds: float = 600
    dry_run: bool = False
    amps_while_charging: Literal["next_session", "restart", "refuse"] = "next_session"
    live_stream_on_command: bool = True
    restart_pause_seconds: float = 30


@dataclass(frozen=True, slots=True)
class Sent:
    """A command the cloud took; `silence` is the error when it gave no answer, and may have taken it."""

    reply: Reply
    silence: CommandUnconfirmed | None = None


_NOT_LOOKED = Look(False, _SUPERSEDED)


class Sender:
    """Carries out commands that were found valid and within the limit."""

    def __init__(
        self,
        polling: Callable[[], Polling],
        writes: Callable[[str], Writes],
        settings: ControlSettings,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._polling = polling
        self._writes = writes
        self.settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._watching = Watching(polling, clock=clock, sleep=sleep)
        self._readback = Readback(polling, self._watching, clock=clock)

    def planned(self, command: Command, charger: Charger, *, restarts: bool) -> tuple[Request, ...]:
        """The requests a command would make: the first, then those tried if the cloud has no such route."""
        writes, site_id, serial = self._writes(charger.site_id), charger.site_id, charger.serial
        match command:
            case Command(action=Action.START):
                stop = writes.planned_stop(site_id, serial) if restarts else ()
                level, may_drop = start_level(command, charger)
                start = writes.planned_start(site_id, serial, level_amperes=level, may_drop_level=may_drop)
                return stop + start
            case Command(action=Action.STOP):
                return writes.planned_stop(site_id, serial)
            case Command(action=Action.CHARGE_MODE, mode=mode) if mode is not None:
                return writes.planned_charge_mode(site_id, serial, mode)
            case _:
                return writes.planned_trigger(site_id, serial, command.message)

    async def carried_out(self, turn: Turn, lane: Lane, charger: Charger, *, restarts: bool) -> Outcome:
        """Send a command and read it back; raises CommandError."""
        command, site_id, serial = turn.command, charger.site_id, charger.serial
        match command:
            case Command(action=Action.START) if restarts:
                return await self._restarted(turn, lane, charger)
            case Command(action=Action.START):
                note = _NEXT_SESSION if changes_running_session(command, charger) else ""
                return await self._started(turn, lane, charger, note)
            case Command(action=Action.STOP):
                sent = await self._send_stop(turn, lane, charger)
                return await self._followed_up(turn, lane, charger, sent)
            case Command(action=Action.CHARGE_MODE, mode=mode) if mode is not None:
                sent = await self._send(turn, lane, lambda w: w.set_charge_mode(site_id, serial, mode))
                return await self._followed_up(turn, lane, charger, sent)
            case _:
                sent = await self._send(
                    turn, lane, lambda w: w.trigger_message(site_id, serial, command.message)
                )
                return await self._followed_up(turn, lane, charger, sent)

    # -- sending -------------------------------------------------------------------------------------------

    async def _started(self, turn: Turn, lane: Lane, charger: Charger, note: str) -> Outcome:
        level, may_drop = start_level(turn.command, charger)

        async def is_charging() -> bool:
            fresh = await self._watching.fresh(charger.site_id, charger.serial, FRESH_SECONDS)
            return fresh is not None and fresh.charging is True

        def write(writes: Writes) -> Awaitable[Reply]:
            return writes.start_charging(
                charger.site_id,
                charger.serial,
                level_amperes=level,
                may_drop_level=may_drop,
                is_charging=is_charging,
            )

        sent = await self._send(turn, lane, write, charging=True)
        return await self._followed_up(turn, lane, charger, sent, note)

    async def _send_stop(self, turn: Turn, lane: Lane, charger: Charger) -> Sent:
        return await self._send(
            turn, lane, lambda w: w.stop_charging(charger.site_id, charger.serial), charging=False
        )

    async def _restarted(self, turn: Turn, lane: Lane, charger: Charger) -> Outcome:
        """Stop, wait until status shows it and the charger has rested, start at the new level."""
        try:
            sent = await self._send_stop(turn, lane, charger)
        except CommandError as error:
            raise retold(error, f"the stop failed, so the start was not sent: {error}") from error
        look = await turn.unless_superseded(self._rested(turn, lane)) or _NOT_LOOKED
        if not look.confirmed:
            told = f"the charger was told to stop, and the start was not sent: {look.detail}"
            raise CommandUnconfirmed(told) if sent.silence else CommandRefused(told, status=0)
        lane.use(self._clock())
        try:
            note = f"charging was stopped first, to start at {turn.command.amps} A"
            return await self._started(turn, lane, replace(charger, charging=False), note)
        except CommandError as error:
            raise retold(error, f"charging was stopped for the restart, but the start: {error}") from error

    async def _rested(self, turn: Turn, lane: Lane) -> Look:
        look = await self._readback.watched(turn, lane, Aim(charging=False), CONFIRM_SECONDS)
        if look.confirmed:
            rested = turn.sent_seconds + self.settings.restart_pause_seconds
            await self._sleep(max(0.0, rested - self._clock()))
        return look

    async def _send(self, turn: Turn, lane: Lane, write: Write, *, charging: bool | None = None) -> Sent:
        """Send when it is its turn; `charging` is what a start or a stop asks for."""
        async with lane.lock:
            self._check_wanted(turn, lane)
            lane.take(turn)
            turn.sent, turn.sent_seconds, turn.sent_at_seconds = True, self._clock(), self._wall_clock()
            charger = self._watching.known(turn.site_id, turn.command.serial or "")
            charging_before = charger.charging if charger else None
            before = lane.sending(charging, turn.sent_seconds, charging_before)
            try:
                sent = Sent(await write(self._writes(turn.site_id)))
            except CommandUnconfirmed as error:
                sent = Sent(Reply(Result.ACCEPTED, ""), error)
            except CommandError as error:
                lane.unsent(charging, before)
                raise self._failed(turn, error) from error
            turn.sent_seconds = self._clock()
            if sent.reply.result is Result.NOOP:
                lane.unsent(charging, before)
            else:
                lane.answered(charging, turn.sent_seconds, charging_before)
            self.note(turn, lane, sent.reply.result, None if sent.silence else False)
            return sent

    def _check_wanted(self, turn: Turn, lane: Lane) -> None:
        """Raise for a start that a stop has overtaken, and for all but a stop while the account must wait."""
        if turn.command.action is Action.STOP:
            return
        if turn.command.action is Action.START and (turn.superseded or lane.stops != turn.stops_before):
            raise CommandRefused(f"{_SUPERSEDED}: it was not sent", status=0)
        self.check_backoff(turn.site_id)

    def check_backoff(self, site_id: str) -> None:
        """Raise CommandPostponed while the cloud wants the site's account to wait."""
        seconds = self._polling().backoff_seconds(site_id)
        if seconds > 0:
            raise CommandPostponed(
                f"the cloud has asked this account to wait {seconds:.0f} s", retry_after_seconds=seconds
            )

    def _failed(self, turn: Turn, error: CommandError) -> CommandError:
        if isinstance(error, CommandPostponed):
            self._polling().rate_limited(turn.site_id, error.retry_after_seconds)
        if isinstance(error, CommandRefused) and error.status == 401:
            return self.login_expired(turn.site_id, error)
        return error

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

    # -- reading back --------------------------------------------------------------------------------------

    async def _followed_up(
        self, turn: Turn, lane: Lane, charger: Charger, sent: Sent, note: str = ""
    ) -> Outcome:
        """The outcome of what was sent, after reading it back."""
        command, result = turn.command, sent.reply.result
        aim = aim_of(command, charger)
        if result is Result.NOOP:
            waiting = self._readback.looked_after_noop(turn, lane, aim)
        else:
            waiting = self._looked(turn, lane, aim)
        look = await turn.unless_superseded(waiting) or _NOT_LOOKED
        if sent.silence and not look.confirmed:
            raise CommandUnconfirmed(sentence(str(sent.silence), look.detail)) from sent.silence
        if sent.silence:
            note = sentence(note, "the cloud gave no answer")
        return Outcome(
            result=result, detail=sentence(note, sent.reply.detail, look.detail), confirmed=look.confirmed
        )

    async def _looked(self, turn: Turn, lane: Lane, aim: Aim | None) -> Look:
        if turn.command.action in (Action.START, Action.STOP):
            await self._begin_burst(turn.site_id)
        return await self._readback.looked(turn, lane, aim)

    async def _begin_burst(self, site_id: str) -> None:
        polling = self._polling()
        is_polled = polling.site(site_id) is not None and not polling.backoff_seconds(site_id)
        if not self.settings.live_stream_on_command or not is_polled:
            return
        try:
            stream = await polling.start_live_stream(site_id)
        except CloudError as error:
            log.debug("no rapid updates", extra={"site_id": site_id, "why": str(error)})
            return
        polling.begin_burst(site_id, stream.duration_seconds)


def start_level(command: Command, charger: Charger) -> tuple[int | None, bool]:
    """The level to start with, and whether the start may be sent without it."""
    if command.amps is not None:
        return command.amps, False
    level = level_to_repeat(charger)
    return level, level is not None


def retold(error: CommandError, told: str) -> CommandError:
    """The same error in other words."""
    match error:
        case CommandRefused():
            return CommandRefused(told, status=error.status, code=error.code)
        case CommandPostponed():
            return CommandPostponed(told, retry_after_seconds=error.retry_after_seconds)
        case _:
            return type(error)(told)


def sentence(*parts: str) -> str:
    """What there is to say, in one line."""
    return "; ".join(part for part in parts if part)
