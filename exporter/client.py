"""One method per endpoint of the cloud; returns model objects and raises CloudError.

Only status, summary and site discovery may renew the login, once, and are then replayed once with the new
headers. Optional endpoints and writes go by the login at hand: one of them answering 401 at every poll is how
accounts got locked.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote

from yarl import URL

from exporter.auth import Auth
from exporter.errors import CloudError, LoginExpired, NotOffered, NotSent, Rejected, UnexpectedPayload
from exporter.model import ChargeModePreference, LiveStream, SiteEntry, Status, Summary
from exporter.parse import (
    parse_charge_mode,
    parse_last_reported,
    parse_live_stream,
    parse_sites,
    parse_status,
    parse_summary,
)
from exporter.transport import Answer, Request, Transport, error_of

T = TypeVar("T")
Heard = Callable[[str, bytes], None]
"""Takes the endpoint and the body of one answer, before anything is made of it."""

# Endpoints this version asks; their label sets start at 0.
ENDPOINTS = ("login", "token", "sites", "status", "summary", "charge_mode")
WRITE_ENDPOINTS = ("start_charging", "stop_charging", "trigger_message", "set_charge_mode")

_STATUS_PATHS = (
    "service/evse_controller/{site}/ev_chargers/status",
    "service/evse_controller/{site}/ev_charger/status",
)
_SUMMARY_PATHS = (
    "service/evse_controller/api/v2/{site}/ev_chargers/summary?filter_retired=true",
    "service/evse_controller/{site}/ev_chargers/summary",
)


class Client:
    """What one account can ask the cloud."""

    def __init__(
        self, transport: Transport, auth: Auth, base_url: URL, *, heard: Heard | None = None
    ) -> None:
        """`heard` is told of every body that is read; answers to logins are not among them."""
        self.auth = auth
        self.transport = transport
        self.heard = heard
        self._base_url = base_url
        self._urls: dict[str, URL] = {}
        self._working_paths: dict[tuple[str, str], str] = {}  # (endpoint, site) -> the path that answered
        self._renewed_in_vain: set[str] = set()
        self.writes: dict[str, int] = {}  # how many were sent to a site

    async def fetch_sites(self) -> tuple[SiteEntry, ...]:
        """Every site the account can see."""
        path = "app-api/search_sites.json?searchText=&favourite=false"
        return await self._renewing_read("sites", path, "", parse_sites)

    async def fetch_status(self, site_id: str) -> Status:
        """The state of all chargers of a site; falls back to the singular path on 404."""
        return await self._first_offered("status", _STATUS_PATHS, site_id, parse_status)

    async def fetch_summary(self, site_id: str) -> Summary:
        """Names, versions and limits of all chargers of a site; falls back to the alias on 404."""
        return await self._first_offered("summary", _SUMMARY_PATHS, site_id, parse_summary)

    async def fetch_charge_mode(self, site_id: str, serial: str) -> ChargeModePreference:
        """The charge mode the owner asked for; NotOffered where the scheduler does not know the charger."""
        site, charger = path_part(site_id), path_part(serial)
        path = f"service/evse_scheduler/api/v1/iqevc/charging-mode/{site}/{charger}/preference"
        return await self._optional_read("charge_mode", path, site_id, parse_charge_mode, bearer=True)

    async def fetch_last_reported(self, site_id: str) -> Mapping[str, float]:
        """When each charger last reported, epoch seconds by serial."""
        path = f"service/evse_controller/api/v2/{path_part(site_id)}/ev_chargers/last_reported_at"
        return await self._optional_read("last_reported", path, site_id, parse_last_reported)

    async def start_live_stream(self, site_id: str) -> LiveStream:
        """Ask for a burst of rapid updates."""
        path = f"service/evse_controller/{path_part(site_id)}/ev_chargers/start_live_stream"
        return await self._optional_read("live_stream", path, site_id, parse_live_stream)

    async def stop_live_stream(self, site_id: str) -> None:
        """End a burst of rapid updates; any 2xx is success."""
        path = f"service/evse_controller/{path_part(site_id)}/ev_chargers/stop_live_stream"
        await self._optional_read("live_stream", path, site_id, lambda body: None)

    async def write(self, endpoint: str, site_id: str, method: str, path: str, body: str | None) -> Answer:
        """Send one write by the login at hand and give any answer as it is.

        Nothing is renewed, so that it waits for no login and starts none, and nothing is sent again.

        `path` begins with a slash, `body` is JSON. Raises NotSent where nothing went out, for want of a login
        too; Unreachable or UnexpectedPayload where what came of it is unknown.
        """
        try:
            headers = self.auth.present_headers(_referer(site_id), bearer=True)
        except CloudError as error:
            raise NotSent(endpoint, str(error), status=error.status) from error
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        url = self._base_url.join(URL(path.removeprefix("/"), encoded=True))
        request = Request(endpoint, method, url, headers, None if body is None else body.encode())
        self.writes[site_id] = self.writes.get(site_id, 0) + 1
        answer = await self.transport.write(request)
        if error_of(request, answer) is None:
            await self.auth.accepted(answer)
        return answer

    async def _first_offered(
        self, endpoint: str, paths: tuple[str, ...], site_id: str, parse: Callable[[bytes], T]
    ) -> T:
        """Ask the path that worked last for this site, then the others while the answer is 404."""
        known = self._working_paths.get((endpoint, site_id), paths[0])
        missing: CloudError | None = None
        for path in (known, *(other for other in paths if other != known)):
            try:
                result = await self._renewing_read(
                    endpoint, path.format(site=path_part(site_id)), site_id, parse
                )
            except Rejected as error:
                if error.status != 404:
                    raise
                missing = missing or error
                continue
            self._working_paths[endpoint, site_id] = path
            return result
        raise missing or NotOffered(endpoint, "no path to ask")

    async def _renewing_read(self, endpoint: str, path: str, site_id: str, parse: Callable[[bytes], T]) -> T:
        """Read; on an expired login renew it once and replay once with rebuilt headers."""
        headers = await self.auth.headers(_referer(site_id))
        generation = self.auth.generation
        try:
            answer = await self._read(endpoint, path, headers)
        except LoginExpired:
            if endpoint in self._renewed_in_vain:
                raise
            await self.auth.renew(generation)
            answer = await self._replay(endpoint, path, site_id)
        return await self._parsed(endpoint, answer, parse)

    async def _replay(self, endpoint: str, path: str, site_id: str) -> Answer:
        try:
            return await self._read(endpoint, path, await self.auth.headers(_referer(site_id)))
        except LoginExpired:
            # Status decides whether a login works. Another endpoint that refuses a good one stays refused.
            if endpoint != "status":
                self._renewed_in_vain.add(endpoint)
            raise

    async def _optional_read(
        self, endpoint: str, path: str, site_id: str, parse: Callable[[bytes], T], *, bearer: bool = False
    ) -> T:
        headers = self.auth.present_headers(_referer(site_id), bearer=bearer)
        answer = await self._read(endpoint, path, headers, optional=True)
        return await self._parsed(endpoint, answer, parse)

    async def _read(
        self, endpoint: str, path: str, headers: Mapping[str, str], *, optional: bool = False
    ) -> Answer:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = self._base_url.join(URL(path, encoded=True))
        return await self.transport.read(Request(endpoint, "GET", url, headers, optional=optional))

    async def _parsed(self, endpoint: str, answer: Answer, parse: Callable[[bytes], T]) -> T:
        if self.heard is not None:
            self.heard(endpoint, answer.body)
        try:
            result = parse(answer.body)
        except UnexpectedPayload as error:
            self.transport.tally.failed(endpoint, error.kind)
            raise
        await self.auth.accepted(answer)
        return result


def path_part(text: str) -> str:
    """A serial or site id as one segment of a path: the cloud chooses it, and it may hold a slash or dots."""
    return text if text.isascii() and text.isalnum() else quote(text, safe="").replace(".", "%2E")


def _referer(site_id: str) -> str:
    return f"web/{path_part(site_id)}/today/graph/hours" if site_id else ""
