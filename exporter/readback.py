"""What became of a command that was sent: reads status back until it shows, or until the wait is over."""

from collections.abc import Callable
from dataclasses import dataclass

from exporter.command import Action
from exporter.confirm import Aim, charging_now, hides_level, instead, is_shown, level_left
from exporter.lane import Lane, Turn, Wanted, wanted_of
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

    async def looked(
        self, turn: Turn, lane: Lane, aim: Aim | None, unseen: Callable[[], object] = lambda: None
    ) -> Look:
        """What became of a command the cloud took; asked for once where nothing is waited for.

        `unseen` is called after each status that does not show it.
        """
        command = turn.command
        if aim is not None and command.wait_seconds:
            return await self.watched(turn, lane, aim, command.wait_seconds, unseen)
        self._polling().poll_soon(turn.site_id, also=_also(aim))
        return Look(None) if aim is None else Look(False, "status was not waited for")

    async def looked_after_noop(self, turn: Turn, lane: Lane, aim: Aim | None) -> Look:
        """What speaks against a noop: a charging car's stop once got "nothing to stop"."""
        command, site_id, serial = turn.command, turn.site_id, turn.command.serial or ""
        stops, fresh = command.action is Action.STOP, None
        if stops and command.wait_seconds:
            within = min(FRESH_SECONDS, command.wait_seconds)
            fresh = await self._watching.fresh(site_id, serial, within)
        else:
            self._polling().poll_soon(site_id, also=_also(aim))
        if fresh is not None:
            lane.observed(charging_now(fresh))
        charger = fresh or self._watching.known(site_id, serial)
        if stops and charger is not None and charging_now(charger):
            return Look(False, "ATTENTION: the cloud found nothing to stop, but status still shows charging")
        wanted = wanted_of(command)
        if self._clock() < lane.settled_seconds(wanted):
            return Look(False, _still_to_come(wanted))
        if not stops or aim is None:
            return Look(None, level_left(command, charger))
        if fresh is None:
            waited = "no fresh status came to tell whether it charges"
            return Look(None, waited if command.wait_seconds else "status was not waited for")
        if is_shown(aim, fresh):
            return Look(True, "status shows that it does not charge")
        return Look(None, instead(aim, fresh))

    async def watched(
        self,
        turn: Turn,
        lane: Lane,
        aim: Aim,
        wait_seconds: float,
        unseen: Callable[[], object] = lambda: None,
    ) -> Look:
        """Follow what status shows until it is the aim, and nothing sent before can undo that any more."""
        newest: Charger | None = None
        wanted = _wanted_by(aim)

        def is_seen(now_shown: Charger) -> bool:
            nonlocal newest
            newest = now_shown
            if self._is_fresh(turn, aim):
                lane.observed(charging_now(newest) if aim.mode is None else newest.charge_mode)
                if is_shown(aim, newest) and self._clock() >= lane.settled_seconds(wanted):
                    return True
            unseen()
            return False

        asks = [turn.sent_seconds + seconds for seconds in READ_BACK_SECONDS]
        asks += [moment for moment in [lane.settled_seconds(wanted)] if moment > turn.sent_seconds]
        seen = await self._watching.watch(
            turn.site_id,
            turn.command.serial or "",
            is_seen,
            asks=asks,
            end_seconds=turn.sent_seconds + wait_seconds,
            also=_also(aim),
        )
        if not seen or newest is None:
            return Look(False, f"not confirmed within {wait_seconds:g} s: {self._not_yet(turn, aim, newest)}")
        lane.confirmed(wanted)
        if aim.charging and aim.amps is not None and hides_level(newest):
            return Look(None, "it charges; the level cannot be seen")
        return Look(True, "status confirms it")

    def _is_fresh(self, turn: Turn, aim: Aim) -> bool:
        """Whether the aim shows in what was read after the command: modes are not read with every status."""
        serial = turn.command.serial or ""
        return aim.mode is None or self._watching.mode_read_since(turn.site_id, serial, turn.sent_seconds)

    def _not_yet(self, turn: Turn, aim: Aim, charger: Charger | None) -> str:
        if charger is None or not is_shown(aim, charger):
            return instead(aim, charger)
        if not self._is_fresh(turn, aim):
            return "the charge mode could not be read back"
        return _still_to_come(_wanted_by(aim))


def _wanted_by(aim: Aim) -> Wanted:
    # A level alone belongs to a start.
    return aim.charging is not False if aim.mode is None else aim.mode


def _still_to_come(wanted: Wanted | None) -> str:
    contrary = {True: "a stop", False: "a start"}[wanted] if isinstance(wanted, bool) else "another mode"
    return f"{contrary} sent before may still take effect"


def _also(aim: Aim | None) -> str:
    return "charge_mode" if aim is not None and aim.mode is not None else ""
