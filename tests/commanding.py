"""A Control over a pretended poller and pretended writes, on a clock that moves when nothing else can."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from exporter.command import Action, Command, Outcome, Request, Result
from exporter.control import Control
from exporter.errors import CloudError, CommandError, CommandRefused
from exporter.model import ChargeMode, Charger, ConnectorStatus, LiveStream, Site
from exporter.parse_reply import Verdict
from exporter.sending import ControlSettings
from exporter.writes import SUPERSEDED, Reply, Writes

SITE, OTHER, SERIAL = "1234567", "1234568", "482500000017"
EPOCH = 1_800_000_000.0
T = TypeVar("T")

IDLE = Charger(
    SITE,
    SERIAL,
    connected=True,
    plugged_in=True,
    charging=False,
    connector_status=ConnectorStatus.PREPARING,
    charging_level_amperes=32.0,
    min_amperes=6.0,
    max_amperes=32.0,
    granularity_amperes=1.0,
    rated_amperes=40.0,
    charge_mode=ChargeMode.MANUAL_CHARGING,
    running_charge_mode=ChargeMode.MANUAL_CHARGING,
)
CHARGING: dict[str, Any] = {"charging": True, "connector_status": ConnectorStatus.CHARGING}
STOPPED: dict[str, Any] = {"charging": False, "connector_status": ConnectorStatus.SUSPENDED_EVSE}
BUSY = replace(IDLE, **CHARGING)


@dataclass
class Clock:
    """Time that stands still while anything can happen, and then jumps to the next sleeper's moment."""

    seconds: float = 1000.0
    sleepers: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.seconds

    def wall(self) -> float:
        return EPOCH + self.seconds

    async def sleep(self, seconds: float) -> None:
        entry = (self.seconds + seconds, asyncio.get_running_loop().create_future())
        self.sleepers.append(entry)
        try:
            await entry[1]
        finally:
            self.sleepers.remove(entry)

    async def finished(self, *coroutines: Coroutine[Any, Any, T]) -> list[T]:
        """The results of coroutines that were begun in this order."""
        tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
        while not all(task.done() for task in tasks):
            await self.settle()
            if not all(task.done() for task in tasks):
                await self.jump()
        return await asyncio.gather(*tasks)

    async def settle(self) -> None:
        for _ in range(40):
            await asyncio.sleep(0)

    async def jump(self, most_seconds: float = float("inf")) -> None:
        """Move to the next sleeper's moment, or by so much if that is sooner, and let happen what is due."""
        assert self.sleepers or most_seconds < float("inf"), "all wait for something that never comes"
        earliest = min((moment for moment, _ in self.sleepers), default=float("inf"))
        self.seconds = max(self.seconds, min(earliest, self.seconds + most_seconds))
        for moment, future in self.sleepers:
            if moment <= self.seconds and not future.done():
                future.set_result(None)
        await self.settle()

    async def run_for(self, seconds: float) -> None:
        end = self.seconds + seconds
        await self.settle()
        while self.seconds < end:
            await self.jump(end - self.seconds)


