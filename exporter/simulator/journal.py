"""Who asked the pretend cloud for what, so that tests can say "exactly one login"."""

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Entry:
    """One request. `status` is 0 until answered, and when the connection was dropped instead."""

    method: str
    path: str
    query: str
    endpoint: str
    site_id: str | None
    headers: Mapping[str, str]
    body: bytes
    monotonic_seconds: float
    simulated_seconds: float
    status: int = 0
    done_monotonic_seconds: float | None = None

    @property
    def header_names(self) -> tuple[str, ...]:
        """Lower case, in the order sent."""
        return tuple(name.lower() for name in self.headers)

    def json(self) -> Any:
        """The request body read as JSON; None when there was none."""
        return json.loads(self.body) if self.body else None

    def public(self) -> dict[str, Any]:
        """For the admin page: no header values and no body, which may hold secrets."""
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "endpoint": self.endpoint,
            "site_id": self.site_id,
            "status": self.status,
            "monotonic_seconds": self.monotonic_seconds,
            "simulated_seconds": self.simulated_seconds,
            "header_names": list(self.header_names),
            "body_bytes": len(self.body),
        }


class Journal:
    """The newest requests, oldest first; totals by endpoint count all of them."""

    def __init__(self, kept: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=kept)
        self.totals: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    @property
    def entries(self) -> list[Entry]:
        """A copy of what is kept."""
        return list(self._entries)

    def add(self, entry: Entry) -> None:
        """Notes a request as it arrives."""
        self._entries.append(entry)
        self.totals[entry.endpoint] += 1

    def select(
        self,
        *,
        endpoint: str | None = None,
        path: str | None = None,
        method: str | None = None,
        status: int | None = None,
        site_id: str | None = None,
    ) -> list[Entry]:
        """The kept entries that agree with every criterion given."""
        wanted = {"endpoint": endpoint, "path": path, "method": method, "status": status, "site_id": site_id}
        criteria = [(name, value) for name, value in wanted.items() if value is not None]
        return [e for e in self._entries if all(getattr(e, name) == value for name, value in criteria)]

    def count(
        self,
        *,
        endpoint: str | None = None,
        path: str | None = None,
        method: str | None = None,
        status: int | None = None,
        site_id: str | None = None,
    ) -> int:
        """How many kept entries agree with every criterion given."""
        return len(self.select(endpoint=endpoint, path=path, method=method, status=status, site_id=site_id))

    def clear(self) -> None:
        """Forgets everything, totals included."""
        self._entries.clear()
        self.totals.clear()
