import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from exporter.asking import PolledAccount, PollSettings, Save
from exporter.client import Client
from exporter.model import ChargerStatus, ChargingSession, ConnectorStatus, Ledger, Site, Status
from exporter.polled import PolledSite
from exporter.poller import Poller, sleep_or_wake
from exporter.schedule import RequestWindow
from exporter.simulator.charger import SimCharger
from exporter.simulator.settings import CloudConfig
from tests.wiring import Wired, wired

SITE, OTHER = "1234567", "1234568"


@dataclass
class SteppedTime:
    """A monotonic clock whose sleepers wake only when a test moves it, one moment after the other."""

    wall: Callable[[float], None]
    seconds: float = 1000.0
    sleepers: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float, wake: asyncio.Event) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.seconds + seconds, waiting))
        self.changed.set()
        await waiting

    async def settled(self, tasks: int) -> None:
        """Wait until that many tasks sleep, so that all that was due has happened."""
        async with asyncio.timeout(10):
            while len(self.sleepers) < tasks:
                self.changed.clear()
                await self.changed.wait()

    async def run_for(self, seconds: float, tasks: int) -> None:
        """Move on, waking each sleeper at its moment."""
        end = self.seconds + seconds
        await self.settled(tasks)
        while (earliest := min(when for when, _ in self.sleepers)) <= end:
            self._move_to(max(earliest, self.seconds))
            woken = [entry for entry in self.sleepers if entry[0] <= self.seconds]
            self.sleepers = [entry for entry in self.sleepers if entry[0] > self.seconds]
            for _, waiting in woken:
                waiting.set_result(None)
            await self.settled(tasks)
        self._move_to(end)

    def _move_to(self, seconds: float) -> None:
        self.wall(seconds - self.seconds)
        self.seconds = seconds


@dataclass
class Running:
    poller: Poller
    w: Wired
    time: SteppedTime
    problems: list[tuple[str, str]]
    tasks: int

    async def run_for(self, seconds: float) -> None:
        await self.time.run_for(seconds, self.tasks)

    def site(self, site_id: str = SITE) -> Site:
        return next(site for site in self.poller.snapshot().sites if site.site_id == site_id)

    def statuses(self, site_id: str = SITE) -> int:
        return self.w.cloud.journal.count(endpoint="status", site_id=site_id)

    def count(self, endpoint: str) -> int:
        return self.w.cloud.journal.count(endpoint=endpoint)


SETTINGS = PollSettings(interval_seconds=30, idle_interval_seconds=60, align="none", stale_after_seconds=300)


@asynccontextmanager
async def running(
    settings: PollSettings = SETTINGS,
    config: CloudConfig | None = None,
    *,
    site_ids: tuple[str, ...] = (SITE, OTHER),
    prepare: Callable[[Wired], Client | None] = lambda w: None,
    tasks: int = 2,
    save: Save | None = None,
) -> AsyncIterator[Running]:
    """A poller on stepped time against a real cloud, after its first polls; `tasks` of it sleep then."""
    async with wired(config) as w:
        for charger in _chargers(w).values():
            charger.manual = True
            charger.unplug()
        client = prepare(w) or w.client

        def move_wall(seconds: float) -> None:
            w.wall.seconds += seconds

        time = SteppedTime(move_wall)
        window = RequestWindow()
        w.transport._sent = lambda: window.note(time())
        problems: list[tuple[str, str]] = []
        poller = Poller(
            [PolledAccount("home", client, window, site_ids)],
            settings,
            save=save or _saved,
            problem=lambda endpoint, kind: problems.append((endpoint, kind)),
            clock=time,
            wall_clock=w.wall,
            sleep=time.sleep,
            random=lambda: 0.5,
        )
        task = asyncio.create_task(poller.run())
        try:
            run = Running(poller, w, time, problems, tasks)
            await run.run_for(0)
            yield run
            if task.done():
                await task
        finally:
            task.cancel()
            await asyncio.wait([task])


def _chargers(w: Wired) -> Mapping[str, SimCharger]:
    return {
        serial: charger for site in w.cloud.world.sites.values() for serial, charger in site.chargers.items()
    }


