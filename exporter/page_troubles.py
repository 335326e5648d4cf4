"""What is wrong, in plain words, and what a person can do about it. Pure.

One trouble speaks for all it concerns: a cloud that is down is one, whatever the number of sites.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from exporter.model import Account, Charger, Site, Snapshot
from exporter.page_words import Moment, Tone, count_in_words, duration, sentence, tone

# As the alerts have it: three polls late is a hiccup, half an hour without a report is not.
_SILENT_SECONDS = 1800.0
_BUDGET_USED_UP = 0.98
# The remedy has the command, on a line of its own.
_OWN_COMMAND = re.compile(r"(?::|, or) run `[^`]*`(?: with the same --config\.file)?")


# Where to read on, and about what.
DOCS = {
    "docs/page.md": "this page",
    "docs/metrics.md": "every metric",
    "docs/configuration.md": "settings",
    "docs/login.md": "logging in",
    "docs/prometheus.md": "scraping with Prometheus",
    "docs/dashboards.md": "dashboards for Grafana",
    "docs/alerts.md": "alerts for Prometheus",
    "docs/runbooks/": "what to do about each alert",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing wrong. Backticks in `words` and `remedy` mark commands and settings.

    `concerns` are names of chargers or sites, as the cloud gives them; `command` is to be typed as it stands;
    `doc` is a file of the repository.
    """

    title: str
    words: str
    remedy: str
    doc: str
    concerns: tuple[str, ...] = ()
    command: str = ""
    urgent: bool = True


def troubles(snapshot: Snapshot, sites: Iterable[Site], at: Moment) -> list[Trouble]:
    """Everything wrong, most pressing first; `sites` are as they are known, however old."""
    sites = list(sites)
    found = [
        *(trouble for account in snapshot.accounts for trouble in _of_account(account, at)),
        *_of_clouds(snapshot.accounts, sites, at),
        *_of_chargers(sites, at),
        *_of_exporter(snapshot),
    ]
    return sorted(found, key=lambda one: not one.urgent)


def _of_account(account: Account, at: Moment) -> Iterable[Trouble]:
    if account.reauthentication_required:
        yield _login_needed(account, at)
    elif account.error:
        yield Trouble(
            f"Account {account.name}: trouble with its sites",
            _sentence(account.error),
            "Look at `accounts` in the config. A cloud that does not answer is asked again by itself.",
            "docs/configuration.md",
        )
    elif account.blocked_until_seconds is not None:
        yield Trouble(
            f"Account {account.name}: no login before {at.clock_time(account.blocked_until_seconds)}",
            "A login was cut off moments ago, and the cloud may have counted it.",
            "Nothing to do: the exporter logs in by itself then.",
            "docs/login.md",
            urgent=False,
        )
    elif account.token_expiry_seconds is not None and account.token_expiry_seconds < at.wall:
        yield Trouble(
            f"Account {account.name}: the access token has expired",
            f"It ran out at {at.clock_time(account.token_expiry_seconds)} and was not renewed.",
            "The exporter asks for another with its next request. If this stays, see the log.",
            "docs/runbooks/EnphaseEVTokenExpiresSoon.md",
            urgent=False,
        )
    if account.backoff_seconds > 0:
        yield _rate_limited(account, at)
    used, budget = account.requests_last_hour, account.request_budget_per_hour
    if budget and used >= _BUDGET_USED_UP * budget:
        yield Trouble(
            f"Account {account.name}: the request budget is used up",
            f"{used:,} of {budget:,} requests were sent in the last hour, so its sites are polled less often "
            "than configured. Each site says below how often.",
            "Make `poll.interval` longer, or allow more with `poll.max_requests_per_hour`.",
            "docs/runbooks/EnphaseEVRequestBudgetExhausted.md",
            urgent=False,
        )


def _login_needed(account: Account, at: Moment) -> Trouble:
    cause = _sentence(_OWN_COMMAND.sub("", account.error or "the cloud does not accept the login"))
    if account.blocked_until_seconds is None:
        waits = "The exporter does not try again by itself, so that the account is not locked."
    else:
        waits = f"No login is tried before {at.clock_time(account.blocked_until_seconds)}."
    return Trouble(
        f"Account {account.name}: login needed",
        f"{cause} {waits} Until then nothing new is known of its chargers.",
        "Run this where the exporter runs, with the same `--config.file`; in a container put "
        "`docker exec -it CONTAINER` before it. The login is picked up within seconds.",
        "docs/runbooks/EnphaseEVLoginNeedsPerson.md",
        command=f"enphase-ev-exporter login --account {account.name}",
    )


def _rate_limited(account: Account, at: Moment) -> Trouble:
    resumes = at.clock_time(at.wall + account.backoff_seconds)
    return Trouble(
        f"Account {account.name}: the cloud asks to be asked less often",
        f"Requests resume at {resumes}, in {duration(account.backoff_seconds)}. Until then the data is late.",
        "Nothing to do now. If it comes back, make `poll.interval` longer, and look for other software that "
        "uses the same account.",
        "docs/runbooks/EnphaseEVRateLimited.md",
        urgent=False,
    )