@dataclass
class PretendPolling:
    """A poller that polls when it is asked to; what a poll finds is written down ahead with `at`."""

    clock: Clock
    chargers: dict[str, Charger] = field(default_factory=lambda: {SITE: IDLE})  # as they are, by site
    known: dict[str, Charger] = field(default_factory=dict)  # as the newest poll showed them
    changes: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    asked: list[tuple[float, str]] = field(default_factory=list)  # when, and what else
    up: bool = True
    silent: bool = False  # no poll ends
    lists_chargers: bool = True  # what polls find; else the list is empty, and what was known stays
    slow_endpoints_seconds: float = 0.0
    age_seconds: float | None = 10.0  # of the newest status
    wait_seconds: float = 0.0
    share_of_commands: float = 0.0
    rate_limits: list[float | None] = field(default_factory=list)
    bursts: list[float] = field(default_factory=list)  # seconds begun; 0 for an end
    stream: LiveStream | CloudError = field(default_factory=lambda: LiveStream(900.0))
    stream_takes_seconds: float = 0.0
    streams_asked_seconds: list[float] = field(default_factory=list)
    burst_is_worth_it: bool = True
    reads_modes_of: tuple[str, ...] = (SERIAL,)
    modes_read: dict[str, float] = field(default_factory=dict)  # when, by serial
    _wanted: bool = False
    _listed: bool = True

    def __post_init__(self) -> None:
        self.known |= self.chargers

    def start_as(self, *chargers: Charger) -> None:
        self.chargers = {charger.site_id: charger for charger in chargers}
        self.known = dict(self.chargers)

    def at(self, seconds: float, **changes: Any) -> None:
        """Let the charger change so many seconds from now."""
        self.changes.append((self.clock() + seconds, SITE, changes))

    def asked_at(self, start: float = 1000.0) -> list[float]:
        return [round(moment - start, 1) for moment, _ in self.asked]

    def site(self, site_id: str) -> Site | None:
        if site_id not in self.known:
            return None
        return Site(
            site_id,
            "home",
            up=self.up,
            chargers=(self.known[site_id],),
            status_listed=self._listed,
        )

    def sites_of(self, serial: str) -> tuple[Site, ...]:
        sites = [self.site(site_id) for site_id, charger in self.known.items() if charger.serial == serial]
        return tuple(site for site in sites if site)

    def poll_soon(self, site_id: str, *, also: str = "") -> None:
        self.asked.append((self.clock(), also))
        self._wanted = True

    async def polled(self, site_id: str, within_seconds: float, *, whole: bool = False) -> Site | None:
        if not self._wanted or self.silent:
            await self.clock.sleep(within_seconds)
            return None
        self._wanted = False
        await self.clock.sleep(min(0.3 + (self.slow_endpoints_seconds if whole else 0.0), within_seconds))
        self.poll_now()
        return self.site(site_id)

    def poll_now(self) -> None:
        now = self.clock()
        for moment, site_id, changes in self.changes:
            if moment <= now:
                self.chargers[site_id] = replace(self.chargers[site_id], **changes)
        self.changes = [change for change in self.changes if change[0] > now]
        self._listed = self.lists_chargers
        if self.up and self._listed:
            self.known |= self.chargers
            self.modes_read |= dict.fromkeys(self.reads_modes_of, now)

    def mode_read_seconds(self, site_id: str, serial: str) -> float | None:
        return self.modes_read.get(serial)

    def status_age_seconds(self, site_id: str) -> float | None:
        return self.age_seconds

    def commands_share(self, site_id: str) -> float:
        return self.share_of_commands

    def may_burst(self, site_id: str) -> bool:
        return self.burst_is_worth_it

    def backoff_seconds(self, site_id: str) -> float:
        return self.wait_seconds

    def rate_limited(self, site_id: str, retry_after_seconds: float | None) -> None:
        self.rate_limits.append(retry_after_seconds)

    def begin_burst(self, site_id: str, seconds: float) -> None:
        self.bursts.append(seconds)

    def end_burst(self, site_id: str) -> None:
        self.bursts.append(0.0)

    async def start_live_stream(self, site_id: str) -> LiveStream:
        self.streams_asked_seconds.append(self.clock())
        if self.stream_takes_seconds:
            await self.clock.sleep(self.stream_takes_seconds)
        if isinstance(self.stream, CloudError):
            raise self.stream
        return self.stream

    async def stop_live_stream(self, site_id: str) -> None:
        if isinstance(self.stream, CloudError):
            raise self.stream


Answered = Reply | Exception