async def _saved(ledgers: Sequence[object], sessions: Sequence[object]) -> bool:
    return True


def plug_all(w: Wired) -> None:
    for charger in _chargers(w).values():
        charger.plug()


def unplug_all(w: Wired) -> None:
    for charger in _chargers(w).values():
        charger.unplug()


async def test_a_site_with_a_car_is_polled_at_the_interval_and_one_without_at_the_idle_interval() -> None:
    async with running(prepare=plug_all) as r:
        unplugged = r.w.cloud.world.sites[OTHER].chargers.values()
        for charger in unplugged:
            charger.unplug()
        await r.run_for(60)  # the first polls still saw them plugged in
        r.w.cloud.journal.clear()
        await r.run_for(600)
        assert r.statuses(SITE) == 20
        assert r.statuses(OTHER) == 10
        assert r.site(SITE).poll_interval_seconds == 30
        assert r.site(OTHER).poll_interval_seconds == 60


async def test_summary_and_charge_mode_are_asked_at_their_own_pace() -> None:
    async with running() as r:
        assert r.count("summary") == 2
        await r.run_for(400)
        r.w.cloud.journal.clear()
        await r.run_for(3600)
        chargers = len(_chargers(r.w))
        assert 2 * 10 <= r.count("summary") <= 2 * 12
        assert chargers * 10 <= r.count("charge_mode") <= chargers * 12
        assert r.count("last_reported") == 0
        assert r.count("login") == 0


async def test_a_failing_site_touches_no_other() -> None:
    async with running() as r:
        r.w.cloud.faults.add("status", endpoint="status", site=SITE, status=500)
        await r.run_for(600)
        assert r.site(SITE).up is False
        assert r.site(SITE).polls["failure",] > 0
        assert r.site(OTHER).up is True
        assert r.site(OTHER).polls["failure",] == 0


async def test_outages_are_asked_about_less_and_less_often_and_the_first_success_resets_it() -> None:
    async with running(prepare=plug_all) as r:
        r.w.cloud.faults.add("status", endpoint="status", status=503)
        await r.run_for(3600)
        failing = r.statuses()
        assert 12 <= failing < 120
        assert (r.site().poll_interval_seconds or 0) > 30
        r.w.cloud.faults.clear()
        await r.run_for(300)
        assert r.site().up is True
        assert r.site().poll_interval_seconds == 30


async def test_a_429_makes_every_site_of_the_account_wait_as_long_as_told() -> None:
    async with running(prepare=plug_all) as r:
        r.w.cloud.faults.add("status", endpoint="status", times=1, status=429, retry_after=1000)
        await r.run_for(31)
        r.w.cloud.journal.clear()
        account = r.poller.snapshot().accounts[0]
        assert account.backoff_seconds == pytest.approx(1000, abs=2)
        assert account.rate_limited["status",] == 1
        await r.run_for(960)
        assert len(r.w.cloud.journal) == 0
        await r.run_for(60)
        assert r.site(SITE).up is True
        assert r.site(OTHER).up is True
        assert r.poller.snapshot().accounts[0].backoff_seconds == 0


async def test_a_429_without_advice_waits_longer_each_time_up_to_a_quarter_of_an_hour() -> None:
    async with running(prepare=plug_all) as r:
        r.w.cloud.faults.add("status", endpoint="status", status=429)
        await r.run_for(6 * 3600)
        assert r.statuses(SITE) + r.statuses(OTHER) < 2 * 6 * 3600 / 400
        r.w.cloud.journal.clear()
        await r.run_for(1000)
        assert r.statuses(SITE) >= 1


async def test_chargers_go_away_when_the_last_good_status_is_too_old_and_come_back() -> None:
    async with running() as r:
        await r.run_for(120)
        good = r.site().polls["success",]
        r.w.cloud.faults.add("status", endpoint="status", status=500)
        await r.run_for(250)
        assert r.site().chargers
        await r.run_for(120)
        assert r.site().up is False
        assert r.site().chargers == ()
        assert r.site().polls["success",] == good
        r.w.cloud.faults.clear()
        await r.run_for(310)
        assert r.site().chargers
        assert r.site().up is True


