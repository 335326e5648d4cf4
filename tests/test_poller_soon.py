"""Polls that control asks for, and what else it needs of the poller."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from exporter.asking import PolledAccount, PollSettings
from exporter.client import Client
from exporter.errors import LoginExpired, RateLimited
from exporter.model import Ledger, LiveStream, Site, Status
from exporter.poller import NO_LEDGERS, Poller
from exporter.schedule import RequestWindow
from exporter.simulator.charger import SimCharger
from exporter.simulator.settings import CloudConfig
from tests.test_poller import OTHER, SETTINGS, SITE, Running, SteppedTime
from tests.wiring import OWNER, Wired, wired


@dataclass
class WakingTime(SteppedTime):
    """Stepped time whose sleepers also wake when their event is set."""

    wakes: dict[asyncio.Future[None], asyncio.Event] = field(default_factory=dict)
    is_awaited: Callable[[asyncio.Event], bool] = lambda wake: True  # what `settled` counts

    async def sleep(self, seconds: float, wake: asyncio.Event) -> None:
        waiting = asyncio.get_running_loop().create_future()
        woken = asyncio.create_task(wake.wait())
        entry = (self.seconds + seconds, waiting)
        self.sleepers.append(entry)
        self.wakes[waiting] = wake
        self.changed.set()
        try:
            await asyncio.wait({waiting, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            del self.wakes[waiting]
            if entry in self.sleepers:
                self.sleepers.remove(entry)

    async def settled(self, tasks: int) -> None:
        async with asyncio.timeout(10):
            while self._asleep() < tasks:
                self.changed.clear()
                await self.changed.wait()

    def _asleep(self) -> int:
        wakes = [self.wakes[waiting] for _, waiting in self.sleepers]
        return sum(self.is_awaited(wake) and not wake.is_set() for wake in wakes)


@dataclass
class Waking(Running):
    task: "asyncio.Task[None]"

    async def reload(self, settings: PollSettings) -> None:
        """End the poller and go on with a successor, as a reload of the config does."""
        await self.end()
        (account,) = self.poller.accounts.values()
        self.poller = poller_of(account.renewed(), settings, self.time, self.w, previous=self.poller)
        self.task = start(self.poller, self.time)
        await self.run_for(0)

    def restart(self) -> None:
        """Run a poller that a test has put in place of one that was ended."""
        self.task = start(self.poller, self.time)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@asynccontextmanager
async def waking(
    settings: PollSettings = SETTINGS,
    *,
    site_ids: tuple[str, ...] = (SITE, OTHER),
    prepare: Callable[[Wired], Client | None] = lambda w: None,
    config: CloudConfig | None = None,
    tasks: int | None = None,
) -> AsyncIterator[Waking]:
    """A poller on waking time against a real cloud of unplugged chargers, after its first polls.

    `tasks` is how many sites it polls, where they are not named.
    """
    async with wired(config, OWNER) as w:
        for charger in chargers_of(w):
            charger.manual = True
            charger.unplug()
        client = prepare(w) or w.client

        def move_wall(seconds: float) -> None:
            w.wall.seconds += seconds

        time = WakingTime(move_wall)
        window = RequestWindow()
        w.transport._sent = lambda: window.note(time())
        account = PolledAccount("home", client, window, site_ids)
        poller = poller_of(account, settings, time, w)
        run = Waking(poller, w, time, [], tasks or len(site_ids), start(poller, time))
        try:
            await run.run_for(0)
            yield run
            if run.task.done() and not run.task.cancelled():
                await run.task
        finally:
            await run.end()


def poller_of(
    account: PolledAccount,
    settings: PollSettings,
    time: SteppedTime,
    w: Wired,
    *,
    previous: Poller | None = None,
    ledgers: Mapping[str, Mapping[str, Ledger]] = NO_LEDGERS,
) -> Poller:
    async def save(ledgers: object, sessions: object) -> bool:
        return True

    return Poller(
        [account],
        settings,
        save=save,
        problem=lambda endpoint, kind: None,
        ledgers=ledgers,
        clock=time,
        wall_clock=w.wall,
        sleep=time.sleep,
        random=lambda: 0.5,
        previous=previous,
    )


def start(poller: Poller, time: SteppedTime) -> "asyncio.Task[None]":
    """Run a poller, whose sites are the ones that `settled` counts from now on."""

    def is_awaited(wake: asyncio.Event) -> bool:
        return any(wake is site.wake for site in poller.sites.values())

    assert isinstance(time, WakingTime)
    time.is_awaited = is_awaited
    return asyncio.create_task(poller.run())


def chargers_of(w: Wired, site_id: str | None = None) -> list[SimCharger]:
    return [
        charger
        for site in w.cloud.world.sites.values()
        if site_id in (None, site.site_id)
        for charger in site.chargers.values()
    ]


class GatedClient(Client):
    """A client whose status requests wait until a test lets them go."""

    def __init__(self, w: Wired) -> None:
        super().__init__(w.transport, w.auth, w.url)
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = 0
        self.under_way = 0
        self.most_under_way = 0

    async def fetch_status(self, site_id: str) -> Status:
        self.begun += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        status = await super().fetch_status(site_id)
        self.under_way -= 1
        return status


async def begun(client: GatedClient, polls: int) -> None:
    """Wait until so many status requests have begun."""
    async with asyncio.timeout(5):
        while client.begun < polls:
            await asyncio.sleep(0)


async def waiter(poller: Poller, site_id: str, within_seconds: float) -> "asyncio.Task[Site | None]":
    """One who waits for a poll, and has begun to."""
    task = asyncio.create_task(poller.polled(site_id, within_seconds))
    await asyncio.sleep(0)
    return task


async def test_a_poll_that_is_wanted_soon_starts_now_and_the_next_one_an_interval_later() -> None:
    async with waking() as r:
        await r.run_for(20)
        r.poller.poll_soon(SITE)
        await r.run_for(0)
        assert (r.statuses(SITE), r.statuses(OTHER)) == (2, 1)
        await r.run_for(59)
        assert (r.statuses(SITE), r.statuses(OTHER)) == (2, 2)
        await r.run_for(2)
        assert r.statuses(SITE) == 3
        await r.run_for(600)
        assert r.statuses(SITE) == 13, "a busy loop, or a wake that was lost"


async def test_polls_are_aligned_to_scrapes_again_after_one_that_was_wanted_soon() -> None:
    settings = replace(SETTINGS, idle_interval_seconds=30, align="scrape")
    async with waking(settings) as r:
        for _ in range(8):
            await r.run_for(30)
            r.poller.scraped("prometheus")
        await r.run_for(12)
        r.poller.poll_soon(SITE)
        await r.run_for(18)
        r.poller.scraped("prometheus")
        await r.run_for(30)
        r.poller.scraped("prometheus")
        assert r.time() - (r.site().status_received_monotonic or 0) < 6


async def test_wanted_while_one_is_under_way_another_poll_follows_and_never_two_at_once() -> None:
    client: list[GatedClient] = []

    def gated(w: Wired) -> Client:
        client.append(GatedClient(w))
        return client[0]

    async with waking(site_ids=(SITE,), prepare=gated) as r:
        await r.run_for(2)
        client[0].gate.clear()
        r.poller.poll_soon(SITE)
        await begun(client[0], 2)
        for _ in range(3):
            r.poller.poll_soon(SITE)
        client[0].gate.set()
        await r.run_for(1)
        assert client[0].begun == 2
        await r.run_for(1)
        assert client[0].begun == 3
        assert client[0].most_under_way == 1
        await r.run_for(50)
        assert client[0].begun == 3


async def test_a_poll_that_is_wanted_soon_waits_for_the_end_of_a_backoff() -> None:
    async with waking() as r:
        r.w.cloud.faults.add("status", endpoint="status", site=SITE, times=1, status=429, retry_after=300)
        await r.run_for(2)
        r.poller.poll_soon(SITE)
        await r.run_for(0)
        assert r.poller.backoff_seconds(SITE) == pytest.approx(300, abs=1)
        asked = len(r.w.cloud.journal)
        r.poller.poll_soon(SITE)
        r.poller.poll_soon(OTHER)
        await r.run_for(290)
        assert len(r.w.cloud.journal) == asked
        await r.run_for(20)
        assert r.statuses(SITE) == 3
        assert r.poller.backoff_seconds(SITE) == 0


async def test_polls_that_are_wanted_soon_all_the_time_stay_within_the_budget() -> None:
    async with waking(replace(SETTINGS, max_requests_per_hour=60), site_ids=(SITE,)) as r:
        for _ in range(900):
            r.poller.poll_soon(SITE)
            await r.run_for(5)
        moments = sorted(entry.simulated_seconds for entry in r.w.cloud.journal)
        assert len(moments) > 60
        for first, moment in enumerate(moments):
            assert sum(other < moment + 3600 for other in moments[first:]) <= 60


@pytest.mark.parametrize("endpoint", ["summary", "charge_mode"])
async def test_a_slow_endpoint_can_be_wanted_with_it(endpoint: str) -> None:
    async with waking() as r:
        await r.run_for(30)
        asked = r.w.cloud.journal.count(endpoint=endpoint, site_id=SITE)
        r.poller.poll_soon(SITE)
        await r.run_for(0)
        assert r.w.cloud.journal.count(endpoint=endpoint, site_id=SITE) == asked
        r.poller.poll_soon(SITE, also=endpoint)
        r.poller.poll_soon(SITE)
        await r.run_for(2)
        chargers = len(chargers_of(r.w, SITE)) if endpoint == "charge_mode" else 1
        assert r.w.cloud.journal.count(endpoint=endpoint, site_id=SITE) == asked + chargers


async def test_who_waits_gets_the_site_as_the_next_poll_left_it() -> None:
    async with waking() as r:
        for charger in chargers_of(r.w, SITE):
            charger.plug()
        waiting = await waiter(r.poller, SITE, 30)
        another = await waiter(r.poller, SITE, 3600)
        await r.run_for(20)
        assert not waiting.done()
        r.poller.poll_soon(SITE)
        site = await waiting
        assert site is not None
        assert all(charger.plugged_in for charger in site.chargers)
        assert await another is site


async def test_who_waits_while_a_poll_is_under_way_gets_the_one_after_it() -> None:
    client: list[GatedClient] = []

    def gated(w: Wired) -> Client:
        client.append(GatedClient(w))
        return client[0]

    async with waking(site_ids=(SITE,), prepare=gated) as r:
        await r.run_for(2)
        client[0].gate.clear()
        r.poller.poll_soon(SITE)
        await begun(client[0], 2)
        waiting = await waiter(r.poller, SITE, 600)
        client[0].gate.set()
        await r.run_for(0)
        assert client[0].begun == 2
        assert not waiting.done()
        r.poller.poll_soon(SITE)
        await r.run_for(2)
        assert await waiting is not None
        assert client[0].begun == 3


async def test_who_waits_is_told_of_a_failed_poll_and_of_none_in_time() -> None:
    async with waking() as r:
        late = await waiter(r.poller, SITE, 59)
        await r.run_for(59.5)
        assert await late is None
        r.w.cloud.faults.add("status", endpoint="status", status=500)
        failing = await waiter(r.poller, SITE, 60)
        await r.run_for(10)
        site = await failing
        assert site is not None
        assert site.up is False
        assert await r.poller.polled("99", 60) is None
        assert await r.poller.polled(SITE, 0) is None


async def test_who_waits_over_a_reload_gets_the_first_poll_after_it() -> None:
    async with waking(site_ids=(SITE,)) as r:
        waiting = await waiter(r.poller, SITE, 600)
        await r.reload(SETTINGS)
        assert not waiting.done()
        r.poller.poll_soon(SITE)
        await r.run_for(2)
        assert await waiting is r.poller.site(SITE)


async def test_control_finds_sites_and_chargers_however_old() -> None:
    async with waking() as r:
        serial = r.site(SITE).chargers[0].serial
        r.w.cloud.faults.add("status", endpoint="status", status=500)
        await r.run_for(3600)
        assert r.site(SITE).chargers == ()
        site = r.poller.site(SITE)
        assert site is not None
        assert site.up is False
        assert site.chargers[0].serial == serial
        assert r.poller.sites_of(serial) == (site,)
        assert r.poller.sites_of("none") == ()
        assert r.poller.site("99") is None
        r.poller.poll_soon("99")
        assert r.poller.backoff_seconds("99") == 0


async def test_a_429_met_by_a_command_makes_the_whole_account_wait() -> None:
    async with waking() as r:
        r.poller.rate_limited(SITE, 400)
        r.poller.rate_limited("99", 4000)
        asked = len(r.w.cloud.journal)
        await r.run_for(390)
        assert r.poller.backoff_seconds(OTHER) == pytest.approx(10)
        assert len(r.w.cloud.journal) == asked
        await r.run_for(20)
        assert (r.statuses(SITE), r.statuses(OTHER)) == (2, 2)


async def test_control_starts_and_stops_a_live_stream_itself() -> None:
    async with waking() as r:
        assert await r.poller.start_live_stream(SITE) == LiveStream(900.0)
        await r.poller.stop_live_stream(SITE)
        assert r.count("live_stream") == 2
        r.w.cloud.faults.add("status", endpoint="live_stream", status=429, retry_after=200)
        with pytest.raises(RateLimited):
            await r.poller.start_live_stream(SITE)
        assert r.poller.backoff_seconds(SITE) == pytest.approx(200)
        with pytest.raises(KeyError):
            await r.poller.stop_live_stream("99")


async def test_a_live_stream_never_logs_in() -> None:
    async with waking(config=CloudConfig(password="another")) as r:
        logins = r.w.logins()
        with pytest.raises(LoginExpired):
            await r.poller.start_live_stream(SITE)
        assert r.w.logins() == logins
        assert r.count("live_stream") == 0
