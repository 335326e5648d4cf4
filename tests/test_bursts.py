"""Live stream bursts: when one is asked for, how fast a site is polled meanwhile, and how it ends."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.asking import PollSettings
from exporter.bursts import has_changed
from exporter.client import Client
from exporter.errors import Rejected, Unavailable
from exporter.model import Charger, ConnectorStatus, LiveStream
from exporter.schedule import Burst, SiteLoad, bursts_that_fit, granted, stretched_intervals
from exporter.simulator.vehicle import Car
from tests.test_poller import OTHER, SETTINGS, SITE
from tests.test_poller_soon import Waking, chargers_of, waking
from tests.wiring import Wired

ON_CHANGE = replace(SETTINGS, live_stream="on_change")
WHILE_CHARGING = replace(SETTINGS, live_stream="while_charging")
HOUR = 3600.0


def plug(r: Waking, site_id: str = SITE) -> None:
    for charger in chargers_of(r.w, site_id):
        charger.plug()


def unplug(r: Waking, site_id: str = SITE) -> None:
    for charger in chargers_of(r.w, site_id):
        charger.unplug()


def charge(r: Waking, site_id: str = SITE) -> None:
    """Plug in cars that take more than a night to fill."""
    for charger in chargers_of(r.w, site_id):
        charger.mode = "MANUAL_CHARGING"
        charger.plug(Car(needs_wh=1e7, capacity_wh=1e7, max_amps=16.0, phases=1))
        charger.start(16)


def streams(r: Waking, site_id: str = SITE) -> list[str]:
    """The live stream requests for a site: `start` and `stop`."""
    entries = r.w.cloud.journal.select(endpoint="live_stream", site_id=site_id)
    return [entry.path.rsplit("/", 1)[1].removesuffix("_live_stream") for entry in entries]


def most_requests_in_an_hour(r: Waking) -> int:
    moments = sorted(entry.simulated_seconds for entry in r.w.cloud.journal)
    return max(
        sum(other < moment + HOUR for other in moments[first:]) for first, moment in enumerate(moments)
    )


async def test_never_is_never() -> None:
    async with waking(replace(SETTINGS, live_stream="never")) as r:
        charge(r)
        await r.run_for(120)
        r.poller.begin_burst(SITE, 900)
        before = r.statuses()
        await r.run_for(600)
        assert r.statuses() == before + 20
        assert streams(r) == []


async def test_a_granted_burst_polls_faster_for_its_time_and_is_stopped_once() -> None:
    async with waking() as r:
        await r.run_for(30)
        r.poller.begin_burst(SITE, 300)
        await r.run_for(0)
        assert r.site().poll_interval_seconds == 15
        assert r.site(OTHER).poll_interval_seconds == 60
        before, other = r.statuses(), r.statuses(OTHER)
        await r.run_for(290)
        assert r.statuses() - before == 19
        assert streams(r) == []
        await r.run_for(30)
        assert streams(r) == ["stop"]
        assert r.site().poll_interval_seconds == 60
        before = r.statuses()
        await r.run_for(600)
        assert r.statuses() - before == 10
        assert r.statuses(OTHER) - other <= 16
        assert streams(r) == ["stop"]


async def test_on_command_nothing_else_begins_a_burst() -> None:
    async with waking() as r:
        charge(r)
        await r.run_for(600)
        assert r.site().chargers[0].charging
        unplug(r)
        await r.run_for(600)
        assert streams(r) == []


async def test_another_grant_makes_the_burst_longer_but_no_grant_counts_for_more_than_a_quarter_hour() -> (
    None
):
    async with waking() as r:
        r.poller.begin_burst(SITE, 100)
        await r.run_for(60)
        r.poller.begin_burst(SITE, 86_400)
        r.poller.begin_burst(SITE, 30)
        await r.run_for(890)
        assert streams(r) == []
        assert r.site().poll_interval_seconds == 15
        await r.run_for(30)
        assert streams(r) == ["stop"]
        assert r.site().poll_interval_seconds == 60


async def test_a_burst_that_a_person_ended_is_over_and_the_cloud_is_not_told_again() -> None:
    async with waking() as r:
        r.poller.begin_burst(SITE, 900)
        await r.run_for(100)
        r.poller.end_burst(SITE)
        await r.run_for(0)
        assert r.site().poll_interval_seconds == 60
        before = r.statuses()
        await r.run_for(600)
        assert r.statuses() - before == 10
        assert streams(r) == []


async def test_a_burst_that_cannot_be_stopped_is_over_all_the_same() -> None:
    async with waking() as r:
        r.w.cloud.faults.add("status", endpoint="live_stream", status=500)
        r.poller.begin_burst(SITE, 60)
        await r.run_for(600)
        assert streams(r) == ["stop"]
        assert r.site().poll_interval_seconds == 60
        assert r.site().up is True


async def test_a_change_of_state_begins_one_burst() -> None:
    async with waking(ON_CHANGE) as r:
        await r.run_for(600)
        assert streams(r) == [], "the first polls are no change"
        plug(r)
        await r.run_for(60)
        assert streams(r) == ["start"]
        assert r.site().poll_interval_seconds == 15
        unplug(r)
        await r.run_for(60)
        assert streams(r) == ["start"]
        await r.run_for(900)
        assert streams(r) == ["start", "stop"]
        assert r.site().poll_interval_seconds == 60
        assert streams(r, OTHER) == []


async def test_a_change_that_a_reload_only_overlaps_is_none_and_a_burst_goes_on_over_it() -> None:
    async with waking(ON_CHANGE) as r:
        await r.reload(ON_CHANGE)
        await r.run_for(200)
        assert streams(r) == []
        plug(r)
        await r.run_for(100)
        await r.reload(ON_CHANGE)
        assert r.site().poll_interval_seconds == 15
        await r.run_for(950)
        assert streams(r) == ["start", "stop"]


async def test_a_reload_to_never_ends_a_burst() -> None:
    async with waking() as r:
        r.poller.begin_burst(SITE, 900)
        await r.run_for(100)
        await r.reload(replace(SETTINGS, live_stream="never"))
        assert r.site().poll_interval_seconds == 60
        await r.run_for(120)
        assert streams(r) == ["stop"]


async def test_the_end_of_the_exporter_asks_for_nothing() -> None:
    async with waking(WHILE_CHARGING) as r:
        charge(r)
        await r.run_for(100)
        await r.end()
        assert streams(r) == ["start"]


async def test_while_charging_bursts_follow_each_other_and_the_last_is_stopped() -> None:
    async with waking(WHILE_CHARGING) as r:
        await r.run_for(300)
        assert streams(r) == []
        charge(r)
        await r.run_for(60)
        assert streams(r) == ["start"]
        await r.run_for(900)
        assert streams(r) == ["start", "start"]
        assert r.site().poll_interval_seconds == 15
        unplug(r)
        await r.run_for(30)
        assert streams(r) == ["start", "start", "stop"]
        assert r.site().poll_interval_seconds == 60
        assert streams(r, OTHER) == []


async def test_a_burst_that_a_person_asked_for_does_not_end_because_nothing_charges() -> None:
    async with waking(WHILE_CHARGING) as r:
        r.poller.begin_burst(SITE, 600)
        await r.run_for(500)
        assert streams(r) == []
        assert r.site().poll_interval_seconds == 15


async def test_a_burst_that_a_person_ended_is_not_begun_again_at_once_because_a_car_still_charges() -> None:
    async with waking(WHILE_CHARGING) as r:
        charge(r)
        await r.run_for(100)
        r.poller.end_burst(SITE)
        await r.run_for(850)
        assert streams(r) == ["start"]
        await r.run_for(100)
        assert streams(r) == ["start", "start"]


@pytest.mark.parametrize("status", [403, 404, 472, 473])
async def test_where_there_is_no_live_stream_none_is_asked_for_for_hours(status: int) -> None:
    async with waking(WHILE_CHARGING) as r:
        r.w.cloud.faults.add("status", endpoint="live_stream", status=status)
        charge(r)
        await r.run_for(5 * HOUR)
        assert streams(r) == ["start"]
        assert r.site().up is True
        assert r.site().poll_interval_seconds == 30
        await r.run_for(2 * HOUR)
        assert streams(r) == ["start", "start"]


async def test_a_refusal_to_control_keeps_the_exporter_from_asking_too() -> None:
    async with waking(WHILE_CHARGING) as r:
        r.w.cloud.faults.add("status", endpoint="live_stream", status=472)
        with pytest.raises(Rejected):
            await r.poller.start_live_stream(SITE)
        charge(r)
        await r.run_for(HOUR)
        assert streams(r) == ["start"]


@pytest.mark.parametrize("status", [401, 400, 500, 550, 429])
async def test_a_live_stream_that_failed_is_asked_for_again_after_a_quarter_of_an_hour(status: int) -> None:
    async with waking(WHILE_CHARGING) as r:
        logins = r.w.logins()
        r.w.cloud.faults.add("status", endpoint="live_stream", status=status, times=1)
        charge(r)
        await r.run_for(800)
        assert streams(r) == ["start"]
        assert r.site().poll_interval_seconds == 30
        await r.run_for(300)
        assert streams(r) == ["start", "start"]
        assert r.w.logins() == logins


async def test_a_429_to_a_live_stream_makes_the_account_wait() -> None:
    async with waking(WHILE_CHARGING) as r:
        r.w.cloud.faults.add("status", endpoint="live_stream", status=429, retry_after=500, times=1)
        charge(r)
        await r.run_for(60)
        asked = len(r.w.cloud.journal)
        assert r.poller.backoff_seconds(OTHER) > 400
        await r.run_for(400)
        assert len(r.w.cloud.journal) == asked


@pytest.mark.parametrize("policy", ["never", "on_change", "while_charging"])
async def test_a_command_asks_for_a_live_stream_only_where_that_is_wanted(policy: str) -> None:
    async with waking(replace(SETTINGS, live_stream=policy)) as r:
        assert not r.poller.may_burst(SITE)
    async with waking() as r:
        assert r.poller.may_burst(SITE)
        assert not r.poller.may_burst("99")


async def test_a_command_asks_for_no_live_stream_while_a_burst_covers_what_comes_of_it() -> None:
    async with waking() as r:
        r.poller.begin_burst(SITE, 300)
        assert not r.poller.may_burst(SITE)
        assert r.poller.may_burst(OTHER)
        await r.run_for(209)
        assert not r.poller.may_burst(SITE)
        await r.run_for(2)
        assert r.poller.may_burst(SITE)


async def test_a_command_asks_for_no_live_stream_for_hours_where_there_is_none() -> None:
    async with waking() as r:
        r.w.cloud.faults.add("status", endpoint="live_stream", status=472, times=1)
        with pytest.raises(Rejected):
            await r.poller.start_live_stream(SITE)
        assert not r.poller.may_burst(SITE)
        assert (await r.poller.start_live_stream(SITE)).duration_seconds == 900, "a person may still ask"
        await r.run_for(5 * HOUR)
        assert not r.poller.may_burst(SITE)
        await r.run_for(1.1 * HOUR)
        assert r.poller.may_burst(SITE)


async def test_commands_at_once_ask_for_one_live_stream_also_where_it_fails() -> None:
    async with waking() as r:
        r.w.cloud.faults.add("status", endpoint="live_stream", status=500, times=1)
        asking = asyncio.create_task(r.poller.start_live_stream(SITE))
        await asyncio.sleep(0)
        assert not r.poller.may_burst(SITE)
        with pytest.raises(Unavailable):
            await asking
        assert not r.poller.may_burst(SITE)
        await r.run_for(61)
        assert r.poller.may_burst(SITE)


async def test_a_command_asks_for_no_live_stream_that_does_not_fit_the_budget_or_must_wait() -> None:
    async with waking(replace(SETTINGS, max_requests_per_hour=150), site_ids=(SITE,)) as r:
        assert not r.poller.may_burst(SITE)
    async with waking() as r:
        r.poller.rate_limited(SITE, 100)
        assert not r.poller.may_burst(SITE)


async def test_polls_of_a_burst_are_aligned_to_scrapes() -> None:
    async with waking(replace(SETTINGS, idle_interval_seconds=30, align="scrape")) as r:
        for _ in range(8):
            await r.run_for(30)
            r.poller.scraped("prometheus")
        r.poller.begin_burst(SITE, 600)
        before, ages = r.statuses(), []
        for _ in range(10):
            await r.run_for(30)
            r.poller.scraped("prometheus")
            ages.append(r.time() - (r.site().status_received_monotonic or 0))
        assert max(ages) < 6
        assert r.statuses() - before > 15


async def test_the_interval_in_force_is_that_of_the_burst_although_the_last_poll_is_longer_ago() -> None:
    async with waking(replace(SETTINGS, align="clock")) as r:
        await r.run_for(20)
        r.poller.begin_burst(SITE, 600)
        await r.run_for(0)
        assert r.statuses() == 1
        assert r.site().poll_interval_seconds == 15
        await r.run_for(10.5)
        assert r.statuses() == 2


class ShortStreams(Client):
    """A client of a cloud that grants a minute."""

    async def start_live_stream(self, site_id: str) -> LiveStream:
        await super().start_live_stream(site_id)
        return LiveStream(60.0)


def short(w: Wired) -> Client:
    return ShortStreams(w.transport, w.auth, w.url)


def usual(w: Wired) -> Client | None:
    return None


@pytest.mark.parametrize("prepare", [usual, short])
@pytest.mark.parametrize("budget", [60, 200, 400, 600, 2000])
async def test_bursts_on_all_sites_stay_within_the_budget(
    budget: int, prepare: Callable[[Wired], Client | None]
) -> None:
    settings = replace(WHILE_CHARGING, max_requests_per_hour=budget)
    async with waking(settings, prepare=prepare) as r:
        charge(r)
        charge(r, OTHER)
        await r.run_for(3 * HOUR)
        assert most_requests_in_an_hour(r) <= budget
        assert r.site().chargers
        if budget == 2000:
            assert r.site(SITE).poll_interval_seconds == r.site(OTHER).poll_interval_seconds == 15


async def test_a_burst_makes_no_interval_of_its_account_longer() -> None:
    settings = replace(SETTINGS, max_requests_per_hour=250)
    async with waking(settings) as r:
        charge(r, OTHER)
        await r.run_for(HOUR)
        ordinary = r.site(SITE).poll_interval_seconds, r.site(OTHER).poll_interval_seconds
        r.poller.begin_burst(SITE, 900)
        await r.run_for(300)
        assert (r.site(SITE).poll_interval_seconds, r.site(OTHER).poll_interval_seconds) == ordinary


async def test_where_only_one_burst_fits_the_first_goes_on() -> None:
    async with waking(replace(SETTINGS, max_requests_per_hour=400)) as r:
        r.poller.begin_burst(OTHER, 900)
        await r.run_for(100)
        r.poller.begin_burst(SITE, 900)
        await r.run_for(100)
        assert (r.site(SITE).poll_interval_seconds, r.site(OTHER).poll_interval_seconds) == (60, 15)
        await r.run_for(750)
        assert (r.site(SITE).poll_interval_seconds, r.site(OTHER).poll_interval_seconds) == (15, 60)


async def test_a_live_stream_that_the_budget_leaves_no_room_for_is_not_asked_for() -> None:
    async with waking(replace(WHILE_CHARGING, max_requests_per_hour=150), site_ids=(SITE,)) as r:
        charge(r)
        await r.run_for(2 * HOUR)
        assert streams(r) == []


def test_of_bursts_that_do_not_all_fit_the_first_are_served() -> None:
    loads = [SiteLoad(30.0, True, 0.0)] * 3
    faster = SiteLoad(15.0, True, 0.0)
    assert bursts_that_fit(loads, [(2, faster), (0, faster), (1, faster)], 600.0) == {0, 2}
    assert bursts_that_fit(loads, [(2, faster), (0, faster), (1, faster)], 359.0) == frozenset()


LOADS = st.lists(
    st.builds(SiteLoad, st.floats(15.0, 600.0), st.booleans(), st.floats(0.0, 200.0)), min_size=1, max_size=6
)


@given(loads=LOADS, budget=st.floats(10.0, 2000.0), data=st.data())
def test_bursts_that_fit_stretch_nobody(loads: list[SiteLoad], budget: float, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.sampled_from(range(len(loads))), unique=True))
    length = data.draw(st.floats(1.0, 900.0))
    bursts = [(place, Burst(0.0, length, length).load(loads[place], 15.0)) for place in places]
    fitting = bursts_that_fit(loads, bursts, budget)
    if fitting:
        meanwhile = list(loads)
        for place, load in bursts:
            meanwhile[place] = load if place in fitting else loads[place]
        wanted = [load.interval_seconds for load in meanwhile]
        assert stretched_intervals(meanwhile, budget + 1e-6) == pytest.approx(wanted)


def test_a_grant_after_the_end_of_a_burst_begins_another() -> None:
    first = granted(None, 100.0, 60.0)
    assert (first.began_seconds, first.until_seconds) == (100.0, 160.0)
    assert granted(first, 120.0, 20.0).until_seconds == 160.0
    assert granted(first, 120.0, 900.0) == Burst(100.0, 1020.0, 900.0)
    assert granted(first, 160.0, 60.0, while_charging=True) == Burst(160.0, 220.0, 60.0, while_charging=True)


FREE = Charger("1", "A", plugged_in=False, charging=False, faulted=False)
FREE = replace(FREE, connector_status=ConnectorStatus.AVAILABLE)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ([FREE], [FREE], False),
        ([FREE], [replace(FREE, session_energy_kwh=3.0)], False),
        ([FREE], [replace(FREE, plugged_in=True)], True),
        ([FREE], [replace(FREE, charging=True)], True),
        ([FREE], [replace(FREE, faulted=True)], True),
        ([FREE], [replace(FREE, connector_status=ConnectorStatus.FINISHING)], True),
        ([], [FREE], False),
        ([FREE], [], False),
        ([FREE], [replace(FREE, serial="B", plugged_in=True)], False),
        ([FREE], [replace(FREE, charging=None)], False),
        ([replace(FREE, charging=None)], [FREE], False),
        ([replace(FREE, connector_status=ConnectorStatus.UNKNOWN)], [FREE], False),
        ([FREE], [replace(FREE, connector_status=ConnectorStatus.UNKNOWN)], False),
    ],
)
def test_what_counts_as_a_change(before: Sequence[Charger], after: Sequence[Charger], changed: bool) -> None:
    assert has_changed(before, after) is changed


def test_the_interval_of_a_burst_is_the_floor_unless_told() -> None:
    assert PollSettings().burst_interval_seconds == 15.0
    assert PollSettings().live_stream == "on_command"
