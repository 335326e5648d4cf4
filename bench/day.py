"""Row 15: CPU time of a day at 30 s polls and 15 s scrapes, against the skeleton's, both in fast time."""

import time
from collections.abc import Iterator

from bench.processes import (
    SITE_ID,
    Scraper,
    cpu_seconds,
    exporter_environment,
    free_port,
    median,
    running,
    simulated_cloud,
)
from bench.table import Limit, Row

# So slow that a poll's few milliseconds stay far below its interval: 30 s pass in 125 ms.
SPEED = 240.0
SCRAPE_SECONDS = 15.0 / SPEED
_SCRAPES_A_DAY = 86_400 / 15
_SCRAPES_BEFORE = 40  # the login, the first polls, and what the exporter needs to know its scraper


def _day_seconds(arguments: list[str], environment: dict[str, str], port: int, scrapes: int) -> float:
    """CPU seconds of a day, from a part of it."""
    with running("-m", "bench.warp", f"{SPEED:g}", *arguments, environment=environment) as process:
        scraper = Scraper(port)
        scraper.first_scrape()
        _scrape(scraper, _SCRAPES_BEFORE)
        before = cpu_seconds(process.pid)
        _scrape(scraper, scrapes)
        spent = cpu_seconds(process.pid) - before
        scraper.close()
    return spent * _SCRAPES_A_DAY / scrapes


def _scrape(scraper: Scraper, times: int) -> None:
    due = time.monotonic()
    for _ in range(times):
        due += SCRAPE_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))
        scraper.scrape()


def rows(*, quick: bool) -> Iterator[Row]:
    """Rounds of the two in turn. Only the idle interval is set: 30 s polls, whether a car is there or not."""
    exporter, skeleton = [], []
    scrapes = 120 if quick else 240
    with simulated_cloud() as cloud_url:
        for _ in range(2 if quick else 3):
            port = free_port()
            arguments = ["bench.skeleton", cloud_url, SITE_ID, str(port)]
            skeleton.append(_day_seconds(arguments, {}, port, scrapes))
            port = free_port()
            environment = exporter_environment(cloud_url, port, ENPHASE_EV_POLL_IDLE_INTERVAL="30s")
            exporter.append(_day_seconds(["exporter", "run"], environment, port, scrapes))
    ours, least = median(exporter), median(skeleton)
    note = f"{ours:.1f} s over {least:.1f} s"
    yield Row(
        "15",
        "CPU per day, 30 s polls, 15 s scrapes, 2 chargers",
        "1x (~12 s)",
        ours / least,
        Limit(2),
        Limit(1.3),
        note,
    )
