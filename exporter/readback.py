"""What became of a command that was sent: reads status back until it shows, or until the wait is over."""

from collections.abc import Callable
from dataclasses import dataclass

from exporter.command import Action
from exporter.confirm import Aim, instead, is_shown
from exporter.lane import Lane, Turn
from exporter.model import Charger
from exporter.watching import Polling, Watching

# When status is asked for, seconds after sending. A charger at hand takes seconds, one that the cloud has to
# look for tens of them; 90 is the longest lag known, and the last answer must come before the wait is over.
READ_BACK_SECONDS = (2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 65.0, 80.0, 87.0)
FRESH_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """What reading back found: `confirmed` as in Outcome, and that in words."""

    confirmed: bool | None
    detail: str = ""


class Readback:
    """Reads chargers back."""

    def __init__(
        self, polling: Callable[[], Polling], watching: Watching, *, clock: Callable[[], float]
    ) -> None:
        self._polling = polling
        self._watching = watching
        self._clock = clock

    async def looked(self, turn: Turn, lane: Lane, aim: Aim | None) -> Look:
        """What became of a command the cloud took; asked for once where nothing is waited for."""
        command = turn.command
        if aim is not None and command.wait_seconds:
            return await self.watched(turn, lane, aim, command.wait_seconds)
        self._polling().poll_soon(turn.site_id, also=_also(aim))
        return Look(None) if aim is None else Look(False, "status was not waited for")

    async def looked_after_noop(self, turn: Turn, lane: Lane, aim: Aim | None) -> Look:
        """One fresh status for a stop: "nothing to stop" is what a charging car's stop got once."""
        command = turn.command
        if command.action is not Action.STOP or aim is None or not command.wait_seconds:
            self._polling().poll_soon(turn.site_id, also=_also(aim))
            if command.action is Action.STOP:
                return Look(False, "status was not waited for")
            return Look(None, "" if command.amps is None else "the charging level was not changed")
        within = min(FRESH_SECONDS, command.wait_seconds)
        charger = await self._watching.fresh(turn.site_id, command.serial or "", within)
        if charger is None:
            return Look(False, "no fresh status came to tell whether it charges")
        lane.observed(_charging_now(charger))
        if charger.charging:
            return Look(False, "ATTENTION: the cloud found nothing to stop, but status still shows charging")
        if is_shown(aim, charger) and self._clock() >= lane.settled_seconds(False):
            return Look(True, "status shows that it does not charge")
        return Look(False, _not_yet(aim, charger))

    async def watched(self, turn: Turn, lane: Lane, aim: Aim, wait_seconds: float) -> Look:
        """Follow what status shows until it is the aim, and nothing sent before can undo that any more."""
        newest: Charger | None = None
        mode_read = self._watching.mode_read_seconds(turn.site_id)
        # A level alone belongs to a start.
        charging = aim.charging is not False if aim.mode is None else None

        def is_seen(now_shown: Charger) -> bool:
            nonlocal newest
            newest = now_shown
            if aim.mode is not None:
                return is_shown(aim, newest) and self._watching.mode_read_seconds(turn.site_id) != mode_read
            lane.observed(_charging_now(newest))
            return is_shown(aim, newest) and self._clock() >= lane.settled_seconds(aim.charging)

        asks = [turn.sent_seconds + seconds for seconds in READ_BACK_SECONDS]
        asks += [moment for moment in [lane.settled_seconds(aim.charging)] if moment > turn.sent_seconds]
        seen = await self._watching.watch(
            turn.site_id,
            turn.command.serial or "",
            is_seen,
            asks=asks,
            end_seconds=turn.sent_seconds + wait_seconds,
            also=_also(aim),
        )
        if seen:
            lane.confirmed(charging)
            return Look(True, "status confirms it")
        return Look(False, f"not confirmed within {wait_seconds:g} s: {_not_yet(aim, newest)}")


def _charging_now(charger: Charger) -> bool | None:
    return None if charger.connected is False else charger.charging


def _not_yet(aim: Aim, charger: Charger | None) -> str:
    if charger is None or not is_shown(aim, charger):
        return instead(aim, charger)
    if aim.mode is not None:
        return "the charge mode could not be read back"
    return f"status shows it, but a {'stop' if aim.charging else 'start'} sent before may still take effect"


def _also(aim: Aim | None) -> str:
    return "charge_mode" if aim is not None and aim.mode is not None else ""
