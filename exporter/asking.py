"""One poll of one site: status, then the slower endpoints that are due, and what follows from each outcome.

A site's failure stays its own, except what concerns the whole account: after a 429 all its sites wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from exporter.auth import Auth
from exporter.client import Client
from exporter.errors import CloudError, NotOffered, RateLimited, Rejected
from exporter.model import Account, FinishedSession, Ledger, Problem
from exporter.polled import NOT_OFFERED_PAUSE_SECONDS, Pace, PolledSite
from exporter.schedule import HOUR_SECONDS, Backoff, RequestWindow, SiteLoad, backoff_after

log = logging.getLogger(__name__)
T = TypeVar("T")

Save = Callable[[Sequence[tuple[str, str, Ledger]], Sequence[FinishedSession]], Awaitable[bool]]
"""Writes ledgers (site, serial, ledger) and finished sessions in one transaction; False when it could not."""

_INCOMPLETE_SUMMARY_SECONDS = 60.0
_MOST_PROBLEMS_LOGGED = 1000


@dataclass(frozen=True, slots=True)
class PollSettings:
    """The `poll` section of the config, in seconds and requests per hour."""

    interval_seconds: float = 30.0
    idle_interval_seconds: float = 60.0
    summary_interval_seconds: float = 300.0
    charge_mode_interval_seconds: float = 300.0
    align: str = "scrape"
    stale_after_seconds: float = 300.0
    max_requests_per_hour: int = 600
    live_stream: str = "on_command"  # never, on_command, on_change, while_charging
    burst_interval_seconds: float = 15.0

    def slow_requests_per_hour(self, chargers: int) -> float:
        """What a site of so many chargers wants beside status: its summary, and a charge mode for each."""
        summaries = HOUR_SECONDS / self.summary_interval_seconds
        return summaries + chargers * HOUR_SECONDS / self.charge_mode_interval_seconds


@dataclass(slots=True)
class PolledAccount:
    """One account: who asks for it, and what it may ask."""

    name: str
    client: Client
    window: RequestWindow
    site_ids: tuple[str, ...] = ()  # configured; empty: every site the account can see
    sites: list[PolledSite] = field(default_factory=list)
    backoff: Backoff = field(default_factory=Backoff)
    error: str | None = None
    commands: RequestWindow = field(default_factory=RequestWindow)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = False  # its sites have been asked for, whatever came back

    def renewed(self) -> "PolledAccount":
        """The same account for another poller: its login, counts and waits, but no sites yet."""
        return replace(self, sites=[], asked=False)

    def free_at(self, now: float, budget_per_hour: int) -> float:
        """The moment before which nothing of it may be asked: backoff, and the budget of the hour."""
        return max(self.backoff.until_seconds, self.window.free_at(now, budget_per_hour))

    def share_used(self, now: float, budget_per_hour: int) -> float:
        """The share of the hourly budget that the last hour's requests were."""
        return self.window.count(now) / budget_per_hour

    def left_for_polls(self, now: float, budget_per_hour: int) -> float:
        """Requests an hour that commands, each with its poll, leave; polls have to stretch, not to cease."""
        return max(budget_per_hour - 2 * self.commands.count(now), budget_per_hour / 4)

    def loads(self, settings: PollSettings) -> list[SiteLoad]:
        """What each of its sites wants of the budget, by rank; bursts left out."""
        return [
            site.load(
                settings.interval_seconds,
                settings.idle_interval_seconds,
                settings.slow_requests_per_hour(len(site.chargers)),
            )
            for site in self.sites
        ]

    def shown(self, now: float, budget_per_hour: int) -> Account:
        """The account as a scrape at `now` shows it."""
        auth: Auth = self.client.auth
        tally = self.client.transport.tally
        return Account(
            name=self.name,
            auth_up=auth.works,
            reauthentication_required=auth.needs_person,
            token_expiry_seconds=auth.token_expiry_seconds,
            blocked_until_seconds=auth.blocked_until_seconds,
            backoff_seconds=max(0.0, self.backoff.until_seconds - now),
            request_budget_per_hour=budget_per_hour,
            requests_last_hour=self.window.count(now),
            requests=dict(tally.requests),
            errors=dict(tally.errors),
            rate_limited=dict(tally.rate_limited),
            logins=dict(auth.logins),
            error=auth.guard.message if auth.guard and auth.needs_person else self.error,
        )