async def test_one_empty_list_takes_no_charger_away_but_three_do() -> None:
    async with running() as r:
        r.w.cloud.faults.add("empty_chargers", endpoint="status", times=1)
        r.w.cloud.faults.add("status", endpoint="summary", status=500)
        await r.run_for(60)
        assert r.site(SITE).chargers
        await r.run_for(120)
        assert r.site(SITE).chargers
        r.w.cloud.faults.add("empty_chargers", endpoint="status", site=SITE)
        r.w.cloud.faults.add("empty_chargers", endpoint="summary", site=SITE)
        await r.run_for(120)
        assert r.site(SITE).chargers
        await r.run_for(120)
        assert all(charger.plugged_in is None for charger in r.site(SITE).chargers)


async def test_the_hourly_budget_of_an_account_is_never_exceeded() -> None:
    settings = PollSettings(
        interval_seconds=15, idle_interval_seconds=15, align="none", max_requests_per_hour=100
    )
    async with running(settings, prepare=plug_all) as r:
        await r.run_for(2 * 3600)
        moments = sorted(entry.simulated_seconds for entry in r.w.cloud.journal)
        for first, moment in enumerate(moments):
            assert sum(moment <= other < moment + 3600 for other in moments[first:]) <= 100
        assert (r.site().poll_interval_seconds or 0) > 60
        assert r.site().chargers, "a stretched interval is no staleness"


async def test_a_charger_that_only_the_summary_knows_is_known() -> None:
    async with running() as r:
        r.w.cloud.faults.add("missing_keys", endpoint="status", site=SITE, keys=["sn"])
        await r.run_for(240)
        (charger,) = r.site(SITE).chargers
        assert charger.name
        assert charger.plugged_in is None
        assert charger.connector_status is ConnectorStatus.UNKNOWN
        assert ("status", "missing_serial") in r.problems


async def test_when_the_charger_last_reported_is_asked_for_only_when_nobody_said() -> None:
    def silent(w: Wired) -> None:
        w.cloud.faults.add("missing_keys", endpoint="status", keys=["lst_rpt_at"])
        w.cloud.faults.add("missing_keys", endpoint="summary", keys=["lastReportedAt"])

    async with running(prepare=silent) as r:
        assert r.count("last_reported") == 2
        assert all(charger.last_reported_seconds for charger in r.site().chargers)


async def test_an_optional_endpoint_that_is_not_offered_is_left_alone_for_hours() -> None:
    async with running() as r:
        r.w.cloud.faults.add("status", endpoint="charge_mode", status=403)
        await r.run_for(4000)
        r.w.cloud.journal.clear()
        await r.run_for(4 * 3600)
        assert r.count("charge_mode") <= len(_chargers(r.w))
        assert r.site().up is True


async def test_a_summary_without_limits_is_asked_again_soon() -> None:
    def thin(w: Wired) -> None:
        w.cloud.faults.add(
            "missing_keys", endpoint="summary", keys=["chargeLevelDetails", "maxCurrent"], times=2
        )

    async with running(prepare=thin) as r:
        assert r.site().chargers[0].max_amperes is None
        await r.run_for(120)
        assert r.site().chargers[0].max_amperes is not None


class BrokenClient(Client):
    """A client with a bug of ours in it."""

    async def fetch_status(self, site_id: str) -> Status:
        raise ZeroDivisionError(site_id)


async def test_a_bug_of_ours_is_counted_as_internal_and_polling_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(w: Wired) -> Client:
        return BrokenClient(w.transport, w.auth, w.url)

    async with running(prepare=broken) as r:
        await r.run_for(120)
        assert r.site().polls["internal",] >= 3
        assert r.site().polls["failure",] == 0
        assert r.site().up is False
        assert "ZeroDivisionError" in caplog.text


async def test_sites_are_discovered_with_their_names() -> None:
    async with running(site_ids=()) as r:
        names = {site.site_id: site.name for site in r.poller.snapshot().sites}
        assert names == {site.site_id: site.name for site in r.w.cloud.world.sites.values()}
        assert r.poller.not_ready_because() == []


