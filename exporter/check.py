"""What `check --online` finds out: can each account log in, and which chargers does it see."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from exporter import __version__
from exporter.accounts import build_account, cloud_http
from exporter.asking import PolledAccount
from exporter.auth import Store
from exporter.config import AccountConfig, Config, state_folder
from exporter.errors import CloudError
from exporter.instruments import Instruments
from exporter.kept_logins import NOTHING_KEPT, read_logins, write_by_person, write_guard
from exporter.merge import Knowledge, join, with_status, with_summary
from exporter.model import Charger, Guard, Login
from exporter.page import state_in_words

_COLUMNS = ("account", "site", "serial", "name", "model", "firmware", "state")


@dataclass(frozen=True, slots=True)
class Findings:
    """Rows of the charger table, and what went wrong in words."""

    rows: tuple[tuple[str, ...], ...]
    problems: tuple[str, ...]


async def check_online(config: Config) -> Findings:
    """Log in to each account, discover its sites and read their chargers once."""
    rows: list[tuple[str, ...]] = []
    problems: list[str] = []
    folder = state_folder(config)
    kept = read_logins(folder)
    async with cloud_http() as http:
        for account in config.accounts:
            polled = build_account(
                account,
                config,
                http,
                Instruments(__version__),
                store=_store_for(folder, account.name),
                kept=kept.get(account.name, NOTHING_KEPT),
            )
            try:
                rows += await _chargers_of(polled, account)
            except CloudError as error:
                problems.append(f"account {account.name}: {error}")
            await polled.client.auth.close()
    for account in config.accounts:
        if not any(row[0] == account.name for row in rows) and not problems:
            problems.append(f"account {account.name}: no charger found")
    return Findings(tuple(rows), tuple(problems))


def _store_for(folder: Path, account: str) -> Store:
    """Keep what the check finds out, so that the exporter neither logs in again nor repeats a refusal."""

    async def store(login: Login | None, guard: Guard | None) -> None:
        if guard is not None:
            await asyncio.to_thread(write_guard, folder, account, guard)
        elif login is not None:
            await asyncio.to_thread(write_by_person, folder, account, login)

    return store


async def _chargers_of(polled: PolledAccount, account: AccountConfig) -> list[tuple[str, ...]]:
    entries = await polled.client.fetch_sites()
    site_ids = account.sites or tuple(entry.site_id for entry in entries)
    rows = []
    for site_id in site_ids:
        knowledge = with_status(Knowledge(), await polled.client.fetch_status(site_id))
        knowledge = with_summary(knowledge, await polled.client.fetch_summary(site_id))
        chargers, _ = join(site_id, knowledge)
        rows += [_row(polled.name, charger) for charger in chargers]
    return rows


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


def table(findings: Findings) -> str:
    """The chargers as a text table with a header."""
    rows = (_COLUMNS, *findings.rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
