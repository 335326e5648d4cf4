import gzip
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from exporter.errors import StateError
from exporter.history import History, Slot
from exporter.instruments import Instruments
from exporter.model import Account, Charger, ConnectorStatus, Site, Snapshot
from exporter.web import Sources, Web

CHARGER = Charger("1", "482500000017", name="Left", connected=True, plugged_in=True, charging=False)
SNAPSHOT = Snapshot(
    sites=(
        Site("1", "home", name="Main", up=True, chargers=(CHARGER,), status_received_monotonic=90.0),
        Site("2", "home", up=False, error="status: HTTP 500"),
    ),
    accounts=(Account("home", auth_up=True, request_budget_per_hour=600),),
)


@dataclass
class Told:
    """What the web application told, and what it is given to say."""

    snapshot: Snapshot = SNAPSHOT
    scrapes: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    not_ready: list[str] = field(default_factory=list)
    unhealthy: list[str] = field(default_factory=list)
    known: dict[str, Site] = field(default_factory=dict)
    history: History | StateError = field(default_factory=History)

    def scraped(self, source: str, site_ids: Iterable[str]) -> None:
        self.scrapes.append((source, tuple(site_ids)))

    async def past(self) -> History:
        if isinstance(self.history, StateError):
            raise self.history
        return self.history


@dataclass
class Served:
    http: aiohttp.ClientSession
    told: Told

    async def text(self, path: str, status: int = 200, agent: str = "curl/8") -> str:
        async with self.http.get(path, headers={"User-Agent": agent}) as response:
            assert response.status == status
            return await response.text()


