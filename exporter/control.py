"""One command from the one who gave it to its outcome.

    validate → limit → one at a time per charger → send → read back from status → Outcome

"accepted" means queued in the cloud, so nothing counts as done before status has shown it, and nothing is
ever sent twice. A stop goes before everything: it waits for no other command to be confirmed, overtakes a
start that was not sent yet, and passes our own limit unless no car is there to be charged.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from exporter.allowed import check, check_wait
from exporter.command import Action, Command, Outcome, Request, Result
from exporter.confirm import changes_running_session
from exporter.errors import (
    CloudError,
    CommandError,
    CommandInvalid,
    CommandPostponed,
    CommandRefused,
    CommandUnconfirmed,
    RateLimited,
    UnknownCharger,
    Unreachable,
)
from exporter.lane import Lane, LastCommand, Turn
from exporter.model import Charger
from exporter.sending import ControlSettings, Sender
from exporter.turns import Turns
from exporter.watching import Polling, charger_in
from exporter.writes import Writes

log = logging.getLogger(__name__)

_LIVE_STREAM = frozenset({Action.LIVE_STREAM_START, Action.LIVE_STREAM_STOP})
_LIVE_STREAM_PATH = "/service/evse_controller/{}/ev_chargers/{}_live_stream"
_LONGEST_ECHO = 64
# Each command brings a poll with it; the other half of the budget is left to the polls that come anyway.
_SHARE_FOR_COMMANDS = 0.25
_OVER_BUDGET_SECONDS = 60.0
# What a status says of the plug is believed for so long.
_FRESH_STATUS_SECONDS = 60.0


class Control:
    """Carries out commands. It lives as long as the exporter: a reload must not forget what was sent."""

    def __init__(
        self,
        polling: Callable[[], Polling],
        writes: Callable[[str], Writes],
        settings: ControlSettings,
        *,
        counted: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`writes` gives those of a site's account; `counted` is told command and result of each command."""
        self._polling = polling
        self._settings = settings
        self._counted = counted
        self._clock = clock
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._turns = Turns(polling, writes, clock=clock, wall_clock=wall_clock, sleep=sleep)
        self._sender = Sender(polling, writes, turns=self._turns, settings=settings, clock=clock, sleep=sleep)

    async def run(self, command: Command) -> Outcome:
        """Carry out a command; raises CommandError for one that was not done, or may not have been."""
        turn = Turn(command, command.site_id)
        try:
            outcome = await self._obeyed(turn)
        except BaseException as error:
            result = _label_of_failure(turn, error)
            why = str(error) if isinstance(error, CommandError) else type(error).__name__
            self._close(turn, result, Result.FAILED, None, why)
            raise
        label = "unconfirmed" if outcome.confirmed is False else outcome.result.value
        self._close(turn, label, outcome.result, outcome.confirmed, outcome.detail)
        return outcome

    def refused(self, action: Action, who: str, site_id: str, serial: str | None, detail: str) -> None:
        """Count and log a command that was refused before it could be given."""
        turn = Turn(Command(action=action, who=who, site_id=site_id, serial=serial), site_id)
        self._close(turn, "refused", Result.FAILED, None, detail)

    def adopt(self, settings: ControlSettings) -> None:
        """Go on with the settings of a reloaded config."""
        self._settings = self._sender.settings = settings

    def last(self, site_id: str, serial: str) -> LastCommand | None:
        """The newest command sent to a charger; what it was told, not what it does."""
        lane = self._lanes.get((site_id, serial))
        return lane.last if lane else None

    async def _obeyed(self, turn: Turn) -> Outcome:
        command = turn.command
        if command.action in _LIVE_STREAM:
            return await self._live_stream(turn)
        charger = named(command, self._polling())
        turn.site_id = charger.site_id
        check(command, charger)
        restarts = self._restarts(command, charger)
        if command.dry_run or self._settings.dry_run:
            return _rehearsed(*self._sender.planned(command, charger, restarts=restarts))
        with self._admitted(turn, charger) as lane:
            return await self._sender.carried_out(turn, lane, charger, restarts=restarts)

    def _restarts(self, command: Command, charger: Charger) -> bool:
        """Whether a start has to stop the charger first; raises CommandInvalid where that is refused."""
        if not changes_running_session(command, charger):
            return False
        choice = "restart" if command.restart else self._settings.amps_while_charging
        if choice == "refuse":
            raise CommandInvalid(
                "amps: the car is charging, and the level of a running session is not changed;"
                " give `restart: true` to stop and start again"
            )
        return choice == "restart"

    # -- the limit -----------------------------------------------------------------------------------------

    @contextmanager
    def _admitted(self, turn: Turn, charger: Charger | None) -> Iterator[Lane]:
        """The lane of a command that is within the limits; raises CommandPostponed for one that is not."""
        settings, now = self._settings, self._clock()
        lane = self._lanes.setdefault((turn.site_id, charger.serial if charger else ""), Lane())
        stops = turn.command.action is Action.STOP
        if not stops:
            self._check_budget(turn.site_id)
        wait = lane.wait_seconds(now, settings.command_limit, settings.command_limit_window_seconds)
        turn.is_extra = wait > 0
        if turn.is_extra and not (stops and charger and not self._is_needless(lane, charger)):
            raise CommandPostponed(
                f"more than {settings.command_limit} commands within"
                f" {settings.command_limit_window_seconds:g} s; the next is taken in {math.ceil(wait)} s",
                retry_after_seconds=wait,
            )
        lane.let_in(turn)
        lane.use(now)
        try:
            yield lane
        finally:
            lane.leave(turn)
            if not turn.sent:
                lane.give_back(now)

    def _check_budget(self, site_id: str) -> None:
        if self._polling().commands_share(site_id) >= _SHARE_FOR_COMMANDS:
            raise CommandPostponed(
                "commands have used up their part of this hour's request budget, so only a stop is sent",
                retry_after_seconds=_OVER_BUDGET_SECONDS,
            )

    def _is_needless(self, lane: Lane, charger: Charger) -> bool:
        """Whether there is surely nothing to stop: a car that is plugged in may begin at any moment."""
        polling = self._polling()
        site, age_seconds = polling.site(charger.site_id), polling.status_age_seconds(charger.site_id)
        is_fresh = age_seconds is not None and age_seconds < _FRESH_STATUS_SECONDS
        is_known = site is not None and site.status_listed and is_fresh and charger.connected is not False
        return is_known and charger.plugged_in is False and not lane.may_start(self._clock())

    # -- the live stream -----------------------------------------------------------------------------------

    async def _live_stream(self, turn: Turn) -> Outcome:
        command, polling = turn.command, self._polling()
        starts = command.action is Action.LIVE_STREAM_START
        check_wait(command.wait_seconds)
        if polling.site(command.site_id) is None:
            raise UnknownCharger(f"no site {_echo(command.site_id)}")
        if command.dry_run or self._settings.dry_run:
            path = _LIVE_STREAM_PATH.format(command.site_id, "start" if starts else "stop")
            return _rehearsed(Request(method="GET", path=path))
        with self._admitted(turn, None) as lane:
            async with lane.lock:
                self._turns.check_backoff(command.site_id)
                turn.sent = True
                try:
                    return await (_begun if starts else _ended)(polling, command.site_id)
                except CloudError as error:
                    raise self._told(command.site_id, error) from error

    def _told(self, site_id: str, error: CloudError) -> CommandError:
        match error:
            case RateLimited():
                seconds = error.retry_after_seconds or self._polling().backoff_seconds(site_id)
                return CommandPostponed(str(error), retry_after_seconds=seconds)
            case Unreachable():
                return CommandUnconfirmed(str(error))
        refused = CommandRefused(str(error), status=error.status)
        return self._turns.login_expired(site_id, refused) if error.status == 401 else refused

    # -- the account of it ---------------------------------------------------------------------------------

    def _close(self, turn: Turn, label: str, result: Result, confirmed: bool | None, detail: str) -> None:
        """Count a command, write its line, and keep it if it was sent."""
        command = turn.command
        lane = self._lanes.get((turn.site_id, command.serial or ""))
        if turn.sent and lane is not None:
            self._turns.note(turn, lane, result, confirmed)
        self._counted(command.action.value, label)
        given = {
            "who": command.who,
            "command": command.action.value,
            "site_id": _echo(turn.site_id),
            "serial": command.serial and _echo(command.serial),
            "amps": command.amps,
            "restart": command.restart or None,
            "mode": command.mode,
            "ocpp_message": _echo(command.message) if command.message else None,  # `message` is logging's own
            "dry_run": command.dry_run or self._settings.dry_run or None,
            "result": label,
            "confirmed": confirmed,
            "detail": " ".join(detail.split()),
        }
        log.info("command", extra={key: value for key, value in given.items() if value is not None})


