"""Which way to ask for a command has worked at a site, across restarts."""

import logging
import sqlite3
from functools import partial

from exporter import state_file
from exporter.errors import StateError
from exporter.state import State

log = logging.getLogger(__name__)

_READ = "SELECT site_id, chain, variant FROM working_variants"
_WRITE = (
    "INSERT INTO working_variants (site_id, chain, variant) VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET variant = excluded.variant"
)


class KeptVariants:
    """The variant that worked last, by site and chain of variants; a chain is a name, a variant its index."""

    def __init__(self, state: State) -> None:
        """Read what is kept. Blocks; raises StateError."""
        self._state = state
        self._known = state.read_now(_all)
        self._fails = False

    def of(self, site_id: str, chain: str) -> int | None:
        """The variant that worked last, None when none has yet."""
        return self._known.get((site_id, chain))

    async def remember(self, site_id: str, chain: str, index: int) -> None:
        """Keep the variant that has just worked; known until the exporter stops even if the disk refuses."""
        if self.of(site_id, chain) == index:
            return
        self._known[site_id, chain] = index
        try:
            await self._state.write(partial(_write, row=(site_id, chain, index)))
        except StateError as error:
            if not self._fails:
                log.warning("the variant of a command that worked is not stored: %s", error)
            self._fails = True
            return
        self._fails = False


def _all(database: sqlite3.Connection) -> dict[tuple[str, str], int]:
    return {(site_id, chain): index for site_id, chain, index in database.execute(_READ)}


def _write(database: sqlite3.Connection, row: tuple[str, str, int]) -> None:
    with state_file.transaction(database):
        database.execute(_WRITE, row)
