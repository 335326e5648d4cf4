"""Rows 13 and 14: CPU time of a poll, and of reading and taking in a large answer.

`python -m bench.polling CLOUD_URL POLLS` is the bare client: it reads the bodies of a poll, does nothing with
them, and prints the CPU seconds that one poll took.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf

import aiohttp

from bench.processes import (
    CHARGER_SERIES,
    SITE_ID,
    cpu_seconds,
    exporter_environment,
    first_line,
    free_port,
    median,
    plain_scraper,
    running,
    send_cars_away,
    simulated_cloud,
)
from bench.skeleton import BROWSER, POLL_SECONDS, log_in, open_http, urls_of
from bench.table import Limit, Row
from exporter.merge import Knowledge, join, with_status
from exporter.model import Charger
from exporter.parse import parse_status
from exporter.simulator.cloud import start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import FIRST_SITE, World, WorldConfig

# 30 s pass in 25 ms: short, and far longer than a poll takes.
SPEED = "1200"
_POLLS_BEFORE = 40  # the first requests of all, and what is done once after the start
# A summary with each status, charge modes never again: two requests a poll.
_TWO_REQUESTS = {
    "ENPHASE_EV_POLL_ALIGN": "none",
    "ENPHASE_EV_POLL_IDLE_INTERVAL": "30s",
    "ENPHASE_EV_POLL_SUMMARY_INTERVAL": "30s",
    "ENPHASE_EV_POLL_CHARGE_MODE_INTERVAL": "24h",
    "ENPHASE_EV_POLL_REQUEST_TIMEOUT": "2m",
    "ENPHASE_EV_POLL_MAX_REQUESTS_PER_HOUR": "1000000",
}
_POLLS = b'enphase_ev_polls_total{site_id="%s",result="success"} ' % SITE_ID.encode()


async def read_bare(cloud_url: str, polls: int) -> None:
    """Read the two bodies so many times, as far apart as polls are, and print what one time took."""
    async with open_http() as http:
        headers = await log_in(http, cloud_url)
        before = time.process_time()
        for _ in range(polls):
            for url in urls_of(cloud_url, SITE_ID):
                async with http.get(url, headers=headers) as response:
                    response.raise_for_status()
                    await response.read()
            await asyncio.sleep(POLL_SECONDS)
        print((time.process_time() - before) / polls)


def _bare_seconds(cloud_url: str, polls: int) -> float:
    with running("-m", "bench.warp", SPEED, "bench.polling", cloud_url, str(polls)) as process:
        return float(first_line(process))


def _exporter_seconds(cloud_url: str, polls: int) -> tuple[float, float]:
    """What a poll takes, and how much of it the thread takes that writes to the disk."""
    port = free_port()
    environment = exporter_environment(cloud_url, port, **_TWO_REQUESTS)
    with running("-m", "bench.warp", SPEED, "exporter", "run", environment=environment) as process:
        _polls_so_far(port)
        time.sleep(_POLLS_BEFORE * POLL_SECONDS / float(SPEED))
        polled, spent, looped = (
            _polls_so_far(port),
            cpu_seconds(process.pid),
            cpu_seconds(process.pid, "main"),
        )
        time.sleep(polls * POLL_SECONDS / float(SPEED))
        # The CPU time first: the scrape that tells the number of polls is not part of them.
        spent, looped = cpu_seconds(process.pid) - spent, cpu_seconds(process.pid, "main") - looped
        polled = _polls_so_far(port) - polled
    return spent / polled, (spent - looped) / polled


def _measured(*, quick: bool) -> tuple[float, float, float]:
    """What a poll takes, what the bare client takes, and what of ours the writing thread takes."""
    bare, exporter = [], []
    polls = 150 if quick else 300
    with simulated_cloud() as cloud_url:
        send_cars_away(cloud_url)  # as for most of a day; what a charging car adds, row 15 counts
        for _ in range(2 if quick else 4):
            bare.append(_bare_seconds(cloud_url, polls))
            exporter.append(_exporter_seconds(cloud_url, polls))
    totals, writing = zip(*exporter, strict=True)
    return median(totals), median(bare), median(writing)


def _polls_so_far(port: int) -> int:
    scraper = plain_scraper(port)
    scrape = scraper.first_scrape(CHARGER_SERIES)
    scraper.close()
    return int(float(scrape.partition(_POLLS)[2].partition(b"\n")[0]))


async def _large_answer() -> bytes:
    world = World(WorldConfig(sites=1, chargers=100, busy=True))
    cloud = await start_cloud(world, CloudConfig(captured_tokens={"captured"}))
    headers = {**BROWSER, "e-auth-token": "captured", "Cookie": "a=b"}
    status_url, _ = urls_of(cloud.url, str(FIRST_SITE))
    async with aiohttp.ClientSession() as http, http.get(status_url, headers=headers) as response:
        body = await response.read()
    await cloud.close()
    return body


class Home:
    """What a site's answers are taken into."""

    def __init__(self) -> None:
        self._knowledge = Knowledge()
        self._chargers: tuple[Charger, ...] = ()

    def update(self, body: bytes) -> None:
        self._knowledge = with_status(self._knowledge, parse_status(body))
        self._chargers, _ = join(str(FIRST_SITE), self._knowledge, self._chargers)


def _decode_seconds(body: bytes, rounds: int) -> tuple[float, float]:
    """Taking in an answer in which every charger changed; and json.loads of it."""
    home = Home()
    bodies = [body, body.replace(b'"e_c":', b'"e_c":1')]
    ours, loads = [], []
    for n in range(rounds):
        ours.append(_seconds(partial(home.update, bodies[n % 2])))
        loads.append(_seconds(partial(json.loads, bodies[n % 2])))
    return median(ours), median(loads)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def rows(*, quick: bool) -> Iterator[Row]:
    """Rounds of the two clients in turn; then the large answer."""
    total, least, writing = _measured(quick=quick)
    note = f"{total * 1e6:.0f} us, {writing * 1e6:.0f} of them writing, over {least * 1e6:.0f} us"
    what = "CPU of a poll of 2 requests, 2 chargers"
    yield Row("13", what, "1.2x to 1.35x", total / least, Limit(1.6), Limit(1.35), note)
    update, loads = _decode_seconds(asyncio.run(_large_answer()), 50 if quick else 200)
    note = f"{update * 1e6:.0f} us over {loads * 1e6:.0f} us"
    what = "read and take in 100 chargers, over json.loads"
    # No target of this version: a home has two chargers, and of a poll this is a twentieth.
    yield Row("14", what, "~1.8x, ~0.75x", update / loads, Limit(inf), Limit(1.8), note)


if __name__ == "__main__":
    asyncio.run(read_bare(sys.argv[1], int(sys.argv[2])))
