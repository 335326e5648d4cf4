"""What `check` has found, a line a finding: how bad, of what, in words, and what to do about it. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from exporter.errors import (
    BadCredentials,
    ExporterError,
    LoginExpired,
    MfaRequired,
    RateLimited,
    Rejected,
    StateError,
    TooManyLogins,
    Unavailable,
    UnexpectedPayload,
    Unreachable,
)
from exporter.forecast import Forecast
from exporter.model import Charger, Guard
from exporter.page_words import count_in_words, duration
from exporter.seen import AccountSeen, Seen, SiteSeen

_CLOCK_WARN_SECONDS = 30.0
_CLOCK_FAIL_SECONDS = 300.0
_CAPTURED_WARN_SECONDS = 86_400.0


class Level(StrEnum):
    """How bad it is; only `fail` makes the exit code 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `remedy` is what to do, with the exact command where there is one; empty when all is well."""

    level: Level
    subject: str
    words: str
    remedy: str = ""


def moment_utc(seconds: float) -> str:
    """`2026-05-02 18:30 UTC`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def fine(subject: str, words: str) -> Finding:
    """A finding that needs nothing done."""
    return Finding(Level.OK, subject, words)


def lines(findings: Sequence[Finding]) -> list[str]:
    """The findings as text, remedies on lines of their own."""
    width = max((len(one.subject) for one in findings), default=0)
    told = []
    for one in findings:
        told.append(f"{one.level.value:<4}  {one.subject:<{width}}  {one.words}")
        if one.remedy:
            told.append(f"{'':<4}  {'':<{width}}  → {one.remedy}")
    return told


def summary(findings: Iterable[Finding]) -> str:
    """How many of each, in words."""
    levels = [one.level for one in findings]
    fails, warnings = levels.count(Level.FAIL), levels.count(Level.WARN)
    counts = f"{levels.count(Level.OK)} ok, {count_in_words(warnings, 'warning')}, {fails} failed"
    verdict = "problems found" if fails else "nothing failed"
    return f"{verdict}: {counts}"


def has_failed(findings: Iterable[Finding]) -> bool:
    """Whether the command ends with exit code 1."""
    return any(one.level is Level.FAIL for one in findings)


