"""What `check --online` finds out: can each account log in, and which chargers does it see."""

from dataclasses import dataclass

from exporter import __version__
from exporter.app import build_account, cloud_http
from exporter.asking import PolledAccount
from exporter.config import AccountConfig, Config
from exporter.errors import CloudError
from exporter.instruments import Instruments
from exporter.merge import Knowledge, join, with_status, with_summary
from exporter.model import Charger
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
    async with cloud_http() as http:
        for account in config.accounts:
            polled = build_account(account, config, http, Instruments(__version__))
            try:
                rows += await _chargers_of(polled, account)
            except CloudError as error:
                problems.append(f"account {account.name}: {error}")
            await polled.client.auth.close()
    for account in config.accounts:
        if not any(row[0] == account.name for row in rows) and not problems:
            problems.append(f"account {account.name}: no charger found")
    return Findings(tuple(rows), tuple(problems))


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
