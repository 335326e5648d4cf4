"""Row 16: polls missed while thousands of sites, each with an account of its own, are read by the defaults.

`python -m bench.missed SITES` is the cloud of it: it answers after 300 ms, and tells its answers at the end.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory

from bench.processes import Scraper, cpu_seconds, end, first_line, free_port, plain_scraper, python, running
from bench.table import Limit, Row
from exporter.simulator.cloud import start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import FIRST_SITE, World, WorldConfig

LATENCY_SECONDS = 0.3
INTERVAL_SECONDS = 30.0
SCRAPE_SECONDS = 15.0
DURATION_SECONDS = 72.0
# A poll may move by half an interval to meet a scrape; the rest is for latency and queues.
_LATE_INTERVALS = 0.4
_POLLS = b"enphase_ev_polls_total{"


def _token(site_id: str) -> str:
    return f"captured-{site_id}"


async def serve_cloud(sites: int) -> None:
    """Serve until SIGTERM; then print when each site's status was answered well, by site."""
    world = World(WorldConfig(sites=sites, chargers=2, busy=True))
    config = CloudConfig(
        captured_tokens={_token(site_id) for site_id in world.sites},
        latency_seconds=LATENCY_SECONDS,
        journal_entries=50 * sites,
    )
    cloud = await start_cloud(world, config)
    # Each account would be told of every site; none may be, as each is configured with its own.
    cloud.cloud.faults.add("not_object", endpoint="sites", value={"sites": []})
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(cloud.url, flush=True)
    await stop.wait()
    answered: dict[str, list[float]] = {site_id: [] for site_id in world.sites}
    for entry in cloud.cloud.journal.select(endpoint="status", status=200):
        answered[entry.site_id or ""].append(entry.monotonic_seconds)
    print(json.dumps(answered))
    await cloud.close()


def _config(sites: int, cloud_url: str, port: int, state: Path) -> dict[str, object]:
    site_ids = [str(FIRST_SITE + number) for number in range(sites)]
    return {
        "cloud": {"base_url": cloud_url, "entrez_url": cloud_url},
        "web": {"listen_address": [f"127.0.0.1:{port}"]},
        "state": {"path": str(state)},
        "accounts": [
            {"name": f"site {site_id}", "e_auth_token": _token(site_id), "cookie": "a=b", "sites": [site_id]}
            for site_id in site_ids
        ],
    }


@dataclass(frozen=True, slots=True)
class Fleet:
    """How one run went."""

    failed: int
    overdue: int
    answered: int
    start_seconds: float
    scrape_seconds: float
    cpu_share: float


def _run(sites: int, duration_seconds: float) -> Fleet:
    cloud, port = python("-m", "bench.missed", str(sites)), free_port()
    try:
        url = first_line(cloud)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "config.yml"
            path.touch(mode=0o600)
            path.write_text(json.dumps(_config(sites, url, port, Path(folder))))
            began = time.monotonic()
            with running("-m", "exporter", "run", f"--config.file={path}", stderr=DEVNULL) as exporter:
                scraper = Scraper(port)
                scraper.first_scrape()
                start_seconds = time.monotonic() - began
                before = cpu_seconds(exporter.pid)
                scrapes = _scrape_until(time.monotonic() + duration_seconds, scraper)
                spent = cpu_seconds(exporter.pid) - before
                ended = time.monotonic()
                failed = failed_polls(plain_scraper(port).first_scrape(_POLLS))
        cloud.terminate()
        answered: dict[str, list[float]] = json.loads(cloud.communicate()[0])
    finally:
        end(cloud)
    return Fleet(
        failed=failed,
        overdue=overdue_polls(answered.values(), began + start_seconds, ended),
        answered=sum(map(len, answered.values())),
        start_seconds=start_seconds,
        scrape_seconds=max(scrapes),
        cpu_share=spent / duration_seconds,
    )


def _scrape_until(deadline: float, scraper: Scraper) -> list[float]:
    durations = []
    due = time.monotonic()
    while due < deadline:
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.monotonic()
        scraper.scrape()
        durations.append(time.monotonic() - started)
        due += SCRAPE_SECONDS
    time.sleep(max(0.0, deadline - time.monotonic()))
    return durations


def overdue_polls(answered: Iterable[Sequence[float]], began: float, ended: float) -> int:
    """Whole intervals without an answer, all sites together, by the times at which each was answered.

    The second poll may come an interval late: the first comes at once and those after it fit the clock.
    """
    overdue = 0
    for times in answered:
        first, *later = (*times, ended) if times else (ended,)
        overdue += int((first - began) / INTERVAL_SECONDS)
        gaps = [after - before for before, after in pairwise((first, *later))]
        overdue += sum(max(0, int(gap / INTERVAL_SECONDS + _LATE_INTERVALS) - 1) for gap in gaps[1:])
        overdue += sum(max(0, int(gap / INTERVAL_SECONDS + _LATE_INTERVALS) - 2) for gap in gaps[:1])
    return overdue


def failed_polls(scrape: bytes) -> int:
    """Polls that failed by the exporter's own count."""
    return sum(
        int(float(line.rpartition(b" ")[2]))
        for line in scrape.splitlines()
        if line.startswith(_POLLS) and b'result="success"' not in line
    )


def rows(*, quick: bool) -> Iterator[Row]:
    """The fleet of the target and, unless quick, that of the stretch."""
    none = Limit(0, unit="")
    for row, sites in (("16a", 2_000), ("16b", 5_000))[: 1 if quick else 2]:
        fleet = _run(sites, DURATION_SECONDS)
        note = (
            f"{fleet.failed:,} failed, {fleet.overdue:,} overdue; {fleet.answered:,} answered; CPU "
            f"{fleet.cpu_share:.0%}, slowest scrape {fleet.scrape_seconds * 1e3:.0f} ms, "
            f"listening after {fleet.start_seconds:.1f} s"
        )
        what = f"missed polls: {sites:,} sites, {LATENCY_SECONDS * 1e3:.0f} ms latency"
        target = none if row == "16a" else Limit(inf, unit="")
        yield Row(row, what, "capacity 5,000", max(fleet.failed, fleet.overdue), target, none, note)


if __name__ == "__main__":
    asyncio.run(serve_cloud(int(sys.argv[1])))