class PretendWrites(Writes):
    """Writes down what is sent and when; answers what `answers` has for it, else accepted."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sent: list[tuple[Any, ...]] = []
        self.sent_seconds: list[float] = []
        self.answers: dict[str, list[Answered]] = {}
        self.takes_seconds = 0.1
        self.asks_status = False
        self.was_charging: bool | None = None
        self.was_still_wanted: bool | None = None  # when the newest start was answered
        self.mode: ChargeMode | Exception = ChargeMode.MANUAL_CHARGING  # that the cloud shows
        self.modes_read = 0
        self.mode_takes_seconds = 0.0

    async def _answer(self, kind: str, *told: Any) -> Reply:
        self.sent.append((kind, *told))
        self.sent_seconds.append(self.clock())
        await self.clock.sleep(self.takes_seconds)
        answers = self.answers.get(kind)
        answer = answers.pop(0) if answers else Reply(Result.ACCEPTED, "")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def start_charging(
        self,
        site_id: str,
        serial: str,
        *,
        level_amperes: int | None,
        may_drop_level: bool,
        is_charging: Callable[[], Awaitable[bool]],
        still_wanted: Callable[[], bool] = lambda: True,
    ) -> Reply:
        if self.asks_status:
            self.was_charging = await is_charging()
            if not still_wanted():
                raise CommandRefused(SUPERSEDED, status=0)
        try:
            return await self._answer("start", level_amperes, may_drop_level)
        finally:
            self.was_still_wanted = still_wanted()

    async def stop_charging(self, site_id: str, serial: str) -> Reply:
        return await self._answer("stop")

    async def trigger_message(self, site_id: str, serial: str, message: str) -> Reply:
        return await self._answer("trigger", message)

    async def charge_mode(self, site_id: str, serial: str) -> ChargeMode:
        self.modes_read += 1
        if self.mode_takes_seconds:
            await self.clock.sleep(self.mode_takes_seconds)
        if isinstance(self.mode, Exception):
            raise self.mode
        return self.mode

    async def set_charge_mode(self, site_id: str, serial: str, mode: ChargeMode) -> Reply:
        return await self._answer("mode", mode)

    async def read_back(self, site_id: str, serial: str, mode: ChargeMode, verdict: Verdict) -> Reply:
        await self.clock.sleep(10.0)
        if self.mode is not mode:
            raise CommandRefused(verdict.detail, status=verdict.status)
        return Reply(Result.ACCEPTED, "read back")

    def planned_start(
        self, site_id: str, serial: str, *, level_amperes: int | None, may_drop_level: bool
    ) -> tuple[Request, ...]:
        return (Request(method="POST", path=f"/{site_id}/{serial}/start", body=str(level_amperes)),)

    def planned_stop(self, site_id: str, serial: str) -> tuple[Request, ...]:
        return (Request(method="PUT", path=f"/{site_id}/{serial}/stop"),)

    def planned_trigger(self, site_id: str, serial: str, message: str) -> tuple[Request, ...]:
        return (Request(method="POST", path=f"/{site_id}/{serial}/trigger", body=message),)

    def planned_charge_mode(self, site_id: str, serial: str, mode: ChargeMode) -> tuple[Request, ...]:
        return (Request(method="PUT", path=f"/{site_id}/{serial}/mode", body=mode),)


@dataclass
class Commanding:
    """A Control and all it touches; `given` holds each command counted, with its result."""

    clock: Clock
    polling: PretendPolling
    writes: PretendWrites
    control: Control
    given: list[tuple[str, str]]

    async def run(self, action: Action, **told: Any) -> Outcome:
        """Give one command and let time run until it is over."""
        (outcome,) = await self.clock.finished(self.give(action, **told))
        return outcome

    async def give(self, action: Action, **told: Any) -> Outcome:
        return await self.control.run(command(action, **told))

    @property
    def kinds(self) -> list[str]:
        """What was sent, in order."""
        return [sent[0] for sent in self.writes.sent]


def command(action: Action, **told: Any) -> Command:
    serial = None if action.name.startswith("LIVE_STREAM") else SERIAL
    return Command(**({"action": action, "who": "default", "site_id": "", "serial": serial} | told))


def commanding(*chargers: Charger, **settings: Any) -> Commanding:
    """A Control of these chargers, one a site; one idle charger when none is given."""
    clock = Clock()
    polling, writes = PretendPolling(clock), PretendWrites(clock)
    if chargers:
        polling.start_as(*chargers)
    given: list[tuple[str, str]] = []
    control = Control(
        lambda: polling,
        lambda site_id: writes,
        ControlSettings(**settings),
        counted=lambda command, result: given.append((command, result)),
        clock=clock,
        wall_clock=clock.wall,
        sleep=clock.sleep,
    )
    return Commanding(clock, polling, writes, control, given)


def began(c: Commanding, action: Action, **told: Any) -> "asyncio.Task[Outcome]":
    return asyncio.ensure_future(c.give(action, **told))


async def until_done(c: Commanding, *tasks: "asyncio.Task[Outcome]") -> None:
    await c.clock.settle()
    while not all(task.done() for task in tasks):
        await c.clock.jump()


async def failure(c: Commanding, action: Action, **told: Any) -> CommandError:
    with pytest.raises(CommandError) as failed:
        await c.run(action, **told)
    return failed.value


async def failure_of(task: "asyncio.Task[Outcome]") -> CommandError:
    with pytest.raises(CommandError) as failed:
        await task
    return failed.value
