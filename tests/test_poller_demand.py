"""What control asks of polling: what was read when, and how much of the budget is left."""

import asyncio
from dataclasses import replace

from exporter.client import Client
from exporter.model import ChargeMode, ChargeModePreference
from tests.test_poller import SETTINGS, SITE
from tests.test_poller_soon import Waking, chargers_of, waiter, waking
from tests.wiring import Wired


class SlowScheduler(Client):
    """A client whose reads of the charge mode wait until a test lets them go."""

    def __init__(self, w: Wired) -> None:
        super().__init__(w.transport, w.auth, w.url)
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch_charge_mode(self, site_id: str, serial: str) -> ChargeModePreference:
        await self.gate.wait()
        return await super().fetch_charge_mode(site_id, serial)


async def test_who_waits_for_status_is_told_before_the_slow_endpoints_have_answered() -> None:
    clients: list[SlowScheduler] = []

    def slow(w: Wired) -> Client:
        clients.append(SlowScheduler(w))
        return clients[0]

    async with waking(site_ids=(SITE,), prepare=slow) as r:
        await r.run_for(5)
        clients[0].gate.clear()
        for charger in chargers_of(r.w, SITE):
            charger.plug()
        first = await waiter(r.poller, SITE, 600)
        whole = asyncio.create_task(r.poller.polled(SITE, 600, whole=True))
        r.poller.poll_soon(SITE, also="charge_mode")
        site = await asyncio.wait_for(first, 5)
        assert site is not None
        assert all(charger.plugged_in for charger in site.chargers)
        assert not whole.done()
        clients[0].gate.set()
        assert await asyncio.wait_for(whole, 5) is r.poller.site(SITE)


async def test_status_that_is_wanted_meanwhile_goes_before_the_slow_endpoints_that_are_left() -> None:
    clients: list[SlowScheduler] = []

    def slow(w: Wired) -> Client:
        clients.append(SlowScheduler(w))
        return clients[0]

    async with waking(prepare=slow) as r:
        site_id = next(key for key, site in r.w.cloud.world.sites.items() if len(site.chargers) == 2)
        await r.run_for(20)
        r.w.cloud.journal.clear()
        clients[0].gate.clear()
        first = await waiter(r.poller, site_id, 600)
        r.poller.poll_soon(site_id, also="charge_mode")
        await asyncio.wait_for(first, 5)
        second = await waiter(r.poller, site_id, 600)
        r.poller.poll_soon(site_id, also="charge_mode")
        clients[0].gate.set()
        await r.run_for(5)
        assert await asyncio.wait_for(second, 5) is not None
        asked = [entry.endpoint for entry in r.w.cloud.journal if entry.site_id == site_id]
        assert asked == ["status", "charge_mode", "status", "charge_mode", "charge_mode"]


async def test_the_read_of_a_mode_is_that_of_its_charger_and_began_when_it_is_said_to() -> None:
    async with waking() as r:
        site_id = next(key for key, site in r.w.cloud.world.sites.items() if len(site.chargers) == 2)
        mine, other = (charger.serial for charger in chargers_of(r.w, site_id))
        assert r.poller.mode_read_seconds(site_id, mine) == r.time()
        await r.run_for(20)
        r.w.cloud.faults.add("status", method="GET", path_contains=f"{mine}/preference", status=503)
        before = r.poller.mode_read_seconds(site_id, mine)
        r.poller.poll_soon(site_id, also="charge_mode")
        await r.run_for(0)
        assert r.poller.mode_read_seconds(site_id, mine) == before
        assert r.poller.mode_read_seconds(site_id, other) == r.time()
        assert r.poller.mode_read_seconds(site_id, "none") is None
        assert r.poller.mode_read_seconds("99", mine) is None


async def test_a_mode_that_was_being_read_while_it_was_set_was_read_before() -> None:
    clients: list[SlowScheduler] = []

    def slow(w: Wired) -> Client:
        clients.append(SlowScheduler(w))
        return clients[0]

    async with waking(site_ids=(SITE,), prepare=slow) as r:
        await r.run_for(5)
        serial, began = chargers_of(r.w, SITE)[0].serial, r.time()
        clients[0].gate.clear()
        first = await waiter(r.poller, SITE, 600)
        whole = asyncio.create_task(r.poller.polled(SITE, 600, whole=True))
        r.poller.poll_soon(SITE, also="charge_mode")
        await asyncio.wait_for(first, 5)
        r.time.seconds += 3
        clients[0].gate.set()
        site = await asyncio.wait_for(whole, 5)
        assert site is not None
        assert site.chargers[0].charge_mode is not ChargeMode.UNKNOWN
        assert r.poller.mode_read_seconds(SITE, serial) == began


