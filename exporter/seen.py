"""What the commands that look have seen of the cloud: accounts, their sites, their chargers."""

from dataclasses import dataclass, field

from exporter.errors import ExporterError
from exporter.model import Charger, Guard, SiteEntry


@dataclass(slots=True)
class SiteSeen:
    """One site: its chargers, the serials of those not commissioned, and why there are none or not all."""

    site_id: str
    chargers: tuple[Charger, ...] = ()
    not_commissioned: frozenset[str] = frozenset()
    error: str | None = None


@dataclass(slots=True)
class AccountSeen:
    """One account as it answered. `error` is what ended it before its sites were read, or while they were."""

    name: str
    configured: tuple[str, ...] = ()
    visible: tuple[SiteEntry, ...] | None = None
    sites: list[SiteSeen] = field(default_factory=list)
    error: ExporterError | None = None
    guard: Guard | None = None
    logged_in: bool = False  # a login was made for this, none was kept
    captured: bool = False
    token_expiry_seconds: float | None = None


@dataclass(slots=True)
class Seen:
    """Every account, and how far this machine's clock is from the cloud's: ahead is above 0."""

    accounts: list[AccountSeen] = field(default_factory=list)
    clock_ahead_seconds: float | None = None

    def chargers(self) -> list[tuple[str, Charger]]:
        """Every charger with the account it was read with."""
        return [
            (one.name, charger) for one in self.accounts for site in one.sites for charger in site.chargers
        ]