def named(command: Command, polling: Polling) -> Charger:
    """The charger a command is for; raises UnknownCharger, or CommandInvalid for one of several sites."""
    serial = command.serial or ""
    sites = [site for site in polling.sites_of(serial) if command.site_id in ("", site.site_id)]
    if len(sites) > 1:
        ids = ", ".join(site.site_id for site in sites)
        raise CommandInvalid(
            f"charger {_echo(serial)} is in several sites ({ids}): name one with `?site_id=`"
        )
    charger = charger_in(sites[0], serial) if sites else None
    if charger is None:
        at_site = f" at site {_echo(command.site_id)}" if command.site_id else ""
        raise UnknownCharger(f"no charger {_echo(serial)}{at_site}")
    return charger


async def _begun(polling: Polling, site_id: str) -> Outcome:
    stream = await polling.start_live_stream(site_id)
    polling.begin_burst(site_id, stream.duration_seconds)
    seconds = stream.duration_seconds
    return Outcome(
        result=Result.ACCEPTED,
        detail=f"the cloud grants rapid updates for {seconds:g} s; status is polled faster meanwhile, as far"
        " as `poll.live_stream` and the request budget allow",
        duration_seconds=seconds,
    )


async def _ended(polling: Polling, site_id: str) -> Outcome:
    polling.end_burst(site_id)
    await polling.stop_live_stream(site_id)
    return Outcome(result=Result.ACCEPTED, detail="rapid updates have ended")


def _rehearsed(*requests: Request) -> Outcome:
    return Outcome(result=Result.NOOP, detail="dry run: nothing was sent", would_send=requests)


def _label_of_failure(turn: Turn, error: BaseException) -> str:
    """The `result` label of a command that ended in an error."""
    if isinstance(error, asyncio.CancelledError) and turn.sent:
        return "unconfirmed"
    if isinstance(error, CommandError | asyncio.CancelledError) and not turn.sent:
        return "refused"
    return "failed"


def _echo(text: str) -> str:
    """What somebody wrote, short enough for a message."""
    return text if len(text) <= _LONGEST_ECHO else f"{text[:_LONGEST_ECHO]}…"
