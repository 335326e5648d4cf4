"""Sites that are known before discovery has shown them: after a reload, and after a start."""

from collections.abc import Sequence

import pytest

from exporter.asking import PolledAccount
from exporter.client import Client
from exporter.model import Ledger, SiteEntry
from exporter.poller import Poller
from exporter.schedule import RequestWindow
from tests.test_poller import OTHER, SETTINGS, SITE
from tests.test_poller_soon import Waking, chargers_of, poller_of, waking
from tests.wiring import Wired

KEPT = Ledger(watched_since_seconds=0.0, energy_kwh=5.0)


def serial_at(w: Wired, site_id: str) -> str:
    return chargers_of(w, site_id)[0].serial


def discovery_down(w: Wired) -> None:
    w.cloud.faults.add("status", endpoint="sites", status=503)


def rebuilt(r: Waking, name: str = "home", site_ids: tuple[str, ...] = ()) -> PolledAccount:
    """An account whose config has changed: with another client."""
    return PolledAccount(name, Client(r.w.transport, r.w.auth, r.w.url), RequestWindow(), site_ids)


async def test_a_reload_goes_on_polling_every_site_while_discovery_is_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with waking(site_ids=(), tasks=2) as r:
        serial, before = serial_at(r.w, SITE), r.statuses()
        discovery_down(r.w)
        await r.reload(SETTINGS)
        assert [site.site_id for site in r.poller.snapshot().sites] == [SITE, OTHER]
        assert [site.site_id for site in r.poller.sites_of(serial)] == [SITE]
        await r.run_for(600)
        assert r.statuses() - before >= 10
        r.w.cloud.faults.clear()
        await r.run_for(1000)
        assert len(r.poller.snapshot().sites) == 2
        assert r.poller.snapshot().accounts[0].error is None
        assert "polled already" not in caplog.text
        assert "not visible" not in caplog.text


async def test_a_site_is_known_from_the_first_moment_after_a_reload() -> None:
    async with waking(site_ids=(), tasks=2) as r:
        (account,) = r.poller.accounts.values()
        successor = poller_of(account.renewed(), SETTINGS, r.time, r.w, previous=r.poller)
        assert successor.site(SITE) is not None
        assert successor.client_of(SITE) is account.client


class Forgetful(Client):
    """A client of a cloud whose list of sites is not complete any more."""

    listed: Sequence[SiteEntry] | None = None

    async def fetch_sites(self) -> tuple[SiteEntry, ...]:
        entries = await super().fetch_sites()
        return entries if self.listed is None else tuple(self.listed)


async def test_a_site_that_discovery_no_longer_shows_is_polled_on_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with waking(site_ids=(), tasks=2, prepare=lambda w: Forgetful(w.transport, w.auth, w.url)) as r:
        (account,) = r.poller.accounts.values()
        assert isinstance(account.client, Forgetful)
        account.client.listed = [SiteEntry(OTHER, "Renamed")]
        await r.reload(SETTINGS)
        await r.run_for(600)
        assert r.site(SITE).up is True
        assert r.site(OTHER).name == "Renamed"
        warned = [record for record in caplog.records if record.message == "site not visible"]
        assert [record.__dict__["site_id"] for record in warned] == [SITE]


async def test_a_changed_account_can_stop_a_charger_of_before_but_polls_only_what_it_sees() -> None:
    async with waking(site_ids=(), tasks=2) as r:
        account = rebuilt(r)
        successor = poller_of(account, SETTINGS, r.time, r.w, previous=r.poller)
        assert successor.snapshot().sites == ()
        assert [site.site_id for site in successor.sites_of(serial_at(r.w, SITE))] == [SITE]
        assert successor.client_of(SITE) is account.client
        named = rebuilt(r, site_ids=(OTHER,))
        assert poller_of(named, SETTINGS, r.time, r.w, previous=r.poller).site(SITE) is None