def _of_clouds(accounts: Iterable[Account], sites: Iterable[Site], at: Moment) -> Iterable[Trouble]:
    """One for each account and cause; none where the trouble of the account is the cause."""
    explained = {one.name for one in accounts if one.reauthentication_required or one.backoff_seconds > 0}
    of_account: dict[str, list[Site]] = {}
    for site in sites:
        of_account.setdefault(site.account, []).append(site)
    for account, its_sites in of_account.items():
        failing = [site for site in its_sites if site.up is False and account not in explained]
        for error, group in groupby(sorted(failing, key=_error_of), key=_error_of):
            yield _cloud_down(error, list(group), at, is_all=len(failing) == len(its_sites))


def _error_of(site: Site) -> str:
    return site.error or "no usable answer"


def _cloud_down(error: str, sites: list[Site], at: Moment, *, is_all: bool) -> Trouble:
    count = count_in_words(len(sites), "site")
    return Trouble(
        "The Enphase cloud does not answer" if is_all else f"The cloud gives no status of {count}",
        f"Last try: {error}. {_last_answers(sites, at)}",
        "The exporter tries again by itself. If the Enphase app works while this stays, see the log.",
        "docs/runbooks/EnphaseEVCloudDown.md" if is_all else "docs/runbooks/EnphaseEVDataStale.md",
        concerns=tuple(site.name or site.site_id for site in sites),
    )


def _last_answers(sites: Iterable[Site], at: Moment) -> str:
    """Since when nothing came, which is also the time of what is shown."""
    ages = [age for site in sites if (age := at.status_age_seconds(site)) is not None]
    if not ages:
        return "Not one status came since the exporter started."
    first, last = at.clock_time(at.wall - max(ages)), at.clock_time(at.wall - min(ages))
    if first == last:
        return f"The last good answer came at {first}, {duration(min(ages))} ago, and is what is shown below."
    return f"The last good answers came between {first} and {last}, and are what is shown below."


def _of_chargers(sites: Iterable[Site], at: Moment) -> Iterable[Trouble]:
    faulted: list[str] = []
    offline: list[str] = []
    silent: list[str] = []
    for site in sites:
        for charger in site.chargers:
            state = tone(charger)
            if state is Tone.FAULT:
                faulted.append(label(charger))
            elif state is Tone.OFFLINE:
                offline.append(label(charger))
            elif site.up and _is_silent(charger, at.cloud_seconds(site)):
                silent.append(label(charger))
    for names, row in zip((faulted, offline, silent), _CHARGER_TROUBLES, strict=True):
        if names:
            title, words, remedy, doc, urgent = row
            count = count_in_words(len(names), "charger")
            yield Trouble(f"{count} {title}", words, remedy, doc, tuple(names), urgent=urgent)


_CHARGER_TROUBLES = (
    (
        "with a fault",
        "Nothing charges where the charger reports a fault.",
        "Look at the charger's light and at the Enphase app. If the fault stays, ask the installer.",
        "docs/runbooks/EnphaseEVChargerFaulted.md",
        True,
    ),
    (
        "offline",
        "The cloud has lost the connection. Cars may charge all the same; the energy is counted later.",
        "Check the charger's power, and its Wi-Fi or network cable.",
        "docs/runbooks/EnphaseEVChargerOffline.md",
        False,
    ),
    (
        "silent",
        "The cloud calls it connected, but its last report is more than half an hour old.",
        "Check the charger's Wi-Fi or network cable. Figures are as old as the last report.",
        "docs/runbooks/EnphaseEVChargerSilent.md",
        False,
    ),
)


def _is_silent(charger: Charger, cloud_seconds: float) -> bool:
    reported = charger.last_reported_seconds
    return reported is not None and cloud_seconds - reported > _SILENT_SECONDS


def label(charger: Charger) -> str:
    """The charger's name, or its serial where it has none."""
    return (charger.name or "").strip() or charger.serial


def _of_exporter(snapshot: Snapshot) -> Iterable[Trouble]:
    if snapshot.config_reload_successful is False:
        yield Trouble(
            "A changed config was refused",
            "The exporter runs on with the old one; with the one on disk it would not start.",
            "This command, with the same `--config.file`, names the file, the key and what was expected:",
            "docs/runbooks/EnphaseEVConfigReloadFailed.md",
            command="enphase-ev-exporter check",
        )
    if snapshot.state_writes_failed:
        yield Trouble(
            "The state could not be written",
            f"{count_in_words(snapshot.state_writes_failed, 'write')} failed since the start. What was not "
            "written is not counted yet, and is tried again with each poll.",
            "If this number grows, the disk is full or read-only: when that is over, all is written.",
            "docs/runbooks/EnphaseEVStateWritesFailing.md",
            urgent=False,  # the count tells of failures that may be long over, too
        )
    if snapshot.state_set_aside:
        yield Trouble(
            "The state was damaged and set aside",
            "Energy counters began at 0 with this start; the recorded sessions are in the old file.",
            "The log names the file. A backup can be put in its place.",
            "docs/runbooks/EnphaseEVStateSetAside.md",
            urgent=False,
        )


def history_trouble(why: str) -> Trouble:
    """The one of a state that can not be read for the page."""
    return Trouble(
        "The past cannot be shown",
        f"The state could not be read: {why}. Recent sessions and the last 24 hours are missing or old.",
        "Check the disk and the state folder.",
        "docs/state.md",
        urgent=False,
    )


def _sentence(words: str) -> str:
    return f"{sentence(words).rstrip('.')}."