async def test_discovery_is_tried_again_until_it_works() -> None:
    def down(w: Wired) -> None:
        w.cloud.faults.add("status", endpoint="sites", status=500, times=3)

    async with running(site_ids=(), prepare=down, tasks=1) as r:
        assert r.poller.snapshot().sites == ()
        assert "sites not found yet" in (r.poller.snapshot().accounts[0].error or "")
        await r.time.run_for(600, 1)
        await r.time.settled(2)
        assert len(r.poller.snapshot().sites) == 2
        assert r.poller.snapshot().accounts[0].error is None


async def test_a_configured_site_that_the_account_does_not_see_is_named() -> None:
    async with running(site_ids=("99",), tasks=1) as r:
        await r.run_for(1000)
        assert "99" in (r.poller.snapshot().accounts[0].error or "")
        assert r.site("99").up is False


async def test_a_wrong_password_costs_one_login_and_every_site_says_why() -> None:
    async with running(config=CloudConfig(password="another")) as r:
        await r.run_for(240)
        assert r.count("login") == 1
        assert r.count("status") == 0
        account = r.poller.snapshot().accounts[0]
        assert account.auth_up is False
        assert account.reauthentication_required
        assert account.blocked_until_seconds is not None
        assert "refused" in (account.error or "")
        assert "refused" in (r.site().error or "")


async def test_each_endpoint_has_its_own_times() -> None:
    async with running() as r:
        r.w.cloud.faults.add("status", endpoint="summary", status=500)
        before = r.w.wall.seconds
        await r.run_for(700)
        times = {entry.endpoint: entry for entry in r.site().endpoints}
        assert set(times) == {"status", "summary", "charge_mode"}
        assert (times["summary"].last_attempt_seconds or 0) > before
        assert (times["summary"].last_success_seconds or 0) <= before
        assert times["status"].last_success_seconds == times["status"].last_attempt_seconds


async def test_polls_follow_the_scrapes() -> None:
    settings = PollSettings(interval_seconds=30, idle_interval_seconds=30, align="scrape")
    async with running(settings) as r:
        for _ in range(8):
            await r.run_for(30)
            r.poller.scraped("10.0.0.1 Prometheus")
        ages = []
        for _ in range(10):
            await r.run_for(30)
            r.poller.scraped("10.0.0.1 Prometheus")
            ages.append(r.time() - (r.site().status_received_monotonic or 0))
        assert max(ages) < 6
        assert r.poller.snapshot().scrape_interval_seconds == pytest.approx(30)


async def test_a_site_that_is_probed_alone_follows_its_own_scraper() -> None:
    settings = PollSettings(interval_seconds=30, idle_interval_seconds=30, align="scrape")
    async with running(settings) as r:
        for _ in range(8):
            await r.run_for(10)
            r.poller.scraped("prometheus", [SITE])
            await r.run_for(12)
            r.poller.scraped("prometheus", [OTHER])
            await r.run_for(8)
        await r.run_for(10)
        assert r.time() - (r.site(SITE).status_received_monotonic or 0) < 6
        await r.run_for(12)
        assert r.time() - (r.site(OTHER).status_received_monotonic or 0) < 6


async def test_a_payload_problem_is_counted_each_time_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as r:
        r.w.cloud.faults.add("unknown_enum", endpoint="status", site=SITE)
        await r.run_for(240)
        assert r.problems.count(("status", "unknown_value")) >= 3
        assert sum(record.message == "odd payload" for record in caplog.records) <= 2
        assert r.site().chargers[0].connector_status is ConnectorStatus.UNKNOWN
        assert r.site().chargers[0].connector_status_raw


async def test_a_new_poller_takes_over_what_the_former_knew() -> None:
    async with running() as r:
        known = r.site().chargers
        successor = Poller(
            [account.renewed() for account in r.poller.accounts.values()],
            SETTINGS,
            save=_saved,
            problem=lambda endpoint, kind: None,
            clock=r.time,
            wall_clock=r.w.wall,
            sleep=r.time.sleep,
            previous=r.poller,
        )
        task = asyncio.create_task(successor.run())
        await r.time.settled(4)
        assert next(site for site in successor.snapshot().sites if site.site_id == SITE).chargers == known
        assert r.w.logins() == 1
        task.cancel()
        await asyncio.wait([task])