async def test_a_charger_that_only_has_accounts_is_known_for_a_stop_until_discovery_has_answered() -> None:
    async with waking(site_ids=(), tasks=2) as r:
        await r.end()
        serial = serial_at(r.w, SITE)
        account = rebuilt(r)
        r.poller = poller_of(
            account, SETTINGS, r.time, r.w, ledgers={SITE: {serial: KEPT}, "99": {"A": KEPT}}
        )
        (site,) = r.poller.sites_of(serial)
        assert (site.site_id, [charger.plugged_in for charger in site.chargers]) == (SITE, [None])
        assert r.poller.snapshot().sites == ()
        assert r.poller.client_of("99") is account.client
        assert not r.poller.may_burst(SITE)
        assert await r.poller.polled(SITE, 5) is None
        assert (await r.poller.start_live_stream(SITE)).duration_seconds == 900
        r.restart()
        await r.run_for(0)
        assert r.site(SITE).chargers[0].energy_kwh is not None
        assert r.poller.site("99") is None


async def test_whose_a_site_is_that_only_has_accounts_is_not_guessed() -> None:
    async with waking() as r:

        async def save(ledgers: object, sessions: object) -> bool:
            return True

        def built(*accounts: PolledAccount) -> Poller:
            ledgers = {"99": {"A": KEPT}}
            return Poller(accounts, SETTINGS, save=save, problem=lambda *_: None, ledgers=ledgers)

        assert built(rebuilt(r), rebuilt(r, "other")).site("99") is None
        site = built(rebuilt(r), rebuilt(r, "other", (SITE,))).site("99")
        assert site is not None
        assert site.account == "home"


async def test_at_a_configured_site_a_charger_is_known_before_the_first_status_and_shown_only_after() -> None:
    async with waking(site_ids=(SITE,)) as r:
        await r.end()
        serial = serial_at(r.w, SITE)
        r.w.cloud.faults.add("status", endpoint="status", status=503)
        account = rebuilt(r, site_ids=(SITE,))
        r.poller = poller_of(account, SETTINGS, r.time, r.w, ledgers={SITE: {serial: KEPT, "GONE": KEPT}})
        r.restart()
        await r.run_for(0)
        assert r.site().up is False
        assert r.site().chargers == ()
        (known,) = r.poller.sites_of(serial)
        assert [charger.charging for charger in known.chargers] == [None, None]
        assert r.poller.status_age_seconds(SITE) is None
        r.w.cloud.faults.clear()
        await r.run_for(120)
        assert r.poller.sites_of(serial)[0].chargers[0].plugged_in is False
        assert r.poller.sites_of("GONE") == ()


async def test_a_charger_that_only_has_accounts_is_known_until_an_empty_status_is_believed() -> None:
    async with waking(site_ids=(SITE,)) as r:
        await r.end()
        for endpoint in ("status", "summary"):
            r.w.cloud.faults.add("empty_chargers", endpoint=endpoint)
        ledgers = {SITE: {"A": KEPT}}
        r.poller = poller_of(rebuilt(r, site_ids=(SITE,)), SETTINGS, r.time, r.w, ledgers=ledgers)
        r.restart()
        await r.run_for(50)
        assert r.site().up is True
        assert [site.site_id for site in r.poller.sites_of("A")] == [SITE]
        await r.run_for(100)
        assert r.poller.sites_of("A") == ()


async def test_a_charger_that_moved_is_where_status_shows_it() -> None:
    async with waking() as r:
        await r.end()
        serial = serial_at(r.w, SITE)
        account = rebuilt(r, site_ids=(SITE, OTHER))
        r.w.cloud.faults.add("status", endpoint="status", site=OTHER, status=503)
        ledgers = {OTHER: {serial: KEPT}}
        r.poller = poller_of(account, SETTINGS, r.time, r.w, ledgers=ledgers)
        assert [site.site_id for site in r.poller.sites_of(serial)] == [OTHER]
        r.restart()
        await r.run_for(0)
        assert [site.site_id for site in r.poller.sites_of(serial)] == [SITE]