def as_json(
    findings: Sequence[Finding], config: Mapping[str, Any], chargers: Sequence[Mapping[str, str]]
) -> str:
    """The same for programs: config, findings, chargers and the summary in one object."""
    document = {
        "config": config,
        "findings": [asdict(one) for one in findings],
        "chargers": list(chargers),
        "failed": has_failed(findings),
        "summary": summary(findings),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


# -- the cloud ---------------------------------------------------------------------------------------------


def of_cloud(seen: Seen, now: float) -> list[Finding]:
    """Clock, logins, sites and chargers, as the cloud has told them."""
    found = [] if seen.clock_ahead_seconds is None else [of_clock(seen.clock_ahead_seconds)]
    for account in seen.accounts:
        found += of_login(account, now)
        if account.visible is not None:
            found += of_sites(account)
    return found


def of_clock(ahead_seconds: float) -> Finding:
    """The machine's clock against the Date of the cloud's answers."""
    off = abs(ahead_seconds)
    if off <= _CLOCK_WARN_SECONDS:
        return fine("clock", "agrees with the cloud's")
    side = "ahead of" if ahead_seconds > 0 else "behind"
    level = Level.FAIL if off > _CLOCK_FAIL_SECONDS else Level.WARN
    return Finding(
        level,
        "clock",
        f"{duration(off)} {side} the cloud's, so ages and token times are wrong",
        "set it by NTP: timedatectl set-ntp true",
    )


def of_login(account: AccountSeen, now: float) -> list[Finding]:
    """Whether the account can log in, what holds it back, and when its token ends."""
    subject = f"account {account.name}"
    if account.error is not None:
        return [_of_error(subject, account, account.error, now)]
    how = "logged in, and the login is kept" if account.logged_in else "the kept login works"
    return [fine(subject, "the captured headers work" if account.captured else how), *_of_token(account, now)]


def _of_token(account: AccountSeen, now: float) -> list[Finding]:
    expiry, subject = account.token_expiry_seconds, f"token {account.name}"
    if expiry is None:
        return [fine(subject, "does not say when it expires")]
    when = moment_utc(expiry)
    if not account.captured:
        return [fine(subject, f"expires {when}; the exporter renews it before")]
    if expiry - now > _CAPTURED_WARN_SECONDS:
        return [fine(subject, f"captured; expires {when} and is not renewed")]
    return [
        Finding(
            Level.WARN,
            subject,
            f"captured; expires {when} and is not renewed",
            f"capture the headers again, or run: enphase-ev-exporter login --account {account.name}",
        )
    ]


def _of_error(subject: str, account: AccountSeen, error: ExporterError, now: float) -> Finding:
    words = str(error)
    if account.guard is not None:
        words = f"{words}; {held_back(account.guard, now)}"
    return Finding(Level.FAIL, subject, words, remedy_of(error, account.name))


def held_back(guard: Guard, now: float) -> str:
    """Until when no login is tried."""
    if guard.until_seconds is None:
        return "no login is tried until a person helps"
    if guard.until_seconds <= now:
        return "a login may be tried again"
    return f"no login is tried before {moment_utc(guard.until_seconds)}"


def of_guard(account: str, guard: Guard, now: float) -> Finding:
    """A refusal that is kept, for a check that asks nobody."""
    remedy = f"run: enphase-ev-exporter login --account {account}"
    return Finding(Level.FAIL, f"account {account}", f"{guard.message}; {held_back(guard, now)}", remedy)


def remedy_of(error: ExporterError, account: str) -> str:
    """What helps against an error; the first class that fits tells."""
    for kind, remedy in _REMEDIES:
        if isinstance(error, kind):
            return remedy.format(account=account)
    return "run again with --log.level debug; if it stays, open an issue with the output of `diagnostics`"


_REMEDIES: Sequence[tuple[type[ExporterError], str]] = (
    (
        BadCredentials,
        "correct e-mail and password in the config, or run: enphase-ev-exporter login --account {account}",
    ),
    (MfaRequired, "run where the exporter runs: enphase-ev-exporter login --account {account}"),
    (
        TooManyLogins,
        "leave the account alone until then, and close other programs that use it; then run: "
        "enphase-ev-exporter login --account {account}",
    ),
    (LoginExpired, "run: enphase-ev-exporter login --account {account}"),
    (RateLimited, "wait; make poll.interval longer, and look for other programs that use this account"),
    (
        Unreachable,
        "look at network, name server and firewall: the exporter needs HTTPS to the hosts of `cloud`",
    ),
    (Unavailable, "wait: the cloud is down; the exporter goes on by itself"),
    (Rejected, "look at `sites` in the config, and whether the Enphase app shows this site to this account"),
    (UnexpectedPayload, "the cloud sent a shape that is not known: run `record` and open an issue with it"),
    (StateError, "run it as the user that runs the exporter, or make the folder writable for it"),
)


def of_sites(account: AccountSeen) -> list[Finding]:
    """What is configured against what is visible, and what each site has."""
    visible = [entry.site_id for entry in account.visible or ()]
    subject = f"sites {account.name}"
    found = []
    unseen = [site_id for site_id in account.configured if site_id not in visible]
    if not visible and not account.configured:
        remedy = "log in to the Enphase app with this account; if it shows a site, put its id into `sites`"
        found.append(Finding(Level.FAIL, subject, "the account sees no site", remedy))
    elif unseen:
        words = f"the account does not see {', '.join(unseen)}; it sees {', '.join(visible) or 'none'}"
        level = Level.FAIL if visible else Level.WARN
        found.append(Finding(level, subject, words, "correct `sites` of this account"))
    else:
        count = count_in_words(len(visible), "site")
        used = f"; {len(account.configured)} of them configured" if account.configured else ""
        found.append(fine(subject, f"{count} visible{used}"))
    for site in account.sites:
        found += of_site(site)
    return found


def of_site(site: SiteSeen) -> list[Finding]:
    """Whether a site answers, its chargers, and what hides them from the panels."""
    subject = f"site {site.site_id}"
    if site.error is not None:
        remedy = "look at `sites`, and whether the Enphase app shows this site; an outage passes by itself"
        return [Finding(Level.FAIL, subject, site.error, remedy)]
    if not site.chargers:
        remedy = (
            "see whether the Enphase app shows a charger at this site; after the cloud's own restarts the "
            "list is empty for minutes"
        )
        return [Finding(Level.FAIL, subject, "no charger found", remedy)]
    found = [fine(subject, f"{count_in_words(len(site.chargers), 'charger')} found")]
    return found + [one for charger in site.chargers for one in of_charger(charger, site.not_commissioned)]


def of_charger(charger: Charger, not_commissioned: frozenset[str]) -> list[Finding]:
    """What keeps a charger from telling anything."""
    subject = f"charger {charger.serial}"
    found = []
    if charger.serial in not_commissioned:
        remedy = "the installer finishes the commissioning in the Enphase Installer app"
        found.append(Finding(Level.WARN, subject, "is not commissioned, so it may report nothing", remedy))
    if charger.connected is False:
        told = charger.last_reported_seconds
        last = "" if told is None else f"; its last report is of {moment_utc(told)}"
        remedy = "check its power, and its Wi-Fi or network cable; its series stay as they last were"
        found.append(Finding(Level.WARN, subject, f"is offline to the cloud{last}", remedy))
    if charger.faulted:
        remedy = "look at the charger's light and at the Enphase app; if it stays, ask the installer"
        found.append(Finding(Level.WARN, subject, "reports a fault", remedy))
    return found


# -- the settings ------------------------------------------------------------------------------------------


def of_forecast(
    account: str, plan: Forecast, idle_interval_seconds: float, interval_seconds: float
) -> Finding:
    """Whether the budget of an account lets its sites be polled as configured."""
    subject = f"budget {account}"
    wanted = (
        f"{count_in_words(plan.sites, 'site')} and {count_in_words(plan.chargers, 'charger')} want "
        f"{plan.wanted_idle_per_hour:.0f} requests an hour while no car is plugged in, "
        f"{plan.wanted_busy_per_hour:.0f} with a car at every site; allowed are {plan.budget_per_hour}"
    )
    if plan.fits and plan.bursts_fitting in (None, plan.sites):
        return fine(subject, wanted)
    if plan.fits:
        words = f"{wanted}; live streams fit for {plan.bursts_fitting} of the sites at once"
        remedy = "set poll.live_stream to on_command, make poll.interval longer, or raise "
        return Finding(Level.WARN, subject, words, f"{remedy}poll.max_requests_per_hour with care")
    slowed = (
        f"{wanted}. So status comes every {duration(plan.busy_interval_seconds)} instead of "
        f"{duration(interval_seconds)} with a car at every site, every "
        f"{duration(plan.idle_interval_seconds)} instead of {duration(idle_interval_seconds)} with none"
    )
    slow_share = plan.slow_per_hour / plan.budget_per_hour
    slow = "poll.summary_interval, poll.charge_mode_interval and " if slow_share > 0.5 else ""
    remedy = f"make {slow}poll.interval longer, or raise poll.max_requests_per_hour with care"
    return Finding(Level.WARN, subject, slowed, remedy)


def of_staleness(stale_after_seconds: float, slowest_interval_seconds: float, kept_seconds: float) -> Finding:
    """Whether `poll.stale_after` is what it says once the budget has slowed the polls."""
    subject = "poll.stale_after"
    if kept_seconds <= stale_after_seconds:
        return fine(
            subject,
            f"charger series go away {duration(stale_after_seconds)} after the last good status",
        )
    words = (
        f"is {duration(stale_after_seconds)}, but a site may be polled only every "
        f"{duration(slowest_interval_seconds)}, so its series stay for {duration(kept_seconds)}"
    )
    return Finding(Level.WARN, subject, words, f"set poll.stale_after to {duration(kept_seconds)} or more")