@asynccontextmanager
async def served(snapshot: Snapshot = SNAPSHOT, telemetry_path: str = "/metrics") -> AsyncIterator[Served]:
    told = Told(snapshot)
    sources = Sources(
        snapshot=lambda: told.snapshot,
        scraped=told.scraped,
        data_age=told.ages.append,
        own_metrics=Instruments("1.2.3").exposition,
        not_ready_because=lambda: told.not_ready,
        unhealthy_because=lambda: told.unhealthy,
        known=lambda site_id: told.known.get(site_id),
        history=told.past,
        version="1.2.3",
        clock=lambda: 100.0,
        wall_clock=lambda: 1_800_000_000.0,
    )
    server = TestServer(Web(sources, telemetry_path).application())
    await server.start_server()
    try:
        plain = {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(
            str(server.make_url("/")), auto_decompress=False, headers=plain
        ) as http:
            yield Served(http, told)
    finally:
        await server.close()


def names(text: str) -> set[str]:
    return {sample.name for family in text_families(text) for sample in family.samples}


async def test_metrics_are_text_by_default_and_hold_charger_and_own_series() -> None:
    async with served() as s, s.http.get("/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert {
            "enphase_ev_charger_connected",
            "enphase_ev_up",
            "enphase_ev_exporter_build_info",
            "process_cpu_seconds_total",
        } <= names(await response.text())


async def test_metrics_are_openmetrics_for_who_asks_for_them() -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    async with served() as s, s.http.get("/metrics", headers={"Accept": accept}) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        text = await response.text()
        assert text.endswith("# EOF\n")
        assert text.count("# EOF") == 1
        families = list(openmetrics_families(text))  # type: ignore[no-untyped-call]
        assert len(families) > 20


async def test_metrics_are_compressed_for_who_accepts_it() -> None:
    async with served() as s:
        async with s.http.get("/metrics", headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            packed = await response.read()
        async with s.http.get("/metrics", headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers
            plain = await response.text()
        assert names(gzip.decompress(packed).decode()) == names(plain)


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_large_body_is_streamed_whole(encoding: str) -> None:
    chargers = tuple(replace(CHARGER, serial=str(number)) for number in range(5000))
    big = Snapshot(sites=(Site("1", "home", up=True, chargers=chargers),))
    async with served(big) as s, s.http.get("/metrics", headers={"Accept-Encoding": encoding}) as response:
        body = await response.read()
        assert int(response.headers["Content-Length"]) == len(body)
        text = (gzip.decompress(body) if encoding == "gzip" else body).decode()
        assert text.count("enphase_ev_charger_connected{") == 5000


async def test_site_id_narrows_the_series_of_sites_only() -> None:
    async with served() as s:
        text = await s.text("/metrics?site_id=2")
        assert 'enphase_ev_up{site_id="2"} 0' in text
        assert 'site_id="1"' not in text
        assert "enphase_ev_auth_up" in text
        both = await s.text("/metrics?site_id=2&site_id=1")
        assert 'site_id="1"' in both


async def test_an_unknown_site_is_404_with_where_to_look() -> None:
    async with served() as s:
        assert "/sd" in await s.text("/metrics?site_id=3", 404)
        assert "/sd" in await s.text("/probe?target=3", 404)
        assert "target" in await s.text("/probe", 400)


async def test_a_probe_shows_one_site_and_nothing_of_the_exporter() -> None:
    async with served() as s:
        found = names(await s.text("/probe?target=1"))
        assert "enphase_ev_charger_plugged_in" in found
        assert "enphase_ev_up" in found
        assert not any(name.startswith(("process_", "python_", "enphase_ev_auth")) for name in found)


async def test_service_discovery_lists_every_site() -> None:
    async with served() as s, s.http.get("/sd") as response:
        assert response.content_type == "application/json"
        groups = await response.json()
        assert [group["targets"] for group in groups] == [["1"], ["2"]]
        assert groups[0]["labels"] == {
            "__meta_enphase_ev_site_id": "1",
            "__meta_enphase_ev_site_name": "Main",
            "__meta_enphase_ev_account": "home",
        }


async def test_scrapes_are_told_with_who_asked_and_how_old_the_data_was() -> None:
    async with served() as s:
        await s.text("/metrics", agent="Prometheus/2.42.0")
        await s.text("/probe?target=1")
        await s.text("/probe?target=2")
        await s.text("/")
        assert [sites for _, sites in s.told.scrapes] == [(), ("1",), ("2",)]
        assert "Prometheus/2.42.0" in s.told.scrapes[0][0]
        assert s.told.ages == [10.0, 10.0]


async def test_health_and_readiness_say_why_not() -> None:
    async with served() as s:
        assert await s.text("/-/healthy") == "healthy: yes\n"
        assert await s.text("/-/ready") == "ready: yes\n"
        s.told.unhealthy = ["polling has stopped"]
        s.told.not_ready = ["site 1: not polled yet"]
        assert "polling has stopped" in await s.text("/-/healthy", 503)
        assert "site 1: not polled yet" in await s.text("/-/ready", 503)


async def test_readiness_names_an_account_that_needs_a_person() -> None:
    refused = replace(SNAPSHOT, accounts=(Account("home", error="login: e-mail or password refused"),))
    async with served(refused) as s:
        assert "account home: login: e-mail or password refused" in await s.text("/-/ready")


async def test_the_page_shows_sites_chargers_and_what_is_wrong() -> None:
    async with served() as s, s.http.get("/") as response:
        assert response.content_type == "text/html"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        text = await response.text()
        for expected in (">Main</bdi>", "Left", "482500000017", "plugged in", "HTTP 500", "/metrics", "/sd"):
            assert expected in text


async def test_the_page_shows_hostile_texts_as_text() -> None:
    hostile = replace(
        CHARGER,
        name="<script>alert(1)</script>",
        connector_status=ConnectorStatus.UNKNOWN,
        connector_status_raw="<img src=x>",
    )
    site = Site('"><b>', "home", name="<i>", up=False, error="<u>", chargers=(hostile,))
    async with served(Snapshot(sites=(site,), accounts=(Account("<s>", error="<q>"),))) as s:
        text = await s.text("/")
        assert not any(tag in text for tag in ("<script>", "<img", '"><b>', "<i>", "<u>", "<s>", "<q>"))


async def test_the_page_can_be_narrowed_to_a_site_and_held_still() -> None:
    async with served() as s:
        assert "Left" in await s.text("/?site_id=1")
        assert "Left" not in await s.text("/?site_id=2")
        assert "/sd" in await s.text("/?site_id=3", 404)
        assert 'http-equiv="refresh"' in await s.text("/")
        assert 'http-equiv="refresh"' not in await s.text("/?refresh=off")


async def test_the_page_shows_the_past_and_what_is_known_of_a_site_that_is_stale() -> None:
    shown = Snapshot(sites=(replace(SNAPSHOT.sites[0], chargers=()),), accounts=SNAPSHOT.accounts)
    async with served(shown) as s:
        s.told.known = {"1": SNAPSHOT.sites[0]}
        s.told.history = History({("1", CHARGER.serial): [Slot(1, 0.0, charging=True)]})
        text = await s.text("/")
        assert "Left" in text
        assert "These figures are old" in text
        assert "<svg" in text


async def test_a_past_that_cannot_be_read_is_a_note_on_the_page_and_no_failure() -> None:
    async with served() as s:
        s.told.history = StateError("disk I/O error")
        text = await s.text("/")
        assert "The state could not be read: disk I/O error" in text
        assert "Left" in text


async def test_the_telemetry_path_can_be_moved() -> None:
    async with served(telemetry_path="/telemetry") as s:
        assert "enphase_ev_up" in await s.text("/telemetry")
        await s.text("/metrics", 404)
        assert 'href="/telemetry"' in await s.text("/")


@pytest.mark.parametrize("path", ["/api/v1/chargers", "/api/v1/openapi.json", "/favicon.ico", "/metrics/"])
async def test_what_is_not_offered_is_404(path: str) -> None:
    async with served() as s:
        await s.text(path, 404)


async def test_nothing_but_get_is_offered() -> None:
    async with served() as s, s.http.post("/metrics") as response:
        assert response.status == 405