class Asking:
    """Polls sites one at a time each; holds no schedule."""

    def __init__(
        self,
        settings: PollSettings,
        *,
        save: Save,
        problem: Callable[[str, str], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """`save` writes accounts; `problem` is told endpoint and kind of each payload problem."""
        self._settings = settings
        self._save = save
        self._problem = problem
        self._clock = clock
        self._wall_clock = wall_clock
        self._random = random
        self._problems_logged: set[tuple[str, str]] = set()

    async def poll(self, site: PolledSite, account: PolledAccount) -> None:
        """Poll a site once; a CloudError ends in its state, anything else is a bug and raised."""
        started = site.last_poll_seconds = self._clock()
        site.attempted("status", self._wall_clock())
        was_up = site.up
        try:
            status = await account.client.fetch_status(site.site_id)
        except CloudError as error:
            site.status_failed(error)
            self._log_change(site, was_up)
            self.note_rate_limit(account, error)
            site.backoff = self.backed_off(site.backoff, error)
            return
        now = self._clock()
        site.answer_time.observe(now - started)
        site.answered("status", self._wall_clock())
        site.status_arrived(status, now, self._wall_clock(), self._settings.stale_after_seconds)
        await self._save_accounts(site)
        self._note_problems(site, "status", (*status.problems, *site.settle()))
        site.backoff = Backoff()
        if account.backoff.until_seconds <= started:  # an answer that was under way is no all-clear
            account.backoff = Backoff()
        self._log_change(site, was_up)
        site.publish()
        site.status_shown()
        await self._poll_slow_endpoints(site, account)

    async def _save_accounts(self, site: PolledSite) -> None:
        """Write what changed in one transaction; what cannot be written is tried again with the next poll."""
        ledgers, sessions = site.unsaved(), list(site.unsaved_sessions)
        if (ledgers or sessions) and await self._save(ledgers, sessions):
            site.saved(ledgers, len(sessions))

    async def _poll_slow_endpoints(self, site: PolledSite, account: PolledAccount) -> None:
        settings, client = self._settings, account.client
        interval = settings.summary_interval_seconds
        summary = await self._ask_slowly(
            site, account, "summary", site.summary, interval, lambda: client.fetch_summary(site.site_id)
        )
        if summary is not None:
            self._note_problems(site, "summary", site.summary_arrived(summary))
            if site.lacks_limits:
                site.summary.next_seconds = self._clock() + min(interval, _INCOMPLETE_SUMMARY_SECONDS)
        if site.lacks_report_times:
            times = await self._ask_slowly(
                site,
                account,
                "last_reported",
                site.last_reported,
                interval,
                lambda: client.fetch_last_reported(site.site_id),
            )
            site.last_reported_arrived(times or {})
        for charger in site.chargers:
            serial, asked_seconds = charger.serial, self._clock()
            preference = await self._ask_slowly(
                site,
                account,
                "charge_mode",
                site.charge_modes.setdefault(serial, Pace()),
                settings.charge_mode_interval_seconds,
                lambda serial=serial: client.fetch_charge_mode(site.site_id, serial),  # type: ignore[misc]
            )
            if preference is not None:
                problems = site.charge_mode_arrived(serial, preference, asked_seconds)
                self._note_problems(site, "charge_mode", problems)

    async def _ask_slowly(
        self,
        site: PolledSite,
        account: PolledAccount,
        endpoint: str,
        pace: Pace,
        interval_seconds: float,
        fetch: Callable[[], Awaitable[T]],
    ) -> T | None:
        """Ask an endpoint that has its own, slower pace, if it is due; None when it is not or failed.

        When status is wanted meanwhile it goes first: this endpoint stays due for the poll after.
        """
        now = self._clock()
        if site.asked_soon is not None:
            return None
        if now < max(pace.next_seconds, account.free_at(now, self._settings.max_requests_per_hour)):
            return None
        # The first answers come at once; the second ones spread the sites over the interval.
        first = endpoint not in site.times
        site.attempted(endpoint, self._wall_clock())
        try:
            answer = await fetch()
        except NotOffered:
            pace.next_seconds = now + NOT_OFFERED_PAUSE_SECONDS
            return None
        except CloudError as error:
            pace.failed(now, interval_seconds, optional=endpoint != "summary")
            self.note_rate_limit(account, error)
            log.debug("%s failed", endpoint, extra={"site_id": site.site_id, "why": str(error)})
            return None
        pace.succeeded(now, interval_seconds * (0.5 + self._random() / 2 if first else 1.0))
        site.answered(endpoint, self._wall_clock())
        return answer

    def backed_off(self, backoff: Backoff, error: CloudError) -> Backoff:
        """The pause of one site after an error."""
        if isinstance(error, RateLimited):
            return backoff  # the whole account waits; the site has nothing of its own to wait for
        return backoff_after(
            backoff,
            now=self._clock(),
            interval_seconds=self._settings.interval_seconds,
            rate_limited=False,
            retry_after_seconds=None,
            random=self._random,
            rejected=isinstance(error, Rejected),
        )

    def note_rate_limit(self, account: PolledAccount, error: CloudError) -> None:
        """Make the whole account wait after a 429; other errors pass."""
        if not isinstance(error, RateLimited):
            return
        if not account.backoff.failures:
            log.warning("rate limited by the cloud", extra={"account": account.name, "why": str(error)})
        account.backoff = backoff_after(
            account.backoff,
            now=self._clock(),
            interval_seconds=self._settings.interval_seconds,
            rate_limited=True,
            retry_after_seconds=error.retry_after_seconds,
            random=self._random,
        )

    def _note_problems(self, site: PolledSite, endpoint: str, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._problem(endpoint, problem.kind)
            once = (site.site_id, problem.detail)
            if once not in self._problems_logged and len(self._problems_logged) < _MOST_PROBLEMS_LOGGED:
                self._problems_logged.add(once)
                log.warning(
                    "odd payload",
                    extra={"site_id": site.site_id, "endpoint": endpoint, "problem": problem.kind}
                    | {"detail": problem.detail},
                )

    def _log_change(self, site: PolledSite, was_up: bool | None) -> None:
        if site.up is was_up:
            log.debug("polled", extra={"site_id": site.site_id, "up": site.up})
        elif site.up:
            log.info("site is up", extra={"site_id": site.site_id, "chargers": len(site.chargers)})
        else:
            log.warning("site is down", extra={"site_id": site.site_id, "why": site.error})
