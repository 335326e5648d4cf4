"""The life of a large fleet up to now, step by step: what a scrape would have shown, minutes for a day.

The simulated world is read by the exporter's own parsing, accounts and exposition, without the HTTP between
them, on a clock that stands where it is put.
"""

import msgspec

from exporter.errors import RateLimited, Unavailable
from exporter.exposition import Exposition, Format
from exporter.instruments import Instruments
from exporter.model import Account, Snapshot
from exporter.parse import parse_charge_mode, parse_summary
from exporter.parse_status import parse_status
from exporter.polled import PolledSite
from exporter.simulator import wire
from exporter.simulator.world import World, WorldConfig
from exporter.transport import Tally

CHARGERS_A_SITE = 5
_SITES_AN_ACCOUNT = 20
_SLOW_SECONDS = 300.0  # summary and charge modes are asked so often
_STALE_SECONDS = 300.0
_BUDGET_PER_HOUR = 3_000
_HOUR_SECONDS = 3600.0
_ENDPOINTS = ("sites", "status", "summary", "charge_mode")


class PastFleet:
    """`chargers` chargers from `start` to `end`, epoch seconds, polled every `poll_seconds`.

    Chargers fail and go offline as simulated ones do. Three hours before the end the cloud limits the rate of
    the first account for a quarter of an hour; in the last half hour it does not answer for every 40th site.
    """

    def __init__(self, chargers: int, start: float, end: float, *, poll_seconds: float) -> None:
        self._at, self._end, self._poll_seconds = start, end, poll_seconds
        config = WorldConfig(
            seed=7, sites=chargers // CHARGERS_A_SITE, chargers=CHARGERS_A_SITE, start_seconds=start
        )
        self._world = World(config, clock=lambda: self._at)
        self._sites = [
            PolledSite(site.site_id, f"owner {1 + number // _SITES_AN_ACCOUNT}", place=number, name=site.name)
            for number, site in enumerate(self._world.sites.values())
        ]
        self._tallies = {site.account: Tally(_ENDPOINTS) for site in self._sites}
        self._exposition, self._instruments = Exposition(), Instruments("0")

    @property
    def serial(self) -> str:
        """A charger of a site that answers."""
        return next(reversed(self._world.chargers))

    def body(self, at: float) -> bytes:
        """What a scrape at `at`, which must not lie before the last one, shows after a poll of every site."""
        self._at = at
        for site in self._sites:
            self._poll(site)
        self._instruments.scraped(self._poll_seconds / 2)
        snapshot = Snapshot(
            sites=tuple(site.shown(at, _STALE_SECONDS) for site in self._sites),
            accounts=tuple(_account(name, tally, at) for name, tally in self._tallies.items()),
            scrape_interval_seconds=self._poll_seconds,
            config_reload_successful=True,
            state_writes_failed=0,
            state_set_aside=False,
        )
        return self._exposition.render_now(snapshot, Format.TEXT, extra=self._instruments.exposition(False))

    def _poll(self, site: PolledSite) -> None:
        site.interval_seconds = site.interval_in_force_seconds = self._poll_seconds
        error = self._trouble(site)
        if error is None:
            self._read(site)
        else:
            self._asked(site, "status", error.status)
            self._tallies[site.account].failed("status", error.kind)
            site.status_failed(error)
        site.publish()

    def _trouble(self, site: PolledSite) -> RateLimited | Unavailable | None:
        left_seconds = self._end - self._at
        if site.place < _SITES_AN_ACCOUNT and 2.75 * _HOUR_SECONDS < left_seconds < 3 * _HOUR_SECONDS:
            return RateLimited("status", "HTTP 429", status=429, retry_after_seconds=None)
        if site.place % 40 == 0 and left_seconds < _HOUR_SECONDS / 2:
            return Unavailable("status", "HTTP 503", status=503)
        return None

    def _read(self, site: PolledSite) -> None:
        at, simulated = self._at, self._world.sites[site.site_id]
        simulated.advance(at)
        status = parse_status(msgspec.json.encode(wire.status_enveloped(simulated, at)))
        self._asked(site, "status")
        site.status_arrived(status, at, at, _STALE_SECONDS)
        site.saved(site.unsaved(), len(site.unsaved_sessions))
        site.settle()
        if at < site.summary.next_seconds:
            return
        site.summary.succeeded(at, _SLOW_SECONDS)
        summary = wire.summary_list(simulated, at, filter_retired=True)
        self._asked(site, "summary")
        site.summary_arrived(parse_summary(msgspec.json.encode(summary)))
        for charger in simulated.chargers.values():
            preference = wire.charge_mode(charger.mode, at)
            self._asked(site, "charge_mode")
            site.charge_mode_arrived(charger.serial, parse_charge_mode(msgspec.json.encode(preference)), at)

    def _asked(self, site: PolledSite, endpoint: str, code: int = 200) -> None:
        site.attempted(endpoint, self._at)
        if code == 200:
            site.answered(endpoint, self._at)
        self._tallies[site.account].answered(endpoint, code)
        self._instruments.request_ended(endpoint, 0.3)


def _account(name: str, tally: Tally, at: float) -> Account:
    return Account(
        name,
        auth_up=True,
        token_expiry_seconds=at // _HOUR_SECONDS * _HOUR_SECONDS + 6 * _HOUR_SECONDS,
        request_budget_per_hour=_BUDGET_PER_HOUR,
        requests_last_hour=_BUDGET_PER_HOUR // 2,
        requests=dict(tally.requests),
        errors=dict(tally.errors),
        rate_limited=dict(tally.rate_limited),
        logins={("success",): 1},
    )
