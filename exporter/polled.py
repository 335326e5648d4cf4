"""What polling has told so far of one site and one account; no I/O and no clock of its own.

These are the only mutable records between the cloud and the Snapshot. `monotonic` times decide when to poll
and what is stale, `wall` times are shown.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from exporter.errors import CloudError
from exporter.ledger import fold, is_worth_saving, opened
from exporter.merge import (
    EMPTY_LISTS_TO_BELIEVE,
    Knowledge,
    Made,
    join,
    with_charge_mode,
    with_last_reported,
    with_status,
    with_summary,
)
from exporter.model import (
    ChargeModePreference,
    Charger,
    EndpointTimes,
    FinishedSession,
    Ledger,
    Problem,
    Site,
    Status,
    Summary,
)
from exporter.readings import readings
from exporter.schedule import AnswerTime, Backoff, Burst, SiteLoad
from exporter.scrapes import ScrapeLearner
from exporter.session_energy import EnergyReading

POLL_RESULTS = ("success", "failure", "internal")
# A site shown as stale must have missed polls, so never before two of them were due.
_STALE_POLLS = 2.5
_PAUSE_LIMIT_SECONDS = 900.0
_OPTIONAL_PAUSE_LIMIT_SECONDS = 1800.0
NOT_OFFERED_PAUSE_SECONDS = 6 * 3600.0


@dataclass(slots=True)
class Pace:
    """When a slow endpoint is asked next, monotonic seconds, and how often it failed in a row."""

    next_seconds: float = 0.0
    failures: int = 0

    def succeeded(self, now: float, interval_seconds: float) -> None:
        """Plan the next request one interval on."""
        self.failures = 0
        self.next_seconds = now + interval_seconds

    def failed(self, now: float, interval_seconds: float, *, optional: bool) -> None:
        """Plan the next request after a pause that doubles with each failure."""
        limit = _OPTIONAL_PAUSE_LIMIT_SECONDS if optional else _PAUSE_LIMIT_SECONDS
        pause = min(limit, max(interval_seconds, 60.0) * 2.0 ** min(self.failures, 8))
        self.failures += 1
        self.next_seconds = now + max(pause, interval_seconds)


@dataclass(slots=True)
class PolledSite:
    """One site: what it told, when it was asked, and the `Site` made of that."""

    site_id: str
    account: str
    rank: int = 0  # place among the sites of the account, 0 first
    place: int = 0  # place among all sites
    name: str | None = None
    up: bool | None = None
    error: str | None = None
    knowledge: Knowledge = field(default_factory=Knowledge)
    chargers: tuple[Charger, ...] = ()
    polls: dict[tuple[str], int] = field(default_factory=lambda: {(result,): 0 for result in POLL_RESULTS})
    times: dict[str, EndpointTimes] = field(default_factory=dict)
    interval_seconds: float | None = None  # that the budget allows, before backoff
    interval_in_force_seconds: float | None = None
    last_poll_seconds: float | None = None
    status_received_seconds: float | None = None
    backoff: Backoff = field(default_factory=Backoff)
    answer_time: AnswerTime = field(default_factory=AnswerTime)
    learner: ScrapeLearner = field(default_factory=ScrapeLearner)  # scrapes of this site alone
    summary: Pace = field(default_factory=Pace)
    last_reported: Pace = field(default_factory=Pace)
    charge_modes: dict[str, Pace] = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=dict)  # by serial, up to the newest answer
    durable: dict[str, Ledger] = field(default_factory=dict)  # the same as they are on disk: only these show
    unsaved_sessions: list[FinishedSession] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    mode_read_seconds: dict[str, float] = field(default_factory=dict)  # when the newest good read began
    asked_soon: frozenset[str] | None = None  # a poll is wanted now, with these slow endpoints
    follows_command: bool = False  # the wanted poll is the first since a command was sent
    writes_seen: int = 0  # commands sent before a poll was last wanted
    polls_begun: int = 0
    newest_shown: int = 0  # of the polls that began, by number: its status has been asked and is published
    newest_ended: int = 0  # likewise: the slow endpoints have been asked too
    step: asyncio.Event | None = None  # of a poll getting on; only there while somebody waits
    burst: Burst | None = None
    next_burst_seconds: float = 0.0  # no live stream is asked for before
    live: Site | None = None
    _stale: Site | None = None
    _made: Made = field(default_factory=dict)

    @classmethod
    def restored(cls, site_id: str, account: str, ledgers: Mapping[str, Ledger]) -> "PolledSite":
        """A site whose accounts were kept; the course of its sessions goes on, so that units do not flip."""
        energy = {
            serial: EnergyReading(
                plug_seconds=ledger.session.plugged_in_seconds or ledger.session.start_seconds,
                start_seconds=ledger.session.segment_start_seconds,
                last_kwh=ledger.session.energy_kwh or None,
                last_seconds=ledger.at_seconds,
            )
            for serial, ledger in ledgers.items()
            if ledger.session is not None
        }
        kept = dict(ledgers)
        return cls(site_id, account, knowledge=Knowledge(energy=energy), ledgers=kept, durable=dict(kept))

    @property
    def is_active(self) -> bool:
        """Whether a car is plugged in, or nothing is known yet."""
        return not self.chargers or any(charger.plugged_in is not False for charger in self.chargers)

    def load(self, interval: float, idle_interval: float, other_requests_per_hour: float) -> SiteLoad:
        """What this site wants of the account's request budget."""
        active = self.is_active
        return SiteLoad(interval if active else idle_interval, active, other_requests_per_hour)

    @property
    def is_charging(self) -> bool:
        """Whether any charger is known to charge."""
        return any(charger.charging for charger in self.chargers)

    def ask_soon(self, endpoint: str, writes: int) -> int:
        """Want a poll as soon as may be, with a slow endpoint if one is named; `writes` were sent so far.

        Returns how many of them are new.
        """
        fresh, self.writes_seen = max(0, writes - self.writes_seen), writes
        self.asked_soon = (self.asked_soon or frozenset()) | {endpoint}
        self.follows_command |= fresh > 0
        self.wake.set()
        return fresh

    def poll_begins(self) -> None:
        """Note that a poll begins, and make due what was asked for with it."""
        self.polls_begun += 1
        self.follows_command = False
        wanted, self.asked_soon = self.asked_soon or frozenset(), None
        if "summary" in wanted:
            self.summary.next_seconds = 0.0
        if "charge_mode" in wanted:
            for pace in self.charge_modes.values():
                pace.next_seconds = 0.0

    def status_shown(self) -> None:
        """Tell those who wait that the status of the poll under way is published."""
        self.newest_shown = self.polls_begun
        if self.step is not None:
            self.step.set()
            self.step = None

    def poll_ended(self) -> None:
        """Tell those who wait that a poll has ended."""
        self.newest_ended = self.polls_begun
        self.status_shown()

    def next_step(self) -> asyncio.Event:
        """The event of a poll getting on: its status is published, or it has ended."""
        self.step = self.step or asyncio.Event()
        return self.step

    def hurry(self, now: float, interval_seconds: float) -> None:
        """Let no slow endpoint wait longer than a reloaded config wants."""
        for pace in (self.summary, self.last_reported, *self.charge_modes.values()):
            pace.next_seconds = min(pace.next_seconds, now + interval_seconds)

    def attempted(self, endpoint: str, wall: float) -> None:
        """Note that an endpoint is being asked."""
        known = self.times.get(endpoint)
        success = known.last_success_seconds if known else None
        self.times[endpoint] = EndpointTimes(self.site_id, endpoint, wall, success)

    def answered(self, endpoint: str, wall: float) -> None:
        """Note that an endpoint answered usefully."""
        attempt = self.times[endpoint].last_attempt_seconds
        self.times[endpoint] = EndpointTimes(self.site_id, endpoint, attempt, wall)

    def status_arrived(self, status: Status, now: float, wall: float, gap_seconds: float) -> None:
        """Take a status answer into what is known and into the ledgers; `settle` shows it."""
        self.knowledge = with_status(self.knowledge, status)
        self.status_received_seconds = now
        self.up, self.error = True, None
        self.polls["success",] += 1
        if status.chargers:
            self._account(wall, gap_seconds)

    def _account(self, wall: float, gap_seconds: float) -> None:
        since = min((ledger.watched_since_seconds for ledger in self.ledgers.values()), default=None)
        for reading in readings(self.site_id, self.knowledge, wall):
            before = self.ledgers.get(reading.serial) or opened(reading, since)
            after, finished = fold(before, reading, gap_seconds=gap_seconds)
            self.ledgers[reading.serial] = after
            self.unsaved_sessions += finished

    def unsaved(self) -> list[tuple[str, str, Ledger]]:
        """The ledgers that are worth a write: site, serial, ledger."""
        return [
            (self.site_id, serial, ledger)
            for serial, ledger in self.ledgers.items()
            if serial not in self.durable or is_worth_saving(self.durable[serial], ledger)
        ]

    def saved(self, ledgers: Iterable[tuple[str, str, Ledger]], sessions: int) -> None:
        """Note that these ledgers, and so many of the finished sessions, are on disk."""
        self.durable |= {serial: ledger for _, serial, ledger in ledgers}
        del self.unsaved_sessions[:sessions]

    def settle(self) -> tuple[Problem, ...]:
        """Make chargers of what is known and durable; return what was odd in the newest status answer."""
        self.chargers, problems = join(self.site_id, self.knowledge, self.chargers, self.durable, self._made)
        return problems

    def status_failed(self, error: CloudError) -> None:
        """Note a status poll that failed; what was known stays."""
        self.up, self.error = False, str(error)
        self.polls["failure",] += 1

    def poll_broke(self) -> None:
        """Note a poll that ended in a bug of ours."""
        self.up, self.error = False, "internal error; the log has the details"
        self.polls["internal",] += 1

    def summary_arrived(self, summary: Summary) -> tuple[Problem, ...]:
        """Take in a summary answer; return what was odd in it."""
        before, self.knowledge = self.knowledge, with_summary(self.knowledge, summary)
        if self.knowledge is not before:
            self.settle()
        return summary.problems

    def charge_mode_arrived(
        self, serial: str, preference: ChargeModePreference, asked_seconds: float
    ) -> tuple[Problem, ...]:
        """Take in the answer to a read that began at a monotonic moment; return what was odd in it."""
        self.mode_read_seconds[serial] = asked_seconds
        self.knowledge = with_charge_mode(self.knowledge, serial, preference)
        self.settle()
        return preference.problems

    def last_reported_arrived(self, times: Mapping[str, float]) -> None:
        """Take in when the chargers last reported, epoch seconds by serial."""
        self.knowledge = with_last_reported(self.knowledge, times)
        self.settle()

    @property
    def lacks_limits(self) -> bool:
        """Whether a summary came without the charge levels, as it may just after a cloud restart."""
        return any(charger.max_amperes is None for charger in self.chargers)

    @property
    def lacks_report_times(self) -> bool:
        """Whether neither status nor summary said when a charger last reported."""
        return any(charger.last_reported_seconds is None for charger in self.chargers)

    def publish(self) -> Site:
        """Make the frozen value of what is known now."""
        self._stale = None
        self.live = Site(
            site_id=self.site_id,
            account=self.account,
            name=self.name,
            up=self.up,
            chargers=self.chargers,
            status_timestamp_seconds=self.knowledge.status_timestamp_seconds,
            poll_interval_seconds=self.interval_in_force_seconds,
            status_received_monotonic=self.status_received_seconds,
            status_listed=not self.knowledge.empty_status_lists,
            endpoints=tuple(self.times.values()),
            polls=dict(self.polls),
            error=self.error,
        )
        return self.live

    def known_chargers(self) -> tuple[Charger, ...]:
        """The chargers; before status is believed those that have accounts, of which no more is known."""
        told = self.knowledge
        if self.chargers or told.status or told.empty_status_lists >= EMPTY_LISTS_TO_BELIEVE:
            return self.chargers
        return tuple(Charger(self.site_id, serial) for serial in sorted(self.durable))

    def known(self) -> Site:
        """All that is known, however old."""
        site, chargers = self.live or self.publish(), self.known_chargers()
        return site if site.chargers == chargers else replace(site, chargers=chargers)

    def shown(self, now: float, stale_after_seconds: float) -> Site:
        """The site as a scrape at `now` shows it: without chargers when the last good status is too old."""
        site = self.live or self.publish()
        received = site.status_received_monotonic
        patience = max(stale_after_seconds, _STALE_POLLS * (self.interval_seconds or 0.0))
        if received is None or now - received <= patience:
            return site
        if self._stale is None:
            self._stale = replace(site, chargers=())
        return self._stale
