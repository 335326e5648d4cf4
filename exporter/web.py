"""The aiohttp application: pages, /metrics, /probe, /sd and health.

Nothing here waits for the cloud: every answer is made from what the poller published last.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec
from aiohttp import web

from exporter.exposition import Body, Exposition, Format, accepts_gzip, negotiate
from exporter.history import History
from exporter.metrics import CHARGER, METRICS, SITE, SITE_ENDPOINT
from exporter.model import Site, Snapshot
from exporter.past import Past

# One write is cheaper than a stream for everything a home has.
_STREAM_FROM_BYTES = 256 * 1024
_SITE_METRICS = tuple(metric for metric in METRICS if metric.scope in (CHARGER, SITE, SITE_ENDPOINT))
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


async def no_history() -> History:
    """The past of an exporter that has none."""
    return History()


@dataclass(frozen=True, slots=True)
class Sources:
    """What the web application reads; every call but `history` returns at once.

    `snapshot` is what a scrape shows now; `scraped` is told who scraped which sites (none named: all);
    `data_age_seconds` takes a snapshot's newest age; `own_metrics` renders the exporter's own instruments;
    `not_ready_because` gives the reasons, none when ready; `known` is a site as it is known, however old;
    `history` is read from the disk and raises StateError.
    """

    snapshot: Callable[[], Snapshot]
    scraped: Callable[[str, Iterable[str]], None]
    data_age: Callable[[float], None]
    own_metrics: Callable[[bool], bytes]
    not_ready_because: Callable[[], list[str]]
    unhealthy_because: Callable[[], list[str]]
    version: str
    known: Callable[[str], Site | None] = lambda site_id: None
    history: Callable[[], Awaitable[History]] = no_history
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time


class Web:
    """The handlers over one set of sources."""

    def __init__(self, sources: Sources, telemetry_path: str) -> None:
        self._sources = sources
        self._telemetry_path = telemetry_path
        self._exposition = Exposition()
        self._past = Past(sources.history, clock=sources.clock)

    def application(self) -> web.Application:
        """The application with all its routes."""
        app = web.Application(client_max_size=16 * 1024)
        app.router.add_get("/", self.show_page)
        app.router.add_get(self._telemetry_path, self.show_metrics)
        app.router.add_get("/probe", self.show_probe)
        app.router.add_get("/sd", self.show_targets)
        app.router.add_get("/-/healthy", self.show_healthy)
        app.router.add_get("/-/ready", self.show_ready)
        return app

    async def show_page(self, request: web.Request) -> web.Response:
        """The page for people; `?site_id=` (repeatable) narrows it, `?refresh=off` holds it still."""
        # Here, for many an exporter is only ever scraped.
        from exporter.page import View, page
        from exporter.page_style import CONTENT_SECURITY_POLICY
        from exporter.page_words import Moment

        sources = self._sources
        snapshot = sources.snapshot()
        named = request.query.getall("site_id", ())
        if named:
            snapshot = narrowed(snapshot, named)
            _refuse_unknown(named, snapshot)
        history, error = await self._past.newest()
        view = View(
            snapshot,
            self._telemetry_path,
            sources.version,
            known={site.site_id: sources.known(site.site_id) or site for site in snapshot.sites},
            history=history,
            history_error=error,
            refreshes=request.query.get("refresh") != "off",
        )
        text = page(view, Moment(sources.clock(), sources.wall_clock()))
        headers = _HEADERS | {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-store"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def show_metrics(self, request: web.Request) -> web.StreamResponse:
        """Every series; `?site_id=` (repeatable) narrows those that belong to a site."""
        snapshot = self._sources.snapshot()
        named = request.query.getall("site_id", ())
        exposition = self._exposition
        if named:
            snapshot = narrowed(snapshot, named)
            _refuse_unknown(named, snapshot)
            exposition = Exposition()
        self._note_scrape(request, snapshot, named)
        form = negotiate(request.headers.get("Accept", ""))
        extra = self._sources.own_metrics(form is Format.OPENMETRICS)
        return await self._scrape(request, exposition, snapshot, form, extra)

    async def show_probe(self, request: web.Request) -> web.StreamResponse:
        """The series of one site, `?target=`, for Prometheus' multi-target pattern."""
        target = request.query.get("target", "")
        if not target:
            raise web.HTTPBadRequest(text="target is missing: /probe?target=<site id>\n")
        snapshot = narrowed(self._sources.snapshot(), [target])
        _refuse_unknown([target], snapshot)
        self._note_scrape(request, snapshot, [target])
        form = negotiate(request.headers.get("Accept", ""))
        return await self._scrape(request, Exposition(_SITE_METRICS), snapshot, form, b"")

    async def show_targets(self, request: web.Request) -> web.Response:
        """The sites in the format of Prometheus' HTTP service discovery."""
        groups = [
            {
                "targets": [site.site_id],
                "labels": {
                    "__meta_enphase_ev_site_id": site.site_id,
                    "__meta_enphase_ev_site_name": site.name or "",
                    "__meta_enphase_ev_account": site.account,
                },
            }
            for site in self._sources.snapshot().sites
        ]
        return web.Response(
            body=msgspec.json.encode(groups), content_type="application/json", headers=_HEADERS
        )

    async def show_healthy(self, request: web.Request) -> web.Response:
        """Whether the process works; 503 and why when not."""
        return _verdict("healthy", self._sources.unhealthy_because())

    async def show_ready(self, request: web.Request) -> web.Response:
        """Whether every site has been polled once, and which accounts need a person."""
        notes = [
            f"account {account.name}: {account.error}"
            for account in self._sources.snapshot().accounts
            if account.error
        ]
        return _verdict("ready", self._sources.not_ready_because(), notes)

    def _note_scrape(self, request: web.Request, snapshot: Snapshot, named: Iterable[str]) -> None:
        source = f"{request.remote} {request.headers.get('User-Agent', '')}"
        self._sources.scraped(source, named)
        received = [site.status_received_monotonic for site in snapshot.sites]
        newest = max((moment for moment in received if moment is not None), default=None)
        if newest is not None:
            self._sources.data_age(self._sources.clock() - newest)

    async def _scrape(
        self, request: web.Request, exposition: Exposition, snapshot: Snapshot, form: Format, extra: bytes
    ) -> web.StreamResponse:
        gzipped = accepts_gzip(request.headers.get("Accept-Encoding", ""))
        body = await exposition.render(snapshot, form, gzipped=gzipped, extra=extra)
        return await _sent(request, body)


