"""Writes the accounts, and says once when that fails and once when it works again."""

import logging
from collections.abc import Mapping, Sequence

from exporter.errors import StateError
from exporter.model import FinishedSession, Ledger
from exporter.state import State

log = logging.getLogger(__name__)


class Bookkeeper:
    """The state as the poller sees it: a write that may fail, and what was kept at the start."""

    def __init__(self, state: State) -> None:
        self.writes_failed = 0
        self._state = state
        self._fails = False

    @property
    def set_aside(self) -> bool:
        """Whether the state was damaged at the start, and the accounts began anew."""
        return self._state.set_aside is not None

    def kept(self) -> Mapping[str, Mapping[str, Ledger]]:
        """The ledgers on disk, by site and serial. Blocks: for the start."""
        sites: dict[str, dict[str, Ledger]] = {}
        for (site_id, serial), ledger in self._state.load_ledgers().items():
            sites.setdefault(site_id, {})[serial] = ledger
        return sites

    async def save(
        self, ledgers: Sequence[tuple[str, str, Ledger]], sessions: Sequence[FinishedSession]
    ) -> bool:
        """Write in one transaction; False when it failed, and the same has to be written later."""
        try:
            await self._state.save(ledgers, sessions)
        except StateError as error:
            self.writes_failed += 1
            if not self._fails:
                log.error("accounts are not written, so they stand still on /metrics: %s", error)
            self._fails = True
            return False
        if self._fails:
            log.info("accounts are written again")
        self._fails = False
        return True
