"""What each command to a charger takes: what is sent for it, and how it is looked for in status."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal

from exporter.allowed import MODES_WITH_LEVEL, MODES_WITHOUT_LEVEL, start_level
from exporter.command import CONFIRM_SECONDS, Action, Command, Outcome, Request, Result
from exporter.confirm import Aim, aim_of, changes_running_session, charging_now
from exporter.errors import CloudError, CommandError, CommandPostponed, CommandRefused, CommandUnconfirmed
from exporter.lane import Lane, Turn
from exporter.model import ChargeMode, Charger
from exporter.parse_reply import Verdict
from exporter.readback import FRESH_SECONDS, Look, Readback
from exporter.turns import Sent, Turns, retold
from exporter.watching import Polling, Watching
from exporter.writes import SUPERSEDED, Reply, Writes

log = logging.getLogger(__name__)

_NEXT_SESSION = (
    "the car is charging, so the level takes effect with the next charging session;"
    " give `restart: true` to stop and start again at it"
)
_STOPPED_BUT = "charging was stopped for the restart, but the start: "


@dataclass(frozen=True)
class ControlSettings:
    """What may be set about commands."""

    command_limit: int = 10
    command_limit_window_seconds: float = 600
    dry_run: bool = False
    amps_while_charging: Literal["next_session", "restart", "refuse"] = "next_session"
    live_stream_on_command: bool = True
    restart_pause_seconds: float = 30


_NOT_LOOKED = Look(False, SUPERSEDED)


class Sender:
    """Carries out commands that were found valid and within the limit."""

    def __init__(
        self,
        polling: Callable[[], Polling],
        writes: Callable[[str], Writes],
        *,
        turns: Turns,
        settings: ControlSettings,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._polling = polling
        self._writes = writes
        self.settings = settings
        self._clock = clock
        self._sleep = sleep
        self._turns = turns
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
                return await self._started(turn, lane, charger)
            case Command(action=Action.STOP):
                sent = await self._turns.send_stop(turn, lane, charger)
                return await self._followed_up(turn, lane, charger, sent)
            case Command(action=Action.CHARGE_MODE, mode=mode) if mode is not None:
                return await self._preferred(turn, lane, charger, mode)
            case _:
                sent = await self._turns.send(
                    turn, lane, lambda writes: writes.trigger_message(site_id, serial, command.message)
                )
                return await self._followed_up(turn, lane, charger, sent)

    # -- sending -------------------------------------------------------------------------------------------

    async def _started(self, turn: Turn, lane: Lane, charger: Charger, note: str = "") -> Outcome:
        site_id, serial = charger.site_id, charger.serial
        may_repeat = turn.command.amps is not None or await self._may_repeat_level(turn, lane, charger)

        async def is_charging() -> bool:
            looking = self._watching.fresh(site_id, serial, FRESH_SECONDS)
            fresh = await turn.unless_superseded(looking)
            return fresh is not None and charging_now(fresh) is True

        def write(writes: Writes) -> Awaitable[Reply]:
            level, may_drop = start_level(turn.command, self._watching.known(site_id, serial) or charger)
            if turn.command.amps is None and not (may_repeat and self._leaves_level(lane)):
                level, may_drop = None, False
            return writes.start_charging(
                site_id,
                serial,
                level_amperes=level,
                may_drop_level=may_drop,
                is_charging=is_charging,
                still_wanted=lambda: not lane.is_overtaken(turn),
            )

        sent = await self._turns.send(turn, lane, write)
        return await self._followed_up(turn, lane, charger, sent, note)

    async def _may_repeat_level(self, turn: Turn, lane: Lane, charger: Charger) -> bool:
        """Whether a start may repeat the last level, by the mode as it is now: the app changes it too."""
        if start_level(turn.command, charger)[0] is None or not self._leaves_level(lane):
            return False
        try:
            return await self._turns.charge_mode(turn, lane, charger) in MODES_WITH_LEVEL
        except CommandRefused:
            return False

    def _leaves_level(self, lane: Lane) -> bool:
        """Whether the newest mode that was sent, and may not show yet, is none that sets its own level."""
        return lane.latest_mode(self._clock()) not in MODES_WITHOUT_LEVEL

    async def _preferred(self, turn: Turn, lane: Lane, charger: Charger, mode: ChargeMode) -> Outcome:
        """Prefer a mode; its reads wait outside the lane, for a stop must not wait for them."""
        known = await self._turns.charge_mode(turn, lane, charger)

        async def write(writes: Writes) -> Reply:
            # Another mode that is still on its way would come after what was read.
            if known is mode and lane.settled_seconds(mode) <= self._clock():
                return Reply(Result.NOOP, f"the charge mode is {mode} already")
            return await writes.set_charge_mode(charger.site_id, charger.serial, mode)

        sent = await self._turns.send(turn, lane, write)
        if sent.reply.doubt is not None:
            waiting = self._read_back(lane, charger, mode, sent.reply.doubt)
            sent = Sent(await turn.unless_superseded(waiting) or sent.reply)
        return await self._followed_up(turn, lane, charger, sent)

    async def _read_back(self, lane: Lane, charger: Charger, mode: ChargeMode, doubt: Verdict) -> Reply:
        site_id, serial = charger.site_id, charger.serial
        try:
            return await self._writes(site_id).read_back(site_id, serial, mode, doubt)
        except CommandRefused:
            lane.confirmed(mode)  # nothing of it is still to come
            raise

    async def _restarted(self, turn: Turn, lane: Lane, charger: Charger) -> Outcome:
        """Stop, wait until status shows it and the charger has rested, start at the new level."""
        try:
            sent = await self._turns.send_stop(turn, lane, charger)
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
        except CommandPostponed as error:
            # Not told as postponed: that would read as if nothing had been done.
            when = f"give it again in {math.ceil(error.retry_after_seconds)} s"
            raise CommandRefused(f"{_STOPPED_BUT}{error}; {when}", status=0) from error
        except CommandError as error:
            raise retold(error, f"{_STOPPED_BUT}{error}") from error

    async def _rested(self, turn: Turn, lane: Lane) -> Look:
        look = await self._readback.watched(turn, lane, Aim(charging=False), CONFIRM_SECONDS)
        if look.confirmed:
            rested = turn.sent_seconds + self.settings.restart_pause_seconds
            await self._sleep(max(0.0, rested - self._clock()))
        return look

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
            note = note or (_NEXT_SESSION if changes_running_session(command, charger) else "")
        look = await turn.unless_superseded(waiting) or _NOT_LOOKED
        if sent.silence and not look.confirmed:
            raise CommandUnconfirmed(sentence(str(sent.silence), look.detail)) from sent.silence
        if sent.silence:
            note = sentence(note, "the cloud gave no answer")
        return Outcome(
            result=result, detail=sentence(note, sent.reply.detail, look.detail), confirmed=look.confirmed
        )

    async def _looked(self, turn: Turn, lane: Lane, aim: Aim | None) -> Look:
        """Read a command back, and ask for rapid updates beside it once a first look was in vain."""
        is_power = turn.command.action in (Action.START, Action.STOP)
        if not is_power or turn.is_extra or turn.is_shared:
            return await self._readback.looked(turn, lane, aim)
        unseen = asyncio.Event()
        bursting = asyncio.create_task(self._begin_burst(turn.site_id, unseen))
        try:
            return await self._readback.looked(turn, lane, aim, unseen.set)
        finally:
            bursting.cancel()
            await asyncio.wait([bursting])

    async def _begin_burst(self, site_id: str, unseen: asyncio.Event) -> None:
        await unseen.wait()
        polling = self._polling()
        is_welcome = self.settings.live_stream_on_command and polling.may_burst(site_id)
        if not is_welcome or polling.backoff_seconds(site_id) > 0:
            return
        try:
            stream = await polling.start_live_stream(site_id)
        except CloudError as error:
            log.debug("no rapid updates", extra={"site_id": site_id, "why": str(error)})
            return
        polling.begin_burst(site_id, stream.duration_seconds)


def sentence(*parts: str) -> str:
    """What there is to say, in one line."""
    return "; ".join(part for part in parts if part)