async def _sent(request: web.Request, body: Body) -> web.StreamResponse:
    headers: Mapping[str, str] = {
        "Content-Type": body.format.value,
        **({"Content-Encoding": "gzip"} if body.gzipped else {}),
        "Vary": "Accept, Accept-Encoding",
    }
    if body.length < _STREAM_FROM_BYTES:
        return web.Response(body=b"".join(body.pieces), headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = body.length
    await response.prepare(request)
    for block in body.blocks():
        await response.write(block)
    await response.write_eof()
    return response


def narrowed(snapshot: Snapshot, site_ids: Iterable[str]) -> Snapshot:
    """The snapshot with only the named sites."""
    wanted = set(site_ids)
    return replace(snapshot, sites=tuple(site for site in snapshot.sites if site.site_id in wanted))


def _refuse_unknown(site_ids: Iterable[str], snapshot: Snapshot) -> None:
    known: dict[str, Site] = {site.site_id: site for site in snapshot.sites}
    missing = [site_id for site_id in site_ids if site_id not in known]
    if missing:
        raise web.HTTPNotFound(text=f"no such site: {missing[0][:32]!r}; /sd lists the sites\n")


def _verdict(word: str, because: list[str], notes: Iterable[str] = ()) -> web.Response:
    lines = [f"{word}: no" if because else f"{word}: yes", *because, *notes]
    return web.Response(text="\n".join(lines) + "\n", status=503 if because else 200, headers=_HEADERS)