async def test_a_status_without_chargers_leaves_those_of_before_and_says_so() -> None:
    async with waking(site_ids=(SITE,)) as r:
        assert r.site().status_listed
        r.w.cloud.faults.add("empty_chargers", endpoint="status", times=2)
        for _ in range(2):
            await r.run_for(60)
            assert r.site().up is True
            assert r.site().chargers
            assert not r.site().status_listed
        await r.run_for(60)
        assert r.site().status_listed


async def test_the_age_of_status_is_that_of_the_newest_good_one() -> None:
    async with waking(site_ids=(SITE,)) as r:
        await r.run_for(20)
        assert r.poller.status_age_seconds(SITE) == 20
        r.w.cloud.faults.add("status", endpoint="status", status=503)
        await r.run_for(80)
        assert r.poller.status_age_seconds(SITE) == 100
        assert r.poller.status_age_seconds("99") is None


def use_up(r: Waking, share: float) -> None:
    """Make requests until such a share of the hourly budget is used."""
    (account,) = r.poller.accounts.values()
    while account.share_used(r.time(), SETTINGS.max_requests_per_hour) < share:
        account.window.note(r.time())


async def test_the_share_of_commands_is_that_of_those_sent_in_the_last_hour() -> None:
    async with waking(replace(SETTINGS, max_requests_per_hour=200), site_ids=(SITE,)) as r:
        r.poller.poll_soon(SITE)
        assert r.poller.commands_share(SITE) == 0
        for sent in (1, 3, 3):
            r.w.client.writes[SITE] = sent
            r.poller.poll_soon(SITE)
            assert r.poller.commands_share(SITE) == sent / 200
        await r.run_for(3601)
        assert r.poller.commands_share(SITE) == 0
        assert r.poller.commands_share("99") == 0


async def test_polls_stretch_for_commands_and_do_not_cease() -> None:
    budget = 120
    async with waking(replace(SETTINGS, max_requests_per_hour=budget), site_ids=(SITE,)) as r:
        await r.run_for(600)
        before = r.site().poll_interval_seconds
        for sent in range(1, 31):
            r.w.client.writes[SITE] = sent
            r.poller.poll_soon(SITE)
        await r.run_for(60)
        after = r.site().poll_interval_seconds
        assert before is not None
        assert after is not None
        assert after > 1.5 * before
        statuses = r.statuses()
        await r.run_for(1200)
        assert r.statuses() >= statuses + 5


async def test_where_little_of_the_budget_is_left_a_wanted_poll_waits_for_its_turn() -> None:
    async with waking(site_ids=(SITE,)) as r:
        await r.run_for(10)
        use_up(r, 0.9)
        r.poller.poll_soon(SITE, also="summary")
        await r.run_for(40)
        assert r.statuses() == 1
        summaries = r.count("summary")
        await r.run_for(12)
        assert (r.statuses(), r.count("summary")) == (2, summaries + 1)


async def test_the_first_poll_after_a_command_is_made_even_then() -> None:
    async with waking(site_ids=(SITE,)) as r:
        await r.run_for(10)
        use_up(r, 0.9)
        for command in range(2):
            serial = chargers_of(r.w, SITE)[0].serial
            path = f"/service/evse_controller/{SITE}/ev_chargers/{serial}/stop_charging"
            (account,) = r.poller.accounts.values()
            await account.client.write("stop_charging", SITE, "PUT", path, None)
            for _ in range(5):
                r.poller.poll_soon(SITE)
                await r.run_for(1)
            assert r.statuses() == 2 + command


async def test_a_budget_that_is_all_used_up_holds_back_that_poll_too() -> None:
    async with waking(site_ids=(SITE,)) as r:
        await r.run_for(10)
        use_up(r, 1)
        (account,) = r.poller.accounts.values()
        account.client.writes[SITE] = 1
        r.poller.poll_soon(SITE)
        await r.run_for(600)
        assert r.statuses() == 1


async def test_wanted_all_the_time_a_poll_is_made_every_two_seconds() -> None:
    async with waking(site_ids=(SITE,)) as r:
        await r.run_for(30)
        before = r.statuses()
        for _ in range(40):
            r.poller.poll_soon(SITE)
            await r.run_for(0.5)
        assert 9 <= r.statuses() - before <= 11


async def test_a_poll_in_turn_is_not_put_off_because_one_is_wanted() -> None:
    settings = replace(SETTINGS, idle_interval_seconds=0.5, max_requests_per_hour=100_000)
    async with waking(settings, site_ids=(SITE,)) as r:
        before = r.statuses()
        for _ in range(8):
            r.poller.poll_soon(SITE)
            await r.run_for(0.25)
        assert r.statuses() - before == 4
