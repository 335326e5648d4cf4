"""Rows 8 and 9: from the start of the process to the first scrape, against `python -c "import aiohttp"`."""

import time
from collections.abc import Iterator

from bench.processes import (
    CHARGER_SERIES,
    exporter_environment,
    free_port,
    median,
    plain_scraper,
    python,
    running,
    simulated_cloud,
)
from bench.table import Limit, Row

TARGET, STRETCH = Limit(1.5), Limit(1.25)


def _import_seconds() -> float:
    started = time.perf_counter()
    python("-c", "import aiohttp").communicate()
    return time.perf_counter() - started


def _first_scrape_seconds(cloud_url: str, contents: bytes) -> float:
    port = free_port()
    environment = exporter_environment(cloud_url, port)
    scraper = plain_scraper(port)
    started = time.perf_counter()
    with running("-m", "exporter", "run", environment=environment):
        scraper.first_scrape(contents)
        taken = time.perf_counter() - started
        scraper.close()
    return taken


def rows(*, quick: bool) -> Iterator[Row]:
    """Rounds of the three, one after the other; the first round fills the file cache and does not count."""
    imports, with_data, cloud_down = [], [], []
    closed_port_url = f"http://127.0.0.1:{free_port()}"
    with simulated_cloud() as cloud_url:
        for _ in range(1 + (7 if quick else 21)):
            imports.append(_import_seconds())
            with_data.append(_first_scrape_seconds(cloud_url, CHARGER_SERIES))
            cloud_down.append(_first_scrape_seconds(closed_port_url, b""))
    floor, data, down = (median(times[1:]) for times in (imports, with_data, cloud_down))
    note = f"{data * 1e3:.0f} ms over {floor * 1e3:.0f} ms"
    yield Row(
        "8", "start to first scrape with charger data", "0.9x to 1.0x", data / floor, TARGET, STRETCH, note
    )
    note = f"{down * 1e3:.0f} ms over {floor * 1e3:.0f} ms"
    yield Row("9", "start to first answer, cloud down", "= row 8", down / floor, TARGET, STRETCH, note)
