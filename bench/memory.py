"""Row 10: memory of an idle exporter of two chargers, against a process that only imports aiohttp.web."""

from collections.abc import Iterator
from time import sleep as pause

from bench.processes import (
    CHARGER_SERIES,
    Scraper,
    exporter_environment,
    first_line,
    free_port,
    median,
    plain_scraper,
    rss_mebibytes,
    running,
    simulated_cloud,
)
from bench.table import Limit, Row

_FLOOR = "import aiohttp.web; print('imported', flush=True); import time; time.sleep(60)"
# The shortest interval there is for a loopback cloud, so that a minute's polls pass in seconds.
_SHORT = {
    "ENPHASE_EV_POLL_INTERVAL": "100ms",
    "ENPHASE_EV_POLL_IDLE_INTERVAL": "100ms",
    "ENPHASE_EV_POLL_SUMMARY_INTERVAL": "500ms",
    "ENPHASE_EV_POLL_CHARGE_MODE_INTERVAL": "500ms",
    "ENPHASE_EV_POLL_MAX_REQUESTS_PER_HOUR": "1000000",
}


def _floor_mebibytes() -> float:
    with running("-c", _FLOOR) as process:
        first_line(process)
        return rss_mebibytes(process.pid)


def _exporter_mebibytes(cloud_url: str, scrapes: int) -> float:
    port = free_port()
    with running(
        "-m", "exporter", "run", environment=exporter_environment(cloud_url, port, **_SHORT)
    ) as process:
        plain_scraper(port).first_scrape(CHARGER_SERIES)
        scraper = Scraper(port)
        for _ in range(scrapes):
            scraper.scrape()
            pause(0.05)
        return rss_mebibytes(process.pid)


def rows(*, quick: bool) -> Iterator[Row]:
    """Two scrapes a poll, as at home."""
    with simulated_cloud() as cloud_url:
        rounds = [
            (_floor_mebibytes(), _exporter_mebibytes(cloud_url, 40 if quick else 120))
            for _ in range(1 if quick else 3)
        ]
    floor, exporter = (median(column) for column in zip(*rounds, strict=True))
    note = f"{exporter:.1f} MiB over {floor:.1f} MiB"
    yield Row("10", "idle RSS, 2 chargers", "1.05x", exporter / floor, Limit(1.25), Limit(1.10), note)