async def test_accounts_are_shown_only_once_they_are_on_disk_and_catch_up_later() -> None:
    works = [True]
    saved: list[int] = []

    async def save(ledgers: Sequence[object], sessions: Sequence[object]) -> bool:
        if works[0]:
            saved.append(len(ledgers))
        return works[0]

    def charging(w: Wired) -> None:
        plug_all(w)
        for charger in _chargers(w).values():
            charger.start(16)

    async with running(prepare=charging, save=save) as r:
        await r.run_for(1200)
        shown = r.site().chargers[0].energy_kwh or 0.0
        assert shown > 0
        assert saved
        works[0] = False
        await r.run_for(1200)
        assert r.site().up is True
        assert r.site().chargers[0].energy_kwh == shown
        assert (r.site().chargers[0].session_energy_kwh or 0.0) > shown
        works[0] = True
        await r.run_for(60)
        assert (r.site().chargers[0].energy_kwh or 0.0) > shown


async def test_a_new_poller_goes_on_with_the_accounts_it_is_given() -> None:
    kept = Ledger(watched_since_seconds=0.0, energy_kwh=123.0, sessions=7)
    async with running() as r:
        serial = r.site().chargers[0].serial
        successor = Poller(
            [account.renewed() for account in r.poller.accounts.values()],
            SETTINGS,
            save=_saved,
            problem=lambda endpoint, kind: None,
            ledgers={SITE: {serial: kept}},
            clock=r.time,
            wall_clock=r.w.wall,
            sleep=r.time.sleep,
        )
        task = asyncio.create_task(successor.run())
        await r.time.settled(4)
        site = next(site for site in successor.snapshot().sites if site.site_id == SITE)
        assert (site.chargers[0].energy_kwh, site.chargers[0].sessions) == (123.0, 7)
        task.cancel()
        await asyncio.wait([task])


async def test_a_429_also_holds_back_a_site_that_was_asleep_when_it_came() -> None:
    async with running(prepare=plug_all) as r:
        for charger in r.w.cloud.world.sites[OTHER].chargers.values():
            charger.unplug()
        await r.run_for(60)
        r.w.cloud.faults.add("status", endpoint="status", site=SITE, times=1, status=429, retry_after=500)
        await r.run_for(35)
        assert r.poller.snapshot().accounts[0].backoff_seconds > 0
        asked = r.statuses(OTHER)
        await r.run_for(400)
        assert r.statuses(OTHER) == asked


async def test_a_flat_session_in_watt_hours_keeps_its_unit_over_a_restart() -> None:
    """67 Wh said as 67.0 by the flat shape are not 67 kWh because the exporter was started in between."""
    plug = 1_799_999_000.0
    session = ChargingSession(
        start_seconds=plug, segment_start_seconds=plug, plugged_in_seconds=plug, energy_kwh=0.06
    )
    kept = Ledger(watched_since_seconds=0.0, energy_kwh=9.0, session=session, at_seconds=plug + 60)
    site = PolledSite.restored("1", "home", {"A": kept})
    charger = ChargerStatus(
        "A",
        plugged_in=True,
        charging=True,
        session_energy_kwh=67.0,
        session_energy_other_kwh=0.067,
        session_start_seconds=plug,
        session_plugged_in_seconds=plug,
    )
    site.status_arrived(Status(plug + 90, (charger,)), 0.0, plug + 90, 300.0)
    site.settle()
    assert site.chargers[0].session_energy_kwh == 0.067
    assert site.ledgers["A"].energy_kwh == pytest.approx(9.007)


async def test_a_site_that_was_woken_while_it_must_wait_sleeps_on() -> None:
    """Else it would ask the clock again and again, and nothing else would run."""
    async with running() as r:
        poller = r.poller
        wake = asyncio.Event()
        wake.set()
        poller._sleep = sleep_or_wake
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await poller._sleep_until(r.time() + 3600, wake)
