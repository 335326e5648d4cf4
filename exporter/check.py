"""The `check` command: what stands between this config and a full panel, found without harm to the account.

Without the network it reads the disk and reckons. Online it asks the cloud once, as `once` does, and the
exporter that runs by the same config.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter import __version__
from exporter.accounts import credentials_of, poll_settings
from exporter.config import AccountConfig, Config
from exporter.doctor import (
    Finding,
    Level,
    fine,
    moment_utc,
    of_cloud,
    of_forecast,
    of_guard,
    of_staleness,
)
from exporter.doctor_disk import is_state_held, of_disk, of_warnings
from exporter.errors import StateError
from exporter.forecast import Forecast, forecast
from exporter.guard import holds_for, is_shut
from exporter.kept_logins import NOTHING_KEPT, KeptLogin, read_logins
from exporter.model import Charger
from exporter.page_words import state_in_words

_COLUMNS = ("account", "site", "serial", "name", "model", "firmware", "state")
# As the poller has it: a site shown as stale must have missed polls.
_STALE_POLLS = 2.5


@dataclass(frozen=True, slots=True)
class Checked:
    """The findings in the order they are shown, and the rows of the charger table."""

    findings: tuple[Finding, ...]
    rows: tuple[tuple[str, ...], ...] = ()

    def chargers(self) -> list[dict[str, str]]:
        """The rows for programs."""
        return [dict(zip(_COLUMNS, row, strict=True)) for row in self.rows]


def check_offline(config: Config, warnings: Sequence[str] = ()) -> Checked:
    """What needs no network and asks nobody; `warnings` are those of loading the config."""
    now = time.time()
    by_account = {one.name: [1] * len(one.sites) for one in config.accounts if one.sites}
    return Checked(
        (*_of_machine(config, warnings, now), *_of_kept(config, now), *_of_plans(config, by_account))
    )


async def check_online(
    config: Config, warnings: Sequence[str] = (), *, wall_clock: Callable[[], float] = time.time
) -> Checked:
    """The same, and what the cloud and the running exporter answer."""
    from exporter.once import look

    now = wall_clock()
    findings = _of_machine(config, warnings, now)
    try:
        seen = await look(config, wall_clock=wall_clock)
    except StateError as error:
        remedy = "no login is tried without knowing of refusals: see the findings on `state`"
        findings.append(Finding(Level.FAIL, "cloud", f"not asked: {error}", remedy))
        return Checked((*findings, *await _of_exporter(config)))
    findings += of_cloud(seen, now)
    by_account = {one.name: [len(site.chargers) for site in one.sites] for one in seen.accounts if one.sites}
    findings += _of_plans(config, by_account)
    findings += await _of_exporter(config)
    rows = tuple(_row(account, charger) for account, charger in seen.chargers())
    return Checked(tuple(findings), rows)


def _of_machine(config: Config, warnings: Sequence[str], now: float) -> list[Finding]:
    return [
        *(of_warnings(warnings) or [fine("config", "can be used")]),
        *of_disk(config, config.state.path, now),
    ]


def _of_kept(config: Config, now: float) -> list[Finding]:
    """The login that is kept for each account, and the refusal that holds logins back."""
    folder = config.state.path
    if folder is None:
        return []
    try:
        kept = read_logins(folder)
    except StateError:
        return []  # told of as damage to the state
    return [_of_login(account, kept.get(account.name, NOTHING_KEPT), now) for account in config.accounts]


def _of_login(account: AccountConfig, kept: KeptLogin, now: float) -> Finding:
    subject = f"account {account.name}"
    guard = kept.guard
    if guard is not None and is_shut(guard, now) and holds_for(guard, *credentials_of(account).parts()):
        return of_guard(account.name, guard, now)
    if kept.login is not None:
        expiry = kept.login.token_expiry_seconds
        when = "" if expiry is None else f"; its token expires {moment_utc(expiry)}"
        return fine(subject, f"a login of {moment_utc(kept.login.obtained_seconds)} is kept{when}")
    if account.password is None and account.e_auth_token is None:
        words = "no login is kept, and there is no password"
        return Finding(Level.FAIL, subject, words, f"run: enphase-ev-exporter login --account {account.name}")
    return fine(subject, "no login is kept; the exporter will log in. --online tries it")


def _of_plans(config: Config, by_account: dict[str, list[int]]) -> list[Finding]:
    """The request budget of each account whose sites are known, and what it does to staleness."""
    poll = config.poll
    plans = {name: forecast(chargers, poll_settings(config)) for name, chargers in by_account.items()}
    found = [
        of_forecast(name, plan, poll.idle_interval_seconds, poll.interval_seconds)
        for name, plan in plans.items()
    ]
    slowest = max((_slowest(plan) for plan in plans.values()), default=poll.idle_interval_seconds)
    kept_seconds = max(poll.stale_after_seconds, _STALE_POLLS * slowest)
    return [*found, of_staleness(poll.stale_after_seconds, slowest, kept_seconds)]


def _slowest(plan: Forecast) -> float:
    return max(plan.idle_interval_seconds, plan.busy_interval_seconds)


async def _of_exporter(config: Config) -> list[Finding]:
    from exporter.doctor_running import of_running
    from exporter.running import ask_running, why_another

    running = await asyncio.to_thread(ask_running, config)
    another = why_another(running, config, is_state_held(config.state.path))
    return of_running(running, __version__, config.poll.interval_seconds, another=another)


def _row(account: str, charger: Charger) -> tuple[str, ...]:
    return (
        account,
        charger.site_id,
        charger.serial,
        charger.name or "",
        charger.model or "",
        charger.firmware_version or "",
        state_in_words(charger),
    )


def table(checked: Checked) -> str:
    """The chargers as a text table with a header; a sentence when there is none."""
    if not checked.rows:
        return "No chargers to list."
    rows = (_COLUMNS, *checked.rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
